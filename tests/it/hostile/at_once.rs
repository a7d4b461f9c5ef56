//! Attacks that end at once.

use super::*;

type Attack = (&'static str, fn(&Target, Door) -> Peer, End);

const ATTACKS: &[Attack] = &[
    // The first message.
    ("zero length", |t, d| first_bytes(t, d, &[0; 4]), End::Cut),
    ("one byte too large", |t, d| first_bytes(t, d, &(STRANGER_LIMIT + 1).to_be_bytes()), End::Cut),
    ("far too large", |t, d| first_bytes(t, d, &[0xff; 4]), End::Cut),
    (
        "another protocol",
        |t, d| first_bytes(t, d, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        End::Cut,
    ),
    ("unknown kind", |t, d| first_message(t, d, Body::of(255).raw(&[0; 40])), End::Cut),
    (
        "field too short",
        |t, d| {
            let mut body = opening(t, d, |_| {});
            body.0.pop();
            first_message(t, d, body)
        },
        End::Cut,
    ),
    ("field too long", |t, d| first_message(t, d, opening(t, d, |_| {}).u8(0)), End::Cut),
    (
        "wrong magic",
        |t, d| {
            let mut body = opening(t, d, |_| {});
            body.0[1] ^= 1;
            first_message(t, d, body)
        },
        End::Refused(refusal::MALFORMED),
    ),
    (
        "wrong group",
        |t, d| first_message(t, d, opening(t, d, |m| m.group = b"other".to_vec())),
        End::Refused(refusal::OTHER_GROUP),
    ),
    (
        "group with control characters",
        |t, d| first_message(t, d, opening(t, d, |m| m.group = b"host\0ile\x1b[2J\n".to_vec())),
        End::Refused(refusal::OTHER_GROUP),
    ),
    (
        "empty group",
        |t, d| first_message(t, d, opening(t, d, |m| m.group.clear())),
        End::Refused(refusal::OTHER_GROUP),
    ),
    (
        "group that is not UTF-8",
        |t, d| first_message(t, d, opening(t, d, |m| m.group = vec![0xff, 0xfe])),
        End::Cut,
    ),
    (
        "versions of the future",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (2, 9))),
        End::Refused(refusal::VERSION),
    ),
    (
        "versions of the past",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (0, 0))),
        End::Refused(refusal::VERSION),
    ),
    (
        "versions the wrong way round",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (9, 0))),
        End::Refused(refusal::VERSION),
    ),
    (
        "purpose of another port",
        |t, d| first_message(t, d, opening(t, d, |m| m.purpose = d.wrong_purpose())),
        End::Refused(refusal::MALFORMED),
    ),
    (
        "purpose that means nothing",
        |t, d| first_message(t, d, opening(t, d, |m| m.purpose = 9)),
        End::Cut,
    ),
    ("a flood in place of an opening", |t, d| first_bytes(t, d, &[0x50; 300_000]), End::Cut),
    // The proof.
    (
        "hello twice",
        |t, d| instead_of_proof(t, d, opening(t, d, |_| {})),
        End::Refused(refusal::MALFORMED),
    ),
    ("no key", |t, d| instead_of_proof(t, d, proof([0; 32])), End::Refused(refusal::KEY)),
    (
        "proof too short",
        |t, d| instead_of_proof(t, d, Body::of(kind::PROOF).raw(&[0; 31])),
        End::Cut,
    ),
    (
        "proof too long",
        |t, d| instead_of_proof(t, d, Body::of(kind::PROOF).raw(&[0; 33])),
        End::Cut,
    ),
    (
        "wrong key",
        |t, d| {
            let (mut peer, meeting) = t.open(d);
            peer.send(
                &[proof(meeting.proof(&[7; 32], CLIENT)).frame(), d.first().frame()].concat(),
            );
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a whole honest exchange, replayed",
        |t, d| {
            let meeting = t.meeting(d);
            let (mut honest, meeting) = t.group.open_as(meeting);
            let second =
                [proof(meeting.proof(&t.group.key, CLIENT)).frame(), d.first().frame()].concat();
            honest.send(&second);
            d.answer(&mut honest);
            let mut peer = first_message(t, d, meeting.opening());
            let mut again = meeting.clone();
            take_challenge(&peer.frame().unwrap(), &mut again);
            assert_ne!(again.server_nonce, meeting.server_nonce, "a nonce was used twice");
            peer.send(&second);
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "the server's own proof, reflected",
        |t, d| {
            let (mut peer, meeting) = t.open(d);
            peer.send(&proof(meeting.proof(&t.group.key, SERVER)).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a second connection as an oracle",
        |t, d| {
            // What the server proves on one connection, with the nonce it gave on the other.
            let (mut peer, meeting) = t.open(d);
            let mut asked = Meeting { client_nonce: meeting.server_nonce, ..t.meeting(d) };
            let mut oracle = first_message(t, d, asked.opening());
            let answer = take_challenge(&oracle.frame().unwrap(), &mut asked);
            peer.send(&proof(answer).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a proof for the wrong port",
        |t, d| proof_of(t, d, |m| m.port ^= 1),
        End::Refused(refusal::KEY),
    ),
    (
        "a proof relayed from another port of the group",
        |t, d| {
            let (mut peer, mut meeting) = t.open(d);
            meeting.port = if d == Door::Admin { t.registry } else { t.admin };
            peer.send(&proof(meeting.proof(&t.group.key, CLIENT)).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a proof for another purpose",
        |t, d| proof_of(t, d, |m| m.purpose ^= 3),
        End::Refused(refusal::KEY),
    ),
    (
        "versions talked down",
        |t, d| proof_of(t, d, |m| m.versions = (0, 1)),
        End::Refused(refusal::KEY),
    ),
    (
        "a proof for another group",
        |t, d| proof_of(t, d, |m| m.group.push(b'x')),
        End::Refused(refusal::KEY),
    ),
    // The first request.
    ("zero length behind the proof", |t, d| behind_proof(t, d, &[0; 4]), End::Cut),
    ("too large behind the proof", |t, d| behind_proof(t, d, &(LIMIT + 1).to_be_bytes()), End::Cut),
    ("unknown kind behind the proof", |t, d| behind_proof(t, d, &Body::of(99).frame()), End::Cut),
    (
        "hello twice behind the proof",
        |t, d| behind_proof(t, d, &opening(t, d, |_| {}).frame()),
        End::Refused(refusal::MALFORMED),
    ),
    // Later requests.
    ("zero length later", |t, d| later(t, d, &[0; 4]), End::Refused(refusal::MALFORMED)),
    (
        "too large later",
        |t, d| later(t, d, &(LIMIT + 1).to_be_bytes()),
        End::Refused(refusal::MALFORMED),
    ),
    (
        "unknown kind later",
        |t, d| later(t, d, &Body::of(99).frame()),
        End::Refused(refusal::MALFORMED),
    ),
    (
        "not UTF-8 later",
        |t, d| later(t, d, &look_up([0xff, 0xfe]).frame()),
        End::Refused(refusal::MALFORMED),
    ),
    (
        "a second hello later",
        |t, d| later(t, d, &guest().hello(0).frame()),
        End::Refused(refusal::MALFORMED),
    ),
    (
        "much more behind a mistake",
        |t, d| {
            let much: Vec<u8> = (0..5000).flat_map(|_| state(1).frame()).collect();
            later(t, d, &much)
        },
        End::Refused(refusal::MALFORMED),
    ),
    // Ends.
    (
        "goes without a word",
        |t, d| {
            let peer = t.connect(d);
            peer.half_close();
            peer
        },
        End::Mine,
    ),
    (
        "resets before the challenge is read",
        |t, d| {
            let mut peer = t.connect(d);
            peer.send(&opening(t, d, |_| {}).frame());
            let end = t.connect(d);
            end.half_close();
            peer.reset();
            end
        },
        End::Mine,
    ),
    (
        "resets before the answer is read",
        |t, d| {
            t.enter(d, d.first()).reset();
            let end = t.connect(d);
            end.half_close();
            end
        },
        End::Mine,
    ),
    (
        "is cut in two within a frame",
        |t, d| {
            let mut peer = t.connect(d);
            peer.send(&opening(t, d, |_| {}).frame()[..20]);
            peer.half_close();
            peer
        },
        End::Mine,
    ),
];

fn attack_at_once(door: Door) {
    let target = Target::start();
    for (what, attack, end) in ATTACKS {
        let mut peer = attack(&target, door);
        // The honest do not wait for the attacker to be dealt with.
        target.serves(door);
        check_end(what, door, &mut peer, *end);
        drop(peer);
        target.is_calm_again(what);
    }
}

/// Goal: whoever breaks the protocol at the supervisor port is answered once at most and leaves
/// nothing behind. Method: each attack of the table; the words until the end; an honest client;
/// threads, sockets and registry as before.
#[test]
fn the_supervisor_port_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Supervisor);
}

/// The same for the registry port.
#[test]
fn the_registry_port_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Registry);
}

/// The same for the admin endpoint of a subordinate.
#[test]
fn the_admin_endpoint_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Admin);
}

/// Every message of the protocol as the golden bytes have it, with its name.
fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines =
        include_str!("../../golden/messages.txt").lines().filter(|line| !line.starts_with('#'));
    let bytes = |hex: &str| {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
    };
    lines.filter_map(|line| line.split_once(' ')).map(|(name, hex)| (name, bytes(hex))).collect()
}

