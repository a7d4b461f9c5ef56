//! Sends events to all receivers, without ever waiting for one.

use crossbeam_channel::TrySendError;

use super::clock::monotonic_ns;
use super::events::{Events, Teller, events};
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::event::route;
use crate::event::{Event, EventKind, masterless};

/// An event type of the hub.
pub(crate) trait Happening: Sized {
    /// An event, and when it was known.
    type Event: Clone;

    fn at(self, monotonic_ns: u64) -> Self::Event;

    /// The event for this number of missed events.
    fn missed(events: u64) -> Self;
}

impl Happening for EventKind {
    type Event = Event;

    fn at(self, monotonic_ns: u64) -> Event {
        Event { monotonic_ns, kind: self }
    }

    fn missed(events: u64) -> Self {
        EventKind::Missed { events }
    }
}

impl Happening for masterless::EventKind {
    type Event = masterless::Event;

    fn at(self, monotonic_ns: u64) -> masterless::Event {
        masterless::Event { monotonic_ns, kind: self }
    }

    fn missed(events: u64) -> Self {
        masterless::EventKind::Missed { events }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Happening for route::EventKind {
    type Event = route::Event;

    fn at(self, monotonic_ns: u64) -> route::Event {
        route::Event { monotonic_ns, kind: self }
    }

    fn missed(events: u64) -> Self {
        route::EventKind::Missed { events }
    }
}

pub(crate) struct Hub<K: Happening> {
    subscribers: Vec<EventReceiver<K>>,
}

struct EventReceiver<K: Happening> {
    events: Teller<K::Event>,
    /// Events that found no room since the last one that did.
    missed: u64,
}

impl<K: Happening> Default for Hub<K> {
    fn default() -> Self {
        Hub { subscribers: Vec::new() }
    }
}

impl<K: Happening> Hub<K> {
    /// Makes a queue of up to `capacity` events, at least 2, whose first events are `present`.
    pub(crate) fn subscribe(&mut self, capacity: usize, present: Vec<K>) -> Events<K::Event> {
        let (teller, receiver) = events(capacity);
        let mut subscriber = EventReceiver { events: teller, missed: 0 };
        present.into_iter().for_each(|kind| _ = subscriber.offer(&now(kind)));
        self.subscribers.push(subscriber);
        receiver
    }

    pub(crate) fn emit(&mut self, kind: K) {
        let event = now(kind);
        self.subscribers.retain_mut(|subscriber| subscriber.offer(&event));
    }

    /// Ends all receivers, once they have taken what they hold.
    pub(crate) fn close(&mut self) {
        self.subscribers.clear();
    }
}

impl<K: Happening> EventReceiver<K> {
    /// Returns false if there is no receiver any more.
    fn offer(&mut self, event: &K::Event) -> bool {
        if self.missed > 0 {
            // The mark needs a place of its own before the event.
            match self.events.try_tell(now(K::missed(self.missed))) {
                Ok(()) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        match self.events.try_tell(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

fn now<K: Happening>(kind: K) -> K::Event {
    kind.at(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn a_receiver_that_is_full_is_told_how_many_it_missed() {
        let mut hub = Hub::default();
        let events = hub.subscribe(2, vec![EventKind::Supervisor { term: 1 }]);
        for term in 2..6 {
            hub.emit(EventKind::Supervisor { term });
        }
        let kinds = |count: usize| {
            events.try_iter().take(count).map(|event| event.kind).collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(2),
            [EventKind::Supervisor { term: 1 }, EventKind::Supervisor { term: 2 }]
        );
        hub.emit(EventKind::Supervisor { term: 6 });
        assert_eq!(kinds(9), [EventKind::Missed { events: 3 }, EventKind::Supervisor { term: 6 }]);
        hub.emit(EventKind::Stopped);
        assert_eq!(kinds(9), [EventKind::Stopped]);
    }

    #[test]
    fn a_descriptor_is_readable_exactly_while_there_is_something_to_take() {
        let is_readable = |events: &Events| {
            let mut fds = [PollFd::new(events, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
        };
        let mut hub = Hub::default();
        let events = hub.subscribe(2, vec![EventKind::Supervisor { term: 1 }]);
        // Asked for while there is something, and emptied before it was.
        assert!(is_readable(&events));
        assert!(events.try_recv().is_ok() && !is_readable(&events));
        assert!(events.try_recv().is_err() && !is_readable(&events));
        for term in 2..9 {
            hub.emit(EventKind::Supervisor { term });
            assert!(is_readable(&events));
        }
        assert!(events.recv().is_ok() && is_readable(&events));
        assert!(events.recv_timeout(Duration::ZERO).is_ok() && !is_readable(&events));
        hub.close();
        assert!(is_readable(&events), "the end is something to be noticed");
        assert!(events.recv().is_err() && is_readable(&events));
    }

    /// Goal: whoever begins to poll while events come and go misses none, and is not woken for
    /// nothing for ever. Method: many times, one thread tells and takes while another asks for the
    /// descriptor for the first time.
    #[test]
    fn a_descriptor_that_is_made_while_events_come_is_true() {
        for round in 0..2_000 {
            let (teller, events) = events::<u32>(4);
            let left = round % 2 == 1;
            std::thread::scope(|scope| {
                let tell = std::thread::Builder::new().name("tell".into());
                let events = &events;
                let told = tell.spawn_scoped(scope, move || {
                    teller.try_tell(1).unwrap();
                    if !left {
                        events.recv().unwrap();
                    }
                    teller
                });
                events.descriptor().unwrap();
                let _teller = told.unwrap().join().unwrap();
                let mut fds = [PollFd::new(events, PollFlags::IN)];
                let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
                assert_eq!(ready, usize::from(left), "round {round}");
            });
        }
    }

    #[test]
    fn a_receiver_that_is_gone_costs_nothing_more() {
        let mut hub = Hub::default();
        drop(hub.subscribe(2, vec![]));
        hub.emit(EventKind::Stopped);
        assert!(hub.subscribers.is_empty());
    }
}
