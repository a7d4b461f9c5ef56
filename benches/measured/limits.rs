//! What a large group takes of the machine: limits that the bench raises for itself, and what it
//! says where it cannot.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};

/// More descriptors than any process of the bench needs.
const DESCRIPTORS: u64 = 65_536;

/// What each instance keeps open in its own process: a listener, a lifeline, the group's term file,
/// a waker, a reserve.
const OF_AN_INSTANCE: u64 = 6;

/// Raises the soft limits of this process, and of all that it starts, to the hard ones; as root the
/// hard one of descriptors, too.
pub(crate) fn raise() {
    for resource in [Resource::Nofile, Resource::Nproc] {
        let Rlimit { current, maximum } = getrlimit(resource);
        if current.is_some() && current != maximum {
            _ = setrlimit(resource, Rlimit { current: maximum, maximum });
        }
    }
    let most = number("/proc/sys/fs/nr_open").unwrap_or(0).min(DESCRIPTORS);
    if getuid().is_root()
        && getrlimit(Resource::Nofile).maximum.is_some_and(|maximum| maximum < most)
    {
        _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

/// Why this machine cannot have a group of so many instances in so many processes, one of which may
/// become its supervisor; or as many threads that stand for them.
pub(crate) fn lacking(size: u64, processes: u64) -> Option<String> {
    let of_a_process = size.div_ceil(processes) * OF_AN_INSTANCE + size + 256;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if of_a_process > descriptors {
        return Some(format!(
            "{of_a_process} descriptors for one process, and `ulimit -Hn` is {descriptors}"
        ));
    }
    // Two threads for each instance, and one more in the supervisor.
    let threads = 3 * size + 256;
    let running = running_threads();
    for limit in ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"] {
        if let Some(most) = number(limit).filter(|most| running + threads > *most) {
            return Some(format!(
                "{threads} threads beside the {running} that run, and {limit} is {most}"
            ));
        }
    }
    // Four for each thread: its stack and that for signals, and the page below each that must not
    // be touched.
    let maps = 4 * (size + 2 * size.div_ceil(processes)) + 1024;
    if let Some(most) = number("/proc/sys/vm/max_map_count").filter(|most| maps > *most) {
        return Some(format!("{maps} mappings for one process, and vm.max_map_count is {most}"));
    }
    // An admin endpoint and a lifeline each.
    let ports = 2 * size + 256;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let range: Vec<u64> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match range[..] {
        [first, last] if last + 1 - first < ports => Some(format!(
            "{ports} ports, and net.ipv4.ip_local_port_range has {}",
            last + 1 - first
        )),
        _ => None,
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// On the whole machine.
fn running_threads() -> u64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = load.split([' ', '/']).nth(4).and_then(|number| number.parse().ok());
    threads.unwrap_or(0)
}
