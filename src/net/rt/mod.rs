//! What every thread stands on: threads, locks, the clock, ways to wake and to be told.

pub(crate) mod clock;
pub(crate) mod complaint;
pub(crate) mod events;
pub(crate) mod hub;
pub(crate) mod lock;
mod ready;
pub(crate) mod threads;
pub(crate) mod waker;
