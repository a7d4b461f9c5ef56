//! What one process knows of all others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Millis, NEVER, Rules};
use crate::config::masterless::MAX_TOMBSTONES;
use crate::event::masterless::Token;
use crate::wire::heartbeat::Status;
use crate::wire::heartbeat::{ELIGIBLE, Heartbeat, View};
use crate::wire::{Label, PeerId, Tail};

/// What this process knows of another one.
#[derive(Clone, Debug)]
pub(crate) struct PeerRecord {
    pub(crate) id: PeerId,
    session: u64,
    counter: u64,
    pub(crate) status: Status,
    pub(crate) flags: u8,
    pub(crate) service: u16,
    pub(crate) workload: u16,
    /// Empty if that process was never heard directly.
    pub(crate) label: Label,
    pub(crate) interval: Millis,
    pub(crate) epoch: u64,
    pub(crate) origin: u32,
    /// When it was last heard. Moves on by the length of this process's own pauses.
    pub(crate) heard: Millis,
    /// The same time, never moved: what this process tells others.
    pub(crate) heard_at: Millis,
    /// When others last heard it, as far as they say.
    pub(crate) evidence: Millis,
    /// True if it was heard directly; otherwise only a third process has reported it.
    pub(crate) direct: bool,
    pub(crate) primary_since: Millis,
    /// The primary that it follows, and when it said so.
    pub(super) vote: Option<(Tail, Millis)>,
    pub(super) told_joined: bool,
    pub(super) told_suspected: bool,
    /// When the kernel reported its end: only younger evidence speaks against that.
    doubted: Option<Millis>,
}

impl PeerRecord {
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// Returns when it last gave a sign of life. For a primary, what others have heard counts too.
    pub(super) fn last(&self) -> Millis {
        if self.status == Status::Primary { self.heard.max(self.evidence) } else { self.heard }
    }

    pub(super) fn is_suspected(&self, rules: &Rules, now: Millis) -> bool {
        now.saturating_sub(self.last()) >= rules.suspect(self.interval)
    }

    pub(super) fn is_live(&self, rules: &Rules, now: Millis) -> bool {
        now.saturating_sub(self.last()) < rules.dead(self.interval)
    }

    /// Returns its claim to be primary: larger is better.
    pub(super) fn claim(&self) -> Token {
        Token { epoch: self.epoch, id: self.id }
    }

    /// Returns true if it could be primary as well as this process.
    pub(super) fn is_candidate(&self, rules: &Rules, now: Millis) -> bool {
        let primary = self.status == Status::Primary;
        let admitted = primary || matches!(self.status, Status::Standby | Status::ToBecomePrimary);
        self.service == rules.service
            && admitted
            && self.id.rank() < NEVER
            && (self.direct || primary)
            && (self.flags & ELIGIBLE != 0 || primary)
            && !self.is_suspected(rules, now)
    }

    fn is_protected(&self, service: u16) -> bool {
        let claims = matches!(self.status, Status::Primary | Status::ToBecomePrimary);
        self.service == service && claims
    }
}

/// The record is full of better processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// A process that is gone. What it has said is then not taken for new when it is replayed.
struct Tombstone {
    session: u64,
    counter: u64,
    left: bool,
}

/// All other processes. Invariant: never more than `limit`, and never more tombstones than
/// [`MAX_TOMBSTONES`].
pub(super) struct Record {
    members: BTreeMap<Tail, PeerRecord>,
    /// The processes that say that they are primary, of any type: asked for often, and few.
    primaries: BTreeSet<Tail>,
    limit: usize,
    tombstones: BTreeMap<Tail, Tombstone>,
    /// The order of the tombstones, of which the oldest makes room.
    buried: VecDeque<Tail>,
    /// No process is suspected or dead before this moment, unless it is doubted.
    next_check: Millis,
}

/// The result of a check of all.
pub(super) enum Fate {
    Suspected(PeerRecord),
    Dead(PeerRecord),
}

