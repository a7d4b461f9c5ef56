//! When a router that comes back takes the addresses back.
//!
//! At once costs a second disturbance soon after the first, and a router that fails again and again
//! would have them wander each time.

use super::{Millis, RoutePhase, Router};

/// When a router that comes back, and that has a smaller rank than the one that has the addresses,
/// takes them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveBack {
    /// Not before that one leaves or fails.
    #[default]
    Never,
    /// As soon as it knows all connections.
    Now,
    /// Once no target has a connection.
    WhenIdle,
    /// Once it has run for so long without a pause, linked to the one that has them.
    After(std::time::Duration),
}

/// How much larger the rank is under which a router waits. Other routers that wait are in the same
/// order among each other as later.
const WAITS: u8 = 128;

/// A router's rank while it waits, and after.
pub(crate) struct Returning {
    policy: GiveBack,
    rank: u8,
    /// Since when nothing has gone wrong.
    calm_since: Option<Millis>,
    waits: bool,
}

impl Returning {
    pub(crate) fn new(policy: GiveBack, rank: u8) -> Self {
        let waits = matches!(policy, GiveBack::WhenIdle | GiveBack::After(_));
        Returning { policy, rank, calm_since: None, waits }
    }

    /// Returns the rank with which it joins.
    pub(crate) fn first_rank(&self) -> u8 {
        if self.waits { self.rank.saturating_add(WAITS).min(254) } else { self.rank }
    }

    /// Returns true if this router may ever take the addresses from one that has them.
    pub(crate) fn may_preempt(&self) -> bool {
        self.policy != GiveBack::Never
    }

    /// Notes that this process has stood still.
    pub(crate) fn paused(&mut self) {
        self.calm_since = None;
    }

    /// Returns its own rank, once it is to take that.
    pub(crate) fn step(&mut self, now: Millis, router: &Router) -> Option<u8> {
        if !self.waits {
            return None;
        }
        if !router.is_calm() {
            self.calm_since = None;
        } else if self.calm_since.is_none() {
            self.calm_since = Some(now);
        }
        let is_time = match (self.policy, self.calm_since) {
            _ if router.is_owner() => true,
            (GiveBack::After(time), Some(since)) => now >= since + time.as_millis() as Millis,
            (GiveBack::WhenIdle, Some(_)) => router.is_idle(),
            (GiveBack::Never | GiveBack::Now, _) | (_, None) => false,
        };
        is_time.then(|| {
            self.waits = false;
            self.rank
        })
    }
}

impl Router {
    /// Returns true if another router has the addresses, and this one is linked to it.
    pub(crate) fn is_calm(&self) -> bool {
        let owner = self.newest.filter(|_| !self.is_owner()).map(|newest| newest.id.tail());
        let is_linked = |tail| self.others.get(&tail).is_some_and(|other| other.linked);
        matches!(self.phase, RoutePhase::Idle) && owner.is_some_and(is_linked)
    }

    /// Returns true if targets speak to this router, and none of them has a connection.
    pub(crate) fn is_idle(&self) -> bool {
        self.targets.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::route::sim::owned_elsewhere;

    #[test]
    fn a_router_that_waits_has_a_larger_rank_and_the_same_order_among_its_like() {
        let after = GiveBack::After(Duration::from_secs(60));
        let joins = |rank| Returning::new(after, rank).first_rank();
        assert_eq!([10, 11, 126, 127, 250].map(joins), [138, 139, 254, 254, 254]);
        assert_eq!(Returning::new(GiveBack::Now, 10).first_rank(), 10);
    }

    #[test]
    fn a_minute_begins_anew_with_each_pause_and_each_loss_of_the_link() {
        let mut returning = Returning::new(GiveBack::After(Duration::from_secs(60)), 10);
        let (linked, apart) = (owned_elsewhere(true), owned_elsewhere(false));
        assert_eq!(returning.step(0, &linked), None);
        returning.paused();
        assert_eq!(returning.step(30_000, &linked), None);
        assert_eq!(returning.step(89_999, &linked), None);
        assert_eq!(returning.step(89_999, &apart), None);
        assert_eq!(returning.step(100_000, &linked), None);
        assert_eq!(returning.step(159_999, &linked), None);
        assert_eq!(returning.step(160_000, &linked), Some(10));
        assert_eq!(returning.step(999_999, &linked), None, "once");
    }
}
