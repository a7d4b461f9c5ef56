//! Obstacles between an instance and a role.

use crate::error::{KeepError, printable};
use crate::wire::{Refusal, Rejection};

/// An obstacle between this instance and a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The holder of the port does not speak our protocol.
    NotPares,
    /// The holder of the port closes each connection without a word.
    TurnedAway,
    /// The holder serves another group, of this name.
    OtherGroup(String),
    /// The holder does not have our key, or we do not have its key.
    KeyMismatch,
    /// The holder speaks only these versions.
    Version { min: u16, max: u16 },
    /// A living instance has our name.
    NameTaken(String),
    /// The group has as many members as its supervisor admits.
    GroupFull(String),
    /// This user may not bind the port.
    PortForbidden,
    /// The group's last term cannot be kept.
    Unkept(KeepError),
    /// No instance supervises, and this one may not.
    NoSupervisor,
    /// The holder is too busy.
    Busy,
    /// The holder is handing over to another instance.
    SteppingDown,
    /// The holder says that we broke the protocol.
    Malformed(String),
    /// The holder accepts connections but does not answer.
    Silent,
    /// The system refused something that this instance needs.
    System { doing: &'static str, errno: i32 },
}

impl Obstacle {
    /// Returns what a refusal means to the client that was refused; its detail comes from a
    /// stranger.
    pub(crate) fn refused(rejection: &Rejection) -> Self {
        let detail = printable(&rejection.detail);
        match rejection.refusal {
            Refusal::Version => {
                Obstacle::Version { min: rejection.version_min, max: rejection.version_max }
            }
            Refusal::OtherGroup => Obstacle::OtherGroup(detail),
            Refusal::Key => Obstacle::KeyMismatch,
            Refusal::NameTaken => Obstacle::NameTaken(detail),
            Refusal::GroupFull => Obstacle::GroupFull(detail),
            Refusal::Busy => Obstacle::Busy,
            Refusal::Malformed => Obstacle::Malformed(detail),
            Refusal::SteppingDown => Obstacle::SteppingDown,
        }
    }

    /// Returns true if another try may soon succeed. Even a first join then goes on until its
    /// deadline.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Obstacle::Busy | Obstacle::SteppingDown | Obstacle::Silent | Obstacle::NoSupervisor => {
                true
            }
            Obstacle::NotPares
            | Obstacle::TurnedAway
            | Obstacle::OtherGroup(_)
            | Obstacle::KeyMismatch
            | Obstacle::Version { .. }
            | Obstacle::NameTaken(_)
            | Obstacle::GroupFull(_)
            | Obstacle::PortForbidden
            | Obstacle::Unkept(_)
            | Obstacle::Malformed(_)
            | Obstacle::System { .. } => false,
        }
    }
}
