//! What a program holds: one process of a masterless group.

use std::sync::Arc;
use std::time::Duration;

use super::{Counters, Job, PeerInfo, PrimaryGuard};
use crate::config::masterless::Config;
use crate::error::StartError;
use crate::error::masterless::JoinError;
use crate::event::masterless::{Event, EventKind, Token};
use crate::net::masterless::{Deeds, PeerShared, Wish};
use crate::net::rt::clock::{deadline, monotonic_ns};
use crate::net::rt::events::{Events, events};
use crate::net::rt::threads::{self, Threads};
use crate::state::masterless::Machine;
use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId, Tail};

/// One process of a masterless group, from [`join`](Peer::join) until it is dropped.
///
/// In such a group there is no supervisor. Every process broadcasts a heartbeat, keeps its own
/// record of all others, and they agree on who is **primary** for each service type. On one
/// machine, or on many.
///
/// Any thread may call any method, several at once. Several peers may live in one process.
///
/// # Being primary
///
/// As long as heartbeats arrive in time (see [`Config::delay`]) no two processes are primary of one
/// service type at once. No protocol of messages can promise that on a network that breaks apart,
/// or for a process that stands still and cannot know it yet. So work that only the primary may do
/// runs as a job of [`while_primary`](Peer::while_primary): the job is told when the role ends,
/// asks [`lease_ok`](PrimaryGuard::lease_ok) before each act, and gives its
/// [`token`](PrimaryGuard::token) to whoever stores what it does, who refuses smaller tokens.
///
/// # Forks
///
/// A peer belongs to the process that has joined. A child forked from it has neither its socket nor
/// its thread; there its status is [`Status::Leaving`], it has no token and knows nobody,
/// everything else does nothing, and so does dropping it. [`Events`] made
/// before the fork have ended there. The child may join by itself, and is then
/// another process of the group.
///
/// # Leaving
///
/// [`leave`](Peer::leave) hands over first. Dropping the peer leaves at once: it says so to the
/// others, who have a new primary after twice the [delay](Config::delay). A running job is told,
/// and has to end within that time; nobody waits for it. No descriptor is left behind, and no
/// thread but those that look a [name](Config::unicast_names) up, until the system has an answer.
#[must_use = "dropping it leaves the group"]
pub struct Peer {
    events: usize,
    delay: Duration,
    shared: Arc<PeerShared>,
    thread: Threads,
}

