//! One process of a masterless group: what a program joins and holds.

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
/// Such a group has no supervisor. Every process broadcasts a heartbeat and keeps its own record of
/// all others. The processes agree on a **primary** for each service type, on one machine or on
/// many.
///
/// Any thread may call any method, several at once. One process may hold several peers.
///
/// # Being primary
///
/// As long as heartbeats arrive in time (see [`Config::delay`]), no two processes are primary of
/// one service type at once. No protocol of messages can promise that on a network that breaks
/// apart, or for a process that stands still and cannot know it yet. Run work that only the primary
/// may do as a job of [`while_primary`](Peer::while_primary). The job learns when the role ends,
/// calls [`lease_ok`](PrimaryGuard::lease_ok) before each act, and passes its
/// [`token`](PrimaryGuard::token) to every store that it writes to. The store must refuse smaller
/// tokens.
///
/// # Forks
///
/// A peer belongs to the process that joined. A forked child has neither its socket nor its thread.
/// In the child, its status is [`Status::Leaving`], it has no token and knows no other process, and
/// everything else does nothing, including dropping it. [`Events`] made before the fork have ended.
/// The child may join the group itself and is then another process of the group.
///
/// # Leaving
///
/// [`leave`](Peer::leave) hands over first. Dropping the peer leaves at once: it tells the others,
/// which have a new primary after twice the [delay](Config::delay). A running job is told to end
/// within that time, but nothing waits for it. No descriptor is left behind, and no thread except
/// those that look up a [name](Config::unicast_names), which end when the system has answered.
#[must_use = "dropping it leaves the group"]
pub struct Peer {
    events: usize,
    delay: Duration,
    shared: Arc<PeerShared>,
    thread: Threads,
}

impl Peer {
    /// Starts to join the group: opens the socket, asks all other processes for a heartbeat, and
    /// starts a thread.
    ///
    /// Blocks for a few system calls, and for up to a second where the look-up of
    /// [names](Config::unicast_names) takes long. Does not wait for admission, which usually takes
    /// three intervals; see [`wait_admitted`](Peer::wait_admitted).
    ///
    /// # Errors
    ///
    /// Any [`JoinError`]. Nothing is left behind.
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

