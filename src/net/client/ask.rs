//! Asks the supervisor and calls instances: the client's side of the registry port and of admin
//! endpoints.
//!
//! The caller's own thread writes the question and reads the answer, which wakes no other thread.
//! Connections are kept for the next question.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::exchange::{Answers, Exchanges, Unanswered};
use crate::config::{CALL_ALL_THREADS, MAX_PAYLOAD};
use crate::error::{AskError, CallError};
use crate::event::Reply;
use crate::net::member::presence::Place;
use crate::net::member::shared::Shared;
use crate::net::procs::obstacle::join_error;
use crate::net::rt::clock;
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::CALL_ALL;
use crate::net::supervising::server::Server;
use crate::net::transport::handshake::Pass;
use crate::net::transport::link::Link;
use crate::net::transport::port;
use crate::state::obstacle::Obstacle;
use crate::sys::{Origin, crash, signals};
use crate::wire::field::Payload;
use crate::wire::{
    Calling, Entry, Handshake, Message, News, Outcome, Purpose, Question, Response, Status,
};

/// The place from which the group is seen.
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
    exchanges: Exchanges,
    origin: Origin,
}

/// The registry's answer, with the head of it.
pub(crate) struct Answered {
    pub(crate) term: u64,
    pub(crate) settled: bool,
    pub(crate) supervisor: String,
    pub(crate) entries: Vec<Entry>,
}

/// The instance that a call goes to.
struct Callee {
    name: String,
    admin_port: u16,
}

impl Asker {
    pub(crate) fn new(pass: Pass, viewpoint: Viewpoint) -> Self {
        Asker { pass, viewpoint, exchanges: Exchanges::default(), origin: Origin::here() }
    }

    /// Ends what is under way and lets nothing start, because the instance leaves.
    pub(crate) fn stop(&self) {
        self.exchanges.stop();
    }

    fn exchange(
        &self,
        at: SocketAddrV4,
        owner: &str,
        purpose: Purpose,
        request: Message,
        deadline: Instant,
        again: bool,
    ) -> Result<(Link, Message), Unanswered> {
        self.exchanges.ask(&self.pass, (at, owner), (purpose, request), deadline, again)
    }

