//! The supervisor's office: the decisions of `state/supervisor` behind one short lock, and the
//! deeds that follow.
//!
//! Everything is sent without waiting: the kernel takes it at once, or it stays here and the
//! announcer sends it when the kernel has room again. What is a state rather than a message
//! (rosters, the registry, settled) is not kept for one who does not read: it gets the newest state
//! when it reads again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags};

use super::watchdog::Pulse;
use crate::config::{MAX_UNSENT, REAP_WAIT};
use crate::event::EventKind;
use crate::net::rt::clock::{self, unix_ms};
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::waker::Waker;
use crate::net::transport::link::has_ended;
use crate::net::transport::outbox::{Outbox, push};
use crate::net::transport::port::{self, Stream};
use crate::state::hello::Hello;
use crate::state::supervisor::{Action, Cursor, Input, OWN, Supervisor};
use crate::state::term::Last;
use crate::state::{ConnId, Time};
use crate::sys::Kind;
use crate::wire::frame::put_frame;
use crate::wire::{Departure, ElectionCause, Entry, Fault, Message, Refusal, Status};

/// Someone who is told of changes: a member on its lifeline, or a watcher on the registry port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Listener {
    Member(ConnId),
    Watcher(ConnId),
}

struct Told {
    outbox: Arc<Outbox>,
    cursor: Cursor,
    /// The kernel had no room for what is in the outbox.
    blocked: bool,
    /// Rosters were left out; it needs a whole one.
    roster_behind: bool,
    /// Settings were left out; it needs all of them.
    settings_behind: bool,
}

impl Told {
    fn new(stream: &Arc<Stream>, cursor: Cursor) -> Self {
        let outbox = Arc::new(Outbox::new(stream.clone()));
        Told { outbox, cursor, blocked: false, roster_behind: false, settings_behind: false }
    }

    /// Puts a message into the outbox, unless it can wait.
    fn put(&mut self, message: &Message) {
        log::trace!("-> {}", message.name());
        if !self.can_wait(message) {
            self.outbox.put_frame(message);
        }
    }

    /// Gives the kernel what is in the outbox; what it does not take stays.
    fn flush(&mut self) {
        self.blocked = !self.outbox.flush();
    }

    /// True if the message need not be sent now: one who is behind gets the newest state once it
    /// reads again. What tells of a moment that will have passed by then is left out.
    fn can_wait(&mut self, message: &Message) -> bool {
        match message {
            Message::Roster { .. } => self.roster_behind |= self.blocked,
            Message::Setting { .. } => self.settings_behind |= self.blocked,
            Message::OverLimit { .. } => {}
            _ => return false,
        }
        self.blocked
    }
}

struct Desk {
    supervisor: Supervisor,
    told: BTreeMap<Listener, Told>,
    /// Those with something unsent.
    blocked: BTreeSet<Listener>,
    /// Whom the announcer has yet to look at.
    behind: BTreeSet<Listener>,
    /// The version of the state for which the members were put into `behind`.
    announced: u64,
    probes: Vec<u16>,
    /// For our own instance, in the order in which it was decided.
    own: VecDeque<Message>,
    closing: bool,
}

/// What the supervisor's own instance is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Settled {
        term: u64,
        members: u32,
    },
    TermRaised {
        term: u64,
    },
    /// There is something to be [taken](Office::take_own).
    Own,
    /// Something that the program is to be told.
    Event(EventKind),
}

/// What stays the same for one supervisorship.
pub(crate) struct Facts {
    pub(crate) group: String,
    pub(crate) port: u16,
    pub(crate) me: Entry,
    pub(crate) registry_port: u16,
    pub(crate) cause: ElectionCause,
    /// For how long a subordinate may give no good answer, if that is watched.
    pub(crate) hang_timeout: Option<Duration>,
    /// The program's own sign of life.
    pub(crate) pulse: Arc<Pulse>,
}

pub(crate) struct Office {
    // The one lock of the supervisor. Under it are decisions and sends that do not wait; never a
    // read, never a wait.
    desk: Mutex<Desk>,
    facts: Facts,
    since: SystemTime,
    waker: Waker,
    /// Rung when the group is settled, and when the office closes: askers may wait for that on
    /// their own threads.
    settled: Condvar,
    stopped: AtomicBool,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
}

