//! The queue from which a program takes events, with a descriptor for programs that poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use crossbeam_channel as channel;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::clock::{deadline, monotonic_ns};
use super::ready::Ready;
use super::threads::FORKED;
use crate::event::{Change, Event};
use crate::sys::Origin;

/// A queue of events: of an instance ([`Instance::events`](crate::Instance::events)), of the
/// registry ([`Watch::changes`](crate::Watch::changes)), or of a masterless group
/// ([`Peer::events`](crate::masterless::Peer::events)).
///
/// As an iterator it waits for the next event, and ends when the instance or peer that sends the
/// events has left its group. If several threads take events from one `Events`, each event goes to
/// one of them.
///
/// **To poll**, use the [`descriptor`](Events::descriptor), or pass `Events` itself where [`AsFd`]
/// is wanted. The descriptor is readable exactly while there is an event to take, or after the end.
/// It works level-triggered, with `poll`, `epoll`, mio, tokio's `AsyncFd` and the like. A program
/// that does not poll pays for no descriptor.
///
/// **For `select!`** of crossbeam-channel, use [`AsRef`]. The macro can wait only for that crate's
/// own receivers; for this one purpose their type stays in the interface
/// (`pares::channel`). Taking an event through the receiver leaves the descriptor as it
/// was, until the next event comes or is taken here.
///
/// In a forked child the queue has ended, because nothing sends there.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
/// let instance = pares::Instance::join(config)?;
/// let events = instance.events();
/// let first = events.recv_timeout(Duration::from_secs(1))?;
/// println!("{:?}, {:?} ago", first.kind, first.age());
///
/// // With crossbeam's `select!`, beside a channel of the program's own:
/// let (_stop, stopped) = pares::channel::bounded::<()>(1);
/// crossbeam_channel::select! {
///     recv(events.as_ref()) -> event => println!("{:?}", event?.kind),
///     recv(stopped) -> _ => println!("stopped"),
///     default(Duration::from_millis(1)) => {}
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Events<E = Event> {
    /// `None` once it has been dropped.
    receiver: Option<Receiver<E>>,
    /// A receiver that has ended, for a forked child, in which nothing sends.
    ended: Receiver<E>,
    ready: Arc<Ready>,
    origin: Origin,
}

/// An iterator over [`Events`]; see [`iter`](Events::iter) and [`try_iter`](Events::try_iter).
pub struct EventsIter<'a, E> {
    events: &'a Events<E>,
    waits: bool,
}

impl<E> Iterator for EventsIter<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        if self.waits { self.events.recv().ok() } else { self.events.try_recv().ok() }
    }
}

impl<E> std::fmt::Debug for EventsIter<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EventsIter").field(self.events).finish()
    }
}

/// The other end of [`Events`].
pub(crate) struct Teller<E> {
    /// `None` once it has been dropped.
    sender: Option<Sender<E>>,
    ready: Arc<Ready>,
}

/// Makes a queue of up to `capacity` events.
pub(crate) fn events<E>(capacity: usize) -> (Teller<E>, Events<E>) {
    let ((sender, receiver), (_, ended)) = (bounded(capacity), bounded(0));
    let ready = Arc::new(Ready::default());
    let teller = Teller { sender: Some(sender), ready: ready.clone() };
    let origin = Origin::here();
    (teller, Events { receiver: Some(receiver), ended, ready, origin })
}

impl<E> Events<E> {
    /// Takes the next event. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// If there will be no more events.
    pub fn recv(&self) -> Result<E, RecvError> {
        let taken = self.channel().recv();
        self.update();
        taken.map_err(|_| RecvError)
    }

