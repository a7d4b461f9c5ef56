//! Attacks that end at once.

use super::attacks::ATTACKS;
use super::*;

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

const QUESTIONS: [&str; 13] = [
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
    "DeskQuery",
    "ListenerQuery",
    "Drain",
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
    garbled.push(Entry { admin_port: 0, ..guest() });
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
        let door = DOORS[random.index(3)];
        // Most of them by strangers, some by those who have the key.
        let stage = [0, 0, 0, 0, 0, 0, 0, 1, 2, 2][random.index(10)];
        let mut body = match stage {
            0 => opening(&target, door, |_| {}),
            1 => proof([3; 32]),
            _ => match door {
                Door::Supervisor => guest().with_meta("key", "value").hello(3),
                Door::Registry => look_up("worker"),
                Door::Admin => call("ping", b"hello"),
            },
        };
        let at = 1 + random.index(body.0.len() - 1);
        // Where the lengths are, more often than elsewhere.
        let at = if stage == 0 && random.index(2) == 0 { 10 } else { at };
        let forged = [random.next() as u16, 0xffff, 0, random.next() as u16 % 64][random.index(4)]
            .to_be_bytes();
        body.0.iter_mut().skip(at).zip(forged).for_each(|(byte, new)| *byte = new);
        match random.index(3) {
            0 => {}
            1 => body.0.truncate(1 + random.index(body.0.len())),
            _ => body.0.extend(std::iter::repeat_n(random.next() as u8, random.index(100))),
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
