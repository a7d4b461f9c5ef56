//! What one process of a group knows of another one.

use crate::state::masterless::{Machine, Millis, PeerRecord};
use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId};

/// What one process knows of another one, or of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Who it is.
    pub id: PeerId,
    /// What people call it; empty if it has no label, or if only others hear it.
    pub label: Label,
    /// What it says to be.
    pub status: Status,
    /// Its service type.
    pub service: u16,
    /// How much it has to do.
    pub workload: u16,
    /// Its own epoch if it is primary, else the largest that it knows.
    pub epoch: u64,
    /// How long ago it was last heard, in milliseconds; by another process, if not directly.
    pub age_ms: u64,
    /// It has been silent for three intervals, or the kernel says that it has ended.
    pub suspected: bool,
    /// It is heard by this process itself; else others follow it as primary.
    pub direct: bool,
    /// It is this process.
    pub own: bool,
}

impl PeerInfo {
    /// What a process knows of itself.
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
        }
    }

    /// What it knows of another one.
    pub(super) fn other(machine: &Machine, member: &PeerRecord, now: Millis) -> Self {
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
        }
    }
}
