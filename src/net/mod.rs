//! Deeds: the only room with `std::net` and `std::thread`. Every function is short; decisions are
//! made in `state`.
//!
//! Its own rooms use one another one way, in the order below. `docs/architecture.md` has the table
//! of all threads, with what each waits on and which thread joins it.

pub(crate) mod rt;

pub(crate) mod transport;

pub(crate) mod procs;

pub(crate) mod files;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod netlink;

pub(crate) mod masterless;

pub(crate) mod supervising;

pub(crate) mod member;

pub(crate) mod endpoint;

pub(crate) mod client;

pub(crate) mod accepting;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod route;
