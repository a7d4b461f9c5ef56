//! Processes and their sockets, as /proc shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::read;

/// What is to be known of a process.
pub(super) struct Process {
    pub(super) pid: u32,
    /// The number that it has in its own process namespace.
    pub(super) own_pid: u32,
    program: String,
    pub(super) stopped: bool,
    pub(super) dumping: bool,
    /// It has the thread that every instance has.
    pub(super) has_role: bool,
    /// How many listening sockets of the loopback address it holds.
    listeners: usize,
}

impl Process {
    /// `None` if there is none that can be seen, or it is dead and only not reaped yet.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        let value = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
        };
        let state = value("State:");
        let dumping = value("CoreDumping:") == "1";
        if state.starts_with(['Z', 'X']) && !dumping {
            return None;
        }
        Some(Process {
            pid,
            own_pid: value("NSpid:")
                .split_whitespace()
                .next_back()
                .and_then(|own| own.parse().ok())
                .unwrap_or(pid),
            program: value("Name:").to_owned(),
            stopped: state.starts_with(['T', 't']),
            dumping,
            has_role: has_role(pid),
            listeners: 0,
        })
    }

    /// It has the sockets of a supervisor (its port, its registry, its admin endpoint), and none of
    /// its threads.
    pub(super) fn is_left_over(&self) -> bool {
        !self.has_role && self.listeners >= 3
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

fn has_role(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok())
        .any(|name| name.trim() == "pares-role")
}

fn pids() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// All processes with an instance that can be seen, in whatever namespace.
pub(super) fn instances() -> Vec<u32> {
    pids().into_iter().filter(|pid| has_role(*pid)).collect()
}

/// Whether somebody listens at `at` in the network namespace of this process.
pub(super) fn has_listener(pid: u32, at: SocketAddrV4) -> bool {
    read(&format!("/proc/{pid}/net/tcp"))
        .is_some_and(|table| listeners(&table).any(|listener| covers(listener.at, at)))
}

fn all_listeners() -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| read(table));
    tables.flat_map(|table| listeners(&table).collect::<Vec<_>>()).collect()
}

/// How many connections wait to be taken at `at`, now; `None` if nobody listens there, as far as
/// that can be seen.
pub(super) fn queue(at: SocketAddrV4) -> Option<u32> {
    all_listeners()
        .into_iter()
        .find(|listener| covers(listener.at, at))
        .map(|listener| listener.queue)
}

/// All listening sockets of this network namespace, and who holds them, as far as that can be seen.
pub(super) struct Sockets {
    listeners: Vec<Listener>,
    holders: BTreeMap<u64, Vec<u32>>,
}

impl Sockets {
    pub(super) fn look() -> Self {
        let listeners = all_listeners();
        let wanted: BTreeSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
        let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for pid in pids() {
            let descriptors =
                fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let targets =
                descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
            let inode = |target: &str| {
                target.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            };
            let held: BTreeSet<u64> =
                targets.filter_map(|target| inode(target.to_str()?)).collect();
            held.intersection(&wanted)
                .for_each(|inode| holders.entry(*inode).or_default().push(pid));
        }
        Sockets { listeners, holders }
    }

    /// True if the system shows no sockets here, so that nothing can be said of them.
    pub(super) fn are_hidden(&self) -> bool {
        self.listeners.is_empty() && read("/proc/net/tcp").is_none()
    }

    /// All processes that hold the socket which listens at `at`, or on its port of all addresses;
    /// the oldest first, which is the one that has made it.
    pub(super) fn listening_at(&self, at: SocketAddrV4) -> Vec<Process> {
        let found = self.listeners.iter().filter(|listener| covers(listener.at, at));
        let pids = found.filter_map(|listener| self.holders.get(&listener.inode)).flatten();
        let mut found: Vec<(u64, Process)> =
            pids.filter_map(|pid| Some((started(*pid)?, Process::of(*pid)?))).collect();
        found.sort_by_key(|(started, process)| (*started, process.pid));
        let count = |pid: u32| self.holders.values().filter(|pids| pids.contains(&pid)).count();
        found
            .into_iter()
            .map(|(_, process)| Process { listeners: count(process.pid), ..process })
            .collect()
    }
}

/// When a process was started, in the kernel's ticks since boot.
fn started(pid: u32) -> Option<u64> {
    // The program's name, which may contain anything, ends with the last bracket; the time is the
    // 22nd field.
    read(&format!("/proc/{pid}/stat"))?
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// Whether nobody else can have `at` while somebody listens at `here`.
fn covers(here: SocketAddrV4, at: SocketAddrV4) -> bool {
    here.port() == at.port() && (here.ip() == at.ip() || here.ip().is_unspecified())
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    at: SocketAddrV4,
    inode: u64,
    /// How many connections wait to be taken.
    queue: u32,
}

/// The sockets that listen, in a table as /proc/net/tcp or tcp6 has it.
fn listeners(table: &str) -> impl Iterator<Item = Listener> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = words.get(1)?.rsplit_once(':')?;
        if words.get(3) != Some(&LISTEN) {
            return None;
        }
        let at = SocketAddrV4::new(ipv4(ip)?, u16::from_str_radix(port, 16).ok()?);
        let queue = words
            .get(4)?
            .split_once(':')
            .and_then(|(_, queue)| u32::from_str_radix(queue, 16).ok())?;
        Some(Listener { at, inode: words.get(9)?.parse().ok()?, queue })
    })
}

/// An address as these tables have it, in words of four bytes. Of those of IPv6 only all addresses,
/// and IPv4 by way of it.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let (wide, word) = text.split_at_checked(text.len().checked_sub(8)?)?;
    let word = u32::from_str_radix(word, 16).ok()?;
    let mapped = format!("{:016X}{:08X}", 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]));
    let all = word == 0 && wide.bytes().all(|digit| digit == b'0');
    (wide.is_empty() || wide == mapped || all).then(|| Ipv4Addr::from(word.to_ne_bytes()))
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
            1: 0302017F:7593 00000000:0000 0A 00000000:0000001F 00:00000000 00000000  1001        \
            0 222 1 0\n";
        let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        assert_eq!(
            listeners(table).collect::<Vec<_>>(),
            [Listener { at: at("127.1.2.3:30099"), inode: 222, queue: 31 }]
        );
        assert!(
            covers(at("0.0.0.0:1"), at("127.1.2.3:1"))
                && !covers(at("127.0.0.1:1"), at("127.1.2.3:1"))
        );
        let zeros = "0".repeat(24);
        assert_eq!(ipv4(&format!("{zeros}00000000")), Some(Ipv4Addr::UNSPECIFIED));
        assert_eq!(ipv4("0000000000000000FFFF00000302017F"), Some(Ipv4Addr::new(127, 1, 2, 3)));
        assert_eq!(ipv4(&format!("{zeros}01000000")), None, "::1");
    }
}
