//! What happens to an instance or a peer, waited for or polled.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::sync::mpsc::TryRecvError;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::given::{Handle, Slot};
use super::result::{Code, Failure, guarded};
use super::table::table;
use super::time;
use crate::net::rt::clock::deadline;
use crate::net::rt::events::Events;

/// A subscription. Of those who take from it together, each event reaches one.
pub(crate) struct Subscription<E> {
    events: Events<E>,
    /// Ends when the handle is freed, so that whoever still waits is called away.
    open: Receiver<()>,
    close: Mutex<Option<Sender<()>>>,
}

impl<E> Subscription<E> {
    fn new(events: Events<E>) -> Self {
        let (close, open) = bounded(0);
        Subscription { events, open, close: Mutex::new(Some(close)) }
    }

    fn next(&self, timeout_ms: u64) -> Result<E, Failure> {
        let deadline = deadline(time(timeout_ms));
        let mut late = timeout_ms == 0;
        loop {
            if self.open.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected) {
                return Err(Failure::new(Code::End, "the subscription was closed"));
            }
            match self.events.try_recv() {
                Ok(event) => return Ok(event),
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::new(
                        Code::End,
                        "there are no more events: whoever had them has left its group",
                    ));
                }
                Err(TryRecvError::Empty) if late => {
                    return Err(Failure::new(Code::Deadline, "no event in time"));
                }
                Err(TryRecvError::Empty) => {}
            }
            let mut either = Select::new();
            either.recv(self.events.as_ref());
            either.recv(&self.open);
            late = either.ready_deadline(deadline).is_err();
        }
    }

    fn descriptor(&self) -> Result<c_int, Failure> {
        let descriptor = self.events.descriptor();
        descriptor.map(|descriptor| descriptor.as_raw_fd()).map_err(|error| {
            Failure::new(Code::Io, format!("cannot make a descriptor for events: {error}"))
        })
    }

    fn close(&self) {
        *self.close.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What each function of C that has to do with events does, whatever they are about.
pub(super) fn open<E: Send + 'static>(
    events: impl FnOnce() -> Result<Events<E>, Failure>,
    events_out: Slot<Handle<Subscription<E>>>,
) -> c_int {
    guarded(|| {
        let events_out = events_out.open("events_out")?;
        events_out.set(Handle::of(table().add(Subscription::new(events()?))?));
        Ok(())
    })
}

pub(super) fn next<E: Send + 'static, C>(
    events: Handle<Subscription<E>>,
    timeout_ms: u64,
    event_out: Slot<*const C>,
    hand_out: impl FnOnce(&E) -> *const C,
) -> c_int {
    guarded(|| {
        let event_out = event_out.open("event_out")?;
        let event = events.get("events")?.next(timeout_ms)?;
        event_out.set(hand_out(&event));
        Ok(())
    })
}

pub(super) fn descriptor<E: Send + 'static>(
    events: Handle<Subscription<E>>,
    descriptor_out: Slot<c_int>,
) -> c_int {
    guarded(|| {
        let descriptor_out = descriptor_out.open("descriptor_out")?;
        descriptor_out.set(events.get("events")?.descriptor()?);
        Ok(())
    })
}

pub(super) fn close<E: Send + 'static>(events: Handle<Subscription<E>>) -> c_int {
    guarded(|| {
        if let Some(events) = events.take()? {
            events.close();
        }
        Ok(())
    })
}
