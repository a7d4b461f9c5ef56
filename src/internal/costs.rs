//! What messages and decisions cost, in counts that are the same on any machine: what they take
//! from the heap, and how much there is to be done and said after them. Times are for the
//! benchmarks, system calls for `tests/it/counts.rs`.

use std::sync::Arc;

use crate::config::WITNESSES;
use crate::state::hello::Hello;
use crate::state::holdings::Holdings;
use crate::state::permits::Claims;
use crate::state::registry::test_entry;
use crate::state::settings::Settings;
use crate::state::subordinate::Roster;
use crate::state::supervisor::{Before, Elected, ServerAction, ServerInput, Supervisor};
use crate::state::{ConnId, Time};
use crate::sys::heap::{Taken, taken};
use crate::wire::field::Payload;
use crate::wire::frame::{FrameBuffer, MAX_FRAME, put_frame};
use crate::wire::tests::examples;
use crate::wire::{
    Calling, Control, Counted, Declared, DecodeError, Entry, FromHolder, Greeting, Held, Joining,
    Message, News, Outcome, Scope, Setting, Sharing, ToHolder, Wanted,
};

/// Messages as large as those of a busy group; the examples of the table are small.
fn samples() -> Vec<Message> {
    let entry = Entry {
        meta: vec![("zone".into(), "eu-west".into()), ("port".into(), "8080".into())],
        functions: ["functions", "info", "ping", "reload", "stop"].map(String::from).into(),
        ..test_entry("worker-17", 17, 40001)
    };
    let wanted = |id| Wanted {
        id,
        resource: "connections".into(),
        units: 1,
        wait: true,
        asked_ns: 1_000_000_007,
    };
    let payload = |bytes| Payload((0..bytes).map(|byte: usize| byte as u8).collect());
    vec![
        Message::Joining(Joining::Hello {
            greeting: Box::new(Greeting {
                entry,
                last_term: 3,
                confirmed_term: 3,
                roster: None,
                declared: vec![Declared {
                    resource: "connections".into(),
                    limit: 40,
                    per_holder: None,
                }],
                held: (0..4)
                    .map(|id| Held { id, resource: "connections".into(), units: 1 })
                    .collect(),
                wanted: (9..20).map(wanted).collect(),
                counted: vec![Counted { resource: "requests".into(), units: 1234 }],
                settings: (0..8).map(setting).collect(),
            }),
        }),
        Message::Control(Control::Roster {
            anew: true,
            unknown_since_ns: None,
            added: (20_000..21_000).collect(),
            removed: vec![],
        }),
        Message::ToHolder(ToHolder::Delivery {
            from: "worker-17".into(),
            topic: "news".into(),
            payload: payload(4096),
        }),
        Message::Calling(Calling::Answer { outcome: Outcome::Done, payload: payload(1 << 20) }),
    ]
}

fn setting(number: u64) -> Setting {
    let value = Some("a value of about the usual length".into());
    Setting {
        scope: Scope::Program,
        key: format!("setting-{number}"),
        value,
        term: 3,
        sequence: number,
    }
}

/// Goal: a message takes from the heap what it consists of, and nothing else: nothing is copied
/// twice, no list grows step by step, and what has neither text nor list nor payload takes nothing.
/// Method: beside a copy of the message; with buffers as a connection has them after its first
/// message.
#[test]
fn a_message_that_is_read_takes_no_more_from_the_heap_than_a_copy_of_it() {
    for message in examples().into_iter().chain(samples()) {
        let (name, mut frame) = (message.name(), Vec::new());
        put_frame(&message, &mut frame);
        let (copying, _) = taken(|| copy(&message));
        let (decoding, decoded) = taken(|| Message::decode(&frame[4..]));
        assert_eq!(decoded.as_ref(), Ok(&message));
        assert_eq!(decoding, copying, "{name}");

        let mut buffer = FrameBuffer::default();
        let mut receive = || {
            buffer.push(&frame);
            let message = buffer.next(MAX_FRAME);
            // As a connection looks before it waits for more.
            assert_eq!(buffer.next(MAX_FRAME), Ok(None));
            message
        };
        assert_eq!(receive(), Ok(decoded.ok()));
        let (receiving, _) = taken(receive);
        // What is large is not kept: the buffer is made as large again, and small again.
        let buffering = if frame.len() > 1024 { 2 } else { 0 };
        assert_eq!(receiving.allocations, copying.allocations + buffering, "{name}");

        let mut again = Vec::with_capacity(frame.len());
        let (encoding, ()) = taken(|| put_frame(&message, &mut again));
        assert_eq!(encoding, Taken::default(), "{name}");
    }
}

