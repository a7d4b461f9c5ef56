//! The role thread: does what `state/member` names, one deed after the other, for the life of the
//! instance.

use std::sync::Arc;

use super::claim::ClaimedPort;
use super::lifeline::Lifeline;
use super::presence::{Place, Wait};
use super::shared::Shared;
use crate::error::KeepError;
use crate::event::ContendingCause;
use crate::net::procs::obstacle;
use crate::net::rt::threads::Threads;
use crate::net::transport::port::Stream;
use crate::state::election::{Deed, Loss, Report};
use crate::state::member::Outcome;
use crate::sys;

mod contend;
mod follow;
mod supervise;

/// What the role thread carries from one deed to the next.
struct Duty {
    shared: Arc<Shared>,
    claim: Option<ClaimedPort>,
    /// A connection to the process found on the port, not used yet.
    knocked: Option<Stream>,
    lifeline: Option<Arc<Lifeline>>,
    /// Threads for work that must not hold up this one.
    helpers: Threads,
}

/// Runs until the instance has left or cannot join.
pub(crate) fn run(shared: &Arc<Shared>) {
    play(shared);
    shared.holding.stop();
}

/// Makes the instance leave, because the program has closed our descriptors.
pub(crate) fn lose(shared: &Shared) {
    if !shared.presence.change(|inside| std::mem::replace(&mut inside.halting, true)) {
        log::error!("{}: {}", shared.me.name, sys::TAKEN_AWAY);
    }
    shared.presence.halt();
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
        let unkept = report.and_then(|report| duty.tell(report));
        outcome = match deed {
            Deed::TryPort => duty.try_port(),
            Deed::LookAfter { admin_port } => duty.look_after(admin_port),
            Deed::Keep { term } => duty.keep(term),
            Deed::Connect => duty.connect(),
            Deed::Wait(time) => duty.wait(time),
            Deed::Supervise { term, cause } => duty.supervise(term, cause, unkept),
            Deed::Follow => duty.follow(),
            Deed::Fail(obstacle) => {
                shared.presence.change(|inside| {
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
        if self.shared.presence.is_lost() {
            lose(&self.shared);
        }
    }

    fn halting(&self) -> bool {
        self.see_loss();
        self.shared.presence.look(|inside| inside.halting)
    }

    /// Says what this thread is about to wait on. Returns false if it must halt instead.
    fn wait_on(&self, wait: Wait) -> bool {
        self.shared.presence.change(|inside| {
            inside.wait = wait;
            !inside.halting
        })
    }

    /// Tells the program what has become of the instance. The deed that supervises tells it of a
    /// supervisorship, once it can: that deed gets the reason why the term could not be kept.
    fn tell(&self, report: Report) -> Option<KeepError> {
        let shared = &self.shared;
        let place = match report {
            Report::Supervisor { unkept, .. } => return unkept,
            Report::Subordinate { .. } => {
                Place::Subordinate(shared.holding.look(|member| member.known().cloned())?)
            }
            Report::Contending(Loss::Died) => Place::Contending(ContendingCause::SupervisorDied),
            Report::Contending(Loss::Left) => Place::Contending(ContendingCause::SupervisorLeft),
            Report::Contending(Loss::SteppedDown) => {
                Place::Contending(ContendingCause::SteppedDown)
            }
            Report::Contending(Loss::Evicted) => Place::Contending(ContendingCause::Evicted),
            Report::Obstructed(obstacle) => {
                let Shared { pass, at, me, .. } = &**shared;
                let error = obstacle::passing_error(obstacle, pass, *at, &me.name);
                Place::Contending(ContendingCause::Obstructed {
                    finding: error.finding(),
                    remedy: error.remedy(),
                    settings: error.settings(),
                })
            }
            Report::Stopped => Place::Stopped,
        };
        shared.presence.enter(&shared.me.name, place);
        None
    }
}
