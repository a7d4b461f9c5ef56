//! Accepting at a listener that instances share: in turn, as the supervisor's desk gives the turns.

pub(crate) mod acceptor;
pub(crate) mod keeper;
pub(crate) mod listeners;
mod make;
mod poller;
mod theirs;
