//! Who is primary: what this process claims, yields, and settles with others who claim the same.

use std::cmp::Reverse;

use super::record::Fate;
use super::{Action, Machine, Millis, NEVER};
use crate::config::masterless::MAX_RIVALS;
use crate::event::masterless::{EventKind, LeftCause, RoleCause, SuspicionCause};
use crate::wire::heartbeat::Heartbeat;
use crate::wire::heartbeat::Status;
use crate::wire::heartbeat::{MAX_NUMBER, NO_PREEMPTION};
use crate::wire::{Label, PeerId, Tail};

/// What one that is to become primary has claimed.
#[derive(Default)]
pub(super) struct Claim {
    since: Millis,
    /// The last primary has handed over to this process.
    named: bool,
}

impl Claim {
    pub(super) fn shift(&mut self, gap: Millis) {
        self.since += gap;
    }

    /// What was claimed before has not been heard.
    pub(super) fn begin_anew(&mut self, now: Millis) {
        self.since = now;
    }
}

/// A primary that is about to hand over.
pub(super) struct Drain {
    to: Tail,
    deadline: Millis,
    pub(super) ready: bool,
}

/// Two primaries have met, and this process is one of them.
pub(super) struct Conflict {
    since: Millis,
    /// Some rival's epoch is not smaller than this process's own.
    outdated: bool,
    rivals: Vec<Rival>,
}

struct Rival {
    tail: Tail,
    claims: u32,
    first: Millis,
}

impl Conflict {
    pub(super) fn shift(&mut self, gap: Millis) {
        self.since += gap;
        self.rivals.iter_mut().for_each(|rival| rival.first += gap);
    }
}

/// The primary of this process's service type, as far as it matters here.
struct Present {
    id: PeerId,
    suspected: bool,
    preemptible: bool,
    since: Millis,
}

impl Machine {
    /// Looks at everything.
    pub(super) fn evaluate(&mut self, out: &mut Vec<Action>) {
        self.evaluated_at = self.now;
        self.undecided = false;
        self.expire(out);
        self.count_quorum();
        match self.status {
            Status::Joining => self.admit(out),
            Status::Standby | Status::ToBecomePrimary => self.claims(out),
            Status::Primary => self.presides(out),
            Status::Leaving => {}
        }
        self.look_after_needs(out);
        self.leave_in_time(out);
    }

    /// Forgets the dead.
    fn expire(&mut self, out: &mut Vec<Action>) {
        for fate in self.record.check(&self.rules, self.now) {
            let (Fate::Suspected(member) | Fate::Dead(member)) = &fate;
            let (id, label, service) = (member.id, member.label, member.service);
            if let Fate::Suspected(_) = fate {
                if member.told_joined {
                    let cause = if member.is_doubted() {
                        SuspicionCause::Ended
                    } else {
                        SuspicionCause::Silent
                    };
                    out.push(Action::Tell(EventKind::Suspected { id, label, service, cause }));
                }
                continue;
            }
            if member.told_joined {
                out.push(Action::Tell(EventKind::Left {
                    id,
                    label,
                    service,
                    cause: LeftCause::Died,
                }));
            }
            let claimed = matches!(member.status, Status::Primary | Status::ToBecomePrimary);
            if service == self.rules.service && claimed && self.rules.quorum > 0 {
                // The other side of a divided group forgets this side as much later as its last
                // heartbeat came later.
                self.no_claim_until = self.now + self.quorum_margin();
            }
            let member = member.clone();
            self.needs.missing_from(&member, self.now + 4 * self.rules.interval);
        }
    }

    fn quorum_margin(&self) -> Millis {
        self.rules.interval * 5 / 4 + self.rules.delay
    }

    fn count_quorum(&mut self) {
        if self.rules.quorum == 0 {
            return;
        }
        let others =
            self.record.members().filter(|one| one.direct && one.status != Status::Joining).count();
        if others + 1 >= self.rules.quorum {
            self.enough_since.get_or_insert(self.now);
        } else {
            self.enough_since = None;
        }
    }

