//! What strace has written down, summed up.

use std::collections::BTreeMap;
use std::fmt;

/// Of each request, of each thread's name, of each system call: how often.
#[derive(Default)]
pub(super) struct Trace(BTreeMap<String, BTreeMap<String, BTreeMap<String, usize>>>);

/// What one end of a connection has done.
#[derive(Clone, Copy, Default)]
pub(super) struct End {
    pub(super) calls: usize,
    /// Those between threads, which are not in `calls`.
    pub(super) futex: usize,
}

impl Trace {
    /// `names` are those of the threads, by their numbers.
    pub(super) fn read(text: &str, names: &BTreeMap<&str, &str>) -> Self {
        let mut trace = Trace::default();
        let mut request: Option<&str> = None;
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some((_, rest)) = call.split_once("\"/mark/") {
                let name = rest.split('"').next().expect("a name");
                request = (name != "end").then_some(name);
                continue;
            }
            // Not the second half of a call that others came between, nor a signal or an end.
            let begins = call.starts_with(|c: char| c.is_ascii_lowercase());
            let Some((name, _)) = call.split_once('(').filter(|_| begins) else { continue };
            let (Some(request), Some(&thread)) = (request, names.get(thread)) else { continue };
            let threads = trace.0.entry(request.to_owned()).or_default();
            *threads.entry(thread.to_owned()).or_default().entry(name.to_owned()).or_default() += 1;
        }
        trace
    }

    /// The asker's end, and the supervisor's.
    pub(super) fn ends(&self, request: &str) -> [End; 2] {
        let mut ends = [End::default(); 2];
        for (thread, calls) in self.0.get(request).into_iter().flatten() {
            let of_supervisor =
                matches!(thread.as_str(), "pares-member" | "pares-registry" | "pares-admin" | "pares-announce");
            let end = &mut ends[usize::from(of_supervisor)];
            for (name, count) in calls {
                *if name == "futex" { &mut end.futex } else { &mut end.calls } += count;
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
