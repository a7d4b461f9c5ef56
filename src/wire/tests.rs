//! The table holds: golden bytes, both directions, every prefix, any cut, and the documentation
//! itself.

use proptest::prelude::*;

use super::field::Payload;
use super::frame::{FrameBuffer, MAX_FRAME, put_frame};
use super::*;

fn entry() -> Entry {
    Entry {
        name: "w1".into(),
        id: 0x0102_0304_0506_0708,
        pid: 77,
        uid: 1000,
        admin_port: 40001,
        joined_ms: 1_700_000_000_000,
        meta: vec![("zone".into(), "a".into())],
        functions: vec!["info".into(), "ping".into()],
    }
}

fn wanted() -> Wanted {
    Wanted { id: 7, resource: "db".into(), units: 3, wait: true, asked_ns: 1_000_000_007 }
}

fn setting() -> super::Setting {
    super::Setting {
        scope: Scope::Program,
        key: "mode".into(),
        value: Some("fast".into()),
        term: 3,
        sequence: 9,
    }
}

/// One example of every message, in the order of the table.
pub(crate) fn examples() -> Vec<Message> {
    use {BetweenRouters::*, FromAgent::*, Introduction::*, ToAgent::*};
    use {
        Calling::*, Control::*, FromHolder::*, Handshake::*, Joining::*, Listening::*, News::*,
        Question::*,
    };
    use {FromAcceptor::*, Response::*, Sharing::*, ToAcceptor::*, ToHolder::*};
    macro_rules! messages {
        ($($message:expr),* $(,)?) => { vec![$($message.into()),*] };
    }
    messages![
        Opening {
            magic: MAGIC,
            version_min: 1,
            version_max: 1,
            purpose: Purpose::Join,
            group: "default".into(),
            nonce: [0x11; 32],
        },
        Challenge { version: 1, nonce: [0x22; 32], proof: [0x33; 32] },
        Proof { proof: [0x44; 32] },
        Rejected {
            rejection: Rejection {
                refusal: Refusal::OtherGroup,
                version_min: 1,
                version_max: 1,
                detail: "web".into(),
            },
        },
        Welcome {
            term: 4,
            supervisor: "w0".into(),
            supervisor_admin_port: 40000,
            registry_port: 40010,
            settled: true,
            members: 2,
        },
        State { term: 4, settled: true, members: 2 },
        Leaving { reason: Departure::StepsDown },
        Hello {
            greeting: Box::new(Greeting {
                entry: entry(),
                last_term: 3,
                confirmed_term: 2,
                roster: Some(super::Roster {
                    admin_ports: vec![40001, 40002],
                    unknown_since_ns: Some(1_000_000_009),
                }),
                declared: vec![
                    Declared { resource: "db".into(), limit: 20, per_holder: None },
                    Declared { resource: "gpu".into(), limit: 4, per_holder: Some(2) },
                ],
                held: vec![Held { id: 5, resource: "gpu".into(), units: 2 }],
                wanted: vec![wanted()],
                counted: vec![Counted { resource: "db".into(), units: 4 }],
                settings: vec![
                    setting(),
                    super::Setting {
                        scope: Scope::Limit,
                        key: "db".into(),
                        value: None,
                        term: 2,
                        sequence: 1,
                    },
                ],
            }),
        },
        Roster {
            anew: false,
            unknown_since_ns: Some(1_000_000_009),
            added: vec![40003],
            removed: vec![40002],
        },
        Probe { number: 5, within_ns: 2_000_000_000 },
        Alive { number: 5, progress: true },
        List {},
        LookUp { name: "w1".into() },
        StatusQuery {},
        Watch {},
        Listing { term: 4, settled: true, supervisor: "w0".into(), count: 1 },
        Member { entry: entry().into() },
        Joined { entry: entry().into() },
        Left { name: "w1".into(), cause: LeftCause::Died },
        StatusAnswer {
            status: Status {
                group: "default".into(),
                port: 30099,
                supervisor: "w0".into(),
                supervisor_admin_port: 40000,
                registry_port: 40010,
                term: 4,
                settled: true,
                members: 2,
                since_ms: 1_700_000_000_000,
                cause: ElectionCause::Died,
            },
        },
        DeskQuery {},
        ListenerQuery {},
        DeskAnswer { name: [0x55; 16] },
        Listeners { count: 1 },
        Listener { address: "127.0.0.1:8080".into(), waiting: 3, acceptors: 1 },
        Acceptor {
            acceptor: super::Acceptor {
                name: "w1".into(),
                policy: Policy::Even,
                weight: 2,
                capacity: 16,
                turns: 1,
                open: 5,
                taken: 40,
                draining: false,
            },
        },
        Drain { name: "w1".into() },
        Call { function: "ping".into(), payload: Payload(b"hello".to_vec()) },
        Answer { outcome: Outcome::Done, payload: Payload(b"hello".to_vec()) },
        Acquire { wanted: wanted() },
        Release { id: 7 },
        Count { counted: Counted { resource: "db".into(), units: 4 } },
        Taken { bytes: 65536 },
        TotalQuery { id: 8, resource: "db".into() },
        Granted { id: 7 },
        Denied { id: 7, shortage: Shortage::OverHolderLimit, units: 2 },
        Revoked { id: 7 },
        Setting { setting: setting() },
        Delivery { from: "w0".into(), topic: "news".into(), payload: Payload(b"hello".to_vec()) },
        Missed { messages: 12 },
        OverLimit { resource: "db".into(), in_use: 21, limit: 20 },
        Total { id: 8, units: 44 },
        Listens {
            address: "127.0.0.1:8080".into(),
            name: "w1".into(),
            terms: Terms { weight: 2, policy: Policy::Even, capacity: 16 },
            unspent: 1,
        },
        Show { within_ms: 700 },
        Shown {},
        NotShown {},
        Given {},
        Turns { in_all: 41 },
        Took { report: super::Report { spent: 40, ready: 1, open: 5, taken: 40 } },
        Drained {},
        Revived {},
        UsageQuery { resource: Some("db".into()) },
        Resources { count: 1 },
        Resource {
            resource: "db".into(),
            limit: Some(20),
            in_use: 7,
            counted: 4,
            waiting: 1,
            holders: 1,
        },
        Holder { name: "w1".into(), units: 7 },
        SetLimit { resource: "db".into(), limit: 30 },
        Revoke { resource: "db".into(), holder: "w1".into() },
        SettingQuery { key: None },
        Settings { count: 1 },
        Set { key: "mode".into(), value: Some("fast".into()), expected: Some(None) },
        Publish {
            from: "w0".into(),
            to: Some("w1".into()),
            topic: "news".into(),
            payload: Payload(b"hello".to_vec()),
        },
        Done { count: 2 },
        NotDone { fault: Fault::NoSuchResource, detail: "db".into() },
        Conflict { present: Some("slow".into()) },
        RouteHello {
            service_type: 7,
            tail: Tail([0x66; 11]),
            router: Some(Box::new(RouterNow { owns: Some(token()) })),
            name: "web-2".into(),
            host: Box::new(host()),
            weight: 2,
        },
        RouteWelcome {
            tail: Tail([0x77; 11]),
            router: Box::new(RouterNow { owns: None }),
            name: "web-1".into(),
            host: Box::new(host()),
            services: vec!["10.0.0.100:80".parse().unwrap(), "[fd00::100]:80".parse().unwrap()],
        },
        Report { number: 5 },
        Serve {
            token: token(),
            candidates: Some(vec![("10.0.0.12".parse().unwrap(), 3)]),
            draining: vec!["fd00::13".parse().unwrap()],
        },
        Stale { token: token() },
        ReportBegin { number: 5, state: target_state() },
        ReportPart { number: 5, service: 1, keys: keys() },
        ReportEnd { number: 5, keys: 1 },
        TargetNow { state: target_state() },
        Closed { service: 1, keys: keys() },
        Behind {},
        Find { number: 6, service: 1, keys: keys() },
        Found { number: 6, service: 1, keys: keys() },
        Ready { entries: 1 },
        Owns { token: token() },
        Settled { token: token() },
    ]
}

