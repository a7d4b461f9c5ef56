//! One participant of a group: what a program joins and holds.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::config::{Config, FOR_EVER};
use crate::error::{JoinError, StartError, StepDownError};
use crate::event::{Event, EventKind, Role};
use crate::job::{Job, SupervisorGuard};
use crate::net::accepting::listeners::Listeners;
use crate::net::endpoint::Endpoint;
use crate::net::member::hand_over::hand_over;
use crate::net::member::shared::Shared;
use crate::net::rt::clock::{self, deadline};
use crate::net::rt::events::{Events, events};
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::{self, Threads};
use crate::wire::Entry;

mod joining;

/// One participant of a group, from [`join`](Instance::join) until it is dropped.
///
/// **Dropping an instance blocks** until its jobs and its running admin functions have returned,
/// because it leaves the group in order. [`leave_timeout`](Instance::leave_timeout) limits this
/// time.
///
/// All methods take `&self`. Any thread may call them, several at once. One process may hold
/// several instances.
///
/// # Forks
///
/// An instance belongs to the process that joined. A forked child has none of its connections: they
/// are closed in the child before `fork` returns there. Other instances therefore learn of the
/// parent's death at once, however long the child lives.
///
/// In the child, the instance is [`Role::Stopped`], and everything made from it is void: permits,
/// tallies, watches, jobs and a [`Client`]. Every call returns the error that says
/// so, and dropping any of these does nothing. [`Events`] made before the fork have ended. The
/// child may join the group itself and is then another instance. A daemon therefore joins after it
/// has forked into the background.
///
/// If a function or job of the program forks, the child may do as it likes; when the function or
/// job returns in the child, its thread ends. All this holds for `fork`. A child made by a raw
/// `clone` system call keeps everything open.
///
/// # Closed descriptors
///
/// Some programs close all descriptors, for example to become a daemon. This closes the library's
/// descriptors, too. The program's instances and [peers](crate::masterless::Peer) have then left:
/// they are [`Role::Stopped`], and every call returns the error that says so. The program may join
/// anew.
///
/// The library does not touch what the program opens afterwards, with one exception: a call that is
/// under way at that very moment may use a socket whose number now belongs to the program. Call no
/// method of an instance while you close descriptors.
///
/// # Leaving
///
/// Dropping an instance leaves the group. It tells the jobs of
/// [`while_supervisor`](Instance::while_supervisor) to end and waits for them, then waits for
/// running admin functions. It leaves no thread and no descriptor behind.
#[must_use = "dropping it leaves the group"]
pub struct Instance {
    events: usize,
    pub(crate) answer_timeout: Duration,
    pub(crate) client: Client,
    role: Threads,
    pub(crate) listeners: Arc<Listeners>,
    // Taken out to be closed; held for that moment only.
    endpoint: Mutex<Option<Endpoint>>,
    pub(crate) shared: Arc<Shared>,
}

