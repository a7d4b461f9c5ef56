//! Decides what one instance does about its role: when it tries the port, connects, waits, or gives
//! up.
//!
//! Strictly alternating: [`Election::on`] takes the outcome of the last deed and names the next
//! one. There is never more than one deed under way. A late answer to an abandoned attempt can
//! therefore not be mistaken for a new one.
//!
//! | phase \ event | `PortClaimed` | `Kept` | `PortTaken` | `Welcomed` | `NobodyThere` | `ClosedAtOnce`, `Obstructed` | `Waited` | `LinkLost` | `SteppedDown` |
//! |---|---|---|---|---|---|---|---|---|---|
//! | contending | keep the next term | supervise | connect | follow | wait, try the port | wait, try the port; or give up | try the port | – | – |
//! | subordinate | – | – | – | – | – | – | – | try the port at once; wait after many brief lifelines | – |
//! | supervisor | – | – | – | – | – | – | – | – | connect, leaving the port to others for a while |
//!
//! An instance that may not supervise connects wherever the table says that it tries the port.
//!
//! `Halted` stops from everywhere. Dashes cannot happen and change nothing.
//!
//! **Terms.** Each supervisorship has a term above all that its instance knows: those that it has
//! seen, and the last one that the group's directory keeps. An instance that cannot read or write
//! the kept term, and has had no role in the group, gives the port back: it would start the group
//! anew with a term that may have been used. An instance that has had a role continues after the
//! last term that it has seen. That is the last of all, unless it was cut off from its group during
//! whole supervisorships; then instances that know better raise its term as they come.

use std::time::Duration;

use super::Time;
use super::obstacle::Obstacle;
use crate::config::ASIDE;
use crate::error::KeepError;
use crate::wire::{ElectionCause, LeftCause};

/// Why a lifeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The supervisor's end is gone without a word.
    Died,
    /// The supervisor said that it steps down.
    SteppedDown,
    /// The supervisor said that it leaves.
    Left,
    /// The supervisor cut this instance off.
    Evicted,
}

/// The outcome of a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElectionEvent {
    /// The instance is ready to begin.
    Started,
    /// This instance is bound and listening. Holds the last term that is kept, and the highest term
    /// in what this instance holds.
    PortClaimed { last: Result<u64, KeepError>, seen: u64 },
    /// The new term is kept, or cannot be kept.
    Kept(Result<(), KeepError>),
    /// Another process has the port.
    PortTaken,
    /// The supervisor of this term let us in.
    Welcomed { term: u64 },
    /// No process accepted the connection.
    NobodyThere,
    /// A process accepted the connection and closed it without a valid message: a supervisor that
    /// died, or another program.
    ClosedAtOnce,
    /// Something stands in the way.
    Obstructed(Obstacle),
    /// The waiting time is over.
    Waited,
    /// The lifeline ended.
    LinkLost(Loss),
    /// This instance gave up its supervisorship in this term, which may have been raised; another
    /// instance shall have it. The program learned of it before the port was free.
    SteppedDown { term: u64 },
    /// The program wants to leave.
    Halted,
}

/// What to do next; each deed has exactly one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Bind and listen; if that succeeds, read the last term.
    TryPort,
    /// Keep this term, before any other process learns of it.
    Keep { term: u64 },
    /// Connect to the port and say hello.
    Connect,
    /// Look whether the previous supervisor, whose admin port this is, still lives. Only a
    /// [member](super::member) asks for it.
    LookAfter { admin_port: u16 },
    /// Do nothing for this time.
    Wait(Duration),
    /// Be supervisor.
    Supervise { term: u64, cause: ElectionCause },
    /// Read from the supervisor until it is gone.
    Follow,
    /// Give up for ever.
    Fail(Obstacle),
    /// Stop.
    Stop,
}

/// What the program learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// `unkept` if the term could not be kept.
    Supervisor {
        term: u64,
        unkept: Option<KeepError>,
    },
    Subordinate {
        term: u64,
    },
    Contending(Loss),
    Obstructed(Obstacle),
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Contending,
    Subordinate,
    Supervisor,
    Stopped,
}

/// A connection that is closed without a word is a supervisor that just died, until it happens this
/// often in a row: with the pauses between, this takes a quarter of a second at least.
const STRIKES: u32 = 13;

/// A lifeline that ends sooner than this is a brief one.
const BRIEF: Duration = Duration::from_secs(1);

/// Supervisors do die one soon after the other, and each failover must be as quick as the first.
/// But after so many brief lifelines in a row to the same supervisorship, there is a pause before
/// the next attempt, longer each time: a supervisor that welcomes an instance only to cut it off
/// must not keep both of them busy.
const BRIEF_IN_A_ROW: u32 = 5;

/// An instance that may not supervise reports after so many attempts in a row that no instance
/// does: after some 150 ms, because an election takes milliseconds.
const LEADERLESS: u32 = 11;