const QUESTIONS: [&str; 10] = [
    "List",
    "LookUp",
    "StatusQuery",
    "Watch",
    "UsageQuery",
    "SetLimit",
    "Revoke",
    "SettingQuery",
    "Set",
    "Publish",
];
const ON_A_LIFELINE: [&str; 7] =
    ["Probe", "Alive", "Acquire", "Release", "Count", "Taken", "TotalQuery"];

/// Goal: each message is taken only where it belongs. Method: every message, as it stands in the
/// golden bytes, at every stage of a connection to every port. Where it does not belong, the answer
/// is one refusal and the end.
#[test]
fn a_message_out_of_its_place_is_refused() {
    let target = Target::start();
    for door in DOORS {
        for (name, frame) in golden() {
            let what = |stage: &str| format!("{name} {stage}");
            let refused = |refusal| End::Refused(refusal);

            let end = if name == "Opening" { refusal::OTHER_GROUP } else { refusal::MALFORMED };
            check_end(&what("first"), door, &mut first_bytes(&target, door, &frame), refused(end));

            let (mut peer, _) = target.open(door);
            peer.send(&frame);
            let end = if name == "Proof" { refusal::KEY } else { refusal::MALFORMED };
            check_end(&what("as proof"), door, &mut peer, refused(end));

            let at_home = match door {
                Door::Supervisor => name == "Hello",
                Door::Registry => QUESTIONS.contains(&name),
                Door::Admin => name == "Call",
            };
            if !at_home {
                let mut peer = behind_proof(&target, door, &frame);
                check_end(&what("as request"), door, &mut peer, refused(refusal::MALFORMED));
            }
            // On a lifeline nothing is at home that was so before it; the supervisor's goodbye is
            // not a subordinate's either.
            let at_home =
                if door == Door::Supervisor { ON_A_LIFELINE.contains(&name) } else { at_home };
            if !at_home {
                let mut peer = later(&target, door, &frame);
                check_end(&what("later"), door, &mut peer, refused(refusal::MALFORMED));
            }
        }
        target.serves(door);
    }
    // At the supervisor port one may also ask, for the status and nothing else.
    for (name, frame) in golden().into_iter().filter(|(name, _)| *name != "StatusQuery") {
        let (mut peer, meeting) = target.group.open(target.port, ASK);
        peer.send(&[proof(meeting.proof(&target.group.key, CLIENT)).frame(), frame].concat());
        check_end(name, Door::Supervisor, &mut peer, End::Refused(refusal::MALFORMED));
    }
    target.is_calm_again("all messages");
}

