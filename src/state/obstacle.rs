//! What can stand between an instance and a role.

use crate::error::{KeepError, printable};
use crate::wire::Refusal;

/// What stands between this instance and a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Whoever holds the port does not speak our protocol.
    NotPares,
    /// Whoever holds the port closes each connection without a word.
    TurnedAway,
    /// The holder serves another group, of this name.
    OtherGroup(String),
    /// The holder does not have our key, or we do not have its.
    KeyMismatch,
    /// The holder speaks only these versions.
    Version { min: u16, max: u16 },
    /// A living instance has our name.
    NameTaken(String),
    /// The group has as many members as it may have.
    GroupFull(String),
    /// We may not bind the port.
    PortForbidden,
    /// The group's last term cannot be kept.
    Unkept(KeepError),
    /// Nobody supervises, and we may not.
    NoSupervisor,
    /// The holder has too much to do.
    Busy,
    /// The holder is handing over to another.
    SteppingDown,
    /// The holder says that we broke the protocol.
    Malformed(String),
    /// The holder takes connections and does not answer.
    Silent,
    /// The system refused something we cannot do without.
    System { doing: &'static str, errno: i32 },
}

impl Obstacle {
    /// What a refusal means to the one who was refused; `detail` is a stranger's.
    pub(crate) fn refused(refusal: Refusal, (min, max): (u16, u16), detail: &str) -> Self {
        let detail = printable(detail);
        match refusal {
            Refusal::Version => Obstacle::Version { min, max },
            Refusal::OtherGroup => Obstacle::OtherGroup(detail),
            Refusal::Key => Obstacle::KeyMismatch,
            Refusal::NameTaken => Obstacle::NameTaken(detail),
            Refusal::GroupFull => Obstacle::GroupFull(detail),
            Refusal::Busy => Obstacle::Busy,
            Refusal::Malformed => Obstacle::Malformed(detail),
            Refusal::SteppingDown => Obstacle::SteppingDown,
        }
    }

    /// True if trying again soon may well help, so that even a first join goes on until its
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