#[derive(Clone, Debug)]
pub(crate) struct Election {
    phase: Phase,
    may_supervise: bool,
    /// The highest term seen.
    last_term: u64,
    /// The term that is being kept.
    next_term: u64,
    /// Why the next election takes place.
    cause: ElectionCause,
    /// How long a first join may go on; `None` once there was a role.
    deadline: Option<Time>,
    /// How long the port is left to others, after stepping down.
    aside_until: Option<Time>,
    /// Attempts since the last role.
    attempts: u32,
    strikes: u32,
    /// When the last lifeline began.
    welcomed_at: Time,
    /// Lifelines in a row that ended soon after they began.
    brief: u32,
    /// The obstacle reported last; each is reported once.
    obstacle: Option<Obstacle>,
    random: u64,
}

impl Election {
    /// Starts an election. `seed` is for the jitter; a first role must be known by `deadline`.
    pub(crate) fn new(seed: u64, deadline: Time, may_supervise: bool) -> Self {
        Election {
            phase: Phase::Contending,
            may_supervise,
            last_term: 0,
            next_term: 0,
            cause: ElectionCause::Started,
            deadline: Some(deadline),
            aside_until: None,
            attempts: 0,
            strikes: 0,
            welcomed_at: Time::ZERO,
            brief: 0,
            obstacle: None,
            random: seed,
        }
    }

    /// Returns the highest term that this instance has seen.
    pub(crate) fn last_term(&self) -> u64 {
        self.last_term
    }

    /// Notes a term that was raised while the role stays.
    pub(crate) fn saw_term(&mut self, term: u64) {
        self.last_term = self.last_term.max(term);
    }

    /// Returns the time by which the present deed must have an outcome, if there is one.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Takes the outcome of the last deed. Returns the next deed, and what the program must learn
    /// before.
    pub(crate) fn on(&mut self, now: Time, event: ElectionEvent) -> (Option<Report>, Deed) {
        match (self.phase, event) {
            (Phase::Stopped, _) => (None, Deed::Stop),
            (_, ElectionEvent::Halted) => {
                self.phase = Phase::Stopped;
                (Some(Report::Stopped), Deed::Stop)
            }

            (Phase::Contending, ElectionEvent::Started) => (None, self.try_port(now)),
            (Phase::Contending, ElectionEvent::PortClaimed { last, seen }) => {
                let last = match last {
                    Err(error) if !self.is_survivor() => {
                        return self.obstructed(now, Obstacle::Unkept(error));
                    }
                    last => last.unwrap_or(0),
                };
                // One of the group may have named the highest term there is: better no growth than
                // an end.
                self.next_term = last.max(self.last_term).max(seen).saturating_add(1);
                (None, Deed::Keep { term: self.next_term })
            }
            (Phase::Contending, ElectionEvent::Kept(kept)) => {
                let unkept = match kept {
                    Err(error) if !self.is_survivor() => {
                        return self.obstructed(now, Obstacle::Unkept(error));
                    }
                    kept => kept.err(),
                };
                let term = self.next_term;
                self.enter(Phase::Supervisor, term);
                (
                    Some(Report::Supervisor { term, unkept }),
                    Deed::Supervise { term, cause: self.cause },
                )
            }
            (Phase::Contending, ElectionEvent::PortTaken) => (None, Deed::Connect),
            (Phase::Contending, ElectionEvent::Welcomed { term }) => {
                if term > self.last_term {
                    self.brief = 0; // another supervisorship: the one before did die
                }
                self.enter(Phase::Subordinate, term);
                self.welcomed_at = now;
                (Some(Report::Subordinate { term }), Deed::Follow)
            }
            (Phase::Contending, ElectionEvent::NobodyThere) => {
                self.strikes = 0;
                if !self.may_supervise {
                    return self.leaderless(now);
                }
                // Between another's bind and its listen, or it died this moment.
                (None, self.pause(now, Obstacle::Busy))
            }
            (Phase::Contending, ElectionEvent::ClosedAtOnce) => {
                self.strikes += 1;
                let obstacle =
                    if self.strikes < STRIKES { Obstacle::Busy } else { Obstacle::TurnedAway };
                self.obstructed(now, obstacle)
            }
            (Phase::Contending, ElectionEvent::Obstructed(obstacle)) => {
                self.strikes = 0;
                self.obstructed(now, obstacle)
            }
            (Phase::Contending, ElectionEvent::Waited) => (None, self.try_port(now)),

            (Phase::Subordinate, ElectionEvent::LinkLost(loss)) => {
                self.phase = Phase::Contending;
                self.cause = match loss {
                    Loss::Died | Loss::Evicted => ElectionCause::Died,
                    Loss::SteppedDown => ElectionCause::SteppedDown,
                    Loss::Left => ElectionCause::Left,
                };
                let brief = now.saturating_sub(self.welcomed_at) < BRIEF;
                self.brief = if brief { self.brief.saturating_add(1) } else { 0 };
                let deed = if self.brief <= BRIEF_IN_A_ROW {
                    self.try_port(now)
                } else {
                    self.attempts = self.brief - BRIEF_IN_A_ROW;
                    self.pause(now, Obstacle::Busy)
                };
                (Some(Report::Contending(loss)), deed)
            }

            (Phase::Supervisor, ElectionEvent::SteppedDown { term }) => {
                self.saw_term(term);
                self.phase = Phase::Contending;
                self.cause = ElectionCause::SteppedDown;
                self.aside_until = Some(now + ASIDE);
                (None, Deed::Connect)
            }

            // No deed of a phase comes to an event of another one; see the table.
            (Phase::Contending, ElectionEvent::LinkLost(_) | ElectionEvent::SteppedDown { .. }) => {
                (None, self.try_port(now))
            }
            (
                Phase::Subordinate,
                ElectionEvent::Started
                | ElectionEvent::PortClaimed { .. }
                | ElectionEvent::Kept(_)
                | ElectionEvent::PortTaken
                | ElectionEvent::Welcomed { .. }
                | ElectionEvent::NobodyThere
                | ElectionEvent::ClosedAtOnce
                | ElectionEvent::Obstructed(_)
                | ElectionEvent::Waited
                | ElectionEvent::SteppedDown { .. },
            ) => (None, Deed::Follow),
            (
                Phase::Supervisor,
                ElectionEvent::Started
                | ElectionEvent::PortClaimed { .. }
                | ElectionEvent::Kept(_)
                | ElectionEvent::PortTaken
                | ElectionEvent::Welcomed { .. }
                | ElectionEvent::NobodyThere
                | ElectionEvent::ClosedAtOnce
                | ElectionEvent::Obstructed(_)
                | ElectionEvent::Waited
                | ElectionEvent::LinkLost(_),
            ) => (None, Deed::Supervise { term: self.last_term, cause: self.cause }),
        }
    }

