//! Groups without a master: real sockets, real processes, real signals.

use std::time::{Duration, Instant};

use pares::masterless::{Config, Event, EventKind, Peer, PeerInfo, RoleCause, Status, Token};

use crate::support::{GROUP, Ground, PATIENCE, Proc, await_true};

mod deaths;
mod hearing;
mod jobs;
mod roles;
mod starting;

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

/// One on this machine, with times that a stall of a second, as there are on a machine busy with
/// other tests, does not upset.
pub(crate) fn config(ground: &Ground) -> Config {
    Config::new(GROUP)
        .local(ground.port)
        .state_directory(&ground.directory)
        .interval(MS(400))
        .delay(MS(400))
}

#[track_caller]
pub(crate) fn join(config: Config) -> Peer {
    Peer::join(config).expect("joined")
}

/// The first event that is as wanted.
#[track_caller]
pub(crate) fn expect<T>(
    events: &pares::Events<Event>,
    wanted: impl Fn(EventKind) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = events.recv_deadline(deadline).expect("the event that is waited for");
        if let Some(found) = wanted(event.kind) {
            return found;
        }
    }
}

fn to(wanted: Status) -> impl Fn(EventKind) -> Option<(Option<Token>, RoleCause)> {
    move |kind| match kind {
        EventKind::Role { to, token, cause, .. } if to == wanted => Some((token, cause)),
        _ => None,
    }
}

/// One that is primary.
#[track_caller]
pub(crate) fn primary(config: Config) -> (Peer, Token) {
    let peer = join(config);
    let (token, _) = expect(&peer.events(), to(Status::Primary));
    (peer, token.expect("a primary has a token"))
}

/// Waits until `one` has heard that `other` is in the group.
#[track_caller]
fn sees(one: &Peer, other: &Peer) {
    let admitted =
        |info: &PeerInfo| info.id.tail() == other.id().tail() && info.status != Status::Joining;
    await_true("seen", || one.peers().iter().any(admitted));
}

/// Starts `pares peer join` in a process of its own.
pub(crate) fn process(ground: &Ground, options: &str) -> Proc {
    ground.start(&format!("peer join --json {options}"))
}