/// With a copy of what only this program shares, too.
fn copy(message: &Message) -> Message {
    match message {
        Message::News(News::Member { entry }) => {
            Message::News(News::Member { entry: Arc::new(Entry::clone(entry)) })
        }
        Message::News(News::Joined { entry }) => {
            Message::News(News::Joined { entry: Arc::new(Entry::clone(entry)) })
        }
        other => other.clone(),
    }
}

/// Goal: the copy that messages are measured by does not grow itself.
/// Method: the messages that a busy group sends most, counted by hand.
#[test]
fn the_messages_of_every_day_consist_of_little() {
    let everyday = |name| match name {
        "Granted" | "Denied" | "Release" | "Total" | "Taken" | "State" | "Probe" | "Alive" => {
            Some(0)
        }
        "Acquire" | "Count" | "TotalQuery" | "LookUp" | "Listing" | "Welcome" => Some(1),
        "Setting" | "Call" => Some(2),
        _ => None,
    };
    let mut seen = 0;
    for message in examples() {
        let Some(most) = everyday(message.name()) else { continue };
        seen += 1;
        assert!(taken(|| message.clone()).0.allocations <= most, "{message:?}");
    }
    assert_eq!(seen, 16);
}

/// Goal: who claims a long list and sends a short one makes us reserve no more than what has come
/// can hold.
#[test]
fn a_forged_count_takes_no_more_than_what_has_come_could_hold() {
    // A roster that claims 65,535 ports, and has so many bytes of them.
    for bytes in [0, 1, 2, 200] {
        let body = [&[22, 0, 0, 0xff, 0xff][..], &vec![1; bytes]].concat();
        let (reserved, outcome) = taken(|| Message::decode(&body));
        assert_eq!(outcome, Err(DecodeError::Truncated));
        assert!(reserved.bytes <= bytes, "{reserved:?} for {bytes} bytes");
    }
    // A call whose payload claims 4 GiB.
    let (reserved, _) = taken(|| Message::decode(&[48, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 1, 1]));
    assert_eq!(reserved, Taken::default());
}

/// The supervisor `s` of term 5, that expects these back; `None`: it does not know whom.
fn supervisor(expected: Option<std::ops::Range<u16>>) -> Supervisor {
    let roster = |admin_ports: std::ops::Range<u16>| Roster {
        admin_ports: admin_ports.collect(),
        unknown_since: None,
    };
    let elected = Elected {
        me: test_entry("s", 1, 1),
        term: 5,
        registry_port: 2,
        before: expected.map_or(Before::Unknown, |admin_ports| Before::These(roster(admin_ports))),
        predecessor: None,
        claims: Claims::default(),
        settings: Settings::default(),
        settle_time: Time::from_millis(500),
        max_members: 20_000,
    };
    Supervisor::new(elected, Time::ZERO, &mut Vec::new())
}

/// The admin endpoint of connection 0.
const FIRST: u16 = 1000;

fn hello(conn: ConnId) -> ServerInput {
    let entry = test_entry(&format!("member-{conn:05}"), conn + 2, FIRST + conn as u16);
    let claims = Claims {
        confirmed_term: 4,
        declared: vec![Declared { resource: "seats".into(), limit: 20_000, per_holder: None }],
        held: vec![Held { id: 1_000_000, resource: "seats".into(), units: 1 }],
        wanted: vec![],
        counted: vec![Counted { resource: "visits".into(), units: 1 }],
    };
    ServerInput::Hello {
        conn,
        hello: Hello { entry, last_term: 4, roster: None, claims, settings: vec![] },
    }
}

/// What decisions came to.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    actions: usize,
    /// Messages to members, and their bytes: each as often as it is sent.
    messages: usize,
    bytes: usize,
    taken: Taken,
}

impl Bill {
    fn add(&mut self, other: Bill) {
        self.actions += other.actions;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.taken.allocations += other.taken.allocations;
        self.taken.bytes += other.taken.bytes;
    }
}

