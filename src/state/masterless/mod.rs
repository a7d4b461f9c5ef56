//! A masterless group: what one process of it decides, from what it hears of all others.
//!
//! There is no master. Every process broadcasts a heartbeat each interval and keeps its own record
//! of all others; from the record alone follows what it does. Two numbers carry all authority, and
//! mixing them is the mistake that naive versions make: *who should be* primary is the smallest
//! identifier, *who is* primary is the largest token, an epoch that grows with each acquisition and
//! the identifier of its owner.
//!
//! | status | becomes | when |
//! |---|---|---|
//! | joining | standby | all others have had three intervals to say who they are, and who joins at the same time and is smaller was let in first |
//! | standby | to become primary | it is the smallest, and there is no primary, or that one is suspected, or it is worse and may be relieved |
//! | to become primary | primary | nobody claims to be primary, and all who could have objected have had the time to, or the last primary has named it |
//! | to become primary | standby | a better one is there, or the primary is alive and not to be relieved |
//! | primary | standby | a better one has claimed the role and the work is handed over; more others follow a second primary; it was away, or could say nothing, for too long |
//!
//! The rooms: `rules` is what a process is to be, `record` what is known of the others, `claim` the
//! table above, `conflict` what two primaries settle, `handover` how a role ends in order,
//! `hearing` what others say, `sending` when and what is said, `outage` what follows when nothing
//! of that gets out, `need` which processes are to be started. One entry, [`Machine::step`]; the
//! time is an argument, in milliseconds of a clock that also runs while the system sleeps.
//!
//! Nobody becomes primary without having claimed it for a while, not even who knows of no other:
//! one who leads may stand still for as long as its lease, and who may not lead may be allowed to
//! at any moment.
//!
//! Invariant: it is primary only while its record holds no better claim that it has not settled
//! with; its epoch is never larger than the largest it knows; and nothing in it grows past a limit.

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
    /// An authentic heartbeat has come, of this process itself perhaps.
    Heard(Heartbeat),
    /// The program has brought its work to an end where another can go on.
    HandoverReady,
    Leave,
    /// This process is to have another rank.
    Rank(u8),
    /// Another one is.
    Direct {
        target: Tail,
        rank: u8,
    },
    Workload(u16),
    /// The kernel says that this one has ended. It counts as suspected, and no more than that.
    Doubt(Tail),
    /// The last heartbeat could not be sent to anybody, for this reason of the system's.
    NotSent {
        errno: i32,
    },
    /// One has been sent. It need not be said each time, but after others were not.
    Sent,
}

/// What is to be done, in this order.
// A handful at a time, in a list that is used again and again.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Not later than `until`: then it has become untrue, and was [not sent](Input::NotSent).
    Send {
        beat: Heartbeat,
        until: Millis,
    },
    /// What waits in the socket is from before a pause, and is to be thrown away.
    Flush,
    Tell(EventKind),
    /// It has left.
    Exit,
}

/// How often what has happened, since the start.
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
    /// The longest time between two heartbeats of one process that were not lost: what the delay is
    /// measured by.
    pub(crate) longest_gap: Millis,
}

/// Where chance comes from: the system's in a process, a seed's in a simulation.
pub(crate) type Entropy = Box<dyn FnMut() -> u64 + Send>;

pub(crate) struct Machine {
    rules: Rules,
    entropy: Entropy,
    /// The time of the last step.
    now: Millis,
    /// When everything was last looked at. What is heard meanwhile does not put off the next time.
    evaluated_at: Millis,
    /// Something has changed since.
    undecided: bool,
    id: PeerId,
    session: u64,
    status: Status,
    workload: u16,
    /// Its own, while it is primary.
    epoch: u64,
    max_epoch: u64,
    max_sequence: u32,
    record: Record,
    /// Until when it listens before it asks to be let in.
    collect_until: Millis,
    admitted_at: Millis,
    primary_at: Millis,
    /// After a pause: until when it claims nothing.
    relisten_until: Millis,
    claim: Claim,
    drain: Option<Drain>,
    /// Jobs of the program that run under this role.
    jobs: usize,
    conflict: Option<Conflict>,
    /// When it was last said that somebody follows this process.
    followed_at: Millis,
    /// Since when others know a larger epoch than this primary's own.
    outdated_since: Option<Millis>,
    handed_to: Option<(Tail, Millis)>,
    /// A primary that did not yield, until when it is left in peace, and for how long the next
    /// time.
    stubborn: Option<(Tail, Millis, Millis)>,
    /// With a quorum: since when there are enough.
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
    /// One that is about to join, with its first request in `out`.
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

    /// Takes in what has happened at `now`, and adds what is to be done to `out`.
    ///
    /// Only [`Input::Tick`] decides what follows from it, and from silence. Whoever calls it has
    /// handed in all heartbeats that had come before `now`, for silence counts only while somebody
    /// listens, and the first of many that wait unread may hide an objection. A clock that goes
    /// back stands still here.
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

    /// A pause of this process: it was stopped, or the whole system slept. What it has not heard
    /// meanwhile says nothing about others, and what others think of it now depends on how long it
    /// was.
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

    /// Another process has this one's tail: a copy of its memory, or two generators of equal
    /// chance. This one takes another identity and joins again.
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

    /// Lets this process in, if it has listened for long enough.
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

    /// The youngest from now on.
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

    /// Another process wants this one to have a rank.
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

    /// Whoever leaves has given up its rank for good.
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

    /// Every change of this process's status goes through here.
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

    /// What fences this process's work, while it is primary.
    pub(crate) fn token(&self) -> Option<Token> {
        (self.status == Status::Primary).then_some(Token { epoch: self.epoch, id: self.id })
    }

    /// True if it is primary and no other can be, as far as heartbeats can tell: also before the
    /// first step after a pause.
    pub(crate) fn lease_ok(&self, now: Millis) -> bool {
        self.lease_left(now).is_some()
    }

    /// How long that is true without another heartbeat of its own.
    pub(crate) fn lease_left(&self, now: Millis) -> Option<Millis> {
        let until = (self.status == Status::Primary).then(|| self.lease_until());
        until?.checked_sub(now.max(self.now))
    }

    /// When `step` is to be called with [`Input::Tick`] at the latest.
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

    /// What must be so whatever happens, besides what is asserted where it is decided.
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
