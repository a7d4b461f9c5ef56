//! The desk: where the instances of a group share listeners. It hands each listener's descriptor
//! to whoever wants to accept there, and gives the turns.
//!
//! The desk makes no listener: the first instance that wants one makes it, with its own rights and
//! in its own words if it fails, and shows it here. Every acceptor holds the descriptor. When the
//! supervisor dies, the first survivor at the next desk shows it there.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{
    MAX_ADDRESS, MAX_CLIENTS, MAX_LISTENERS, MAX_MEMBERS, SURVIVORS_AT_DESK, check_name,
};
use crate::error::Cured;
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::{self, Threads};
use crate::net::rt::waker::Waker;
use crate::net::transport::handshake::Pass;
use crate::net::transport::parcel::Parcels;
use crate::net::transport::port::Stream;
use crate::net::transport::rendezvous;
use crate::net::transport::service::{Service, ServiceKind};
use crate::net::transport::session::Session;
use crate::state::{ConnId, Time};
use crate::wire::{Acceptor, DeskName, FromAcceptor, Message, Purpose, Refusal, Response, Terms};

mod sharing;
mod turning;
mod watch;

use sharing::{Seat, SharedListener};
use watch::Watch;

/// Where the desk is, and whom it serves.
pub(crate) struct DeskFacts {
    pub(crate) pass: Pass,
    /// The supervisor port: what both ends of a handshake say that they talk about.
    pub(crate) at: std::net::SocketAddrV4,
    /// The group's directory, for systems that need a file.
    pub(crate) directory: PathBuf,
    /// The supervisor's name, for the log.
    pub(crate) supervisor: String,
    /// When the supervisor was elected.
    pub(crate) elected: Time,
}

pub(crate) struct Desk {
    facts: DeskFacts,
    name: DeskName,
    service: Arc<Service>,
    // Under it are decisions, and reads and sends that do not wait.
    inside: Mutex<DeskState>,
    watch: Watch,
    waker: Waker,
    closing: AtomicBool,
    threads: Threads,
}

#[derive(Default)]
struct DeskState {
    listeners: BTreeMap<u64, SharedListener>,
    seats: BTreeMap<ConnId, Seat>,
    next: u64,
}

impl Desk {
    /// Opens the desk, with two threads: one for those who come, one for the turns.
    pub(crate) fn open(facts: DeskFacts) -> io::Result<Arc<Self>> {
        let mut name = DeskName::default();
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        let socket = rendezvous::open(&facts.directory, name)?;
        let kind = ServiceKind {
            thread: threads::DESK,
            purposes: &[Purpose::Accept],
            max_clients: MAX_CLIENTS,
            on_top: false,
        };
        let service = Service::new(kind, facts.at, facts.pass.clone())?;
        let desk = Arc::new(Desk {
            facts,
            name,
            service,
            inside: Mutex::default(),
            watch: Watch::new()?,
            waker: Waker::new()?,
            closing: AtomicBool::new(false),
            threads: Threads::default(),
        });
        desk.watch.waker(&desk.waker)?;
        let (turning, meeting) = (desk.clone(), desk.clone());
        desk.threads.spawn(threads::TURNS, move || turning.turn())?;
        let started = desk.threads.spawn(threads::DESK, move || {
            let (done, desk) = (meeting.clone(), meeting.clone());
            let done = move || done.is_closing();
            drop(meeting.service.run(socket, done, move |session| desk.receive(session)));
        });
        if let Err(error) = started {
            desk.close();
            return Err(error);
        }
        Ok(desk)
    }

    pub(crate) fn name(&self) -> DeskName {
        self.name
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ends all connections: acceptors go to the next desk, and keep their turns.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        rendezvous::close(&self.facts.directory, self.name);
        self.waker.wake();
        self.service.wake();
        self.service.close();
        self.threads.join_all();
        let state = std::mem::take(&mut *self.inside.lock());
        drop(state);
    }

