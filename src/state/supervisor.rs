//! Decides for the supervisor: which instances it admits, what the registry says, when the group is
//! settled, and what it tells to which member.
//!
//! Invariants:
//! * every admitted connection has exactly one registry entry, and every entry but the supervisor's
//!   own has exactly one connection (`check`);
//! * a member is welcomed only after every witness has been told of it: whichever witnesses
//!   survive, they know every survivor (kernel: what was written is read, even after our death);
//! * `settled` never turns false again, and nothing is granted before it is true.
//!
//! `supervisor/sharing.rs` has what the instances share (permits, tallies, settings, messages),
//! `supervisor/settling.rs` the survivors that a new supervisor waits for,
//! `supervisor/witnesses.rs` the members that know the group.

use std::collections::{BTreeMap, BTreeSet};

use super::hello::Hello;
use super::permits::{Claims, Ledger, Verdict};
use super::registry::{Change, Registry};
use super::settings::Settings;
use super::subordinate::{Roster, Subordinate};
use super::term::Last;
use super::{ConnId, Time};
use crate::config::{CROWD, RENEWED_FROM, WITNESSES};
use crate::wire::{Control, Departure, Entry, FromHolder, LeftCause, Message, Refusal, ToHolder};

mod admitting;
mod settling;
mod sharing;
mod telling;
mod witnesses;

use settling::Settling;

/// What a new supervisor knows of the group before its election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// No instance: the last supervisor left as the last one.
    Nobody,
    /// These may have survived.
    These(Roster),
    /// Unknown: it was not there, or was not told, and any number may have survived.
    Unknown,
}

impl Before {
    /// Returns what an instance knows that has claimed the port in `term`: from the last supervisor
    /// that it `followed`, and from the group's directory, which says whether the last supervisor
    /// left no instance behind.
    pub(crate) fn of(followed: Option<Subordinate>, term: u64, left_nobody: bool) -> Self {
        // Of an older term the roster is out of date: others have supervised since.
        let recent = followed.filter(|followed| followed.term.checked_add(1) == Some(term));
        match recent.and_then(|followed| followed.roster) {
            Some(roster) => Before::These(roster),
            None if left_nobody => Before::Nobody,
            None => Before::Unknown,
        }
    }
}

/// Stands for the supervisor's own instance where others have a connection.
pub(crate) const OWN: ConnId = ConnId::MAX;

/// The winner of an election, with what it knows and holds itself.
#[derive(Clone, Debug)]
pub(crate) struct Elected {
    pub(crate) me: Entry,
    pub(crate) term: u64,
    pub(crate) registry_port: u16,
    pub(crate) before: Before,
    /// The previous supervisor, if it is gone, and how it went.
    pub(crate) predecessor: Option<(String, LeftCause)>,
    pub(crate) claims: Claims,
    pub(crate) settings: Settings,
    pub(crate) settle_time: Time,
    pub(crate) max_members: usize,
}

/// An event for a supervisor.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // it is dealt with at once, and a box costs more
pub(crate) enum ServerInput {
    /// A client that has proved that it has the key wants to join.
    Hello { conn: ConnId, hello: Hello },
    /// An admitted member said something about what it holds; or the supervisor's own instance, as
    /// [`OWN`].
    Said { conn: ConnId, message: FromHolder },
    /// An admitted member said goodbye.
    Leaves { conn: ConnId },
    /// An admitted member sent something that is not a message, or has no place on a lifeline.
    Broke { conn: ConnId, why: String },
    /// A connection ended.
    Ended { conn: ConnId },
    /// No process listens any more at this admin endpoint.
    Dead { admin_port: u16 },
    /// The time given by [`Supervisor::wake_at`] has come.
    Woken,
}

impl ServerInput {
    /// Returns what `message` of an admitted member means.
    pub(crate) fn of(conn: ConnId, message: Message) -> Self {
        match message {
            Message::FromHolder(message) => ServerInput::Said { conn, message },
            Message::Control(Control::Leaving { reason: Departure::Leaves }) => {
                ServerInput::Leaves { conn }
            }
            other => {
                ServerInput::Broke { conn, why: format!("{} from a subordinate", other.name()) }
            }
        }
    }
}

/// What to do about it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAction {
    Send {
        conn: ConnId,
        message: Message,
    },
    Close {
        conn: ConnId,
    },
    /// Send the same to all of these.
    Tell {
        conns: Vec<ConnId>,
        message: Message,
    },
    /// Pass this to the supervisor's own instance, as if it came over a lifeline.
    Own {
        message: ToHolder,
    },
    /// Find out whether a process listens at this admin endpoint.
    Probe {
        admin_port: u16,
    },
    /// There is [news](Supervisor::news) for some of the subscribers.
    Announce,
    /// Report that the group is settled.
    Settled {
        term: u64,
        members: u32,
    },
    /// Keep and report the higher term.
    TermRaised {
        term: u64,
    },
}

