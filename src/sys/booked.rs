//! A descriptor of ours, in the book for as long as it is open.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::book::{self, Kind};
use super::{Origin, section};

/// An open socket or file that is entered in the book, so that a forked child closes it.
///
/// In the child itself its number means nothing any more, or something of the program's: there it is never closed.
pub(crate) struct Booked<T: AsRawFd> {
    what: ManuallyDrop<T>,
    kind: Kind,
    origin: Origin,
}

impl<T: AsRawFd> Booked<T> {
    /// Makes a descriptor and enters it. `make` must not wait for anything.
    pub(crate) fn make(kind: Kind, make: impl FnOnce() -> io::Result<T>) -> io::Result<Self> {
        let _section = section();
        Self::enter(kind, make()?)
    }

    /// Two at once, that are made together.
    #[cfg_attr(any(target_os = "linux", target_os = "android"), allow(dead_code))] // eventfd is one
    pub(crate) fn pair(kind: Kind, make: impl FnOnce() -> io::Result<(T, T)>) -> io::Result<(Self, Self)> {
        let _section = section();
        let (one, other) = make()?;
        Ok((Self::enter(kind, one)?, Self::enter(kind, other)?))
    }

    /// Enters a file. Opening it may have taken its time; a child that is forked before this keeps it open, which harms nobody.
    pub(crate) fn file(file: T) -> io::Result<Self> {
        let _section = section();
        Self::enter(Kind::File, file)
    }

    fn enter(kind: Kind, what: T) -> io::Result<Self> {
        book::enter(what.as_raw_fd(), kind)?;
        Ok(Booked { what: ManuallyDrop::new(what), kind, origin: Origin::here() })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The same descriptor as another type.
    pub(crate) fn become_a<U: From<T> + AsRawFd>(self) -> Booked<U> {
        let mut this = ManuallyDrop::new(self);
        let (kind, origin) = (this.kind, this.origin);
        // SAFETY: `this` is neither dropped nor used after it.
        let what = U::from(unsafe { ManuallyDrop::take(&mut this.what) });
        Booked { what: ManuallyDrop::new(what), kind, origin }
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
        let _section = (self.kind != Kind::File).then(section);
        book::strike(self.what.as_raw_fd(), self.kind);
        // SAFETY: this is the only place that drops it, and it is not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.what) };
    }
}

impl<T: AsRawFd + std::fmt::Debug> std::fmt::Debug for Booked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.what.fmt(f)
    }
}