/// Has something decided, with room for the actions at hand.
fn bill(decide: impl FnOnce(&mut Vec<ServerAction>)) -> Bill {
    let mut actions = Vec::with_capacity(64);
    let (taken, ()) = taken(|| decide(&mut actions));
    let (mut messages, mut bytes, mut out) = (0, 0, Vec::new());
    for action in &actions {
        let (message, times) = match action {
            ServerAction::Send { message, .. } => (message, 1),
            ServerAction::Tell { conns, message } => (message, conns.len()),
            ServerAction::Own { .. }
            | ServerAction::Close { .. }
            | ServerAction::Probe { .. }
            | ServerAction::Announce
            | ServerAction::Settled { .. }
            | ServerAction::TermRaised { .. } => continue,
        };
        out.clear();
        put_frame(message, &mut out);
        messages += times;
        bytes += times * out.len();
    }
    Bill { actions: actions.len(), messages, bytes, taken }
}

fn decide(supervisor: &mut Supervisor, input: ServerInput) -> Bill {
    bill(|actions| supervisor.on(Time::ZERO, input, actions))
}

/// A failover of so many survivors, and the most actions that one of its steps came to.
fn failover(survivors: usize, known: bool) -> (Bill, usize) {
    let mut supervisor = supervisor(known.then(|| FIRST..FIRST + survivors as u16));
    let (mut sum, mut most) = (Bill::default(), 0);
    for conn in 0..survivors as ConnId {
        let bill = decide(&mut supervisor, hello(conn));
        sum.add(bill);
        most = most.max(bill.actions);
    }
    assert_eq!(supervisor.settled(), known);
    supervisor.check();
    (sum, most)
}

/// Goal: nothing that a supervisor decides while the survivors come in grows with the square of
/// their number, and nobody is told more of it than has to be. Method: 1,000 of them; once it knows
/// them all from the beginning, and once, which is the worst case, nobody does.
#[test]
fn a_failover_of_a_thousand_takes_steps_in_proportion() {
    const N: usize = 1000;
    // Each is welcomed, and the others hear of it where they ask; the first witnesses are told
    // everybody, and those who take their place once the group is settled, of which the first are
    // told, too. Until one is in the registry, the ledger and their indices, 21 allocations, and a
    // node of a map now and then.
    let (sum, most) = failover(N, true);
    assert!(
        sum.actions <= 2 * N + 3 * WITNESSES + 2 && most <= 4 + 2 * WITNESSES,
        "{sum:?}, at most {most} at once"
    );
    assert!(sum.messages <= N + 3 * WITNESSES && sum.bytes <= 90 * N, "{sum:?}");
    assert!(sum.taken.allocations <= 22 * N && sum.taken.bytes <= 2500 * N, "{sum:?}");

    // And each who comes is told to all witnesses.
    let (sum, most) = failover(N, false);
    assert!(
        sum.actions <= (2 + WITNESSES) * N && most <= 2 + WITNESSES,
        "{sum:?}, at most {most} at once"
    );
    assert!(sum.messages <= (1 + WITNESSES) * N && sum.bytes <= 360 * N, "{sum:?}");
    assert!(sum.taken.allocations <= 37 * N && sum.taken.bytes <= 2450 * N, "{sum:?}");

    let (twice, most_of_twice) = failover(2 * N, false);
    let at_most_twice = |twice: usize, once: usize| twice <= 2 * once + once / 50;
    assert!(
        at_most_twice(twice.actions, sum.actions) && most_of_twice == most,
        "{twice:?}, {sum:?}"
    );
    assert!(at_most_twice(twice.bytes, sum.bytes), "{twice:?}, {sum:?}");
    assert!(at_most_twice(twice.taken.allocations, sum.taken.allocations), "{twice:?}, {sum:?}");
    assert!(at_most_twice(twice.taken.bytes, sum.taken.bytes), "{twice:?}, {sum:?}");
}

/// A settled supervisor of so many members, besides itself.
fn group(members: u16) -> Supervisor {
    let mut supervisor = supervisor(Some(FIRST..FIRST + members));
    (0..ConnId::from(members)).for_each(|conn| _ = decide(&mut supervisor, hello(conn)));
    assert!(supervisor.settled());
    supervisor
}

