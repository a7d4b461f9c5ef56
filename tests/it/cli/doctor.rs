//! `doctor`, as a person meets it.

use std::fs;

use super::has_fields;
use crate::support::Ground;

#[test]
fn doctor_finds_nothing_to_cure_in_a_healthy_group() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let findings = ground.ask("doctor --json").json();
    for finding in findings.as_array().expect("an array") {
        has_fields(finding, &["check", "state", "finding", "cure"]);
        // What the machine itself is like is not this test's business.
        if ["port", "directory", "key", "supervisor", "descriptors"]
            .contains(&finding["check"].as_str().unwrap())
        {
            assert_eq!(finding["state"], "ok", "{finding}");
        }
    }
}

#[test]
fn doctor_makes_nothing() {
    let ground = Ground::new();
    ground.ask("doctor");
    assert_eq!(fs::read_dir(&ground.directory).unwrap().count(), 0);
}

#[test]
fn doctor_names_a_port_that_the_kernel_gives_away() {
    let ground = Ground::new();
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let port = range.split_whitespace().nth(1).unwrap();
    let answer = ground.ask(&format!("-p {port} doctor")).code(1);
    assert!(
        answer.out.starts_with(&format!("port\tcure\t{port} is inside the ephemeral range")),
        "{answer:?}"
    );
}

#[test]
fn doctor_tells_a_stopped_supervisor_and_how_to_continue_it() {
    let ground = Ground::new();
    let one = ground.join("one");
    one.stop();
    let answer = ground.ask("doctor").code(1);
    assert!(answer.out.contains(&format!("kill -CONT {}", one.pid())), "{answer:?}");
}
