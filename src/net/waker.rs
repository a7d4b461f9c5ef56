//! A way to call a thread out of `poll`.

pub(crate) use kind::Waker;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kind {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    use crate::sys::{Booked, Kind};

    /// A counter of the kernel's, readable unless it is zero. One descriptor, made by one call: a new supervisor makes three
    /// before it says that it is one.
    pub(crate) struct Waker(Booked<OwnedFd>);

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            Booked::make(Kind::Own, || Ok(eventfd(0, flags)?)).map(Waker)
        }

        /// Wakes the thread, or the next one that waits. A full counter means that it is already called.
        pub(crate) fn wake(&self) {
            _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        /// Forgets the calls so far, before the thread looks at what it was called for.
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

    use crate::sys::{Booked, Kind};

    /// Two connected sockets: a byte in one makes the other readable. (A pipe would do; this one std opens close-on-exec
    /// and non-blocking everywhere.)
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

        pub(crate) fn wake(&self) {
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
