//! The role thread: does what `state/election` names, one deed after the other, for the life of the
//! instance.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::claim::{Claim, claim};
use super::lifeline::Lifeline;
use super::presence::{Inside, Place, Wait};
use super::shared::Shared;
use crate::config::{CROWD, HANDSHAKE_TIMEOUT, REAP_WAIT, SURVIVOR_PATIENCE};
use crate::event::{ContendingCause, EventKind, Role};
use crate::net::procs::obstacle;
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::net::supervising::serve;
use crate::net::supervising::server::{Facts, Notice, Office};
use crate::net::supervising::watchdog::{self, Hands, Vigil};
use crate::net::transport::descriptors;
use crate::net::transport::handshake::{self, Denied};
use crate::net::transport::link::{Link, LinkError, has_ended};
use crate::net::transport::port::{self, Stream};
use crate::state::election::{Deed, Loss, Obstacle, Report};
use crate::state::member::{Heard, Member, Outcome};
use crate::state::supervisor::Supervisor;
use crate::sys::{self, tripwire};
use crate::wire::{Departure, ElectionCause, Message, Purpose};

/// What the role thread carries from one deed to the next.
struct Duty {
    shared: Arc<Shared>,
    claim: Option<Claim>,
    /// A connection to whoever was found on the port, not used yet.
    knocked: Option<Stream>,
    lifeline: Option<Arc<Lifeline>>,
    /// Threads for what must not hold this one up.
    helpers: Threads,
}

/// How long to wait at most to see whether somebody listens on the port. The kernel answers at
/// once, unless its queue is full.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(1);

/// Runs until the instance has left or cannot join.
pub(crate) fn run(shared: &Arc<Shared>) {
    play(shared);
    shared.holding.stop();
}

/// The program has closed our descriptors: the instance leaves, as if it were told to.
pub(crate) fn lose(shared: &Shared) {
    if !shared.standing.change(|inside| std::mem::replace(&mut inside.halting, true)) {
        log::error!("{}: {}", shared.me.name, sys::TAKEN_AWAY);
    }
    shared.standing.halt();
}

