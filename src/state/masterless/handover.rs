//! The orderly end of a role, and of membership: the program first finishes its work.

use super::{Action, Machine, Millis, NEVER};
use crate::event::masterless::{EventKind, RoleCause, Token};
use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId, Tail};

/// A primary that is about to hand over.
pub(super) struct Drain {
    to: Tail,
    deadline: Millis,
    /// True once the program has reported that its work is finished, or if it never reports that.
    said: bool,
}

impl Machine {
    /// Returns the token under which work may start and go on: this process is primary, and no
    /// other is to have the role instead.
    pub(crate) fn mandate(&self) -> Option<Token> {
        self.token().filter(|_| self.drain.is_none() && self.leaving_until.is_none())
    }

    /// Starts a job under the present role, if there is one. The role is not handed over before the
    /// job has [ended](Machine::end_job), or its time is up.
    pub(crate) fn begin_job(&mut self, now: Millis) -> Option<Token> {
        let token = self.mandate().filter(|_| self.lease_ok(now))?;
        self.jobs += 1;
        Some(token)
    }

    pub(crate) fn end_job(&mut self) {
        self.jobs -= 1;
        self.undecided = true;
    }

    pub(super) fn handover_ready(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.said = true;
        }
        self.undecided = true;
    }

    /// A better process wants to be primary: the program must finish its work here.
    pub(super) fn drain_to(&mut self, to: PeerId, out: &mut Vec<Action>) {
        if self.drain.is_some() {
            return;
        }
        let within_ms = 2 * self.rules.interval;
        let said = !self.rules.prepare_handover;
        self.drain = Some(Drain { to: to.tail(), deadline: self.now + within_ms, said });
        self.undecided |= said && self.jobs == 0;
        let label = self.record.get(to.tail()).map_or(Label::EMPTY, |one| one.label);
        out.push(Action::Tell(EventKind::PrepareHandover { to, label, within_ms }));
    }

    pub(super) fn hand_over_in_time(&mut self, out: &mut Vec<Action>) {
        let Some(drain) = &self.drain else { return };
        let (to, ready) = (drain.to, drain.said && self.jobs == 0);
        if !ready && self.now < drain.deadline {
            return;
        }
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

    /// A leaving primary stays until its jobs have ended and another process has taken over.
    fn must_stay(&self) -> bool {
        self.status == Status::Primary
            && (self.jobs > 0 || self.record.has_candidate(&self.rules, self.now))
    }

    pub(super) fn leave(&mut self, out: &mut Vec<Action>) {
        if self.leaving_until.is_some() {
            return;
        }
        self.leaving_until = Some(self.now + 6 * self.rules.interval);
        if self.must_stay() {
            self.set_rank(NEVER);
            self.announce();
        } else {
            self.say_goodbye(RoleCause::Left, out);
        }
    }

    /// Leaves without handing over first, for a program that has no time. The process is gone once
    /// it has said so three times.
    pub(crate) fn leave_at_once(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.gone {
            self.now = now.max(self.now);
            self.leaving_until = Some(self.now);
            self.say_goodbye(RoleCause::Left, out);
            self.send_if_due(out);
        }
    }

    /// Says three times that this process leaves.
    pub(super) fn say_goodbye(&mut self, cause: RoleCause, out: &mut Vec<Action>) {
        if self.status != Status::Leaving {
            self.forget_role();
            self.become_status(Status::Leaving, cause, out);
            self.sending.goodbye(self.now, self.rules.interval / 8);
        }
    }

    /// Ends a departure that takes longer than it may.
    pub(super) fn leave_in_time(&mut self, out: &mut Vec<Action>) {
        let Some(until) = self.leaving_until else { return };
        let stays = self.now < until && self.must_stay();
        if self.status != Status::Leaving && !stays {
            self.say_goodbye(RoleCause::Left, out);
        }
    }
}
