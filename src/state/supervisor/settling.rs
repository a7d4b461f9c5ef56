//! Whom a new supervisor waits for, whom it asks after meanwhile, and when it gives up.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::config::{FIRST_PROBE, NEXT_PROBE, PROBES};
use crate::state::Time;
use crate::state::subordinate::Roster;

#[derive(Debug)]
pub(super) struct Settling {
    /// Who may have survived and has not come back.
    pub(super) expected: BTreeSet<u16>,
    /// Until then there may be others, of whom we do not know. Inherited where a supervisor before us did not know: were it
    /// counted anew by each, a group whose supervisors die young would never be settled again.
    pub(super) unknown_until: Option<Time>,
    settle_time: Time,
    /// When those who are expected are next asked whether they live. Not while they keep coming: that would only hold them up.
    next_probe: Time,
    /// But then.
    probe_by: Time,
    /// The last one who was asked after: the next ones are those that follow.
    asked: Option<u16>,
    /// Never earlier than `unknown_until`.
    give_up: Time,
}

impl Settling {
    pub(super) fn new(now: Time, settle_time: Time, expected: BTreeSet<u16>, unknown_until: Option<Time>) -> Self {
        let give_up = now + settle_time;
        Settling {
            expected,
            unknown_until: unknown_until.map(|until| until.min(give_up)),
            settle_time,
            next_probe: now + FIRST_PROBE,
            probe_by: now + settle_time / 2,
            asked: None,
            give_up,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.expected.is_empty() && self.unknown_until.is_none()
    }

    pub(super) fn wake_at(&self) -> Time {
        let next_probe = (!self.expected.is_empty()).then_some(self.next_probe);
        [self.unknown_until, next_probe].into_iter().flatten().fold(self.give_up, Time::min)
    }

    /// One has come back; true if it was expected.
    pub(super) fn came_back(&mut self, now: Time, admin: u16) -> bool {
        let known = self.expected.remove(&admin);
        if known {
            self.next_probe = self.next_probe.max((now + FIRST_PROBE).min(self.probe_by));
            self.wait_on(now);
        }
        known
    }

    /// A large group is not all back within the settle time, so as long as expected ones keep coming it begins anew. Each comes
    /// once, so this has an end. (What nobody knew of is waited for no longer: `unknown_until` stays.)
    fn wait_on(&mut self, now: Time) {
        self.give_up = self.give_up.max(now + self.settle_time);
    }

    /// Takes what a witness knew that has come back, if that was more than we do; true if so.
    pub(super) fn learn(&mut self, now: Time, roster: Roster) -> bool {
        let Some(ours) = self.unknown_until else { return false };
        if roster.unknown_until.is_some_and(|theirs| theirs >= ours) {
            return false;
        }
        self.expected.extend(roster.admins);
        self.unknown_until = roster.unknown_until;
        self.wait_on(now);
        true
    }

    /// One is dead; true if it was expected. Where one is, others may be, and finding that out costs little: those that
    /// follow are asked after at once.
    pub(super) fn is_dead(&mut self, now: Time, admin: u16) -> bool {
        let known = self.expected.remove(&admin);
        if known && self.expected.len() >= PROBES {
            self.next_probe = self.next_probe.min(now);
        }
        known
    }

    /// Whom to ask after now: a few, each in its turn. To ask after one that lives costs as much as its return.
    pub(super) fn whom_to_ask(&mut self, now: Time) -> Vec<u16> {
        if now < self.next_probe {
            return Vec::new();
        }
        self.next_probe = now + NEXT_PROBE;
        let after = self.asked.map_or(Bound::Unbounded, Bound::Excluded);
        let mut asked: Vec<u16> = self.expected.range((after, Bound::Unbounded)).take(PROBES).copied().collect();
        if asked.len() < PROBES {
            let upto = self.asked.map_or(Bound::Excluded(0), Bound::Included);
            asked.extend(self.expected.range((Bound::Unbounded, upto)).take(PROBES - asked.len()));
        }
        self.asked = asked.last().copied();
        asked
    }

    /// True if the time is over: who has not come back by now is stalled or gone, and will be admitted like a newcomer.
    pub(super) fn gives_up(&mut self, now: Time) -> bool {
        let over = now >= self.give_up;
        if over {
            (self.expected, self.unknown_until) = (BTreeSet::new(), None);
        }
        over
    }

    /// True if just now nobody unknown is waited for any more.
    pub(super) fn knows_all(&mut self, now: Time) -> bool {
        let over = self.unknown_until.is_some_and(|until| now >= until);
        if over {
            self.unknown_until = None;
        }
        over
    }
}
