//! The supervisor's server: the decisions of `state/supervisor` behind one short lock, and the
//! deeds that follow.
//!
//! Everything is sent without waiting: the kernel takes it at once, or it stays here and the
//! announcer sends it when the kernel has room again. A state (rosters, the registry, settled) is
//! not kept for a receiver that does not read: the receiver gets the newest state when it reads
//! again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Shutdown, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::desk::Desk;
use super::subscriber::{Listener, Subscriber};
use super::watchdog::Pulse;
use crate::config::{MAX_UNSENT, REAP_WAIT};
use crate::event::EventKind;
use crate::net::rt::clock::{self, unix_ms};
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::waker::Waker;
use crate::net::transport::handshake::Pass;
use crate::net::transport::link::has_ended;
use crate::net::transport::outbox::{Outbox, push};
use crate::net::transport::port::Stream;
use crate::state::hello::Hello;
use crate::state::supervisor::{OWN, ServerAction, ServerInput, Supervisor};
use crate::state::term::Last;
use crate::state::{ConnId, Time};
use crate::wire::frame::put_frame;
use crate::wire::{
    Control, Departure, ElectionCause, Entry, FromHolder, Message, News, Refusal, Status, ToHolder,
};

pub(super) struct ServerState {
    pub(super) supervisor: Supervisor,
    pub(super) subscribers: BTreeMap<Listener, Subscriber>,
    /// The subscribers with something unsent.
    pub(super) blocked: BTreeSet<Listener>,
    /// The subscribers that the announcer has yet to look at.
    pub(super) behind: BTreeSet<Listener>,
    /// The version of the state for which the members were put into `behind`.
    announced: u64,
    pub(super) probes: Vec<u16>,
    /// For our own instance, in the order in which it was decided.
    own: VecDeque<ToHolder>,
    pub(super) closing: bool,
}

/// Work for the supervisor's own instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Settled {
        term: u64,
        members: u32,
    },
    TermRaised {
        term: u64,
    },
    /// There is something to be [taken](Server::take_own).
    Own,
    /// Something that the program must learn.
    Event(EventKind),
}

/// What stays the same for one supervisorship.
pub(crate) struct Facts {
    pub(crate) pass: Pass,
    /// The supervisor port.
    pub(crate) at: SocketAddrV4,
    /// The group's directory.
    pub(crate) directory: PathBuf,
    pub(crate) me: Entry,
    pub(crate) registry_port: u16,
    pub(crate) cause: ElectionCause,
    /// How long a subordinate may give no good answer, if that is watched.
    pub(crate) hang_timeout: Option<Duration>,
    /// The program's own sign of life.
    pub(crate) pulse: Arc<Pulse>,
}

pub(crate) struct Server {
    // The one lock of the supervisor. Under it are decisions and sends that do not wait; never a
    // read, never a wait.
    pub(super) inner: Mutex<ServerState>,
    pub(super) facts: Facts,
    since: SystemTime,
    pub(super) elected: Time,
    pub(super) waker: Waker,
    /// Rung when the group is settled, and when the server closes: askers may wait for that on
    /// their own threads.
    pub(super) settled: Condvar,
    /// Opened when an instance first wants to share a listener.
    // Locked while it is opened or closed.
    pub(super) desk: Mutex<Option<Arc<Desk>>>,
    stopped: AtomicBool,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
}

impl Server {
    pub(crate) fn new(
        facts: Facts,
        waker: Waker,
        open: impl FnOnce(Time, &mut Vec<ServerAction>) -> Supervisor,
        notice: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let mut actions = Vec::new();
        let supervisor = open(clock::now(), &mut actions);
        let inner = ServerState {
            supervisor,
            subscribers: BTreeMap::new(),
            blocked: BTreeSet::new(),
            behind: BTreeSet::new(),
            announced: 0,
            probes: Vec::new(),
            own: VecDeque::new(),
            closing: false,
        };
        let server = Arc::new(Server {
            inner: Mutex::new(inner),
            facts,
            since: SystemTime::now(),
            elected: clock::now(),
            waker,
            settled: Condvar::new(),
            desk: Mutex::new(None),
            stopped: AtomicBool::new(false),
            notice: Box::new(notice),
        });
        // The caller looks for itself what there is to notice.
        server.perform(&mut server.inner.lock(), actions);
        server
    }

