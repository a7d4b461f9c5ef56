//! Supervising: serving the group until the role is given up.

use std::sync::Arc;

use super::super::claim::Claim;
use super::super::presence::{Place, Wait};
use super::super::shared::Shared;
use super::Duty;
use crate::error::KeepError;
use crate::event::{EventKind, Role};
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::net::rt::waker::Waker;
use crate::net::supervising::serve;
use crate::net::supervising::server::{Facts, Notice, Office};
use crate::state::election::{Loss, Report};
use crate::state::member::Outcome;
use crate::state::supervisor::Supervisor;
use crate::wire::{Departure, ElectionCause};

impl Duty {
    /// Serves the group until the role is to be given up.
    pub(super) fn supervise(
        &mut self,
        term: u64,
        cause: ElectionCause,
        unkept: Option<KeepError>,
    ) -> Outcome {
        let shared = self.shared.clone();
        let Some(claim) = self.claim.take() else { return Outcome::SteppedDown { term } };
        log::debug!("{}: elected because: {cause}", shared.me.name);
        let Claim { listener, registry, registry_port, members, askers, waker, .. } = claim;
        let office = self.open_office((registry_port, waker), term, cause);
        // What it holds may have brought a higher term since the port was claimed.
        let term = office.read(Supervisor::term);
        shared.terms().raise(term);
        if let Some(error) = unkept {
            let name = &shared.me.name;
            log::error!("{name}: {error}; only those who take part now know term {term}");
        }
        shared.standing.enter(&shared.me.name, Place::Supervisor(office.clone()));
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
        self.tell(Report::Contending(if halting { Loss::Left } else { Loss::SteppedDown }));
        let reason = if halting { Departure::Leaves } else { Departure::StepsDown };
        let last = office.begin_closing(reason);
        shared.holding.resigned();
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

    fn open_office(
        &self,
        (registry_port, waker): (u16, Waker),
        term: u64,
        cause: ElectionCause,
    ) -> Arc<Office> {
        let shared = self.shared.clone();
        let facts = Facts {
            group: shared.pass.group.clone(),
            port: shared.at.port(),
            me: shared.me.clone(),
            registry_port,
            cause,
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
        shared.holding.elected(place, |elected| {
            let open = |now, actions: &mut Vec<_>| Supervisor::new(elected, now, actions);
            Office::new(facts, waker, open, notice)
        })
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
        Notice::Own => shared.holding.collect(),
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
