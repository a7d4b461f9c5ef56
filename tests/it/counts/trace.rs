//! What strace has written down, summed up.

use std::collections::BTreeMap;
use std::fmt;

use crate::actors::subject::JOIN;

/// Of each request, of each thread's name, of each system call: how often.
#[derive(Default)]
pub(super) struct Trace(BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>);

/// The thread that asks, and that in which the supervisor supervises.
const ASKER: &str = "asker";
const SUPERVISOR: &str = "supervisor";
const OF_SUPERVISOR: [&str; 5] =
    [SUPERVISOR, "pares-member", "pares-registry", "pares-admin", "pares-announce"];

/// Not counted: what the C library and std do with memory, and where a thread begins or ends,
/// besides `clone3`.
const THEIRS: &str = "exit gettid madvise mmap mprotect munmap prctl rseq rt_sigprocmask \
                      sched_getaffinity sched_yield \
                      set_robust_list sigaltstack";

/// What one end of a connection has done.
#[derive(Clone, Copy, Default)]
pub(super) struct End {
    pub(super) calls: usize,
    /// Those between threads, and others of which nobody can say how many they are; not in `calls`.
    pub(super) futex: usize,
}

impl Trace {
    /// Reads what `strace -f` has written of a process in which the supervisor joined first.
    pub(super) fn read(text: &str) -> Self {
        let mut trace = Trace::default();
        let mut request: Option<&str> = None;
        // By number. A thread tells its own; the threads of instances that have left are in no list
        // any more.
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            let quoted = call.split('"').nth(1).unwrap_or_default();
            if let Some(name) = quoted.strip_prefix("/mark/") {
                request = (name != "end").then_some(name);
                names.insert(thread, ASKER);
                continue;
            }
            if call.starts_with("prctl(PR_SET_NAME") {
                let first =
                    quoted == "pares-role" && !names.values().any(|name| *name == SUPERVISOR);
                names.insert(thread, if first { SUPERVISOR } else { quoted });
                continue;
            }
            // Not the second half of a call that others came between, nor a signal or an end.
            let begins = call.starts_with(|c: char| c.is_ascii_lowercase());
            let Some((name, _)) = call.split_once('(').filter(|_| begins) else { continue };
            let (Some(request), Some(&thread)) = (request, names.get(thread)) else { continue };
            // A timeout is set anew only if some time has passed; only std's debug build looks at
            // what it closes.
            let is_odd = call.contains("SO_RCVTIMEO") || call.contains("F_GETFD");
            if is_odd || THEIRS.split(' ').any(|their| their == name) {
                continue;
            }
            let threads = trace.0.entry(request.to_owned()).or_default();
            *threads.entry(thread.to_owned()).or_default().entry(name.to_owned()).or_default() += 1;
        }
        trace
    }

    /// The asker's end, and the supervisor's.
    pub(super) fn ends(&self, request: &str) -> [End; 2] {
        let mut ends = [End::default(); 2];
        for (thread, calls) in self.0.get(request).into_iter().flatten() {
            let of_supervisor = OF_SUPERVISOR.contains(&thread.as_str());
            let end = &mut ends[usize::from(of_supervisor)];
            for (name, count) in calls {
                // In how many pieces the last words of a supervisor come, and whether one who
                // leaves at once still waits for them, or for callers, depends on who is quicker.
                let waits = ["recvfrom", "shutdown", "accept4", "poll", "ppoll", "epoll_pwait"]
                    .contains(&name.as_str());
                let is_race = waits && request == JOIN && !of_supervisor;
                *if is_race || name == "futex" { &mut end.futex } else { &mut end.calls } += count;
            }
        }
        ends
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (request, threads) in &self.0 {
            for (thread, calls) in threads {
                writeln!(f, "{request:<12} {thread:<16} {calls:?}")?;
            }
        }
        Ok(())
    }
}
