//! What this instance holds, and its end of telling the supervisor about it.
//!
//! A thread that wants something writes it to the lifeline itself, without waiting: the kernel
//! takes it at once, or it stays here until a thread has sent it. While there is no supervisor
//! nothing is written: the next hello carries it all.

use std::collections::BTreeSet;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::lifeline::{Lead, Lifeline};
use super::presence::Presence;
use super::waiters::{NoAnswer, Waiters};
use crate::event::EventKind;
use crate::net::rt::clock::{self, monotonic_ns};
use crate::net::rt::lock::{Mutex, MutexGuard};
use crate::net::rt::threads::{self, Threads};
use crate::net::supervising::server::Server;
use crate::net::transport::link::await_ready;
use crate::net::transport::outbox::push;
use crate::net::transport::port::Stream;
use crate::state::election::{Deed, Report};
use crate::state::hello::Hello;
use crate::state::holdings::{Denial, Holdings, Upshot};
use crate::state::member::{Heard, Member, Outcome, Word};
use crate::state::settings::Settings;
use crate::state::supervisor::{Elected, Supervisor};
use crate::wire::frame::put_frame;
use crate::wire::{Control, Counted, Departure, FromHolder, Message, Scope, Setting, ToHolder};

/// The way to the supervisor, while [`Member`] says that there is one.
enum Route {
    Nowhere,
    Lifeline(Arc<Lifeline>),
    /// This instance is supervisor itself.
    Server(Arc<Server>),
}

/// How long a thread that has asked reads in the role thread's place, and would be the only one to
/// learn of the supervisor's death: much longer than an answer takes that need not wait for other
/// instances.
const LEAD_TIME: Duration = Duration::from_millis(20);

struct HoldingState {
    member: Member,
    route: Route,
    /// The messages that the kernel had no room for, or that wait for the welcome.
    unsent: Vec<u8>,
    /// Tallies that the supervisor has yet to learn of: a state, of which the newest is enough.
    changed: BTreeSet<String>,
    /// A thread is waiting for the kernel to take what is unsent.
    flushing: bool,
    verdicts: Waiters<Result<(), Denial>>,
    totals: Waiters<u64>,
}

pub(crate) struct Holding {
    // Under it: maps, sends that do not wait, the server's lock, the presence's. Never a read,
    // never a wait.
    inside: Mutex<HoldingState>,
    /// Where the program learns what becomes of what it holds.
    presence: Arc<Presence>,
    threads: Threads,
}

impl Holding {
    pub(crate) fn new(member: Member, presence: Arc<Presence>) -> Self {
        let inside = HoldingState {
            member,
            route: Route::Nowhere,
            unsent: Vec::new(),
            changed: BTreeSet::new(),
            flushing: false,
            verdicts: Waiters::new(),
            totals: Waiters::new(),
        };
        Holding { inside: Mutex::new(inside), presence, threads: Threads::default() }
    }

    // -------------------------------------------------------------------------------------------
    // for the role thread

