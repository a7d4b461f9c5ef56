//! Hostile peers against every port that listens, and hostile supervisors against those who join.
//!
//! What is attacked is a process of its own, so that its threads and descriptors can be counted
//! exactly, whatever else runs meanwhile. After each attack they must be the very same as before
//! (sockets by inode, so that the lifelines of honest members are the old ones), the registry must
//! be the same to the byte, and an honest client must be served at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pares::{CallError, Config, Instance, JoinError, Role};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::actors::Actor;
use crate::random::Random;
use crate::raw::*;
use crate::support::in_time_once;

mod at_once;
mod attacks;
mod calls;
mod in_time;
mod lies;
mod sharing;
mod supervisors;
mod target;

pub(crate) use target::raise_limits;
use target::{Directory, Footprint, Target, alone, start};

pub(crate) const GROUP: &str = "hostile";

/// The three ports that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Supervisor,
    Registry,
    Admin,
}

const DOORS: [Door; 3] = [Door::Supervisor, Door::Registry, Door::Admin];

impl Door {
    fn purpose(self) -> u8 {
        match self {
            Door::Supervisor => JOIN,
            Door::Registry => ASK,
            Door::Admin => CALL,
        }
    }

    fn wrong_purpose(self) -> u8 {
        match self {
            Door::Supervisor => CALL,
            Door::Registry => JOIN,
            Door::Admin => ASK,
        }
    }

    /// An honest first request.
    fn first(self) -> Body {
        match self {
            Door::Supervisor => guest().hello(0),
            Door::Registry => Body::of(kind::LIST),
            Door::Admin => call("ping", b"hello"),
        }
    }

    /// Reads the answer to an honest request.
    fn answer(self, peer: &mut Peer) {
        match self {
            Door::Supervisor => assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME),
            Door::Registry => assert!(peer.listing().len() >= 3, "boss and worker"),
            Door::Admin => assert_eq!(peer.frame().expect("an answer"), answer(1, b"hello").0),
        }
    }
}

/// An entry of a name that nobody else has.
fn guest() -> Entry {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Entry::named(format!("guest-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn answer(outcome: u8, payload: &[u8]) -> Body {
    Body::of(kind::ANSWER).u8(outcome).payload(payload)
}

/// How a server must end a connection: with these words and no others.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Without a word: what came was no message.
    Cut,
    /// With this refusal.
    Refused(u8),
    /// The attacker has ended it itself.
    Mine,
}

/// The words of `peer`'s last moments, without those that a member is told unasked.
fn last_words(peer: &mut Peer) -> Vec<Vec<u8>> {
    let mut words = peer.rest();
    words.retain(|word| ![kind::WELCOME, kind::ROSTER, kind::STATE].contains(&word[0]));
    words
}

#[track_caller]
fn check_end(what: &str, door: Door, peer: &mut Peer, end: End) {
    let words = last_words(peer);
    match end {
        End::Cut => assert_eq!(words, Vec::<Vec<u8>>::new(), "{what} at {door:?}"),
        End::Refused(refusal) => {
            assert_eq!(words.len(), 1, "{what} at {door:?}: {words:?}");
            assert_eq!(words[0][..2], [kind::REJECTED, refusal], "{what} at {door:?}");
            assert_eq!(words[0][2..6], [0, 1, 0, 1], "its versions");
            assert!(words[0].len() > 8, "{what}: no detail");
        }
        End::Mine => assert_eq!(words, Vec::<Vec<u8>>::new()),
    }
}

/// Sends the frame of `body` as first message.
fn first_message(target: &Target, door: Door, body: Body) -> Peer {
    let mut peer = target.connect(door);
    peer.send(&body.frame());
    peer
}

/// Sends these bytes instead of the first message.
fn first_bytes(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let mut peer = target.connect(door);
    peer.send(bytes);
    peer
}

/// Sends the frame of `body` where a proof is due.
fn instead_of_proof(target: &Target, door: Door, body: Body) -> Peer {
    let (mut peer, _) = target.open(door);
    peer.send(&body.frame());
    peer
}

/// Gives the proof of `meeting`, after changes to it.
fn proof_of(target: &Target, door: Door, change: fn(&mut Meeting)) -> Peer {
    let (mut peer, mut meeting) = target.open(door);
    change(&mut meeting);
    peer.send(
        &[proof(meeting.proof(&target.group.key, CLIENT)).frame(), door.first().frame()].concat(),
    );
    peer
}

/// Sends these bytes right behind the proof.
fn behind_proof(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let (mut peer, meeting) = target.open(door);
    peer.send(&[&proof(meeting.proof(&target.group.key, CLIENT)).frame(), bytes].concat());
    peer
}

/// Sends these bytes after an honest request was answered.
fn later(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let mut peer = target.inside(door);
    peer.send(bytes);
    peer
}

fn opening(target: &Target, door: Door, change: impl FnOnce(&mut Meeting)) -> Body {
    let mut meeting = target.meeting(door);
    change(&mut meeting);
    meeting.opening()
}
