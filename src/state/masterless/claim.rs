//! Decides which process is primary: what this process claims, yields, and settles with others that
//! claim the same.

use super::record::Fate;
use super::{Action, Machine, Millis, NEVER};
use crate::event::masterless::{EventKind, LeftCause, RoleCause, SuspicionCause};
use crate::wire::PeerId;
use crate::wire::heartbeat::{MAX_NUMBER, NO_PREEMPTION, Status};

/// The claim of a process that is to become primary.
#[derive(Default)]
pub(super) struct Claim {
    since: Millis,
    /// The previous primary has handed over to this process.
    pub(super) named: bool,
}

impl Claim {
    pub(super) fn shift(&mut self, gap: Millis) {
        self.since += gap;
    }

    /// Starts the claim anew, because it has not been heard so far.
    pub(super) fn begin_anew(&mut self, now: Millis) {
        self.since = now;
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
    /// Decides on everything.
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

    /// Removes the dead.
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

    /// With a quorum: enough of the group are present, and have been for so long that no other part
    /// can have enough.
    pub(super) fn is_strong(&self) -> bool {
        let long = self.rules.dead(0) + self.quorum_margin();
        self.rules.quorum == 0 || self.enough_since.is_some_and(|since| self.now - since >= long)
    }

    /// Returns true if this process may become primary at this moment.
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

    /// Standby or to become primary: decides whether it claims more.
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

    /// Returns the best standby.
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

    /// Starts to claim the role of primary.
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

    /// To become primary, the best, and not refuted: becomes primary once it has claimed for long
    /// enough, or gives up the claim.
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

    /// Takes the next epoch.
    pub(super) fn raise_epoch(&mut self) {
        // What others say is below the limit; only a hostile member of the group could bring it
        // near to it.
        self.max_epoch = (self.max_epoch + 1).min(MAX_NUMBER - 1);
        self.epoch = self.max_epoch;
    }

    /// Goes back to standby.
    pub(super) fn stand_by(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        self.forget_role();
        self.become_status(Status::Standby, cause, out);
        self.announce();
    }

    /// Stops being primary, against its will: it does not take the role back at once.
    pub(super) fn lose_primary(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        self.renew_sequence();
        self.stand_by(cause, out);
    }

    /// Primary: decides whether it stays.
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

    /// Returns true if only the next heartbeat, or the silence of another process, can change
    /// anything.
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

    /// Checks what must hold at the moment it becomes primary: its record has no living primary, no
    /// better candidate, and no better process that claims the same.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check_claim(&self) {
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
