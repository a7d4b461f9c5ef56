//! Asking the supervisor and calling instances: the client's side of the registry port and of admin
//! endpoints.
//!
//! The caller's own thread writes the question and reads the answer, so that no other thread has to
//! be woken. Connections are kept for the next question.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddrV4};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{CALL_ALL_THREADS, MAX_IDLE_CALLS, MAX_PAYLOAD};
use crate::error::{AskError, CallError};
use crate::event::Replies;
use crate::net::member::presence::Place;
use crate::net::member::shared::Shared;
use crate::net::procs::obstacle::{join_error, silence};
use crate::net::rt::clock;
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::CALL_ALL;
use crate::net::transport::handshake::{self, Denied, Pass};
use crate::net::transport::link::{Link, LinkError};
use crate::net::transport::port::{self, Stream};
use crate::state::election::Obstacle;
use crate::sys::{Kind, Origin, crash, signals};
use crate::wire::field::Payload;
use crate::wire::{Entry, Message, Outcome, Purpose, Status};

/// From where the group is seen.
pub(crate) enum Viewpoint {
    /// From inside: an instance always knows its supervisor.
    Member(Arc<Shared>),
    /// From outside: the supervisor port is asked.
    Outside {
        at: SocketAddrV4,
        /// The registry port of the last answer, 0 before the first.
        registry_port: AtomicU16,
    },
}

pub(crate) struct Asker {
    pub(crate) pass: Pass,
    pub(crate) viewpoint: Viewpoint,
    pool: Pool,
    // Held to add or to end some, never while one is used.
    connections: Mutex<Connections>,
    origin: Origin,
}

/// Every connection that is in use or kept, so that whoever waits for an answer can be called away.
#[derive(Default)]
struct Connections {
    open: Vec<Weak<Stream>>,
    stopped: bool,
}

/// What the registry said, with the head of its answer.
pub(crate) struct Answered {
    pub(crate) term: u64,
    pub(crate) settled: bool,
    pub(crate) supervisor: String,
    pub(crate) entries: Vec<Entry>,
}

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum Fault {
    Nobody,
    /// The other end was gone before it answered; it is safe to ask again.
    Lost,
    /// The same, and it may have done what it was asked to.
    Unsure,
    Late,
    Denied(Obstacle),
    Nonsense,
    /// The instance that asks has left its group.
    Stopped,
    Io(io::Error),
}

/// Whom a call goes to.
struct Target {
    name: String,
    admin: u16,
}

impl Asker {
    pub(crate) fn new(pass: Pass, viewpoint: Viewpoint) -> Self {
        Asker {
            pass,
            viewpoint,
            pool: Pool::default(),
            connections: Mutex::default(),
            origin: Origin::here(),
        }
    }

