//! `join`, `monitor`, and what ends them.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use super::has_fields;
use crate::support::{Ground, Proc};

#[test]
fn stop_has_an_instance_leave_and_join_end() {
    let ground = Ground::new();
    let one = ground.join("one");
    let mut two = ground.join("two");
    one.sees("two");
    ground.ask("stop two").code(0).silent();
    two.expect_event("stopped");
    assert_eq!(two.end_code(), 0);
    let left = one.expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("two"), &json!("left")));
    ground.ask("stop two").code(4);
}

#[test]
fn step_down_hands_over_and_names_the_successor() {
    let ground = Ground::new();
    let one = ground.join("one");
    ground.ask("step-down").code(1).says("no other instance");
    let two = ground.join("two");
    assert_eq!(ground.ask("step-down").code(0).out, "two\n");
    assert_eq!(two.expect_event("supervisor")["term"], 2);
    assert_eq!(one.expect_event("contending")["cause"], "stepped-down");
    assert_eq!(one.expect_event("subordinate")["supervisor"], "two");
    assert_eq!(ground.ask("status --json").code(0).json()["cause"], "stepped-down");
}

#[test]
fn monitor_tells_who_is_there_and_then_each_change() {
    let ground = Ground::new();
    let one = ground.join("one");
    let mut monitor = ground.start("monitor --json");
    has_fields(&monitor.expect_event("supervisor"), &["event", "monotonic_ns", "name", "term"]);
    has_fields(&monitor.expect_event("joined"), &["event", "monotonic_ns", "name"]);
    let two = ground.join("two");
    assert_eq!(monitor.expect_event("joined")["name"], "two");
    one.kill();
    has_fields(&monitor.expect_event("contending"), &["event", "monotonic_ns", "cause"]);
    assert_eq!(monitor.expect_event("supervisor")["name"], "two");
    let left = monitor.expect_event("left");
    has_fields(&left, &["event", "monotonic_ns", "name", "cause"]);
    assert_eq!((&left["name"], &left["cause"]), (&json!("one"), &json!("died")));
    let _three = ground.join("three");
    two.leave();
    let left = monitor.expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("two"), &json!("left")));
    assert_eq!(monitor.expect_event("supervisor")["name"], "three");
    monitor.signal(Signal::INT);
    assert_eq!(monitor.end_code(), 0);
}

#[test]
fn monitor_in_a_pipe_is_words_between_tabs() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let monitor = ground.start("monitor");
    assert_eq!(monitor.line(), "supervisor\tone\t1");
    assert_eq!(monitor.line(), "joined\tone");
}

/// Goal: the events of `join` have exactly the fields of the contract, and one's own joining is not
/// among them. Method: two instances; the first one dies.
#[test]
fn join_tells_its_own_role_and_what_the_others_do() {
    let ground = Ground::new();
    let one = ground.start("join --json --name one");
    has_fields(&one.event(), &["event", "monotonic_ns", "name", "term"]);
    let two = ground.start("join --json --name two");
    let event = two.event();
    has_fields(&event, &["event", "monotonic_ns", "name", "term", "supervisor"]);
    assert_eq!((&event["name"], &event["supervisor"]), (&json!("two"), &json!("one")));
    one.sees("two");
    two.sees("one"); // who was there before
    one.kill();
    has_fields(&two.expect_event("contending"), &["event", "monotonic_ns", "cause"]);
    assert_eq!(two.expect_event("supervisor")["term"], 2);
    has_fields(&two.expect_event("left"), &["event", "monotonic_ns", "name", "cause"]);
    has_fields(&two.expect_event("settled"), &["event", "monotonic_ns", "term", "members"]);
    let mut two = two;
    two.signal(Signal::INT);
    has_fields(&two.expect_event("stopped"), &["event", "monotonic_ns"]);
    assert_eq!(two.end_code(), 0);
}

#[test]
fn join_ends_with_its_standard_input_if_asked_to() {
    let ground = Ground::new();
    let mut one = ground.start("join --until-eof"); // which is empty
    assert_eq!(one.end_code(), 0);
}

/// Goal: `pares … | head -1` ends at once and quietly, also if nothing more happens in the group.
/// Method: close the reading end after one line; nothing happens from then on.
#[test]
fn who_has_read_enough_ends_the_command_quietly() {
    let ground = Ground::new();
    let _one = ground.join("one");
    for arguments in ["monitor", "monitor --json", "join --json --name two"] {
        let mut child = ground
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 5]).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), b"".as_slice()),
            "{arguments}"
        );
    }
    // Nobody reads from the beginning.
    for arguments in
        ["ls", "ls --json", "status", "call one info", "man", "completions bash", "--help"]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = ground
            .command(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), b"".as_slice()),
            "{arguments}"
        );
    }
}

/// Goal: who types commands reads what to type, not which method a program would call. Method: the
/// supervisor dies, and another program takes the port before the only one left finds it.
#[test]
fn an_obstacle_is_told_with_the_options_of_the_command() {
    let ground = Ground::new();
    let one = ground.join("one");
    let two = ground.start("join --json --name two --never-supervisor");
    two.expect_event("subordinate");
    one.kill();
    assert_eq!(two.expect_event("contending")["cause"], "supervisor-died");
    let _holder = Proc::mute(Ipv4Addr::LOCALHOST, ground.port);
    let told = two.expect(|event| event["cause"].to_string().contains("not by a pares instance"));
    let cause = told["cause"].to_string();
    assert!(cause.contains("--port or PARES_PORT") && !cause.contains("Config::"), "{cause}");
}
