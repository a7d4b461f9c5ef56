//! Decides which connections are admitted at a port that is served, and which one makes room for
//! another.
//!
//! A connection is pending until its handshake has ended, and then a client. Both are limited. No
//! stranger, whether silent, slow or many, keeps the others out:
//!
//! - Of the pending connections, the oldest goes that has not sent a valid message in time; if
//!   there is none, the oldest of all goes, once it has had much longer.
//! - Of the clients, the idle one goes whose last request is the oldest; a busy one stays.

use std::collections::BTreeMap;

use super::{ConnId, Time};
use crate::config::MAX_PENDING;

/// How long a pending connection may send no valid message when there is no room. A client of ours
/// speaks as soon as it is connected; with this, a stranger must open 50,000 silent connections a
/// second to keep the others out.
pub(crate) const SILENT_PATIENCE: Time = Time::from_millis(20);

/// How long a pending connection may take that has sent one: it may be one of thousands that came
/// at once after a failover.
pub(crate) const OPENED_PATIENCE: Time = Time::from_millis(500);

/// The connections of one port. `P` stands for a pending connection, `C` for a client.
pub(crate) struct Admission<P, C> {
    max_clients: usize,
    next: ConnId,
    pending: BTreeMap<ConnId, Handshaking<P>>,
    clients: BTreeMap<ConnId, C>,
    closed: bool,
}

struct Handshaking<P> {
    what: P,
    since: Time,
    /// It has sent a valid message.
    opened: bool,
}

/// There is no room for another client, or the connection itself had to make room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAdmitted;

impl<P, C> Admission<P, C> {
    pub(crate) fn new(max_clients: usize) -> Self {
        Admission {
            max_clients,
            next: 0,
            pending: BTreeMap::new(),
            clients: BTreeMap::new(),
            closed: false,
        }
    }

    /// Admits no more connections.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns true if no connection can begin before another has made way.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// Begins the handshake of a connection; the caller has made room.
    pub(crate) fn begin(&mut self, now: Time, what: P) -> ConnId {
        let conn = self.next;
        self.next += 1;
        self.pending.insert(conn, Handshaking { what, since: now, opened: false });
        conn
    }

    /// Notes that the connection has sent a valid message.
    pub(crate) fn opened(&mut self, conn: ConnId) {
        if let Some(pending) = self.pending.get_mut(&conn) {
            pending.opened = true;
        }
    }

    /// Strikes off the least promising pending connection, which the caller must end; returns
    /// `None` if none is old enough. A connection that `has_spoken`, but has not been listened to
    /// yet, is not silent.
    pub(crate) fn make_way(&mut self, now: Time, has_spoken: impl Fn(&P) -> bool) -> Option<P> {
        let is_old = |since: Time, patience| now.saturating_sub(since) >= patience;
        let silent = self.pending.values_mut().filter(|pending| !pending.opened);
        for oldest in silent.take_while(|oldest| is_old(oldest.since, SILENT_PATIENCE)) {
            oldest.opened = has_spoken(&oldest.what);
            if !oldest.opened {
                break;
            }
        }
        let older = |patience, opened: bool| {
            let (&conn, oldest) =
                self.pending.iter().find(|(_, pending)| pending.opened == opened)?;
            is_old(oldest.since, patience).then_some(conn)
        };
        let conn = older(SILENT_PATIENCE, false).or_else(|| older(OPENED_PATIENCE, true))?;
        self.pending.remove(&conn).map(|pending| pending.what)
    }

    /// Makes a pending connection a client. Returns the client that makes room for it, if one must,
    /// which the caller must end. `idle_since` returns the number of a client's last request, or
    /// `None` for a busy client.
    pub(crate) fn promote(
        &mut self,
        conn: ConnId,
        client: C,
        idle_since: impl Fn(&C) -> Option<u64>,
    ) -> Result<Option<C>, NotAdmitted> {
        self.pending.remove(&conn).ok_or(NotAdmitted)?; // it had to make room itself
        let mut replaced = None;
        if self.clients.len() >= self.max_clients {
            let idle =
                self.clients.iter().filter_map(|(&conn, one)| Some((idle_since(one)?, conn)));
            let (_, longest) = idle.min().ok_or(NotAdmitted)?;
            replaced = self.clients.remove(&longest);
        }
        self.clients.insert(conn, client);
        Ok(replaced)
    }