    /// Ends what is under way and lets nothing begin: the instance leaves.
    pub(crate) fn stop(&self) {
        let mut connections = self.connections.lock();
        connections.stopped = true;
        for stream in connections.open.drain(..).filter_map(|stream| stream.upgrade()) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn stopped(&self) -> bool {
        self.connections.lock().stopped
    }

    /// Notes a connection, so that it can be ended.
    fn begin(&self, stream: &Arc<Stream>) -> Result<(), Fault> {
        let mut connections = self.connections.lock();
        if connections.stopped {
            return Err(Fault::Stopped);
        }
        connections.open.retain(|stream| stream.strong_count() > 0);
        connections.open.push(Arc::downgrade(stream));
        Ok(())
    }

    /// The supervisor port.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        match &self.viewpoint {
            Viewpoint::Member(shared) => shared.at,
            Viewpoint::Outside { at, .. } => *at,
        }
    }

    /// An error while this process crashes, and in a forked child: the connections that are kept,
    /// and an instance's lifeline, are its parent's.
    pub(super) fn present(&self) -> Result<(), AskError> {
        if self.origin.is_elsewhere() || crash::is_crashing() {
            Err(AskError::Stopped)
        } else {
            Ok(())
        }
    }

    pub(crate) fn list(&self, deadline: Instant) -> Result<Answered, AskError> {
        self.registry(Message::List {}, deadline)
    }

    pub(crate) fn look_up(&self, name: &str, deadline: Instant) -> Result<Answered, AskError> {
        let answered = self.registry(Message::LookUp { name: name.into() }, deadline)?;
        if answered.entries.is_empty() {
            Err(AskError::NoSuchInstance(name.into()))
        } else {
            Ok(answered)
        }
    }

    pub(crate) fn status(&self, deadline: Instant) -> Result<Status, AskError> {
        self.present()?;
        if let Viewpoint::Outside { at, .. } = &self.viewpoint {
            return self.status_from_port(*at, deadline);
        }
        self.with_registry(deadline, |place| match place {
            Registry::Here(office) => Ok(office.status()),
            Registry::At(port) => {
                let at = port::here(port);
                match self.exchange(
                    at,
                    "",
                    Purpose::Ask,
                    Message::StatusQuery {},
                    deadline,
                    true,
                )? {
                    (link, Message::StatusAnswer { status }) => {
                        self.pool.give(at, "", link);
                        Ok(status)
                    }
                    _ => Err(Fault::Nonsense),
                }
            }
        })
    }

    /// The supervisor port answers one question for the status to whoever has the key.
    fn status_from_port(&self, at: SocketAddrV4, deadline: Instant) -> Result<Status, AskError> {
        // Between a supervisor's death and the next election nobody is there for some hundred
        // microseconds.
        let mut tries = 0;
        loop {
            match self.exchange(at, "", Purpose::Ask, Message::StatusQuery {}, deadline, true) {
                Ok((_, Message::StatusAnswer { status })) => return Ok(status),
                Ok((_, Message::Rejected { refusal, version_min, version_max, detail })) => {
                    let obstacle = handshake::obstacle(refusal, (version_min, version_max), detail);
                    return Err(self.ask_error(Fault::Denied(obstacle)));
                }
                Ok(_) => return Err(self.ask_error(Fault::Nonsense)),
                Err(Fault::Nobody | Fault::Lost) if tries < 5 => {
                    tries += 1;
                    // 62 ms in all: an election takes about 1 ms.
                    thread::sleep(Duration::from_millis(1 << tries));
                }
                Err(Fault::Lost) => return Err(self.ask_error(Fault::Denied(Obstacle::NotPares))),
                Err(fault) => return Err(self.ask_error(fault)),
            }
        }
    }

    fn registry(&self, question: Message, deadline: Instant) -> Result<Answered, AskError> {
        self.question(&question, true, deadline, |answers| {
            let (term, settled, supervisor, count) = match answers.next()? {
                Message::Listing { term, settled, supervisor, count } => {
                    (term, settled, supervisor, count)
                }
                _ => return Err(Fault::Nonsense),
            };
            let mut entries = Vec::new();
            for _ in 0..count {
                let Message::Member { entry } = answers.next()? else {
                    return Err(Fault::Nonsense);
                };
                entries.push(Arc::unwrap_or_clone(entry));
            }
            Ok(Answered { term, settled, supervisor, entries })
        })
    }

    /// Asks the supervisor, wherever it is, and has `read` take the answer. `again`: it may be
    /// asked twice, if the first supervisor dies before it has answered; else that is
    /// [`AskError::SupervisorLost`].
    pub(super) fn question<T>(
        &self,
        question: &Message,
        again: bool,
        deadline: Instant,
        read: impl Fn(&mut Answers) -> Result<T, Fault>,
    ) -> Result<T, AskError> {
        self.with_registry(deadline, |place| {
            let mut answers = Answers { at_hand: VecDeque::new(), link: None, deadline };
            match place {
                Registry::Here(office) => answers.at_hand.extend(office.answer(question)),
                Registry::At(port) => {
                    let at = port::here(port);
                    let asked =
                        self.exchange(at, "", Purpose::Ask, question.clone(), deadline, again);
                    let (link, first) = asked.map_err(|fault| match fault {
                        Fault::Lost if !again => Fault::Unsure,
                        fault => fault,
                    })?;
                    answers.at_hand.push_back(first);
                    answers.link = Some((at, link));
                }
            }
            let result = read(&mut answers).map_err(|fault| match fault {
                Fault::Lost if !again => Fault::Unsure,
                fault => fault,
            })?;
            if let Some((at, link)) = answers.link {
                self.pool.give(at, "", link);
            }
            Ok(result)
        })
    }

    /// Asks where the registry is and then the registry; again if its supervisor dies meanwhile,
    /// until the deadline.
    fn with_registry<T>(
        &self,
        deadline: Instant,
        ask: impl Fn(Registry) -> Result<T, Fault>,
    ) -> Result<T, AskError> {
        self.present()?;
        let mut avoid = 0;
        loop {
            let registry = self.locate(avoid, deadline)?;
            let port = if let Registry::At(port) = registry { port } else { 0 };
            match ask(registry) {
                Err(Fault::Nobody | Fault::Lost | Fault::Denied(Obstacle::SteppingDown))
                    if Instant::now() < deadline =>
                {
                    avoid = port;
                }
                Err(fault) => return Err(self.ask_error(fault)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Where the registry is now; `avoid` is a registry port that has turned out dead.
    pub(crate) fn locate(&self, avoid: u16, deadline: Instant) -> Result<Registry, AskError> {
        match &self.viewpoint {
            Viewpoint::Member(shared) => {
                let found = shared.standing.wait(Some(deadline), |inside| match &inside.place {
                    Place::Supervisor(office) => Some(Ok(Registry::Here(office.clone()))),
                    Place::Subordinate(at) if at.registry_port != avoid => {
                        Some(Ok(Registry::At(at.registry_port)))
                    }
                    Place::Subordinate(_) | Place::Contending => None,
                    Place::Stopped => Some(Err(AskError::Stopped)),
                });
                found.unwrap_or(Err(AskError::NoSupervisor { address: shared.at }))
            }
            Viewpoint::Outside { at, registry_port } => {
                let known = registry_port.load(Ordering::Relaxed);
                if known != avoid {
                    return Ok(Registry::At(known));
                }
                let status = self.status_from_port(*at, deadline)?;
                registry_port.store(status.registry_port, Ordering::Relaxed);
                Ok(Registry::At(status.registry_port))
            }
        }
    }

    /// Calls `function` of the instance `name`, or of the supervisor if that is `main`.
    pub(crate) fn call(
        &self,
        name: &str,
        function: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(CallError::PayloadTooLarge { bytes: payload.len() });
        }
        self.present()?;
        // A kept connection to an instance is as good as a look-up: it ends when the instance does.
        let target = match self.pool.port_of(name) {
            Some(admin) => Target { name: name.into(), admin },
            None => self.target(name, deadline)?,
        };
        self.call_at(&target, function, payload, deadline)
    }

    fn target(&self, name: &str, deadline: Instant) -> Result<Target, AskError> {
        if let (Viewpoint::Member(shared), "main") = (&self.viewpoint, name) {
            let known = shared.standing.look(|inside| match &inside.place {
                Place::Subordinate(at) => {
                    Some(Target { name: at.supervisor.clone(), admin: at.supervisor_admin })
                }
                Place::Supervisor(_) => {
                    Some(Target { name: shared.me.name.clone(), admin: shared.me.admin })
                }
                Place::Contending | Place::Stopped => None,
            });
            if let Some(target) = known {
                return Ok(target);
            }
        }
        let answered = self.look_up(name, deadline)?;
        let entry = answered
            .entries
            .into_iter()
            .next()
            .ok_or_else(|| AskError::NoSuchInstance(name.into()))?;
        Ok(Target { name: entry.name, admin: entry.admin })
    }

    fn call_at(
        &self,
        target: &Target,
        function: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let Target { name, admin } = target;
        let at = port::here(*admin);
        let request =
            Message::Call { function: function.into(), payload: Payload(payload.to_vec()) };
        let (link, answer) = self
            .exchange(at, name, Purpose::Call, request, deadline, false)
            .map_err(|fault| match fault {
                _ if self.stopped() => CallError::Ask(AskError::Stopped),
                Fault::Stopped => CallError::Ask(AskError::Stopped),
                Fault::Nobody | Fault::Lost | Fault::Unsure => {
                    CallError::InstanceLost(name.clone())
                }
                Fault::Late | Fault::Denied(Obstacle::Silent) => CallError::Deadline,
                Fault::Denied(Obstacle::Busy) => CallError::Busy(name.clone()),
                Fault::Denied(_) | Fault::Nonsense => CallError::InstanceLost(name.clone()),
                Fault::Io(source) => CallError::Io { doing: "call the instance", source },
            })?;
        let Message::Answer { outcome, payload } = answer else {
            return Err(CallError::Busy(name.clone()));
        };
        self.pool.give(at, name, link);
        let text = |payload: Payload| String::from_utf8_lossy(&payload.0).into_owned();
        match outcome {
            Outcome::Done => Ok(payload.0),
            Outcome::Failed => Err(CallError::Failed(text(payload))),
            Outcome::Panicked => Err(CallError::Panicked(text(payload))),
            Outcome::NoSuchFunction => {
                Err(CallError::NoSuchFunction { instance: name.clone(), function: function.into() })
            }
        }
    }

    /// Calls `function` of all instances, each with `timeout`, several at once; in the order of
    /// their names.
    pub(crate) fn call_all(
        &self,
        function: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Replies, CallError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(CallError::PayloadTooLarge { bytes: payload.len() });
        }
        let entries = self.list(clock::deadline(timeout))?.entries;
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(entries.len())));
        let work = || {
            while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let target = Target { name: entry.name.clone(), admin: entry.admin };
                let result = self.call_at(&target, function, payload, clock::deadline(timeout));
                results.lock().push((target.name, result));
            }
        };
        thread::scope(|scope| {
            for _ in 1..entries.len().min(CALL_ALL_THREADS) {
                // Fewer threads are only slower; this one works in any case.
                _ = signals::spawning(|begin| {
                    let work = || {
                        begin.begin();
                        work();
                    };
                    thread::Builder::new().name(CALL_ALL.name.into()).spawn_scoped(scope, work)
                });
            }
            work();
        });
        let mut results = results.into_inner();
        results.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(results)
    }

    /// Sends a request to a port and reads the first message of the answer.
    ///
    /// `owner` names whose port it is, for the pool. A kept connection that turns out dead is
    /// replaced if `again` says that the request may be sent twice.
    fn exchange(
        &self,
        at: SocketAddrV4,
        owner: &str,
        purpose: Purpose,
        request: Message,
        deadline: Instant,
        again: bool,
    ) -> Result<(Link, Message), Fault> {
        if let Some(mut link) = self.pool.take(at, owner, again) {
            let answer = link
                .write(std::slice::from_ref(&request), deadline)
                .and_then(|()| link.read(Some(deadline)));
            match answer {
                Ok(message) => return Ok((link, message)),
                Err(LinkError::Gone { .. }) if again => {}
                Err(error) => return Err(fault(error)),
            }
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return Err(Fault::Late);
        }
        let stream = match port::connect(at, Kind::Peer, timeout) {
            Ok(Some(stream)) => Arc::new(stream),
            Ok(None) => return Err(Fault::Nobody),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Fault::Denied(silence(at)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Fault::Lost);
            }
            Err(error) => return Err(Fault::Io(error)),
        };
        self.begin(&stream)?;
        let mut link = handshake::open(stream, &self.pass, at, purpose, request, deadline)
            .map_err(|denied| match denied {
                Denied::ClosedAtOnce => Fault::Lost,
                Denied::Late => Fault::Denied(silence(at)),
                Denied::Obstructed(obstacle) => Fault::Denied(obstacle),
            })?;
        let answer = link.read(Some(deadline)).map_err(fault)?;
        Ok((link, answer))
    }

    fn ask_error(&self, fault: Fault) -> AskError {
        let address = self.address();
        match fault {
            // Whatever the end of its connection looked like to it.
            _ if self.stopped() => AskError::Stopped,
            Fault::Stopped => AskError::Stopped,
            Fault::Nobody => AskError::NoSupervisor { address },
            Fault::Lost | Fault::Unsure | Fault::Nonsense => AskError::SupervisorLost,
            Fault::Late | Fault::Denied(Obstacle::Silent) => AskError::Deadline,
            Fault::Denied(Obstacle::Busy) => AskError::Busy,
            Fault::Denied(Obstacle::SteppingDown) => AskError::NoSupervisor { address },
            Fault::Denied(obstacle) => AskError::Refused(Box::new(join_error(
                obstacle,
                &self.pass,
                address,
                None,
                Duration::ZERO,
            ))),
            Fault::Io(source) => AskError::Io { doing: "ask the supervisor", source },
        }
    }
}

