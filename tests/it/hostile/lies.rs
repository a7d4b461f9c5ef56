//! What a program on the port of the supervisor says that is not true, and what comes of it.

use super::supervisors::{hold, reply};
use super::*;

pub(super) struct Lie {
    pub(super) what: &'static str,
    pub(super) behave: fn(&mut Peer, &Group, u16),
    /// The join timeout of the one who comes.
    pub(super) timeout_ms: u64,
    /// Within what time it has to give up.
    pub(super) within_ms: std::ops::Range<u64>,
    pub(super) variant: &'static str,
    pub(super) message: &'static [&'static str],
}

pub(super) const SAYS_WHO: &str = "(pid ";

pub(super) fn lies() -> Vec<Lie> {
    let deadline = |what, behave| Lie {
        what,
        behave,
        timeout_ms: 700,
        within_ms: 700..7000,
        variant: "TimedOut",
        message: &["no role after", "no process answers on the port", SAYS_WHO],
    };
    let stranger = |what, behave| Lie {
        what,
        behave,
        timeout_ms: 10_000,
        within_ms: 0..7000,
        variant: "PortHeld",
        message: &["is held by", "not by a pares instance", SAYS_WHO],
    };
    let keyless = |what, behave| Lie {
        variant: "KeyMismatch",
        message: &["does not have this group's key", SAYS_WHO],
        ..stranger(what, behave)
    };
    vec![
        deadline("silent", |peer, _, _| hold(peer)),
        deadline("length only", |peer, _, _| {
            peer.send(&67u32.to_be_bytes());
            hold(peer);
        }),
        deadline("byte by byte", |peer, group, port| {
            let frame = Meeting::new(JOIN, group, port).challenge(&group.key).frame();
            frame
                .iter()
                .take_while(|&&byte| {
                    thread::sleep(Duration::from_millis(20));
                    peer.send(&[byte])
                })
                .for_each(drop);
            hold(peer);
        }),
        deadline("the right proof, then silence", |peer, group, port| {
            group.admit(peer, port);
            hold(peer);
        }),
        stranger("another protocol that speaks first", |peer, _, _| {
            peer.send(b"SSH-2.0-OpenSSH_9.9\r\n");
            hold(peer);
        }),
        stranger("another protocol that answers", |peer, _, _| {
            peer.frame();
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }),
        stranger("zeros", |peer, _, _| {
            peer.send(&[0; 10_000]);
            hold(peer);
        }),
        stranger("closes at once", |_, _, _| {}),
        stranger("resets at once", |peer, _, _| {
            socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }),
        stranger("closes after the opening", |peer, _, _| drop(peer.frame())),
        stranger("answers with a frame too large", |peer, _, _| {
            peer.send(&(STRANGER_LIMIT + 1).to_be_bytes());
            hold(peer);
        }),
        stranger("answers with the opening", |peer, _, _| {
            if let Some(opening) = peer.frame() {
                peer.send(&Body(opening).frame());
                hold(peer);
            }
        }),
        stranger("answers with a welcome", |peer, _, _| reply(peer, welcome(1, "liar"))),
        // What only a supervisor may say is not believed of one who has proved nothing.
        stranger("says that the name is taken", |peer, _, _| {
            reply(peer, rejected(refusal::NAME_TAKEN, (1, 1), "a living instance (pid 1)"));
        }),
        stranger("says that the group is full", |peer, _, _| {
            reply(peer, rejected(refusal::GROUP_FULL, (1, 1), "full"));
        }),
        stranger("says that it is busy", |peer, _, _| {
            reply(peer, rejected(refusal::BUSY, (1, 1), "busy"))
        }),
        stranger("says that it is stepping down", |peer, _, _| {
            reply(peer, rejected(refusal::STEPPING_DOWN, (1, 1), "soon"));
        }),
        stranger("the right proof, then nonsense", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&Body::of(kind::LIST).frame());
            hold(peer);
        }),
        stranger("the right proof, then no message", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&[0xff; 64]);
            hold(peer);
        }),
        stranger("a welcome by one whose name garbles a terminal", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&welcome(1, "\x1b[2J").frame());
            hold(peer);
        }),
        keyless("no key", |peer, group, port| {
            let meeting = Meeting::new(JOIN, group, port);
            reply(peer, meeting.challenge(&group.key)); // right key, wrong nonce
        }),
        keyless("wrong key", |peer, _, port| {
            let Some(opening) = peer.frame() else { return };
            let meeting = Meeting { port, ..take_opening(&opening) };
            peer.send(&meeting.challenge(&[7; 32]).frame());
            // Nothing of the hello is shown to one who has not proved itself.
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
        }),
        keyless("the client's nonce, reflected", |peer, group, port| {
            let Some(opening) = peer.frame() else { return };
            let mut meeting = Meeting { port, ..take_opening(&opening) };
            meeting.server_nonce = meeting.client_nonce;
            let body = Body::of(kind::CHALLENGE).u16(1).raw(&meeting.server_nonce);
            peer.send(&body.raw(&meeting.proof(&group.key, CLIENT)).frame());
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
        }),
        keyless("says that our key is wrong", |peer, _, _| {
            reply(peer, rejected(refusal::KEY, (1, 1), "wrong proof"));
        }),
        Lie {
            variant: "OtherGroup",
            message: &["serves the group `web`, not `hostile`"],
            ..stranger("another group", |peer, _, _| {
                reply(peer, rejected(refusal::OTHER_GROUP, (1, 1), "web"))
            })
        },
        Lie {
            variant: "OtherGroup",
            message: &["the group `\\u{1b}[2J\\r\\n`"],
            ..stranger("another group, whose name garbles a terminal", |peer, _, _| {
                reply(peer, rejected(refusal::OTHER_GROUP, (1, 1), "\x1b[2J\r\n"));
            })
        },
        Lie {
            variant: "Version",
            message: &["speaks protocol version 2 to 3, this instance 1"],
            ..stranger("other versions", |peer, _, _| {
                reply(peer, rejected(refusal::VERSION, (2, 3), "1 to 1"))
            })
        },
        Lie {
            variant: "Version",
            message: &["speaks protocol version 7, this instance 1"],
            ..stranger("a challenge of another version", |peer, group, port| {
                let meeting = Meeting { version: 7, ..Meeting::new(JOIN, group, port) };
                reply(peer, meeting.challenge(&group.key));
            })
        },
        Lie {
            variant: "NameTaken",
            message: &["the name `comer` belongs to a living instance \\u{7}"],
            ..stranger("the name is taken", |peer, group, port| {
                group.admit(peer, port);
                peer.send(&rejected(refusal::NAME_TAKEN, (1, 1), "a living instance \x07").frame());
                hold(peer);
            })
        },
        Lie {
            variant: "GroupFull",
            message: &["the group is full: two"],
            ..stranger("the group is full", |peer, group, port| {
                group.admit(peer, port);
                peer.send(&rejected(refusal::GROUP_FULL, (1, 1), "two").frame());
                hold(peer);
            })
        },
    ]
}
