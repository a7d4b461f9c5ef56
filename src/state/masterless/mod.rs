//! A masterless group: what one process of it decides, from what it hears of all others.
//!
//! There is no master. Every process broadcasts a heartbeat in each interval and keeps its own
//! record of all others. The record alone determines what it does. Two numbers carry all authority,
//! and mixing them is the mistake that naive versions make. The smallest identifier says which
//! process *should be* primary. The largest token (an epoch that grows with each acquisition, and
//! the identifier of its owner) says which process *is* primary.
//!
//! | status | becomes | when |
//! |---|---|---|
//! | joining | standby | all others have had three intervals to say who they are, and who joins at the same time and is smaller was let in first |
//! | standby | to become primary | it is the smallest, and there is no primary, or that one is suspected, or it is worse and may be relieved |
//! | to become primary | primary | nobody claims to be primary, and all who could have objected have had the time to, or the last primary has named it |
//! | to become primary | standby | a better one is there, or the primary is alive and not to be relieved |
//! | primary | standby | a better one has claimed the role and the work is handed over; more others follow a second primary; it was away, or could say nothing, for too long |
//!
//! The rooms: `rules` is the configuration of a process, `record` what it knows of the others,
//! `claim` the table above, `conflict` what two primaries settle, `handover` how a role ends in
//! order, `hearing` what others say, `sending` when this process says what, `outage` what follows
//! when none of it gets out, and `need` which processes are to be started. There is one entry,
//! [`Machine::step`]. The time is an argument, in milliseconds of a clock that also runs while the
//! system sleeps.
//!
//! No process becomes primary before it has claimed the role for a while, even if it knows of no
//! other process: a primary may stand still for as long as its lease, and a process that may not
//! lead may be allowed to at any moment.
//!
//! Invariant: a process is primary only while its record holds no better claim that it has not
//! settled with; its epoch is never larger than the largest it knows; and nothing in it grows past
//! a limit.

use std::collections::VecDeque;

use self::claim::Claim;
use self::conflict::Conflict;
use self::handover::Drain;
use self::need::Needs;
use self::record::Record;
use self::sending::Sending;
use crate::config::masterless::MAX_DIRECTIVES;
use crate::event::masterless::{EventKind, RoleCause, Token};
use crate::wire::heartbeat::{Heartbeat, Status};
use crate::wire::peer_id::UNADMITTED;
use crate::wire::{Label, PeerId, Tail};

mod claim;
mod conflict;
mod handover;
mod hearing;
mod need;
mod outage;
mod record;
mod rules;
mod sending;
#[cfg(test)]
mod sim;

pub(crate) use record::PeerRecord;
pub(crate) use rules::{NEVER, Rules};

/// Milliseconds: a moment of the clock, or a time between two.
pub(crate) type Millis = u64;

/// What happens to a process.
// One at a time, on the stack: a box would cost more than what is moved.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Tick,
    /// An authentic heartbeat has come, possibly of this process itself.
    Heard(Heartbeat),
    /// The program has brought its work to a point where another process can go on.
    HandoverReady,
    Leave,
    /// This process must take another rank.
    Rank(u8),
    /// Another process must take another rank.
    Direct {
        target: Tail,
        rank: u8,
    },
    Workload(u16),
    /// The kernel reports that this process has ended. It counts as suspected, and no more than
    /// that.
    Doubt(Tail),
    /// The last heartbeat could not be sent to any address, for this reason of the system.
    NotSent {
        errno: i32,
    },
    /// A heartbeat was sent. The caller need not report each one, but must report the first after
    /// others were not sent.
    Sent,
}

/// What to do, in this order.
// A handful at a time, in a list that is used again and again.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Send by `until`: later the heartbeat is no longer true, and counts as [not
    /// sent](Input::NotSent).
    Send {
        beat: Heartbeat,
        until: Millis,
    },
    /// Throw away what waits in the socket: it is from before a pause.
    Flush,
    Tell(EventKind),
    /// This process has left.
    Exit,
}

