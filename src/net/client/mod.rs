//! Asking the supervisor, calling instances, and watching the registry.

pub(crate) mod ask;
mod sharing;
pub(crate) mod watch;
