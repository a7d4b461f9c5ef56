//! What one process of a group knows of another process.

use std::net::SocketAddr;

use crate::state::masterless::{Machine, Millis, PeerRecord};
use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId};

/// What one process knows of another process, or of itself.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its identifier.
    pub id: PeerId,
    /// Its label; empty if it has none, or if this process does not hear it directly.
    pub label: Label,
    /// The status that it reports.
    pub status: Status,
    /// Its service type.
    pub service: u16,
    /// Its workload.
    pub workload: u16,
    /// Its own epoch if it is primary; otherwise the largest epoch that it knows.
    pub epoch: u64,
    /// How long ago it was last heard, in milliseconds: by this process, or by another process if
    /// this one does not hear it.
    pub age_ms: u64,
    /// True if it has been silent for three intervals, or if the kernel reports that it has ended.
    pub suspected: bool,
    /// True if this process hears it directly; false if this process only knows that others follow
    /// it as primary.
    pub direct: bool,
    /// True if it is this process.
    pub own: bool,
    /// The source of its newest heartbeat; `None` of this process, and of one that it does not
    /// hear directly. A heartbeat says nothing of its source: somebody who sends a
    /// copy of one that did not arrive can make this wrong.
    pub address: Option<SocketAddr>,
}

impl PeerInfo {
    /// Returns what a process knows of itself.
    pub(super) fn own(machine: &Machine) -> Self {
        PeerInfo {
            id: machine.id(),
            label: machine.label(),
            status: machine.status(),
            service: machine.service(),
            workload: machine.workload(),
            epoch: machine.token().map_or(machine.max_epoch(), |token| token.epoch),
            age_ms: 0,
            suspected: false,
            direct: true,
            own: true,
            address: None,
        }
    }

    /// Returns what it knows of another process.
    pub(super) fn other(
        machine: &Machine,
        member: &PeerRecord,
        address: Option<SocketAddr>,
        now: Millis,
    ) -> Self {
        PeerInfo {
            id: member.id,
            label: member.label,
            status: member.status,
            service: member.service,
            workload: member.workload,
            epoch: member.epoch,
            age_ms: now.saturating_sub(if member.direct {
                member.heard_at
            } else {
                member.evidence
            }),
            suspected: machine.suspects(member, now),
            direct: member.direct,
            own: false,
            address: address.filter(|_| member.direct),
        }
    }
}