fn play(shared: &Arc<Shared>) {
    let mut duty = Duty {
        shared: shared.clone(),
        claim: None,
        knocked: None,
        lifeline: None,
        helpers: Threads::default(),
    };
    let mut outcome = Outcome::Started;
    loop {
        let (report, deed) = shared.holding.on(outcome, duty.lifeline.as_ref());
        if let Some(report) = report {
            duty.report(report);
        }
        outcome = match deed {
            Deed::TryPort => duty.try_port(),
            Deed::LookAfter { admin } => Outcome::LookedAfter { lives: lives(admin) },
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

/// Whether the process with this admin endpoint lives. A dying process closes that within
/// milliseconds of its other connections, so one that still answers is watched for a while.
fn lives(admin: u16) -> bool {
    match port::connect(port::here(admin), sys::Kind::Peer, REAP_WAIT) {
        Ok(None) => false,
        Ok(Some(stream)) => !has_ended(&stream, REAP_WAIT),
        Err(error) => !port::is_gone(&error),
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
    fn try_port(&mut self) -> Outcome {
        tripwire::look(); // an instance that nobody can reach must not claim it
        if self.halting() {
            return Outcome::Halted;
        }
        let few =
            |member: &Member| member.known().is_some_and(|known| (known.members as usize) < CROWD);
        if !self.shared.holding.look(few) && self.knock() {
            return Outcome::PortTaken;
        }
        match claim(&self.shared) {
            Ok(claim) => {
                let last = claim.last.clone();
                self.claim = Some(claim);
                Outcome::PortClaimed { last }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Outcome::PortTaken,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Outcome::Obstructed(Obstacle::PortForbidden)
            }
            Err(error) => Outcome::Obstructed(system("become supervisor", &error)),
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

    /// Keeps the term in which this instance is about to supervise.
    fn keep(&self, term: u64) -> Outcome {
        let kept = self.shared.terms().begin(term);
        if let (Ok(()), Some(Err(error))) = (&kept, self.claim.as_ref().map(|claim| &claim.last)) {
            log::warn!(
                "{}: {}; this instance knows: {term} is written there",
                self.shared.me.name,
                error.finding()
            );
        }
        Outcome::Kept(kept)
    }

    /// Connects, proves itself, says hello and reads the welcome.
    fn connect(&mut self) -> Outcome {
        let shared = self.shared.clone();
        let deadline = shared.holding.look(Member::deadline);
        let left = deadline.map(|deadline| deadline.saturating_sub(clock::now()));
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
            _ if self.halting() => return Outcome::Halted,
            Ok(Some(stream)) => Arc::new(stream),
            Ok(None) => return Outcome::NobodyThere,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Outcome::Obstructed(obstacle::silence(shared.at));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Outcome::ClosedAtOnce;
            }
            Err(error) => return Outcome::Obstructed(system("connect to the supervisor", &error)),
        };
        if !self.wait_on(Wait::Stream(stream.clone())) {
            return Outcome::Halted;
        }
        let hello = shared.holding.hello().into_message();
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
                if let Heard::Answer(answer) = shared.holding.hear(&shared.standing, answer) {
                    return Ok((link, answer));
                }
            }
        });
        let halting = !self.wait_on(Wait::Bell);
        let outcome = self.joined(halting, result);
        if !matches!(outcome, Outcome::Answered(_)) {
            shared.holding.lost(&shared.standing);
        }
        outcome
    }

    fn joined(&mut self, halting: bool, result: Result<(Link, Message), Denied>) -> Outcome {
        match result {
            _ if halting => Outcome::Halted,
            Ok((_, Message::Rejected { refusal, version_min, version_max, detail })) => {
                Outcome::Obstructed(handshake::obstacle(
                    refusal,
                    (version_min, version_max),
                    detail,
                ))
            }
            Ok((link, answer)) => {
                self.lifeline = Some(Arc::new(Lifeline::new(link)));
                Outcome::Answered(answer)
            }
            Err(Denied::ClosedAtOnce) => Outcome::ClosedAtOnce,
            Err(Denied::Late) => Outcome::Obstructed(obstacle::silence(self.shared.at)),
            Err(Denied::Obstructed(obstacle)) => Outcome::Obstructed(obstacle),
        }
    }

    fn wait(&mut self, time: Duration) -> Outcome {
        self.claim = None; // others may have the port meanwhile
        let halted = self
            .shared
            .standing
            .wait(Some(Instant::now() + time), |inside| inside.halting.then_some(()));
        if halted.is_some() { Outcome::Halted } else { Outcome::Waited }
    }

    /// Says what this thread is about to wait on; false if it is to halt instead.
    fn wait_on(&self, wait: Wait) -> bool {
        self.shared.standing.change(|inside| {
            inside.wait = wait;
            !inside.halting
        })
    }

    /// Reads what the supervisor tells until it is gone.
    fn follow(&mut self) -> Outcome {
        let shared = self.shared.clone();
        let known = shared.holding.look(|member| member.known().cloned());
        let (Some(lifeline), Some(known)) = (self.lifeline.take(), known) else {
            return Outcome::LifelineEnded { sure: false };
        };
        self.prepare(known.members);
        let mut sure = false;
        if self.wait_on(Wait::Stream(lifeline.stream().clone())) {
            let hands = Hands {
                say: &|message| shared.holding.say_aside(&message),
                report: &|event| shared.standing.emit(event),
                end: shared.end_hung_supervisor,
            };
            let mut vigil =
                shared.hang_timeout.map(|timeout| Vigil::new(known.supervisor, timeout, &hands));
            let mut reader = lifeline.reader();
            let broke = |detail: &str| {
                let name = &shared.me.name;
                complain!(
                    Warn,
                    name,
                    "{name}: cut off a supervisor that broke the protocol{detail}"
                );
            };
            loop {
                let message = match watchdog::read(&mut reader, &mut vigil, &hands) {
                    Ok(message) => message,
                    Err(LinkError::Malformed(error)) => {
                        broke(&format!(": {error}"));
                        break;
                    }
                    Err(LinkError::Gone { reset }) => {
                        sure = !reset;
                        break;
                    }
                    Err(LinkError::Late | LinkError::Io(_)) => break,
                };
                match shared.holding.hear(&shared.standing, message) {
                    Heard::Quiet | Heard::Held(..) => {}
                    Heard::State => self.on_state(),
                    Heard::Probed { number, within_ns } => {
                        shared.holding.say_aside(&shared.pulse.answer(number, within_ns));
                    }
                    Heard::Answer(_) | Heard::Nonsense => {
                        broke("");
                        break;
                    }
                }
            }
        }
        if !self.wait_on(Wait::Bell) {
            shared.holding.say_goodbye();
            return Outcome::Halted;
        }
        shared.holding.lost(&shared.standing);
        Outcome::LifelineEnded { sure }
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
        if let Some(wanted) = descriptors::wants_room(wanted) {
            // Without a thread for it the next failover is a little slower, nothing else.
            _ = self.helpers.spawn(threads::ROOM, move || descriptors::make_room(wanted));
        }
    }

    fn on_state(&self) {
        let Some(known) = self.shared.holding.look(|member| member.known().cloned()) else {
            return;
        };
        self.prepare(known.members);
        self.shared.standing.change(|inside| {
            inside.term = known.term;
            if known.settled {
                inside.settle(known.term, known.members);
            }
            inside.place = Place::Subordinate(known);
        });
    }

    /// Serves the group until the role is to be given up.
    fn supervise(&mut self, cause: ElectionCause) -> Outcome {
        let shared = self.shared.clone();
        let (Some(claim), Some(office)) = (self.claim.take(), shared.standing.office()) else {
            return Outcome::SteppedDown { term: shared.holding.look(Member::last_term) };
        };
        let Claim { listener, registry, members, askers, .. } = claim;
        log::debug!("{}: elected because: {cause}", shared.me.name);
        let workers = Threads::default();
        let started = workers
            .spawn(threads::ANNOUNCE, {
                let office = office.clone();
                move || office.announce()
            })
            .and_then(|()| {
                let (office, askers) = (office.clone(), askers.clone());
                let done = {
                    let office = office.clone();
                    move || office.is_closed()
                };
                workers.spawn(threads::REGISTRY, move || {
                    drop(askers.run(registry, done, move |session| serve::asker(&office, session)));
                })
            });
        let listener = match started {
            Ok(()) if self.wait_on(Wait::Service(members.clone())) => {
                let done = || {
                    shared
                        .standing
                        .look(|inside| inside.hand_over || (inside.halting && inside.jobs == 0))
                };
                let office = office.clone();
                members.run(listener, done, move |session| serve::member(&office, session))
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
        shared.holding.resigned(&shared.standing);
        // While the port is still ours: whoever has it next writes the next term.
        shared.terms().end(last);
        drop(listener); // from here on whoever is quick takes the port
        office.close(reason);
        askers.wake();
        members.close();
        askers.close();
        workers.join_all();
        askers.close(); // once more, for one that was accepted while the others were waited for
        if halting { Outcome::Halted } else { Outcome::SteppedDown { term: last.term } }
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
            Report::Obstructed(obstacle) => Some({
                let Shared { pass, at, me, .. } = &*shared;
                obstacle::passing_error(obstacle.clone(), pass, *at, &me.name).to_string()
            }),
            Report::Supervisor { .. }
            | Report::Subordinate { .. }
            | Report::Contending(_)
            | Report::Stopped => None,
        };
        let known = shared.holding.look(|member| member.known().cloned());
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
                    if let Some(known) = known {
                        settled_members = known.settled.then_some(known.members);
                        inside.place = Place::Subordinate(known);
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
        let facts = Facts {
            group: shared.pass.group.clone(),
            port: shared.at.port(),
            me: shared.me.clone(),
            registry_port,
            cause: shared.holding.look(Member::cause),
            hang_timeout: shared.hang_timeout,
            pulse: shared.pulse.clone(),
        };
        // Weak: the office is part of the standing, and must not keep alive what keeps it alive.
        let weak = Arc::downgrade(&shared);
        let notice = move |notice| {
            if let Some(shared) = weak.upgrade() {
                on_notice(&shared, notice);
            }
        };
        let place = (term, registry_port, shared.max_members);
        Some(shared.holding.elected(&shared.standing, place, |elected| {
            let open = |now, actions: &mut Vec<_>| Supervisor::new(elected, now, actions);
            Office::new(facts, waker, open, notice)
        }))
    }
}

fn on_notice(shared: &Shared, notice: Notice) {
    match notice {
        Notice::Settled { term, members } => {
            shared.terms().retry();
            shared.holding.on_own_state(term, true);
            shared.standing.change(|inside| {
                if inside.role() == Role::Supervisor && inside.term == term {
                    inside.settle(term, members);
                }
            });
        }
        Notice::Own => shared.holding.collect(&shared.standing),
        Notice::Event(event) => shared.standing.emit(event),
        Notice::TermRaised { term } => {
            shared.terms().raise(term);
            shared.holding.on_own_state(term, false);
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
