//! Processes and their sockets, as the system shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddrV4;

use kernel::ListeningSocket;

// The library's own reader: it is no part of the public face.
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "../../../net/procs/kernel.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "../../../net/procs/nothing.rs"
)]
#[allow(dead_code)]
mod kernel;

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
        let state = kernel::state(pid).filter(|state| !state.dead)?;
        Some(Process {
            pid,
            own_pid: state.own_pid,
            program: state.program,
            stopped: state.stopped,
            dumping: state.dumping_core,
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
    kernel::thread_names(pid).is_some_and(|names| names.iter().any(|name| name == "pares-role"))
}

/// All processes with an instance that can be seen, in whatever namespace.
pub(super) fn instances() -> Vec<u32> {
    kernel::pids().into_iter().filter(|pid| has_role(*pid)).collect()
}

/// Whether somebody listens at `at` in the network namespace of this process.
pub(super) fn has_listener(pid: u32, at: SocketAddrV4) -> bool {
    kernel::listeners_of(pid).iter().any(|listener| listener.covers(at))
}

/// How many connections wait to be taken at `at`, now; `None` if nobody listens there, as far as
/// that can be seen.
pub(super) fn queue(at: SocketAddrV4) -> Option<u32> {
    Some(kernel::listener_at(at)?.queue)
}

/// All listening sockets of this network namespace, and who holds them, as far as that can be seen.
pub(super) struct Sockets {
    /// `None` if the system shows none.
    listeners: Option<Vec<ListeningSocket>>,
    holders: BTreeMap<u64, Vec<u32>>,
}

impl Sockets {
    pub(super) fn look() -> Self {
        let listeners = kernel::listeners();
        let wanted: BTreeSet<u64> =
            listeners.iter().flatten().map(|listener| listener.inode).collect();
        let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for pid in kernel::pids() {
            let held: BTreeSet<u64> = kernel::sockets_of(pid).into_iter().collect();
            held.intersection(&wanted)
                .for_each(|inode| holders.entry(*inode).or_default().push(pid));
        }
        Sockets { listeners, holders }
    }

    /// True if the system shows no sockets here, so that nothing can be said of them.
    pub(super) fn are_hidden(&self) -> bool {
        self.listeners.is_none()
    }

    /// All processes that hold the socket which listens at `at`, or on its port of all addresses;
    /// the oldest first, which is the one that has made it.
    pub(super) fn listening_at(&self, at: SocketAddrV4) -> Vec<Process> {
        let found = self.listeners.iter().flatten().filter(|listener| listener.covers(at));
        let pids = found.filter_map(|listener| self.holders.get(&listener.inode)).flatten();
        let mut found: Vec<(u64, Process)> =
            pids.filter_map(|pid| Some((kernel::started(*pid)?, Process::of(*pid)?))).collect();
        found.sort_by_key(|(started, process)| (*started, process.pid));
        let count = |pid: u32| self.holders.values().filter(|pids| pids.contains(&pid)).count();
        found
            .into_iter()
            .map(|(_, process)| Process { listeners: count(process.pid), ..process })
            .collect()
    }
}
