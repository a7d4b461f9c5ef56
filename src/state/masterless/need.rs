//! Decides which processes there should be: which process starts a missing one, and which leaves
//! when there are too many.

use std::collections::VecDeque;

use super::record::PeerRecord;
use super::{Action, Machine, Millis};
use crate::config::masterless::{MAX_PENDING_STARTS, Need};
use crate::event::masterless::{EventKind, RoleCause};
use crate::wire::heartbeat::Status;
use crate::wire::heartbeat::{CAN_START, Few, Heartbeat, MAX_LISTED, Start};
use crate::wire::{PeerId, Tail};

/// A start that a process has announced. It counts as one process until that one shows up, or for a
/// time.
struct Pending {
    service: u16,
    nonce: u32,
    until: Millis,
    /// True for this process's own start, which it keeps announcing.
    own: Option<u8>,
}

/// This process is about to start another, unless a process that should rather do it says so.
struct Intent {
    service: u16,
    nonce: u32,
    load: u8,
    since: Millis,
}

/// A process of a needed type that has died, and counts as present for a while, because it may come
/// back.
struct Missing {
    service: u16,
    tail: Tail,
    until: Millis,
}

pub(super) struct Needs {
    table: Vec<Need>,
    pending: VecDeque<Pending>,
    missing: VecDeque<Missing>,
    intent: Option<Intent>,
    /// Since when there are too few, by the place in the table.
    short_since: Vec<Option<Millis>>,
    surplus_since: Option<Millis>,
}

