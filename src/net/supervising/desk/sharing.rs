//! One listener at the desk: who has it, who must show it, and whom it is given to.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::watch::Reports;
use super::{Desk, DeskState};
use crate::config::{DEFAULT_BACKLOG, LONELY, SHOW_WAIT, SURVIVORS_AT_DESK};
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::transport::parcel::Parcels;
use crate::net::transport::port::Listening;
use crate::state::turns::{self, Turns};
use crate::state::{ConnId, Time};
use crate::sys::queue::{self, Queue};
use crate::wire::{Acceptor, FromAcceptor, Message, Terms, ToAcceptor};

/// One listener, and its turns.
pub(super) struct SharedListener {
    pub(super) address: String,
    /// The desk's own copy; `None` until somebody has shown it.
    pub(super) socket: Option<Arc<Listening>>,
    pub(super) turns: Turns,
    /// Who has been asked to show it and has not answered, and since when.
    pub(super) asked: Option<(ConnId, Time)>,
    /// Since when nobody is at it.
    pub(super) lonely_since: Option<Time>,
    pub(super) reports: Reports,
}

impl SharedListener {
    pub(super) fn new(address: String, reports: Reports) -> Self {
        SharedListener {
            address,
            socket: None,
            turns: Turns::default(),
            asked: None,
            lonely_since: None,
            reports,
        }
    }
}

impl SharedListener {
    /// Notes that one need not be waited for.
    fn end_asking(&mut self, conn: ConnId) {
        self.asked.take_if(|(asked, _)| *asked == conn);
    }

    /// Returns when something is to be done here, if nothing happens until then.
    pub(super) fn wake_at(&self) -> Option<Time> {
        let late = self.asked.map(|(_, since)| since + SHOW_WAIT);
        let lonely = self.lonely_since.map(|since| since + LONELY);
        [self.turns.wake_at(), late, lonely].into_iter().flatten().min()
    }
}

/// A connection of an instance that accepts at one listener, or wants to.
pub(super) struct Seat {
    pub(super) parcels: Parcels,
    /// That of the listener.
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) terms: Terms,
    /// What it has brought from another desk.
    pub(super) unspent: u64,
    /// It has been given the listener, and takes part.
    pub(super) has_it: bool,
    /// It has been asked to show it.
    pub(super) was_asked: bool,
    /// It was asked and did not answer in time: it may yet show the listener.
    pub(super) is_late: bool,
    /// It is to accept no more.
    pub(super) is_drained: bool,
}

pub(super) fn describe(acceptor: &turns::Sharer) -> Acceptor {
    Acceptor {
        name: acceptor.name.clone(),
        policy: acceptor.terms.policy,
        weight: acceptor.terms.weight,
        capacity: acceptor.terms.capacity,
        turns: acceptor.out(),
        open: acceptor.report.open,
        taken: acceptor.report.taken,
        draining: acceptor.is_draining,
    }
}

impl Desk {
    /// Gives the listener to all that want it, or has one of them show it.
    pub(super) fn proceed(&self, state: &mut DeskState, number: u64) {
        let DeskState { listeners, seats, .. } = state;
        let Some(listener) = listeners.get_mut(&number) else { return };
        let is_late = seats.values().any(|seat| seat.number == number && seat.is_late);
        let mut waiting =
            seats.iter_mut().filter(|(_, seat)| seat.number == number && !seat.has_it);
        if let Some(socket) = &listener.socket {
            for (conn, seat) in waiting {
                seat.has_it = seat.parcels.send_with(ToAcceptor::Given {}, socket.as_fd());
                if seat.has_it {
                    let (name, terms) = (seat.name.clone(), seat.terms);
                    listener.turns.enter(*conn, name, terms, seat.unspent);
                    if seat.is_drained {
                        drain(*conn, seat, &mut listener.turns);
                    }
                } else {
                    end(seat);
                }
            }
        } else if listener.asked.is_none() {
            if let Some((conn, seat)) = waiting.find(|(_, seat)| !seat.was_asked) {
                seat.was_asked = true;
                listener.asked = Some((*conn, clock::now()));
                let within = if is_late { SURVIVORS_AT_DESK } else { self.survivors_within() };
                let within_ms = within.as_millis() as u32;
                seat.parcels.send(ToAcceptor::Show { within_ms });
            }
        }
    }

