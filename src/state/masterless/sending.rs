//! Decides when a heartbeat is sent and what it says, and what follows from one that is heard.

use std::collections::{BTreeMap, VecDeque};

use super::outage::Outage;
use super::{Action, Machine, Millis, PeerRecord};
use crate::config::masterless::{MAX_DIRECTIVES, MAX_VIEWED};
use crate::event::masterless::EventKind;
use crate::wire::Tail;
use crate::wire::heartbeat::Status;
use crate::wire::heartbeat::{
    CAN_START, Directive, ELIGIBLE, Few, Heartbeat, NO_PREEMPTION, REQUEST, STRONG, View,
};

/// The number of its own heartbeats that are recognised when they come back; older ones are a
/// replay.
pub(super) const ECHOES: usize = 64;

/// The size of a group up to which every process answers a request at once; in larger groups only
/// those that must.
const FEW: usize = 32;

/// The number of heartbeats in a row, because one may be lost.
struct Burst {
    left: u32,
    next: Millis,
    pause: Millis,
    request: bool,
}

/// The primary of one service type that this process follows.
struct Followed {
    tail: Option<Tail>,
    /// Until when others are told of it.
    until: Millis,
}

/// A heartbeat, as far as others can count on it.
#[derive(Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) at: Millis,
    /// It said that this process is primary.
    primary: bool,
}

pub(super) struct Sending {
    /// The last heartbeat that got out, as far as that is known.
    pub(super) last: Said,
    /// The one before it, which counts if the last one turns out not to have got out.
    pub(super) before: Said,
    /// The last heartbeat that was to be sent, whatever came of it.
    pub(super) tried: Said,
    pub(super) outage: Option<Outage>,
    pub(super) counter: u64,
    pub(super) sent: VecDeque<Heartbeat>,
    regular: Millis,
    soon: Option<Millis>,
    burst: Option<Burst>,
    /// The next heartbeat asks for those of all others.
    request: bool,
    last_request: Option<Millis>,
    /// By service type; its own type is always there.
    followed: BTreeMap<u16, Followed>,
    /// Until when each is said.
    directives: VecDeque<(Directive, Millis)>,
}

impl Sending {
    pub(super) fn new(service: u16) -> Self {
        Sending {
            last: Said::default(),
            before: Said::default(),
            tried: Said::default(),
            outage: None,
            counter: 0,
            sent: VecDeque::new(),
            regular: 0,
            soon: None,
            burst: None,
            request: true,
            last_request: None,
            followed: BTreeMap::from([(service, Followed { tail: None, until: Millis::MAX })]),
            directives: VecDeque::new(),
        }
    }

    /// Makes the first heartbeat of a new session due.
    pub(super) fn start_anew(&mut self, now: Millis) {
        self.counter = 0;
        self.burst = None;
        self.request = true;
        self.regular = now;
    }

    pub(super) fn next(&self) -> Millis {
        let burst = self.burst.as_ref().map_or(Millis::MAX, |burst| burst.next);
        self.regular.min(burst).min(self.soon.unwrap_or(Millis::MAX))
    }

    fn hurry(&mut self, at: Millis) {
        self.soon = Some(self.soon.map_or(at, |soon| soon.min(at)));
    }

    pub(super) fn request_now(&mut self, now: Millis) {
        self.request = true;
        self.hurry(now);
    }

    /// Notes that a heartbeat did not get out: receivers of the next one may have missed much.
    pub(super) fn try_again(&mut self, now: Millis, at: Millis) {
        self.regular = self.regular.min(at.max(now + 1));
        self.request = true;
        self.last_request = None;
    }

    /// Notes that the last heartbeat did not get out: the one before counts again, and the next is
    /// due in `pause`.
    pub(super) fn fail(&mut self, outage: Outage, now: Millis, pause: Millis) {
        if self.outage.replace(outage).is_none() {
            self.last = self.before;
        }
        self.try_again(now, now + pause);
    }

    /// Notes that the last heartbeat got out. Returns the outage that has ended with it.
    pub(super) fn recover(&mut self) -> Option<Outage> {
        let outage = self.outage.take()?;
        self.last = self.tried;
        Some(outage)
    }

    fn start_burst(&mut self, burst: Burst) {
        self.burst = Some(burst);
    }

    /// Asks all others at once, and seven times more.
    pub(super) fn insist(&mut self, now: Millis, pause: Millis) {
        self.start_burst(Burst { left: 8, next: now, pause, request: true });
    }