    /// With a quorum: enough of the group are there, and have been for so long that no other part
    /// can have enough.
    pub(super) fn is_strong(&self) -> bool {
        let long = self.rules.dead(0) + self.quorum_margin();
        self.rules.quorum == 0 || self.enough_since.is_some_and(|since| self.now - since >= long)
    }

    /// Whether it may become primary just now, if it comes to that.
    pub(super) fn is_eligible(&self) -> bool {
        self.now >= self.relisten_until && self.leaving_until.is_none() && self.is_strong()
    }

    fn is_highest(&self) -> bool {
        let mut better = self.record.members().filter(|one| one.id < self.id);
        !better.any(|one| one.is_candidate(&self.rules, self.now))
    }

    fn present(&self) -> Option<Present> {
        let primary = self.record.primary(self.rules.service)?;
        let preemptible = self.rules.preempt && primary.flags & NO_PREEMPTION == 0;
        Some(Present {
            id: primary.id,
            suspected: primary.is_suspected(&self.rules, self.now),
            preemptible: preemptible || primary.id.rank() == NEVER,
            since: primary.primary_since,
        })
    }

    /// Standby or to become primary: whether it claims more.
    pub(super) fn claims(&mut self, out: &mut Vec<Action>) {
        if self.now < self.relisten_until || self.leaving_until.is_some() || self.is_failing() {
            return;
        }
        if self.id.rank() == NEVER || !self.is_strong() {
            if self.status == Status::ToBecomePrimary {
                self.stand_by(RoleCause::Barred, out);
            }
            return;
        }
        let highest = self.is_highest();
        let present = self.present();
        if self.status == Status::Standby {
            if highest {
                self.considers(present.as_ref(), out);
            }
        } else if present
            .as_ref()
            .is_some_and(|primary| !primary.suspected && !self.may_relieve(primary))
        {
            self.counts.false_claims += 1;
            self.stand_by(RoleCause::Refuted, out);
        } else if !highest {
            self.stand_by(RoleCause::Outranked, out);
        } else {
            self.insists(present.as_ref(), out);
        }
    }

    fn may_relieve(&self, primary: &Present) -> bool {
        self.id < primary.id && primary.preemptible
    }

    /// The best standby.
    fn considers(&mut self, present: Option<&Present>, out: &mut Vec<Action>) {
        let interval = self.rules.interval;
        let Some(primary) = present else {
            // Also when it seems to be alone: there may be a primary that is silent for as long as
            // it may be, and others that have just been allowed to lead.
            self.flag(RoleCause::Vacant, out);
            return;
        };
        if primary.suspected {
            self.flag(RoleCause::Failover, out);
        } else if self.may_relieve(primary) {
            let in_peace = self
                .stubborn
                .is_some_and(|(tail, until, _)| tail == primary.id.tail() && self.now < until);
            let long = self.now >= self.admitted_at + 3 * interval
                && self.now >= primary.since + 5 * interval;
            if primary.id.rank() == NEVER || (long && !in_peace) {
                self.flag(RoleCause::Preempt, out);
            }
        }
    }

    /// Flags itself to become primary.
    fn flag(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        self.claim = Claim { since: self.now, named: false };
        self.become_status(Status::ToBecomePrimary, cause, out);
        if cause == RoleCause::Failover {
            // Whoever has heard the primary is asked for it, again and again: one answer is enough.
            self.sending.insist(self.now, self.rules.interval / 4);
        } else {
            self.announce();
        }
    }

