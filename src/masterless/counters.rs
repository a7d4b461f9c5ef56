//! What a peer counts.

use crate::net::masterless::Traffic;
use crate::state::masterless::Counts;
use crate::wire::seal::Foreign;

/// How often what has happened to a peer, since it began to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Heartbeats sent.
    pub sent: u64,
    /// Times that one could not be sent to one address. If none gets out to anybody for an
    /// interval, that is [`EventKind::CannotSend`](super::EventKind::CannotSend).
    pub not_sent: u64,
    /// Times that the socket gave an error instead of a datagram.
    pub not_received: u64,
    /// Heartbeats of others taken in.
    pub heard: u64,
    /// Heartbeats that were played again, or of a second process with the same identifier; dropped.
    pub replayed: u64,
    /// Datagrams that are no heartbeat; dropped, as all that follow.
    pub malformed: u64,
    /// Datagrams of another version of the protocol.
    pub other_version: u64,
    /// Datagrams of another group, which may share the port.
    pub other_group: u64,
    /// Datagrams made with a key that this process does not have.
    pub unknown_key: u64,
    /// Datagrams that were forged, or damaged on the way.
    pub not_authentic: u64,
    /// Claims to become primary that turned out to be mistaken: the primary lived.
    pub false_claims: u64,
    /// Times that this process as primary met another one.
    pub conflicts: u64,
    /// Times that this process stayed primary under a new token.
    pub epoch_bumps: u64,
    /// Times that there was no room for a process in the record.
    pub record_full: u64,
    /// Times that this process stood still for longer than two intervals.
    pub pauses: u64,
    /// Longest time between two heartbeats of one process, in milliseconds. More than an interval
    /// and the [delay](super::Config::delay), where none is lost, says that the delay is set too
    /// small.
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