    /// Strikes off a connection that has ended.
    pub(crate) fn end(&mut self, conn: ConnId) {
        self.pending.remove(&conn);
        self.clients.remove(&conn);
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &P> {
        self.pending.values().map(|pending| &pending.what)
    }

    pub(crate) fn clients(&self) -> impl Iterator<Item = &C> {
        self.clients.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands for a connection is its name; one whose name is in capitals has spoken.
    type Port = Admission<&'static str, (&'static str, Option<u64>)>;

    const MS: Time = Time::from_millis(1);

    fn has_spoken(name: &&str) -> bool {
        name.chars().all(char::is_uppercase)
    }

    fn make_way(port: &mut Port, now: Time) -> Option<&'static str> {
        port.make_way(now, has_spoken)
    }

    #[test]
    fn the_oldest_silent_one_makes_way_once_it_has_had_its_chance() {
        let mut port = Port::new(1);
        port.begin(5 * MS, "a");
        port.begin(6 * MS, "b");
        assert_eq!(make_way(&mut port, 5 * MS + SILENT_PATIENCE - MS), None);
        assert_eq!(make_way(&mut port, 5 * MS + SILENT_PATIENCE), Some("a"));
        assert_eq!(make_way(&mut port, 5 * MS + SILENT_PATIENCE), None);
        assert_eq!(make_way(&mut port, 6 * MS + SILENT_PATIENCE), Some("b"));
        assert_eq!(make_way(&mut port, Time::MAX), None);
    }

    #[test]
    fn one_that_has_spoken_is_borne_longer_whether_it_was_heard_or_not() {
        let mut port = Port::new(1);
        let heard = port.begin(Time::ZERO, "a");
        port.begin(Time::ZERO, "B");
        port.begin(10 * MS, "c");
        port.opened(heard);
        assert_eq!(make_way(&mut port, 29 * MS), None);
        assert_eq!(make_way(&mut port, 30 * MS), Some("c"), "the only silent one");
        assert_eq!(make_way(&mut port, OPENED_PATIENCE - MS), None);
        assert_eq!(make_way(&mut port, OPENED_PATIENCE), Some("a"));
        assert_eq!(make_way(&mut port, OPENED_PATIENCE), Some("B"));
    }

    #[test]
    fn a_clock_that_seems_to_go_back_makes_nobody_old() {
        let mut port = Port::new(1);
        port.begin(100 * MS, "a");
        assert_eq!(make_way(&mut port, Time::ZERO), None);
    }

    #[test]
    fn a_client_that_is_idle_makes_room_the_longest_idle_first_and_a_busy_one_never() {
        let mut port = Port::new(3);
        let mut enter = |name, idle: Option<u64>| {
            let conn = port.begin(Time::ZERO, name);
            let replaced = port.promote(conn, (name, idle), |(_, idle)| *idle);
            (conn, replaced.map(|replaced| replaced.map(|(name, _)| name)))
        };
        assert_eq!(enter("busy", None).1, Ok(None));
        assert_eq!(enter("young", Some(9)).1, Ok(None));
        assert_eq!(enter("old", Some(3)).1, Ok(None));
        assert_eq!(enter("one", None).1, Ok(Some("old")));
        assert_eq!(enter("two", None).1, Ok(Some("young")));
        let (conn, refused) = enter("three", None);
        assert_eq!(refused, Err(NotAdmitted));
        port.end(conn);
        assert_eq!(
            port.clients().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["busy", "one", "two"]
        );
        assert_eq!(port.pending().count(), 0);
    }

    #[test]
    fn one_that_had_to_make_way_itself_is_not_let_in() {
        let mut port = Port::new(3);
        let conn = port.begin(Time::ZERO, "a");
        assert_eq!(make_way(&mut port, SILENT_PATIENCE), Some("a"));
        assert_eq!(port.promote(conn, ("a", None), |(_, idle)| *idle), Err(NotAdmitted));
        assert_eq!(port.clients().count(), 0);
    }

    #[test]
    fn it_is_full_with_as_many_handshakes_as_are_allowed() {
        let mut port = Port::new(1);
        let first = port.begin(Time::ZERO, "a");
        (1..MAX_PENDING).for_each(|_| _ = port.begin(Time::ZERO, "b"));
        assert!(port.is_full());
        port.end(first);
        assert!(!port.is_full());
    }
}
