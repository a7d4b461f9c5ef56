//! Judges a process that gives no good answer (on Linux): whether it hangs, or only lacks a
//! processor.

use std::time::Duration;

use super::kernel;
use crate::event::StallCause;
use crate::net::rt::clock;
use crate::net::rt::threads;
use crate::state::Time;

/// One sample.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSample {
    at: Time,
    stopped: bool,
    dumping_core: bool,
    /// True if a thread that answers, or holds locks that such threads wait for, wants to be run.
    ours_wait: bool,
    /// True if any thread wants to be run, or runs.
    any_waits: bool,
    /// How long all threads together were run so far; `None` where the kernel does not say.
    ran: Option<Duration>,
}

/// A process that is run for less than this part of the time, and wants more, is starved. With fair
/// shares this takes more than eight busy processes on each processor.
const STARVED: u32 = 8;

impl ProcessSample {
    pub(crate) fn at(pid: u32) -> Option<Self> {
        let at = clock::now();
        let state = kernel::state(pid).unwrap_or_default();
        let looks = kernel::threads(pid)?;
        let wanting = || looks.iter().filter(|thread| thread.waits);
        let ran = looks.iter().try_fold(Duration::ZERO, |sum, thread| Some(sum + thread.ran?));
        Some(ProcessSample {
            at,
            stopped: state.stopped,
            dumping_core: state.dumping_core,
            ours_wait: wanting().any(|thread| threads::is_ours(&thread.name)),
            any_waits: wanting().next().is_some(),
            ran,
        })
    }

    /// Returns the cause; `silence` if nothing can be seen from outside. `before` is the sample at
    /// the end of the previous part.
    pub(crate) fn cause(&self, before: Option<&ProcessSample>, silence: StallCause) -> StallCause {
        if self.stopped {
            StallCause::Stopped
        } else if self.dumping_core {
            StallCause::DumpingCore
        } else if self.ours_wait || (self.any_waits && self.got_little(before)) {
            StallCause::Starved
        } else {
            silence
        }
    }

    /// In doubt it got little.
    fn got_little(&self, before: Option<&ProcessSample>) -> bool {
        let Some((before, now, then)) =
            before.and_then(|before| Some((before, self.ran?, before.ran?)))
        else {
            return true;
        };
        now.saturating_sub(then) < self.at.saturating_sub(before.at) / STARVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_millis(100);

    fn look(parts: u32, ran_ms: u64) -> ProcessSample {
        let ran = Some(Duration::from_millis(ran_ms));
        ProcessSample {
            at: PART * parts,
            stopped: false,
            dumping_core: false,
            ours_wait: false,
            any_waits: false,
            ran,
        }
    }

    #[test]
    fn one_that_sleeps_hangs() {
        assert_eq!(look(1, 0).cause(None, StallCause::Silent), StallCause::Silent);
        assert_eq!(
            look(2, 0).cause(Some(&look(1, 0)), StallCause::NoProgress),
            StallCause::NoProgress
        );
    }

    #[test]
    fn one_whose_threads_want_to_be_run_and_are_not_is_starved() {
        let waits = ProcessSample { any_waits: true, ..look(2, 10) };
        assert_eq!(
            waits.cause(None, StallCause::Silent),
            StallCause::Starved,
            "nothing is known of before"
        );
        assert_eq!(waits.cause(Some(&look(1, 0)), StallCause::Silent), StallCause::Starved);
        let unknown = ProcessSample { ran: None, ..waits.clone() };
        assert_eq!(unknown.cause(Some(&look(1, 0)), StallCause::NoProgress), StallCause::Starved);
        let ours = ProcessSample { ours_wait: true, ..look(2, 100) };
        assert_eq!(ours.cause(Some(&look(1, 0)), StallCause::Silent), StallCause::Starved);
    }

    #[test]
    fn one_whose_program_is_run_and_does_not_answer_hangs() {
        let busy = ProcessSample { any_waits: true, ..look(2, 13) };
        assert_eq!(busy.cause(Some(&look(1, 0)), StallCause::NoProgress), StallCause::NoProgress);
    }

    #[test]
    fn what_the_system_says_of_a_process_comes_first() {
        let stopped = ProcessSample { stopped: true, any_waits: true, ..look(1, 0) };
        assert_eq!(stopped.cause(None, StallCause::Silent), StallCause::Stopped);
        let dumping = ProcessSample { dumping_core: true, any_waits: true, ..look(1, 0) };
        assert_eq!(dumping.cause(None, StallCause::Silent), StallCause::DumpingCore);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen_to_run() {
        let over = std::sync::atomic::AtomicBool::new(false);
        let (before, now) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let look = || ProcessSample::at(std::process::id()).unwrap();
            let before = look();
            let deadline = clock::now() + Duration::from_secs(30);
            let mut now = look();
            while !(now.any_waits && now.ran > before.ran) && clock::now() < deadline {
                now = look();
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            (before, now)
        });
        assert!(now.any_waits && now.ran > before.ran, "{before:?} {now:?}");
        assert!(ProcessSample::at(u32::MAX).is_none());
    }
}
