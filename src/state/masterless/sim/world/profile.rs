//! The speed of the simulated networks, and what a group on one assumes of it.

use crate::state::masterless::{Millis, Rules};
use crate::wire::label::Label;

/// The interval between two heartbeats; all else is in units of it.
pub(in crate::state::masterless::sim) const H: Millis = 1000;

/// What a simulated group assumes, and what its network really does.
#[derive(Clone, Copy, Debug)]
pub(in crate::state::masterless::sim) struct Profile {
    pub(in crate::state::masterless::sim) name: &'static str,
    /// The assumed bound of the delay.
    pub(in crate::state::masterless::sim) delay: Millis,
    /// The real one.
    pub(in crate::state::masterless::sim) slowest: Millis,
    /// Heartbeats lost of a hundred.
    pub(in crate::state::masterless::sim) loss: u64,
}

pub(in crate::state::masterless::sim) const FAST: Profile =
    Profile { name: "fast", delay: H / 4, slowest: H / 4, loss: 0 };
pub(in crate::state::masterless::sim) const MID: Profile =
    Profile { name: "mid", delay: H / 2, slowest: H / 2, loss: 0 };
pub(in crate::state::masterless::sim) const ROBUST: Profile =
    Profile { name: "robust", delay: H, slowest: H, loss: 0 };
pub(in crate::state::masterless::sim) const PROFILES: [Profile; 3] = [FAST, MID, ROBUST];

impl Profile {
    pub(in crate::state::masterless::sim) fn slowest(self, slowest: Millis) -> Self {
        Profile { slowest, ..self }
    }

    pub(in crate::state::masterless::sim) fn loss(self, loss: u64) -> Self {
        Profile { loss, ..self }
    }

    pub(in crate::state::masterless::sim) fn dead(self) -> Millis {
        3 * H + 2 * self.delay
    }

    pub(in crate::state::masterless::sim) fn window(self) -> Millis {
        (2 * self.delay).max(H / 2)
    }

    pub(in crate::state::masterless::sim) fn rules(self) -> Rules {
        Rules {
            service: 1,
            rank: 128,
            workload: 0,
            label: Label::EMPTY,
            origin: 0,
            interval: H,
            delay: self.delay,
            preempt: true,
            prepare_handover: true,
            quorum: 0,
            slow_above: 0,
            max_members: 4096,
            can_start: false,
            needs: Vec::new(),
            epoch: 0,
            observe: false,
        }
    }
}