impl Peer {
    /// Begins to join the group: opens the socket, asks all others for a heartbeat, and starts a
    /// thread.
    ///
    /// Blocks for some system calls only, and for up to a second where
    /// [names](Config::unicast_names) take long to be looked up; not until it is admitted: that
    /// takes three intervals, usually; see [`wait_admitted`](Peer::wait_admitted).
    ///
    /// # Errors
    ///
    /// Any [`JoinError`]; nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use pares::masterless::{Config, Peer};
    ///
    /// let config = Config::new("my-group");
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/peers.rs"));
    /// let first = Peer::join(config.clone())?;
    /// let second = Peer::join(config)?;
    /// let patience = Duration::from_secs(10);
    /// assert!(first.wait_admitted(patience) && second.wait_admitted(patience));
    ///
    /// let is_primary = |peer: &Peer| peer.events().iter().any(|it| it.kind.token().is_some());
    /// let first_leads = first.id() < second.id();
    /// let (primary, standby) = if first_leads { (first, second) } else { (second, first) };
    /// assert!(is_primary(&primary) && primary.lease_ok());
    ///
    /// primary.leave(); // hands over
    /// assert!(is_primary(&standby));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(config: Config) -> Result<Self, JoinError> {
        let (shared, deeds) = Deeds::begin(&config)?;
        let thread = Threads::default();
        // The program's function for the workload runs on it, which may want more than the library
        // does.
        let kind = threads::PEER.for_program(config.workload_source.is_some());
        let started = thread.spawn(kind, move || deeds.run());
        started.map_err(|source| JoinError::Io { doing: "start the peer's thread", source })?;
        Ok(Peer { events: config.events, delay: config.assumed_delay(), shared, thread })
    }

    /// The name of its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.group
    }

    /// Its identifier. Does not block.
    ///
    /// It changes: its sequence when it is admitted and when it loses the role of primary against
    /// its will, its rank when somebody sets that, and all of it if another process turns out to
    /// have the same one.
    #[must_use]
    pub fn id(&self) -> PeerId {
        if self.is_void() {
            self.shared.first
        } else {
            self.shared.look(|inside, _| inside.machine.id())
        }
    }

    /// What people call this process, as [`Config::label`](Config::label) says. Does not block.
    #[must_use]
    pub fn label(&self) -> Label {
        self.shared.label
    }

    /// Returns the [delay](Config::delay) that it assumes. Does not block.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// What it is at the moment. Does not block.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.is_void() {
            return Status::Leaving;
        }
        self.shared
            .look(|inside, _| if inside.gone { Status::Leaving } else { inside.machine.status() })
    }

    /// What fences its work while it is primary, else `None`. Does not block.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        if self.is_void() {
            return None;
        }
        self.shared.look(|inside, _| inside.machine.token().filter(|_| !inside.gone))
    }

    /// True if it is primary and, as far as heartbeats can tell, no other process can be. Does not
    /// block, and costs a look at the clock.
    ///
    /// To be asked right before each act that only the primary may do: it is false also after this
    /// process has stood still for so long that others must take it for dead, before anything else
    /// here has noticed that.
    #[must_use]
    pub fn lease_ok(&self) -> bool {
        !self.is_void()
            && self.shared.look(|inside, now| !inside.gone && inside.machine.lease_ok(now))
    }

    /// For how long it may act as primary even if this process says nothing more: `None` unless
    /// [`lease_ok`](Peer::lease_ok). Does not block.
    ///
    /// For a watchdog in another process, which stops the work at that moment unless it is told a
    /// later one.
    #[must_use]
    pub fn lease_left(&self) -> Option<Duration> {
        if self.is_void() {
            return None;
        }
        let left = self
            .shared
            .look(|inside, now| if inside.gone { None } else { inside.machine.lease_left(now) });
        left.map(Duration::from_millis)
    }

    /// Waits until it is admitted to the group. False if it is not when `timeout` is over, or has
    /// left.
    #[must_use]
    pub fn wait_admitted(&self, timeout: Duration) -> bool {
        let admitted = |machine: &Machine| machine.status() != Status::Joining;
        !self.is_void() && self.shared.wait(deadline(timeout), admitted)
    }

    /// A new receiver of the peer's events. The first one tells the present status, and its last
    /// cause; while nothing can be sent, the second one says that.
    ///
    /// Each receiver gets every event. A receiver that holds as many as [`Config::event_capacity`]
    /// says misses the next ones, and is told how many; the library never waits for a receiver. It
    /// ends when the peer has left.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/peers.rs"));
    /// use pares::masterless::{EventKind, Peer, Status};
    ///
    /// let peer = Peer::join(config)?;
    /// for event in peer.events() {
    ///     match event.kind {
    ///         EventKind::Role { to: Status::Primary, token: Some(token), .. } => {
    ///             println!("primary: act under {}", token.fence());
    /// #           break;
    ///         }
    ///         EventKind::Role { from, to, cause, .. } => println!("{from} -> {to}, {cause}"),
    ///         EventKind::EpochBump { token } => {
    ///             println!("read all again, and go on under {}", token.fence());
    ///         }
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events<Event> {
        if self.is_void() {
            let (tell, events) = events(1);
            _ = tell.try_tell(Event { monotonic_ns: monotonic_ns(), kind: EventKind::Stopped });
            return events;
        }
        self.shared.subscribe(self.events)
    }

    /// The record: all processes of the group that it knows, itself included, in the order of their
    /// identifiers. Does not block.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        if self.is_void() {
            return Vec::new();
        }
        let mut peers: Vec<PeerInfo> = self.shared.look(|inside, now| {
            let machine = &inside.machine;
            let others = machine.members().map(|member| PeerInfo::other(machine, member, now));
            others.chain([PeerInfo::own(machine)]).collect()
        });
        peers.sort_unstable_by_key(|peer| peer.id);
        peers
    }

    /// The process of a service type that has least to do, of those that are admitted, heard by
    /// this process itself, and not suspected; of several the one with the smallest identifier.
    /// Perhaps itself. Does not block.
    #[must_use]
    pub fn least_loaded(&self, service: u16) -> Option<PeerInfo> {
        let admitted = |one: &PeerInfo| !matches!(one.status, Status::Joining | Status::Leaving);
        let fit = |one: &PeerInfo| {
            one.service == service && admitted(one) && one.direct && !one.suspected
        };
        self.peers().into_iter().filter(fit).min_by_key(|one| (one.workload, one.id))
    }

    /// Tells another process, or this one, which rank it is to have: so anyone can promote or
    /// demote anyone. Does not block.
    ///
    /// It is said for five intervals; that it was followed shows in the [record](Peer::peers).
    pub fn direct(&self, target: Tail, rank: u8) {
        self.wish(Wish::Direct(target, rank));
    }

    /// Gives this process another rank. Does not block.
    pub fn set_rank(&self, rank: u8) {
        self.wish(Wish::Rank(rank));
    }

    /// Says how much this process has to do; the next heartbeat tells it. Does not block.
    pub fn set_workload(&self, workload: u16) {
        self.wish(Wish::Workload(workload));
    }

    /// The program has brought its work as primary to an end, and hands over: the answer to
    /// [`EventKind::PrepareHandover`], where [`Config::prepare_handover`] says that there
    /// is one. Does not block.
    pub fn handover_ready(&self) {
        self.wish(Wish::HandoverReady);
    }

    /// The program knows that a process of this machine has ended, from its parent for example, or
    /// from the registry of a supervisor group. Does not block.
    ///
    /// Peers that are known to be that process are suspected at once, instead of three intervals
    /// later, and heard no more of are replaced. One that lives all the same takes no harm. On
    /// Linux the kernel tells this of up to 256 processes anyway.
    pub fn process_ended(&self, pid: u32) {
        self.wish(Wish::Ended(pid));
    }

    /// How often what has happened. Does not block.
    #[must_use]
    pub fn counters(&self) -> Counters {
        if self.is_void() {
            return Counters::default();
        }
        let (counts, traffic) =
            self.shared.look(|inside, _| (inside.machine.counts(), inside.traffic.clone()));
        Counters::new(&counts, &traffic)
    }

    /// Runs `job` on a thread of its own whenever, and as long as, this process is primary.
    ///
    /// The job is told when the role ends: [`PrimaryGuard::wait`] returns true, and `should_stop`.
    /// Before the role goes to a better process, or this process [leaves](Peer::leave) in order,
    /// the group waits for the job to return: two intervals for a handover, six when it leaves.
    /// A job that takes longer, or a role that is lost because this process stood still or met
    /// another primary, ends while the job may still run; [`PrimaryGuard::lease_ok`] then is false.
    ///
    /// A job that returns by itself runs again the next time that this process becomes primary. So
    /// does a job that panics, which is logged. If another process was primary meanwhile
    /// ([`EventKind::EpochBump`]), the job is told to end and runs again under the new token.
    ///
    /// Does not block. The job runs until the returned [`Job`] is dropped or the peer has left.
    ///
    /// # Errors
    ///
    /// [`StartError::Io`] if the system cannot start a thread; [`StartError::Stopped`] in a forked
    /// child.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use pares::masterless::{Config, Peer};
    ///
    /// # fn write(fence: &str) { assert_eq!(fence.len(), 48) }
    /// let config = Config::new("my-group");
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/peers.rs"));
    /// let peer = Peer::join(config)?;
    /// # let (tell, done) = std::sync::mpsc::channel();
    /// let job = peer.while_primary(move |guard| {
    ///     while !guard.wait(Duration::from_millis(10)) {
    ///         if guard.lease_ok() {
    ///             write(&guard.token().fence()); // the store refuses smaller ones
    /// #           _ = tell.send(());
    ///         }
    ///     }
    /// })?;
    /// # done.recv()?;
    /// # drop(job);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn while_primary<F>(&self, job: F) -> Result<Job, StartError>
    where
        F: FnMut(&PrimaryGuard<'_>) + Send + 'static,
    {
        Job::start(self.shared.clone(), job)
    }

    /// Leaves the group in order: a primary lets its [job](Peer::while_primary) end and another
    /// process take over first.
    ///
    /// Blocks until it has left: without a handover a quarter of an interval, with one usually
    /// about an interval, at most six and a half.
    pub fn leave(self) {
        self.leave_in_order();
    }

    /// Leaves as [`leave`](Peer::leave), but blocks for `timeout` at most: then it leaves at once.
    /// Returns true if it left in order.
    #[must_use = "false says that it did not hand over"]
    pub fn leave_timeout(self, timeout: Duration) -> bool {
        self.begin_to_leave();
        !self.is_void() && self.shared.wait_gone(deadline(timeout))
    }

    /// Begins to leave in order, and does not block. Its last event is [`EventKind::Stopped`].
    ///
    /// For a program that goes on reading events meanwhile, as one that
    /// [prepares](Config::prepare_handover) handovers by itself must. Drop the peer when it has
    /// left.
    pub fn begin_to_leave(&self) {
        self.wish(Wish::Leave);
    }

    /// The same as [`leave`](Peer::leave) for those who share it.
    pub(crate) fn leave_in_order(&self) {
        self.end(Wish::Leave);
    }

    /// Leaves without handing over first: what dropping it does.
    ///
    /// Says so to all others, so that they need not wait for its silence; blocks for moments.
    pub(crate) fn leave_at_once(&self) {
        self.end(Wish::Quit);
    }

    fn end(&self, wish: Wish) {
        self.wish(wish);
        if !self.is_void() {
            self.thread.join_all();
        }
    }

    fn wish(&self, wish: Wish) {
        if !self.is_void() {
            self.shared.wish(wish);
        }
    }

    /// True in a forked child, and in a process that is crashing.
    fn is_void(&self) -> bool {
        self.shared.is_void()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.is_void() {
            // Thread, lock and socket are the parent's: nothing is waited for, and nothing torn
            // down.
            std::mem::forget((std::mem::take(&mut self.thread), self.shared.clone()));
            return;
        }
        self.leave_at_once();
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("group", &self.shared.group)
            .field("id", &self.id())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
