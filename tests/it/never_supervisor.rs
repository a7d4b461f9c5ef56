//! Instances that may not supervise: they take part in all else, and say so where nobody
//! supervises.

use std::fs;
use std::time::Duration;

use pares::{Instance, JoinError};

use crate::support::{GROUP, Ground, PATIENCE};

const NEVER: &str = "join --json --never-supervisor --name never";

#[test]
fn a_group_of_only_such_instances_is_an_error_that_says_so() {
    let ground = Ground::new();
    let cure =
        "this instance may not; start an instance that may supervise (without --never-supervisor)";
    ground
        .ask("join --never-supervisor --timeout 0.1")
        .code(3)
        .says("nobody supervises")
        .says(cure);
    ground
        .ask("run --never-supervisor --timeout 0.1 --permit slots --limit 1 -- false")
        .code(3)
        .says(cure);
    let config = ground.config().may_supervise(false).join_timeout(Duration::from_millis(100));
    let error = Instance::join(config).unwrap_err();
    assert!(
        matches!(error, JoinError::NoSupervisor { address } if address.port() == ground.port),
        "{error:?}"
    );
    ground
        .ask("run --when-supervisor --never-supervisor -- true")
        .code(2)
        .says("cannot be used with");
}

#[test]
fn a_join_waits_for_one_that_may() {
    let ground = Ground::new();
    let never = ground.start(NEVER);
    let supervisor = ground.start("join --json --name may");
    supervisor.expect_event("supervisor");
    never.expect_event("subordinate");
}

/// Goal: survivors that may not supervise keep what they hold, say once that nobody supervises, and
/// follow the next who may.
#[test]
fn after_a_supervisors_death_they_wait_for_another_with_what_they_hold() {
    let ground = Ground::new();
    let first = ground.join("first");
    let instance = Instance::join(
        ground.config().may_supervise(false).resource(pares::Resource::new("slots", 1)),
    )
    .unwrap();
    let permit = instance.acquire_timeout("slots", 1, PATIENCE).unwrap();
    let never = ground.start(NEVER);
    never.expect_event("subordinate");
    first.kill();
    let lost =
        never.expect(|event| event["event"] == "contending" && event["cause"] == "supervisor-died");
    let told = never.expect(|event| {
        event["cause"].as_str().is_some_and(|cause| cause.contains("nobody supervises"))
    });
    assert!(told["monotonic_ns"].as_u64() > lost["monotonic_ns"].as_u64(), "{told}");
    assert!(permit.is_valid());

    let second = ground.start("join --json --name second");
    second.expect_event("supervisor");
    never.expect_event("subordinate");
    let usage = ground.ask("usage --json").code(0).json();
    assert_eq!(usage[0]["in_use"], 1, "{usage}");
    assert!(permit.is_valid());
    never.leave();
}

#[test]
fn a_supervisor_that_steps_down_among_them_supervises_again() {
    let ground = Ground::new();
    let only = ground.start("join --json --name only");
    let first = only.expect_event("supervisor");
    let never = ground.start(NEVER);
    never.expect_event("subordinate");
    ground.ask("step-down").code(1).says("no other instance");
    let again = only.expect_event("supervisor");
    assert!(again["term"].as_u64() > first["term"].as_u64());
    never.expect(|event| event["event"] == "subordinate" && event["term"] == again["term"]);
}

/// Goal: who never writes the group's last term needs no file for it.
#[test]
fn they_join_where_terms_cannot_be_kept() {
    let ground = Ground::new();
    let supervisor = ground.join("may");
    let file = ground.directory.join(format!("{GROUP}.term"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    ground.ask("join --name another").code(77).says("cannot open the term file");
    let never = ground.start(NEVER);
    never.expect_event("subordinate");
    supervisor.sees("never");
}