impl Instance {
    /// Joins the group: becomes supervisor if the port is free, otherwise a subordinate.
    ///
    /// Blocks until the role is known: usually less than a millisecond, at most the join timeout of
    /// `config` (default 10 s). Starts two threads, which live as long as the instance. A
    /// supervisor has three more threads, and one for each subordinate.
    ///
    /// # Errors
    ///
    /// Any [`JoinError`]. Nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::{Config, EventKind, Instance, Role};
    ///
    /// let config = Config::new("my-program");
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = Instance::join(config.clone())?;
    /// let second = Instance::join(config)?;
    /// assert_eq!((first.role(), second.role()), (Role::Supervisor, Role::Subordinate));
    ///
    /// drop(first);
    /// let is_promotion = |kind| matches!(kind, EventKind::Supervisor { .. });
    /// assert!(second.events().iter().any(|event| is_promotion(event.kind)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(config: Config) -> Result<Self, JoinError> {
        joining::join(config)
    }

    /// Returns the instance's unique name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.me.name
    }

    /// Returns the entry under which this instance registers.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.shared.me
    }

    /// Returns the name of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.pass.group
    }

    /// Returns the instance's present role; in a forked child, [`Role::Stopped`]. Does not block.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.shared.presence.is_over() {
            return Role::Stopped;
        }
        self.shared.presence.look(|inside| inside.role())
    }

    /// Returns true if this instance is supervisor at the moment. Does not block.
    ///
    /// For work that only the supervisor may do, use
    /// [`while_supervisor`](Instance::while_supervisor), which tells the work when the role ends.
    /// Fence what such work writes elsewhere with the [`term`](Instance::term).
    #[must_use]
    pub fn is_supervisor(&self) -> bool {
        self.role() == Role::Supervisor
    }

    /// Returns the unique name of the supervisor, as this instance knows it; it may be its own.
    /// Returns `None` while there is no supervisor, and once this instance has left. Does not
    /// block.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone().name("first"))?;
    /// let second = pares::Instance::join(config.name("second"))?;
    /// assert_eq!(second.supervisor().as_deref(), Some("first"));
    /// assert!(second.wait_settled(std::time::Duration::from_secs(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn supervisor(&self) -> Option<String> {
        if self.shared.presence.is_over() {
            return None;
        }
        self.shared.presence.look(|inside| match inside.role() {
            Role::Supervisor => Some(self.shared.me.name.clone()),
            Role::Subordinate => inside.supervisor_name(),
            Role::Contending | Role::Stopped => None,
        })
    }

    /// Returns true if this instance has a role and all known survivors of the last election are
    /// back in the registry. Does not block.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.shared.presence.is_over() && self.shared.presence.look(|inside| inside.is_settled())
    }

    /// Waits until the group [is settled](Instance::is_settled), for at most `timeout`. Returns
    /// true if it is, and false at once if this instance has left.
    #[must_use = "false says that the group is not settled"]
    pub fn wait_settled(&self, timeout: Duration) -> bool {
        if self.shared.presence.is_over() {
            return false;
        }
        let settled = self.shared.presence.wait(Some(deadline(timeout)), |inside| {
            (inside.is_settled() || inside.role() == Role::Stopped).then(|| inside.is_settled())
        });
        settled == Some(true)
    }

    /// Returns the term: the number of the present supervisorship, or of the last one that this
    /// instance has seen. Does not block.
    ///
    /// The term grows with each supervisorship of the group, even when all instances die and the
    /// group starts anew: the group's directory keeps the last term, and every survivor knows it.
    /// In a forked child it is 0.
    #[must_use]
    pub fn term(&self) -> u64 {
        if self.is_void() { 0 } else { self.shared.presence.look(|inside| inside.term) }
    }

    /// Returns a new receiver of the instance's events. The first events tell the present role, and
    /// whether the group is settled.
    ///
    /// Each receiver gets every event. A receiver that already holds [`Config::event_capacity`]
    /// events misses the next ones and learns how many it missed; the library never waits for a
    /// receiver. A receiver ends when the instance has left. Messages are events as well, of up to
    /// 64 KiB each, so drop a receiver that you do not read.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// for event in instance.events() {
    ///     match event.kind {
    ///         pares::EventKind::Supervisor { term } => println!("supervisor of term {term}"),
    ///         pares::EventKind::Missed { events } => println!("{events} events were missed"),
    ///         other => println!("{other:?}"),
    ///     }
    /// #   break;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        if self.is_void() {
            let (tell, events) = events(1);
            _ = tell
                .try_tell(Event { monotonic_ns: clock::monotonic_ns(), kind: EventKind::Stopped });
            return events;
        }
        self.shared.presence.subscribe(self.events)
    }

    /// Returns the client of this instance, which asks the group and calls its instances. It knows
    /// the supervisor without having to look for it, even across an election.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// for entry in instance.client().list()?.entries {
    ///     println!("{} (pid {})", entry.name, entry.pid);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs `job` on a thread of its own whenever this instance is supervisor, once for each
    /// supervisorship.
    ///
    /// The guard tells the job when the role ends ([`SupervisorGuard::should_stop`],
    /// [`SupervisorGuard::wait`]); the job must then return. The instance keeps the supervisor port
    /// until it has. Jobs of one group therefore never overlap while their processes live. When a
    /// process is killed, its job ends with it, a moment before the next one begins.
    ///
    /// A job that returns before it is told to has done its work for this supervisorship. If a job
    /// panics, the panic is logged, and the job runs again at the next supervisorship. The job, and
    /// the threads and processes that it starts, have the signal mask of the thread that calls this
    /// method.
    ///
    /// Does not block. The job runs until the returned [`Job`] is dropped or the instance leaves.
    ///
    /// # Errors
    ///
    /// Any [`StartError`]. The job never ran.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// let (ran, runs) = std::sync::mpsc::channel();
    /// let job = instance.while_supervisor(move |guard| {
    ///     while !guard.wait(Duration::from_millis(1)) {
    ///         _ = ran.send(guard.term());
    ///     }
    /// })?;
    /// assert_eq!(runs.recv()?, instance.term());
    /// drop(job);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn while_supervisor<F>(&self, job: F) -> Result<Job, StartError>
    where
        F: FnMut(&SupervisorGuard<'_>) + Send + 'static,
    {
        Job::start(self.shared.clone(), job)
    }

    /// Shows that the program makes progress, to the instances that watch for hangs
    /// ([`Config::hang_timeout`]).
    ///
    /// In a deadlocked program the library's threads may still answer. A program that wants such a
    /// hang noticed calls this method where it must not stand still, for example in its main loop,
    /// more often than the shortest hang timeout in the group. After the first call, further calls
    /// are expected: a watcher that sees none for its whole timeout reports this instance as
    /// stalled ([`StallCause::NoProgress`](crate::StallCause::NoProgress)) within another timeout
    /// and a quarter.
    ///
    /// Does not block. It costs one look at the clock.
    pub fn pulse(&self) {
        self.shared.pulse.beat();
    }

    /// Hands the supervisorship over to another instance and stays in the group as a subordinate.
    ///
    /// This instance first tells the jobs of [`while_supervisor`](Instance::while_supervisor) to
    /// end, and waits for them while it still holds the role. Then it gives up the port and leaves
    /// it to the others for half a second. No instance leaves the registry.
    ///
    /// Blocks until another instance is supervisor, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Any [`StepDownError`]. Each says whether the role was given up.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone())?;
    /// let second = pares::Instance::join(config)?;
    /// first.step_down(std::time::Duration::from_secs(5))?;
    /// assert!(second.is_supervisor() && !first.is_supervisor());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step_down(&self, timeout: Duration) -> Result<(), StepDownError> {
        if self.is_void() {
            return Err(StepDownError::NotSupervisor);
        }
        hand_over(&self.shared, deadline(timeout))
    }

    /// Leaves the group, as dropping does. A supervisor hands over to whichever instance is
    /// quickest.
    ///
    /// Blocks until running jobs and admin functions have returned.
    pub fn leave(self) {}

    /// Leaves as [`leave`](Instance::leave) does, but blocks for at most `timeout`. Returns true if
    /// the instance has left by then. Otherwise it goes on leaving on a thread of its own, which
    /// ends when the last job and function have returned.
    #[must_use = "false says that a job or a function still runs"]
    pub fn leave_timeout(self, timeout: Duration) -> bool {
        let (done, left) = std::sync::mpsc::channel();
        self.shared.presence.halt();
        let started = threads::detach(threads::LEAVE, move || {
            drop(self);
            _ = done.send(());
        });
        // Without a thread it has been dropped here, and has left.
        started.is_err() || left.recv_timeout(timeout.min(FOR_EVER)).is_ok()
    }

    /// Leaves the group even if others still hold this instance: calls that wait in its methods end
    /// with their `Stopped`. Its own job must not call this, because this waits for the job.
    pub(crate) fn end(&self) {
        self.shared.presence.halt();
        self.client.asker.stop();
        self.listeners.end();
        self.role.join_all();
        let endpoint = self.endpoint.lock().take();
        drop(endpoint);
    }

    /// Returns true in a forked child, and in a process that is crashing.
    fn is_void(&self) -> bool {
        self.shared.presence.is_void()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.is_void() {
            // Threads, locks and connections are the parent's: nothing is waited for, and nothing
            // torn down.
            let (role, endpoint) =
                (std::mem::take(&mut self.role), std::mem::take(&mut self.endpoint));
            std::mem::forget((role, endpoint, self.client.clone(), self.shared.clone()));
            return;
        }
        self.end();
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("name", &self.shared.me.name)
            .field("group", &self.shared.pass.group)
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}
