//! `demo`.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::has_fields;
use crate::support::{Ground, Proc};

/// Goal: the demo shows what it says, and nothing is left of it.
/// Method: read its steps as JSON; look for its directory and its processes afterwards.
#[test]
fn the_demo_shows_every_take_over_and_a_limit_that_holds_and_leaves_nothing() {
    let ground = Ground::new();
    let mut demo = ground.command("demo --instances 5 --kills 4 --json");
    demo.env("TMPDIR", &ground.directory);
    let mut demo = Proc::start(demo);
    let usage = |event: Value| {
        assert_eq!(event["event"], "usage");
        let usage = &event["usage"];
        has_fields(usage, &["resource", "limit", "in_use", "waiting", "holders"]);
        assert_eq!((&usage["resource"], &usage["limit"]), (&json!("connections"), &json!(2)));
        assert!(
            usage["in_use"].as_u64() <= Some(2) && usage["waiting"].as_u64() <= Some(5),
            "{usage}"
        );
    };
    assert_eq!(demo.event()["event"], "elected");
    assert_eq!(demo.event()["instances"].as_array().unwrap().len(), 5);
    usage(demo.event());
    for term in 2..=5 {
        let step = demo.event();
        assert_eq!((&step["event"], &step["term"]), (&json!("take-over"), &json!(term)), "{step}");
        assert!(step["take_over_ms"].as_f64() <= step["settled_ms"].as_f64(), "{step}");
        usage(demo.event());
    }
    assert_eq!(demo.event()["instances"].as_array().unwrap().len(), 5);
    let end = demo.event();
    assert_eq!(
        (&end["event"], &end["limit"], &end["most_at_once"]),
        (&json!("end"), &json!(2), &json!(2)),
        "{end}"
    );
    assert!(end["turns"].as_u64() >= Some(5 * 5), "everybody has a turn after each kill: {end}");
    assert_eq!(demo.end_code(), 0);
    assert_eq!(fs::read_dir(&ground.directory).unwrap().count(), 0);
}

/// Goal: Ctrl-C ends the demo with all its processes and its directory. Method: SIGINT after the
/// first step; the processes hold its standard error, whose end says that all are gone.
#[test]
fn an_interrupted_demo_leaves_nothing() {
    let ground = Ground::new();
    let mut demo = ground.command("demo --kills 1000 --json");
    demo.env("TMPDIR", &ground.directory);
    let mut demo = Proc::start(demo);
    demo.event();
    demo.signal(Signal::INT);
    assert_eq!(demo.end_code(), 130);
    assert_eq!(demo.stderr(), "");
    assert_eq!(fs::read_dir(&ground.directory).unwrap().count(), 0);
}

/// Goal: also a demo that is killed leaves no process behind.
/// Method: SIGKILL; the end of the standard error that all its processes share.
#[test]
fn the_processes_of_a_killed_demo_end_with_it() {
    let ground = Ground::new();
    let mut demo = ground.command("demo --kills 1000 --json");
    demo.env("TMPDIR", &ground.directory);
    let demo = Proc::start(demo);
    demo.event();
    demo.signal(Signal::KILL);
    demo.stderr(); // panics if it takes too long
}
