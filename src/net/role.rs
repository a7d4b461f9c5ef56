//! The role thread: does what `state/election` names, one deed after the other, for the life of the
//! instance.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::attend;
use super::claim::{Claim, claim};
use super::clock;
use super::complaint::complain;
use super::handshake::{self, Denied, Pass};
use super::health::{self, Hands, Pulse, Vigil};
use super::holding::Holding;
use super::lifeline::Lifeline;
use super::link::{Link, LinkError, has_ended};
use super::obstacle;
use super::office::{Facts, Notice, Office};
use super::port::{self, Stream};
use super::standing::{Inside, Place, Standing, Wait};
use super::store::TermFile;
use super::threads::Threads;
use crate::config::{CROWD, HANDSHAKE_TIMEOUT, REAP_WAIT, SMALL_STACK, SURVIVOR_PATIENCE};
use crate::error::KeepError;
use crate::event::{ContendingCause, EventKind, Role};
use crate::state::election::{Deed, Election, Event, Loss, Obstacle, Report, left_cause};
use crate::state::hello::Hello;
use crate::state::settings::Settings;
use crate::state::subordinate::{News, Subordinate};
use crate::state::supervisor::{Before, Elected, Supervisor};
use crate::sys::{self, tripwire};
use crate::wire::{Departure, ElectionCause, Entry, LeftCause, Message, Purpose};

/// Everything about an instance that stays the same, and its standing, which does not.
pub(crate) struct Shared {
    pub(crate) pass: Pass,
    /// The supervisor port.
    pub(crate) at: SocketAddrV4,
    pub(crate) me: Entry,
    /// `None` if this instance may not supervise.
    pub(crate) terms: Option<TermFile>,
    pub(crate) settle_time: Duration,
    pub(crate) max_members: usize,
    pub(crate) hang_timeout: Option<Duration>,
    pub(crate) end_hung_supervisor: bool,
    pub(crate) pulse: Pulse,
    pub(crate) holding: Arc<Holding>,
    pub(crate) standing: Standing,
}

impl Shared {
    /// For one who has the port, or is about to try it.
    pub(super) fn terms(&self) -> &TermFile {
        self.terms.as_ref().expect("who may not supervise does not try the port")
    }
}

/// What the role thread carries from one deed to the next.
struct Duty {
    shared: Arc<Shared>,
    election: Election,
    claim: Option<Claim>,
    /// A connection to whoever was found on the port, not used yet.
    knocked: Option<Stream>,
    lifeline: Option<(Arc<Lifeline>, Subordinate)>,
    /// What this instance knows of its group from its last lifeline.
    memory: Option<Subordinate>,
    loss: Loss,
    /// The lifeline ended with a reset. The kernel resets the connections of the dead that had
    /// unread bytes, but it is not the only one who can.
    reset: bool,
    /// Threads for what must not hold this one up.
    helpers: Threads,
}

/// How long to wait at most to see whether somebody listens on the port. The kernel answers at
/// once, unless its queue is full.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(1);

/// The name of the thread that every instance has: by it others tell a stopped instance from
/// another program.
pub(crate) const ROLE_THREAD: &str = "pares-role";

/// Runs until the instance has left or cannot join.
pub(crate) fn run(shared: &Arc<Shared>, election: Election) {
    play(shared, election);
    shared.holding.stop();
}

/// The program has closed our descriptors: the instance leaves, as if it were told to.
pub(crate) fn lose(shared: &Shared) {
    if !shared.standing.change(|inside| std::mem::replace(&mut inside.halting, true)) {
        log::error!("{}: {}", shared.me.name, sys::TAKEN_AWAY);
    }
    shared.standing.halt();
}

