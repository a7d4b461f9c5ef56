//! The supervisor, and what those around it are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Choices;
use crate::config::CHANGE_LOG;
use crate::state::hello::Hello;
use crate::state::permits::Claims;
use crate::state::settings::Settings;
use crate::state::subordinate::Roster;
use crate::state::supervisor::{
    Before, Cursor, Elected, OWN, ServerAction, ServerInput, Supervisor,
};
use crate::wire::field::Payload;
use crate::wire::{
    Control, Counted, Declared, Departure, Entry, FromHolder, Handshake, Held, Joining, Message,
    News, Question, Refusal, Response, Sharing, ToHolder, Wanted,
};

/// Any sequence of inputs keeps the supervisor's invariants and its words to others true.
///
/// Input: what is known before, then one event after the other.
pub fn fuzz_supervisor(input: &[u8]) {
    let mut choices = Choices(input);
    let before = match choices.below(3) {
        0 => Before::Nobody,
        1 => Before::These(Roster { admin_ports: admins(&mut choices), unknown_since: None }),
        _ => Before::Unknown,
    };
    let me = Entry { name: "s".into(), ..entry(0, 1, 99) };
    let mut actions = Vec::new();
    let elected = Elected {
        me,
        term: 5,
        registry_port: 1,
        before,
        predecessor: None,
        claims: Claims::default(),
        settings: Settings::default(),
        settle_time: Duration::from_millis(500),
        max_members: 12,
    };
    let supervisor = Supervisor::new(elected, Duration::ZERO, &mut actions);
    let mut server = Server {
        term: 5,
        settled: false,
        burst: false,
        known: BTreeMap::new(),
        watchers: std::array::from_fn(|_| Watcher::new(&supervisor)),
        supervisor,
        now: Duration::ZERO,
        next_conn: 0,
    };
    server.carry_out(actions);
    while !choices.0.is_empty() {
        server.step(&mut choices);
    }
    for index in 0..server.watchers.len() {
        server.tell_watcher(index);
    }
    server.tell_members();
}

/// A supervisor, and what those around it have been told.
struct Server {
    supervisor: Supervisor,
    now: Duration,
    next_conn: u64,
    /// The connections that have said hello and have not ended.
    known: BTreeMap<u64, Told>,
    watchers: [Watcher; 3],
    term: u64,
    settled: bool,
    burst: bool,
}

#[derive(Default)]
struct Told {
    /// Closed by the supervisor; all that can come of it is its end.
    closed: bool,
    /// Refused or replaced: not to be spoken to any more. A member that is cut off stays one until
    /// its end.
    silenced: bool,
    /// Term and settled, and the cursor from there.
    state: Option<(u64, bool, Cursor)>,
}

/// A copy of the registry that is kept up with news.
struct Watcher {
    cursor: Cursor,
    entries: BTreeMap<String, Entry>,
}

impl Watcher {
    fn new(supervisor: &Supervisor) -> Self {
        let entries = supervisor
            .registry()
            .entries()
            .map(|entry| (entry.name.clone(), (**entry).clone()))
            .collect();
        Watcher { cursor: supervisor.watcher_cursor(), entries }
    }
}