    pub(super) fn goodbye(&mut self, now: Millis, pause: Millis) {
        self.soon = None;
        self.start_burst(Burst { left: 3, next: now, pause, request: false });
    }

    /// Returns true if everything was said that had to be said in a row.
    fn has_said_all(&self) -> bool {
        self.burst.is_none()
    }

    pub(super) fn direct(&mut self, target: Tail, rank: u8, nonce: u32, until: Millis) {
        self.directives.retain(|(directive, _)| directive.target != target);
        if self.directives.len() == MAX_DIRECTIVES {
            self.directives.pop_front();
        }
        self.directives.push_back((Directive { target, rank, nonce }, until));
    }
}

impl Machine {
    /// Returns a random time between both, both included.
    fn between(&mut self, least: Millis, most: Millis) -> Millis {
        least + (self.entropy)() % (most - least + 1)
    }

    /// Says a change of its status three times.
    pub(super) fn announce(&mut self) {
        self.sending.start_burst(Burst {
            left: 3,
            next: self.now,
            pause: self.rules.interval / 4,
            request: false,
        });
    }

    /// Makes a heartbeat due that all others must hear at once. Only for what is rare.
    pub(super) fn speak_up(&mut self) {
        self.sending.hurry(self.now);
    }

    /// Makes a heartbeat due for one process that may not have heard the last one.
    pub(super) fn trigger(&mut self) {
        let at = self.now.max(self.sending.tried.at + self.rules.interval / 8);
        self.sending.hurry(at);
    }

    /// Makes an answer due, which need not come at the same moment as all the others'.
    pub(super) fn reply(&mut self, vote: bool) {
        if self.rules.observe {
            return;
        }
        let interval = self.rules.interval;
        let claims = matches!(self.status, Status::Primary | Status::ToBecomePrimary);
        let crowd = self.record.len() > FEW && !claims;
        let since = self.now - self.sending.tried.at;
        if since < if crowd && !vote { interval } else { interval / 4 } {
            return;
        }
        let most = match (vote, crowd) {
            (true, false) => interval / 8,
            (true, true) => interval,
            (false, false) => interval / 4,
            (false, true) => self.rules.halves(3),
        };
        let at = self.now + self.between(0, most);
        self.sending.hurry(at);
    }

    /// Returns the time between two regular heartbeats: in a large group, standbys that are far
    /// from being primary send less, if so configured.
    fn interval(&self) -> Millis {
        let (members, limit) = (self.record.len() + 1, self.rules.slow_above);
        if limit == 0 || members <= limit || self.status != Status::Standby {
            return self.rules.interval;
        }
        let better = self
            .record
            .members()
            .filter(|one| one.id < self.id && one.is_candidate(&self.rules, self.now));
        if better.take(8).count() < 8 {
            return self.rules.interval;
        }
        self.rules.interval * (members.div_ceil(limit) as u64).min(5)
    }

    /// Returns until when this process may still send what it would send now, if it is held up: it
    /// may have missed others, and they may have given it up.
    fn true_until(&self) -> Millis {
        let present = self.now + self.rules.away();
        if self.status == Status::Primary { present.min(self.lease_until()) } else { present }
    }

    /// Returns, for a primary, until when no other process can be, as far as heartbeats can tell.
    /// Others count from the last heartbeat that they can have heard. While they have heard none
    /// that says that it is primary, a better process may claim the role and have it after twice
    /// the delay: by then it must have heard of this one.
    pub(super) fn lease_until(&self) -> Millis {
        let last = self.sending.last;
        if last.primary { last.at + self.rules.lease() } else { self.primary_at + self.rules.delay }
    }