/// Goal: an entry that would garble a table, a log or a terminal gets into no registry. Method:
/// hellos with such names, keys, values and functions; each is refused, or cut off where it is not
/// even text.
#[test]
fn garbled_names_get_into_no_registry() {
    let target = Target::start();
    let named = |name: &[u8]| Entry::named(name);
    let mut garbled: Vec<Entry> =
        ["", "main", "@all", "-v", "a b", "a\0b", "a\nb", "\x1b[2J", "a\u{85}b", "a\u{2028}b"]
            .iter()
            .map(|name| named(name.as_bytes()))
            .collect();
    garbled.push(named(&[b'x'; 129]));
    for (key, value) in
        [("", "v"), ("a=b", "v"), ("a\0", "v"), ("k", "a\nb"), ("k", "\x1b]0;x\x07"), ("k", "\0")]
    {
        garbled.push(guest().with_meta(key, value));
    }
    garbled.push(guest().with_meta("k", [b'v'; 4096]));
    garbled.push((0..33).fold(guest(), |entry, number| entry.with_meta(number.to_string(), "")));
    for function in ["", "a b", "a\0", "-x", "\x1b[2J"] {
        garbled.push(Entry { functions: vec![function.into()], ..guest() });
    }
    garbled.push(Entry { functions: vec![vec![b'f'; 65]], ..guest() });
    garbled.push(Entry {
        functions: (0..65).map(|number| format!("f{number}").into()).collect(),
        ..guest()
    });
    garbled.push(Entry { admin: 0, ..guest() });
    for entry in &garbled {
        let mut peer = target.enter(Door::Supervisor, entry.hello(0));
        check_end(
            &format!("{entry:?}"),
            Door::Supervisor,
            &mut peer,
            End::Refused(refusal::MALFORMED),
        );
    }

    let no_text = [
        named(&[0xff, 0xfe]),
        guest().with_meta([0xc3], "v"),
        guest().with_meta("k", [0x80]),
        Entry { functions: vec![vec![0xf0, 0x9f]], ..guest() },
    ];
    for entry in &no_text {
        let mut peer = target.enter(Door::Supervisor, entry.hello(0));
        check_end(&format!("{entry:?}"), Door::Supervisor, &mut peer, End::Cut);
    }
    target.serves(Door::Supervisor);
    target.is_calm_again("garbled names");

    // Asking for such names is no crime: they are not there.
    for name in ["a\0b", "\x1b[2J", ""] {
        assert_eq!(target.group.ask(target.registry, look_up(name)).len(), 1, "{name:?} was found");
        let mut peer = target.enter(Door::Admin, call(name, b""));
        assert_eq!(peer.frame(), Some(answer(3, b"").0), "{name:?} is no function");
    }
    target.is_calm_again("questions for garbled names");
}