impl Server {
    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(12) {
            0..4 => self.hello(None, choices),
            4 => {
                let conn = self.someone(choices);
                self.hello(conn, choices);
            }
            5 => {
                let message: Message = match choices.below(8) {
                    0 | 1 => Message::Control(Control::Leaving { reason: Departure::Leaves }),
                    2 => Message::Control(Control::Leaving { reason: Departure::StepsDown }),
                    3 => Message::Question(Question::Watch {}),
                    4 => Message::rejected(Refusal::Busy, ""),
                    5 => return self.ask(choices),
                    _ => shared(choices).into(),
                };
                match (self.someone(choices), message) {
                    (Some(conn), message) => self.on(ServerInput::of(conn, message)),
                    // The supervisor's own instance is not cut off for anything; it says nothing
                    // wrong.
                    (
                        None,
                        Message::FromHolder(
                            message @ (FromHolder::Release { .. }
                            | FromHolder::Taken { .. }
                            | FromHolder::TotalQuery { .. }),
                        ),
                    ) => self.on(ServerInput::Said { conn: OWN, message }),
                    (None, _) => {}
                }
            }
            6 => {
                let nth = choices.below(self.known.len().max(1));
                let conn = self.known.keys().copied().nth(nth);
                conn.into_iter().for_each(|conn| self.end(conn));
            }
            7 => self.on(ServerInput::Dead { admin_port: u16::from(choices.byte()) % 16 }),
            8 => {
                self.now += Duration::from_millis(u64::from(choices.byte()));
                self.on(ServerInput::Woken);
            }
            9 => self.tell_watcher(choices.below(self.watchers.len())),
            10 => self.tell_members(),
            // Now and then more changes at once than are kept; once per input is slow enough.
            _ => {
                let rounds = match choices.byte() {
                    255 if !std::mem::replace(&mut self.burst, true) => CHANGE_LOG as u64,
                    few => u64::from(few % 4),
                };
                for round in 0..rounds {
                    let conn = self.new_conn();
                    let entry = entry(11, round, 11);
                    self.on(ServerInput::Hello { conn, hello: greeting(entry) });
                    self.end(conn);
                }
            }
        }
    }

    /// Something is asked at the registry port.
    fn ask(&mut self, choices: &mut Choices<'_>) {
        let (resource, key) =
            (String::from(["db", "gpu", "two words"][choices.below(3)]), String::from("k"));
        let text = |choices: &mut Choices<'_>| {
            Some(choices.below(3).to_string()).filter(|text| text != "0")
        };
        let name = String::from(["s", "main", "m0", "m1", "m2"][choices.below(5)]);
        let question = match choices.below(7) {
            0 => Sharing::UsageQuery { resource: Some(resource) },
            1 => Sharing::UsageQuery { resource: None },
            2 => Sharing::SetLimit { resource, limit: u64::from(choices.byte()) },
            3 => Sharing::Revoke { resource, holder: name },
            4 => Sharing::SettingQuery { key: Some(key) },
            5 => Sharing::Set {
                key,
                value: text(choices),
                expected: text(choices).map(|_| text(choices)),
            },
            _ => {
                let payload = Payload(vec![0; 300 * choices.below(256)]);
                let to = Some(name).filter(|_| choices.below(2) == 0);
                Sharing::Publish { from: "m0".into(), to, topic: "t".into(), payload }
            }
        };
        let mut actions = Vec::new();
        let answer = self.supervisor.ask(question.clone(), &mut actions);
        self.supervisor.check();
        assert!(!answer.is_empty(), "{question:?}");
        let changed = |message: &Message| {
            matches!(
                message,
                Message::ToHolder(ToHolder::Setting { .. })
                    | Message::Response(Response::Done { .. })
            )
        };
        assert!(
            actions.is_empty() || changed(&answer[0]),
            "{question:?}: not done, and yet {actions:?}"
        );
        if let (
            Sharing::Set { .. } | Sharing::SetLimit { .. },
            [Message::ToHolder(ToHolder::Setting { setting })],
        ) = (&question, &answer[..])
        {
            let all: Vec<ToHolder> = self.supervisor.all_settings().collect();
            assert!(
                all.contains(&ToHolder::Setting { setting: setting.clone() }),
                "acknowledged, and not set"
            );
        }
        self.carry_out(actions);
    }

    fn new_conn(&mut self) -> u64 {
        self.next_conn += 1;
        self.known.insert(self.next_conn, Told::default());
        self.next_conn
    }

    fn someone(&self, choices: &mut Choices<'_>) -> Option<u64> {
        let nth = choices.below(self.known.len().max(1));
        self.known.iter().nth(nth).filter(|(_, told)| !told.closed).map(|(&conn, _)| conn)
    }

    fn hello(&mut self, conn: Option<u64>, choices: &mut Choices<'_>) {
        let conn = conn.unwrap_or_else(|| self.new_conn());
        let entry = entry(
            choices.byte() % 16,
            u64::from(choices.byte() % 4),
            u16::from(choices.byte()) % 16,
        );
        let last_term = match choices.below(8) {
            0..3 => self.term - 1,
            3 => self.term,
            4 => self.term.saturating_add(1),
            5 => u64::MAX - u64::from(choices.byte()),
            _ => 0,
        };
        let roster = match choices.below(4) {
            0 => None,
            1 => Some(Roster {
                admin_ports: admins(choices),
                unknown_since: Some(Duration::from_millis(choices.byte().into())),
            }),
            _ => Some(Roster { admin_ports: admins(choices), unknown_since: None }),
        };
        let mut claims = Claims::default();
        if choices.below(2) == 1 {
            claims.confirmed_term = u64::from(choices.byte());
            let (limit, units) = (choices.below(6) as u64, choices.below(4) as u64);
            claims.declared.push(Declared { resource: "db".into(), limit, per_holder: None });
            claims.held.push(Held { id: 8, resource: "db".into(), units });
        }
        let name = entry.name.clone();
        let holder = self.supervisor.registry().entry(&name).map(|holder| holder.id);
        self.on(ServerInput::Hello {
            conn,
            hello: Hello { last_term, roster, claims, ..greeting(entry) },
        });
        let now = self.supervisor.registry().entry(&name).map(|holder| holder.id);
        assert!(holder.is_none() || now == holder, "{name} was taken from a living instance");
    }

    fn end(&mut self, conn: u64) {
        // What is decided about an end must not be told to the one that ended.
        self.known.remove(&conn);
        self.on(ServerInput::Ended { conn });
    }

    fn on(&mut self, input: ServerInput) {
        let mut actions = Vec::new();
        self.supervisor.on(self.now, input, &mut actions);
        self.supervisor.check();
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<ServerAction>) {
        let mut rejected = None;
        for action in actions {
            match action {
                ServerAction::Send { conn, message } => {
                    let told = self
                        .known
                        .get_mut(&conn)
                        .expect("a message to a connection that has ended");
                    assert!(!told.silenced, "{message:?} after the last word");
                    match message {
                        Message::Joining(Joining::Welcome { term, settled, .. }) => {
                            let welcome = (term, settled, self.supervisor.member_cursor());
                            assert!(told.state.replace(welcome).is_none(), "welcomed twice");
                        }
                        Message::Handshake(Handshake::Rejected { .. }) => {
                            told.silenced = told.state.is_none();
                            rejected = Some(conn);
                        }
                        Message::Control(Control::Roster { .. }) => {
                            assert!(told.state.is_some(), "a roster for a stranger")
                        }
                        // What it has lost is told before the welcome, everything else after it.
                        Message::ToHolder(held) => {
                            let in_time =
                                told.state.is_some() || matches!(held, ToHolder::Revoked { .. });
                            assert!(in_time, "{held:?} to a stranger");
                        }
                        other => panic!("{other:?} to a member"),
                    }
                }
                ServerAction::Close { conn } => {
                    let told = self.known.get_mut(&conn).expect("a connection that has not ended");
                    told.closed = true;
                    told.silenced |= rejected != Some(conn);
                }
                ServerAction::Tell { conns, .. } => {
                    let told = |conn| {
                        self.known
                            .get(conn)
                            .is_some_and(|told| told.state.is_some() && !told.silenced)
                    };
                    assert!(conns.iter().all(told), "told to one who is no member");
                }
                ServerAction::Own { .. } => {}
                ServerAction::Probe { admin_port } => {
                    assert!(!self.settled, "looks for {admin_port} though all is settled")
                }
                ServerAction::Announce => {}
                ServerAction::Settled { term, members } => {
                    assert!(!std::mem::replace(&mut self.settled, true), "settled twice");
                    assert_eq!(
                        (term, members as usize),
                        (self.term, self.supervisor.registry().len())
                    );
                }
                ServerAction::TermRaised { term } => {
                    assert!(term > self.term);
                    self.term = term;
                }
            }
        }
        assert_eq!((self.term, self.settled), (self.supervisor.term(), self.supervisor.settled()));
        assert_eq!(
            self.supervisor.wake_at().is_none(),
            self.settled,
            "nothing runs while nothing happens"
        );
    }

    /// News applied to an older copy of the registry give the present one.
    fn tell_watcher(&mut self, index: usize) {
        let Watcher { cursor, entries } = &mut self.watchers[index];
        let mut news = Vec::new();
        self.supervisor.news(cursor, &mut news);
        for message in news {
            match message {
                News::Listing { .. } => entries.clear(),
                News::Member { entry } | News::Joined { entry } => {
                    _ = entries.insert(entry.name.clone(), Arc::unwrap_or_clone(entry))
                }
                News::Left { name, .. } => {
                    assert!(entries.remove(&name).is_some(), "{name} left twice")
                }
                News::State { term, settled, members } => {
                    assert_eq!(
                        (term, settled, members as usize),
                        (self.term, self.settled, entries.len())
                    );
                }
            }
        }
        let present = self.supervisor.registry().entries();
        assert!(
            present.map(|entry| &**entry).eq(entries.values()),
            "the copy is another: {entries:?}"
        );
    }

    /// Welcome and news together say what is so.
    fn tell_members(&mut self) {
        let open = self.known.values_mut().filter(|told| !told.closed);
        for (term, settled, cursor) in open.filter_map(|told| told.state.as_mut()) {
            let mut news = Vec::new();
            self.supervisor.news(cursor, &mut news);
            for message in news {
                let News::State { term: new_term, settled: now_settled, .. } = message else {
                    panic!("{message:?} is no news for a member");
                };
                (*term, *settled) = (new_term, now_settled);
            }
            assert_eq!((*term, *settled), (self.term, self.settled));
        }
    }
}