/// An answer of as many messages as it takes: at hand, or still to be read.
pub(super) struct Answers {
    at_hand: VecDeque<Message>,
    link: Option<(SocketAddrV4, Link)>,
    deadline: Instant,
}

impl Answers {
    pub(super) fn next(&mut self) -> Result<Message, Fault> {
        let message = match (self.at_hand.pop_front(), &mut self.link) {
            (Some(message), _) => message,
            (None, Some((_, link))) => link.read(Some(self.deadline)).map_err(fault)?,
            (None, None) => return Err(Fault::Nonsense),
        };
        match message {
            Message::Rejected { refusal, version_min, version_max, detail } => {
                Err(Fault::Denied(handshake::obstacle(refusal, (version_min, version_max), detail)))
            }
            message => Ok(message),
        }
    }
}

/// Where the registry is.
pub(crate) enum Registry {
    /// In this process, because this instance is supervisor.
    Here(Arc<crate::net::supervising::server::Office>),
    /// Behind this port.
    At(u16),
}

fn fault(error: LinkError) -> Fault {
    match error {
        LinkError::Gone { .. } => Fault::Lost,
        LinkError::Late => Fault::Late,
        LinkError::Malformed(_) => Fault::Nonsense,
        LinkError::Io(error) => Fault::Io(error),
    }
}