/// How often each thing has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) heard: u64,
    pub(crate) dropped: u64,
    pub(crate) false_claims: u64,
    pub(crate) conflicts: u64,
    pub(crate) bumps: u64,
    pub(crate) record_full: u64,
    pub(crate) pauses: u64,
    /// The longest time between two heartbeats of one process that were not lost: the measure of
    /// the delay.
    pub(crate) longest_gap: Millis,
}

/// The source of randomness: the system's in a process, a seed's in a simulation.
pub(crate) type Entropy = Box<dyn FnMut() -> u64 + Send>;

pub(crate) struct Machine {
    rules: Rules,
    entropy: Entropy,
    /// The time of the last step.
    now: Millis,
    /// When everything was last decided. Heartbeats heard meanwhile do not put off the next time.
    evaluated_at: Millis,
    /// Something has changed since.
    undecided: bool,
    id: PeerId,
    session: u64,
    status: Status,
    workload: u16,
    /// Its own epoch, while it is primary.
    epoch: u64,
    max_epoch: u64,
    max_sequence: u32,
    record: Record,
    /// Until when it listens before it asks to be admitted.
    collect_until: Millis,
    admitted_at: Millis,
    primary_at: Millis,
    /// After a pause: until when it claims nothing.
    relisten_until: Millis,
    claim: Claim,
    drain: Option<Drain>,
    /// The number of jobs of the program that run under this role.
    jobs: usize,
    conflict: Option<Conflict>,
    /// When a process last said that it follows this one.
    followed_at: Millis,
    /// Since when others have known a larger epoch than this primary's own.
    outdated_since: Option<Millis>,
    handed_to: Option<(Tail, Millis)>,
    /// A primary that did not yield, until when this process leaves it in peace, and for how long
    /// the next time.
    stubborn: Option<(Tail, Millis, Millis)>,
    /// With a quorum: since when enough processes are present.
    enough_since: Option<Millis>,
    no_claim_until: Millis,
    leaving_until: Option<Millis>,
    gone: bool,
    directives_seen: VecDeque<u32>,
    needs: Needs,
    sending: Sending,
    counts: Counts,
}

impl Machine {
    /// Makes a process that is about to join, with its first request in `out`.
    pub(crate) fn new(rules: Rules, now: Millis, entropy: Entropy, out: &mut Vec<Action>) -> Self {
        let mut machine = Machine {
            id: PeerId::new(rules.rank, UNADMITTED, Tail([0; 11])),
            session: 0,
            status: Status::Joining,
            workload: rules.workload,
            epoch: 0,
            max_epoch: rules.epoch,
            max_sequence: 0,
            record: Record::new(rules.max_members),
            collect_until: 0,
            admitted_at: 0,
            primary_at: 0,
            relisten_until: 0,
            claim: Claim::default(),
            drain: None,
            jobs: 0,
            conflict: None,
            followed_at: 0,
            outdated_since: None,
            handed_to: None,
            stubborn: None,
            enough_since: None,
            no_claim_until: 0,
            leaving_until: None,
            gone: false,
            directives_seen: VecDeque::new(),
            needs: Needs::new(rules.needs.clone()),
            sending: Sending::new(rules.service),
            counts: Counts::default(),
            now,
            evaluated_at: now,
            undecided: false,
            entropy,
            rules,
        };
        machine.begin_to_join();
        machine.send_if_due(out);
        machine
    }

