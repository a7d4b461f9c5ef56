//! What one process of a masterless group is to be, and the times that follow from it.

use super::Millis;
use crate::config::masterless::Need;
use crate::wire::Label;

/// The rank of one that never becomes primary.
pub(crate) const NEVER: u8 = 255;

/// What one process is to be, and what all of its group must have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) service: u16,
    pub(crate) rank: u8,
    pub(crate) workload: u16,
    pub(crate) label: Label,
    /// The number of the start by which this process came to be, else 0.
    pub(crate) origin: u32,
    /// Time between two heartbeats.
    pub(crate) interval: Millis,
    /// The most that a heartbeat is assumed to need on its way, until it is acted on.
    pub(crate) delay: Millis,
    pub(crate) preempt: bool,
    /// Before it hands over, its program says that the work has come to an end.
    pub(crate) prepare_handover: bool,
    /// How many processes must be there for one to be primary; 0 for no such rule.
    pub(crate) quorum: usize,
    /// In groups larger than this the standbys far from being primary say less; 0 for never.
    pub(crate) slow_above: usize,
    pub(crate) max_members: usize,
    pub(crate) can_start: bool,
    pub(crate) needs: Vec<Need>,
    /// The largest epoch that is known from before.
    pub(crate) epoch: u64,
    /// It only asks who is there and listens, and is never let in.
    pub(crate) observe: bool,
}

impl Rules {
    /// Who was not heard for so long is suspected.
    pub(crate) fn suspect(&self, interval: Millis) -> Millis {
        3 * interval.max(self.interval)
    }

    /// And for so long, dead. The difference is the claim window: it is hidden in the time that
    /// detection takes anyway.
    pub(crate) fn dead(&self, interval: Millis) -> Millis {
        self.suspect(interval) + 2 * self.delay
    }

    /// A primary that has said nothing for so long must take it that others think it dead soon.
    pub(crate) fn lease(&self) -> Millis {
        self.dead(0) - self.delay - self.interval / 4
    }

    /// After so long without a step it was away, and has to look what has become of the others.
    pub(super) fn away(&self) -> Millis {
        2 * self.interval
    }

    /// How long one that claims to become primary waits for objections. Twice the delay, so that of
    /// two who claim at the same time each hears the other before it acts.
    pub(crate) fn window(&self) -> Millis {
        (2 * self.delay).max(self.interval / 2)
    }

    /// So many halves of an interval.
    pub(crate) fn halves(&self, count: u64) -> Millis {
        count * self.interval / 2
    }
}
