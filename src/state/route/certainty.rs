//! How far a target's word goes.

use super::{Conn, Target, TargetReports};

/// How far a target's word goes that it has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Certainty {
    /// Its client may have opened it at another target since, or have another by the same name: the
    /// first packet was repeated, or all is said. Others must deny it.
    Perhaps,
    /// One side has closed it.
    HalfClosed,
    Live,
}

impl Certainty {
    /// Of the kernel's number of a state (`include/net/tcp_states.h`).
    pub(super) fn of(state: u8) -> Self {
        const ESTABLISHED: u8 = 1;
        const FIN_WAIT1: u8 = 4;
        const FIN_WAIT2: u8 = 5;
        const CLOSE_WAIT: u8 = 8;
        match state {
            ESTABLISHED => Certainty::Live,
            FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT => Certainty::HalfClosed,
            _ => Certainty::Perhaps,
        }
    }
}

impl TargetReports {
    pub(super) fn push(&mut self, conn: Conn, target: Target, certainty: Certainty) {
        let list = if certainty == Certainty::Live { &mut self.live } else { &mut self.other };
        list.push((conn, target));
    }
}
