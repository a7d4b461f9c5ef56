//! Whom a new supervisor waits for, whom it asks after meanwhile, and when it gives up.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::config::{FIRST_PROBE, MAX_UNKNOWN, NEXT_PROBE, PROBES, patience};
use crate::state::Time;
use crate::state::subordinate::Roster;

#[derive(Debug)]
pub(super) struct Settling {
    /// Who may have survived and has not come back.
    pub(super) expected: BTreeSet<u16>,
    /// There may be others, of whom no supervisor has known since then. Inherited from a supervisor
    /// before us that did not know: were it counted anew by each, a group whose supervisors die
    /// young would never be settled again.
    pub(super) unknown_since: Option<Time>,
    settle_time: Time,
    /// How many have come back.
    back: usize,
    /// When those who are expected are next asked whether they live. Not while they keep coming:
    /// that would only hold them up.
    next_probe: Time,
    /// But then.
    probe_by: Time,
    /// The last one who was asked after: the next ones are those that follow.
    asked: Option<u16>,
    /// When nobody has come back for so long: who is missing then is waited for no longer, known or
    /// not.
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

    /// One has come, which `survived` an earlier supervisor or is new to the group; true if it was
    /// expected.
    ///
    /// Of others who are yet to come, one that survived is evidence, as long as we do not know whom
    /// to expect: where one is on its way, so may be a crowd, and with it those who know all. A
    /// newcomer says nothing of them.
    pub(super) fn came_back(&mut self, now: Time, admin: u16, survived: bool) -> bool {
        let known = self.expected.remove(&admin);
        if known {
            self.next_probe = self.next_probe.max((now + FIRST_PROBE).min(self.probe_by));
        }
        self.back += usize::from(known || survived);
        if known || (survived && self.unknown_since.is_some()) {
            self.wait_on(now);
        }
        known
    }

    /// A large group is not all back within its time, so as long as they keep coming it begins
    /// anew. This has an end: each who is expected comes once, and others count for no longer than
    /// [`MAX_UNKNOWN`] allows.
    fn wait_on(&mut self, now: Time) {
        self.give_up =
            self.give_up.max(now + patience(self.settle_time, self.back + self.expected.len()));
    }

    /// Takes what a witness knew that has come back, if that was more than we do; true if so.
    pub(super) fn learn(&mut self, now: Time, roster: Roster) -> bool {
        let Some(ours) = self.unknown_since else { return false };
        let theirs = still_unknown(now, self.settle_time, roster.unknown_since);
        if theirs.is_some_and(|theirs| theirs >= ours) {
            return false;
        }
        self.expected.extend(roster.admins);
        self.unknown_since = theirs;
        self.wait_on(now);
        true
    }

    /// One is dead; true if it was expected. Where one is, others may be, and finding that out
    /// costs little: those that follow are asked after at once.
    pub(super) fn is_dead(&mut self, now: Time, admin: u16) -> bool {
        let known = self.expected.remove(&admin);
        if known && self.expected.len() >= PROBES {
            self.next_probe = self.next_probe.min(now);
        }
        known
    }

    /// Whom to ask after now: a few, each in its turn. To ask after one that lives costs as much as
    /// its return.
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

    /// True if the time is over: who has not come back by now is stalled or gone, and will be
    /// admitted like a newcomer.
    pub(super) fn gives_up(&mut self, now: Time) -> bool {
        let over = now >= self.give_up;
        if over {
            (self.expected, self.unknown_since) = (BTreeSet::new(), None);
        }
        over
    }

    /// True if just now nobody unknown is waited for any more.
    pub(super) fn knows_all(&mut self, now: Time) -> bool {
        let over =
            self.unknown_since.is_some_and(|since| now >= unknown_until(since, self.settle_time));
        if over {
            self.unknown_since = None;
        }
        over
    }
}

/// When the unknown ones of this moment are waited for no longer, however many keep coming and
/// whoever supervises.
fn unknown_until(since: Time, settle_time: Time) -> Time {
    since + MAX_UNKNOWN * settle_time
}

/// What a supervisor before us or a witness did not know, and since when; `None` once that was long
/// enough ago.
fn still_unknown(now: Time, settle_time: Time, since: Option<Time>) -> Option<Time> {
    // One that errs, or means harm, may name a moment that is yet to come: it would prolong the
    // waiting for ever.
    since.map(|since| since.min(now)).filter(|&since| now < unknown_until(since, settle_time))
}