/// How many are told under one hold of the lock, so that requests get their turn in between.
const BATCH: usize = 64;

/// How long a look at whether somebody listens may take. The kernel answers at once, unless the
/// queue of the one asked is full, and then it lives.
const PROBE_TIMEOUT: Duration = Duration::from_millis(10);

impl Office {
    pub(crate) fn new(
        facts: Facts,
        waker: Waker,
        open: impl FnOnce(Time, &mut Vec<Action>) -> Supervisor,
        notice: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let mut actions = Vec::new();
        let supervisor = open(clock::now(), &mut actions);
        let desk = Desk {
            supervisor,
            told: BTreeMap::new(),
            blocked: BTreeSet::new(),
            behind: BTreeSet::new(),
            announced: 0,
            probes: Vec::new(),
            own: VecDeque::new(),
            closing: false,
        };
        let office = Arc::new(Office {
            desk: Mutex::new(desk),
            facts,
            since: SystemTime::now(),
            waker,
            settled: Condvar::new(),
            stopped: AtomicBool::new(false),
            notice: Box::new(notice),
        });
        // Whoever opens an office looks for itself what there is to notice.
        office.perform(&mut office.desk.lock(), actions);
        office
    }

    /// Reads the state, under the lock.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Supervisor) -> T) -> T {
        look(&self.desk.lock().supervisor)
    }

    pub(crate) fn status(&self) -> Status {
        self.read(|supervisor| Status {
            group: self.facts.group.clone(),
            port: self.facts.port,
            supervisor: self.facts.me.name.clone(),
            supervisor_admin: self.facts.me.admin,
            registry_port: self.facts.registry_port,
            term: supervisor.term(),
            settled: supervisor.settled(),
            members: supervisor.registry().len() as u32,
            since_ms: unix_ms(self.since),
            cause: self.facts.cause,
        })
    }

    /// Takes a hello. True if its sender is a member now; else it has been refused and its
    /// connection closed.
    pub(crate) fn hello(&self, conn: ConnId, stream: &Arc<Stream>, hello: Hello) -> bool {
        self.reap(&hello.entry);
        let name = hello.entry.name.clone();
        let mut desk = self.desk.lock();
        if desk.closing {
            drop(desk);
            return self.refuse(stream, Refusal::SteppingDown, "another instance takes over");
        }
        let member = Listener::Member(conn);
        let cursor = desk.supervisor.member_cursor();
        desk.told.insert(member, Told::new(stream, cursor));
        let notices = self.decide(&mut desk, Input::Hello { conn, hello });
        let admitted = desk.supervisor.is_member(conn);
        if admitted {
            // The welcome has said all that was decided until now.
            let Desk { told, supervisor, .. } = &mut *desk;
            told.get_mut(&member)
                .into_iter()
                .for_each(|told| told.cursor = supervisor.member_cursor());
        } else {
            desk.told.remove(&member);
        }
        drop(desk);
        log::debug!(
            "{}: {name:?} {}",
            self.facts.me.name,
            if admitted { "joined" } else { "was refused" }
        );
        self.give(notices);
        admitted
    }

    /// If the name's holder is dying, waits for its end, so that its successor is not refused.
    fn reap(&self, entry: &Entry) {
        let desk = self.desk.lock();
        let Some(holder) = desk.supervisor.rival(entry) else { return };
        let Some(stream) =
            desk.told.get(&Listener::Member(holder)).map(|told| told.outbox.stream().clone())
        else {
            return;
        };
        drop(desk);
        if has_ended(&stream, REAP_WAIT) {
            self.ended(holder);
        }
    }

    pub(crate) fn said(&self, conn: ConnId, message: Message) {
        let mut desk = self.desk.lock();
        let actions = self.consider(&mut desk, Input::Said { conn, message });
        let outbox = match &actions[..] {
            // Most are answered, and nobody else is concerned: then the kernel delivers the answer
            // while others decide. What concerns several is sent under the lock, so that all have
            // it in the order of the decisions.
            [Action::Send { conn: asker, message }] if *asker == conn => {
                self.put(&mut desk, conn, message)
            }
            _ => {
                let notices = self.perform(&mut desk, actions);
                drop(desk);
                return self.give(notices);
            }
        };
        drop(desk);
        if outbox.is_some_and(|outbox| !outbox.flush()) {
            self.deliver(&mut self.desk.lock(), Listener::Member(conn));
        }
    }

    /// Says something to a member that is nobody's decision.
    pub(crate) fn say(&self, conn: ConnId, message: Message) {
        self.send(&mut self.desk.lock(), Listener::Member(conn), &[message]);
    }

    /// Answers a member that asks whether this supervisor lives. Under the lock of everything else
    /// that the supervisor does: if that hangs, so does this.
    pub(crate) fn probed(&self, conn: ConnId, number: u64, within_ns: u64) {
        self.say(conn, self.facts.pulse.answer(number, within_ns));
    }

    pub(crate) fn hang_timeout(&self) -> Option<Duration> {
        self.facts.hang_timeout
    }

    /// Has our own instance tell the program something.
    pub(crate) fn report(&self, event: EventKind) {
        (self.notice)(Notice::Event(event));
    }

    /// Takes what our own instance says, whose lock is held; gives what it is to be told.
    pub(crate) fn said_own(&self, message: Message) -> VecDeque<Message> {
        let mut desk = self.desk.lock();
        let mut notices = self.decide(&mut desk, Input::Said { conn: OWN, message });
        let own = std::mem::take(&mut desk.own);
        drop(desk);
        notices.retain(|notice| *notice != Notice::Own);
        self.give(notices);
        own
    }

    /// What our own instance has yet to be told.
    pub(crate) fn take_own(&self) -> VecDeque<Message> {
        std::mem::take(&mut self.desk.lock().own)
    }

    /// Answers what may be asked at the registry port, except for a watch.
    pub(crate) fn answer(&self, question: &Message) -> Vec<Message> {
        let mut answer = Vec::new();
        match question {
            Message::List {} => self.read(|supervisor| supervisor.list(&mut answer)),
            Message::LookUp { name } => {
                self.read(|supervisor| supervisor.look_up(name, &mut answer))
            }
            Message::StatusQuery {} => answer.push(Message::StatusAnswer { status: self.status() }),
            question => return self.ask(question),
        }
        answer
    }

    /// Answers a question about resources, settings or messages, once all who must be told have
    /// been told. May wait until the group is settled.
    fn ask(&self, question: &Message) -> Vec<Message> {
        let mut desk = self.desk.lock();
        loop {
            if desk.closing {
                return vec![Message::rejected(
                    Refusal::SteppingDown,
                    "another instance takes over",
                )];
            }
            log::debug!("{}: asked for {}", self.facts.me.name, question.name());
            let mut actions = Vec::new();
            let answer = desk.supervisor.ask(question.clone(), &mut actions);
            if matches!(answer[..], [Message::NotDone { fault: Fault::NotSettled, .. }]) {
                self.settled.wait(&mut desk);
                continue;
            }
            let notices = self.perform(&mut desk, actions);
            drop(desk);
            self.give(notices);
            return answer;
        }
    }

    /// The member's bytes are no message.
    pub(crate) fn broke(&self, conn: ConnId, why: String) {
        let notices = self.decide(&mut self.desk.lock(), Input::Broke { conn, why });
        self.give(notices);
    }

    pub(crate) fn ended(&self, conn: ConnId) {
        let mut desk = self.desk.lock();
        desk.told.remove(&Listener::Member(conn));
        let left = desk.supervisor.departure(conn);
        let notices = self.decide(&mut desk, Input::Ended { conn });
        drop(desk);
        if let Some((name, cause)) = left {
            log::debug!("{}: `{name}` is gone: {cause}", self.facts.me.name);
        }
        self.give(notices);
    }

    /// Sends the whole registry to a watcher, and from then on what changes.
    pub(crate) fn watch(&self, conn: ConnId, stream: &Arc<Stream>) {
        let mut desk = self.desk.lock();
        let watcher = Listener::Watcher(conn);
        let cursor = desk.supervisor.watcher_cursor();
        desk.told.insert(watcher, Told::new(stream, cursor));
        // The predecessor's end first: after the listing it would count as one that nobody
        // explained.
        let mut messages: Vec<Message> = desk.supervisor.predecessor().into_iter().collect();
        desk.supervisor.list(&mut messages);
        self.send(&mut desk, watcher, &messages);
    }

    pub(crate) fn unwatch(&self, conn: ConnId) {
        self.desk.lock().told.remove(&Listener::Watcher(conn));
    }

    /// Takes no more members. Gives what is to be kept of this supervisorship, which from now on
    /// stays so.
    pub(crate) fn begin_closing(&self, reason: Departure) -> Last {
        let mut desk = self.desk.lock();
        desk.closing = true;
        self.settled.notify_all();
        desk.supervisor.last(reason)
    }

    /// Says goodbye to all members and watchers and ends their connections.
    pub(crate) fn close(&self, reason: Departure) {
        let mut desk = self.desk.lock();
        desk.closing = true;
        let listeners: Vec<Listener> = desk.told.keys().copied().collect();
        for listener in listeners {
            if matches!(listener, Listener::Member(_)) {
                self.send(&mut desk, listener, &[Message::Leaving { reason }]);
            }
            _ = desk.told[&listener].outbox.stream().shutdown(Shutdown::Both);
        }
        drop(desk);
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn registry_port(&self) -> u16 {
        self.facts.registry_port
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The announcer: sleeps until there is something to tell, until the kernel takes more for one
    /// that was behind, or until it is time to ask whether missing members live. While nothing
    /// happens, it sleeps for ever.
    pub(crate) fn announce(&self) {
        while !self.is_closed() && self.waker.is_usable() {
            self.sleep();
            self.flush();
            while self.tell_some() {}
            self.probe();
        }
    }

    fn sleep(&self) {
        let desk = self.desk.lock();
        let streams: Vec<Arc<Stream>> = desk
            .blocked
            .iter()
            .filter_map(|listener| desk.told.get(listener))
            .map(|told| told.outbox.stream().clone())
            .collect();
        let wake_at = desk.supervisor.wake_at();
        drop(desk);
        let mut fds: Vec<PollFd<'_>> =
            streams.iter().map(|stream| PollFd::new(&**stream, PollFlags::OUT)).collect();
        _ = self.waker.wait(&mut fds, wake_at.map(|at| at.saturating_sub(clock::now())));
    }

    /// Sends on what the kernel had no room for.
    fn flush(&self) {
        let mut desk = self.desk.lock();
        for listener in std::mem::take(&mut desk.blocked) {
            let Some(told) = desk.told.get_mut(&listener) else { continue };
            told.flush();
            if told.blocked {
                desk.blocked.insert(listener);
            } else {
                desk.behind.insert(listener);
            }
        }
    }

    /// Tells some of those who are behind what is new; false if nobody is behind any more.
    fn tell_some(&self) -> bool {
        let mut desk = self.desk.lock();
        for _ in 0..BATCH {
            let Some(listener) = desk.behind.pop_first() else { return false };
            let Desk { told, supervisor, .. } = &mut *desk;
            let Some(told) = told.get_mut(&listener) else { continue };
            if told.blocked {
                continue; // looked at again once the kernel has taken it
            }
            let mut messages = Vec::new();
            if let (true, Listener::Member(conn)) =
                (std::mem::take(&mut told.roster_behind), listener)
            {
                messages.push(supervisor.whole_roster(conn));
            }
            if std::mem::take(&mut told.settings_behind) {
                messages.extend(supervisor.all_settings());
            }
            supervisor.news(&mut told.cursor, &mut messages);
            self.send(&mut desk, listener, &messages);
        }
        true
    }

    fn probe(&self) {
        let mut desk = self.desk.lock();
        if desk.supervisor.wake_at().is_some_and(|at| at <= clock::now()) {
            let notices = self.decide(&mut desk, Input::Woken);
            let probes = std::mem::take(&mut desk.probes);
            drop(desk);
            self.give(notices);
            for admin in probes {
                if matches!(port::connect(port::here(admin), Kind::Peer, PROBE_TIMEOUT), Ok(None)) {
                    let notices = self.decide(&mut self.desk.lock(), Input::Dead { admin });
                    self.give(notices);
                }
            }
        }
    }

    fn decide(&self, desk: &mut Desk, input: Input) -> Vec<Notice> {
        let actions = self.consider(desk, input);
        self.perform(desk, actions)
    }

    fn consider(&self, desk: &mut Desk, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        let wake_at = desk.supervisor.wake_at();
        desk.supervisor.on(clock::now(), input, &mut actions);
        let sooner =
            desk.supervisor.wake_at().is_some_and(|at| wake_at.is_none_or(|before| at < before));
        if sooner {
            self.waker.wake(); // the announcer sleeps until the time it knew of
        }
        actions
    }

    fn perform(&self, desk: &mut Desk, actions: Vec<Action>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for action in actions {
            match action {
                Action::Send { conn, message } => {
                    self.send(desk, Listener::Member(conn), &[message])
                }
                Action::Close { conn } => {
                    if let Some(told) = desk.told.get(&Listener::Member(conn)) {
                        _ = told.outbox.stream().shutdown(Shutdown::Both);
                    }
                }
                Action::Tell { conns, message } => self.tell(desk, &conns, &message),
                Action::Own { message } => {
                    desk.own.push_back(message);
                    if notices.last() != Some(&Notice::Own) {
                        notices.push(Notice::Own);
                    }
                }
                Action::Probe { admin } => desk.probes.push(admin),
                Action::Announce => self.mark_behind(desk),
                Action::Settled { term, members } => {
                    self.settled.notify_all();
                    notices.push(Notice::Settled { term, members });
                }
                Action::TermRaised { term } => notices.push(Notice::TermRaised { term }),
            }
        }
        notices
    }

    /// Outside the lock: what is noticed takes other locks.
    fn give(&self, notices: Vec<Notice>) {
        notices.into_iter().for_each(&self.notice);
    }

    /// All watchers are behind after a change of the registry; members only after one of the state.
    fn mark_behind(&self, desk: &mut Desk) {
        let version = desk.supervisor.state_version();
        let first =
            if desk.announced == version { Listener::Watcher(0) } else { Listener::Member(0) };
        desk.announced = version;
        let Desk { told, behind, .. } = desk;
        let before = behind.len();
        behind.extend(told.range(first..).map(|(&listener, _)| listener));
        if behind.len() > before {
            self.waker.wake();
        }
    }

    /// Gives messages to the kernel, or keeps what it does not take.
    fn send(&self, desk: &mut Desk, listener: Listener, messages: &[Message]) {
        let Some(told) = desk.told.get_mut(&listener) else { return };
        messages.iter().for_each(|message| told.put(message));
        self.deliver(desk, listener);
    }

    /// Puts a message where the next flush takes it from; `None` if nothing is to be flushed now.
    fn put(&self, desk: &mut Desk, conn: ConnId, message: &Message) -> Option<Arc<Outbox>> {
        let told = desk.told.get_mut(&Listener::Member(conn))?;
        told.put(message);
        if !told.blocked {
            return Some(told.outbox.clone());
        }
        self.deliver(desk, Listener::Member(conn));
        None
    }

    /// The same message to many members: made into bytes once.
    fn tell(&self, desk: &mut Desk, conns: &[ConnId], message: &Message) {
        log::trace!("-> {} to {}", message.name(), conns.len());
        let mut bytes = Vec::new();
        put_frame(message, &mut bytes);
        for member in conns.iter().map(|&conn| Listener::Member(conn)) {
            if let Some(told) = desk.told.get_mut(&member) {
                if !told.can_wait(message) {
                    told.outbox.put(&bytes);
                    self.deliver(desk, member);
                }
            }
        }
    }

    /// Gives the kernel what is in the outbox of one who is told; what it does not take is left to
    /// the announcer.
    fn deliver(&self, desk: &mut Desk, listener: Listener) {
        let Some(told) = desk.told.get_mut(&listener) else { return };
        // Else the announcer waits already until the kernel has room.
        if !told.blocked {
            told.flush();
        }
        if !told.blocked {
            return;
        }
        // (A watcher asks once, for a registry that may be larger than that.)
        if told.outbox.len() > MAX_UNSENT && matches!(listener, Listener::Member(_)) {
            let name = &self.facts.me.name;
            complain!(Warn, name, "{name}: cut off one that asks and never reads the answers");
            told.outbox.clear();
            _ = told.outbox.stream().shutdown(Shutdown::Both);
        } else if desk.blocked.insert(listener) {
            self.waker.wake();
        }
    }

    fn refuse(&self, stream: &Stream, refusal: Refusal, detail: &str) -> bool {
        let mut bytes = Vec::new();
        put_frame(&Message::rejected(refusal, detail), &mut bytes);
        push(stream, &mut bytes);
        _ = stream.shutdown(Shutdown::Both);
        false
    }
}

#[cfg(test)]
mod tests;