    /// Returns the name of the group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.group
    }

    /// Returns the identifier of this process. Does not block.
    ///
    /// The identifier changes. Its sequence changes when the process is admitted, and when it loses
    /// the role of primary against its will. Its rank changes when a program sets it. All of it
    /// changes if another process turns out to have the same one.
    #[must_use]
    pub fn id(&self) -> PeerId {
        if self.is_void() {
            self.shared.first
        } else {
            self.shared.look(|inside, _| inside.machine.id())
        }
    }

    /// Returns the label of this process, as [`Config::label`](Config::label) describes it. Does
    /// not block.
    #[must_use]
    pub fn label(&self) -> Label {
        self.shared.label
    }

    /// Returns the [delay](Config::delay) that this process assumes. Does not block.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns the present status. Does not block.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.is_void() {
            return Status::Leaving;
        }
        self.shared
            .look(|inside, _| if inside.gone { Status::Leaving } else { inside.machine.status() })
    }

    /// Returns the token that fences this process's work while it is primary; otherwise `None`.
    /// Does not block.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        if self.is_void() {
            return None;
        }
        self.shared.look(|inside, _| inside.machine.token().filter(|_| !inside.gone))
    }

    /// Returns true if this process is primary and, as far as heartbeats can tell, no other process
    /// can be. Does not block; costs one look at the clock.
    ///
    /// Call this right before each act that only the primary may do. It also returns false after
    /// this process has stood still for so long that the others must count it as dead, before
    /// anything else here has noticed.
    #[must_use]
    pub fn lease_ok(&self) -> bool {
        !self.is_void()
            && self.shared.look(|inside, now| !inside.gone && inside.machine.lease_ok(now))
    }

    /// Returns how long this process may act as primary even if it sends nothing more; `None`
    /// unless [`lease_ok`](Peer::lease_ok) is true. Does not block.
    ///
    /// Use it for a watchdog in another process that stops the work at that moment, unless it
    /// learns of a later one.
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

    /// Waits until this process is admitted to the group, for at most `timeout`. Returns false if
    /// it is not admitted by then, or has left.
    #[must_use]
    pub fn wait_admitted(&self, timeout: Duration) -> bool {
        let admitted = |machine: &Machine| machine.status() != Status::Joining;
        !self.is_void() && self.shared.wait(deadline(timeout), admitted)
    }

    /// Returns a new receiver of the peer's events. The first event tells the present status and
    /// its last cause; while nothing can be sent, the second event says so.
    ///
    /// Each receiver gets every event. A receiver that already holds [`Config::event_capacity`]
    /// events misses the next ones and learns how many it missed; the library never waits for a
    /// receiver. A receiver ends when the peer has left.
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

    /// Returns the record: all processes of the group that this one knows, itself included, in the
    /// order of their identifiers. Does not block.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        if self.is_void() {
            return Vec::new();
        }
        let mut peers: Vec<PeerInfo> = self.shared.look(|inside, now| {
            let machine = &inside.machine;
            let others = machine.members().map(|member| {
                PeerInfo::other(machine, member, inside.address(member.id.tail()), now)
            });
            others.chain([PeerInfo::own(machine)]).collect()
        });
        peers.sort_unstable_by_key(|peer| peer.id);
        peers
    }

    /// Returns the process of a service type that has the smallest workload; of several, the one
    /// with the smallest identifier. Only processes that are admitted, not suspected, and heard by
    /// this process directly count. The result may be this process itself. Does not block.
    #[must_use]
    pub fn least_loaded(&self, service: u16) -> Option<PeerInfo> {
        let admitted = |one: &PeerInfo| !matches!(one.status, Status::Joining | Status::Leaving);
        let fit = |one: &PeerInfo| {
            one.service == service && admitted(one) && one.direct && !one.suspected
        };
        self.peers().into_iter().filter(fit).min_by_key(|one| (one.workload, one.id))
    }

    /// Tells another process, or this one, which rank to take. Any process can thus promote or
    /// demote any other. Does not block.
    ///
    /// The order is repeated for five intervals. The [record](Peer::peers) shows when it was
    /// followed.
    pub fn direct(&self, target: Tail, rank: u8) {
        self.wish(Wish::Direct(target, rank));
    }

    /// Sets the rank of this process. Does not block.
    pub fn set_rank(&self, rank: u8) {
        self.wish(Wish::Rank(rank));
    }

    /// Sets the workload of this process, which the next heartbeat carries. Does not block.
    pub fn set_workload(&self, workload: u16) {
        self.wish(Wish::Workload(workload));
    }

    /// Reports that the program has finished its work as primary, and hands over. This answers
    /// [`EventKind::PrepareHandover`] where [`Config::prepare_handover`] is set. Does not block.
    pub fn handover_ready(&self) {
        self.wish(Wish::HandoverReady);
    }

    /// Reports that a process of this machine has ended, which the program may know from the
    /// process's parent, or from the registry of a supervisor group. Does not block.
    ///
    /// Peers known to be that process are suspected at once, instead of three intervals later. If
    /// they send nothing more, they are replaced. A peer that is alive after all takes no harm. On
    /// Linux the kernel reports the end of up to 256 processes anyway.
    pub fn process_ended(&self, pid: u32) {
        self.wish(Wish::Ended(pid));
    }

    /// Returns how often each thing has happened. Does not block.
    #[must_use]
    pub fn counters(&self) -> Counters {
        if self.is_void() {
            return Counters::default();
        }
        let (counts, traffic) =
            self.shared.look(|inside, _| (inside.machine.counts(), inside.traffic.clone()));
        Counters::new(&counts, &traffic)
    }

    /// Runs `job` on a thread of its own whenever this process is primary, for as long as it is.
    ///
    /// The guard tells the job when the role ends: [`PrimaryGuard::wait`] and `should_stop` return
    /// true. Before the role goes to a better process, or when this process [leaves](Peer::leave)
    /// in order, the group waits for the job to return: two intervals for a handover, six for
    /// leaving. The role can end while the job still runs, if the job takes longer, or if the role
    /// is lost because this process stood still or met another primary. [`PrimaryGuard::lease_ok`]
    /// then returns false.
    ///
    /// A job that returns by itself runs again the next time this process becomes primary. So does
    /// a job that panics; the panic is logged. If another process was primary meanwhile
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

    /// Leaves the group in order: a primary first lets its [job](Peer::while_primary) end and
    /// another process take over.
    ///
    /// Blocks until this process has left: without a handover for a quarter of an interval; with
    /// one, usually for about an interval, at most for six and a half.
    pub fn leave(self) {
        self.leave_in_order();
    }

    /// Leaves as [`leave`](Peer::leave) does, but blocks for at most `timeout`, and then leaves at
    /// once. Returns true if it left in order.
    #[must_use = "false says that it did not hand over"]
    pub fn leave_timeout(self, timeout: Duration) -> bool {
        self.begin_to_leave();
        !self.is_void() && self.shared.wait_gone(deadline(timeout))
    }

    /// Starts to leave in order, without blocking. The last event is [`EventKind::Stopped`].
    ///
    /// Use this in a program that goes on reading events meanwhile, as one that
    /// [prepares](Config::prepare_handover) handovers by itself must. Drop the peer when it has
    /// left.
    pub fn begin_to_leave(&self) {
        self.wish(Wish::Leave);
    }

    /// Leaves as [`leave`](Peer::leave) does, for callers that share the peer.
    pub(crate) fn leave_in_order(&self) {
        self.end(Wish::Leave);
    }

    /// Leaves without handing over first, as dropping does.
    ///
    /// Tells all others, so they need not wait for its silence. Blocks only for moments.
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

    /// Returns true in a forked child, and in a process that is crashing.
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
