//! What Linux reports of processes and their sockets: the only reader of `/proc` for that, for the
//! library and the command's doctor.
//!
//! What cannot be read does not exist here: another user's process, one that has just ended, a
//! sandbox that shows nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use procfs::net::{TcpNetEntries, TcpNetEntry, TcpState};
use procfs::prelude::*;
use procfs::process::{FDTarget, LimitValue, Process, Stat};
use procfs::{Current, LoadAverage, ProcError, ProcResult};

fn process(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

fn processes() -> impl Iterator<Item = Process> {
    procfs::process::all_processes().into_iter().flatten().flatten()
}

fn number_of(process: &Process) -> u32 {
    process.pid().unsigned_abs()
}

pub(crate) fn pids() -> Vec<u32> {
    processes().map(|process| number_of(&process)).collect()
}

/// Returns the names of a process's threads; `None` if there is no such process.
pub(crate) fn thread_names(pid: u32) -> Option<Vec<String>> {
    let names = process(pid)?.tasks().ok()?.flatten();
    Some(names.filter_map(|thread| Some(thread.stat().ok()?.comm)).collect())
}

/// Returns when a process was started, in the kernel's ticks since boot.
pub(crate) fn started(pid: u32) -> Option<u64> {
    Some(process(pid)?.stat().ok()?.starttime)
}

/// The state of a process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessState {
    pub(crate) program: String,
    /// The number that it has in its own process namespace.
    pub(crate) own_pid: u32,
    pub(crate) stopped: bool,
    /// True if it has crashed: it keeps its sockets until its core dump is written.
    pub(crate) dumping_core: bool,
    /// True if it is dead, and only not reaped yet.
    pub(crate) dead: bool,
    /// True if it is about to be gone: it dumps core, frees its memory (100 ms for each GiB), or
    /// was killed and does not know it yet. Its descriptors go last.
    pub(crate) ending: bool,
}

pub(crate) fn state(pid: u32) -> Option<ProcessState> {
    const EXITING_DUMPING_OR_SIGNALLED: u32 = 0x4 | 0x200 | 0x400;
    const KILLED: u64 = 1 << (9 - 1);
    let process = process(pid)?;
    let (dumping_core, killed, own_pid) = match process.status() {
        Ok(status) => {
            let own_pid = status.nspid.as_deref().and_then(<[i32]>::last).copied();
            (status.core_dumping == Some(true), status.sigpnd & KILLED != 0, own_pid)
        }
        Err(ProcError::NotFound(_) | ProcError::PermissionDenied(_)) => return None,
        Err(_) => (false, false, None), // some sandboxes have not all of it
    };
    // After the signals: one that is no longer waiting to be killed is seen to end.
    let stat = process.stat().ok()?;
    Some(ProcessState {
        own_pid: own_pid.map_or(pid, i32::unsigned_abs),
        stopped: matches!(stat.state, 'T' | 't'),
        dumping_core,
        dead: matches!(stat.state, 'Z' | 'X') && !dumping_core,
        ending: killed || stat.flags & EXITING_DUMPING_OR_SIGNALLED != 0,
        program: if stat.comm == OF_ITS_OWN_LINK {
            file_name(&process).unwrap_or(stat.comm)
        } else {
            stat.comm
        },
    })
}

/// The name of a process that was started from `/proc/self/exe`, as the command's guard is.
const OF_ITS_OWN_LINK: &str = "exe";

fn file_name(process: &Process) -> Option<String> {
    let file = process.exe().ok()?;
    let name = file.file_name()?.to_string_lossy();
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).into())
}

/// A thread of another process, or another one of this process.
#[derive(Debug)]
pub(crate) struct ThreadLook {
    pub(crate) name: String,
    /// True if it wants to be run, or runs.
    pub(crate) waits: bool,
    /// How long it was run so far; `None` where the kernel does not say.
    pub(crate) ran: Option<Duration>,
}

/// Returns the threads of a process, except the calling one: that one runs, and may be one of them.
pub(crate) fn threads(pid: u32) -> Option<Vec<ThreadLook>> {
    let own = fs::read_link("/proc/thread-self").ok();
    let own = own.and_then(|own| own.file_name()?.to_str()?.parse::<i32>().ok());
    let threads = process(pid)?.tasks().ok()?.flatten();
    let looks = threads.filter(|thread| Some(thread.tid) != own).filter_map(|thread| {
        let Stat { comm, state, .. } = thread.stat().ok()?; // else it has just ended
        let ran = thread.schedstat().ok().map(|times| Duration::from_nanos(times.sum_exec_runtime));
        Some(ThreadLook { name: comm, waits: state == 'R', ran })
    });
    Some(looks.collect())
}

