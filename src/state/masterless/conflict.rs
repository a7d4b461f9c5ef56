//! Settles which of two primaries that meet yields.

use super::{Action, Machine, Millis, NEVER};
use crate::config::masterless::MAX_RIVALS;
use crate::event::masterless::{EventKind, RoleCause, Token};
use crate::wire::Tail;
use crate::wire::heartbeat::{Heartbeat, Status};

/// A meeting of two primaries, one of which is this process.
pub(super) struct Conflict {
    since: Millis,
    /// The epoch of some rival is not smaller than this process's own.
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

impl Machine {
    /// Returns the primaries that this process must settle with: unsuspected, and heard or reported
    /// a moment ago.
    fn rivals(&self) -> Vec<Tail> {
        let recent = self.now.saturating_sub(self.rules.halves(3));
        let rivals = self.record.primaries(self.rules.service).filter(|one| {
            !one.is_suspected(&self.rules, self.now) && (one.direct || one.evidence >= recent)
        });
        rivals.map(|one| one.id.tail()).collect()
    }

    pub(super) fn settle_all(&mut self, out: &mut Vec<Action>) {
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

    /// Of two primaries, the one with more followers stays; with equally many, the one with the
    /// larger token. Returns true if it is this process.
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
        let greater = other.claim() > Token { epoch: self.epoch, id: self.id };
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

    /// Returns true if a rival keeps claiming, no process says that it follows this one, and others
    /// could.
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

    /// Returns true if there was a later epoch than this primary's own, and its owner is gone.
    /// Without a still later epoch, stores would refuse what this primary writes for ever.
    pub(super) fn catch_up(&mut self, out: &mut Vec<Action>) {
        if self.conflict.is_some() || self.max_epoch == self.epoch {
            self.outdated_since = None;
        } else if self.now - *self.outdated_since.get_or_insert(self.now) >= 2 * self.rules.interval
        {
            self.bump(out);
        }
    }

    /// Notes that a process which says that it is primary of this process's type was heard, or
    /// reported.
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

    /// Takes what a heartbeat of a process of the same service type means for the claims of both.
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
}