impl Record {
    pub(super) fn new(limit: usize) -> Self {
        Record {
            members: BTreeMap::new(),
            primaries: BTreeSet::new(),
            limit,
            tombstones: BTreeMap::new(),
            buried: VecDeque::new(),
            next_check: Millis::MAX,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &PeerRecord> {
        self.members.values()
    }

    pub(super) fn get(&self, tail: Tail) -> Option<&PeerRecord> {
        self.members.get(&tail)
    }

    pub(super) fn get_mut(&mut self, tail: Tail) -> Option<&mut PeerRecord> {
        self.members.get_mut(&tail)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn next_check(&self) -> Millis {
        self.next_check
    }

    pub(super) fn has_candidate(&self, rules: &Rules, now: Millis) -> bool {
        self.members().any(|member| member.is_candidate(rules, now))
    }

    /// Returns all primaries of a service type.
    pub(super) fn primaries(&self, service: u16) -> impl Iterator<Item = &PeerRecord> {
        self.primaries
            .iter()
            .filter_map(|tail| self.get(*tail))
            .filter(move |one| one.service == service)
    }

    /// Returns the primary of a service type; the best one if there are several.
    pub(super) fn primary(&self, service: u16) -> Option<&PeerRecord> {
        self.primaries(service).max_by_key(|one| one.claim())
    }

    /// Returns the processes that join at the same time, and before this one.
    pub(super) fn joiners_before(&self, id: PeerId, since: Millis) -> usize {
        let key = |id: PeerId| (id.rank(), id.tail());
        let joining =
            self.members().filter(|one| one.status == Status::Joining && one.heard >= since);
        joining.filter(|one| key(one.id) < key(id)).count()
    }

    /// Returns true if a heartbeat is new: of the living session of its sender, and later than all
    /// before. Remembers its counter if so.
    pub(super) fn accept(&mut self, beat: &Heartbeat) -> bool {
        let tail = beat.id.tail();
        if let Some(member) = self.members.get_mut(&tail).filter(|member| member.direct) {
            let new = member.session == beat.session && beat.counter > member.counter;
            if new {
                member.counter = beat.counter;
            }
            return new;
        }
        let stone = self.tombstones.get_mut(&tail).filter(|stone| stone.session == beat.session);
        stone.is_none_or(|stone| {
            let new = !stone.left && beat.counter > stone.counter;
            if new {
                stone.counter = beat.counter;
            }
            new
        })
    }

    /// Takes what an accepted heartbeat says of its sender. Returns the process that had to make
    /// room.
    pub(super) fn update(
        &mut self,
        beat: &Heartbeat,
        rules: &Rules,
        now: Millis,
    ) -> Result<Option<PeerRecord>, NoRoom> {
        let tail = beat.id.tail();
        let mut forgotten = None;
        if !self.members.contains_key(&tail) {
            let stub = View { service: beat.service, id: beat.id, epoch: beat.epoch, age_ms: 0 };
            let mut member =
                PeerRecord { status: beat.status, direct: true, ..PeerRecord::unheard(&stub, now) };
            member.primary_since = now;
            forgotten = self.insert(member, rules.service)?;
        }
        let Some(member) = self.members.get_mut(&tail) else { return Err(NoRoom) };
        if beat.status == Status::Primary && member.status != Status::Primary {
            member.primary_since = now;
        }
        if beat.status == Status::Primary {
            self.primaries.insert(tail);
        } else {
            self.primaries.remove(&tail);
        }
        member.id = beat.id;
        member.session = beat.session;
        member.counter = beat.counter;
        member.status = beat.status;
        member.flags = beat.flags;
        member.service = beat.service;
        member.workload = beat.workload;
        member.label = beat.label;
        member.interval = u64::from(beat.interval_ms).clamp(rules.interval, 5 * rules.interval);
        member.epoch = beat.epoch;
        member.origin = beat.origin;
        member.heard = now;
        member.heard_at = now;
        member.direct = true;
        member.told_suspected = false;
        member.doubted = None;
        self.next_check = self.next_check.min(now + rules.suspect(member.interval));
        Ok(forgotten)
    }

    /// Takes what a third process says of the primary that it follows.
    pub(super) fn report(&mut self, view: &View, rules: &Rules, now: Millis) -> Option<PeerRecord> {
        let tail = view.id.tail();
        let heard = now.saturating_sub(u64::from(view.age_ms));
        let dead = rules.dead(0);
        if let Some(member) = self.members.get_mut(&tail) {
            // Others have heard the last words of one that has died a moment later than the
            // kernel's news came here.
            let stale = member.doubted.is_some_and(|doubted| heard <= doubted + rules.delay);
            if stale || member.service != view.service {
                return None;
            }
            if member.status == Status::Primary {
                if view.epoch > member.epoch {
                    (member.epoch, member.evidence) = (view.epoch, heard.max(member.evidence));
                } else if view.epoch == member.epoch {
                    member.evidence = heard.max(member.evidence);
                } else {
                    return None;
                }
            } else if view.epoch > member.epoch
                && heard > member.heard
                && member.status != Status::Joining
            {
                member.status = Status::Primary;
                self.primaries.insert(tail);
                member.primary_since = now;
                (member.epoch, member.evidence) = (view.epoch, heard);
            } else {
                return None;
            }
            member.told_suspected &=
                now.saturating_sub(member.last()) >= rules.suspect(member.interval);
            if !member.told_suspected {
                self.next_check =
                    self.next_check.min(member.last() + rules.suspect(member.interval));
            }
            return None;
        }
        let left = self.tombstones.get(&tail).is_some_and(|stone| stone.left);
        if left || heard + dead <= now {
            return None;
        }
        let stub = PeerRecord {
            evidence: heard,
            heard: 0,
            heard_at: 0,
            primary_since: now,
            ..PeerRecord::unheard(view, now)
        };
        self.next_check = self.next_check.min(heard + rules.suspect(0));
        self.insert(stub, rules.service).ok().flatten()
    }

    /// Adds a process. If there are too many, the worst has to go, which may be this one.
    fn insert(&mut self, member: PeerRecord, service: u16) -> Result<Option<PeerRecord>, NoRoom> {
        let mut forgotten = None;
        if self.members.len() >= self.limit {
            let rank =
                |one: &PeerRecord| (!one.is_protected(service), one.service != service, one.id);
            let worst = self
                .members
                .values()
                .max_by_key(|one| rank(one))
                .map(|one| (rank(one), one.id.tail()));
            match worst {
                Some((rank_of_worst, tail)) if rank_of_worst > rank(&member) => {
                    forgotten = self.remove(tail, false)
                }
                Some(_) | None => return Err(NoRoom),
            }
        }
        if member.status == Status::Primary {
            self.primaries.insert(member.id.tail());
        }
        self.members.insert(member.id.tail(), member);
        Ok(forgotten)
    }

    pub(super) fn remove(&mut self, tail: Tail, left: bool) -> Option<PeerRecord> {
        let member = self.members.remove(&tail)?;
        self.primaries.remove(&tail);
        if member.direct || left {
            self.bury(&member, left);
        }
        Some(member)
    }

    /// Remembers that a process has left that was never in the record.
    pub(super) fn never_mind(&mut self, beat: &Heartbeat) {
        let view = View { service: beat.service, id: beat.id, epoch: beat.epoch, age_ms: 0 };
        let member = PeerRecord {
            session: beat.session,
            counter: beat.counter,
            ..PeerRecord::unheard(&view, 0)
        };
        self.bury(&member, true);
    }

    fn bury(&mut self, member: &PeerRecord, left: bool) {
        let tail = member.id.tail();
        let stone = Tombstone { session: member.session, counter: member.counter, left };
        if self.tombstones.insert(tail, stone).is_none() {
            self.buried.push_back(tail);
        }
        if self.buried.len() > MAX_TOMBSTONES {
            let oldest = self.buried.pop_front().expect("more than none");
            self.tombstones.remove(&oldest);
        }
    }

    /// Returns the processes suspected since the last check, and those that are dead and removed.
    pub(super) fn check(&mut self, rules: &Rules, now: Millis) -> Vec<Fate> {
        let mut fates = Vec::new();
        if now < self.next_check {
            return fates;
        }
        let mut next = Millis::MAX;
        let mut dead = Vec::new();
        for member in self.members.values_mut() {
            let last = member.last();
            let is_live = member.is_live(rules, now);
            let suspected = !is_live || member.is_suspected(rules, now);
            // Nobody dies unsuspected, even where this process comes late to both.
            if suspected && !std::mem::replace(&mut member.told_suspected, true) {
                fates.push(Fate::Suspected(member.clone()));
            }
            if !is_live {
                dead.push(member.id.tail());
            } else if suspected {
                next = next.min(last + rules.dead(member.interval));
            } else {
                next = next.min(last + rules.suspect(member.interval));
            }
        }
        self.next_check = next;
        fates.extend(dead.into_iter().filter_map(|tail| self.remove(tail, false)).map(Fate::Dead));
        fates
    }

    /// Makes a process suspected, and no more than that. Returns false if that changes nothing.
    pub(super) fn doubt(
        &mut self,
        tail: Tail,
        now: Millis,
        suspect: impl Fn(Millis) -> Millis,
    ) -> bool {
        let Some(member) = self.members.get_mut(&tail) else { return false };
        let then = now.saturating_sub(suspect(member.interval));
        member.heard = member.heard.min(then);
        member.evidence = member.evidence.min(then);
        member.doubted = Some(now);
        self.next_check = now;
        true
    }

    /// Notes that this process was away for `gap`: no process was silent meanwhile.
    pub(super) fn shift(&mut self, gap: Millis) {
        for member in self.members.values_mut() {
            for moment in [&mut member.heard, &mut member.evidence, &mut member.primary_since] {
                *moment = moment.saturating_add(gap);
            }
            member.vote = None;
        }
        self.next_check = self.next_check.saturating_add(gap);
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check_limits(&self) {
        assert!(self.members.len() <= self.limit.max(1));
        let primary =
            |tail: &Tail| self.get(*tail).is_some_and(|one| one.status == Status::Primary);
        assert!(self.primaries.iter().all(primary), "the index of primaries is wrong");
        assert!(self.buried.len() <= MAX_TOMBSTONES && self.tombstones.len() == self.buried.len());
    }
}

impl PeerRecord {
    fn unheard(view: &View, now: Millis) -> Self {
        PeerRecord {
            id: view.id,
            session: 0,
            counter: 0,
            status: Status::Primary,
            flags: 0,
            service: view.service,
            workload: 0,
            label: Label::EMPTY,
            interval: 0,
            epoch: view.epoch,
            origin: 0,
            heard: now,
            heard_at: now,
            evidence: 0,
            direct: false,
            primary_since: 0,
            vote: None,
            told_joined: false,
            told_suspected: false,
            doubted: None,
        }
    }
}
