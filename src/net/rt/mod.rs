//! What every thread stands on: threads, locks, the clock, ways to wake and to be told.

pub(crate) mod clock;
pub(crate) mod complaint;
pub(crate) mod hub;
pub(crate) mod lock;
#[cfg_attr(not(feature = "capi"), allow(dead_code))] // nobody else polls
pub(crate) mod ready;
pub(crate) mod threads;
pub(crate) mod waker;
