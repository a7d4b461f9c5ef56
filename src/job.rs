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

/// A job that runs whenever its instance is supervisor, for as long as it is.
///
/// Dropping a `Job` tells the running job to end and waits until it has. The job never starts
/// again.
#[must_use = "dropping it ends the job"]
pub struct Job {
    shared: Arc<Shared>,
    cancelled: Arc<AtomicBool>,
    thread: Threads,
}

/// What a running job holds: it tells the job whether it may go on.
///
/// The job gives it up by returning.
pub struct SupervisorGuard<'a> {
    tenure: &'a Arc<Tenure>,
}

/// One supervisorship, as a job sees it; the C interface's guard keeps it.
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

/// Runs the job once for each supervisorship, until the job is dropped or the instance is gone.
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
    /// Returns the number of this supervisorship. It grows from each supervisorship to the next,
    /// and can therefore fence off the work of an older one.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.tenure.term
    }

    /// Returns true once the job must end: the role ends, or the instance or the job goes away.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.tenure.is_over()
    }

    /// Waits until the job must end, for at most `timeout`. Returns true if the job must end.
    ///
    /// Use it in a job that does something at intervals: `while
    /// !guard.wait(Duration::from_secs(60)) { push_metrics() }`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.tenure.wait(timeout)
    }

    /// Returns the same for a caller that cannot borrow the guard.
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
