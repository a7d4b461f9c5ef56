//! The attacks that are answered at once: what is said, and how the connection has to end.

use super::*;

pub(super) type Attack = (&'static str, fn(&Target, Door) -> Peer, End);

pub(super) const ATTACKS: &[Attack] = &[
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
            meeting.port = if d == Door::Admin { t.registry } else { t.admin_port };
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
