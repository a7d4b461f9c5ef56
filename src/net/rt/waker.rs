//! Wakes a thread out of `poll`.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

pub(crate) use kind::Waker;

impl Waker {
    /// Waits for any of `fds`, for a wake-up, or for the time, and forgets the wake-up. Once this
    /// is no longer [usable](Waker::is_usable) it does not wait at all.
    pub(crate) fn wait<'a>(
        &'a self,
        fds: &mut Vec<PollFd<'a>>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<()> {
        fds.push(PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN));
        let waited = self.waiting().poll(fds, timeout);
        let is_called = fds.pop().is_some_and(|own| !own.revents().is_empty());
        if is_called && self.is_usable() {
            self.drain();
        }
        waited
    }

    /// Waits for any of `fds`, this one among them if it is to wake the thread, or for the time.
    /// The wake-up stays: it is for all threads, and for good.
    pub(crate) fn poll(
        &self,
        fds: &mut Vec<PollFd<'_>>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<()> {
        self.waiting().poll(fds, timeout)
    }

    /// Returns false once the program is known to have closed it: nothing can wake the thread any
    /// more.
    pub(crate) fn is_usable(&self) -> bool {
        self.waiting().is_usable()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kind {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    use crate::sys::{Booked, Kind, tripwire};

    /// A counter in the kernel, readable unless it is zero. It is one descriptor, made by one call:
    /// a new supervisor makes three before it says that it is one.
    pub(crate) struct Waker(Booked<OwnedFd>);

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            Booked::make(Kind::Own, || Ok(eventfd(0, flags)?)).map(Waker)
        }

        pub(super) fn waiting(&self) -> &Booked<OwnedFd> {
            &self.0
        }

        /// Wakes the thread, or the next one that waits. A full counter means that it is already
        /// woken.
        pub(crate) fn wake(&self) {
            // The program's file, if it has this number now, would be written into.
            tripwire::look();
            if !self.is_usable() {
                return;
            }
            _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        /// Forgets earlier wake-ups, before the thread looks at what it was woken for.
        pub(crate) fn drain(&self) {
            _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
    }

    impl AsFd for Waker {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kind {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    use crate::sys::{Booked, Kind, tripwire};

    /// Two connected sockets: a byte in one makes the other readable. (A pipe would do; this one
    /// std opens close-on-exec and non-blocking everywhere.)
    pub(crate) struct Waker {
        sleeper: Booked<UnixStream>,
        caller: Booked<UnixStream>,
    }

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            let (sleeper, caller) = Booked::pair(Kind::Own, UnixStream::pair)?;
            sleeper.set_nonblocking(true)?;
            caller.set_nonblocking(true)?;
            Ok(Waker { sleeper, caller })
        }

        pub(super) fn waiting(&self) -> &Booked<UnixStream> {
            &self.sleeper
        }

        pub(crate) fn wake(&self) {
            // The program's file, if it has this number now, would be written into.
            tripwire::look();
            if !self.is_usable() {
                return;
            }
            _ = (&*self.caller).write(&[1]);
        }

        pub(crate) fn drain(&self) {
            while matches!((&*self.sleeper).read(&mut [0; 64]), Ok(64)) {}
        }
    }

    impl AsFd for Waker {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.sleeper.as_fd()
        }
    }
}
