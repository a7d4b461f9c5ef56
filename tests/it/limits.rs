//! What is said where the system is at a limit.

use pares::{Instance, JoinError};
use rustix::process::Signal;

use crate::support::{Ground, Proc};

/// Goal: whoever finds a supervisor without a descriptor left is told so, and so is who reads the
/// supervisor's log; those who are in the group stay. Method: a supervisor with very few
/// descriptors; instances join from here until one is turned away.
#[test]
fn a_supervisor_without_a_descriptor_left_is_named_and_says_what_to_raise() {
    let ground = Ground::new();
    let mut supervisor =
        Proc::start(ground.shell("ulimit -n 40; exec $PARES join --json --name one"));
    supervisor.role();
    let mut members = Vec::new();
    let refused = loop {
        match Instance::join(ground.config()) {
            Ok(instance) => members.push(instance),
            Err(error) => break error,
        }
        assert!(members.len() < 40, "more than it has descriptors");
    };
    assert!(matches!(refused, JoinError::TimedOut { .. }), "{refused}");
    let text = refused.to_string();
    for wanted in ["reached its limit of descriptors or threads", "ulimit -n", "pares"] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    assert!(!members.is_empty());
    assert!(members.iter().all(|member| member.role() == pares::Role::Subordinate));
    supervisor.signal(Signal::TERM);
    supervisor.end();
    let log = supervisor.stderr();
    assert!(log.contains("cannot accept") && log.contains("ulimit -n"), "{log}");
}