fn token() -> RouteToken {
    RouteToken { epoch: 9, id: PeerId::new(10, 4, Tail([0x77; 11])) }
}

fn host() -> Host {
    Host {
        v4: Some("10.0.0.12".parse().unwrap()),
        v6: Some("fd00::12".parse().unwrap()),
        mac: [2, 0, 0, 0, 0, 12],
    }
}

fn target_state() -> TargetState {
    TargetState { listening: 0b10, fit: true, connections: 1 }
}

fn keys() -> Payload {
    route::pack(&[("10.0.0.9:4711".parse().unwrap(), 1)])
}

fn framed(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(message, &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Goal: bytes on the wire never change unnoticed, and a peer in another language has them to test
/// against. Method: each line of the file is a message's name and its whole frame in hexadecimal.
#[test]
fn every_message_has_its_golden_bytes() {
    let golden = include_str!("../../tests/golden/messages.txt");
    let lines: Vec<&str> =
        golden.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let ours: Vec<String> = examples()
        .iter()
        .map(|message| format!("{} {}", message.name(), hex(&framed(message))))
        .collect();
    assert_eq!(lines, ours);
}

/// The table in force, in the order of the numbers.
fn table() -> Vec<Row> {
    let mut table = Message::TABLE.to_vec();
    table.sort_by_key(|row| row.0);
    table
}

#[test]
fn every_message_has_an_example() {
    let names: Vec<&str> = examples().iter().map(Message::name).collect();
    let table: Vec<&str> = table().iter().map(|row| row.1).collect();
    assert_eq!(names, table);
}

#[test]
fn what_was_encoded_decodes_to_the_same_and_nothing_shorter_or_longer_does() {
    for message in examples() {
        let mut body = Vec::new();
        message.put(&mut body);
        assert_eq!(Message::decode(&body), Ok(message.clone()));
        for end in 0..body.len() {
            assert_eq!(
                Message::decode(&body[..end]),
                Err(DecodeError::Truncated),
                "{} cut at {end}",
                message.name()
            );
        }
        body.push(0);
        assert_eq!(Message::decode(&body), Err(DecodeError::TrailingBytes), "{}", message.name());
    }
}

#[test]
fn unknown_kinds_and_meaningless_values_are_named() {
    assert_eq!(Message::decode(&[0]), Err(DecodeError::UnknownKind(0)));
    assert_eq!(Message::decode(&[255]), Err(DecodeError::UnknownKind(255)));
    [16, 18].iter().for_each(|&kind| {
        assert_eq!(Message::decode(&[kind]), Err(DecodeError::UnknownKind(kind)), "retired")
    });
    assert_eq!(Message::decode(&[20, 9]), Err(DecodeError::BadValue("Departure")));
    assert_eq!(Message::decode(&[33, 0, 2, 0xff, 0xfe]), Err(DecodeError::NotUtf8));
    let state = [&[19][..], &[0; 8], &[2], &[0; 4]].concat();
    assert_eq!(Message::decode(&state), Err(DecodeError::BadValue("bool")));
}

#[test]
fn a_forged_count_reserves_nothing() {
    // A roster that claims 65,535 ports and has none: refused without memory for them.
    assert_eq!(Message::decode(&[22, 0, 0, 0xff, 0xff]), Err(DecodeError::Truncated));
    // A call whose payload claims 4 GiB.
    assert_eq!(Message::decode(&[48, 0, 0, 0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Truncated));
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
    let mut buffer = FrameBuffer::default();
    buffer.push(&(MAX_FRAME as u32 + 1).to_be_bytes());
    assert_eq!(
        buffer.next(MAX_FRAME),
        Err(DecodeError::TooLarge { bytes: MAX_FRAME + 1, limit: MAX_FRAME })
    );
}

#[test]
fn an_empty_frame_is_refused() {
    let mut buffer = FrameBuffer::default();
    buffer.push(&[0; 4]);
    assert_eq!(buffer.next(MAX_FRAME), Err(DecodeError::Truncated));
}

#[test]
fn a_text_too_long_for_its_count_is_cut_at_a_character() {
    let detail = "ü".repeat(40_000);
    let mut body = Vec::new();
    Message::rejected(Refusal::Busy, detail).put(&mut body);
    let Ok(Message::Handshake(Handshake::Rejected { rejection })) = Message::decode(&body) else {
        panic!("does not decode")
    };
    assert_eq!(rejection.detail, "ü".repeat(32_767));
}

/// Goal: the table in the documentation is the protocol, not a memory of it.
#[test]
fn the_documented_table_is_the_one_in_force() {
    let documented: Vec<String> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|row| row.starts_with(|first: char| first.is_ascii_digit()))
        .map(|row| {
            let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
            format!(
                "{} {} {}",
                cells[0],
                cells[1],
                cells.get(3).unwrap_or(&"").trim_end_matches('|').trim()
            )
        })
        .collect();
    let in_force: Vec<String> = table()
        .iter()
        .map(|(number, name, fields)| {
            let fields: Vec<String> =
                fields.iter().map(|(field, kind)| format!("`{field}: {}`", wire(kind))).collect();
            format!("{number} `{name}` {}", fields.join(", "))
        })
        .collect();
    assert_eq!(documented, in_force);

    fn wire(kind: &str) -> String {
        let inside = |prefix| kind.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
        if let Some(inner) = inside("Arc<").or_else(|| inside("Box<")) {
            return wire(inner);
        }
        match (kind, inside("Vec<"), inside("Option<")) {
            ("String", ..) => "str".into(),
            ("Nonce", ..) => "byte[32]".into(),
            ("DeskName", ..) => "byte[16]".into(),
            ("Payload", ..) => "bytes".into(),
            (_, Some(item), _) => format!("[{}]", wire(item)),
            (_, _, Some(value)) => format!("{}?", wire(value)),
            (other, None, None) => other.into(),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_and_what_decodes_encodes_back(
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(message) = Message::decode(&body) {
            let mut again = Vec::new();
            message.put(&mut again);
            prop_assert_eq!(again, body);
        }
    }

    #[test]
    fn a_stream_gives_the_same_messages_however_it_is_cut(
        picks in proptest::collection::vec(0usize..64, 1..8),
        cuts in proptest::collection::vec(1usize..60, 1..40),
    ) {
        let examples = examples();
        let pick = |&pick: &usize| examples[pick % examples.len()].clone();
        let sent: Vec<Message> = picks.iter().map(pick).collect();
        let stream: Vec<u8> = sent.iter().flat_map(framed).collect();
        let (mut buffer, mut received) = (FrameBuffer::default(), Vec::new());
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            buffer.push(piece);
            while let Some(message) = buffer.next(MAX_FRAME).unwrap() {
                received.push(message);
            }
            rest = after;
            if rest.is_empty() { break; }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(received, sent);
    }
}