    /// Takes what one has said. Returns what it did wrong, if it broke the protocol.
    pub(super) fn hear(
        &self,
        state: &mut DeskState,
        conn: ConnId,
        message: Message,
    ) -> Result<(), &'static str> {
        let DeskState { listeners, seats, .. } = state;
        let Some(seat) = seats.get_mut(&conn) else { return Ok(()) };
        let number = seat.number;
        let Some(listener) = listeners.get_mut(&number) else { return Ok(()) };
        match message {
            Message::FromAcceptor(FromAcceptor::Took { report }) if seat.has_it => {
                seat.parcels.flush();
                if !listener.turns.report(conn, report) {
                    return Err("it used more turns than it had");
                }
            }
            Message::FromAcceptor(FromAcceptor::NotShown {}) if seat.was_asked => {
                listener.end_asking(conn);
                self.proceed(state, number);
            }
            // It may come late, when another has been asked, or has shown it.
            Message::FromAcceptor(FromAcceptor::Shown {}) if seat.was_asked => {
                let socket = Arc::new(seat.parcels.take_brought().ok_or("it showed nothing")?);
                if seat.has_it {
                    return Ok(());
                }
                if !is_listener(&socket, &listener.address) {
                    return Err("what it showed is not a listener of this address");
                }
                self.watch.listener(number, &socket).map_err(|_| "it cannot be watched")?;
                (listener.socket, listener.asked) = (Some(socket), None);
                self.proceed(state, number);
            }
            _ => return Err("a message in the wrong place"),
        }
        Ok(())
    }

    /// Forgets one whose connection has ended.
    pub(super) fn forget(&self, state: &mut DeskState, conn: ConnId) {
        let Some(seat) = state.seats.remove(&conn) else { return };
        let number = seat.number;
        let is_last = !state.seats.values().any(|seat| seat.number == number);
        let Some(listener) = state.listeners.get_mut(&number) else { return };
        listener.turns.leave(conn);
        listener.end_asking(conn);
        if !is_last {
            self.proceed(state, number); // it may have been asked to show the listener
        } else if listener.socket.is_some() {
            listener.lonely_since = Some(clock::now());
        } else {
            state.listeners.remove(&number);
        }
    }

    /// Looks how many wait at a listener, and has it listen again if somebody has shut it down.
    /// Returns false if there is nothing to serve.
    pub(super) fn look(&self, state: &mut DeskState, number: u64) -> bool {
        let DeskState { listeners, seats, .. } = state;
        let Some(listener) = listeners.get_mut(&number) else { return false };
        let Some(socket) = &listener.socket else { return false };
        match queue::look(socket.as_fd()) {
            Ok(Queue::Holds(waiting)) => listener.turns.look(waiting),
            Ok(Queue::Shut) => {
                let address = &listener.address;
                let mut here = seats.values_mut().filter(|seat| seat.number == number);
                match rustix::net::listen(&**socket, DEFAULT_BACKLOG as i32) {
                    Ok(()) => {
                        complain!(
                            Warn,
                            address,
                            "a process has shut down the listener of {address}, which all \
                             instances share; it listens again, and what waited in it is lost"
                        );
                        listener.turns.look(0);
                        here.filter(|seat| seat.has_it).for_each(|seat| {
                            seat.parcels.send(ToAcceptor::Revived {});
                        });
                    }
                    Err(error) => {
                        complain!(
                            Error,
                            address,
                            "a process has shut down the listener of {address}, which all \
                             instances share, and it cannot listen again: {error}"
                        );
                        // They come back, and one of them makes another.
                        here.by_ref().for_each(|seat| end(seat));
                        self.watch.leave(socket);
                        listener.socket = None;
                        return false;
                    }
                }
            }
            Err(error) => {
                complain!(Error, &listener.address, "cannot look at a listener: {error}");
                listener.turns.look(0);
            }
        }
        true
    }
}

/// Has one that takes part accept no more. That is the last word to it: its thread that waits for
/// the end reads it, should no other do so.
pub(super) fn drain(conn: ConnId, seat: &mut Seat, turns: &mut Turns) {
    turns.drain(conn);
    if seat.parcels.send(ToAcceptor::Drained {}) {
        _ = seat.parcels.stream().shutdown(std::net::Shutdown::Write);
    }
}

/// Ends a connection under whoever waits on it.
pub(super) fn end(seat: &Seat) {
    _ = seat.parcels.stream().shutdown(std::net::Shutdown::Both);
}

/// Returns true if this is a socket that listens at `address`.
fn is_listener(socket: &Listening, address: &str) -> bool {
    let at = socket.local_addr().ok();
    at == address.parse::<SocketAddr>().ok()
        && at.is_some()
        && matches!(queue::look(socket.as_fd()), Ok(Queue::Holds(_)))
}