/// What a member says about what it holds.
fn shared(choices: &mut Choices<'_>) -> FromHolder {
    let (id, resource) =
        (u64::from(choices.byte() % 8), String::from(["db", "gpu", "two words"][choices.below(3)]));
    let units = choices.below(6) as u64;
    match choices.below(6) {
        0 | 1 => {
            let wanted = Wanted {
                id,
                resource,
                units,
                wait: choices.below(2) == 0,
                asked_ns: u64::from(choices.byte()),
            };
            FromHolder::Acquire { wanted }
        }
        2 => FromHolder::Release { id },
        3 => FromHolder::Count { counted: Counted { resource, units } },
        4 => FromHolder::TotalQuery { id, resource },
        _ => FromHolder::Taken { bytes: u32::from(choices.u16()) },
    }
}

/// The hello of one that holds nothing.
fn greeting(entry: Entry) -> Hello {
    Hello { entry, last_term: 0, roster: None, claims: Claims::default(), settings: vec![] }
}

fn admins(choices: &mut Choices<'_>) -> BTreeSet<u16> {
    let bits = choices.u16();
    (0..16).filter(|bit| bits & 1 << bit != 0).collect()
}

/// Some names are the supervisor's, too long, or such as no instance may have.
fn entry(name: u8, id: u64, admin_port: u16) -> Entry {
    let name = match name {
        12 => "s".into(),
        13 => "main".into(),
        14 => "two words".into(),
        15 => "x".repeat(200),
        other => format!("m{other}"),
    };
    Entry { name, id, pid: 1, uid: 0, admin_port, joined_ms: 0, meta: vec![], functions: vec![] }
}