impl Needs {
    pub(super) fn new(table: Vec<Need>) -> Self {
        let short_since = vec![None; table.len()];
        Needs {
            table,
            pending: VecDeque::new(),
            missing: VecDeque::new(),
            intent: None,
            short_since,
            surplus_since: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn shift(&mut self, gap: Millis) {
        self.pending.iter_mut().for_each(|pending| pending.until += gap);
        self.missing.iter_mut().for_each(|missing| missing.until += gap);
        let since = self.short_since.iter_mut().chain([&mut self.surplus_since]).flatten();
        since.for_each(|since| *since += gap);
        self.intent = None;
    }

    /// Notes a dead process; no process starts another for it before `until`.
    pub(super) fn missing_from(&mut self, member: &PeerRecord, until: Millis) {
        let counts = member.direct && self.table.iter().any(|need| need.service == member.service);
        if counts {
            if self.missing.len() == MAX_PENDING_STARTS {
                self.missing.pop_front();
            }
            self.missing.push_back(Missing {
                service: member.service,
                tail: member.id.tail(),
                until,
            });
        }
    }

    /// Returns the starts to announce: this process's own, four at a time.
    pub(super) fn said(&self, counter: u64) -> Few<Start> {
        let mut starts = Few::default();
        let intent = self.intent.iter().map(|one| (one.service, one.nonce, one.load, false));
        let own =
            self.pending.iter().filter_map(|one| Some((one.service, one.nonce, one.own?, true)));
        let all: Vec<_> = intent.chain(own).collect();
        let turn = if all.len() > MAX_LISTED { counter as usize % all.len() } else { 0 };
        for &(service, nonce, load, started) in
            all.iter().cycle().skip(turn).take(all.len().min(MAX_LISTED))
        {
            _ = starts.push(Start { service, nonce, load, started });
        }
        starts
    }

    /// Takes another process's announced starts, and whether that process is itself a start that
    /// was waited for.
    pub(super) fn heard(&mut self, beat: &Heartbeat, workload: u16, id: PeerId, until: Millis) {
        if beat.origin != 0 {
            self.pending.retain(|one| one.nonce != beat.origin);
        }
        self.missing.retain(|one| one.tail != beat.id.tail());
        if self.is_empty() {
            return;
        }
        for start in beat.starts.iter() {
            if start.started {
                self.expect(Pending {
                    service: start.service,
                    nonce: start.nonce,
                    until,
                    own: None,
                });
            } else if let Some(intent) = &self.intent {
                if intent.service == start.service && (start.load, beat.id) < (load(workload), id) {
                    self.intent = None;
                }
            }
        }
    }

    /// Nobody has heard of the start that this process announced.
    pub(super) fn take_back(&mut self) {
        self.intent = None;
    }

    fn expect(&mut self, pending: Pending) {
        if self.pending.iter().all(|one| one.nonce != pending.nonce) {
            if self.pending.len() == MAX_PENDING_STARTS {
                self.pending.pop_front();
            }
            self.pending.push_back(pending);
        }
    }

    fn forget_old(&mut self, now: Millis) {
        self.pending.retain(|one| now < one.until);
        self.missing.retain(|one| now < one.until);
    }

    fn expected(&self, service: u16) -> usize {
        let pending = self.pending.iter().filter(|one| one.service == service).count();
        pending + self.missing.iter().filter(|one| one.service == service).count()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check_limits(&self) {
        assert!(
            self.pending.len() <= MAX_PENDING_STARTS && self.missing.len() <= MAX_PENDING_STARTS
        );
    }
}

/// Returns the rough workload of a process: the process with the smallest one starts others.
fn load(workload: u16) -> u8 {
    (workload >> 14) as u8
}

impl Machine {
    /// Starts what is missing, and leaves if this process is one too many.
    pub(super) fn look_after_needs(&mut self, out: &mut Vec<Action>) {
        if self.needs.is_empty() || matches!(self.status, Status::Joining | Status::Leaving) {
            return;
        }
        self.needs.forget_old(self.now);
        self.start_what_is_missing(out);
        self.leave_if_surplus(out);
    }

    fn count(&self, service: u16) -> usize {
        let others = self.record.members().filter(|one| one.service == service && one.direct);
        others.count() + usize::from(service == self.rules.service)
    }

    fn start_what_is_missing(&mut self, out: &mut Vec<Action>) {
        let interval = self.rules.interval;
        // One that was admitted later does not know of those who died before.
        let informed =
            self.now >= self.admitted_at + 5 * interval && self.now >= self.relisten_until;
        let able = informed
            && self.rules.can_start
            && self.leaving_until.is_none()
            && !self.is_failing()
            && self.is_least_loaded();
        for place in 0..self.needs.table.len() {
            let Need { service, min, .. } = self.needs.table[place];
            if self.count(service) + self.needs.expected(service) >= usize::from(min) {
                self.needs.short_since[place] = None;
                self.needs.intent.take_if(|intent| intent.service == service);
                continue;
            }
            let since = *self.needs.short_since[place].get_or_insert(self.now);
            if !able || self.now < since + interval {
                continue;
            }
            let ripe = match &self.needs.intent {
                None => {
                    let nonce = self.nonce();
                    let load = load(self.workload);
                    self.needs.intent = Some(Intent { service, nonce, load, since: self.now });
                    self.speak_up();
                    false
                }
                Some(intent) => {
                    intent.service == service && self.now >= intent.since + self.rules.window()
                }
            };
            if let Some(intent) = self.needs.intent.take_if(|_| ripe) {
                let Intent { nonce, load, .. } = intent;
                let until = self.now + 15 * interval;
                self.needs.expect(Pending { service, nonce, until, own: Some(load) });
                // First it is said, then done: if this process dies in between, nobody else starts
                // one more.
                self.speak_up();
                self.send_if_due(out);
                out.push(Action::Tell(EventKind::Spawn { service, nonce }));
            }
        }
        if !able {
            self.needs.intent = None;
        }
    }

    /// Returns true if no other process should start one rather than this one.
    fn is_least_loaded(&self) -> bool {
        let own = (load(self.workload), self.id);
        let mut others = self.record.members().filter(|one| {
            one.flags & CAN_START != 0
                && one.status != Status::Joining
                && !one.is_suspected(&self.rules, self.now)
        });
        !others.any(|one| (load(one.workload), one.id) < own)
    }

    /// Leaves if this process is the youngest standby of a type with too many.
    fn leave_if_surplus(&mut self, out: &mut Vec<Action>) {
        let service = self.rules.service;
        let need = self.needs.table.iter().find(|need| need.service == service);
        let too_many = need
            .is_some_and(|need| need.max.is_some_and(|max| self.count(service) > usize::from(max)));
        let age = |id: PeerId| (id.sequence(), id.tail());
        let mut standbys = self
            .record
            .members()
            .filter(|one| one.service == service && one.status == Status::Standby);
        let youngest =
            self.status == Status::Standby && !standbys.any(|one| age(one.id) > age(self.id));
        drop(standbys);
        if !too_many || !youngest || self.leaving_until.is_some() {
            self.needs.surplus_since = None;
        } else if self.now
            >= *self.needs.surplus_since.get_or_insert(self.now) + 20 * self.rules.interval
        {
            self.leaving_until = Some(self.now);
            self.say_goodbye(RoleCause::Surplus, out);
        }
    }
}
