//! Decides whose turn it is to accept a connection from a listener that several instances share.
//!
//! A *turn* is the right to accept one connection, whichever comes next. It is given before it is
//! needed: as long as an acceptor has room, one turn more is out than connections wait. A
//! connection that arrives therefore finds an acceptor that may take it at once, and the desk,
//! which gives the turns, is on nobody's way. A turn is kept until it is used. Who turns out to
//! have no room keeps it for later, and it does not count meanwhile. While connections wait and
//! nobody has room, each acceptor is given one turn ahead: its next thread need not wait for the
//! desk.
//!
//! Even shares are those of stride scheduling (Waldspurger, Weihl: Stride scheduling, deterministic
//! proportional-share resource management, 1995): each turn moves an acceptor on by a stride of one
//! over its weight, and the next turn is for the one that is furthest behind.
//!
//! Invariants (held to by the simulator in `turns/sim.rs`):
//! * a turn is given only if no more are out than connections wait. Turns that count again, because
//!   their acceptor has room again, may make it more, but never more than acceptors have room for;
//! * no connection waits while an acceptor has room and no turn.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{ConnId, Time};
use crate::config::{LAPSE, MAX_LAG};
use crate::wire::{Policy, Report, Terms};

/// The stride of an acceptor of weight 1. Every weight up to 65,535 divides it closely enough: an
/// acceptor's share differs from its weight by less than a millionth.
const STRIDE: u128 = 1 << 36;

/// What the desk knows of one acceptor.
#[derive(Clone, Debug)]
pub(crate) struct Sharer {
    pub(crate) name: String,
    pub(crate) terms: Terms,
    /// The turns that it has been given, with those that it brought along.
    pub(crate) given: u64,
    pub(crate) report: Report,
    pub(crate) is_draining: bool,
    /// Where it is in the order of turns: the sum of its strides.
    pass: u128,
    /// Since when it leaves a turn unused while connections wait.
    slow_since: Option<Time>,
    /// It has been slow for too long: others get its turns until it answers.
    has_lapsed: bool,
}

impl Sharer {
    fn stride(&self) -> u128 {
        STRIDE / u128::from(self.terms.weight.max(1))
    }

    /// Returns the turns that it holds, whether it has room for them or not.
    fn held(&self) -> u64 {
        self.given.saturating_sub(self.report.spent)
    }

    /// Returns the turns that it can use now.
    pub(crate) fn out(&self) -> u64 {
        if self.has_lapsed || self.is_draining { 0 } else { self.held().min(self.room()) }
    }

    fn room(&self) -> u64 {
        u64::from(self.report.ready.min(self.terms.capacity))
    }

    /// Returns the turns that it has beyond its room.
    fn ahead(&self) -> u64 {
        self.held().saturating_sub(self.room())
    }

    /// Returns true if it may be given another turn, of which `ahead` may be beyond its room.
    fn can_have_more(&self, ahead: u64) -> bool {
        let most = (self.room() + ahead).min(u64::from(self.terms.capacity));
        self.terms.policy != Policy::Free
            && !self.is_draining
            && !self.has_lapsed
            && self.held() < most
    }

    /// The connections that it has and is about to have, for each unit of weight, as a fraction.
    fn load(&self) -> (u64, u64) {
        (u64::from(self.report.open) + self.held(), u64::from(self.terms.weight.max(1)))
    }
}

/// The turns at one listener.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    acceptors: BTreeMap<ConnId, Sharer>,
    /// The newest acceptor's: who restarts the instances one by one changes it for all.
    policy: Option<Policy>,
    /// The pass of the acceptor that had the last turn.
    now: u128,
    /// The connections that waited when the desk last looked.
    waiting: u32,
}

/// From now on this acceptor may have accepted so many connections in all. Said again with the same
/// number, it asks for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) to: ConnId,
    pub(crate) in_all: u64,
}

impl Turns {
    /// Takes in an acceptor, which brings `unspent` turns of an earlier desk: never more than its
    /// capacity, which is the most that a desk gives.
    pub(crate) fn enter(&mut self, conn: ConnId, name: String, terms: Terms, unspent: u64) {
        if terms.policy != Policy::Free {
            self.policy = Some(terms.policy);
        }
        let (pass, report) = (self.now, Report::default());
        self.acceptors.insert(
            conn,
            Sharer {
                name,
                terms,
                given: unspent.min(u64::from(terms.capacity)),
                report,
                is_draining: false,
                pass,
                slow_since: None,
                has_lapsed: false,
            },
        );
    }

