//! Peers of masterless groups.

use pares::masterless::{Config, Counters, EventKind, Status};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::forker::{fork, sockets};
use super::{given, say};
use crate::peer::{MS, expect, join, primary};
use crate::support::{GROUP, PATIENCE};

/// One whose child, forked from it, finds its peer void.
pub(super) fn fork_once() {
    let config = Config::new(GROUP)
        .local(given("PORT").parse().unwrap())
        .state_directory(given("DIRECTORY"))
        .interval(MS(400))
        .delay(MS(400));
    let (peer, token) = primary(config.clone());
    let events = peer.events();
    let child = fork(|| {
        assert_eq!((peer.status(), peer.token(), peer.lease_ok()), (Status::Leaving, None, false));
        assert!(
            peer.peers().is_empty()
                && peer.least_loaded(0).is_none()
                && !peer.wait_admitted(PATIENCE)
        );
        assert_eq!(peer.counters(), Counters::default());
        let kinds: Vec<_> = peer.events().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Stopped]);
        peer.set_rank(255);
        peer.set_workload(1);
        peer.direct(token.id.tail(), 255);
        peer.handover_ready();
        peer.process_ended(1);
        assert_eq!(peer.id().tail(), token.id.tail());
        assert!(format!("{peer:?}").contains("Leaving"));
        assert_eq!(sockets(std::process::id()), [""; 0], "the child has a socket of ours");
        // SAFETY: read once and never used again: the parent's own is in the parent.
        #[allow(unsafe_code)]
        unsafe {
            drop(std::ptr::read(&raw const peer));
        }
        let own = join(config.clone());
        assert!(own.wait_admitted(PATIENCE));
        assert_ne!(own.id().tail(), token.id.tail());
        assert!(
            own.peers().iter().any(|info| info.id == token.id && info.status == Status::Primary)
        );
        own.leave();
    });
    let joined = |kind| if let EventKind::Joined { id, .. } = kind { Some(id) } else { None };
    expect(&events, joined);
    let ended = waitpid(Pid::from_raw(child as i32), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(ended.1.exit_status(), Some(0), "the child failed");
    assert_eq!(peer.token(), Some(token), "the child took something from its parent");
    assert!(peer.lease_ok());
    say("forked");
}

/// One whose group has a program started, and that says each time that it is its turn.
pub(super) fn start_others() {
    // Where SIGCHLD is ignored, std panics over a program that is not there: not a fault of ours.
    drop(std::panic::take_hook());
    let config = Config::new(GROUP)
        .local(given("PORT").parse().unwrap())
        .state_directory(given("DIRECTORY"))
        .interval(MS(100))
        .delay(MS(100));
    let peer = join(config.need(7, 1, None).launcher([given("PROGRAM")]));
    for event in peer.events() {
        if let EventKind::Spawn { service, nonce } = event.kind {
            say(&format!("{service} {}", nonce > 0));
        }
    }
}
