//! A descriptor that is readable exactly while a receiver has events: for programs that wait for
//! several things at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::lock::Mutex;
use super::waker::Waker;

/// Between one sender of events and those who take them. It costs a lock for each event, and a
/// descriptor from when somebody asks for one.
#[derive(Default)]
pub(crate) struct Ready {
    // Held while an event is put in or taken out without waiting, so that both and the descriptor
    // change at once.
    inside: Mutex<ReadyState>,
}

#[derive(Default)]
struct ReadyState {
    waker: Option<Waker>,
    /// The descriptor is readable.
    raised: bool,
    /// And stays so: there will be no more events.
    ended: bool,
}

impl Ready {
    /// Does `put`, after which there is something to take.
    pub(crate) fn put<T>(&self, put: impl FnOnce() -> T) -> T {
        let mut inside = self.inside.lock();
        let result = put();
        inside.raise();
        result
    }

    /// Does `end`, after which there will never be more: whoever polls shall hear of that, too.
    pub(crate) fn end(&self, end: impl FnOnce()) {
        let mut inside = self.inside.lock();
        end();
        inside.ended = true;
        inside.raise();
    }

    /// Does `take`, which does not wait; `left` says whether there still is something.
    pub(crate) fn take<T>(&self, take: impl FnOnce() -> T, left: impl FnOnce() -> bool) -> T {
        let mut inside = self.inside.lock();
        let result = take();
        if inside.raised && !inside.ended && !left() {
            inside.raised = false;
            inside.waker.iter().for_each(Waker::drain);
        }
        result
    }

    /// The descriptor, which lives as long as this; `present` says whether there is something now.
    pub(crate) fn descriptor(&self, present: impl FnOnce() -> bool) -> io::Result<RawFd> {
        let mut inside = self.inside.lock();
        if inside.waker.is_none() {
            inside.waker = Some(Waker::new()?);
            if inside.ended || present() {
                inside.raise();
            }
        }
        Ok(inside.waker.as_ref().map_or(-1, |waker| waker.as_fd().as_raw_fd()))
    }
}

#[cfg(test)]
impl Ready {
    pub(crate) fn is_readable(&self, present: impl FnOnce() -> bool) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        self.descriptor(present).unwrap();
        let inside = self.inside.lock();
        let mut fds = [PollFd::new(inside.waker.as_ref().unwrap(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }
}

impl ReadyState {
    fn raise(&mut self) {
        if let Some(waker) = self.waker.as_ref().filter(|_| !self.raised) {
            waker.wake();
            self.raised = true;
        }
    }
}
