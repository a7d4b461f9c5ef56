//! What a router and an agent of a routed service learn. Values only.

use std::net::IpAddr;

use super::masterless::Token;

/// An event of a routed service, and when it was known.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When the process knew of it: CLOCK_MONOTONIC in nanoseconds, comparable between the
    /// processes of one machine.
    pub monotonic_ns: u64,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

/// What happened to a router, or to the agent on a target.
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "event", rename_all = "kebab-case")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// This router has the addresses.
    Owner {
        /// Under this token: later owners have larger ones.
        token: Token,
    },
    /// Another router has the addresses, or is to have them.
    Former,
    /// Every target has said what connections it has, since this router has the addresses.
    Settled,
    /// A target's agent speaks to this router.
    TargetUp {
        /// Its label.
        name: String,
        /// Its host.
        address: IpAddr,
    },
    /// A target's agent speaks no more. Its host may live: its connections go on.
    TargetQuiet {
        /// Its label.
        name: String,
        /// Its host.
        address: IpAddr,
    },
    /// A target's host is dead. If this router has the addresses, its clients are told.
    TargetDead {
        /// Its label.
        name: String,
        /// Its host.
        address: IpAddr,
    },
    /// Clients were refused: no target has their connections.
    Refused {
        /// So many.
        connections: usize,
    },
    /// Another host says that it has one of the addresses. This router has announced them again.
    Claimed,
    /// A target is one too many for this router, and is not used.
    TooManyTargets {
        /// Its label.
        name: String,
    },
    /// Of an agent: its target serves the router that has the addresses under this token.
    Serves {
        /// The router's token.
        token: Token,
    },
    /// The reader was too slow.
    Missed {
        /// So many events were dropped.
        events: u64,
    },
    /// The last event: the router or the agent has ended.
    Stopped,
}
