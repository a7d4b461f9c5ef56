//! A descriptor of ours, in the book for as long as it is open.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFd;

use super::book::{self, Kind};
use super::tripwire::Era;
use super::{Origin, TAKEN_AWAY, section};

/// An open socket or file that is entered in the book, so a forked child closes it.
///
/// In the child its number means nothing any more, or belongs to the program: there it is never
/// closed.
pub(crate) struct Booked<T: AsRawFd> {
    what: ManuallyDrop<T>,
    kind: Kind,
    /// Which file it is, where that matters.
    file: u64,
    origin: Origin,
    era: Era,
}

impl<T: AsRawFd> Booked<T> {
    /// Makes a descriptor and enters it. `make` must not wait for anything.
    pub(crate) fn make(kind: Kind, make: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let (_section, era) = (section(), Era::present());
        Self::enter(kind, make()?, era)
    }

    /// Does something that may bring a descriptor along, and enters that. `take` must not wait for
    /// anything.
    pub(crate) fn make_some<R>(
        kind: Kind,
        take: impl FnOnce() -> io::Result<(R, Option<T>)>,
    ) -> io::Result<(R, Option<Self>)> {
        let (_section, era) = (section(), Era::present());
        let (result, brought) = take()?;
        let entered = brought.map(|one| Self::enter(kind, one, era)).transpose()?;
        Ok((result, entered))
    }

    /// Makes two at once, and enters them.
    #[cfg_attr(any(target_os = "linux", target_os = "android"), allow(dead_code))] // eventfd is one
    pub(crate) fn pair(
        kind: Kind,
        make: impl FnOnce() -> io::Result<(T, T)>,
    ) -> io::Result<(Self, Self)> {
        let (_section, era) = (section(), Era::present());
        let (one, other) = make()?;
        Ok((Self::enter(kind, one, era)?, Self::enter(kind, other, era)?))
    }

    /// Enters a file. Opening it may have taken its time; a child that was forked before this keeps
    /// it open, which harms nobody.
    pub(crate) fn file(file: T) -> io::Result<Self> {
        let (_section, era) = (section(), Era::present());
        Self::enter(Kind::File, file, era)
    }

    fn enter(kind: Kind, what: T, mut era: Era) -> io::Result<Self> {
        let number = what.as_raw_fd();
        if book::has(number) {
            era.end(); // it was another one of ours, which the program has closed
            era = Era::present();
        }
        // What others have an end of must be closed in any case, and what is a file never be
        // another one.
        let file = if kind == Kind::Own { None } else { book::identity(number) };
        book::enter(number, kind)?;
        if era.is_over() {
            book::strike(number, kind);
        }
        Ok(Booked {
            what: ManuallyDrop::new(what),
            kind,
            file: file.unwrap_or_default(),
            origin: Origin::here(),
            era,
        })
    }

    /// Returns false once the program is known to have closed descriptors of ours: the number may
    /// be the program's, and must not be touched.
    pub(crate) fn is_usable(&self) -> bool {
        !self.era.is_over()
    }

    /// Returns true if the kernel says that it is still this very file. If it is not usable, this
    /// answers only once the program has surely closed what it is about to close.
    fn is_this_file(&self) -> bool {
        if !self.is_usable() {
            self.era.settle();
        }
        self.is_there()
    }

    fn is_there(&self) -> bool {
        self.file != 0 && book::identity(self.what.as_raw_fd()) == Some(self.file)
    }

    /// Closes it at once if it still is this file: for a number that the program can hardly have
    /// got meanwhile.
    pub(super) fn give_up(self) {
        let this = ManuallyDrop::new(self);
        if this.is_there() {
            this.close();
        }
    }

    fn close(&self) {
        // Not by dropping it: std aborts a program that was quicker, and has closed the number this
        // moment.
        // SAFETY: ours; nothing else closes it, and it is not used afterwards.
        unsafe { libc::close(self.what.as_raw_fd()) };
    }

    /// Returns an error if it is not usable, or no longer this file. Call it before writing to what
    /// may be the program's.
    pub(crate) fn check(&self) -> io::Result<()> {
        if !self.is_there() {
            self.era.end();
        }
        if self.is_usable() { Ok(()) } else { Err(io::Error::other(TAKEN_AWAY)) }
    }

    /// Returns which file it is; 0 if that does not matter.
    pub(crate) fn identity(&self) -> u64 {
        self.file
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the same descriptor as another type.
    pub(crate) fn become_a<U: From<T> + AsRawFd>(self) -> Booked<U> {
        let mut this = ManuallyDrop::new(self);
        let (kind, file, origin, era) = (this.kind, this.file, this.origin, this.era);
        // SAFETY: `this` is neither dropped nor used after it.
        let what = U::from(unsafe { ManuallyDrop::take(&mut this.what) });
        Booked { what: ManuallyDrop::new(what), kind, file, origin, era }
    }

    /// Waits for any of `fds`, which are as old as this one, until the time is over or it is no
    /// longer [usable](Booked::is_usable). May return early.
    pub(crate) fn poll(
        &self,
        fds: &mut Vec<PollFd<'_>>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<()> {
        self.era.poll(fds, timeout)
    }
}

impl Booked<TcpStream> {
    /// Ends a connection under a thread that waits on it.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if self.is_this_file() {
            return self.what.shutdown(how);
        }
        self.era.end(); // which wakes whoever waits on it
        Err(io::ErrorKind::NotConnected.into())
    }
}

impl<T: AsRawFd> Deref for Booked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.what
    }
}

impl<T: AsRawFd + AsFd> AsFd for Booked<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.what.as_fd()
    }
}

impl<T: AsRawFd> Drop for Booked<T> {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            return; // closed by the fork itself
        }
        if self.is_usable() {
            let _section = (self.kind != Kind::File).then(section);
            book::strike(self.what.as_raw_fd(), self.kind);
            self.close();
        } else if self.file != 0 && self.is_this_file() {
            self.close();
        }
    }
}

impl<T: AsRawFd + std::fmt::Debug> std::fmt::Debug for Booked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.what.fmt(f)
    }
}