    /// Returns true if this instance has had a role, and therefore knows the last term itself.
    fn is_survivor(&self) -> bool {
        self.deadline.is_none()
    }

    fn enter(&mut self, phase: Phase, term: u64) {
        self.phase = phase;
        self.saw_term(term);
        (self.deadline, self.aside_until, self.obstacle) = (None, None, None);
        (self.attempts, self.strikes) = (0, 0);
    }

    /// Tries the port before every connect, if this instance may have it: a connect to a port that
    /// no process holds can meet itself.
    fn try_port(&mut self, now: Time) -> Deed {
        if !self.may_supervise || self.aside_until.is_some_and(|until| now < until) {
            return Deed::Connect;
        }
        Deed::TryPort
    }

    fn obstructed(&mut self, now: Time, obstacle: Obstacle) -> (Option<Report>, Deed) {
        if self.deadline.is_some() && !obstacle.may_pass() {
            self.phase = Phase::Stopped;
            return (None, Deed::Fail(obstacle));
        }
        let news = !obstacle.may_pass() && self.obstacle.as_ref() != Some(&obstacle);
        let report = news.then(|| Report::Obstructed(obstacle.clone()));
        self.obstacle = Some(obstacle.clone());
        (report, self.pause(now, obstacle))
    }

    /// No process has the port, and this instance may not have it. A survivor reports this once,
    /// because it may last.
    fn leaderless(&mut self, now: Time) -> (Option<Report>, Deed) {
        let deed = self.pause(now, Obstacle::NoSupervisor);
        let news = self.is_survivor() && self.attempts == LEADERLESS;
        (news.then_some(Report::Obstructed(Obstacle::NoSupervisor)), deed)
    }

    /// Waits before the next attempt: at first some microseconds, doubling each time. Part of the
    /// time is random, which keeps instances that wait together from meeting again. An obstacle
    /// that does not pass by itself is tried about once a second.
    fn pause(&mut self, now: Time, obstacle: Obstacle) -> Deed {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.phase = Phase::Stopped;
            return Deed::Fail(obstacle);
        }
        self.attempts += 1;
        let longest = if obstacle.may_pass() {
            Duration::from_micros(100) * 2u32.pow(self.attempts.min(11))
        } else {
            Duration::from_secs(1)
        };
        let wait = longest / 2 + longest.mul_f64(self.fraction() / 2.0);
        Deed::Wait(self.deadline.map_or(wait, |deadline| wait.min(deadline.saturating_sub(now))))
    }

    /// Returns a number from 0 to 1, by splitmix64 (Steele, Lea, Flood: Fast splittable
    /// pseudorandom number generators, 2014).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
    }
}

/// Returns the cause that the successor's registry names for the end of a supervisor that this
/// instance followed.
pub(crate) fn left_cause(loss: Loss) -> LeftCause {
    match loss {
        Loss::Left => LeftCause::Left,
        Loss::Died | Loss::SteppedDown | Loss::Evicted => LeftCause::Died,
    }
}

#[cfg(test)]
mod tests;
