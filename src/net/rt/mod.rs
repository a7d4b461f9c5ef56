//! The base of every thread: threads, locks, the clock, and ways to wake a thread and to tell a
//! program.

pub(crate) mod clock;
pub(crate) mod complaint;
pub(crate) mod events;
pub(crate) mod hub;
pub(crate) mod lock;
mod ready;
pub(crate) mod threads;
pub(crate) mod waker;
