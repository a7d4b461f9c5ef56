//! What is asked of a group, and how the answers are printed.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::has_fields;
use crate::support::{Ground, Proc, finish};

/// Runs a command with a terminal as standard output, which is what `script` gives it.
fn on_terminal(ground: &Ground, arguments: &str, variables: &[(&str, &str)]) -> String {
    let pares = env!("CARGO_BIN_EXE_pares");
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{pares} {arguments}"), "/dev/null"]);
    let of_ground = ground.command("");
    command.envs(of_ground.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    finish(command).code(0).out
}

#[test]
fn ls_in_a_pipe_is_tabs_without_a_header() {
    let ground = Ground::new();
    let one = ground.start("join --json --name one --meta version=2.4 --meta zone=a");
    one.role();
    let two = ground.join("two");
    let answer = ground.ask("ls").code(0);
    let rows: Vec<Vec<&str>> = answer.out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][..3], ["one", "supervisor", &one.pid().to_string()]);
    assert_eq!(rows[0][6..], ["version=2.4", "zone=a"]);
    assert_eq!(rows[1][..3], ["two", "subordinate", &two.pid().to_string()]);
    assert_eq!(rows[1].len(), 6);
}

#[test]
fn ls_in_json_has_every_field_of_every_instance() {
    let ground = Ground::new();
    let one = ground.start("join --json --name one --meta version=2.4");
    one.role();
    let _two = ground.join("two");
    let listing = ground.ask("ls --json").code(0).json();
    let [first, second] = listing.as_array().expect("an array").as_slice() else {
        panic!("{listing}")
    };
    let names =
        ["name", "role", "pid", "uid", "admin", "term", "joined_ms", "meta", "functions", "main"];
    has_fields(first, &names);
    has_fields(second, &names);
    assert_eq!(first["name"], "one");
    assert_eq!(first["role"], "supervisor");
    assert_eq!(first["pid"], one.pid());
    assert_eq!(first["meta"], json!({"version": "2.4"}));
    assert_eq!((&first["main"], &second["main"]), (&json!(true), &json!(false)));
    assert!(first["functions"].as_array().expect("functions").contains(&json!("ping")));
    assert!(first["joined_ms"].as_u64() > Some(1_600_000_000_000));
}

#[test]
fn on_a_terminal_there_is_a_header_and_colour_only_if_wanted() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let coloured = on_terminal(&ground, "ls", &[]);
    assert!(coloured.contains("NAME") && coloured.contains('\x1b'), "{coloured:?}");
    let plain = on_terminal(&ground, "ls", &[("NO_COLOR", "1")]);
    assert!(plain.contains("NAME") && !plain.contains('\x1b'), "{plain:?}");
    assert!(!on_terminal(&ground, "ls", &[("TERM", "dumb")]).contains('\x1b'));
    // A result without a line end would garble the prompt.
    assert!(on_terminal(&ground, "call one ping hi", &[]).ends_with("hi\n"));
}

#[test]
fn status_shows_the_group_or_one_instance() {
    let ground = Ground::new();
    let one = ground.join("one");
    let status = ground.ask("status --json").code(0).json();
    let names = [
        "group",
        "port",
        "supervisor",
        "term",
        "settled",
        "members",
        "registry_port",
        "supervisor_admin",
    ];
    has_fields(&status, &[&names[..], &["since_ms", "cause", "address"]].concat());
    assert_eq!((&status["supervisor"], &status["port"]), (&json!("one"), &json!(ground.port)));
    assert_eq!((&status["settled"], &status["cause"]), (&json!(true), &json!("started")));
    let answer = ground.ask("status").code(0);
    assert!(
        answer.out.contains("supervisor\tone\n") && answer.out.contains("members\t1\n"),
        "{answer:?}"
    );

    for name in ["one", "main"] {
        let entry = ground.ask(&format!("status {name} --json")).code(0).json();
        assert_eq!((&entry["name"], &entry["pid"]), (&json!("one"), &json!(one.pid())));
    }
    ground.ask("status nobody").code(4).says("no instance `nobody`");
}

