//! A descriptor that is readable exactly while there are events, for programs that wait for several
//! things at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};

use super::lock::Mutex;
use super::waker::Waker;

/// Stands between the senders and the receivers of events. Until a program asks for the descriptor,
/// it costs no lock and no system call.
#[derive(Default)]
pub(crate) struct Ready {
    /// Made when a program first asks for it.
    waker: OnceLock<Waker>,
    // Held while the descriptor is made or follows the events; its holder looks whether there are
    // some, so that whoever comes last says what is true.
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// The descriptor is readable.
    raised: bool,
    /// It stays readable: there will be no more events.
    ended: bool,
}

impl Ready {
    /// Follows an event that was sent or taken; `present` says whether there are events now.
    pub(crate) fn update(&self, present: impl FnOnce() -> bool) {
        // Either this sees the descriptor, or whoever makes it sees the event.
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            self.inside.lock().show(waker, present);
        }
    }

    /// Notes the end: a program that polls must notice it, too.
    pub(crate) fn end(&self) {
        let mut inside = self.inside.lock();
        inside.ended = true;
        self.waker.get().into_iter().for_each(|waker| inside.show(waker, || true));
    }

    /// Returns the descriptor, which lives as long as this; `present` says whether there are events
    /// now.
    pub(crate) fn descriptor(&self, present: impl FnOnce() -> bool) -> io::Result<BorrowedFd<'_>> {
        let mut inside = self.inside.lock();
        let waker = match self.waker.get() {
            Some(waker) => waker,
            None => {
                let made = Waker::new()?;
                self.waker.get_or_init(|| made)
            }
        };
        fence(Ordering::SeqCst);
        inside.show(waker, present);
        Ok(waker.as_fd())
    }
}

impl Inside {
    fn show(&mut self, waker: &Waker, present: impl FnOnce() -> bool) {
        match (self.raised, self.ended || present()) {
            (false, true) => waker.wake(),
            (true, false) => waker.drain(),
            (true, true) | (false, false) => return,
        }
        self.raised = !self.raised;
    }
}
