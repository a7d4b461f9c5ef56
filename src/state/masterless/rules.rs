//! The configuration of one process of a masterless group, and the times that follow from it.

use super::Millis;
use crate::config::masterless::Need;
use crate::wire::Label;

/// The rank of a process that never becomes primary.
pub(crate) const NEVER: u8 = 255;

/// What one process should be, and what all of its group must have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) service: u16,
    pub(crate) rank: u8,
    pub(crate) workload: u16,
    pub(crate) label: Label,
    /// The number of the start that created this process, otherwise 0.
    pub(crate) origin: u32,
    /// The time between two heartbeats.
    pub(crate) interval: Millis,
    /// The longest time that a heartbeat is assumed to take until it is acted on.
    pub(crate) delay: Millis,
    pub(crate) preempt: bool,
    /// Before it hands over, its program reports that its work is finished.
    pub(crate) prepare_handover: bool,
    /// The number of processes that must be present for one to be primary; 0 for no such rule.
    pub(crate) quorum: usize,
    /// In groups larger than this, standbys that are far from being primary send less; 0 for never.
    pub(crate) slow_above: usize,
    pub(crate) max_members: usize,
    pub(crate) can_start: bool,
    pub(crate) needs: Vec<Need>,
    /// The largest epoch known from before.
    pub(crate) epoch: u64,
    /// It only asks which processes are there and listens, and is never admitted.
    pub(crate) observe: bool,
}

impl Rules {
    /// Returns the silence after which a process is suspected.
    pub(crate) fn suspect(&self, interval: Millis) -> Millis {
        3 * interval.max(self.interval)
    }

    /// Returns the silence after which it is dead. The difference is the claim window, which is
    /// hidden in the time that detection takes anyway.
    pub(crate) fn dead(&self, interval: Millis) -> Millis {
        self.suspect(interval) + 2 * self.delay
    }

    /// Returns the time without a heartbeat after which a primary must assume that others soon take
    /// it for dead.
    pub(crate) fn lease(&self) -> Millis {
        self.dead(0) - self.delay - self.interval / 4
    }

    /// Returns the time without a step after which this process was away, and must look what has
    /// become of the others.
    pub(super) fn away(&self) -> Millis {
        2 * self.interval
    }

    /// Returns how long a process that claims to become primary waits for objections. This is twice
    /// the delay: of two that claim at the same time, each hears the other before it acts.
    pub(crate) fn window(&self) -> Millis {
        (2 * self.delay).max(self.interval / 2)
    }

    /// Returns this many halves of an interval.
    pub(crate) fn halves(&self, count: u64) -> Millis {
        count * self.interval / 2
    }
}
