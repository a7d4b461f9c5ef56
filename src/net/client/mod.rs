//! Asking the supervisor, calling instances, and watching the registry.

pub(crate) mod ask;
mod exchange;
mod listeners;
mod pool;
mod sharing;
pub(crate) mod watch;
