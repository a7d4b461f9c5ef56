//! A descriptor that is readable exactly while there are events: for programs that wait for several
//! things at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};

use super::lock::Mutex;
use super::waker::Waker;

/// Between those who give events and those who take them. Until somebody asks for the descriptor it
/// costs no lock and no system call.
#[derive(Default)]
pub(crate) struct Ready {
    /// Made when somebody first asks for it.
    waker: OnceLock<Waker>,
    // Held while the descriptor is made or follows the events; its holder looks whether there are
    // some, so that whoever comes last says what is true.
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// The descriptor is readable.
    raised: bool,
    /// And stays so: there will be no more events.
    ended: bool,
}

impl Ready {
    /// After an event was given or taken; `present` says whether there are some now.
    pub(crate) fn update(&self, present: impl FnOnce() -> bool) {
        // Either this sees the descriptor, or whoever makes it sees the event.
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            self.inside.lock().show(waker, present);
        }
    }

    /// There will never be more: whoever polls shall hear of that, too.
    pub(crate) fn end(&self) {
        let mut inside = self.inside.lock();
        inside.ended = true;
        self.waker.get().into_iter().for_each(|waker| inside.show(waker, || true));
    }

    /// The descriptor, which lives as long as this; `present` says whether there is something now.
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