    /// The supervisor port.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        match &self.viewpoint {
            Viewpoint::Member(shared) => shared.at,
            Viewpoint::Outside { at, .. } => *at,
        }
    }

    /// Returns an error while this process crashes, and in a forked child: the kept connections,
    /// and an instance's lifeline, are its parent's.
    pub(super) fn present(&self) -> Result<(), AskError> {
        if self.origin.is_elsewhere() || crash::is_crashing() {
            Err(AskError::Stopped)
        } else {
            Ok(())
        }
    }

    pub(crate) fn list(&self, deadline: Instant) -> Result<Answered, AskError> {
        self.registry(Question::List {}, deadline)
    }

    pub(crate) fn look_up(&self, name: &str, deadline: Instant) -> Result<Answered, AskError> {
        let answered = self.registry(Question::LookUp { name: name.into() }, deadline)?;
        if answered.entries.is_empty() {
            Err(AskError::NoSuchInstance { name: name.into() })
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
            Located::Here(server) => Ok(server.status()),
            Located::At(port) => {
                let at = port::here(port);
                match self.ask_status(at, deadline)? {
                    (link, Message::Response(Response::StatusAnswer { status })) => {
                        self.exchanges.pool.give(at, "", link);
                        Ok(status)
                    }
                    _ => Err(Unanswered::Nonsense),
                }
            }
        })
    }

    fn ask_status(
        &self,
        at: SocketAddrV4,
        deadline: Instant,
    ) -> Result<(Link, Message), Unanswered> {
        self.exchange(at, "", Purpose::Ask, Question::StatusQuery {}.into(), deadline, true)
    }

    /// The supervisor port answers one question for the status to a client that has the key.
    fn status_from_port(&self, at: SocketAddrV4, deadline: Instant) -> Result<Status, AskError> {
        // Between a supervisor's death and the next election nobody is there for some hundred
        // microseconds.
        let mut tries = 0;
        loop {
            match self.ask_status(at, deadline) {
                Ok((_, Message::Response(Response::StatusAnswer { status }))) => return Ok(status),
                Ok((_, Message::Handshake(Handshake::Rejected { rejection }))) => {
                    let obstacle = Obstacle::refused(&rejection);
                    return Err(self.ask_error(Unanswered::Denied(obstacle)));
                }
                Ok(_) => return Err(self.ask_error(Unanswered::Nonsense)),
                Err(Unanswered::Nobody | Unanswered::Lost) if tries < 5 => {
                    tries += 1;
                    // 62 ms in all: an election takes about 1 ms.
                    thread::sleep(Duration::from_millis(1 << tries));
                }
                Err(Unanswered::Lost) => {
                    return Err(self.ask_error(Unanswered::Denied(Obstacle::NotPares)));
                }
                Err(fault) => return Err(self.ask_error(fault)),
            }
        }
    }

    fn registry(&self, question: Question, deadline: Instant) -> Result<Answered, AskError> {
        self.question(question, true, deadline, |answers| {
            let (term, settled, supervisor, count) = match answers.next()? {
                Message::News(News::Listing { term, settled, supervisor, count }) => {
                    (term, settled, supervisor, count)
                }
                _ => return Err(Unanswered::Nonsense),
            };
            let mut entries = Vec::new();
            for _ in 0..count {
                let Message::News(News::Member { entry }) = answers.next()? else {
                    return Err(Unanswered::Nonsense);
                };
                entries.push(Arc::unwrap_or_clone(entry));
            }
            Ok(Answered { term, settled, supervisor, entries })
        })
    }

    /// Asks the supervisor, wherever it is, and lets `read` take the answer. `again`: the question
    /// may be repeated if the first supervisor dies before it has answered; otherwise that is
    /// [`AskError::SupervisorLost`].
    pub(super) fn question<T>(
        &self,
        question: impl Into<Message>,
        again: bool,
        deadline: Instant,
        read: impl Fn(&mut Answers) -> Result<T, Unanswered>,
    ) -> Result<T, AskError> {
        let question = question.into();
        self.with_registry(deadline, |place| {
            let mut answers = Answers { at_hand: VecDeque::new(), link: None, deadline };
            match place {
                Located::Here(server) => {
                    answers.at_hand.extend(server.answer(&question).into_iter().flatten())
                }
                Located::At(port) => {
                    let at = port::here(port);
                    let asked =
                        self.exchange(at, "", Purpose::Ask, question.clone(), deadline, again);
                    let (link, first) = asked.map_err(|fault| match fault {
                        Unanswered::Lost if !again => Unanswered::Unsure,
                        fault => fault,
                    })?;
                    answers.at_hand.push_back(first);
                    answers.link = Some((at, link));
                }
            }
            let result = read(&mut answers).map_err(|fault| match fault {
                Unanswered::Lost if !again => Unanswered::Unsure,
                fault => fault,
            })?;
            if let Some((at, link)) = answers.link {
                self.exchanges.pool.give(at, "", link);
            }
            Ok(result)
        })
    }

    /// Asks where the registry is, and then the registry. Repeats both if its supervisor dies
    /// meanwhile, until the deadline.
    fn with_registry<T>(
        &self,
        deadline: Instant,
        ask: impl Fn(Located) -> Result<T, Unanswered>,
    ) -> Result<T, AskError> {
        self.present()?;
        let mut avoid = 0;
        loop {
            let registry = self.locate(avoid, deadline)?;
            let port = if let Located::At(port) = registry { port } else { 0 };
            match ask(registry) {
                Err(
                    Unanswered::Nobody
                    | Unanswered::Lost
                    | Unanswered::Denied(Obstacle::SteppingDown),
                ) if Instant::now() < deadline => {
                    avoid = port;
                }
                Err(fault) => return Err(self.ask_error(fault)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Returns where the registry is now; `avoid` is a registry port that has turned out dead.
    pub(crate) fn locate(&self, avoid: u16, deadline: Instant) -> Result<Located, AskError> {
        match &self.viewpoint {
            Viewpoint::Member(shared) => {
                let elsewhere = |located: &Located| match located {
                    Located::Here(_) => true,
                    Located::At(port) => *port != avoid,
                };
                match await_registry(shared, Some(deadline), elsewhere, || false) {
                    Awaited::Found(located) => Ok(located),
                    Awaited::Stopped => Err(AskError::Stopped),
                    Awaited::Late => Err(AskError::NoSupervisor { address: shared.at }),
                }
            }
            Viewpoint::Outside { at, registry_port } => {
                let known = registry_port.load(Ordering::Relaxed);
                if known != avoid {
                    return Ok(Located::At(known));
                }
                let status = self.status_from_port(*at, deadline)?;
                registry_port.store(status.registry_port, Ordering::Relaxed);
                Ok(Located::At(status.registry_port))
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
            return Err(CallError::PayloadTooLarge { bytes: payload.len(), limit: MAX_PAYLOAD });
        }
        self.present()?;
        // A kept connection to an instance is as good as a look-up: it ends when the instance does.
        let target = match self.exchanges.pool.port_of(name) {
            Some(admin_port) => Callee { name: name.into(), admin_port },
            None => self.target(name, deadline)?,
        };
        self.call_at(&target, function, payload, deadline)
    }

    fn target(&self, name: &str, deadline: Instant) -> Result<Callee, AskError> {
        if let (Viewpoint::Member(shared), "main") = (&self.viewpoint, name) {
            let known = shared.presence.look(|inside| match &inside.place {
                Place::Subordinate(at) => Some(Callee {
                    name: at.supervisor.clone(),
                    admin_port: at.supervisor_admin_port,
                }),
                Place::Supervisor(_) => {
                    Some(Callee { name: shared.me.name.clone(), admin_port: shared.me.admin_port })
                }
                Place::Contending(_) | Place::Stopped => None,
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
            .ok_or_else(|| AskError::NoSuchInstance { name: name.into() })?;
        Ok(Callee { name: entry.name, admin_port: entry.admin_port })
    }

    fn call_at(
        &self,
        target: &Callee,
        function: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        let Callee { name, admin_port } = target;
        let at = port::here(*admin_port);
        let request = Message::Calling(Calling::Call {
            function: function.into(),
            payload: Payload(payload.to_vec()),
        });
        let (link, answer) = self
            .exchange(at, name, Purpose::Call, request, deadline, false)
            .map_err(|fault| match fault {
                _ if self.exchanges.is_stopped() => CallError::Ask { source: AskError::Stopped },
                Unanswered::Stopped => CallError::Ask { source: AskError::Stopped },
                Unanswered::Nobody | Unanswered::Lost | Unanswered::Unsure => {
                    CallError::InstanceLost { name: name.clone() }
                }
                Unanswered::Late | Unanswered::Denied(Obstacle::Silent) => CallError::TimedOut,
                Unanswered::Denied(Obstacle::Busy) => CallError::Busy { name: name.clone() },
                Unanswered::Denied(_) | Unanswered::Nonsense => {
                    CallError::InstanceLost { name: name.clone() }
                }
                Unanswered::Io(source) => CallError::Io { doing: "call the instance", source },
            })?;
        let Message::Calling(Calling::Answer { outcome, payload }) = answer else {
            return Err(CallError::Busy { name: name.clone() });
        };
        self.exchanges.pool.give(at, name, link);
        let text = |payload: Payload| String::from_utf8_lossy(&payload.0).into_owned();
        match outcome {
            Outcome::Done => Ok(payload.0),
            Outcome::Failed => Err(CallError::Failed { detail: text(payload) }),
            Outcome::Panicked => Err(CallError::Panicked { detail: text(payload) }),
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
    ) -> Result<Vec<Reply>, CallError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(CallError::PayloadTooLarge { bytes: payload.len(), limit: MAX_PAYLOAD });
        }
        let entries = self.list(clock::deadline(timeout))?.entries;
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(entries.len())));
        let work = || {
            while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let target = Callee { name: entry.name.clone(), admin_port: entry.admin_port };
                let result = self.call_at(&target, function, payload, clock::deadline(timeout));
                results.lock().push(Reply { name: target.name, result });
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
        results.sort_by(|one: &Reply, other| one.name.cmp(&other.name));
        Ok(results)
    }

    fn ask_error(&self, fault: Unanswered) -> AskError {
        let address = self.address();
        match fault {
            // Whatever the end of its connection looked like to it.
            _ if self.exchanges.is_stopped() => AskError::Stopped,
            Unanswered::Stopped => AskError::Stopped,
            Unanswered::Nobody => AskError::NoSupervisor { address },
            Unanswered::Lost | Unanswered::Unsure | Unanswered::Nonsense => {
                AskError::SupervisorLost
            }
            Unanswered::Late | Unanswered::Denied(Obstacle::Silent) => AskError::TimedOut,
            Unanswered::Denied(Obstacle::Busy) => AskError::Busy,
            Unanswered::Denied(Obstacle::SteppingDown) => AskError::NoSupervisor { address },
            Unanswered::Denied(obstacle) => AskError::Refused {
                source: Box::new(join_error(obstacle, &self.pass, address, None, Duration::ZERO)),
            },
            Unanswered::Io(source) => AskError::Io { doing: "ask the supervisor", source },
        }
    }
}

/// The place of the registry.
pub(crate) enum Located {
    /// In this process, because this instance is supervisor.
    Here(Arc<Server>),
    /// Behind this port.
    At(u16),
}

impl Located {
    pub(super) fn port(&self) -> u16 {
        match self {
            Located::Here(server) => server.registry_port(),
            Located::At(port) => *port,
        }
    }
}

/// The result of waiting for a registry.
pub(super) enum Awaited {
    Found(Located),
    /// The instance has left, or the wait was called off.
    Stopped,
    /// The deadline has passed.
    Late,
}

/// Waits until the instance `shared` knows a supervisor whose registry is `wanted`. To call off the
/// wait, ring the bell of the instance's presence.
pub(super) fn await_registry(
    shared: &Shared,
    deadline: Option<Instant>,
    wanted: impl Fn(&Located) -> bool,
    is_called_off: impl Fn() -> bool,
) -> Awaited {
    let found = shared.presence.wait(deadline, |inside| {
        if is_called_off() {
            return Some(Awaited::Stopped);
        }
        let located = match &inside.place {
            Place::Supervisor(server) => Located::Here(server.clone()),
            Place::Subordinate(known) => Located::At(known.registry_port),
            Place::Contending(_) => return None,
            Place::Stopped => return Some(Awaited::Stopped),
        };
        Some(located).filter(&wanted).map(Awaited::Found)
    });
    found.unwrap_or(Awaited::Late)
}
