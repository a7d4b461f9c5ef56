//! What the supervisor decides: whom it admits, what the registry says, when the group is settled,
//! whom it tells.
//!
//! Invariants:
//! * every admitted connection has exactly one registry entry and the other way round, besides the
//!   supervisor's own entry (`check`);
//! * a member is welcomed only after every witness has been told of it, so that whatever survives
//!   of the witnesses knows everybody who survives (kernel: what was written is read, even after
//!   our death);
//! * `settled` never turns false again, and nothing is granted before it is true.
//!
//! What the instances share (permits, tallies, settings, messages) is in `supervisor/sharing.rs`,
//! whom a new supervisor waits for in `supervisor/settling.rs`, who else knows the group in
//! `supervisor/witnesses.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::hello::Hello;
use super::permits::{Book, Claims, Verdict};
use super::registry::{Change, Registry};
use super::settings::Settings;
use super::subordinate::{Roster, Subordinate};
use super::term::Last;
use super::{ConnId, Time};
use crate::config::{CROWD, RENEWED_FROM, WITNESSES};
use crate::wire::{Departure, Entry, LeftCause, Message, Refusal};

mod settling;
mod sharing;
mod witnesses;

use settling::Settling;

/// What a new supervisor knows of the group before its election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// There was nobody: the last supervisor left as the last one.
    Nobody,
    /// These may have survived.
    These(Roster),
    /// It was not there, or was not told: any number may have survived.
    Unknown,
}

impl Before {
    /// What one who has claimed the port in `term` knows: from the last supervisor that it
    /// `followed`, and from the group's directory, whether the last supervisor left nobody behind.
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

/// One who has won an election, and what it knows and holds itself.
#[derive(Clone, Debug)]
pub(crate) struct Elected {
    pub(crate) me: Entry,
    pub(crate) term: u64,
    pub(crate) registry_port: u16,
    pub(crate) before: Before,
    /// The supervisor before this one, if it is gone, and how it went.
    pub(crate) predecessor: Option<(String, LeftCause)>,
    pub(crate) claims: Claims,
    pub(crate) settings: Settings,
    pub(crate) settle_time: Time,
    pub(crate) max_members: usize,
}

/// What happens to a supervisor.
#[derive(Clone, Debug)]
pub(crate) enum ServerInput {
    /// Someone who has proved that it has the key wants to join.
    Hello { conn: ConnId, hello: Hello },
    /// An admitted member said something else; or the supervisor's own instance, as [`OWN`].
    Said { conn: ConnId, message: Message },
    /// What an admitted member sent is no message.
    Broke { conn: ConnId, why: String },
    /// A connection ended.
    Ended { conn: ConnId },
    /// Nobody listens any more at this admin endpoint.
    Dead { admin: u16 },
    /// The time given by [`Supervisor::wake_at`] has come.
    Woken,
}

/// What is to be done about it, in this order.
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
    /// Give this to the supervisor's own instance, as if it came over a lifeline.
    Own {
        message: Message,
    },
    /// Find out whether anybody listens at this admin endpoint.
    Probe {
        admin: u16,
    },
    /// There is [news](Supervisor::news) for some of those who are told.
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

/// How far one who is told of changes has been told.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    state: u64,
    /// `None`: not interested in who is there (a subordinate); else the number of the next change.
    registry: Option<u64>,
}