/// Goal: what a member asks for takes the supervisor the same in a group of two and in a group of a
/// thousand.
#[test]
fn a_request_takes_so_much_from_the_heap_however_many_members_there_are() {
    for members in [1, 1000] {
        let mut supervisor = group(members);
        for turn in 1..4 {
            let wanted = Wanted {
                id: turn,
                resource: "seats".into(),
                units: 1,
                wait: false,
                asked_ns: turn,
            };
            let counted = Counted { resource: "visits".into(), units: turn };
            let said = [
                (FromHolder::Acquire { wanted }, 1, 3),
                (FromHolder::Release { id: turn }, 0, 0),
                (FromHolder::Count { counted }, 0, 2),
                (FromHolder::TotalQuery { id: turn, resource: "visits".into() }, 1, 1),
            ];
            for (message, answers, most) in said {
                let name = message.name();
                let bill = decide(&mut supervisor, ServerInput::Said { conn: 0, message });
                assert!(bill.actions <= answers, "{members} members: {name}: {bill:?}");
                // The first time some maps are made.
                assert!(
                    bill.taken.allocations <= most || turn == 1,
                    "{members} members: {name}: {bill:?}"
                );
            }
            let mut question = Some(Sharing::Set {
                key: "number".into(),
                value: Some(turn.to_string()),
                expected: None,
            });
            let set = bill(|actions| _ = supervisor.ask(question.take().expect("once"), actions));
            assert!(
                set.actions <= 2 && set.messages <= usize::from(members),
                "{members} members: {set:?}"
            );
            assert!(set.taken.allocations <= 10 || turn == 1, "{members} members: {set:?}");
        }
        let mut answer: Vec<Message> = Vec::with_capacity(2);
        let (look_up, ()) = taken(|| supervisor.look_up("member-00000", &mut answer));
        assert_eq!(answer.len(), 2);
        // The supervisor's name.
        assert!(look_up.allocations <= 1, "{members} members: {look_up:?}");
    }
}

/// Goal: who comes or goes is said to itself and to the witnesses, to nobody else.
#[test]
fn a_change_in_a_group_of_a_thousand_is_told_to_the_witnesses_alone() {
    let mut supervisor = group(1000);
    for conn in 1000..1010 {
        let mut cursor = supervisor.member_cursor();
        let comes = decide(&mut supervisor, hello(conn));
        assert!(comes.messages <= WITNESSES + 1 && comes.bytes <= 16 * WITNESSES + 40, "{comes:?}");
        assert!(comes.taken.allocations <= WITNESSES + 20, "{comes:?}");
        let goes = decide(&mut supervisor, ServerInput::Ended { conn });
        assert!(goes.messages <= WITNESSES && goes.bytes <= 16 * WITNESSES, "{goes:?}");
        assert!(goes.taken.allocations <= WITNESSES + 6, "{goes:?}");
        let mut news = Vec::with_capacity(2);
        let (telling, ()) = taken(|| supervisor.news(&mut cursor, &mut news));
        assert!(news.is_empty() && telling == Taken::default(), "{news:?}");
    }
}

/// Goal: the asker's end of a request keeps one copy of the name that it is about, beside the one
/// that it sends.
#[test]
fn an_asker_takes_two_names_from_the_heap_for_a_request_and_nothing_for_its_answer() {
    let mut holdings = Holdings::new(vec![]);
    holdings.begin(Time::ZERO, 1, true);
    for turn in 0..4 {
        let (asking, wanted) = taken(|| holdings.ask("seats", 1, true, 1).expect("a request"));
        let (granting, _) = taken(|| holdings.on(ToHolder::Granted { id: wanted.id }, &mut None));
        let (releasing, known) = taken(|| holdings.release(wanted.id));
        assert!(known);
        let (question, total) = taken(|| holdings.ask_total("visits"));
        let (id, _) = total.expect("a request");
        let (answer, _) = taken(|| holdings.on(ToHolder::Total { id, units: 1 }, &mut None));
        let counts = [asking, granting, releasing, question, answer].map(|taken| taken.allocations);
        // The first time some maps are made.
        assert!(counts == [2, 0, 0, 2, 0] || turn == 0, "{counts:?}");
    }
}