/// Goal: nobody takes the name of a living instance, neither a subordinate's nor the supervisor's.
#[test]
fn the_name_of_a_living_instance_is_refused_to_another() {
    let target = Target::start();
    for name in ["boss", "worker"] {
        let mut peer = target.enter(Door::Supervisor, Entry::named(name).hello(0));
        let words = last_words(&mut peer);
        assert_eq!(words.len(), 1);
        assert_eq!(words[0][..2], [kind::REJECTED, refusal::NAME_TAKEN]);
        let detail = String::from_utf8_lossy(&words[0][8..]).into_owned();
        assert!(detail.contains(&format!("pid {}", target.other.pid())), "{detail}");
    }
    target.serves(Door::Supervisor);
    target.is_calm_again("taken names");
}

/// Goal: a length inside a message that its sender has forged costs that sender its connection, and
/// nobody else anything. Method: 10,000 messages at every stage and port, each with random numbers
/// over two of its bytes and more cut off or added; from a fixed seed, which with the number of the
/// round is in the message of a failure.
#[test]
fn forged_lengths_cost_only_their_sender() {
    const SEED: u64 = 0x7061_7265_735f_3031;
    let mut target = Target::start();
    let mut random = Random(SEED);
    let (limit, mut peers) = (32, Vec::new());
    for round in 0..10_000 {
        let door = DOORS[random.below(3)];
        // Most of them by strangers, some by those who have the key.
        let stage = [0, 0, 0, 0, 0, 0, 0, 1, 2, 2][random.below(10)];
        let mut body = match stage {
            0 => opening(&target, door, |_| {}),
            1 => proof([3; 32]),
            _ => match door {
                Door::Supervisor => guest().with_meta("key", "value").hello(3),
                Door::Registry => look_up("worker"),
                Door::Admin => call("ping", b"hello"),
            },
        };
        let at = 1 + random.below(body.0.len() - 1);
        // Where the lengths are, more often than elsewhere.
        let at = if stage == 0 && random.below(2) == 0 { 10 } else { at };
        let forged = [random.next() as u16, 0xffff, 0, random.next() as u16 % 64][random.below(4)]
            .to_be_bytes();
        body.0.iter_mut().skip(at).zip(forged).for_each(|(byte, new)| *byte = new);
        match random.below(3) {
            0 => {}
            1 => body.0.truncate(1 + random.below(body.0.len())),
            _ => body.0.extend(std::iter::repeat_n(random.next() as u8, random.below(100))),
        }
        let mut peer = match stage {
            0 => target.connect(door),
            1 => target.open(door).0,
            _ => {
                let (mut peer, meeting) = target.open(door);
                peer.send(&proof(meeting.proof(&target.group.key, CLIENT)).frame());
                peer
            }
        };
        peer.send(&body.frame());
        peer.half_close();
        peers.push((round, door, stage, peer));
        if peers.len() == limit {
            peers.drain(..).for_each(check);
        }
    }
    peers.drain(..).for_each(check);
    DOORS.iter().for_each(|&door| target.serves(door));
    // The last term that a hello names is among the forged numbers, and raises the group's.
    let term = target.listing()[0][1..9].to_owned();
    target.calm.as_mut().unwrap().listing[0][1..9].copy_from_slice(&term);
    target.is_calm_again("forged lengths");

    fn check((round, door, stage, mut peer): (i32, Door, usize, Peer)) {
        let words: Vec<Vec<u8>> = peer.rest();
        let kinds: Vec<u8> = words.iter().map(|word| word[0]).collect();
        let allowed: &[u8] = match (stage, door) {
            (0, _) => &[kind::CHALLENGE, kind::REJECTED],
            (1, _) => &[kind::REJECTED],
            (_, Door::Supervisor) => &[kind::WELCOME, kind::ROSTER, kind::STATE, kind::REJECTED],
            (_, Door::Registry) => &[kind::LISTING, kind::MEMBER, kind::REJECTED],
            (_, Door::Admin) => &[kind::ANSWER, kind::REJECTED],
        };
        assert!(
            kinds.iter().all(|kind| allowed.contains(kind)),
            "seed {SEED:#x}, round {round}: {words:?}"
        );
        let refused = kinds.iter().position(|&kind| kind == kind::REJECTED);
        assert!(
            refused.is_none_or(|at| at + 1 == kinds.len()),
            "seed {SEED:#x}, round {round}: {words:?}"
        );
    }
}
