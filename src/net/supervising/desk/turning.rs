//! The thread that gives the turns: woken by connections that arrive, and by what acceptors say
//! while that matters.

use std::collections::BTreeSet;

use super::sharing::{SharedListener, end};
use super::watch::{Found, TELLS_ONCE};
use super::{Desk, DeskState};
use crate::config::{LONELY, SHOW_WAIT};
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::transport::link::LinkError;
use crate::state::ConnId;
use crate::state::turns::Given;
use crate::wire::ToAcceptor;

impl Desk {
    /// Gives turns until the desk is closed.
    pub(super) fn turn(&self) {
        let mut wake_at = None;
        while !self.is_closing() && self.waker.is_usable() {
            let timeout = wake_at.map(|at: crate::state::Time| at.saturating_sub(clock::now()));
            let Ok(found) = self.watch.wait(&self.waker, timeout) else { return };
            let mut state = self.inside.lock();
            let mut numbers = BTreeSet::new();
            for one in found {
                match one {
                    Found::Listener(number) => _ = numbers.insert(number),
                    Found::End(conn) => {
                        let number = state.seats.get(&conn).map(|seat| seat.number);
                        self.read(&mut state, conn);
                        self.forget(&mut state, conn);
                        numbers.extend(number);
                    }
                }
            }
            let now = clock::now();
            let mut due = Vec::new();
            let DeskState { listeners, seats, .. } = &mut *state;
            for (number, listener) in listeners {
                if listener.wake_at().is_some_and(|at| at <= now) {
                    let late = listener.asked.take_if(|(_, since)| now >= *since + SHOW_WAIT);
                    let late = late.and_then(|(conn, _)| seats.get_mut(&conn));
                    late.into_iter().for_each(|seat| seat.is_late = true);
                    due.push(*number);
                }
            }
            due.iter().for_each(|number| self.proceed(&mut state, *number));
            numbers.extend(due);
            state.listeners.retain(|_, listener| {
                let stays = listener.lonely_since.is_none_or(|since| now < since + LONELY);
                if let (false, Some(socket)) = (stays, &listener.socket) {
                    self.watch.leave(socket);
                }
                stays
            });
            for number in numbers {
                self.serve(&mut state, number, false);
            }
            wake_at = state.listeners.values().filter_map(SharedListener::wake_at).min();
        }
    }

    /// Looks at a listener and gives the turns that are due. What acceptors have said is read only
    /// if it can change whose turn it is, or if somebody wants to know it `all`.
    pub(super) fn serve(&self, state: &mut DeskState, number: u64, all: bool) {
        let has_it = self.look(state, number);
        let Some(listener) = state.listeners.get(&number) else { return };
        if all || !has_it || listener.turns.is_short() {
            for conn in listener.reports.readable() {
                self.read(state, conn);
            }
        }
        let DeskState { listeners, seats, .. } = state;
        let Some(listener) = listeners.get_mut(&number) else { return };
        for Given { to, in_all } in listener.turns.deal(clock::now()) {
            if let Some(seat) = seats.get_mut(&to) {
                seat.parcels.send(ToAcceptor::Turns { in_all });
            }
        }
        let says = listener.socket.is_none() || listener.turns.is_short();
        let arrives = TELLS_ONCE || listener.turns.waiting() == 0;
        let interest = (says, arrives && listener.turns.has_takers());
        self.watch.mind(number, &mut listener.reports, listener.socket.as_ref(), interest);
    }

    /// Reads what one has said.
    fn read(&self, state: &mut DeskState, conn: ConnId) {
        loop {
            let Some(seat) = state.seats.get_mut(&conn) else { return };
            let fault = match seat.parcels.next() {
                Ok(None) => return,
                Ok(Some(message)) => match self.hear(state, conn, message) {
                    Ok(()) => continue,
                    Err(fault) => fault.to_owned(),
                },
                Err(LinkError::Malformed(error)) => error.to_string(),
                Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => return,
            };
            if let Some(seat) = state.seats.get(&conn) {
                let name = &seat.name;
                complain!(
                    Warn,
                    name,
                    "pares-turns: cut off `{name}`, which broke the protocol: {fault}"
                );
                end(seat); // and the end is found
            }
            return;
        }
    }
}