    /// Takes what an acceptor says of itself. Returns false if it claims more than it was given.
    pub(crate) fn report(&mut self, conn: ConnId, report: Report) -> bool {
        let now = self.now;
        let Some(acceptor) = self.acceptors.get_mut(&conn) else { return true };
        if report.spent > acceptor.given || report.spent < acceptor.report.spent {
            return false;
        }
        // Whoever was away a while does not get all that it has missed at once.
        let lag = acceptor.stride() * u128::from(MAX_LAG);
        acceptor.pass = acceptor.pass.max(now.saturating_sub(lag));
        acceptor.report = report;
        (acceptor.slow_since, acceptor.has_lapsed) = (None, false);
        true
    }

    /// Forgets an acceptor, with its turns.
    pub(crate) fn leave(&mut self, conn: ConnId) {
        self.acceptors.remove(&conn);
    }

    /// Gives an acceptor no more turns. Those that it has are void: it has been, or will be, told.
    pub(crate) fn drain(&mut self, conn: ConnId) {
        self.acceptors.get_mut(&conn).into_iter().for_each(|one| one.is_draining = true);
    }

    /// Takes the number of connections that wait.
    pub(crate) fn look(&mut self, waiting: u32) {
        self.waiting = waiting;
    }

    /// Gives the turns that are due.
    pub(crate) fn deal(&mut self, now: Time) -> Vec<Given> {
        let waiting = u64::from(self.waiting);
        let mut given = self.watch(now);
        let mut out = self.out();
        while out <= waiting && self.give(0, &mut given) {
            out += 1;
        }
        let mut ahead: u64 = self.acceptors.values().map(Sharer::ahead).sum();
        while out + ahead < waiting && self.give(1, &mut given) {
            ahead += 1;
        }
        _ = self.watch(now); // those that have just been given one, too: none lapses yet
        given.into_iter().map(|(to, in_all)| Given { to, in_all }).collect()
    }

    /// Gives one turn. Returns false if nobody may have one.
    fn give(&mut self, ahead: u64, given: &mut BTreeMap<ConnId, u64>) -> bool {
        let Some((conn, acceptor)) = self.next(ahead) else { return false };
        acceptor.given += 1;
        given.insert(conn, acceptor.given);
        let (before, stride) = (acceptor.pass, acceptor.stride());
        acceptor.pass += stride;
        self.now = self.now.max(before);
        true
    }

    /// Takes the turns of those that have left them unused for too long for others. Returns each of
    /// them with what it has been given in all, to ask it for a report: whoever finds others
    /// quicker from now on has none to make by itself.
    fn watch(&mut self, now: Time) -> BTreeMap<ConnId, u64> {
        let mut asked = BTreeMap::new();
        for (conn, acceptor) in &mut self.acceptors {
            if self.waiting == 0 || acceptor.out() == 0 {
                acceptor.slow_since = None;
            } else if now >= *acceptor.slow_since.get_or_insert(now) + LAPSE {
                acceptor.has_lapsed = true;
                asked.insert(*conn, acceptor.given);
            }
        }
        asked
    }

    /// Returns the acceptor whose turn it is; `None` if none may have one.
    fn next(&mut self, ahead: u64) -> Option<(ConnId, &mut Sharer)> {
        let ready = self.acceptors.iter_mut().filter(|(_, one)| one.can_have_more(ahead));
        let chosen = match self.policy? {
            Policy::Even => ready.min_by_key(|(conn, one)| (one.pass, **conn)),
            Policy::Connections => ready.min_by(|(_, one), (_, other)| {
                let ((mine, my_weight), (theirs, their_weight)) = (one.load(), other.load());
                let weighed = |load: u64, weight: u64| u128::from(load) * u128::from(weight);
                weighed(mine, their_weight)
                    .cmp(&weighed(theirs, my_weight))
                    .then(one.pass.cmp(&other.pass))
            }),
            Policy::Standby => ready.min_by_key(|(conn, one)| (Reverse(one.terms.weight), **conn)),
            Policy::Free => None,
        };
        chosen.map(|(conn, acceptor)| (*conn, acceptor))
    }

    /// Returns the number of turns out that count.
    pub(crate) fn out(&self) -> u64 {
        self.acceptors.values().map(Sharer::out).sum()
    }

    /// Returns true if what acceptors report can change whose turn it is, and must be read at once.
    /// Otherwise it may wait for the next connection: nobody wakes for it.
    pub(crate) fn is_short(&self) -> bool {
        self.has_takers() && (self.waiting > 0 || self.out() == 0)
    }

    /// Returns true if there are acceptors that need turns.
    pub(crate) fn has_takers(&self) -> bool {
        self.acceptors.values().any(|one| one.terms.policy != Policy::Free)
    }

    /// Returns when to deal again, if nothing is heard until then.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.acceptors
            .values()
            .filter(|one| !one.has_lapsed)
            .filter_map(|one| one.slow_since)
            .min()
            .map(|since| since + LAPSE)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    pub(crate) fn acceptors(&self) -> impl Iterator<Item = &Sharer> {
        self.acceptors.values()
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
