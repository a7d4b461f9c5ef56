//! A supervisor that dies in the middle of letting somebody in.

use std::fs;
use std::net::TcpListener;
use std::thread;

use pares::{Client, Config, EventKind, Instance};

use crate::raw::{Group, Peer, free_port, take_opening, welcome};
use crate::support::PATIENCE;

/// How far the supervisor gets before it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Accepted,
    OpeningRead,
    HalfChallengeSent,
    ChallengeSent,
    HelloRead,
    HalfWelcomeSent,
    WelcomeSent,
}

const STEPS: [Step; 7] = [
    Step::Accepted,
    Step::OpeningRead,
    Step::HalfChallengeSent,
    Step::ChallengeSent,
    Step::HelloRead,
    Step::HalfWelcomeSent,
    Step::WelcomeSent,
];

/// Supervises until `step` and dies there, as the kernel has it: first the listener goes, then the
/// connection.
fn die_at(step: Step, listener: TcpListener, group: &Group, port: u16, reset: bool) {
    let mut peer = Peer::accept(&listener);
    let half = |frame: &[u8]| frame[..frame.len() / 2].to_vec();
    if step >= Step::OpeningRead {
        let mut meeting = take_opening(&peer.frame().expect("an opening"));
        meeting.port = port;
        let challenge = meeting.challenge(&group.key).frame();
        if step >= Step::ChallengeSent {
            peer.send(&challenge);
        } else if step == Step::HalfChallengeSent {
            peer.send(&half(&challenge));
        }
    }
    if step >= Step::HelloRead {
        peer.frame().expect("a proof");
        peer.frame().expect("a hello");
        let welcome = welcome(7, "mortal").frame();
        if step == Step::WelcomeSent {
            peer.send(&welcome);
        } else if step == Step::HalfWelcomeSent {
            peer.send(&half(&welcome));
        }
    }
    drop(listener);
    if reset {
        peer.reset();
    }
}

/// Goal: whoever is being let in when the supervisor dies takes over or tries again, and never
/// fails. Method: a supervisor made by hand with the right key, which ends at each step in turn,
/// with a clean end or a reset.
#[test]
fn a_supervisor_that_dies_at_any_step_of_a_handshake_is_succeeded() {
    for step in STEPS {
        for reset in [false, true] {
            let port = free_port();
            let directory = tempfile::tempdir().unwrap();
            let config =
                Config::new("mortals").port(port).state_directory(directory.path()).name("heir");
            drop(Client::new(&config).unwrap()); // makes the key
            let key = fs::read(directory.path().join("mortals.key")).unwrap().try_into().unwrap();
            let group = Group { name: "mortals".into(), key, narrow: false };
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            let supervisor = thread::spawn(move || die_at(step, listener, &group, port, reset));
            let heir = Instance::join(config)
                .unwrap_or_else(|error| panic!("{step:?}, reset {reset}: {error}"));
            let events = heir.events();
            let promoted = |kind: &EventKind| matches!(kind, EventKind::Supervisor { .. });
            while !promoted(&events.recv_timeout(PATIENCE).expect("a role").kind) {}
            // A term that was seen is never given again.
            assert!(
                step < Step::WelcomeSent || reset || heir.term() > 7,
                "{step:?}: term {}",
                heir.term()
            );
            supervisor.join().unwrap();
            drop(heir);
        }
    }
}