    /// Reads the state, under the lock.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Supervisor) -> T) -> T {
        look(&self.inner.lock().supervisor)
    }

    pub(crate) fn status(&self) -> Status {
        self.read(|supervisor| Status {
            group: self.facts.pass.group.clone(),
            port: self.facts.at.port(),
            supervisor: self.facts.me.name.clone(),
            supervisor_admin_port: self.facts.me.admin_port,
            registry_port: self.facts.registry_port,
            term: supervisor.term(),
            settled: supervisor.settled(),
            members: supervisor.registry().len() as u32,
            since_ms: unix_ms(self.since),
            cause: self.facts.cause,
        })
    }

    /// Takes a hello. Returns true if its sender is a member now; otherwise it has been refused and
    /// its connection closed.
    pub(crate) fn hello(&self, conn: ConnId, stream: &Arc<Stream>, hello: Hello) -> bool {
        self.reap(&hello.entry);
        let name = hello.entry.name.clone();
        let mut inner = self.inner.lock();
        if inner.closing {
            drop(inner);
            return self.refuse(stream, Refusal::SteppingDown, "another instance takes over");
        }
        let member = Listener::Member(conn);
        let cursor = inner.supervisor.member_cursor();
        inner.subscribers.insert(member, Subscriber::new(stream, cursor));
        let notices = self.decide(&mut inner, ServerInput::Hello { conn, hello });
        let admitted = inner.supervisor.is_member(conn);
        if admitted {
            // The welcome has said all that was decided until now.
            let ServerState { subscribers, supervisor, .. } = &mut *inner;
            subscribers
                .get_mut(&member)
                .into_iter()
                .for_each(|one| one.cursor = supervisor.member_cursor());
        } else {
            inner.subscribers.remove(&member);
        }
        drop(inner);
        log::debug!(
            "{}: {name:?} {}",
            self.facts.me.name,
            if admitted { "joined" } else { "was refused" }
        );
        self.give(notices);
        admitted
    }

    /// If the name's holder is dying, waits for its end. Its successor is then not refused.
    fn reap(&self, entry: &Entry) {
        let inner = self.inner.lock();
        let Some(holder) = inner.supervisor.rival(entry) else { return };
        let Some(stream) = inner
            .subscribers
            .get(&Listener::Member(holder))
            .map(|subscriber| subscriber.outbox.stream().clone())
        else {
            return;
        };
        drop(inner);
        if has_ended(&stream, REAP_WAIT) {
            self.ended(holder);
        }
    }

    pub(crate) fn said(&self, conn: ConnId, message: Message) {
        let mut inner = self.inner.lock();
        let actions = self.consider(&mut inner, ServerInput::of(conn, message));
        let outbox = match &actions[..] {
            // Most are answered, and nobody else is concerned: then the kernel delivers the answer
            // while others decide. What concerns several is sent under the lock, so that all have
            // it in the order of the decisions.
            [ServerAction::Send { conn: asker, message }] if *asker == conn => {
                self.put(&mut inner, conn, message)
            }
            _ => {
                let notices = self.perform(&mut inner, actions);
                drop(inner);
                return self.give(notices);
            }
        };
        drop(inner);
        if outbox.is_some_and(|outbox| !outbox.flush()) {
            self.deliver(&mut self.inner.lock(), Listener::Member(conn));
        }
    }

    /// Sends a member something that is not a decision.
    pub(crate) fn say(&self, conn: ConnId, message: Control) {
        self.send(&mut self.inner.lock(), Listener::Member(conn), [message]);
    }

    /// Answers a member that asks whether this supervisor lives, under the lock of everything else
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

    /// Takes what our own instance says, whose lock is held. Returns what it must be told.
    pub(crate) fn said_own(&self, message: FromHolder) -> VecDeque<ToHolder> {
        let mut inner = self.inner.lock();
        let mut notices = self.decide(&mut inner, ServerInput::Said { conn: OWN, message });
        let own = std::mem::take(&mut inner.own);
        drop(inner);
        notices.retain(|notice| *notice != Notice::Own);
        self.give(notices);
        own
    }

    /// Returns what our own instance has yet to be told.
    pub(crate) fn take_own(&self) -> VecDeque<ToHolder> {
        std::mem::take(&mut self.inner.lock().own)
    }

    /// Notes that the member's bytes are not a message.
    pub(crate) fn broke(&self, conn: ConnId, why: String) {
        let notices = self.decide(&mut self.inner.lock(), ServerInput::Broke { conn, why });
        self.give(notices);
    }

    pub(crate) fn ended(&self, conn: ConnId) {
        let mut inner = self.inner.lock();
        inner.subscribers.remove(&Listener::Member(conn));
        let left = inner.supervisor.departure(conn);
        let notices = self.decide(&mut inner, ServerInput::Ended { conn });
        drop(inner);
        if let Some((name, cause)) = left {
            log::debug!("{}: `{name}` is gone: {cause}", self.facts.me.name);
        }
        self.give(notices);
    }

    /// Sends a watcher the whole registry, and from then on every change.
    pub(crate) fn watch(&self, conn: ConnId, stream: &Arc<Stream>) {
        let mut inner = self.inner.lock();
        let watcher = Listener::Watcher(conn);
        let cursor = inner.supervisor.watcher_cursor();
        inner.subscribers.insert(watcher, Subscriber::new(stream, cursor));
        // The predecessor's end first: after the listing it would count as one that nobody
        // explained.
        let mut messages: Vec<News> = inner.supervisor.predecessor().into_iter().collect();
        inner.supervisor.list(&mut messages);
        self.send(&mut inner, watcher, messages);
    }

    pub(crate) fn unwatch(&self, conn: ConnId) {
        self.inner.lock().subscribers.remove(&Listener::Watcher(conn));
    }

    /// Admits no more members. Returns what to keep of this supervisorship, which from now on does
    /// not change.
    pub(crate) fn begin_closing(&self, reason: Departure) -> Last {
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.settled.notify_all();
        inner.supervisor.last(reason)
    }

    /// Says goodbye to all members and watchers and ends their connections.
    pub(crate) fn close(&self, reason: Departure) {
        let mut inner = self.inner.lock();
        inner.closing = true;
        let listeners: Vec<Listener> = inner.subscribers.keys().copied().collect();
        for listener in listeners {
            if matches!(listener, Listener::Member(_)) {
                self.send(&mut inner, listener, [Control::Leaving { reason }]);
            }
            _ = inner.subscribers[&listener].outbox.stream().shutdown(Shutdown::Both);
        }
        drop(inner);
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
        let desk = self.desk.lock().take();
        desk.iter().for_each(|desk| desk.close());
    }

    pub(crate) fn registry_port(&self) -> u16 {
        self.facts.registry_port
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn decide(&self, inner: &mut ServerState, input: ServerInput) -> Vec<Notice> {
        let actions = self.consider(inner, input);
        self.perform(inner, actions)
    }

    fn consider(&self, inner: &mut ServerState, input: ServerInput) -> Vec<ServerAction> {
        let mut actions = Vec::new();
        let wake_at = inner.supervisor.wake_at();
        inner.supervisor.on(clock::now(), input, &mut actions);
        let sooner =
            inner.supervisor.wake_at().is_some_and(|at| wake_at.is_none_or(|before| at < before));
        if sooner {
            self.waker.wake(); // the announcer sleeps until the time it knew of
        }
        actions
    }

    pub(super) fn perform(
        &self,
        inner: &mut ServerState,
        actions: Vec<ServerAction>,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        for action in actions {
            match action {
                ServerAction::Send { conn, message } => {
                    self.send(inner, Listener::Member(conn), [message])
                }
                ServerAction::Close { conn } => {
                    if let Some(subscriber) = inner.subscribers.get(&Listener::Member(conn)) {
                        _ = subscriber.outbox.stream().shutdown(Shutdown::Both);
                    }
                }
                ServerAction::Tell { conns, message } => self.tell(inner, &conns, &message),
                ServerAction::Own { message } => {
                    inner.own.push_back(message);
                    if notices.last() != Some(&Notice::Own) {
                        notices.push(Notice::Own);
                    }
                }
                ServerAction::Probe { admin_port } => inner.probes.push(admin_port),
                ServerAction::Announce => self.mark_behind(inner),
                ServerAction::Settled { term, members } => {
                    self.settled.notify_all();
                    notices.push(Notice::Settled { term, members });
                }
                ServerAction::TermRaised { term } => notices.push(Notice::TermRaised { term }),
            }
        }
        notices
    }

    /// Outside the lock: what is noticed takes other locks.
    pub(super) fn give(&self, notices: Vec<Notice>) {
        notices.into_iter().for_each(&self.notice);
    }

    /// All watchers are behind after a change of the registry; members only after one of the state.
    fn mark_behind(&self, inner: &mut ServerState) {
        let version = inner.supervisor.state_version();
        let first =
            if inner.announced == version { Listener::Watcher(0) } else { Listener::Member(0) };
        inner.announced = version;
        let ServerState { subscribers, behind, .. } = inner;
        let before = behind.len();
        behind.extend(subscribers.range(first..).map(|(&listener, _)| listener));
        if behind.len() > before {
            self.waker.wake();
        }
    }

    /// Passes messages to the kernel, and keeps what it does not take.
    pub(super) fn send<M: Into<Message>>(
        &self,
        inner: &mut ServerState,
        listener: Listener,
        messages: impl IntoIterator<Item = M>,
    ) {
        let Some(subscriber) = inner.subscribers.get_mut(&listener) else { return };
        messages.into_iter().for_each(|message| subscriber.put(&message.into()));
        self.deliver(inner, listener);
    }

    /// Puts a message where the next flush takes it from. Returns `None` if nothing is to be
    /// flushed now.
    fn put(&self, inner: &mut ServerState, conn: ConnId, message: &Message) -> Option<Arc<Outbox>> {
        let subscriber = inner.subscribers.get_mut(&Listener::Member(conn))?;
        subscriber.put(message);
        if !subscriber.backlog.is_blocked() {
            return Some(subscriber.outbox.clone());
        }
        self.deliver(inner, Listener::Member(conn));
        None
    }

    /// Sends the same message to many members: it is made into bytes once.
    fn tell(&self, inner: &mut ServerState, conns: &[ConnId], message: &Message) {
        log::trace!("-> {} to {}", message.name(), conns.len());
        let mut bytes = Vec::new();
        put_frame(message, &mut bytes);
        for member in conns.iter().map(|&conn| Listener::Member(conn)) {
            if let Some(subscriber) = inner.subscribers.get_mut(&member) {
                if !subscriber.backlog.can_wait(message) {
                    subscriber.outbox.put(&bytes);
                    self.deliver(inner, member);
                }
            }
        }
    }

    /// Passes to the kernel what is in a subscriber's outbox, and leaves the rest to the announcer.
    fn deliver(&self, inner: &mut ServerState, listener: Listener) {
        let Some(subscriber) = inner.subscribers.get_mut(&listener) else { return };
        // Otherwise the announcer already waits until the kernel has room.
        if !subscriber.backlog.is_blocked() && subscriber.flush() {
            return;
        }
        // (A watcher asks once, for a registry that may be larger than that.)
        if subscriber.outbox.len() > MAX_UNSENT && matches!(listener, Listener::Member(_)) {
            let name = &self.facts.me.name;
            complain!(Warn, name, "{name}: cut off a client that never reads its answers");
            subscriber.outbox.clear();
            _ = subscriber.outbox.stream().shutdown(Shutdown::Both);
        } else if inner.blocked.insert(listener) {
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