    /// Takes what has happened at `now`, and appends what to do to `out`.
    ///
    /// Only [`Input::Tick`] decides what follows from it, and from silence. Before it, the caller
    /// must have passed in all heartbeats that came before `now`: silence counts only while this
    /// process listens, and the first of many unread heartbeats may hide an objection. A clock that
    /// goes back stands still here.
    pub(crate) fn step(&mut self, now: Millis, event: Input, out: &mut Vec<Action>) {
        if self.gone {
            return;
        }
        let gap = now.saturating_sub(self.now);
        self.now = now.max(self.now);
        if gap > self.rules.away() {
            self.resume(gap, out);
            // What came during the pause may be of any age.
            if let Input::Heard(_) = event {
                self.send_if_due(out);
                return;
            }
        }
        match event {
            Input::Tick => self.evaluate(out),
            Input::Heard(beat) => self.heard(&beat, out),
            Input::HandoverReady => self.handover_ready(),
            Input::Leave => self.leave(out),
            Input::Rank(rank) => self.take_rank(rank),
            Input::Direct { target, rank } if target == self.id.tail() => self.take_rank(rank),
            Input::Direct { target, rank } => {
                let nonce = self.nonce();
                self.sending.direct(target, rank, nonce, self.now + 5 * self.rules.interval);
                self.trigger();
            }
            Input::Workload(workload) => self.workload = workload,
            Input::Doubt(tail) => {
                let suspect = |interval| self.rules.suspect(interval);
                self.undecided |= self.record.doubt(tail, self.now, suspect);
            }
            Input::NotSent { errno } => self.not_sent(errno, out),
            Input::Sent => self.sent_again(out),
        }
        self.send_if_due(out);
    }

    /// Notes a pause of this process: it was stopped, or the whole system slept. What it missed
    /// says nothing about others, and what others think of it now depends on the length of the
    /// pause.
    fn resume(&mut self, gap: Millis, out: &mut Vec<Action>) {
        self.counts.pauses += 1;
        out.push(Action::Flush);
        out.push(Action::Tell(EventKind::Paused { for_ms: gap }));
        self.record.shift(gap);
        self.claim.shift(gap);
        self.needs.shift(gap);
        for moment in [&mut self.followed_at, &mut self.no_claim_until] {
            *moment = moment.saturating_add(gap);
        }
        for since in [&mut self.enough_since, &mut self.outdated_since] {
            *since = since.map(|moment| moment + gap);
        }
        if let Some(conflict) = &mut self.conflict {
            conflict.shift(gap);
        }
        if let Some((_, until, _)) = &mut self.stubborn {
            *until += gap;
        }
        match self.status {
            Status::Joining => self.collect_until = self.now + 3 * self.rules.interval,
            Status::Primary if self.now > self.lease_until() => {
                self.lose_primary(RoleCause::Paused, out);
            }
            Status::ToBecomePrimary => self.stand_by(RoleCause::Paused, out),
            Status::Primary | Status::Standby | Status::Leaving => {}
        }
        self.relisten_until = self.now + 2 * self.rules.interval;
        self.sending.request_now(self.now);
    }

    fn begin_to_join(&mut self) {
        let mut tail = [0; 11];
        tail[..8].copy_from_slice(&(self.entropy)().to_be_bytes());
        tail[8..].copy_from_slice(&(self.entropy)().to_be_bytes()[..3]);
        self.id = PeerId::new(self.id.rank(), UNADMITTED, Tail(tail));
        self.session = (self.entropy)();
        self.status = Status::Joining;
        self.collect_until = self.now + 3 * self.rules.interval;
        self.sending.start_anew(self.now);
    }

    /// Another process has this one's tail: a copy of its memory, or two random generators that
    /// agree. This process takes another identity and joins again.
    fn give_way(&mut self, out: &mut Vec<Action>) {
        let from = self.status;
        self.forget_role();
        self.begin_to_join();
        if from != Status::Joining {
            out.push(Action::Tell(EventKind::Role {
                from,
                to: self.status,
                token: None,
                cause: RoleCause::Collision,
            }));
        }
    }

    /// Admits this process, if it has listened for long enough.
    fn admit(&mut self, out: &mut Vec<Action>) {
        let recent = self.now.saturating_sub(self.rules.halves(3));
        let ahead = self.record.joiners_before(self.id, recent) as u64;
        let deferred = (ahead * self.rules.interval / 4).min(2 * self.rules.interval);
        if self.rules.observe || self.is_failing() || self.now < self.collect_until + deferred {
            return;
        }
        self.renew_sequence();
        self.admitted_at = self.now;
        self.followed_at = self.now;
        self.become_status(Status::Standby, RoleCause::Admitted, out);
        self.announce();
        self.claims(out);
    }

