//! Deeds: the only room with `std::net` and `std::thread`. Every function short; no decision.
//!
//! The table of all threads, with what each waits on and who joins it, is in
//! `docs/architecture.md`.

pub(crate) mod ask;
mod attend;
mod claim;
pub(crate) mod clock;
pub(crate) mod complaint;
pub(crate) mod endpoint;
pub(crate) mod files;
pub(crate) mod hand_over;
mod handshake;
pub(crate) mod health;
mod holder;
pub(crate) mod holding;
mod hub;
pub(crate) mod key;
mod lifeline;
mod link;
pub(crate) mod lock;
mod look;
pub(crate) mod obstacle;
mod office;
pub(crate) mod peer;
pub(crate) mod port;
#[cfg_attr(not(feature = "capi"), allow(dead_code))] // nobody else polls
pub(crate) mod ready;
pub(crate) mod role;
mod service;
mod sharing;
pub(crate) mod standing;
pub(crate) mod store;
mod stream;
pub(crate) mod threads;
mod waker;
pub(crate) mod watch;

pub(crate) use handshake::Pass;
pub(crate) use office::unix_ms;
