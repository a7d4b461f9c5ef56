//! The place of an instance in its group at one moment, for all its threads: one lock, one bell.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use crate::event::{ContendingCause, Event, EventKind, Role};
use crate::net::rt::complaint::complain;
use crate::net::rt::events::Events;
use crate::net::rt::hub::Hub;
use crate::net::rt::lock::{Condvar, Mutex, MutexGuard};
use crate::net::supervising::server::Server;
use crate::net::transport::port::Stream;
use crate::net::transport::service::Service;
use crate::state::obstacle::Obstacle;
use crate::state::subordinate::Subordinate;
use crate::state::supervisor::Supervisor;
use crate::sys::tripwire::Wire;
use crate::sys::{Origin, crash};

/// The place of an instance.
pub(crate) enum Place {
    /// It has no role, for this reason.
    Contending(ContendingCause),
    Subordinate(Subordinate),
    Supervisor(Arc<Server>),
    Stopped,
}

/// What the role thread waits on at the moment, and from which it can be called away.
pub(crate) enum Wait {
    /// The bell.
    Bell,
    /// A connection; ending it wakes the thread.
    Stream(Arc<Stream>),
    /// The accepting loop of the supervisor port.
    Service(Arc<Service>),
}

pub(crate) struct PresenceState {
    pub(crate) place: Place,
    pub(crate) term: u64,
    /// The number of instances in the registry when the group was settled in this term, once it is.
    pub(crate) settled: Option<u32>,
    pub(crate) wait: Wait,
    /// The program, or a caller of `stop`, wants this instance to leave.
    pub(crate) halting: bool,
    /// The role is being given up: jobs are told to end.
    pub(crate) stepping_down: bool,
    /// The jobs have ended; the role thread may hand over.
    pub(crate) hand_over: bool,
    /// Running jobs of `while_supervisor`.
    pub(crate) jobs: usize,
    /// Why the first join failed.
    pub(crate) failed: Option<Obstacle>,
    pub(crate) hub: Hub<EventKind>,
}

pub(crate) struct Presence {
    // Held for moments: to look, to change, to hand events to receivers (which never waits).
    inside: Mutex<PresenceState>,
    /// Rung whenever something inside has changed.
    bell: Condvar,
    origin: Origin,
    wire: Wire,
}

impl Presence {
    pub(crate) fn new(wire: Wire) -> Self {
        let inside = PresenceState {
            place: Place::Contending(ContendingCause::SupervisorDied),
            term: 0,
            settled: None,
            wait: Wait::Bell,
            halting: false,
            stepping_down: false,
            hand_over: false,
            jobs: 0,
            failed: None,
            hub: Hub::default(),
        };
        Presence { inside: Mutex::new(inside), bell: Condvar::new(), origin: Origin::here(), wire }
    }

    /// Returns true in a forked child, where the instance is its parent's, and in a process that
    /// has given up its connections because it is crashing. Callers must ask this before everything
    /// else here, because a lock may be held by a thread that is not in this process.
    pub(crate) fn is_void(&self) -> bool {
        self.origin.is_elsewhere() || crash::is_crashing()
    }

    /// Returns true where [`is_void`](Presence::is_void) does, and once the program is known to
    /// have closed our descriptors. The instance then leaves, and answers as one that has left.
    pub(crate) fn is_over(&self) -> bool {
        self.is_void() || self.is_lost()
    }

    /// Returns true once the program is known to have closed our descriptors.
    pub(crate) fn is_lost(&self) -> bool {
        self.wire.is_cut()
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&PresenceState) -> T) -> T {
        look(&self.inside.lock())
    }

    /// Changes what is inside and rings the bell.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut PresenceState) -> T) -> T {
        let result = change(&mut self.inside.lock());
        self.bell.notify_all();
        result
    }

    /// Waits until `ready` returns something, or until the deadline.
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut PresenceState) -> Option<T>,
    ) -> Option<T> {
        let mut inside: MutexGuard<'_, PresenceState> = self.inside.lock();
        loop {
            if let Some(result) = ready(&mut inside) {
                return Some(result);
            }
            match deadline {
                None => self.bell.wait(&mut inside),
                Some(deadline) => {
                    if self.bell.wait_until(&mut inside, deadline).timed_out() {
                        return ready(&mut inside);
                    }
                }
            }
        }
    }

    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        self.look(|inside| {
            if let Place::Supervisor(server) = &inside.place { Some(server.clone()) } else { None }
        })
    }

    /// Tells the program something that nothing else waits for.
    pub(crate) fn emit(&self, kind: EventKind) {
        self.inside.lock().hub.emit(kind);
    }

    /// Gives the instance a place in its group, and tells the program; `name` is for the log.
    pub(crate) fn enter(&self, name: &str, place: Place) {
        self.change(|inside| inside.enter(name, place));
    }

    /// Tells the role thread to leave the group, and wakes it wherever it waits.
    pub(crate) fn halt(&self) {
        self.change(|inside| {
            inside.halting = true;
            inside.call_away();
        });
    }

    pub(crate) fn subscribe(&self, capacity: usize) -> Events<Event> {
        self.change(|inside| {
            let mut present = vec![inside.present()];
            let stopped = present[0] == EventKind::Stopped;
            present.extend(
                inside.settled.map(|members| EventKind::Settled { term: inside.term, members }),
            );
            let receiver = inside.hub.subscribe(capacity, present);
            if stopped {
                inside.hub.close();
            }
            receiver
        })
    }
}

