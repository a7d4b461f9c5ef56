//! Who sits on a port: for error messages, where the system tells (Linux, by /proc).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{PortHolder, printable};
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads;

/// True if the port's holder, who takes connections and does not answer, is surely no instance that
/// is merely stopped or starved: it has no role thread, or it is of another user and hidden from
/// us, and so cannot have our key.
///
/// In one process one looks at a time, and its finding holds for a second, see [`Seldom`].
pub(crate) fn is_another_program(at: SocketAddrV4) -> bool {
    static LOOK: Seldom<bool> = Seldom::new();
    LOOK.look(at, look_at_holder)
}

/// What [`of`] says, for one who may be one of many in this process that want to know.
pub(crate) fn of_seldom(at: SocketAddrV4) -> Option<PortHolder> {
    static LOOK: Seldom<Option<PortHolder>> = Seldom::new();
    LOOK.look(at, of)
}

/// A look through all sockets and processes of the machine. Where thousands wait for one who is
/// late, all would do that at once and make it later still.
struct Seldom<T>(Mutex<Option<(Instant, SocketAddrV4, T)>>);

impl<T: Clone + Default> Seldom<T> {
    const fn new() -> Self {
        Seldom(Mutex::new(None))
    }

    fn look(&self, at: SocketAddrV4, look: impl FnOnce(SocketAddrV4) -> T) -> T {
        // Not waited for: somebody is looking; or this is a forked child, where it stays locked.
        let Some(mut last) = self.0.try_lock() else { return T::default() };
        if let Some((_, _, finding)) = last
            .as_ref()
            .filter(|(when, of, _)| *of == at && when.elapsed() < Duration::from_secs(1))
        {
            return finding.clone();
        }
        let finding = look(at);
        *last = Some((Instant::now(), at, finding.clone()));
        finding
    }
}

fn look_at_holder(at: SocketAddrV4) -> bool {
    let Some((uid, inode)) = listener_at(at) else { return false };
    match process_with(inode) {
        // In this order: a process that ends loses its threads one after the other.
        Some(pid) => !has_role_thread(pid) && !is_ending(pid),
        None => uid != rustix::process::geteuid().as_raw(),
    }
}

/// True if the port's holder has an instance, and no room for more connections.
pub(crate) fn is_full(at: SocketAddrV4) -> bool {
    static LOOK: Seldom<bool> = Seldom::new();
    let full = |pid| has_role_thread(pid) && is_at_a_limit(pid);
    LOOK.look(at, |at| listener_at(at).and_then(|(_, inode)| process_with(inode)).is_some_and(full))
}

/// True if a process has hardly a descriptor, a thread or a mapping left; as far as it can be seen.
fn is_at_a_limit(pid: u32) -> bool {
    /// It still has what it keeps in reserve, and gets by with a few less now and then.
    const FEW: usize = 8;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limits = read(&format!("/proc/{pid}/limits"));
    let limit = |name: &str| {
        let soft = limits
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        soft.unwrap_or(usize::MAX)
    };
    let number = |path: &str| read(path).trim().parse().unwrap_or(usize::MAX);
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    let everywhere = read("/proc/loadavg")
        .split([' ', '/'])
        .nth(4)
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let least = number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max"));
    let mappings = read(&format!("/proc/{pid}/maps")).lines().count();
    let limits = [
        (count("fd"), limit("Max open files")),
        (count("task"), limit("Max processes")),
        (everywhere, least),
        (mappings, number("/proc/sys/vm/max_map_count")),
    ];
    limits.into_iter().any(|(used, limit)| used.saturating_add(FEW) >= limit)
}

fn has_role_thread(pid: u32) -> bool {
    // It has just ended.
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let name =
        |thread: &fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.flatten().any(|thread| name(&thread).trim_end() == threads::ROLE.name)
}

/// True if a process is about to be gone: it dumps core, frees its memory (100 ms for each GiB), or
/// was killed and does not know it yet. Its descriptors go last.
fn is_ending(pid: u32) -> bool {
    const EXITING_DUMPING_OR_SIGNALLED: u64 = 0x4 | 0x200 | 0x400;
    const KILLED: u64 = 1 << (9 - 1);
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else { return true };
    // The kernel's flags are the 9th field; see `started`.
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    let pending = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigPnd:")?.trim(), 16).ok());
    flags.is_none_or(|flags| flags & EXITING_DUMPING_OR_SIGNALLED != 0)
        || pending.is_some_and(|set| set & KILLED != 0)
}

fn listener_at(at: SocketAddrV4) -> Option<(u32, u64)> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listener(&table, at))
}

/// The holder of the listening socket at `at`, or on its port of all addresses, as far as it can be
/// seen.
pub(crate) fn of(at: SocketAddrV4) -> Option<PortHolder> {
    let (uid, inode) = listener_at(at)?;
    let pid = process_with(inode);
    Some(PortHolder {
        pid,
        program: pid
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok())
            // Any process can call itself anything.
            .map(|name| printable(name.trim_end_matches('\n'))),
        user: Some(user(uid)),
        stopped: pid.is_some_and(is_stopped),
        dumping_core: pid.is_some_and(is_dumping_core),
    })
}

/// Finds uid and inode of the socket that listens at `at` in a table as /proc/net/tcp or tcp6 has
/// it.
fn listener(table: &str, at: SocketAddrV4) -> Option<(u32, u64)> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = local(words.get(1)?)?;
        let here = port == at.port()
            && (ip == *at.ip() || ip.is_unspecified())
            && words.get(3) == Some(&LISTEN);
        if here { Some((words.get(7)?.parse().ok()?, words.get(9)?.parse().ok()?)) } else { None }
    })
}

