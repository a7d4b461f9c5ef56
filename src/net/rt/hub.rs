//! Events to whoever wants them, never waiting for anybody.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::clock::monotonic_ns;
use super::ready::Ready;
use crate::event::{Event, EventKind, masterless};

/// What can happen to one who is told of it.
pub(crate) trait Happening: Sized {
    /// What happened, and when it was known.
    type Event: Clone;

    fn at(self, monotonic_ns: u64) -> Self::Event;

    /// So many were missed.
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

pub(crate) struct Hub<K: Happening> {
    subscribers: Vec<EventReceiver<K>>,
}

struct EventReceiver<K: Happening> {
    /// `None` once it has been dropped.
    events: Option<Sender<K::Event>>,
    /// Of a receiver that can be polled.
    ready: Option<Arc<Ready>>,
    /// Events that found no room since the last one that did.
    missed: u64,
}

impl<K: Happening> Default for Hub<K> {
    fn default() -> Self {
        Hub { subscribers: Vec::new() }
    }
}

impl<K: Happening> Hub<K> {
    /// A new receiver of up to `capacity` events, at least 2, whose first ones are `present`.
    pub(crate) fn subscribe(
        &mut self,
        capacity: usize,
        ready: Option<Arc<Ready>>,
        present: Vec<K>,
    ) -> Receiver<K::Event> {
        let (events, receiver) = bounded(capacity);
        let mut subscriber = EventReceiver { events: Some(events), ready, missed: 0 };
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
    /// False if nobody receives any more.
    fn offer(&mut self, event: &K::Event) -> bool {
        match self.ready.clone() {
            Some(ready) => ready.put(|| self.send(event)),
            None => self.send(event),
        }
    }

    fn send(&mut self, event: &K::Event) -> bool {
        let Some(events) = &self.events else { return false };
        if self.missed > 0 {
            // The mark needs a place of its own before the event.
            match events.try_send(now(K::missed(self.missed))) {
                Ok(()) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        match events.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

impl<K: Happening> Drop for EventReceiver<K> {
    /// The end is something to be taken, too.
    fn drop(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready.end(|| self.events = None);
        }
    }
}

fn now<K: Happening>(kind: K) -> K::Event {
    kind.at(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_is_full_is_told_how_many_it_missed() {
        let mut hub = Hub::default();
        let events = hub.subscribe(2, None, vec![EventKind::Supervisor { term: 1 }]);
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
        let mut hub = Hub::default();
        let ready = Arc::new(Ready::default());
        let events = hub.subscribe(2, Some(ready.clone()), vec![EventKind::Supervisor { term: 1 }]);
        let take = || ready.take(|| events.try_recv().is_ok(), || !events.is_empty());
        // Asked for while there is something, and emptied before it was.
        assert!(ready.is_readable(|| !events.is_empty()));
        assert!(take() && !ready.is_readable(|| false));
        assert!(!take() && !ready.is_readable(|| false));
        for term in 2..9 {
            hub.emit(EventKind::Supervisor { term });
            assert!(ready.is_readable(|| false));
        }
        assert!(take() && ready.is_readable(|| false));
        assert!(take() && !ready.is_readable(|| false));
        hub.close();
        assert!(ready.is_readable(|| false), "the end is something to be taken");
    }

    #[test]
    fn a_receiver_that_is_gone_costs_nothing_more() {
        let mut hub = Hub::default();
        drop(hub.subscribe(2, None, vec![]));
        hub.emit(EventKind::Stopped);
        assert!(hub.subscribers.is_empty());
    }
}
