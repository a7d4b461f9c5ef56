//! Supervising: serving the group until the role is given up.

use std::sync::Arc;

use super::super::claim::ClaimedPort;
use super::super::presence::{Place, Wait};
use super::super::shared::Shared;
use super::Duty;
use crate::error::KeepError;
use crate::event::{EventKind, Role};
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::net::rt::waker::Waker;
use crate::net::supervising::serve;
use crate::net::supervising::server::{Facts, Notice, Server};
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
        log::debug!("{}: elected; cause: {cause}", shared.me.name);
        let ClaimedPort { listener, registry, registry_port, members, askers, waker, .. } = claim;
        let server = self.open_server((registry_port, waker), term, cause);
        // What it holds may have brought a higher term since the port was claimed.
        let term = server.read(Supervisor::term);
        shared.terms().raise(term);
        if let Some(error) = unkept {
            let name = &shared.me.name;
            log::error!("{name}: {error}; only the present instances know term {term}");
        }
        shared.presence.enter(&shared.me.name, Place::Supervisor(server.clone()));
        let workers = Threads::default();
        let started = workers
            .spawn(threads::ANNOUNCE, {
                let server = server.clone();
                move || server.announce()
            })
            .and_then(|()| {
                let (server, askers) = (server.clone(), askers.clone());
                let done = {
                    let server = server.clone();
                    move || server.is_closed()
                };
                workers.spawn(threads::REGISTRY, move || {
                    drop(askers.run(registry, done, move |session| serve::asker(&server, session)));
                })
            });
        let listener = match started {
            Ok(()) => {
                // Also if the instance is to leave by now: a job may have begun, and is waited for.
                self.wait_on(Wait::Service(members.clone()));
                let done = || {
                    shared
                        .presence
                        .look(|inside| inside.hand_over || (inside.halting && inside.jobs == 0))
                };
                let server = server.clone();
                members.run(listener, done, move |session| serve::member(&server, session))
            }
            Err(error) => {
                let name = &shared.me.name;
                complain!(Error, name, "{name}: cannot supervise: cannot start a thread: {error}");
                shared.presence.change(|inside| inside.stepping_down = true);
                shared.presence.wait(None, |inside| (inside.jobs == 0).then_some(()));
                listener
            }
        };
        self.see_loss();
        let halting = shared.presence.change(|inside| {
            inside.wait = Wait::Bell;
            inside.hand_over = false;
            inside.halting
        });
        // Before the port is free: nobody shall see two supervisors, not even in two processes'
        // events.
        self.tell(Report::Contending(if halting { Loss::Left } else { Loss::SteppedDown }));
        let reason = if halting { Departure::Leaves } else { Departure::StepsDown };
        let last = server.begin_closing(reason);
        shared.holding.resigned();
        // While the port is still ours: whoever has it next writes the next term.
        shared.terms().end(last);
        drop(listener); // from here on whoever is quick takes the port
        server.close(reason);
        askers.wake();
        members.close();
        // It may be an answer that has ended this supervisor: a command that was drained is quick.
        askers.close_after_answers();
        workers.join_all();
        askers.close(); // once more, for one that was accepted while the others were waited for
        if halting { Outcome::Halted } else { Outcome::SteppedDown { term: last.term } }
    }

    fn open_server(
        &self,
        (registry_port, waker): (u16, Waker),
        term: u64,
        cause: ElectionCause,
    ) -> Arc<Server> {
        let shared = self.shared.clone();
        let facts = Facts {
            pass: shared.pass.clone(),
            at: shared.at,
            directory: shared.directory.clone(),
            me: shared.me.clone(),
            registry_port,
            cause,
            hang_timeout: shared.hang_timeout,
            pulse: shared.pulse.clone(),
        };
        // Weak: the server is part of the presence, and must not keep alive what keeps it alive.
        let weak = Arc::downgrade(&shared);
        let notice = move |notice| {
            if let Some(shared) = weak.upgrade() {
                on_notice(&shared, notice);
            }
        };
        let place = (term, registry_port, shared.max_members);
        shared.holding.elected(place, |elected| {
            let open = |now, actions: &mut Vec<_>| Supervisor::new(elected, now, actions);
            Server::new(facts, waker, open, notice)
        })
    }
}

fn on_notice(shared: &Shared, notice: Notice) {
    match notice {
        Notice::Settled { term, members } => {
            shared.terms().retry();
            shared.holding.on_own_state(term, true);
            shared.presence.change(|inside| {
                if inside.role() == Role::Supervisor && inside.term == term {
                    inside.settle(term, members);
                }
            });
        }
        Notice::Own => shared.holding.collect(),
        Notice::Event(event) => shared.presence.emit(event),
        Notice::TermRaised { term } => {
            shared.terms().raise(term);
            shared.holding.on_own_state(term, false);
            shared.presence.change(|inside| {
                // It may be late, after a higher one or after the end.
                if inside.role() == Role::Supervisor && inside.term < term {
                    inside.term = term;
                    inside.hub.emit(EventKind::Supervisor { term });
                }
            });
        }
    }
}