fn play(shared: &Arc<Shared>, election: Election) {
    let mut duty = Duty {
        shared: shared.clone(),
        election,
        claim: None,
        knocked: None,
        lifeline: None,
        memory: None,
        loss: Loss::Died,
        reset: false,
        helpers: Threads::default(),
    };
    let mut event = Event::Started;
    loop {
        let (report, deed) = duty.election.on(clock::now(), event);
        if let Some(report) = report {
            duty.report(report);
        }
        event = match deed {
            Deed::TryPort => duty.try_port(),
            Deed::Keep { term } => duty.keep(term),
            Deed::Connect => duty.connect(),
            Deed::Wait(time) => duty.wait(time),
            Deed::Supervise { cause, .. } => duty.supervise(cause),
            Deed::Follow => duty.follow(),
            Deed::Fail(obstacle) => {
                shared.standing.change(|inside| {
                    inside.failed = Some(obstacle);
                    inside.place = Place::Stopped;
                });
                return;
            }
            Deed::Stop => return,
        };
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.helpers.join_all();
    }
}

impl Duty {
    fn see_loss(&self) {
        if self.shared.standing.is_lost() {
            lose(&self.shared);
        }
    }

    fn halting(&self) -> bool {
        self.see_loss();
        self.shared.standing.look(|inside| inside.halting)
    }