    /// Takes in one who has passed the handshake. From here on its connection is served by the
    /// thread that gives the turns.
    fn receive(&self, session: Session) {
        let (conn, first) = (session.conn, session.first.clone());
        let Message::FromAcceptor(FromAcceptor::Listens { address, name, terms, unspent }) = first
        else {
            let why = format!("{} as first request", first.name());
            return session.cut_off(&why, "not a first request of the desk");
        };
        if !is_fit(&address, &name, &terms) {
            return session.cut_off("an address or name that is none", "unfit to listen");
        }
        let mut state = self.inside.lock();
        if self.is_closing() {
            drop(state);
            let refusal = Message::rejected(Refusal::SteppingDown, "another instance takes over");
            return session.link.close_with(&refusal);
        }
        let stream = session.link.stream().clone();
        let number = match self.place_of(&mut state, &address, conn, &stream) {
            Ok(number) => number,
            Err(refused) => {
                drop(state);
                return session.link.close_with(&refused);
            }
        };
        log::debug!("{}: {name:?} listens on {address}", self.facts.supervisor);
        let (stream, incoming) = session.link.into_parts();
        let seat = Seat {
            parcels: Parcels::new(stream, incoming),
            number,
            name,
            terms,
            unspent,
            has_it: false,
            was_asked: false,
            is_late: false,
            is_drained: false,
        };
        state.seats.insert(conn, seat);
        self.proceed(&mut state, number);
        self.serve(&mut state, number, false);
        self.waker.wake(); // the thread sleeps until the time it knew of
    }

    /// Finds the listener for an address, a new one if need be, and watches the connection there.
    /// Returns the listener's number, or what the other end is told.
    fn place_of(
        &self,
        state: &mut DeskState,
        address: &str,
        conn: ConnId,
        stream: &Arc<Stream>,
    ) -> Result<u64, Message> {
        let full = |detail| Message::rejected(Refusal::GroupFull, detail);
        let system = |error: io::Error| {
            let detail = Cured(&error).to_string();
            complain!(Warn, "", "pares-desk: {detail}");
            Message::rejected(Refusal::Busy, detail)
        };
        if state.seats.len() >= MAX_MEMBERS {
            return Err(full(format!("the desk has {MAX_MEMBERS} connections, the most it may")));
        }
        let mut known = state.listeners.iter_mut();
        if let Some((number, listener)) = known.find(|(_, one)| one.address == address) {
            self.watch.line(conn, stream, &listener.reports).map_err(system)?;
            listener.lonely_since = None;
            return Ok(*number);
        }
        if state.listeners.len() >= MAX_LISTENERS {
            return Err(full(format!(
                "the group shares {MAX_LISTENERS} listeners, the most it may"
            )));
        }
        let number = state.next;
        let reports = self.watch.begin(number).map_err(system)?;
        self.watch.line(conn, stream, &reports).map_err(system)?;
        state.next += 1;
        state.listeners.insert(number, SharedListener::new(address.into(), reports));
        Ok(number)
    }

    /// Returns how long survivors may still bring the listener that somebody is asked to make.
    fn survivors_within(&self) -> Duration {
        (self.facts.elected + SURVIVORS_AT_DESK).saturating_sub(clock::now())
    }

    /// Answers which listeners are shared, and by whom.
    pub(crate) fn list(&self, answer: &mut Vec<Message>) {
        let mut state = self.inside.lock();
        let numbers: Vec<u64> = state.listeners.keys().copied().collect();
        for number in numbers {
            self.serve(&mut state, number, true);
        }
        let shown = || state.listeners.values().filter(|listener| listener.socket.is_some());
        answer.push(Response::Listeners { count: shown().count() as u32 }.into());
        for listener in shown() {
            let acceptors = listener.turns.acceptors();
            let acceptors: Vec<Acceptor> = acceptors.map(sharing::describe).collect();
            let (address, waiting) = (listener.address.clone(), listener.turns.waiting());
            let count = acceptors.len() as u32;
            answer.push(Response::Listener { address, waiting, acceptors: count }.into());
            answer.extend(
                acceptors.into_iter().map(|acceptor| Response::Acceptor { acceptor }.into()),
            );
        }
    }

    /// Has an instance accept no more. Returns at how many listeners it did, or will have.
    pub(crate) fn drain(&self, name: &str) -> u64 {
        let mut state = self.inside.lock();
        let DeskState { listeners, seats, .. } = &mut *state;
        let mut numbers = Vec::new();
        for (conn, seat) in seats.iter_mut().filter(|(_, seat)| seat.name == name) {
            numbers.push(seat.number);
            // One that has no listener yet is told after it has got it.
            if !std::mem::replace(&mut seat.is_drained, true) && seat.has_it {
                let listener = listeners.get_mut(&seat.number);
                listener.into_iter().for_each(|one| sharing::drain(*conn, seat, &mut one.turns));
            }
        }
        for number in &numbers {
            self.serve(&mut state, *number, false);
        }
        self.waker.wake();
        numbers.len() as u64
    }
}

fn is_fit(address: &str, name: &str, terms: &Terms) -> bool {
    address.len() <= MAX_ADDRESS
        && address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0)
        && check_name(name).is_ok()
        && terms.weight > 0
        && terms.capacity > 0
}