#[derive(Debug)]
struct Admitted {
    name: String,
    admin: u16,
    /// How its end is to be called, once it has come.
    cause: LeftCause,
    /// Bytes of messages that it has not said to have read.
    under_way: u32,
    /// Messages that it missed since the last one that it was sent.
    missed: u64,
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    term: u64,
    name: String,
    admin: u16,
    registry_port: u16,
    max_members: usize,
    predecessor: Option<(String, LeftCause)>,
    registry: Registry,
    members: BTreeMap<ConnId, Admitted>,
    connection: BTreeMap<String, ConnId>,
    /// The members that are told whom the group has; as many as there are, up to [`WITNESSES`].
    /// Those longest told first.
    witnesses: Vec<ConnId>,
    /// How many members there are when the next witness makes place for a new one.
    renew_at: usize,
    /// `None` once settled.
    settling: Option<Settling>,
    /// Grows whenever what [`Message::State`] says changes and members must hear of it.
    state_version: u64,
    /// How many instances there are when all are told how many.
    tell_size_at: usize,
    book: Book,
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
            Before::These(roster) => (roster.admins, roster.unknown_since),
            Before::Unknown => (BTreeSet::new(), Some(now)),
        };
        expected.remove(&me.admin);
        let mut registry = Registry::default();
        let (name, admin) = (me.name.clone(), me.admin);
        registry.insert(me);
        let mut this = Supervisor {
            term,
            name,
            admin,
            registry_port,
            max_members,
            predecessor,
            registry,
            members: BTreeMap::new(),
            connection: BTreeMap::new(),
            witnesses: Vec::new(),
            renew_at: RENEWED_FROM,
            settling: Some(Settling::new(now, settle_time, expected, unknown_since)),
            state_version: 0,
            tell_size_at: CROWD,
            book: Book::default(),
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
            ServerInput::Broke { conn, why } => self.evict(conn, why, actions),
            ServerInput::Ended { conn } => self.on_ended(conn, actions),
            ServerInput::Dead { admin } => self.on_dead(now, admin, actions),
            ServerInput::Woken => self.on_woken(now, actions),
        }
    }

    /// The connection of another living instance that has the name of `entry`, so that its end can
    /// be looked for before the name is refused.
    pub(crate) fn rival(&self, entry: &Entry) -> Option<ConnId> {
        let conn = *self.connection.get(&entry.name)?;
        (self.registry.entry(&entry.name)?.id != entry.id).then_some(conn)
    }

    /// Who goes, and why, if this connection ends now.
    pub(crate) fn departure(&self, conn: ConnId) -> Option<(String, LeftCause)> {
        self.members.get(&conn).map(|member| (member.name.clone(), member.cause))
    }

    pub(crate) fn is_member(&self, conn: ConnId) -> bool {
        self.members.contains_key(&conn)
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
        self.members.is_empty()
    }

    /// True if nobody is here and nobody can come back: whoever starts next need not wait for
    /// survivors.
    fn leaves_nobody(&self) -> bool {
        self.is_alone() && self.settled()
    }

    /// What the group's directory is to keep of this supervisorship if it ends now, for this
    /// reason.
    pub(crate) fn last(&self, reason: Departure) -> Last {
        Last { term: self.term, vacant: reason == Departure::Leaves && self.leaves_nobody() }
    }

    /// When [`ServerInput::Woken`] is due; `None` while there is nothing to wait for.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.settling.as_ref().map(Settling::wake_at)
    }

    /// The first lines of every answer about the registry.
    pub(crate) fn listing(&self, count: usize) -> Message {
        Message::Listing {
            term: self.term,
            settled: self.settled(),
            supervisor: self.name.clone(),
            count: count as u32,
        }
    }

    /// Answers a registry question with as many messages as it takes.
    pub(crate) fn look_up(&self, name: &str, out: &mut Vec<Message>) {
        let name = if name == "main" { &self.name } else { name };
        let found = self.registry.entry(name);
        out.push(self.listing(usize::from(found.is_some())));
        out.extend(found.map(|entry| Message::Member { entry: entry.clone() }));
    }

    /// The whole registry.
    pub(crate) fn list(&self, out: &mut Vec<Message>) {
        out.push(self.listing(self.registry.len()));
        out.extend(self.registry.entries().map(|entry| Message::Member { entry: entry.clone() }));
    }

    /// Grows with every change that all members must hear of.
    pub(crate) fn state_version(&self) -> u64 {
        self.state_version
    }

    /// The end of the supervisor before this one, for a watcher that may have known it: no other
    /// end is in the registry's changes that this supervisor did not see itself. `None` while
    /// another life of that name is here: the listing shows that.
    pub(crate) fn predecessor(&self) -> Option<Message> {
        let (name, cause) = self.predecessor.clone()?;
        self.registry.entry(&name).is_none().then_some(Message::Left { name, cause })
    }

    /// A cursor for a subordinate that is welcomed now.
    pub(crate) fn member_cursor(&self) -> Cursor {
        Cursor { state: self.state_version, registry: None }
    }

    /// A cursor for a watcher that has been given [`list`](Supervisor::list) now.
    pub(crate) fn watcher_cursor(&self) -> Cursor {
        Cursor { state: self.state_version, registry: Some(self.registry.version()) }
    }

    /// What the holder of `cursor` has not been told yet; the cursor moves on. Several changes of
    /// one thing in the meantime are one message.
    pub(crate) fn news(&self, cursor: &mut Cursor, out: &mut Vec<Message>) {
        if let Some(seen) = &mut cursor.registry {
            match self.registry.since(*seen) {
                Some(changes) => out.extend(changes.map(|change| match change {
                    Change::Joined(entry) => Message::Joined { entry: entry.clone() },
                    Change::Left(name, cause) => {
                        Message::Left { name: name.clone(), cause: *cause }
                    }
                })),
                None => self.list(out),
            }
            *seen = self.registry.version();
        }
        if cursor.state != self.state_version {
            cursor.state = self.state_version;
            out.push(Message::State {
                term: self.term,
                settled: self.settled(),
                members: self.registry.len() as u32,
            });
        }
    }

    fn on_hello(&mut self, now: Time, conn: ConnId, hello: Hello, actions: &mut Vec<ServerAction>) {
        if let Some((refusal, detail)) = self.refusal(conn, &hello) {
            actions.push(ServerAction::Send { conn, message: Message::rejected(refusal, detail) });
            actions.push(ServerAction::Close { conn });
            return;
        }
        let Hello { entry, last_term, roster, claims, settings } = hello;
        let replaced = self.connection.get(&entry.name).copied();
        if let Some(old) = replaced {
            // The same life of the same instance: its link was cut, and it was back before we saw
            // the end. It stays on the witnesses' rosters: were it taken off and put on again, we
            // could die in between.
            self.forget(old);
            actions.push(ServerAction::Close { conn: old });
        }
        // Of a setting one may have heard otherwise than from the supervisor that it followed: as
        // the answer to whoever asked for the change. Ours must be newer than all that are known.
        self.raise_term(
            settings.iter().map(|setting| setting.term).fold(last_term, u64::max),
            actions,
        );
        let was_settled = self.settled();
        let told = self.on_survivor(now, &entry, last_term, roster, actions);
        let (name, admin) = (entry.name.clone(), entry.admin);
        self.registry.insert(entry);
        self.connection.insert(name.clone(), conn);
        let mut verdicts = Vec::new();
        let ours = self.settings.newer_than(&settings);
        self.merge(settings, &mut verdicts, actions);
        self.members.insert(
            conn,
            Admitted { name, admin, cause: LeftCause::Died, under_way: 0, missed: 0 },
        );
        if !told {
            self.tell_witnesses(false, &[admin], &[], actions);
        }
        self.book.enter(conn, claims, replaced, &mut verdicts);
        // Settled first: its cursor is taken after all this, so what the welcome does not say it
        // would never hear.
        self.settle_if_complete(actions, &mut verdicts);
        // Before the welcome: from that on, its claims are as good as those of the others.
        let lost = |it: &Verdict| matches!(it, Verdict::Revoked { holder, .. } if *holder == conn);
        let (lost, verdicts) = verdicts.into_iter().partition(lost);
        self.pronounce(lost, actions);
        actions.push(ServerAction::Send { conn, message: self.welcome() });
        actions.extend(
            ours.into_iter()
                .map(|setting| ServerAction::Send { conn, message: Message::Setting { setting } }),
        );
        self.pronounce(verdicts, actions);
        // After the welcome, which may be to one of them.
        if !was_settled && self.settled() {
            self.renew_witnesses(actions);
        }
        self.appoint_witness(actions);
        if self.settled() && self.registry.len() >= self.tell_size_at {
            return self.announce_state(actions);
        }
        actions.push(ServerAction::Announce);
    }

    /// Takes a term above `seen`, if that is above ours.
    fn raise_term(&mut self, seen: u64, actions: &mut Vec<ServerAction>) {
        if seen > self.term {
            // Only possible where the last term could not be kept in the group's directory. Terms
            // still grow: whoever has seen that one will see a higher one from us. (A peer that
            // claims to come from the last of all terms is wrong, but no reason to overflow.)
            self.term = seen.saturating_add(1);
            actions.push(ServerAction::TermRaised { term: self.term });
            self.announce_state(actions);
        }
    }

    fn refusal(&self, conn: ConnId, hello: &Hello) -> Option<(Refusal, String)> {
        let entry = &hello.entry;
        if self.members.contains_key(&conn) {
            return Some((Refusal::Malformed, "a second hello on one lifeline".into()));
        }
        if let Err(error) = hello.check() {
            return Some((Refusal::Malformed, error));
        }
        if let Some(holder) = self.registry.entry(&entry.name) {
            if holder.id != entry.id || holder.name == self.name {
                return Some((
                    Refusal::NameTaken,
                    format!("a living instance (pid {})", holder.pid),
                ));
            }
            return None;
        }
        (self.registry.len() >= self.max_members).then(|| {
            (
                Refusal::GroupFull,
                format!("its supervisor `{}` admits {} instances", self.name, self.max_members),
            )
        })
    }

    /// Crosses a survivor off the list of those who are expected; while there may be others, learns
    /// from it who, if it was a witness of the term before ours that knew more. True if the
    /// witnesses know already that it is in the group.
    fn on_survivor(
        &mut self,
        now: Time,
        entry: &Entry,
        last_term: u64,
        roster: Option<Roster>,
        actions: &mut Vec<ServerAction>,
    ) -> bool {
        let Some(settling) = &mut self.settling else { return false };
        // One whose link was cut in our own term was counted when it first came.
        let survived = (1..self.term).contains(&last_term);
        let known = settling.came_back(now, entry.admin, survived);
        let recent = roster.filter(|_| last_term.checked_add(1) == Some(self.term));
        if !recent.is_some_and(|roster| settling.learn(now, roster)) {
            return known;
        }
        settling.expected.remove(&self.admin);
        self.members.values().for_each(|member| _ = settling.expected.remove(&member.admin));
        // Told with this survivor on it, not after it: between two messages we may die.
        settling.expected.insert(entry.admin);
        self.tell_witnesses(true, &self.roster(), &[], actions);
        self.settling.iter_mut().for_each(|settling| _ = settling.expected.remove(&entry.admin));
        true
    }

    fn on_said(&mut self, conn: ConnId, message: Message, actions: &mut Vec<ServerAction>) {
        if let Message::Leaving { reason: Departure::Leaves } = message {
            self.members
                .get_mut(&conn)
                .into_iter()
                .for_each(|member| member.cause = LeftCause::Left);
        } else if let Err(why) = self.on_shared(conn, message, actions) {
            self.evict(conn, why, actions);
        }
    }

    /// Cuts a member off that broke the protocol. Its end comes as that of any connection.
    fn evict(&mut self, conn: ConnId, why: String, actions: &mut Vec<ServerAction>) {
        let Some(member) = self.members.get_mut(&conn) else { return };
        member.cause = LeftCause::Evicted;
        actions
            .push(ServerAction::Send { conn, message: Message::rejected(Refusal::Malformed, why) });
        actions.push(ServerAction::Close { conn });
    }

    fn on_ended(&mut self, conn: ConnId, actions: &mut Vec<ServerAction>) {
        let Some(member) = self.forget(conn) else { return };
        let mut verdicts = Vec::new();
        self.book.leave(conn, &mut verdicts);
        // First of all: somebody may be waiting for what has come free.
        self.pronounce(verdicts, actions);
        self.tell_witnesses(false, &[], &[member.admin], actions);
        self.connection.remove(&member.name);
        self.registry.remove(&member.name, member.cause);
        self.appoint_witness(actions);
        actions.push(ServerAction::Announce);
    }

    /// Takes a connection off the members and witnesses; what it stood for in the registry stays.
    fn forget(&mut self, conn: ConnId) -> Option<Admitted> {
        self.witnesses.retain(|&witness| witness != conn);
        self.queries.retain(|&(asker, _), _| asker != conn);
        self.members.remove(&conn)
    }

    fn on_dead(&mut self, now: Time, admin: u16, actions: &mut Vec<ServerAction>) {
        if self.settling.as_mut().is_some_and(|settling| settling.is_dead(now, admin)) {
            self.tell_witnesses(false, &[], &[admin], actions);
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
            settling.whom_to_ask(now).into_iter().map(|admin| ServerAction::Probe { admin }),
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
            self.book.open(verdicts);
            self.answer_totals(actions);
            actions.push(ServerAction::Settled {
                term: self.term,
                members: self.registry.len() as u32,
            });
            self.announce_state(actions);
        }
    }

    fn announce_state(&mut self, actions: &mut Vec<ServerAction>) {
        self.state_version += 1;
        self.tell_size_at = CROWD.max(self.registry.len() * 2);
        actions.push(ServerAction::Announce);
    }

    fn welcome(&self) -> Message {
        Message::Welcome {
            term: self.term,
            supervisor: self.name.clone(),
            supervisor_admin: self.admin,
            registry_port: self.registry_port,
            settled: self.settled(),
            members: self.registry.len() as u32,
        }
    }

    /// The invariants, for tests and fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self) {
        assert_eq!(self.members.len(), self.connection.len());
        assert_eq!(self.members.len() + 1, self.registry.len());
        for (conn, member) in &self.members {
            assert_eq!(self.connection.get(&member.name), Some(conn));
            assert_eq!(
                self.registry.entry(&member.name).map(|entry| entry.admin),
                Some(member.admin)
            );
        }
        assert!(self.registry.entry(&self.name).is_some());
        assert_eq!(self.witnesses.len(), self.members.len().min(WITNESSES));
        assert!(self.witnesses.iter().all(|conn| self.members.contains_key(conn)));
        assert!(self.registry.len() <= self.max_members);
        assert!(self.registry.entries().all(|entry| super::hello::check_entry(entry).is_ok()));
        self.book.check();
    }
}

#[cfg(test)]
mod tests;
