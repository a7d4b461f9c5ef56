//! A descriptor that is readable when a connection can be accepted in turn, for programs that wait
//! for several things at once.

pub(super) use kind::Poller;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kind {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

    use crate::net::rt::waker::Waker;
    use crate::net::transport::port::{Listening, Stream};
    use crate::sys::{Booked, Kind};

    const NOTHING: EventData = EventData::new_u64(0);

    /// Holds the end of accepting, the desk's words, and the listener while there is a turn.
    pub(in super::super) struct Poller {
        set: Booked<OwnedFd>,
        /// Changed only by who has the acceptor locked.
        is_armed: AtomicBool,
    }

    impl Poller {
        pub(in super::super) fn new(end: &Waker) -> io::Result<Self> {
            let set = Booked::make(Kind::Own, || Ok(epoll::create(CreateFlags::CLOEXEC)?))?;
            epoll::add(&set, end, NOTHING, EventFlags::IN)?;
            Ok(Poller { set, is_armed: AtomicBool::new(false) })
        }

        /// Follows the connection to the desk, which leaves by itself when it is closed.
        pub(in super::super) fn line(&self, stream: &Stream) {
            _ = epoll::add(&self.set, stream, NOTHING, EventFlags::IN);
        }

        /// Stops following the listener before it is closed: others have it, too, and the kernel
        /// would keep it in the set.
        pub(in super::super) fn leave(&self, socket: &Listening) {
            if self.is_armed.swap(false, Relaxed) {
                _ = epoll::delete(&self.set, socket);
            }
        }

        /// Follows the listener exactly while this instance may accept.
        pub(in super::super) fn arm(&self, socket: &Listening, may_accept: bool) {
            if self.is_armed.load(Relaxed) == may_accept {
                return;
            }
            let done = if may_accept {
                epoll::add(&self.set, socket, NOTHING, EventFlags::IN)
            } else {
                epoll::delete(&self.set, socket)
            };
            if done.is_ok() {
                self.is_armed.store(may_accept, Relaxed);
            }
        }

        pub(in super::super) fn descriptor(&self) -> BorrowedFd<'_> {
            self.set.as_fd()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kind {
    use std::io;
    use std::os::fd::BorrowedFd;

    use crate::net::rt::waker::Waker;
    use crate::net::transport::port::{Listening, Stream};

    /// No descriptor is known here that follows several others.
    pub(in super::super) enum Poller {}

    impl Poller {
        pub(in super::super) fn new(_: &Waker) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn line(&self, _: &Stream) {
            match *self {}
        }

        pub(in super::super) fn leave(&self, _: &Listening) {
            match *self {}
        }

        pub(in super::super) fn arm(&self, _: &Listening, _: bool) {
            match *self {}
        }

        pub(in super::super) fn descriptor(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}
