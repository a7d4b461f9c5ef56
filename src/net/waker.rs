//! A way to call a thread out of `poll`.

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

    /// Wakes the thread, or the next one that waits. A full socket means that it is already called.
    pub(crate) fn wake(&self) {
        _ = (&*self.caller).write(&[1]);
    }

    /// Forgets the calls so far, before the thread looks at what it was called for.
    pub(crate) fn drain(&self) {
        while matches!((&*self.sleeper).read(&mut [0; 64]), Ok(64)) {}
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.as_fd()
    }
}