/// How far a subscriber has been told of changes.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    state: u64,
    /// `None` for a subordinate, which does not need the entries; otherwise the number of the next
    /// change.
    registry: Option<u64>,
}

#[derive(Debug)]
struct Admitted {
    name: String,
    admin_port: u16,
    /// The cause of its end, once it has come.
    cause: LeftCause,
    /// Bytes of messages that it has not reported to have taken.
    under_way: u32,
    /// The number of messages that it missed since the last one that was sent to it.
    missed: u64,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    term: u64,
    name: String,
    admin_port: u16,
    registry_port: u16,
    max_members: usize,
    predecessor: Option<(String, LeftCause)>,
    registry: Registry,
    admitted: BTreeMap<ConnId, Admitted>,
    connection: BTreeMap<String, ConnId>,
    /// The witnesses, which are told of every instance: all members, up to [`WITNESSES`]. The
    /// oldest witness comes first.
    witnesses: Vec<ConnId>,
    /// The number of members at which the next witness makes place for a new one.
    renew_at: usize,
    /// `None` once settled.
    settling: Option<Settling>,
    /// Grows whenever the content of [`News::State`](crate::wire::News::State) changes and members
    /// must learn of it.
    state_version: u64,
    /// The number of instances at which all are told the number.
    tell_size_at: usize,
    ledger: Ledger,
    settings: Settings,
    /// Questions for totals that wait until the group is settled.
    queries: BTreeMap<(ConnId, u64), String>,
}

impl Supervisor {
    pub(crate) fn new(elected: Elected, now: Time, actions: &mut Vec<ServerAction>) -> Self {
        let Elected { me, term, registry_port, before, predecessor, .. } = elected;
        let Elected { claims, settings, settle_time, max_members, .. } = elected;
        let (mut expected, unknown_since) = match before {
            Before::Nobody => (BTreeSet::new(), None),
            Before::These(roster) => (roster.admin_ports, roster.unknown_since),
            Before::Unknown => (BTreeSet::new(), Some(now)),
        };
        expected.remove(&me.admin_port);
        let mut registry = Registry::default();
        let (name, admin_port) = (me.name.clone(), me.admin_port);
        registry.insert(me);
        let mut this = Supervisor {
            term,
            name,
            admin_port,
            registry_port,
            max_members,
            predecessor,
            registry,
            admitted: BTreeMap::new(),
            connection: BTreeMap::new(),
            witnesses: Vec::new(),
            renew_at: RENEWED_FROM,
            settling: Some(Settling::new(now, settle_time, expected, unknown_since)),
            state_version: 0,
            tell_size_at: CROWD,
            ledger: Ledger::default(),
            settings,
            queries: BTreeMap::new(),
        };
        this.raise_term(this.settings.newest_term(), actions);
        let mut verdicts = Vec::new();
        this.enter_own(claims, &mut verdicts);
        this.settle_if_complete(actions, &mut verdicts);
        this.pronounce(verdicts, actions);
        this
    }

    pub(crate) fn on(&mut self, now: Time, input: ServerInput, actions: &mut Vec<ServerAction>) {
        match input {
            ServerInput::Hello { conn, hello } => self.on_hello(now, conn, hello, actions),
            ServerInput::Said { conn, message } => self.on_said(conn, message, actions),
            ServerInput::Leaves { conn } => self.on_leaving(conn),
            ServerInput::Broke { conn, why } => self.evict(conn, why, actions),
            ServerInput::Ended { conn } => self.on_ended(conn, actions),
            ServerInput::Dead { admin_port } => self.on_dead(now, admin_port, actions),
            ServerInput::Woken => self.on_woken(now, actions),
        }
    }

    /// Returns the connection of another living instance that has the name of `entry`. Its end can
    /// then be looked for before the name is refused.
    pub(crate) fn rival(&self, entry: &Entry) -> Option<ConnId> {
        let conn = *self.connection.get(&entry.name)?;
        (self.registry.entry(&entry.name)?.id != entry.id).then_some(conn)
    }

    /// Returns which instance leaves the registry, and why, if this connection ends now.
    pub(crate) fn departure(&self, conn: ConnId) -> Option<(String, LeftCause)> {
        self.admitted.get(&conn).map(|member| (member.name.clone(), member.cause))
    }

