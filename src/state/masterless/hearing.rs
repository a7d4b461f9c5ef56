//! What one process learns from the heartbeats of others.

use super::record::{NoRoom, PeerRecord};
use super::sending::ECHOES;
use super::{Action, Machine};
use crate::event::masterless::{EventKind, LeftCause};
use crate::wire::heartbeat::{Heartbeat, REQUEST, Status};
use crate::wire::peer_id::UNADMITTED;

impl Machine {
    /// Takes an authentic heartbeat.
    pub(super) fn heard(&mut self, beat: &Heartbeat, out: &mut Vec<Action>) {
        if beat.id.tail() == self.id.tail() {
            self.heard_itself(beat, out);
            return;
        }
        if !self.record.accept(beat) {
            self.counts.dropped += 1;
            return;
        }
        self.counts.heard += 1;
        let before = self.record.get(beat.id.tail()).cloned();
        let own_type = beat.service == self.rules.service;
        if beat.status != Status::Joining && beat.id.sequence() != UNADMITTED {
            self.max_sequence = self.max_sequence.max(beat.id.sequence());
        }
        if own_type {
            self.max_epoch = self.max_epoch.max(beat.epoch);
        }
        let was_primary = before.as_ref().is_some_and(|one| one.status == Status::Primary);
        if beat.status == Status::Leaving {
            self.bid_farewell(beat, before.as_ref(), out);
        } else if !self.enter(beat, before.as_ref(), out) {
            return;
        }
        self.take_views(beat, out);
        self.needs.heard(beat, self.workload, self.id, self.now + 15 * self.rules.interval);
        if own_type {
            self.answers_claim(beat, was_primary, out);
        }
        self.answers_request(beat);
        if let Some(directive) =
            beat.directive.filter(|directive| directive.target == self.id.tail())
        {
            self.directed(directive.rank, directive.nonce);
        }
        let same = |one: &PeerRecord| {
            (one.status, one.id, one.epoch, one.flags)
                == (beat.status, beat.id, beat.epoch, beat.flags)
        };
        let changed = !before.as_ref().is_some_and(same);
        let claiming = self.status == Status::ToBecomePrimary || self.in_conflict();
        // Who joins has nothing to decide but when: time alone tells.
        self.undecided |= (own_type && changed || claiming) && self.status != Status::Joining;
    }

    fn enter(
        &mut self,
        beat: &Heartbeat,
        before: Option<&PeerRecord>,
        out: &mut Vec<Action>,
    ) -> bool {
        let (id, label, service) = (beat.id, beat.label, beat.service);
        if let Some(before) = before.filter(|one| one.direct) {
            let gap = self.now.saturating_sub(before.heard);
            self.counts.longest_gap = self.counts.longest_gap.max(gap);
        }
        match self.record.update(beat, &self.rules, self.now) {
            Ok(forgotten) => self.forget(forgotten, out),
            Err(NoRoom) => {
                self.counts.record_full += 1;
                return false;
            }
        }
        if let Some(member) = self.record.get_mut(id.tail()) {
            if beat.status != Status::Joining && !std::mem::replace(&mut member.told_joined, true) {
                out.push(Action::Tell(EventKind::Joined { id, label, service }));
            }
        }
        true
    }

    fn forget(&mut self, forgotten: Option<PeerRecord>, out: &mut Vec<Action>) {
        let Some(member) = forgotten else { return };
        self.counts.record_full += 1;
        if member.told_joined {
            let (id, label, service) = (member.id, member.label, member.service);
            out.push(Action::Tell(EventKind::Left {
                id,
                label,
                service,
                cause: LeftCause::Forgotten,
            }));
        }
    }

    fn bid_farewell(
        &mut self,
        beat: &Heartbeat,
        before: Option<&PeerRecord>,
        out: &mut Vec<Action>,
    ) {
        let Some(before) = before else {
            self.record.never_mind(beat);
            return;
        };
        self.record.remove(beat.id.tail(), true);
        if before.told_joined {
            let (id, label, service) = (beat.id, beat.label, beat.service);
            let cause = LeftCause::Left;
            out.push(Action::Tell(EventKind::Left { id, label, service, cause }));
        }
    }

    /// Takes what the sender says of others: evidence that a primary lives, and a vote.
    fn take_views(&mut self, beat: &Heartbeat, out: &mut Vec<Action>) {
        let own = self.rules.service;
        let mut views = beat.views.iter().filter(|view| view.service == own).peekable();
        if let (Some(first), Some(member)) = (views.peek(), self.record.get_mut(beat.id.tail())) {
            member.vote = Some((first.id.tail(), self.now));
        }
        for view in views {
            self.max_epoch = self.max_epoch.max(view.epoch);
            if view.id.tail() != self.id.tail() {
                let forgotten = self.record.report(view, &self.rules, self.now);
                self.forget(forgotten, out);
            }
        }
    }

    /// Returns true if the sender waits for an answer.
    fn answers_request(&mut self, beat: &Heartbeat) {
        let other_type = beat.service != self.rules.service;
        if beat.flags & REQUEST != 0 {
            if other_type && beat.status == Status::ToBecomePrimary {
                self.view_of(beat.service);
            }
            self.reply(false);
        }
        let two = self.record.primaries(beat.service).nth(1).is_some();
        if two && beat.status == Status::Primary && self.status != Status::Primary {
            if other_type {
                self.view_of(beat.service);
            }
            self.reply(true);
        }
    }

    /// Takes a heartbeat with this process's own tail.
    fn heard_itself(&mut self, beat: &Heartbeat, out: &mut Vec<Action>) {
        if beat.session == self.session {
            let old = beat.counter + ECHOES as u64 <= self.sending.counter;
            if old || self.sending.sent.contains(beat) {
                return;
            }
            self.give_way(out); // a copy of this very process: both do
        } else {
            let joins = beat.status == Status::Joining;
            let yields = self.status == Status::Joining || (!joins && self.session > beat.session);
            if yields {
                self.give_way(out);
            }
        }
    }
}
