//! Work that only the primary does:
//! [`Peer::while_primary`](crate::masterless::Peer::while_primary).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::StartError;
use crate::event::masterless::Token;
use crate::net::masterless::{PeerShared, PeerState};
use crate::net::rt::clock::deadline;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{JOB, Threads, run_program};
use crate::state::masterless::Millis;

/// How often a job that waits for its lease looks again: nothing reports when the lease begins.
const LOOK_AGAIN: Millis = 20;

/// A job that runs whenever its process is primary, for as long as it is.
///
/// Dropping a `Job` tells the running job to end and waits until it has. The job never starts
/// again.
#[must_use = "dropping it ends the job"]
pub struct Job {
    shared: Arc<PeerShared>,
    cancelled: Arc<AtomicBool>,
    thread: Threads,
}

/// What a running job holds: it tells the job whether it may act and go on.
///
/// The job gives it up by returning.
pub struct PrimaryGuard<'a> {
    tenure: &'a Arc<PrimaryTenure>,
}

/// One time of being primary, as a job sees it; the C interface's guard keeps it.
pub(crate) struct PrimaryTenure {
    shared: Arc<PeerShared>,
    cancelled: Arc<AtomicBool>,
    token: Token,
}

impl Job {
    pub(super) fn start<F>(shared: Arc<PeerShared>, run: F) -> Result<Self, StartError>
    where
        F: FnMut(&PrimaryGuard<'_>) + Send + 'static,
    {
        if shared.is_void() {
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
        if self.shared.is_void() {
            // Nothing of the parent's peer is torn down here.
            std::mem::forget(self.shared.clone());
            return;
        }
        self.cancelled.store(true, Ordering::Release);
        self.shared.change(|_| {});
        self.thread.join_all();
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

/// Runs the job once for each time that the process becomes primary, until the job is dropped or
/// the process has left.
fn work(
    shared: &Arc<PeerShared>,
    cancelled: &Arc<AtomicBool>,
    mut run: impl FnMut(&PrimaryGuard<'_>),
) {
    let mut done = None;
    loop {
        let token = shared.wait_for(None, |inside, now| {
            if cancelled.load(Ordering::Acquire) || inside.gone {
                return Ok(None);
            }
            match inside.machine.mandate() {
                Some(token) if done != Some(token) => {
                    // In the same step, so that no handover can slip in between.
                    inside.machine.begin_job(now).map(Some).ok_or(Some(LOOK_AGAIN))
                }
                Some(_) | None => Err(None),
            }
        });
        let Some(Some(token)) = token else { return };
        let (shared_too, cancelled_too) = (shared.clone(), cancelled.clone());
        let tenure =
            Arc::new(PrimaryTenure { shared: shared_too, cancelled: cancelled_too, token });
        let guard = PrimaryGuard { tenure: &tenure };
        let finished = run_program(|| run(&guard));
        let told = guard.should_stop();
        shared.change(|inside| inside.machine.end_job());
        if !finished {
            let group = &shared.group;
            complain!(
                Error,
                group,
                "{group}: a job on the primary panicked; it runs again the next time that this \
                 process becomes primary"
            );
        }
        // One that returned by itself has done its work for this time. One that was told to, for a
        // handover that then failed, is wanted again.
        if !told || !finished {
            done = Some(token);
        }
    }
}

impl PrimaryGuard<'_> {
    /// Returns the token under which the job began; it fences the job's work.
    ///
    /// Pass its [`fence`](Token::fence) to every store that the job writes to. A job that goes on
    /// too late cannot damage a store that keeps the largest fence and refuses smaller ones.
    #[must_use]
    pub fn token(&self) -> Token {
        self.tenure.token
    }

    /// Returns true if, as far as heartbeats can tell, no other process can be primary now.
    ///
    /// Call this right before each act that only the primary may do. It returns false as soon as
    /// the role is lost. It also returns false after this process has stood still for too long,
    /// before anything else here has noticed. While the job is told to end for a handover it still
    /// returns true, so the job can finish its work. Does not block.
    #[must_use]
    pub fn lease_ok(&self) -> bool {
        self.lease_left().is_some()
    }

    /// Returns how long the job may act even if this process sends nothing more; `None` unless
    /// [`lease_ok`](PrimaryGuard::lease_ok) is true. Does not block.
    ///
    /// Use it for a watchdog in another process that stops the work at that moment, unless it
    /// learns of a later one.
    #[must_use]
    pub fn lease_left(&self) -> Option<Duration> {
        self.tenure.lease_left()
    }

    /// Returns true once the job must end: a better process is to be primary, the role is lost, the
    /// lease is over, or the peer or the job goes away. Does not block.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.tenure.should_stop()
    }

    /// Waits until the job must end, for at most `timeout`. Returns true if the job must end.
    ///
    /// Use it in a job that does something at intervals: `while
    /// !guard.wait(Duration::from_secs(60)) { if guard.lease_ok() { push_metrics() } }`.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.tenure.wait(timeout)
    }

    /// Returns the same for a caller that cannot borrow the guard.
    #[cfg(feature = "capi")]
    pub(crate) fn tenure(&self) -> Arc<PrimaryTenure> {
        self.tenure.clone()
    }
}

impl PrimaryTenure {
    #[cfg(feature = "capi")]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn lease_left(&self) -> Option<Duration> {
        if self.shared.is_void() {
            return None;
        }
        self.shared.look(|inside, now| self.left(inside, now)).map(Duration::from_millis)
    }

    pub(crate) fn should_stop(&self) -> bool {
        self.shared.is_void() || self.shared.look(|inside, now| self.is_over(inside, now))
    }

    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        if self.shared.is_void() {
            return true;
        }
        let over = self.shared.wait_for(Some(deadline(timeout)), |inside, now| {
            // The end of a lease is no event: it comes while this process's thread does not run.
            if self.is_over(inside, now) { Ok(()) } else { Err(self.left(inside, now)) }
        });
        over.is_some()
    }

    fn left(&self, inside: &PeerState, now: Millis) -> Option<Millis> {
        let token = inside.machine.token().filter(|token| *token == self.token);
        token.filter(|_| !inside.gone).and_then(|_| inside.machine.lease_left(now))
    }

    fn is_over(&self, inside: &PeerState, now: Millis) -> bool {
        self.cancelled.load(Ordering::Acquire)
            || inside.machine.mandate().is_none()
            || self.left(inside, now).is_none()
    }
}

impl std::fmt::Debug for PrimaryGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrimaryGuard").field("token", &self.tenure.token).finish_non_exhaustive()
    }
}