/// An address in a table of the kernel's: the words of an address as hexadecimal numbers, a colon,
/// the port. One of IPv6 only if IPv4 comes there, too.
fn local(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let (wide, ip) = ip.split_at_checked(ip.len().checked_sub(8)?)?;
    let mapped = format!("{:016X}{:08X}", 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]));
    let number = u32::from_str_radix(ip, 16).ok()?;
    let is_ipv4 = wide.is_empty()
        || wide == mapped
        || (number == 0 && wide.bytes().all(|digit| digit == b'0'));
    let ip = Ipv4Addr::from(number.to_ne_bytes());
    if is_ipv4 { Some((ip, u16::from_str_radix(port, 16).ok()?)) } else { None }
}

/// The process that has the socket with this inode open; of several, the oldest: between fork and
/// exec, a child has all that its parent has. (Not the one with the lowest number: those start anew
/// when they have come to their end.)
pub(crate) fn process_with(inode: u64) -> Option<u32> {
    let oldest = || {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| has_socket(pid, inode))
            .filter_map(|pid| Some((started(pid)?, pid)))
            .min()
            .map(|(_, pid)| pid)
    };
    // A supervisor moves its listener to a higher descriptor now and then, and a look that passes
    // meanwhile misses it.
    (0..3).find_map(|_| oldest())
}

/// True if the process has the socket with this inode open.
pub(crate) fn has_socket(pid: u32, inode: u64) -> bool {
    let link = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
    })
}

/// The inode of the other end of a connection on this machine.
pub(crate) fn other_end(stream: &TcpStream) -> Option<u64> {
    let (SocketAddr::V4(here), SocketAddr::V4(there)) =
        (stream.local_addr().ok()?, stream.peer_addr().ok()?)
    else {
        return None;
    };
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    // With their addresses: connections to two groups may have both ports in common.
    let is = |text: Option<&&str>, at: SocketAddrV4| {
        text.and_then(|text| local(text)) == Some((*at.ip(), at.port()))
    };
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let found = is(words.get(1), there) && is(words.get(2), here);
        if found { words.get(9)?.parse().ok().filter(|&inode| inode != 0) } else { None }
    })
}

/// When a process was started, in the kernel's ticks since boot.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, which may contain anything, ends with the last bracket; the time is the
    // 22nd field.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

pub(crate) fn is_stopped(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tT") || line.starts_with("State:\tt"))
}

/// A process that has crashed keeps its sockets until its core dump is written.
pub(crate) fn is_dumping_core(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    says_dumping(&status)
}

/// Whether the text of /proc/PID/status says so.
fn says_dumping(status: &str) -> bool {
    status
        .lines()
        .any(|line| line.strip_prefix("CoreDumping:").is_some_and(|value| value.trim() == "1"))
}

/// The user's name by /etc/passwd, else the number: enough for a message, without the system's name
/// service.
fn user(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        (words.get(2)?.parse() == Ok(uid)).then(|| words[0].to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode\n\
            0: 0100007F:7593 0100007F:1234 01 00000000:00000000 00:00000000 00000000  1000        \
            0 111 1 0\n\
            1: 0100007F:7593 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        \
            0 222 1 0\n";
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(listener(table, at("127.0.0.1:30099")), Some((1001, 222)));
        assert_eq!(listener(table, at("127.0.0.1:30098")), None);
        assert_eq!(listener(table, at("127.1.2.3:30099")), None, "another group's");
        let line =
            |ip: &str| format!("head\n0: {ip}:7593 00000000:0000 0A 0:0 00:0 0 1001 0 222 1 0\n");
        let zeros = |count| "0".repeat(count);
        let all = [zeros(8), zeros(32), format!("{}FFFF00000302017F", zeros(16))];
        for ip in &all {
            assert_eq!(listener(&line(ip), at("127.1.2.3:30099")), Some((1001, 222)), "{ip}");
        }
        for ip in [
            format!("{}01000000", zeros(24)),
            format!("B80D0120{}0302017F", zeros(16)),
            zeros(7),
            String::new(),
        ] {
            assert_eq!(listener(&line(&ip), at("127.1.2.3:30099")), None, "{ip}");
        }
    }

    #[test]
    fn who_dumps_core_says_so() {
        assert!(says_dumping("Name:\tx\nCoreDumping:\t1\nTHP_enabled:\t1\n"));
        assert!(!says_dumping("Name:\tx\nCoreDumping:\t0\nTHP_enabled:\t1\n"));
        assert!(!says_dumping(""));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_younger_than_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let times = (started(1), started(std::process::id()), started(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(times.0.is_some() && times.0 <= times.1 && times.1 <= times.2, "{times:?}");
        assert_eq!(started(child.id()), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_was_killed_is_ending_and_who_lives_is_not() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(!is_ending(std::process::id()) && !is_ending(child.id()));
        child.kill().unwrap();
        assert!(is_ending(child.id()), "not reaped yet");
        child.wait().unwrap();
        assert!(is_ending(child.id()), "gone");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_holder_of_a_port_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder =
            of(crate::net::transport::port::here(socket.local_addr().unwrap().port())).unwrap();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.program.is_some() && holder.user.is_some() && !holder.stopped, "{holder}");
    }
}
