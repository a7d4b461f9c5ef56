//! Groups without a master: real sockets, real processes, real signals.

use std::time::{Duration, Instant};

use pares::channel::Receiver;
use pares::{Peer, PeerConfig, PeerEvent, PeerEventKind, PeerInfo, PeerStatus, RoleCause, Token};

use crate::support::{GROUP, Ground, PATIENCE, Proc, await_true};

mod deaths;
mod hearing;
mod roles;
mod starting;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// One on this machine, with times that a stall of a second, as there are on a machine busy with
/// other tests, does not upset.
pub(crate) fn config(ground: &Ground) -> PeerConfig {
    PeerConfig::new(GROUP)
        .local(ground.port)
        .directory(&ground.directory)
        .interval(MS(400))
        .delay(MS(400))
}

#[track_caller]
fn join(config: PeerConfig) -> Peer {
    Peer::join(config).expect("joined")
}

/// The first event that is as wanted.
#[track_caller]
fn expect<T>(events: &Receiver<PeerEvent>, wanted: impl Fn(PeerEventKind) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = events.recv_deadline(deadline).expect("the event that is waited for");
        if let Some(found) = wanted(event.kind) {
            return found;
        }
    }
}

fn to(wanted: PeerStatus) -> impl Fn(PeerEventKind) -> Option<(Option<Token>, RoleCause)> {
    move |kind| match kind {
        PeerEventKind::Role { to, token, cause, .. } if to == wanted => Some((token, cause)),
        _ => None,
    }
}

/// One that is primary.
#[track_caller]
fn primary(config: PeerConfig) -> (Peer, Token) {
    let peer = join(config);
    let (token, _) = expect(&peer.events(), to(PeerStatus::Primary));
    (peer, token.expect("a primary has a token"))
}

/// Waits until `one` has heard that `other` is in the group.
#[track_caller]
fn sees(one: &Peer, other: &Peer) {
    let admitted =
        |info: &PeerInfo| info.id.tail() == other.id().tail() && info.status != PeerStatus::Joining;
    await_true("seen", || one.peers().iter().any(admitted));
}

/// Starts `pares peer join` in a process of its own.
pub(crate) fn process(ground: &Ground, options: &str) -> Proc {
    ground.start(&format!("peer join --json {options}"))
}
