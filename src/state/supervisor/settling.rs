//! Decides which survivors a new supervisor waits for, which it probes meanwhile, and when it gives
//! up.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::config::{FIRST_PROBE, MAX_UNKNOWN, NEXT_PROBE, PROBES, patience};
use crate::state::Time;
use crate::state::subordinate::Roster;

#[derive(Debug)]
pub(super) struct Settling {
    /// The instances that may have survived and have not come back.
    pub(super) expected: BTreeSet<u16>,
    /// There may be other survivors, which no supervisor has known since then. Inherited from an
    /// earlier supervisor that did not know them: if each supervisor counted anew, a group whose
    /// supervisors die young would never be settled again.
    pub(super) unknown_since: Option<Time>,
    settle_time: Time,
    /// The number of instances that have come back.
    back: usize,
    /// When the expected instances are next probed. Not while they keep coming, which a probe would
    /// only slow down.
    next_probe: Time,
    /// The latest time of the next probe.
    probe_by: Time,
    /// The last instance that was probed; the next ones follow it.
    asked: Option<u16>,
    /// When no instance has come back for this long, the supervisor waits for the missing ones no
    /// longer, known or not.
    give_up: Time,
}

impl Settling {
    pub(super) fn new(
        now: Time,
        settle_time: Time,
        expected: BTreeSet<u16>,
        unknown_since: Option<Time>,
    ) -> Self {
        let give_up = now + patience(settle_time, expected.len());
        Settling {
            expected,
            unknown_since: still_unknown(now, settle_time, unknown_since),
            settle_time,
            back: 0,
            next_probe: now + FIRST_PROBE,
            probe_by: now + settle_time / 2,
            asked: None,
            give_up,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.expected.is_empty() && self.unknown_since.is_none()
    }

    pub(super) fn wake_at(&self) -> Time {
        let next_probe = (!self.expected.is_empty()).then_some(self.next_probe);
        let unknown_until = self.unknown_since.map(|since| unknown_until(since, self.settle_time));
        [unknown_until, next_probe].into_iter().flatten().fold(self.give_up, Time::min)
    }

    /// Notes an instance that has come, which `survived` an earlier supervisor or is new to the
    /// group. Returns true if it was expected.
    ///
    /// While we do not know which instances to expect, an unknown survivor is evidence: where one
    /// is on its way, so may be a crowd, and with it the witnesses that know all. A newcomer says
    /// nothing of them.
    pub(super) fn came_back(&mut self, now: Time, admin_port: u16, survived: bool) -> bool {
        let known = self.expected.remove(&admin_port);
        if known {
            self.next_probe = self.next_probe.max((now + FIRST_PROBE).min(self.probe_by));
        }
        self.back += usize::from(known || survived);
        if known || (survived && self.unknown_since.is_some()) {
            self.wait_on(now);
        }
        known
    }

    /// A large group does not come back within its time, so the time starts anew while survivors
    /// keep coming. This has an end: each expected instance comes once, and unknown ones count for
    /// no longer than [`MAX_UNKNOWN`] allows.
    fn wait_on(&mut self, now: Time) {
        self.give_up =
            self.give_up.max(now + patience(self.settle_time, self.back + self.expected.len()));
    }

    /// Takes what a returned witness knew, if that is more than we know. Returns true if so.
    pub(super) fn learn(&mut self, now: Time, roster: Roster) -> bool {
        let Some(ours) = self.unknown_since else { return false };
        let theirs = still_unknown(now, self.settle_time, roster.unknown_since);
        if theirs.is_some_and(|theirs| theirs >= ours) {
            return false;
        }
        self.expected.extend(roster.admin_ports);
        self.unknown_since = theirs;
        self.wait_on(now);
        true
    }

    /// Notes a dead instance. Returns true if it was expected. Where one is dead, others may be,
    /// and finding that out costs little: the following ones are probed at once.
    pub(super) fn is_dead(&mut self, now: Time, admin_port: u16) -> bool {
        let known = self.expected.remove(&admin_port);
        if known && self.expected.len() >= PROBES {
            self.next_probe = self.next_probe.min(now);
        }
        known
    }

    /// Returns the instances to probe now: a few, each in its turn. Probing a living one costs as
    /// much as its return.
    pub(super) fn whom_to_ask(&mut self, now: Time) -> Vec<u16> {
        if now < self.next_probe {
            return Vec::new();
        }
        self.next_probe = now + NEXT_PROBE;
        let after = self.asked.map_or(Bound::Unbounded, Bound::Excluded);
        let mut asked: Vec<u16> =
            self.expected.range((after, Bound::Unbounded)).take(PROBES).copied().collect();
        if asked.len() < PROBES {
            let upto = self.asked.map_or(Bound::Excluded(0), Bound::Included);
            asked.extend(self.expected.range((Bound::Unbounded, upto)).take(PROBES - asked.len()));
        }
        self.asked = asked.last().copied();
        asked
    }

    /// Returns true if the time is over. An instance that has not come back by now is stalled or
    /// gone, and is later admitted like a newcomer.
    pub(super) fn gives_up(&mut self, now: Time) -> bool {
        let over = now >= self.give_up;
        if over {
            (self.expected, self.unknown_since) = (BTreeSet::new(), None);
        }
        over
    }

    /// Returns true if the wait for unknown instances has ended at this moment.
    pub(super) fn knows_all(&mut self, now: Time) -> bool {
        let over =
            self.unknown_since.is_some_and(|since| now >= unknown_until(since, self.settle_time));
        if over {
            self.unknown_since = None;
        }
        over
    }
}

/// Returns when the wait for the unknown instances of this moment ends, however many keep coming
/// and whichever instance supervises.
fn unknown_until(since: Time, settle_time: Time) -> Time {
    since + MAX_UNKNOWN * settle_time
}

/// Returns since when an earlier supervisor or a witness did not know all, or `None` once that is
/// long enough ago.
fn still_unknown(now: Time, settle_time: Time, since: Option<Time>) -> Option<Time> {
    // One that errs, or means harm, may name a moment that is yet to come: it would prolong the
    // waiting for ever.
    since.map(|since| since.min(now)).filter(|&since| now < unknown_until(since, settle_time))
}
