//! What the program and the thread of a peer share, and what each tells the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::masterless::MAX_WISHES;
use crate::event::masterless::{Event, EventKind};
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::events::Events;
use crate::net::rt::hub::Hub;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::waker::Waker;
use crate::state::masterless::{Action, Input, Machine, Millis};
use crate::sys::{Origin, crash};
use crate::wire::seal::Foreign;
use crate::wire::{Label, PeerId, Tail};

/// What the program and the thread both see of a peer.
pub(crate) struct PeerShared {
    pub(crate) group: String,
    pub(crate) label: Label,
    /// The identifier with which it started to join, for callers that must not look inside.
    pub(crate) first: PeerId,
    // Held for moments: one step of the machine, or to read what that knows. Nothing in it waits.
    pub(super) inside: Mutex<PeerState>,
    /// Rung whenever the status has changed.
    pub(super) bell: Condvar,
    pub(super) waker: Arc<Waker>,
    pub(super) origin: Origin,
}

pub(crate) struct PeerState {
    pub(crate) machine: Machine,
    pub(super) hub: Hub<EventKind>,
    /// The last change of the status.
    pub(super) role: EventKind,
    /// Set while nothing can be sent.
    pub(super) outage: Option<EventKind>,
    pub(super) wishes: Vec<Wish>,
    /// Whence the newest heartbeat of each process of the record came.
    pub(super) addresses: BTreeMap<Tail, SocketAddr>,
    pub(crate) traffic: Traffic,
    pub(crate) gone: bool,
}

/// A request of the program to the thread.
#[derive(Clone, Copy)]
pub(crate) enum Wish {
    HandoverReady,
    Leave,
    Rank(u8),
    Direct(Tail, u8),
    Workload(u16),
    /// The program knows that this process has ended.
    Ended(u32),
    /// Leave without a handover.
    Quit,
}

impl Wish {
    /// Of two such requests, the later one counts.
    fn replaces(&self, before: &Wish) -> bool {
        match (self, before) {
            (Wish::Direct(target, _), Wish::Direct(other, _)) => target == other,
            (Wish::Ended(pid), Wish::Ended(other)) => pid == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

/// What went over the socket, besides what the machine counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) dropped: BTreeMap<Foreign, u64>,
    pub(crate) not_sent: u64,
    pub(crate) not_received: u64,
}

impl PeerShared {
    /// Returns true in a forked child, where the peer is its parent's, and in a process that is
    /// crashing. Callers must ask this before everything else here, because a lock may be held by a
    /// thread that is not in this process.
    pub(crate) fn is_void(&self) -> bool {
        self.origin.is_elsewhere() || crash::is_crashing()
    }

    /// Looks inside, at this moment of the group's clock.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&PeerState, Millis) -> T) -> T {
        let inside = self.inside.lock();
        look(&inside, awake_or_asleep_ms())
    }

    /// Passes a request of the program to the thread. Of too many at once, the oldest are lost.
    pub(crate) fn wish(&self, wish: Wish) {
        let mut inside = self.inside.lock();
        inside.wishes.retain(|before| !wish.replaces(before));
        if inside.wishes.len() == MAX_WISHES {
            inside.wishes.remove(0);
        }
        inside.wishes.push(wish);
        self.waker.wake();
    }

    pub(crate) fn subscribe(&self, capacity: usize) -> Events<Event> {
        let mut inside = self.inside.lock();
        let present = inside.present();
        let receiver = inside.hub.subscribe(capacity, present);
        if inside.gone {
            inside.hub.close();
        }
        receiver
    }

    /// Looks inside until `look` returns something, or the deadline is over: after each change of
    /// the status or the [mandate](Machine::mandate), and after as many milliseconds as `look`
    /// says.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut(&mut PeerState, Millis) -> Result<T, Option<Millis>>,
    ) -> Option<T> {
        let mut inside = self.inside.lock();
        loop {
            let again = match look(&mut inside, awake_or_asleep_ms()) {
                Ok(found) => return Some(found),
                Err(again) => again.map(|ms| Instant::now() + Duration::from_millis(ms)),
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            match [again, deadline].into_iter().flatten().min() {
                Some(until) => _ = self.bell.wait_until(&mut inside, until),
                None => self.bell.wait(&mut inside),
            }
        }
    }

    /// Waits until the peer has left. Returns false if the deadline is over before.
    pub(crate) fn wait_gone(&self, deadline: Instant) -> bool {
        self.wait_for(Some(deadline), |inside, _| inside.gone.then_some(()).ok_or(None)).is_some()
    }

    /// Notes that a job of the program has ended, or is no longer wanted.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut PeerState) -> T) -> T {
        let changed = change(&mut self.inside.lock());
        self.bell.notify_all();
        self.waker.wake();
        changed
    }

    /// Waits until `is_it` holds, the peer has left, or the deadline is over. Returns which of them
    /// it was.
    pub(crate) fn wait(&self, deadline: Instant, is_it: impl Fn(&Machine) -> bool) -> bool {
        let mut inside = self.inside.lock();
        loop {
            if inside.gone || is_it(&inside.machine) {
                return !inside.gone;
            }
            if self.bell.wait_until(&mut inside, deadline).timed_out() {
                return !inside.gone && is_it(&inside.machine);
            }
        }
    }
}

impl PeerState {
    /// Returns the first events of a new receiver.
    fn present(&self) -> Vec<EventKind> {
        let mut role = self.role.clone();
        if let EventKind::Role { token, .. } = &mut role {
            *token = self.machine.token();
        }
        let more = if self.gone { Some(EventKind::Stopped) } else { self.outage.clone() };
        [role].into_iter().chain(more).collect()
    }

    /// Returns whence the newest heartbeat of a process came.
    pub(crate) fn address(&self, tail: Tail) -> Option<SocketAddr> {
        self.addresses.get(&tail).copied()
    }

    /// Notes whence a new heartbeat came.
    pub(super) fn came_from(&mut self, tail: Tail, address: SocketAddr) {
        let PeerState { machine, addresses, .. } = self;
        if machine.member(tail).is_some() && addresses.insert(tail, address).is_none() {
            addresses.retain(|tail, _| machine.member(*tail).is_some());
        }
    }

    /// Takes one step, tells the program of it, and returns what it told.
    pub(super) fn step(
        &mut self,
        now: Millis,
        input: Input,
        actions: &mut Vec<Action>,
    ) -> Vec<EventKind> {
        self.machine.step(now, input, actions);
        self.tell_all(actions)
    }

    /// Takes the events out of the actions, and tells the program.
    pub(super) fn tell_all(&mut self, actions: &mut Vec<Action>) -> Vec<EventKind> {
        let mut news = Vec::new();
        actions.retain(|action| match action {
            Action::Tell(kind) => {
                news.push(kind.clone());
                false
            }
            Action::Send { .. } | Action::Flush | Action::Exit => true,
        });
        news.iter().for_each(|kind| self.tell(kind.clone()));
        news
    }

    pub(super) fn tell(&mut self, kind: EventKind) {
        match kind {
            EventKind::Role { .. } => self.role = kind.clone(),
            EventKind::CannotSend { .. } => self.outage = Some(kind.clone()),
            EventKind::SendsAgain { .. } => self.outage = None,
            _ => {}
        }
        self.gone |= kind == EventKind::Stopped;
        self.hub.emit(kind);
    }
}