    /// To become primary, the best, and not refuted.
    fn insists(&mut self, present: Option<&Present>, out: &mut Vec<Action>) {
        let Some(primary) = present else {
            let waited = self.now >= self.claim.since + self.rules.window();
            if (self.claim.named || waited) && self.now >= self.no_claim_until {
                let cause = if self.claim.named { RoleCause::Named } else { RoleCause::Unopposed };
                self.become_primary(cause, out);
            }
            return;
        };
        if !primary.suspected && self.now >= self.claim.since + 10 * self.rules.interval {
            let tail = primary.id.tail();
            let again = self
                .stubborn
                .filter(|(before, _, _)| *before == tail)
                .map(|(_, _, length)| 2 * length);
            let length = again.unwrap_or(30 * self.rules.interval).min(480 * self.rules.interval);
            self.stubborn = Some((tail, self.now + length, length));
            self.stand_by(RoleCause::Unyielding, out);
        }
    }

    fn become_primary(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        #[cfg(any(test, feature = "fuzzing"))]
        self.check_claim();
        self.claim = Claim::default();
        self.primary_at = self.now;
        self.raise_epoch();
        self.followed_at = self.now;
        self.outdated_since = None;
        self.handed_to = None;
        self.become_status(Status::Primary, cause, out);
        self.announce();
    }

    /// The next epoch is this process's.
    fn raise_epoch(&mut self) {
        // What others say is below the limit; only a hostile member of the group could bring it
        // near to it.
        self.max_epoch = (self.max_epoch + 1).min(MAX_NUMBER - 1);
        self.epoch = self.max_epoch;
    }

    /// Back to standby.
    pub(super) fn stand_by(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        self.forget_role();
        self.become_status(Status::Standby, cause, out);
        self.announce();
    }

    /// No longer primary, and not by its own will: it does not take the role back at once.
    pub(super) fn lose_primary(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        self.renew_sequence();
        self.stand_by(cause, out);
    }

    /// Primary: whether it stays.
    fn presides(&mut self, out: &mut Vec<Action>) {
        if self.now > self.lease_until() {
            let cause = if self.is_failing() { RoleCause::CannotSend } else { RoleCause::Paused };
            self.lose_primary(cause, out);
            self.relisten_until = self.now + 2 * self.rules.interval;
            return;
        }
        if !self.is_strong() {
            self.lose_primary(RoleCause::NoQuorum, out);
            return;
        }
        self.hand_over_in_time(out);
        if self.status == Status::Primary {
            self.settle_all(out);
        }
        if self.status == Status::Primary {
            self.catch_up(out);
        }
    }

    /// A better process wants to be primary: the work here is to be brought to an end.
    fn drain_to(&mut self, to: PeerId, out: &mut Vec<Action>) {
        if self.drain.is_some() {
            return;
        }
        let within_ms = 2 * self.rules.interval;
        self.drain = Some(Drain { to: to.tail(), deadline: self.now + within_ms, ready: false });
        let label = self.record.get(to.tail()).map_or(Label::EMPTY, |one| one.label);
        out.push(Action::Tell(EventKind::PrepareHandover { to, label, within_ms }));
    }

    fn hand_over_in_time(&mut self, out: &mut Vec<Action>) {
        let Some(drain) =
            self.drain.as_ref().filter(|drain| drain.ready || self.now >= drain.deadline)
        else {
            return;
        };
        let (to, ready) = (drain.to, drain.ready);
        self.drain = None;
        let willing = self.record.get(to).is_some_and(|one| {
            one.status == Status::ToBecomePrimary
                && one.id < self.id
                && !one.is_suspected(&self.rules, self.now)
        });
        if willing {
            self.stand_by(if ready { RoleCause::HandedOver } else { RoleCause::Overdue }, out);
            self.handed_to = Some((to, self.now + 5 * self.rules.interval));
        }
    }

    /// Others whom this process has to settle with: unsuspected primaries, heard or reported a
    /// moment ago.
    fn rivals(&self) -> Vec<Tail> {
        let recent = self.now.saturating_sub(self.rules.halves(3));
        let rivals = self.record.primaries(self.rules.service).filter(|one| {
            !one.is_suspected(&self.rules, self.now) && (one.direct || one.evidence >= recent)
        });
        rivals.map(|one| one.id.tail()).collect()
    }

