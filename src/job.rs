//! Work that runs on the supervisor only:
//! [`Instance::while_supervisor`](crate::Instance::while_supervisor).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::StartError;
use crate::event::Role;
use crate::net::member::shared::Shared;
use crate::net::rt::clock::deadline;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{JOB, Threads, run_program};

/// A job that is run whenever, and as long as, its instance is supervisor.
///
/// Dropping it tells a running job to end, waits until it has, and never starts it again.
#[must_use = "dropping it ends the job"]
pub struct Job {
    shared: Arc<Shared>,
    cancelled: Arc<AtomicBool>,
    thread: Threads,
}

/// What a running job holds: the answer to "may I go on?".
///
/// It is given up by returning from the job.
pub struct SupervisorGuard<'a> {
    tenure: &'a Arc<Tenure>,
}

/// One supervisorship, as a job sees it; what the C interface's guard keeps.
pub(crate) struct Tenure {
    shared: Arc<Shared>,
    cancelled: Arc<AtomicBool>,
    term: u64,
}

impl Job {
    pub(crate) fn start<F>(shared: Arc<Shared>, run: F) -> Result<Self, StartError>
    where
        F: FnMut(&SupervisorGuard<'_>) + Send + 'static,
    {
        if shared.presence.is_void() {
            return Err(StartError::Stopped);
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let thread = Threads::default();
        let started = thread.spawn(JOB, {
            let (shared, cancelled) = (shared.clone(), cancelled.clone());
            move || work(&shared, &cancelled, run)
        });
        started.map_err(|source| StartError::Io { doing: "start the job's thread", source })?;
        Ok(Job { shared, cancelled, thread })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.shared.presence.is_void() {
            // Nothing of the parent's instance is torn down here.
            std::mem::forget(self.shared.clone());
            return;
        }
        self.cancelled.store(true, Ordering::Release);
        self.shared.presence.change(|_| {});
        self.thread.join_all();
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("instance", &self.shared.me.name).finish_non_exhaustive()
    }
}

/// The job's thread: once for each supervisorship, until the job is dropped or the instance is
/// gone.
fn work(
    shared: &Arc<Shared>,
    cancelled: &Arc<AtomicBool>,
    mut run: impl FnMut(&SupervisorGuard<'_>),
) {
    let mut done = 0;
    loop {
        let term = shared.presence.wait(None, |inside| {
            if cancelled.load(Ordering::Acquire) || inside.halting || inside.role() == Role::Stopped
            {
                return Some(None);
            }
            (inside.jobs_wanted() && inside.term != done).then(|| {
                // Counted in the same step, so that no hand-over can slip in between.
                inside.jobs += 1;
                Some(inside.term)
            })
        });
        let Some(Some(term)) = term else { return };
        let tenure =
            Arc::new(Tenure { shared: shared.clone(), cancelled: cancelled.clone(), term });
        let guard = SupervisorGuard { tenure: &tenure };
        let finished = run_program(|| run(&guard));
        let told = guard.should_stop();
        shared.presence.change(|inside| {
            inside.jobs -= 1;
            if inside.halting {
                inside.call_away();
            }
        });
        if !finished {
            let name = &shared.me.name;
            complain!(
                Error,
                name,
                "{name}: a job on the supervisor panicked; it runs again at the next election"
            );
        }
        // One that returned by itself has done its work for this supervisorship. One that was told
        // to, for a hand-over that then failed, is wanted again.
        if !told || !finished {
            done = term;
        }
    }
}

impl SupervisorGuard<'_> {
    /// The number of this supervisorship: it grows from each to the next, and so can fence off the
    /// work of an older one.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.tenure.term
    }

    /// True once the job must end: the role is being given up, or the instance or the job is going
    /// away.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.tenure.is_over()
    }

    /// Waits up to `timeout` for the moment at which the job must end; true if it has come.
    ///
    /// For a job that does something every so often:
    /// `while !guard.wait(Duration::from_secs(60)) { push_metrics() }`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.tenure.wait(timeout)
    }

    /// The same for one who cannot borrow it.
    #[cfg(feature = "capi")]
    pub(crate) fn tenure(&self) -> Arc<Tenure> {
        self.tenure.clone()
    }
}

impl Tenure {
    #[cfg(feature = "capi")]
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    pub(crate) fn is_over(&self) -> bool {
        self.shared.presence.is_void()
            || self.shared.presence.look(|inside| !inside.jobs_wanted() || inside.term != self.term)
            || self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        if self.shared.presence.is_void() {
            return true;
        }
        let stop = self.shared.presence.wait(Some(deadline(timeout)), |inside| {
            let stop = !inside.jobs_wanted()
                || inside.term != self.term
                || self.cancelled.load(Ordering::Acquire);
            stop.then_some(())
        });
        stop.is_some()
    }
}