/// Returns how much a process uses of what is limited, and how much it may use: descriptors,
/// threads (its user's and the machine's), mappings; as far as it can be seen.
pub(crate) fn usage(pid: u32) -> Vec<(usize, usize)> {
    let Some(process) = process(pid) else { return Vec::new() };
    let most = |limit: LimitValue| match limit {
        LimitValue::Value(most) => usize::try_from(most).unwrap_or(usize::MAX),
        LimitValue::Unlimited => usize::MAX,
    };
    let (files, threads) = process.limits().map_or((usize::MAX, usize::MAX), |limits| {
        (most(limits.max_open_files.soft_limit), most(limits.max_processes.soft_limit))
    });
    let everywhere = LoadAverage::current().map_or(0, |load| load.max as usize);
    let pids =
        procfs::sys::kernel::pid_max().map_or(usize::MAX, |most| most.unsigned_abs() as usize);
    let all_threads = procfs::sys::kernel::threads_max().map_or(usize::MAX, |most| most as usize);
    // Counted, not read: there may be 65,530 of them.
    let mappings = fs::read(format!("/proc/{pid}/maps"))
        .map_or(0, |maps| maps.iter().filter(|&&byte| byte == b'\n').count());
    let most_mappings = procfs::sys::vm::max_map_count()
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    vec![
        (process.fd_count().unwrap_or(0), files),
        (process.tasks().map_or(0, Iterator::count), threads),
        (everywhere, pids.min(all_threads)),
        (mappings, most_mappings),
    ]
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) at: SocketAddrV4,
    pub(crate) uid: u32,
    pub(crate) inode: u64,
    /// The number of connections that wait to be accepted.
    pub(crate) queue: u32,
}

impl ListeningSocket {
    fn of(socket: TcpNetEntry) -> Option<Self> {
        let TcpNetEntry { state: TcpState::Listen, uid, inode, rx_queue, .. } = socket else {
            return None;
        };
        Some(ListeningSocket { at: ipv4(socket.local_address)?, uid, inode, queue: rx_queue })
    }

    /// Returns true if no other socket can have `at` while this one listens.
    pub(crate) fn covers(&self, at: SocketAddrV4) -> bool {
        self.at.port() == at.port() && (self.at.ip() == at.ip() || self.at.ip().is_unspecified())
    }
}

/// Of addresses of IPv6 only all of them, and IPv4 by way of it.
fn ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(ip) => ip.to_ipv4_mapped()?,
    };
    Some(SocketAddrV4::new(ip, address.port()))
}

/// Returns all listening sockets of this network namespace; `None` if the system shows no sockets
/// here.
pub(crate) fn listeners() -> Option<Vec<ListeningSocket>> {
    let (four, six) = (listening("/proc/net/tcp"), listening("/proc/net/tcp6"));
    if four.is_none() && six.is_none() {
        return None;
    }
    Some(four.into_iter().chain(six).flatten().collect())
}

/// Returns the listening sockets of a table; `None` if it cannot be read.
fn listening(table: &str) -> Option<Vec<ListeningSocket>> {
    let TcpNetEntries(sockets) = first_of(BufReader::new(fs::File::open(table).ok()?)).ok()?;
    Some(sockets.into_iter().filter_map(ListeningSocket::of).collect())
}

/// Reads a table of sockets up to the first that does not listen. The kernel lists those that do
/// before all others (`Documentation/networking/proc_net_tcp.rst`), which may be a hundred thousand
/// on a busy server.
fn first_of(table: impl BufRead) -> ProcResult<TcpNetEntries> {
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line?;
        if number > 0 && line.split_ascii_whitespace().nth(3) != Some(LISTENS) {
            break;
        }
        text.extend([&line, "\n"]);
    }
    TcpNetEntries::from_buf_read(text.as_bytes(), procfs::current_system_info())
}

/// TCP_LISTEN of `include/net/tcp_states.h`, as the tables write it.
const LISTENS: &str = "0A";

/// Returns the same for the network namespace of a process, IPv4 only.
pub(crate) fn listeners_of(pid: u32) -> Vec<ListeningSocket> {
    listening(&format!("/proc/{pid}/net/tcp")).unwrap_or_default()
}

/// Returns the socket that listens at `at`, or on its port of all addresses.
pub(crate) fn listener_at(at: SocketAddrV4) -> Option<ListeningSocket> {
    // The second table only where the first one has nothing: they may be long.
    let mut sockets = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(listening);
    sockets.find_map(|table| table.into_iter().find(|socket| socket.covers(at)))
}

/// Returns the inodes of the sockets that a process has open.
pub(crate) fn sockets_of(pid: u32) -> Vec<u64> {
    process(pid).map_or_else(Vec::new, |process| sockets(&process).collect())
}

fn sockets(process: &Process) -> impl Iterator<Item = u64> {
    let descriptors = process.fd().into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    })
}

/// Returns true if the process has the socket with this inode open.
pub(crate) fn has_socket(pid: u32, inode: u64) -> bool {
    process(pid).is_some_and(|process| sockets(&process).any(|one| one == inode))
}

