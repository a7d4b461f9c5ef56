//! Groups without a supervisor, on one machine or on many.
//!
//! A [`Peer`] is one process of such a group. There is no port to hold and no lifeline. Each
//! process broadcasts heartbeats, by default five per second ([`Config`]), and keeps its own record
//! of all other processes. The record alone decides which process is *primary* of each service
//! type. A peer has one thread (`pares-peer`) and one UDP socket.
//!
//! `docs/masterless.md` has a first example, what the group promises, and what it cannot promise.

mod counters;
mod info;
mod job;
mod peer;

pub use counters::Counters;
pub use info::PeerInfo;
#[cfg(feature = "capi")]
pub(crate) use job::PrimaryTenure;
pub use job::{Job, PrimaryGuard};
pub use peer::Peer;

pub use crate::config::masterless::Config;
pub use crate::error::masterless::JoinError;
pub use crate::event::masterless::{Event, EventKind, LeftCause, RoleCause, SuspicionCause, Token};
pub use crate::net::masterless::default_label;
pub use crate::wire::heartbeat::Status;
pub use crate::wire::{Label, PeerId, Tail};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_holds_may_go_to_any_thread() {
        fn goes<T: Send + Sync>() {}
        goes::<Peer>();
        goes::<Job>();
        goes::<PrimaryGuard<'_>>();
        goes::<Config>();
        goes::<Event>();
        goes::<JoinError>();
    }
}