    /// Looks at what the instance is as a member of its group.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Member) -> T) -> T {
        look(&self.inside.lock().member)
    }

    /// Takes the outcome of the last deed. Returns the next deed, and what the program must learn
    /// before. A welcome starts a lifeline, which is `lifeline`.
    pub(crate) fn on(
        self: &Arc<Self>,
        outcome: Outcome,
        lifeline: Option<&Arc<Lifeline>>,
    ) -> (Option<Report>, Deed) {
        let mut inside = self.inside.lock();
        let next = inside.member.on(clock::now(), outcome);
        if let (Some(lifeline), Deed::Follow) = (lifeline, &next.1) {
            let first = inside.member.take_first_words();
            first.into_iter().for_each(|message| put_frame(&message.into(), &mut inside.unsent));
            inside.route = Route::Lifeline(lifeline.clone());
            self.flush(&mut inside);
        }
        next
    }

    /// What a hello says; from now on changes are kept for the lifeline that it begins.
    pub(crate) fn hello(&self) -> Hello {
        let mut inside = self.inside.lock();
        inside.unsent.clear();
        inside.changed.clear();
        inside.member.hello()
    }

    /// Makes this instance supervisor: `open` makes a server of what it brings. This is done under
    /// the lock: no request comes in between that the server would never learn of.
    pub(crate) fn elected(
        self: &Arc<Self>,
        (term, registry_port, max_members): (u64, u16, usize),
        open: impl FnOnce(Elected) -> Arc<Server>,
    ) -> Arc<Server> {
        let mut inside = self.inside.lock();
        let server = open(inside.member.elected(term, registry_port, max_members));
        inside.unsent.clear();
        inside.changed.clear();
        inside.route = Route::Server(server.clone());
        let (term, settled) = (server.read(Supervisor::term), server.read(Supervisor::settled));
        let first = inside.member.opened(clock::now(), term, settled);
        self.take_held(&mut inside, server.take_own());
        for message in first {
            let answers = server.said_own(message);
            self.take_held(&mut inside, answers);
        }
        server
    }

    /// Notes that there is no supervisor any more, or that this instance is none. What was told
    /// before is still taken.
    pub(crate) fn lost(self: &Arc<Self>) {
        let mut inside = self.inside.lock();
        match std::mem::replace(&mut inside.route, Route::Nowhere) {
            Route::Server(server) => self.take_held(&mut inside, server.take_own()),
            // Also wakes the thread that waits for room on it.
            Route::Lifeline(lifeline) => _ = lifeline.stream().shutdown(Shutdown::Both),
            Route::Nowhere => {}
        }
        inside.unsent.clear();
    }

    /// As [`lost`](Holding::lost), for a supervisor whose time is over before its deed is done.
    pub(crate) fn resigned(self: &Arc<Self>) {
        self.lost();
        self.inside.lock().member.unlink(clock::now());
    }

    /// Takes the news of its own supervisorship.
    pub(crate) fn on_own_state(&self, term: u64, settled: bool) {
        self.inside.lock().member.on_own_state(term, settled);
    }

    /// Says something over the lifeline, if there is one, that this instance need not know of
    /// again.
    pub(crate) fn say_aside(self: &Arc<Self>, message: Control) {
        let mut inside = self.inside.lock();
        if let Route::Lifeline(_) = inside.route {
            put_frame(&message.into(), &mut inside.unsent);
            self.flush(&mut inside);
        }
    }

    /// The last word on a lifeline. The supervisor's reader sees it before the end of the stream.
    pub(crate) fn say_goodbye(self: &Arc<Self>) {
        let mut inside = self.inside.lock();
        put_frame(&Control::Leaving { reason: Departure::Leaves }.into(), &mut inside.unsent);
        self.flush(&mut inside);
    }

    /// Leaves for good: everything that the instance holds is void, and no thread waits any longer.
    pub(crate) fn stop(&self) {
        let mut inside = self.inside.lock();
        inside.member.leave();
        if let Route::Lifeline(lifeline) = std::mem::replace(&mut inside.route, Route::Nowhere) {
            _ = lifeline.stream().shutdown(Shutdown::Both);
        }
        inside.verdicts.stop();
        inside.totals.stop();
        drop(inside);
        self.threads.join_all();
    }

    /// Takes what the supervisor says. Returns what is left to do about it.
    pub(crate) fn hear(self: &Arc<Self>, message: Message) -> Heard {
        let mut inside = self.inside.lock();
        let heard = inside.member.hear(message);
        self.heed(&mut inside, heard)
    }

    /// Takes what this instance's own `server` has for it, if it still is its supervisor.
    pub(crate) fn collect(self: &Arc<Self>) {
        let mut inside = self.inside.lock();
        if let Route::Server(server) = &inside.route {
            let messages = server.take_own();
            self.take_held(&mut inside, messages);
        }
    }

    /// Takes messages about what this instance holds.
    fn take_held(
        self: &Arc<Self>,
        inside: &mut MutexGuard<'_, HoldingState>,
        messages: impl IntoIterator<Item = ToHolder>,
    ) {
        for message in messages {
            let heard = inside.member.hear_held(message);
            self.heed(inside, heard);
        }
    }

    /// Wakes the thread that waits for it, tells the program, and answers.
    fn heed(self: &Arc<Self>, inside: &mut MutexGuard<'_, HoldingState>, heard: Heard) -> Heard {
        let (upshot, answer) = match heard {
            Heard::Held(upshot, answer) => (upshot, answer),
            other => return other,
        };
        match upshot {
            Upshot::Quiet => {}
            Upshot::Decided { id, verdict } => inside.verdicts.answer(id, verdict),
            Upshot::Total { id, units } => inside.totals.answer(id, units),
            Upshot::Lost(held) => {
                let (resource, units) = (held.resource, held.units);
                self.presence.emit(EventKind::PermitLost { permit: held.id, resource, units });
            }
            Upshot::Changed(setting) => self.changed(setting),
            Upshot::Delivered { from, topic, payload } => {
                self.presence.emit(EventKind::Message { from, topic, payload: payload.0.into() });
            }
            Upshot::Missed(messages) => self.presence.emit(EventKind::Missed { events: messages }),
            Upshot::OverLimit { resource, in_use, limit } => {
                self.presence.emit(EventKind::OverLimit { resource, in_use, limit });
            }
        }
        if let (Some(answer), Route::Lifeline(_)) = (answer, &inside.route) {
            put_frame(&answer.into(), &mut inside.unsent);
            self.flush(inside);
        }
        Heard::Quiet
    }

    // -------------------------------------------------------------------------------------------
    // for the program

    /// Asks for a permit and waits for the answer; `None` as deadline waits for ever. Also returns
    /// the permit's number.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        (resource, units): (&str, u64),
        wait: bool,
        deadline: Option<Instant>,
    ) -> Result<(u64, Result<(), Denial>), NoAnswer> {
        let ask = |holdings: &mut Holdings| {
            let wanted = holdings.ask(resource, units, wait, monotonic_ns())?;
            Some((wanted.id, FromHolder::Acquire { wanted }))
        };
        self.ask(ask, |inside| &mut inside.verdicts, deadline)
    }

    /// Asks for the sum of what all instances count of a resource.
    pub(crate) fn total(
        self: &Arc<Self>,
        resource: &str,
        deadline: Instant,
    ) -> Result<u64, NoAnswer> {
        let ask = |holdings: &mut Holdings| holdings.ask_total(resource);
        self.ask(ask, |inside| &mut inside.totals, Some(deadline)).map(|(_, units)| units)
    }

    /// Asks a question, and waits among those who wait for an answer of its kind.
    fn ask<A: Copy>(
        self: &Arc<Self>,
        question: impl FnOnce(&mut Holdings) -> Option<(u64, FromHolder)>,
        waiters: fn(&mut HoldingState) -> &mut Waiters<A>,
        deadline: Option<Instant>,
    ) -> Result<(u64, A), NoAnswer> {
        let lifeline = self.lifeline();
        // Before anything is said: the answer shall not wake the role thread.
        let lead = lifeline.as_ref().and_then(|lifeline| lifeline.lead());
        let mut inside = self.inside.lock();
        let (id, question) = question(&mut inside.member.holdings).ok_or(NoAnswer::TooMany)?;
        let bell = waiters(&mut inside).begin(id);
        if inside.member.has_left() {
            waiters(&mut inside).stop();
        }
        self.say(&mut inside, question);
        if let Some(lead) = lead {
            drop(inside);
            self.read_answer(lead, deadline, |inside| waiters(inside).is_waiting(id));
            inside = self.inside.lock();
        }
        waiters(&mut inside).fall_asleep(id);
        let mut late = false;
        loop {
            if let Some(answer) = waiters(&mut inside).answer_of(id) {
                waiters(&mut inside).end(id);
                if answer.is_err() {
                    inside.member.holdings.release(id);
                }
                return answer.map(|answer| (id, answer));
            }
            if late {
                waiters(&mut inside).end(id);
                self.give_back(&mut inside, id);
                return Err(NoAnswer::Late);
            }
            match deadline {
                None => bell.wait(&mut inside),
                Some(deadline) => late = bell.wait_until(&mut inside, deadline).timed_out(),
            }
        }
    }

    fn lifeline(&self) -> Option<Arc<Lifeline>> {
        if let Route::Lifeline(lifeline) = &self.inside.lock().route {
            Some(lifeline.clone())
        } else {
            None
        }
    }

    /// Reads from the lifeline, in the role thread's place, as long as somebody waits, but not for
    /// long.
    fn read_answer(
        self: &Arc<Self>,
        mut lead: Lead<'_>,
        deadline: Option<Instant>,
        waits: impl Fn(&mut HoldingState) -> bool,
    ) {
        let longest = Instant::now() + LEAD_TIME;
        let deadline = deadline.map_or(longest, |deadline| deadline.min(longest));
        while let Some(message) = lead.next(deadline) {
            let mut inside = self.inside.lock();
            self.take_held(&mut inside, [message]);
            if !waits(&mut inside) {
                return;
            }
        }
    }

    /// Gives a permit back.
    pub(crate) fn release(self: &Arc<Self>, id: u64) {
        self.give_back(&mut self.inside.lock(), id);
    }

    fn give_back(self: &Arc<Self>, inside: &mut MutexGuard<'_, HoldingState>, id: u64) {
        if inside.member.holdings.release(id) {
            self.say(inside, FromHolder::Release { id });
        }
    }

    /// Returns true if the permit is held, as far as can be known: see [`Holdings::is_certain`].
    pub(crate) fn is_valid(&self, id: u64) -> bool {
        let inside = self.inside.lock();
        let holdings = &inside.member.holdings;
        holdings.holds(id) && holdings.is_certain(clock::now()) && !inside.member.has_left()
    }

    /// Makes room for a tally. Returns false if this instance counts under as many names as it may.
    pub(crate) fn begin_tally(&self, resource: &str) -> bool {
        self.inside.lock().member.holdings.begin_tally(resource)
    }

    /// Changes this instance's tally of a resource. Returns the new count.
    pub(crate) fn count(self: &Arc<Self>, resource: &str, change: impl FnOnce(u64) -> u64) -> u64 {
        let mut inside = self.inside.lock();
        let units = inside.member.holdings.count(resource, change);
        if let Route::Server(_) = &inside.route {
            let counted = Counted { resource: resource.into(), units };
            self.say(&mut inside, FromHolder::Count { counted });
        } else if inside.member.is_linked() {
            // Not a word for each: the newest is enough.
            inside.changed.insert(resource.into());
            self.flush(&mut inside);
        }
        units
    }

    pub(crate) fn counted(&self, resource: &str) -> u64 {
        self.inside.lock().member.holdings.counted(resource)
    }

    /// Looks at the settings as this instance knows them.
    pub(crate) fn settings<T>(&self, look: impl FnOnce(&Settings) -> T) -> T {
        look(self.inside.lock().member.holdings.settings())
    }

    /// Takes a setting that this instance has just set, which makes it see what it did.
    pub(crate) fn merge(&self, setting: Setting) {
        let mut inside = self.inside.lock();
        if inside.member.holdings.merge(setting.clone()) {
            self.changed(setting);
        }
    }

    fn changed(&self, setting: Setting) {
        if setting.scope == Scope::Program {
            self.presence.emit(EventKind::Setting { key: setting.key, value: setting.value });
        }
    }

    fn say(self: &Arc<Self>, inside: &mut MutexGuard<'_, HoldingState>, message: FromHolder) {
        match inside.member.say(message) {
            Word::Kept => {}
            Word::Lifeline(message) => {
                put_frame(&message.into(), &mut inside.unsent);
                self.flush(inside);
            }
            Word::Own(message) => {
                if let Route::Server(server) = &inside.route {
                    let answers = server.said_own(message);
                    self.take_held(inside, answers);
                }
            }
        }
    }

    /// Passes to the kernel what it takes, and leaves the rest to a thread.
    fn flush(self: &Arc<Self>, inside: &mut MutexGuard<'_, HoldingState>) {
        let HoldingState {
            route: Route::Lifeline(lifeline),
            unsent,
            changed,
            member,
            flushing,
            ..
        } = &mut **inside
        else {
            return;
        };
        let stream = lifeline.stream();
        push(stream, unsent);
        if unsent.is_empty() && !changed.is_empty() {
            for resource in std::mem::take(changed) {
                let units = member.holdings.counted(&resource);
                put_frame(
                    &FromHolder::Count { counted: Counted { resource, units } }.into(),
                    unsent,
                );
            }
            push(stream, unsent);
        }
        if !unsent.is_empty() && !*flushing {
            let (this, stream) = (self.clone(), stream.clone());
            // Without a thread for it, it goes with what is said next.
            *flushing = self.threads.spawn(threads::FLUSH, move || this.see_off(&stream)).is_ok();
        }
    }

    /// Waits until the kernel has taken what is unsent, or the lifeline has ended.
    fn see_off(self: &Arc<Self>, stream: &Arc<Stream>) {
        loop {
            let waited = await_ready(stream, PollFlags::OUT, None).is_ok();
            let mut inside = self.inside.lock();
            let ours = match &inside.route {
                Route::Lifeline(present) => Arc::ptr_eq(present.stream(), stream),
                Route::Server(_) | Route::Nowhere => false,
            };
            if ours {
                self.flush(&mut inside);
            }
            // If the system does not let us wait (no memory), it goes with what is said next.
            if !ours || !waited || inside.unsent.is_empty() {
                inside.flushing = false;
                if !ours {
                    self.flush(&mut inside); // another lifeline may have begun and been left to us
                }
                return;
            }
        }
    }
}