    /// Makes this process the youngest from now on.
    fn renew_sequence(&mut self) {
        // The largest number is that of one who is not admitted; a hostile member may have said the
        // one before it.
        self.max_sequence = self.max_sequence.saturating_add(1).min(UNADMITTED - 1);
        self.id = PeerId::new(self.id.rank(), self.max_sequence, self.id.tail());
    }

    fn set_rank(&mut self, rank: u8) {
        self.id = PeerId::new(rank, self.id.sequence(), self.id.tail());
        self.trigger();
        self.undecided = true;
    }

    /// Follows another process's order to take a rank.
    fn directed(&mut self, rank: u8, nonce: u32) {
        if self.directives_seen.contains(&nonce) {
            return;
        }
        if self.directives_seen.len() == MAX_DIRECTIVES {
            self.directives_seen.pop_front();
        }
        self.directives_seen.push_back(nonce);
        self.take_rank(rank);
    }

    /// A leaving process has given up its rank for good.
    fn take_rank(&mut self, rank: u8) {
        if self.leaving_until.is_none() {
            self.set_rank(rank);
        }
    }

    fn forget_role(&mut self) {
        self.claim = Claim::default();
        self.drain = None;
        self.conflict = None;
        self.outdated_since = None;
        self.epoch = 0;
    }

    /// Makes every change of this process's status.
    fn become_status(&mut self, to: Status, cause: RoleCause, out: &mut Vec<Action>) {
        let from = std::mem::replace(&mut self.status, to);
        out.push(Action::Tell(EventKind::Role { from, to, token: self.token(), cause }));
    }

    fn nonce(&mut self) -> u32 {
        ((self.entropy)() >> 32).max(1) as u32
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    pub(crate) fn label(&self) -> Label {
        self.rules.label
    }

    pub(crate) fn service(&self) -> u16 {
        self.rules.service
    }

    pub(crate) fn workload(&self) -> u16 {
        self.workload
    }

    pub(crate) fn suspects(&self, member: &PeerRecord, now: Millis) -> bool {
        member.is_suspected(&self.rules, now)
    }

    pub(crate) fn max_epoch(&self) -> u64 {
        self.max_epoch
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the token that fences this process's work, while it is primary.
    pub(crate) fn token(&self) -> Option<Token> {
        (self.status == Status::Primary).then_some(Token { epoch: self.epoch, id: self.id })
    }

    /// Returns true if this process is primary and, as far as heartbeats can tell, no other can be,
    /// even before the first step after a pause.
    pub(crate) fn lease_ok(&self, now: Millis) -> bool {
        self.lease_left(now).is_some()
    }

    /// Returns how long that stays true without another heartbeat of its own.
    pub(crate) fn lease_left(&self, now: Millis) -> Option<Millis> {
        let until = (self.status == Status::Primary).then(|| self.lease_until());
        until?.checked_sub(now.max(self.now))
    }

    /// Returns when `step` must be called with [`Input::Tick`] at the latest.
    pub(crate) fn wake_at(&self) -> Millis {
        if self.undecided {
            return self.now;
        }
        let quiet = match self.status {
            Status::Standby | Status::Primary => self.is_quiet(),
            Status::Joining | Status::ToBecomePrimary | Status::Leaving => false,
        };
        let next = self.sending.next().min(self.record.next_check());
        let step = if quiet { self.rules.interval } else { (self.rules.interval / 8).max(1) };
        next.min(self.evaluated_at + step)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &PeerRecord> {
        self.record.members()
    }

    /// Returns what it knows of one process.
    pub(crate) fn member(&self, tail: Tail) -> Option<&PeerRecord> {
        self.record.get(tail)
    }

    /// Checks what must always hold, besides what is asserted where it is decided.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self) {
        self.record.check_limits();
        self.needs.check_limits();
        assert!(
            self.status != Status::Primary || self.epoch <= self.max_epoch,
            "its epoch is not known"
        );
        assert!(self.status == Status::Primary || self.conflict.is_none() && self.drain.is_none());
    }
}