impl PresenceState {
    pub(crate) fn role(&self) -> Role {
        match self.place {
            Place::Contending(_) => Role::Contending,
            Place::Subordinate(_) => Role::Subordinate,
            Place::Supervisor(_) => Role::Supervisor,
            Place::Stopped => Role::Stopped,
        }
    }

    /// Returns true if the instance has a role and all known survivors are back in the registry.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.role(), Role::Supervisor | Role::Subordinate) && self.settled.is_some()
    }

    /// Returns the unique name of the supervisor, if it is another instance.
    pub(crate) fn supervisor_name(&self) -> Option<String> {
        if let Place::Subordinate(subordinate) = &self.place {
            Some(subordinate.supervisor.clone())
        } else {
            None
        }
    }

    /// Wakes the role thread wherever it waits; the caller rings the bell.
    pub(crate) fn call_away(&self) {
        match &self.wait {
            Wait::Bell => {}
            // Only our reading end: the goodbye can still be sent.
            Wait::Stream(stream) => _ = stream.shutdown(Shutdown::Read),
            Wait::Service(service) => service.wake(),
        }
    }

    /// Returns true if a job may run: this instance is supervisor, and is to stay it.
    pub(crate) fn jobs_wanted(&self) -> bool {
        self.role() == Role::Supervisor && !self.stepping_down && !self.halting
    }

    pub(crate) fn settle(&mut self, term: u64, members: u32) {
        if self.settled.replace(members).is_none() {
            self.hub.emit(EventKind::Settled { term, members });
        }
    }

    fn enter(&mut self, name: &str, place: Place) {
        let old = self.role();
        let settled = match &place {
            Place::Contending(_) => {
                self.stepping_down = false;
                None
            }
            Place::Subordinate(known) => {
                self.term = known.term;
                known.settled.then_some(known.members)
            }
            Place::Supervisor(server) => {
                self.term = server.read(Supervisor::term);
                server.read(|supervisor| {
                    supervisor.settled().then(|| supervisor.registry().len() as u32)
                })
            }
            Place::Stopped => None,
        };
        self.place = place;
        self.settled = None;
        self.log(name, old);
        self.hub.emit(self.present());
        if let Some(members) = settled {
            self.settle(self.term, members);
        }
        if let Place::Stopped = self.place {
            self.hub.close();
        }
    }

    fn log(&self, name: &str, old: Role) {
        let term = self.term;
        match &self.place {
            Place::Supervisor(_) => log::info!("{name}: {old} -> supervisor, term {term}"),
            Place::Subordinate(known) => {
                log::info!("{name}: {old} -> subordinate of {}, term {term}", known.supervisor);
            }
            Place::Contending(cause @ ContendingCause::Obstructed { .. }) => {
                complain!(Error, name, "{name}: cannot take part: {cause}; trying again");
            }
            Place::Contending(cause) => log::info!("{name}: {old} -> contending ({cause})"),
            Place::Stopped => log::info!("{name}: {old} -> stopped"),
        }
    }

    /// Returns the event that describes the present role, for a new receiver.
    fn present(&self) -> EventKind {
        match &self.place {
            Place::Contending(cause) => EventKind::Contending { cause: cause.clone() },
            Place::Subordinate(subordinate) => EventKind::Subordinate {
                term: self.term,
                supervisor: subordinate.supervisor.clone(),
            },
            Place::Supervisor(_) => EventKind::Supervisor { term: self.term },
            Place::Stopped => EventKind::Stopped,
        }
    }
}