#[test]
fn yes_and_no_are_exit_codes_and_nothing_else() {
    let ground = Ground::new();
    ground.ask("is-supervisor one").code(3).silent();
    ground.ask("is-up one").code(3).silent();
    let _one = ground.join("one");
    let _two = ground.join("two");
    ground.ask("is-supervisor one").code(0).silent();
    ground.ask("is-supervisor two").code(3).silent();
    ground.ask("is-supervisor nobody").code(3).silent();
    ground.ask("is-up two").code(0).silent();
    ground.ask("is-up main").code(0).silent();
    ground.ask("is-up nobody").code(4).silent();
}

#[test]
fn without_a_supervisor_every_question_ends_with_3() {
    let ground = Ground::new();
    for question in [
        "ls",
        "status",
        "status one",
        "call main ping",
        "call @all ping",
        "functions main",
        "stop one",
        "step-down",
        "usage",
        "usage slots",
        "limit slots 3",
        "revoke slots one",
        "get key",
        "set key value",
        "set key value --if other",
        "set key --unset",
        "settings",
    ] {
        ground.ask(question).code(3).says("no supervisor on port");
    }
}

#[test]
fn a_call_gives_the_results_bytes_as_they_are() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let answer = ground.ask("call one ping hello").code(0);
    // The line end is the reader's here.
    assert_eq!((answer.out.as_str(), answer.err.as_str()), ("hello\n", ""));
    let info = ground.ask("call main info").code(0).out;
    assert!(info.contains("name=one\n") && info.contains("role=supervisor\n"), "{info}");
    assert_eq!(
        ground.ask("call one ping x --json").code(0).json(),
        json!({"name": "one", "ok": true, "result": "x"})
    );
    ground.ask("call one nonsense").code(4).says("has no function `nonsense`");
    ground.ask("call nobody ping").code(4).says("no instance `nobody`");
    ground.ask("call one log-level loud").code(1).says("no level `loud`");
}

/// Goal: a payload of any bytes goes in by standard input and comes back unchanged.
/// Method: all 256 bytes, through `ping`; no line reader in between.
#[test]
fn a_payload_from_standard_input_can_be_any_bytes() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut call = ground.command("call one ping -");
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, bytes);

    let mut call = ground.command("call one ping -");
    let mut child = call.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    _ = child.stdin.take().unwrap().write_all(&vec![0; pares::MAX_PAYLOAD + 1]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_call_to_all_says_who_answered_and_fails_if_one_did_not() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let two = ground.join("two");
    assert_eq!(ground.ask("call @all ping a\\b").code(0).out, "one\tok\ta\\\\b\ntwo\tok\ta\\\\b\n");
    assert_eq!(
        ground.ask("call @all ping x --json").code(0).json(),
        json!([
            {"name": "one", "ok": true, "result": "x"},
            {"name": "two", "ok": true, "result": "x"}
        ])
    );
    two.stop();
    let answer = ground
        .ask("call @all ping x --timeout 0.3")
        .code(1)
        .says("1 of 2 instances returned no result");
    assert!(answer.out.starts_with("one\tok\tx\ntwo\terror\t"), "{answer:?}");
    ground.ask("call two ping x --timeout 0.3").code(124).says("did not answer in time");
}

#[test]
fn functions_are_listed_with_what_they_do() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let answer = ground.ask("functions main").code(0);
    assert!(answer.out.lines().any(|line| line.starts_with("ping\t")), "{answer:?}");
    let listed = ground.ask("functions one --json").code(0).json();
    has_fields(&listed[0], &["name", "help"]);
}

#[test]
fn the_log_goes_to_standard_error_and_its_level_changes_at_run_time() {
    let ground = Ground::new();
    let mut one = Proc::start(ground.command("join --json --name one -q"));
    one.role();
    assert_eq!(ground.ask("call one log-level").code(0).out, "error\n");
    assert_eq!(ground.ask("call one log-level debug").code(0).out, "debug\n");
    ground.ask("call one ping x").code(0);
    one.signal(Signal::TERM);
    assert_eq!(one.end_code(), 0);
    let log = one.stderr();
    assert!(log.contains("call of \"ping\"") && log.contains("-> stopped"), "{log}");
}
