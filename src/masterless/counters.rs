//! The counters of a peer.

use crate::net::masterless::Traffic;
use crate::state::masterless::Counts;
use crate::wire::seal::Foreign;

/// How often each thing has happened to a peer since it began to join.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Heartbeats sent.
    pub sent: u64,
    /// Failed attempts to send a heartbeat to one address. If no heartbeat gets out to any address
    /// for an interval, the peer gets [`EventKind::CannotSend`](super::EventKind::CannotSend).
    pub not_sent: u64,
    /// Times the socket returned an error instead of a datagram.
    pub not_received: u64,
    /// Heartbeats of other processes received and used.
    pub heard: u64,
    /// Heartbeats dropped because they were replayed, or came from a second process with the same
    /// identifier.
    pub replayed: u64,
    /// Datagrams that are not heartbeats; dropped, like all those below.
    pub malformed: u64,
    /// Datagrams of another version of the protocol.
    pub other_version: u64,
    /// Datagrams of another group, which may share the port.
    pub other_group: u64,
    /// Datagrams made with a key that this process does not have.
    pub unknown_key: u64,
    /// Datagrams that were forged, or damaged on the way.
    pub not_authentic: u64,
    /// Claims to become primary that were mistaken, because the primary lived.
    pub false_claims: u64,
    /// Times this process, as primary, met another primary.
    pub conflicts: u64,
    /// Times this process stayed primary under a new token.
    pub epoch_bumps: u64,
    /// Times the record had no room for a process.
    pub record_full: u64,
    /// Times this process stood still for longer than two intervals.
    pub pauses: u64,
    /// The longest time between two heartbeats of one process, in milliseconds. If no heartbeat is
    /// lost, a value above an interval and the [delay](super::Config::delay) shows that the delay
    /// is set too small.
    pub longest_gap_ms: u64,
}

impl Counters {
    pub(super) fn new(counts: &Counts, traffic: &Traffic) -> Self {
        let dropped = |reasons: &[Foreign]| {
            reasons.iter().filter_map(|reason| traffic.dropped.get(reason)).sum()
        };
        Counters {
            sent: counts.sent,
            not_sent: traffic.not_sent,
            not_received: traffic.not_received,
            heard: counts.heard,
            replayed: counts.dropped,
            malformed: dropped(&[Foreign::Shape, Foreign::Field]),
            other_version: dropped(&[Foreign::Version]),
            other_group: dropped(&[Foreign::Group]),
            unknown_key: dropped(&[Foreign::Key]),
            not_authentic: dropped(&[Foreign::Tag]),
            false_claims: counts.false_claims,
            conflicts: counts.conflicts,
            epoch_bumps: counts.bumps,
            record_full: counts.record_full,
            pauses: counts.pauses,
            longest_gap_ms: counts.longest_gap,
        }
    }
}