    fn settle_all(&mut self, out: &mut Vec<Action>) {
        let Some(conflict) = &self.conflict else { return };
        let outdated = conflict.outdated;
        let rivals = self.rivals();
        for tail in &rivals {
            if !self.settle(*tail, out) {
                return;
            }
        }
        if self.is_unheard() {
            self.lose_primary(RoleCause::Unheard, out);
        } else if rivals.is_empty() {
            self.conflict = None;
            // They have yielded or are gone, and have acted meanwhile.
            if outdated {
                self.bump(out);
            }
        }
    }

    fn bump(&mut self, out: &mut Vec<Action>) {
        self.raise_epoch();
        self.counts.bumps += 1;
        self.outdated_since = None;
        out.extend(self.token().map(|token| Action::Tell(EventKind::EpochBump { token })));
        self.announce();
    }

    /// Two primaries: the one that more others follow stays; of two with as many, the one with the
    /// larger token. True if it is this one.
    fn settle(&mut self, rival: Tail, out: &mut Vec<Action>) -> bool {
        let Some(other) = self.record.get(rival) else { return true };
        let own = self.id.tail();
        let fresh = self.now.saturating_sub(2 * self.rules.interval);
        let (mut mine, mut theirs) = (0, 0);
        let mut since_then = false;
        let began = self.conflict.as_ref().map_or(self.now, |conflict| conflict.since);
        for member in self.record.members() {
            let counts =
                member.direct && member.status != Status::Joining && member.id.tail() != rival;
            let Some((vote, at)) = member.vote.filter(|(_, at)| counts && *at > fresh) else {
                continue;
            };
            mine += usize::from(vote == own);
            theirs += usize::from(vote == rival);
            since_then |= vote == own && at >= began;
        }
        let greater = other.claim() > (self.epoch, Reverse(self.id));
        let heard = other.direct && other.heard >= self.now.saturating_sub(self.rules.halves(3));
        let lost = if mine == theirs {
            greater
        } else {
            // Old votes alone must not have it yield to one that is gone itself.
            theirs > mine && (heard || greater || theirs >= mine + 2)
        };
        if lost {
            self.lose_primary(RoleCause::Superseded, out);
            return false;
        }
        if other.epoch >= self.epoch {
            self.max_epoch = self.max_epoch.max(other.epoch);
            if since_then {
                self.bump(out);
                if let Some(conflict) = &mut self.conflict {
                    conflict.outdated = false;
                }
            } else if let Some(conflict) = &mut self.conflict {
                conflict.outdated = true;
            }
        }
        true
    }

    /// One rival claims on and on, nobody says that he follows this process, and there are others
    /// who could.
    fn is_unheard(&self) -> bool {
        let Some(conflict) = &self.conflict else { return false };
        let long = 4 * self.rules.interval;
        let persistent = conflict
            .rivals
            .iter()
            .find(|rival| rival.claims >= 5 && self.now >= rival.first + long);
        let Some(rival) = persistent else { return false };
        let third = |one: &super::PeerRecord| {
            one.service == self.rules.service
                && one.id.tail() != rival.tail
                && one.status != Status::Joining
        };
        self.now >= self.followed_at + long && self.record.members().any(third)
    }

    /// There was a later epoch than this primary's own, and its owner is gone: without a later one
    /// still, what this one writes would be refused for ever.
    fn catch_up(&mut self, out: &mut Vec<Action>) {
        if self.conflict.is_some() || self.max_epoch == self.epoch {
            self.outdated_since = None;
        } else if self.now - *self.outdated_since.get_or_insert(self.now) >= 2 * self.rules.interval
        {
            self.bump(out);
        }
    }

