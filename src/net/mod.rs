//! Deeds: the only room with `std::net` and `std::thread`. Every function short; no decision.
//!
//! Its own rooms use one another one way, in the order in which they stand here. The table of all
//! threads, with what each waits on and who joins it, is in `docs/architecture.md`.

pub(crate) mod rt;

pub(crate) mod transport;

pub(crate) mod procs;

pub(crate) mod files;

pub(crate) mod masterless;

pub(crate) mod supervising;

pub(crate) mod member;

pub(crate) mod endpoint;

pub(crate) mod client;