/// Returns the process that has the socket with this inode open. Of several it is the oldest,
/// because between fork and exec a child has all that its parent has. (The lowest number does not
/// show it: numbers start anew at their end.)
pub(crate) fn process_with(inode: u64) -> Option<u32> {
    let oldest = || {
        let holders = processes().filter(|process| sockets(process).any(|one| one == inode));
        let started =
            |process: Process| Some((process.stat().ok()?.starttime, number_of(&process)));
        holders.filter_map(started).min().map(|(_, pid)| pid)
    };
    // A supervisor moves its listener to a higher descriptor now and then, and a look that passes
    // meanwhile misses it.
    (0..3).find_map(|_| oldest())
}

/// Returns the inode of the other end of a connection on this machine.
pub(crate) fn other_end(stream: &TcpStream) -> Option<u64> {
    let (here, there) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    // With their addresses: connections to two groups may have both ports in common.
    let is_it =
        |socket: &TcpNetEntry| (socket.local_address, socket.remote_address) == (there, here);
    let found = procfs::net::tcp().ok()?.into_iter().find(is_it)?;
    Some(found.inode).filter(|&inode| inode != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_table_no_more_is_read_than_the_sockets_that_listen() {
        struct Unread;
        impl std::io::Read for Unread {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                panic!("the rest is read");
            }
        }
        let line = |number, state| {
            format!(
                "{number:4}: 0100007F:1F90 00000000:0000 {state} 00000000:00000003 00:00000000 \
                 00000000  1000        0 77{number} 1 0000000000000000 100 0 0 10 0\n"
            )
        };
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";
        let text = [head.into(), line(0, "0A"), line(1, "0A"), line(2, "06")].concat();
        let table = std::io::Read::chain(text.as_bytes(), Unread);
        let TcpNetEntries(sockets) = first_of(BufReader::with_capacity(1, table)).unwrap();
        let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        assert_eq!(inodes, [770, 771]);
    }

    #[test]
    fn a_child_is_younger_than_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let times = (started(1), started(std::process::id()), started(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(times.0.is_some() && times.0 <= times.1 && times.1 <= times.2, "{times:?}");
        assert_eq!(started(child.id()), None);
    }

    #[test]
    fn a_process_that_was_started_from_its_own_link_has_its_files_name() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec /proc/self/exe -c 'echo; read line'"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        let program = state(child.id()).unwrap().program;
        child.kill().unwrap();
        child.wait().unwrap();
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(program, shell.file_name().unwrap().to_str().unwrap());
    }

    #[test]
    fn who_was_killed_is_ending_and_who_lives_is_not() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let is_ending = |pid| state(pid).map(|state| state.ending);
        assert_eq!(is_ending(std::process::id()), Some(false));
        assert_eq!(is_ending(child.id()), Some(false));
        child.kill().unwrap();
        // Between the end of its wait and the mark of its end the kernel shows neither.
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while is_ending(child.id()) != Some(true) {
            assert!(std::time::Instant::now() < deadline, "not reaped yet");
        }
        child.wait().unwrap();
        assert_eq!(is_ending(child.id()), None, "gone");
    }

    #[test]
    fn a_listener_is_seen_with_its_queue_wherever_its_port_counts() {
        let socket = std::net::TcpListener::bind("127.1.2.3:0").unwrap();
        let SocketAddr::V4(at) = socket.local_addr().unwrap() else { panic!() };
        let waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
        let find = |all: Vec<ListeningSocket>| all.into_iter().find(|one| one.covers(at)).unwrap();
        let found = find(listeners().unwrap());
        assert_eq!(listener_at(at), Some(found.clone()));
        assert_eq!((found.at, found.queue), (at, 3));
        assert_eq!(find(listeners_of(std::process::id())).inode, found.inode);
        assert!(sockets_of(std::process::id()).contains(&found.inode));
        assert_eq!(process_with(found.inode), Some(std::process::id()));
        let inode = other_end(&waiting[0]);
        assert_eq!(inode, None, "nobody has taken it, so that it has no inode yet");
        let (taken, _) = socket.accept().unwrap();
        assert!(has_socket(std::process::id(), other_end(&waiting[0]).unwrap()));
        assert!(has_socket(std::process::id(), other_end(&taken).unwrap()));
        let all =
            ListeningSocket { at: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, at.port()), ..found };
        assert!(all.covers(at));
    }

    #[test]
    fn of_ipv6_only_what_takes_ipv4_counts() {
        let at = |text: &str| ipv4(text.parse().unwrap()).map(|at| at.to_string());
        assert_eq!(at("127.1.2.3:5").as_deref(), Some("127.1.2.3:5"));
        assert_eq!(at("[::]:5").as_deref(), Some("0.0.0.0:5"));
        assert_eq!(at("[::ffff:127.1.2.3]:5").as_deref(), Some("127.1.2.3:5"));
        assert_eq!(at("[::1]:5"), None);
        assert_eq!(at("[2001:db8::302:17f]:5"), None);
    }

    #[test]
    fn what_is_used_is_below_its_limits() {
        let usage = usage(std::process::id());
        assert!(usage.len() == 4 && usage.iter().all(|(used, most)| used < most), "{usage:?}");
        assert!(usage[0].0 > 2 && usage[1].0 > 0 && usage[3].0 > 5, "{usage:?}");
    }
}