    /// Takes the next event. Blocks until there is one, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` if no event came in time; `Disconnected` if there will be no more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<E, RecvTimeoutError> {
        self.recv_deadline(deadline(timeout))
    }

    /// Takes the next event. Blocks until there is one, at most until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Events::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<E, RecvTimeoutError> {
        let taken = self.channel().recv_deadline(deadline);
        self.update();
        taken.map_err(|error| match error {
            channel::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout,
            channel::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Takes the next event if there is one. Does not block.
    ///
    /// # Errors
    ///
    /// `Empty` if there is no event now; `Disconnected` if there will be no more.
    pub fn try_recv(&self) -> Result<E, TryRecvError> {
        let taken = self.channel().try_recv();
        self.update();
        taken.map_err(|error| match error {
            channel::TryRecvError::Empty => TryRecvError::Empty,
            channel::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Returns an iterator that waits for each event, for callers that do not own the queue.
    pub fn iter(&self) -> EventsIter<'_, E> {
        EventsIter { events: self, waits: true }
    }

    /// Returns an iterator over the events that are there now. It does not wait.
    pub fn try_iter(&self) -> EventsIter<'_, E> {
        EventsIter { events: self, waits: false }
    }

    /// Returns a descriptor that is readable exactly while there is an event to take, or once there
    /// will be no more. Use it only to poll; do not read from it.
    ///
    /// The first call makes the descriptor, which lives as long as this queue.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left, and in a forked child.
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        if self.origin.is_elsewhere() {
            return Err(io::Error::other(FORKED));
        }
        self.ready.descriptor(|| !self.channel().is_empty())
    }

    fn channel(&self) -> &Receiver<E> {
        if self.origin.is_elsewhere() {
            return &self.ended;
        }
        self.receiver.as_ref().unwrap_or(&self.ended)
    }

    /// Makes the descriptor follow what was taken.
    fn update(&self) {
        if !self.origin.is_elsewhere() {
            self.ready.update(|| !self.channel().is_empty());
        }
    }
}

impl Event {
    /// Returns how long ago the instance knew of it.
    #[must_use]
    pub fn age(&self) -> Duration {
        age(self.monotonic_ns)
    }
}

impl Change {
    /// Returns how long ago the watcher knew of it.
    #[must_use]
    pub fn age(&self) -> Duration {
        age(self.monotonic_ns)
    }
}

fn age(since: u64) -> Duration {
    Duration::from_nanos(monotonic_ns().saturating_sub(since))
}

impl<E> Iterator for Events<E> {
    type Item = E;

    /// Blocks until there is an event. Returns `None` if there will be no more.
    fn next(&mut self) -> Option<E> {
        self.recv().ok()
    }
}

impl<'a, E> IntoIterator for &'a Events<E> {
    type Item = E;
    type IntoIter = EventsIter<'a, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E> AsFd for Events<E> {
    /// Returns the [`descriptor`](Events::descriptor).
    ///
    /// # Panics
    ///
    /// If the descriptor cannot be made. Call [`descriptor`](Events::descriptor) first where the
    /// process may be short of descriptors.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor().expect("a descriptor for events")
    }
}

/// The receiver, for `select!` of crossbeam-channel.
impl<E> AsRef<Receiver<E>> for Events<E> {
    fn as_ref(&self) -> &Receiver<E> {
        self.channel()
    }
}

impl<E> Drop for Events<E> {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            // A thread of the parent may hold what this locks.
            std::mem::forget((self.receiver.take(), self.ready.clone()));
        }
    }
}

impl<E> std::fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("waiting", &self.channel().len()).finish_non_exhaustive()
    }
}

impl<E> Teller<E> {
    /// Sends an event if there is room. Does not wait.
    pub(crate) fn try_tell(&self, event: E) -> Result<(), channel::TrySendError<E>> {
        let Some(sender) = &self.sender else {
            return Err(channel::TrySendError::Disconnected(event));
        };
        let told = sender.try_send(event);
        self.ready.update(|| !sender.is_empty());
        told
    }

    /// Sends an event, and waits for room. Returns false if nobody takes events any more.
    pub(crate) fn tell(&self, event: E) -> bool {
        let Some(sender) = &self.sender else { return false };
        let told = sender.send(event).is_ok();
        self.ready.update(|| !sender.is_empty());
        told
    }
}

impl<E> Drop for Teller<E> {
    /// The end must be noticed, too.
    fn drop(&mut self) {
        self.sender = None;
        self.ready.end();
    }
}