/// Connections kept for the next question.
#[derive(Default)]
struct Pool {
    // Held to take one out or put one back, never while it is used.
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    at: SocketAddrV4,
    /// The instance at the other end; empty for a registry.
    owner: String,
    link: Link,
}

impl Pool {
    /// One that is live, as far as can be known without asking the kernel; for what must not be
    /// asked `again`, as far as it knows.
    fn take(&self, at: SocketAddrV4, owner: &str, again: bool) -> Option<Link> {
        loop {
            let mut kept = self.kept.lock();
            let found = kept.iter().rposition(|kept| kept.at == at && kept.owner == owner)?;
            let Kept { link, .. } = kept.remove(found)?;
            drop(kept);
            let is_stale = if again { !link.is_drained() } else { link.is_stale() };
            if !is_stale {
                return Some(link);
            }
        }
    }

    /// The admin port of an instance to which a live connection is kept.
    fn port_of(&self, owner: &str) -> Option<u16> {
        let mut kept = self.kept.lock();
        let at = kept.iter().rposition(|kept| kept.owner == owner)?;
        if kept[at].link.is_stale() {
            kept.remove(at);
            return None;
        }
        Some(kept[at].at.port())
    }

    fn give(&self, at: SocketAddrV4, owner: &str, link: Link) {
        let mut kept = self.kept.lock();
        if kept.len() == MAX_IDLE_CALLS {
            kept.pop_front();
        }
        kept.push_back(Kept { at, owner: owner.into(), link });
    }
}