    pub(crate) fn is_member(&self, conn: ConnId) -> bool {
        self.admitted.contains_key(&conn)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    pub(crate) fn settled(&self) -> bool {
        self.settling.is_none()
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.admitted.is_empty()
    }

    /// Returns true if no other instance is here and none can come back: the next one to start need
    /// not wait for survivors.
    fn leaves_nobody(&self) -> bool {
        self.is_alone() && self.settled()
    }

    /// Returns what the group's directory must keep of this supervisorship if it ends now, for this
    /// reason.
    pub(crate) fn last(&self, reason: Departure) -> Last {
        Last { term: self.term, vacant: reason == Departure::Leaves && self.leaves_nobody() }
    }

    /// Returns when [`ServerInput::Woken`] is due; `None` while there is nothing to wait for.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.settling.as_ref().map(Settling::wake_at)
    }

    fn on_said(&mut self, conn: ConnId, message: FromHolder, actions: &mut Vec<ServerAction>) {
        if let Err(why) = self.on_shared(conn, message, actions) {
            self.evict(conn, why, actions);
        }
    }

    fn on_leaving(&mut self, conn: ConnId) {
        self.admitted.get_mut(&conn).into_iter().for_each(|member| member.cause = LeftCause::Left);
    }

    /// Cuts off a member that broke the protocol. Its connection then ends like any other.
    fn evict(&mut self, conn: ConnId, why: String, actions: &mut Vec<ServerAction>) {
        let Some(member) = self.admitted.get_mut(&conn) else { return };
        member.cause = LeftCause::Evicted;
        actions
            .push(ServerAction::Send { conn, message: Message::rejected(Refusal::Malformed, why) });
        actions.push(ServerAction::Close { conn });
    }

    fn on_ended(&mut self, conn: ConnId, actions: &mut Vec<ServerAction>) {
        let Some(member) = self.forget(conn) else { return };
        let mut verdicts = Vec::new();
        self.ledger.leave(conn, &mut verdicts);
        // First of all: somebody may be waiting for what has come free.
        self.pronounce(verdicts, actions);
        self.tell_witnesses(false, &[], &[member.admin_port], actions);
        self.connection.remove(&member.name);
        self.registry.remove(&member.name, member.cause);
        self.appoint_witness(actions);
        actions.push(ServerAction::Announce);
    }

    /// Removes a connection from the members and witnesses; its registry entry stays.
    fn forget(&mut self, conn: ConnId) -> Option<Admitted> {
        self.witnesses.retain(|&witness| witness != conn);
        self.queries.retain(|&(asker, _), _| asker != conn);
        self.admitted.remove(&conn)
    }

    fn on_dead(&mut self, now: Time, admin_port: u16, actions: &mut Vec<ServerAction>) {
        if self.settling.as_mut().is_some_and(|settling| settling.is_dead(now, admin_port)) {
            self.tell_witnesses(false, &[], &[admin_port], actions);
            self.settle(actions);
        }
    }

    fn on_woken(&mut self, now: Time, actions: &mut Vec<ServerAction>) {
        let Some(settling) = &mut self.settling else { return };
        if settling.gives_up(now) {
            self.settle(actions);
            return self.tell_witnesses(true, &self.roster(), &[], actions);
        }
        actions.extend(
            settling
                .whom_to_ask(now)
                .into_iter()
                .map(|admin_port| ServerAction::Probe { admin_port }),
        );
        if settling.knows_all(now) {
            self.tell_witnesses(false, &[], &[], actions);
            self.settle(actions);
        }
    }

    fn settle(&mut self, actions: &mut Vec<ServerAction>) {
        let mut verdicts = Vec::new();
        self.settle_if_complete(actions, &mut verdicts);
        self.pronounce(verdicts, actions);
        if self.settled() {
            self.renew_witnesses(actions);
        }
    }

    fn settle_if_complete(&mut self, actions: &mut Vec<ServerAction>, verdicts: &mut Vec<Verdict>) {
        if self.settling.as_ref().is_some_and(Settling::is_complete) {
            self.settling = None;
            self.ledger.open(verdicts);
            self.answer_totals(actions);
            actions.push(ServerAction::Settled {
                term: self.term,
                members: self.registry.len() as u32,
            });
            self.announce_state(actions);
        }
    }

    /// Checks the invariants, for tests and fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self) {
        assert_eq!(self.admitted.len(), self.connection.len());
        assert_eq!(self.admitted.len() + 1, self.registry.len());
        for (conn, member) in &self.admitted {
            assert_eq!(self.connection.get(&member.name), Some(conn));
            assert_eq!(
                self.registry.entry(&member.name).map(|entry| entry.admin_port),
                Some(member.admin_port)
            );
        }
        assert!(self.registry.entry(&self.name).is_some());
        assert_eq!(self.witnesses.len(), self.admitted.len().min(WITNESSES));
        assert!(self.witnesses.iter().all(|conn| self.admitted.contains_key(conn)));
        assert!(self.registry.len() <= self.max_members);
        assert!(self.registry.entries().all(|entry| super::hello::check_entry(entry).is_ok()));
        self.ledger.check();
    }
}

#[cfg(test)]
mod tests;