    pub(super) fn send_if_due(&mut self, out: &mut Vec<Action>) {
        if self.gone || self.now < self.sending.next() {
            return;
        }
        if let Some(burst) = &mut self.sending.burst {
            if self.now >= burst.next {
                self.sending.request |= burst.request;
                burst.left -= 1;
                burst.next = self.now + burst.pause;
                if burst.left == 0 {
                    self.sending.burst = None;
                }
            }
        }
        let interval = self.interval();
        let beat = self.compose(interval);
        self.counts.sent += 1;
        let until = self.true_until();
        self.sending.tried = Said { at: self.now, primary: self.status == Status::Primary };
        if self.sending.outage.is_none() {
            self.sending.before = std::mem::replace(&mut self.sending.last, self.sending.tried);
        }
        self.sending.soon = None;
        // While it joins, everybody is asked twice in each interval, and a request may be lost.
        let (least, most) = match self.status {
            Status::Joining => (interval / 2, interval / 2),
            Status::Standby | Status::ToBecomePrimary | Status::Primary | Status::Leaving => {
                (interval * 9 / 10, interval * 11 / 10)
            }
        };
        self.sending.regular = self.now + self.between(least, most);
        if self.rules.observe && self.sending.regular >= self.collect_until {
            self.sending.regular = Millis::MAX;
        }
        if self.sending.sent.len() == ECHOES {
            self.sending.sent.pop_front();
        }
        self.sending.sent.push_back(beat);
        out.push(Action::Send { beat, until });
        if self.status == Status::Leaving && self.sending.has_said_all() {
            self.gone = true;
            out.push(Action::Tell(EventKind::Stopped));
            out.push(Action::Exit);
        }
    }

    fn compose(&mut self, interval: Millis) -> Heartbeat {
        let joining = self.status == Status::Joining;
        let pause = if self.status == Status::ToBecomePrimary { 4 } else { 2 };
        let asks = self.sending.request || joining;
        let allowed = self
            .sending
            .last_request
            .is_none_or(|last| self.now >= last + self.rules.interval / pause);
        let request = asks && allowed;
        if request {
            self.sending.request = false;
            self.sending.last_request = Some(self.now);
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(request, REQUEST)
            | flag(self.rules.quorum > 0 && self.is_strong(), STRONG)
            | flag(!self.rules.preempt, NO_PREEMPTION)
            | flag(self.rules.can_start, CAN_START)
            | flag(self.is_eligible(), ELIGIBLE);
        self.sending.counter += 1;
        self.sending.directives.retain(|(_, until)| self.now < *until);
        self.sending.directives.rotate_left(usize::from(self.sending.directives.len() > 1));
        let handed_to = self.handed_to.filter(|(_, until)| self.now < *until).map(|(tail, _)| tail);
        Heartbeat {
            session: self.session,
            counter: self.sending.counter,
            id: self.id,
            status: self.status,
            flags,
            service: self.rules.service,
            workload: self.workload,
            interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            epoch: if self.status == Status::Primary { self.epoch } else { self.max_epoch },
            origin: self.rules.origin,
            views: self.views(),
            starts: self.needs.said(self.sending.counter),
            directive: self.sending.directives.front().map(|(directive, _)| *directive),
            handed_to,
            label: self.rules.label,
        }
    }

    /// Returns the primary that this process follows: one at a time, as long as that one claims to
    /// be primary. Only a primary that it hears directly counts: what others report could go round
    /// for ever.
    fn views(&mut self) -> Few<View> {
        let mut views = Few::default();
        let (now, own) = (self.now, self.rules.service);
        self.sending.followed.retain(|_, followed| now < followed.until);
        // The own type's first: that is the vote.
        let mut services: Vec<u16> =
            self.sending.followed.keys().copied().filter(|service| *service != own).collect();
        services.insert(0, own);
        for service in services {
            if service == own && self.status == Status::Primary {
                continue;
            }
            let Some(followed) = self.sending.followed.get_mut(&service) else { continue };
            let claims =
                |one: &&PeerRecord| one.status == Status::Primary && one.service == service;
            let kept = followed.tail.and_then(|tail| self.record.get(tail)).filter(claims);
            let chosen = kept.or_else(|| self.record.primary(service));
            followed.tail = chosen.map(|one| one.id.tail());
            if let Some(one) = chosen.filter(|one| one.direct) {
                let age_ms = u32::try_from(now.saturating_sub(one.heard_at))
                    .unwrap_or(u32::MAX)
                    .min(1 << 31);
                _ = views.push(View { service, id: one.id, epoch: one.epoch, age_ms });
            }
        }
        views
    }

    /// For a while, also tells which primary of another type this process follows.
    pub(super) fn view_of(&mut self, service: u16) {
        let until = self.now + 2 * self.rules.interval;
        let room = self.sending.followed.len() < MAX_VIEWED;
        if let Some(followed) = self.sending.followed.get_mut(&service) {
            followed.until = followed.until.max(until);
        } else if room {
            self.sending.followed.insert(service, Followed { tail: None, until });
        }
    }
}