    /// Claims the port, and looks what the last term was.
    fn try_port(&mut self) -> Event {
        tripwire::look(); // an instance that nobody can reach must not claim it
        if self.halting() {
            return Event::Halted;
        }
        let few = self.memory.as_ref().is_some_and(|memory| (memory.members as usize) < CROWD);
        if !few && self.knock() {
            return self.port_taken();
        }
        match claim(&self.shared) {
            Ok(claim) => {
                let last = claim.last.as_ref().map(|last| last.term).map_err(KeepError::clone);
                self.claim = Some(claim);
                Event::PortClaimed {
                    last,
                    seen: self.shared.holding.settings(Settings::newest_term),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => self.port_taken(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Event::Obstructed(Obstacle::PortForbidden)
            }
            Err(error) => Event::Obstructed(system("become supervisor", &error)),
        }
    }

    /// True if somebody listens on the port. The connection is kept for when it is wanted.
    ///
    /// Binding would say so, too. But for that the kernel goes through all connections of the port,
    /// those of the dead supervisor included, one by one under a lock: among thousands of survivors
    /// each would pay for all others. Few survivors are sooner done without it, and whoever joins
    /// finds a supervisor there as a rule.
    fn knock(&mut self) -> bool {
        match port::connect(self.shared.at, sys::Kind::Lifeline, KNOCK_TIMEOUT) {
            Ok(stream) => self.knocked = stream,
            // So many connect that its queue is full.
            Err(error) => return error.kind() == io::ErrorKind::TimedOut,
        }
        self.knocked.is_some()
    }

    /// Connects. Who is to leave does not wait for a place in the queue.
    fn connect_in_turn(&self, timeout: Duration) -> io::Result<Option<Stream>> {
        let halted = |inside: &mut Inside| inside.halting.then_some(());
        let pause = |time| self.shared.standing.wait(Some(Instant::now() + time), halted).is_none();
        port::connect_with(self.shared.at, sys::Kind::Lifeline, timeout, pause)
    }

    fn port_taken(&mut self) -> Event {
        if std::mem::take(&mut self.reset) && self.loss == Loss::Died && self.supervisor_lives_on()
        {
            // Somebody cut the connection, and it welcomes others while we are away.
            self.memory.iter_mut().for_each(|memory| memory.lost(Loss::Evicted));
            self.shared.holding.cut_off();
        }
        Event::PortTaken
    }

    /// After a reset and with the port taken: whether the supervisor before is the one that still
    /// has it, as far as that matters. One that dies with unread bytes resets its connections, too,
    /// and its successor is quick.
    ///
    /// Its admin endpoint tells. A dying process closes that within milliseconds of its other
    /// connections, so one that still answers is watched for a while.
    fn supervisor_lives_on(&self) -> bool {
        let Some(memory) = &self.memory else { return false };
        if memory.roster.is_none() && !self.shared.holding.holds_anything() {
            return true; // there is nothing to be lost by thinking so
        }
        match port::connect(port::here(memory.supervisor_admin), sys::Kind::Peer, REAP_WAIT) {
            Ok(None) => false,
            Ok(Some(stream)) => !has_ended(&stream, REAP_WAIT),
            Err(error) => !port::is_gone(&error),
        }
    }

    /// Keeps the term in which this instance is about to supervise.
    fn keep(&self, term: u64) -> Event {
        let kept = self.shared.terms().begin(term);
        if let (Ok(()), Some(Err(error))) = (&kept, self.claim.as_ref().map(|claim| &claim.last)) {
            log::warn!(
                "{}: {}; this instance knows: {term} is written there",
                self.shared.me.name,
                error.finding()
            );
        }
        Event::Kept(kept)
    }

    /// Connects, proves itself, says hello and reads the welcome.
    fn connect(&mut self) -> Event {
        let shared = self.shared.clone();
        let left = self.election.deadline().map(|deadline| deadline.saturating_sub(clock::now()));
        let timeout = match left {
            Some(left) => HANDSHAKE_TIMEOUT.min(left).max(Duration::from_millis(1)),
            None => SURVIVOR_PATIENCE,
        };
        let deadline = Instant::now() + timeout;
        // By then it has proved to be a supervisor: one that is busy with thousands of others, or
        // starved, or stopped, is waited for like one that has welcomed us. To begin anew would
        // only add to its work, and let it see us die meanwhile.
        let welcome_deadline = left.map(|left| Instant::now() + left.max(timeout));
        let connected = match self.knocked.take() {
            Some(stream) => Ok(Some(stream)),
            None => self.connect_in_turn(timeout),
        };
        let stream = match connected {
            _ if self.halting() => return Event::Halted,
            Ok(Some(stream)) => Arc::new(stream),
            Ok(None) => return Event::NobodyThere,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Event::Obstructed(handshake::silence(shared.at));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Event::ClosedAtOnce;
            }
            Err(error) => return Event::Obstructed(system("connect to the supervisor", &error)),
        };
        if !self.wait_on(Wait::Stream(stream.clone())) {
            return Event::Halted;
        }
        let hello = self.hello();
        let opened =
            handshake::open(stream, &shared.pass, shared.at, Purpose::Join, hello, deadline);
        let result = opened.and_then(|mut link| {
            loop {
                let answer = link.read(welcome_deadline).map_err(|error| match error {
                    LinkError::Gone { .. } => Denied::ClosedAtOnce,
                    LinkError::Late => Denied::Obstructed(Obstacle::Silent),
                    LinkError::Malformed(_) => Denied::Obstructed(Obstacle::NotPares),
                    LinkError::Io(error) => Denied::Obstructed(system("join", &error)),
                })?;
                match answer {
                    // What others have been given meanwhile, before anything else.
                    revoked @ Message::Revoked { .. } => {
                        shared.holding.on(&shared.standing, revoked)
                    }
                    answer => return Ok((link, answer)),
                }
            }
        });
        let halting = !self.wait_on(Wait::Bell);
        let event = self.joined(halting, result);
        if !matches!(event, Event::Welcomed { .. }) {
            shared.holding.lost(&shared.standing);
        }
        event
    }

    fn joined(&mut self, halting: bool, result: Result<(Link, Message), Denied>) -> Event {
        match result {
            _ if halting => Event::Halted,
            Ok((_, Message::Rejected { refusal, version_min, version_max, detail })) => {
                Event::Obstructed(handshake::obstacle(refusal, (version_min, version_max), detail))
            }
            Ok((link, answer)) => match Subordinate::welcomed(answer) {
                Some(subordinate) => {
                    let term = subordinate.term;
                    let lifeline = Arc::new(Lifeline::new(link));
                    self.shared.holding.welcomed(&lifeline, term, subordinate.settled);
                    self.lifeline = Some((lifeline, subordinate));
                    Event::Welcomed { term }
                }
                // It has the key and yet does not speak our protocol.
                None => Event::Obstructed(Obstacle::NotPares),
            },
            Err(Denied::ClosedAtOnce) => Event::ClosedAtOnce,
            Err(Denied::Obstructed(obstacle)) => Event::Obstructed(obstacle),
        }
    }

    /// The one message from which a new supervisor rebuilds what it knows of this instance.
    fn hello(&self) -> Message {
        let roster = self.memory.as_ref().and_then(|memory| memory.roster.clone());
        let (claims, settings) = self.shared.holding.hello();
        let last_term = self.election.last_term();
        Hello { entry: self.shared.me.clone(), last_term, roster, claims, settings }.into_message()
    }

    fn wait(&mut self, time: Duration) -> Event {
        self.claim = None; // others may have the port meanwhile
        let halted = self
            .shared
            .standing
            .wait(Some(Instant::now() + time), |inside| inside.halting.then_some(()));
        if halted.is_some() { Event::Halted } else { Event::Waited }
    }

    /// Says what this thread is about to wait on; false if it is to halt instead.
    fn wait_on(&self, wait: Wait) -> bool {
        self.shared.standing.change(|inside| {
            inside.wait = wait;
            !inside.halting
        })
    }

    /// Reads what the supervisor tells until it is gone.
    fn follow(&mut self) -> Event {
        let Some((lifeline, mut subordinate)) = self.lifeline.take() else {
            return Event::LinkLost(Loss::Died);
        };
        let mut goodbye = None;
        self.prepare(subordinate.members);
        if self.wait_on(Wait::Stream(lifeline.stream().clone())) {
            let shared = self.shared.clone();
            let hands = Hands {
                say: &|message| shared.holding.say_aside(&message),
                report: &|event| shared.standing.emit(event),
                end: shared.end_hung_supervisor,
            };
            let supervisor = subordinate.supervisor.clone();
            let mut vigil =
                shared.hang_timeout.map(|timeout| Vigil::new(supervisor, timeout, &hands));
            let mut reader = lifeline.reader();
            loop {
                let message = match health::read(&mut reader, &mut vigil, &hands) {
                    Ok(message) => message,
                    Err(LinkError::Malformed(error)) => {
                        let name = &self.shared.me.name;
                        complain!(
                            Warn,
                            name,
                            "{name}: cut off a supervisor that broke the protocol: {error}"
                        );
                        break;
                    }
                    Err(LinkError::Gone { reset }) => {
                        self.reset = reset;
                        break;
                    }
                    Err(LinkError::Late | LinkError::Io(_)) => break,
                };
                if let Message::Rejected { .. } = message {
                    goodbye = Some(Loss::Evicted);
                    continue;
                }
                match subordinate.on(message) {
                    News::Quiet => {}
                    News::Probed { number, within_ns } => {
                        shared.holding.say_aside(&shared.pulse.answer(number, within_ns));
                    }
                    News::State => self.on_state(&subordinate),
                    News::Held(message) => self.shared.holding.on(&self.shared.standing, message),
                    News::Goodbye(Departure::Leaves) => goodbye = Some(Loss::Left),
                    News::Goodbye(Departure::StepsDown) => goodbye = Some(Loss::SteppedDown),
                    News::Goodbye(Departure::Evicts) => goodbye = Some(Loss::Evicted),
                    News::Nonsense => {
                        let name = &self.shared.me.name;
                        complain!(
                            Warn,
                            name,
                            "{name}: cut off a supervisor that broke the protocol"
                        );
                        break;
                    }
                }
            }
        }
        if !self.wait_on(Wait::Bell) {
            self.shared.holding.say_goodbye();
            return Event::Halted;
        }
        self.shared.holding.lost(&self.shared.standing);
        self.loss = goodbye.unwrap_or(Loss::Died);
        subordinate.lost(self.loss);
        if self.loss == Loss::Evicted {
            self.shared.holding.cut_off();
        }
        self.memory = Some(subordinate);
        Event::LinkLost(self.loss)
    }

    /// Has room made for the descriptors that this instance would need as supervisor of so many,
    /// beside what its program has open. Not on this thread, which is the one that must know of a
    /// death at once.
    fn prepare(&self, members: u32) {
        if self.shared.terms.is_none() {
            return;
        }
        let wanted =
            (i32::try_from(members).unwrap_or(i32::MAX).saturating_add(64)).saturating_mul(2);
        if let Some(wanted) = port::wants_room(wanted) {
            // Without a thread for it the next failover is a little slower, nothing else.
            _ = self.helpers.spawn("pares-room", SMALL_STACK, move || port::make_room(wanted));
        }
    }

    fn on_state(&mut self, subordinate: &Subordinate) {
        self.election.saw_term(subordinate.term);
        self.shared.holding.on_state(subordinate.term, subordinate.settled);
        self.prepare(subordinate.members);
        self.shared.standing.change(|inside| {
            inside.term = subordinate.term;
            inside.place = Place::Subordinate(subordinate.clone());
            if subordinate.settled {
                inside.settle(subordinate.term, subordinate.members);
            }
        });
    }

    /// Serves the group until the role is to be given up.
    fn supervise(&mut self, cause: ElectionCause) -> Event {
        let shared = self.shared.clone();
        let (Some(claim), Some(office)) = (self.claim.take(), shared.standing.office()) else {
            return Event::SteppedDown { term: self.election.last_term() };
        };
        let Claim { listener, registry, members, askers, .. } = claim;
        log::debug!("{}: elected because: {cause}", shared.me.name);
        let threads = Threads::default();
        let started = threads
            .spawn("pares-announce", SMALL_STACK, {
                let office = office.clone();
                move || office.announce()
            })
            .and_then(|()| {
                let (office, askers) = (office.clone(), askers.clone());
                let done = {
                    let office = office.clone();
                    move || office.is_closed()
                };
                threads.spawn("pares-registry", SMALL_STACK, move || {
                    drop(askers.run(registry, done, move |visit| attend::asker(&office, visit)));
                })
            });
        let listener = match started {
            Ok(()) if self.wait_on(Wait::Service(members.clone())) => {
                let done = || {
                    shared
                        .standing
                        .look(|inside| inside.hand_over || (inside.halting && inside.jobs == 0))
                };
                let (shared, office) = (shared.clone(), office.clone());
                members.run(listener, done, move |visit| attend::member(&shared, &office, visit))
            }
            Ok(()) => listener,
            Err(error) => {
                let name = &shared.me.name;
                complain!(Error, name, "{name}: cannot supervise: no thread: {error}");
                listener
            }
        };
        self.see_loss();
        let halting = shared.standing.change(|inside| {
            inside.wait = Wait::Bell;
            inside.hand_over = false;
            inside.halting
        });
        // Before the port is free: nobody shall see two supervisors, not even in two processes'
        // events.
        self.report(Report::Contending(if halting { Loss::Left } else { Loss::SteppedDown }));
        let reason = if halting { Departure::Leaves } else { Departure::StepsDown };
        let last = office.begin_closing(reason);
        shared.holding.lost(&shared.standing);
        // While the port is still ours: whoever has it next writes the next term.
        shared.terms().end(last);
        drop(listener); // from here on whoever is quick takes the port
        office.close(reason);
        askers.wake();
        members.close();
        askers.close();
        threads.join_all();
        askers.close(); // once more, for one that was accepted while the others were waited for
        if halting { Event::Halted } else { Event::SteppedDown { term: last.term } }
    }

    /// Puts a report into the standing: from then on the program sees it.
    fn report(&mut self, mut report: Report) {
        let shared = self.shared.clone();
        let office = match &mut report {
            Report::Supervisor { term, unkept } => {
                let office = self.open_office(*term);
                // What it holds may have brought a higher one since the port was claimed.
                *term = office.as_ref().map_or(*term, |office| office.read(Supervisor::term));
                shared.terms().raise(*term);
                if let Some(error) = unkept {
                    log::error!(
                        "{}: {error}; only those who take part now know term {term}",
                        shared.me.name
                    );
                }
                office
            }
            Report::Subordinate { .. }
            | Report::Contending(_)
            | Report::Obstructed(_)
            | Report::Stopped => None,
        };
        let obstacle = match &report {
            Report::Obstructed(obstacle) => {
                Some(obstacle::passing_error(&shared, obstacle.clone()).to_string())
            }
            Report::Supervisor { .. }
            | Report::Subordinate { .. }
            | Report::Contending(_)
            | Report::Stopped => None,
        };
        shared.standing.change(|inside: &mut Inside| {
            let old = inside.role();
            let mut settled_members = None;
            match &report {
                Report::Supervisor { term, .. } => {
                    inside.term = *term;
                    settled_members = office.as_ref().and_then(|office| {
                        office.read(|supervisor| {
                            supervisor.settled().then(|| supervisor.registry().len() as u32)
                        })
                    });
                    inside.place = office.map_or(Place::Contending, Place::Supervisor);
                    inside.cause = None;
                }
                Report::Subordinate { term } => {
                    inside.term = *term;
                    if let Some((_, subordinate)) = &self.lifeline {
                        settled_members = subordinate.settled.then_some(subordinate.members);
                        inside.place = Place::Subordinate(subordinate.clone());
                    }
                    inside.cause = None;
                }
                Report::Contending(loss) => {
                    inside.place = Place::Contending;
                    inside.stepping_down = false;
                    inside.cause = Some(match loss {
                        Loss::Died => ContendingCause::SupervisorDied,
                        Loss::Left => ContendingCause::SupervisorLeft,
                        Loss::SteppedDown => ContendingCause::SteppedDown,
                        Loss::Evicted => ContendingCause::Evicted,
                    });
                }
                Report::Obstructed(_) => inside.cause = obstacle.map(ContendingCause::Obstructed),
                Report::Stopped => inside.place = Place::Stopped,
            }
            inside.settled = None;
            inside.report(&shared.me.name, old, &report);
            if let Some(members) = settled_members {
                inside.settle(inside.term, members);
            }
        });
    }

    fn open_office(&mut self, term: u64) -> Option<Arc<Office>> {
        let shared = self.shared.clone();
        let claim = self.claim.as_mut()?;
        let (registry_port, waker) = (claim.registry_port, claim.waker.take()?);
        let memory = self.memory.take();
        let before =
            Before::of(memory.clone(), term, claim.last.as_ref().is_ok_and(|last| last.vacant));
        let gone = memory.filter(|memory| {
            memory.term.checked_add(1) == Some(term) && self.loss != Loss::SteppedDown
        });
        let predecessor: Option<(String, LeftCause)> =
            gone.map(|memory| (memory.supervisor, left_cause(self.loss)));
        let cause = self.election.cause();
        let facts = Facts {
            group: shared.pass.group.clone(),
            port: shared.at.port(),
            me: shared.me.clone(),
            registry_port,
            cause,
        };
        let me = shared.me.clone();
        let (settle_time, max_members) = (shared.settle_time, shared.max_members);
        // Weak: the office is part of the standing, and must not keep alive what keeps it alive.
        let weak = Arc::downgrade(&shared);
        let notice = move |notice| {
            if let Some(shared) = weak.upgrade() {
                on_notice(&shared, notice);
            }
        };
        Some(shared.holding.elected(&shared.standing, |claims, settings| {
            let elected = Elected {
                me,
                term,
                registry_port,
                before,
                claims,
                settings,
                settle_time,
                max_members,
            };
            let open = |now, actions: &mut Vec<_>| {
                Supervisor::new(elected, now, actions).after(predecessor)
            };
            Office::new(facts, waker, open, notice)
        }))
    }
}

fn on_notice(shared: &Shared, notice: Notice) {
    match notice {
        Notice::Settled { term, members } => {
            shared.terms().retry();
            shared.holding.on_state(term, true);
            shared.standing.change(|inside| {
                if inside.role() == Role::Supervisor && inside.term == term {
                    inside.settle(term, members);
                }
            });
        }
        Notice::Own => shared.holding.collect(&shared.standing),
        Notice::TermRaised { term } => {
            shared.terms().raise(term);
            shared.standing.change(|inside| {
                // It may be late, after a higher one or after the end.
                if inside.role() == Role::Supervisor && inside.term < term {
                    inside.term = term;
                    inside.hub.emit(EventKind::Supervisor { term });
                }
            });
        }
    }
}

fn system(doing: &'static str, error: &io::Error) -> Obstacle {
    Obstacle::System { doing, errno: Errno::from_io_error(error).map_or(0, Errno::raw_os_error) }
}
