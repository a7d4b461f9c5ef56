//! One resource: its limits, the permits held, and the waiting requests in the order of asking.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::state::ConnId;
use crate::wire::Shortage;

#[derive(Debug)]
pub(super) struct Permit {
    pub(super) units: u64,
    /// The confirmed term of the claim, until the ledger is open.
    pub(super) confirmed_term: u64,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) units: u64,
    pub(super) wait: bool,
}

#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) limits: Smallest,
    pub(super) holder_limits: Smallest,
    /// Set at run time: overrides what was declared.
    pub(super) live_limit: Option<u64>,
    pub(super) held: BTreeMap<(ConnId, u64), Permit>,
    pub(super) held_units: u64,
    pub(super) counted: BTreeMap<ConnId, u64>,
    pub(super) counted_units: u64,
    /// In the order of asking.
    pub(super) waiting: BTreeMap<(u64, ConnId, u64), Request>,
    /// [`Verdict::OverLimit`](super::Verdict::OverLimit) has been said.
    pub(super) over: bool,
}

/// A collection of numbers of which the smallest counts.
#[derive(Debug, Default)]
pub(super) struct Smallest(BTreeMap<u64, usize>);

impl Smallest {
    pub(super) fn add(&mut self, number: u64) {
        *self.0.entry(number).or_default() += 1;
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Entry::Occupied(mut times) = self.0.entry(number) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
        }
    }

    pub(super) fn get(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}

impl Resource {
    /// Instances may declare different limits while versions of a program change. The smallest one
    /// then counts, and none is exceeded. The same members give the same limit, whichever instance
    /// supervises.
    pub(super) fn limit(&self) -> Option<u64> {
        self.live_limit.or(self.limits.get())
    }

    pub(super) fn in_use(&self) -> u64 {
        self.held_units.saturating_add(self.counted_units)
    }

    pub(super) fn free(&self) -> u64 {
        self.limit().unwrap_or(0).saturating_sub(self.in_use())
    }

    /// Returns why so many units can never be granted, as things are.
    pub(super) fn impossible(&self, units: u64) -> Option<(Shortage, u64)> {
        match (self.limit(), self.holder_limits.get()) {
            (None, _) => Some((Shortage::Unknown, 0)),
            (Some(limit), _) if units > limit => Some((Shortage::OverLimit, limit)),
            (_, Some(most)) if units > most => Some((Shortage::OverHolderLimit, most)),
            (Some(_), _) => None,
        }
    }

    /// Returns true if there is room under the limit for one holder.
    pub(super) fn has_own_room(&self, holder: ConnId, units: u64) -> bool {
        let held = || {
            self.held
                .range((holder, 0)..=(holder, u64::MAX))
                .map(|(_, permit)| permit.units)
                .sum::<u64>()
        };
        self.holder_limits.get().is_none_or(|most| held() + units <= most)
    }

    pub(super) fn enter(&mut self, holder: ConnId, id: u64, units: u64, confirmed_term: u64) {
        self.held.insert((holder, id), Permit { units, confirmed_term });
        self.held_units += units;
    }

    pub(super) fn strike(&mut self, holder: ConnId, id: u64) {
        self.held_units -= self.held.remove(&(holder, id)).map_or(0, |permit| permit.units);
    }

    pub(super) fn count(&mut self, holder: ConnId, units: u64) {
        let before = if units > 0 {
            self.counted.insert(holder, units)
        } else {
            self.counted.remove(&holder)
        };
        self.counted_units = self.counted_units - before.unwrap_or(0) + units;
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.limit().is_none()
            && self.held.is_empty()
            && self.counted.is_empty()
            && self.waiting.is_empty()
    }
}