    /// One that says that it is primary of this process's type was heard, or reported.
    fn meets_primary(&mut self, tail: Tail, directly: bool, out: &mut Vec<Action>) {
        if self.status != Status::Primary || tail == self.id.tail() {
            return;
        }
        if self.conflict.is_none() {
            self.counts.conflicts += 1;
            self.conflict = Some(Conflict { since: self.now, outdated: false, rivals: Vec::new() });
        }
        if let Some(conflict) = self.conflict.as_mut().filter(|_| directly) {
            if let Some(rival) = conflict.rivals.iter_mut().find(|rival| rival.tail == tail) {
                rival.claims += 1;
            } else if conflict.rivals.len() < MAX_RIVALS {
                conflict.rivals.push(Rival { tail, claims: 1, first: self.now });
            }
        }
        if self.settle(tail, out) {
            self.trigger();
        }
    }

    /// What a heartbeat of a process of the same service type means for the claims of both.
    pub(super) fn answers_claim(
        &mut self,
        beat: &Heartbeat,
        was_primary: bool,
        out: &mut Vec<Action>,
    ) {
        let named =
            was_primary && beat.status != Status::Primary && beat.handed_to == Some(self.id.tail());
        if named && self.status == Status::ToBecomePrimary {
            self.claim.named = true;
        }
        match beat.status {
            Status::Primary => self.meets_primary(beat.id.tail(), true, out),
            Status::ToBecomePrimary => match self.status {
                Status::Primary => {
                    let better = beat.id < self.id && beat.id.rank() < NEVER;
                    let yields = self.rules.preempt || self.id.rank() == NEVER;
                    if better && yields {
                        self.drain_to(beat.id, out);
                    } else {
                        self.trigger();
                    }
                }
                Status::Standby | Status::ToBecomePrimary => {
                    if self.id < beat.id && self.id.rank() < NEVER && self.is_eligible() {
                        self.trigger();
                    }
                }
                Status::Joining | Status::Leaving => {}
            },
            Status::Joining | Status::Standby | Status::Leaving => {}
        }
        let recent = self.now.saturating_sub(self.rules.halves(3));
        let own = self.rules.service;
        for view in beat.views.iter().filter(|view| view.service == own) {
            let heard = self.now.saturating_sub(u64::from(view.age_ms));
            if view.id.tail() == self.id.tail() {
                self.followed_at = self.followed_at.max(heard);
            } else if heard >= recent {
                let primary = |one: &super::PeerRecord| one.status == Status::Primary;
                if self.record.get(view.id.tail()).is_some_and(primary) {
                    self.meets_primary(view.id.tail(), false, out);
                }
            }
        }
    }

    pub(super) fn in_conflict(&self) -> bool {
        self.conflict.is_some()
    }

    /// Nothing but the next heartbeat, or the silence of another, will change anything.
    pub(super) fn is_quiet(&self) -> bool {
        let calm = self.now >= self.relisten_until
            && self.leaving_until.is_none()
            && self.needs.is_empty();
        let settled = match self.status {
            Status::Primary => {
                self.conflict.is_none() && self.drain.is_none() && self.outdated_since.is_none()
            }
            Status::Standby => {
                self.id.rank() == NEVER || self.present().is_some_and(|one| one.id < self.id)
            }
            Status::Joining | Status::ToBecomePrimary | Status::Leaving => false,
        };
        calm && settled && self.rules.quorum == 0 && !self.is_failing()
    }

    /// What must be so at the moment it becomes primary: its record holds no living primary, no
    /// better candidate, and nobody better who claims the same.
    #[cfg(any(test, feature = "fuzzing"))]
    fn check_claim(&self) {
        assert!(self.record.primary(self.rules.service).is_none(), "there is a primary");
        assert!(self.is_highest(), "there is a better one");
        let claiming = |one: &super::PeerRecord| {
            one.service == self.rules.service
                && one.status == Status::ToBecomePrimary
                && one.id < self.id
        };
        let better = self
            .record
            .members()
            .find(|one| claiming(one) && one.is_candidate(&self.rules, self.now));
        assert!(better.is_none(), "a better one claims the same: {better:?}");
    }
}
