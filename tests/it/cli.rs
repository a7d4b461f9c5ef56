//! The command line: what is printed, and with which exit code it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Ground, Proc, finish};

/// The names of an object's fields.
fn fields(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
pub(crate) fn has_fields(object: &Value, wanted: &[&str]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!(fields(object), wanted, "{object}");
}

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
        .says("1 of 2 instances gave no result");
    assert!(answer.out.starts_with("one\tok\tx\ntwo\terror\t"), "{answer:?}");
    ground.ask("call two ping x --timeout 0.3").code(124).says("no answer in time");
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

/// Goal: a program that answers in another language is recognised at once, with pid and name.
/// Method: a server in this process that sends a greeting and closes, on the group's port.
#[test]
fn a_program_that_speaks_another_language_is_69() {
    let ground = Ground::new();
    let holder = TcpListener::bind(("127.0.0.1", ground.port)).unwrap();
    let serve = std::thread::Builder::new().name("greeter".into()).spawn(move || {
        for stream in holder.incoming() {
            let mut stream = stream.unwrap();
            let mut first = [0; 1];
            if stream.read_exact(&mut first).is_ok() && first == *b"X" {
                return;
            }
            _ = stream.write_all(
                b"220 mail.example.org ESMTP; go ahead, tell me what you want of me today\r\n",
            );
        }
    });
    let me = format!("(pid {}", std::process::id());
    for command in ["join", "ls", "monitor", "call main ping", "run --when-supervisor -- true"] {
        ground.ask(command).code(69).says(&me).says("not by a pares instance");
    }
    ground.ask("is-up one").code(69);
    let doctor = ground.ask("doctor --json").code(1).json();
    let found =
        doctor.as_array().unwrap().iter().find(|finding| finding["check"] == "supervisor").unwrap();
    assert!(found["state"] == "cure" && found["finding"].to_string().contains(&me), "{found}");
    std::net::TcpStream::connect(("127.0.0.1", ground.port)).unwrap().write_all(b"X").unwrap();
    serve.unwrap().join().unwrap();
}

/// Goal: a program that takes connections and waits for its own kind of request is told from a
/// stopped supervisor. Method: one that listens and does nothing, in a process that is no instance.
#[test]
fn a_program_that_says_nothing_is_69_too() {
    let ground = Ground::new();
    let holder = Proc::mute(ground.port);
    let who = format!("`python3` (pid {}", holder.pid());
    ground.ask("join").code(69).says(&who).says("not by a pares instance");
    ground.ask("ls").code(69).says(&who).says("not by a pares instance");
}

#[test]
fn a_port_that_serves_another_group_is_69() {
    let ground = Ground::new();
    let _one = ground.join("one");
    for command in ["-g other ls", "-g other join", "--group=other status"] {
        ground
            .ask(&format!("-p {} {command}", ground.port))
            .code(69)
            .says("serves the group `it`, not `other`");
    }
}

#[test]
fn another_key_is_77() {
    let ground = Ground::new();
    let one = ground.join("one");
    let stranger = Ground::on_port(ground.port);
    let holder = format!("pid {}", one.pid());
    stranger.ask("ls").code(77).says("does not have this group's key").says(&holder);
    stranger.ask("join").code(77).says("does not have this group's key").says(&holder);
    let key = stranger.directory.join("it.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    stranger.ask("ls").code(77).says("chmod 600");
    stranger.ask("doctor").code(1);
    fs::write(&key, "short").unwrap();
    stranger.ask("join").code(77);
}

/// Goal: a port that this user may not bind is an error of its own. Method: as another user than
/// root (with a copy of the program, for that user may not see where it was built).
#[test]
fn a_port_that_this_user_may_not_bind_is_77() {
    let first_free =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first_free.trim().parse() != Ok(1024) {
        crate::skipped::skip("every user may bind every port here");
        return;
    }
    let ground = Ground::on_port(81);
    let program = ground.copy_of_command();
    let mut command = Command::new(program);
    command.arg("join").env("PARES_DIR", ground.directory.join("own")).env("PARES_PORT", "81");
    if rustix::process::geteuid().is_root() {
        const NOBODY: u32 = 65_534;
        fs::set_permissions(&ground.directory, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&ground.directory, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    finish(command).code(77).says("this user may not bind port 81").says("--port");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let ground = Ground::new();
    let one = ground.join("one");
    ground
        .ask("join --name one")
        .code(1)
        .says("the name `one` belongs to")
        .says(&one.pid().to_string());
}

#[test]
fn wrong_usage_is_2() {
    let ground = Ground::new();
    for arguments in [
        "",
        "nonsense",
        "ls extra",
        "-p 0 ls",
        "-p 99999 ls",
        "-q -v ls",
        "-g a/b ls",
        "join --meta novalue",
        "join --name main",
        "join --timeout never",
        "call one",
        "run -- true",
        "run --when-supervisor",
        "run --when-supervisor -n -w 1 -- true",
        "run --when-supervisor -w -1 -- true",
        "run --when-supervisor --permit slots -- true",
        "run --when-supervisor --limit 4 -- true",
        "run --permit slots",
        "run --permit slots=x -- true",
        "run --permit slots= -- true",
        "run --permit slots=-1 -- true",
        "run --permit slots=0 --limit 4 -- true",
        "run --permit =2 --limit 4 -- true",
        "run --permit slots --limit x -- true",
        "run --permit slots --limit 274877906945 -- true",
        "run --permit slots -n -w 1 -- true",
        "join --resource slots",
        "join --resource slots=many",
        "join --resource =1",
        "usage one two",
        "limit slots",
        "limit slots many",
        "revoke slots",
        "get",
        "set",
        "set key",
        "set key value --unset",
        "set key value --if a --if-unset",
        "set key --unset --if a",
        "demo --instances 1",
        "man nonsense",
        "completions nonsense",
    ] {
        let answer = ground.ask(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{arguments:?}: {answer:?}");
        assert!(!answer.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn options_of_the_group_go_before_or_after_the_command() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let port = ground.port;
    for arguments in [
        format!("-g it -p {port} ls"),
        format!("ls --group it --port={port}"),
        format!("-p{port} ls -git"),
    ] {
        let mut command = ground.command(&arguments);
        command.env_remove("PARES_GROUP").env_remove("PARES_PORT");
        assert!(finish(command).code(0).out.starts_with("one\t"));
    }
}

#[test]
fn every_command_has_help_a_page_and_an_example() {
    let ground = Ground::new();
    let help = ground.ask("--help").code(0).out;
    let commands = [
        "demo",
        "join",
        "run",
        "ls",
        "status",
        "is-supervisor",
        "is-up",
        "call",
        "functions",
        "usage",
        "limit",
        "revoke",
        "get",
        "set",
        "settings",
        "monitor",
        "step-down",
        "stop",
        "peer",
        "doctor",
        "completions",
        "man",
    ];
    let manual = ground.ask("man").code(0).out;
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        assert!(
            ground.ask(&format!("{command} --help")).code(0).out.contains("Usage: pares"),
            "{command}"
        );
        assert!(
            ground.ask(&format!("man {command}")).code(0).out.contains(".SH SYNOPSIS"),
            "{command}"
        );
        assert!(manual.contains(&command.replace('-', "\\-")), "{command} is not in the manual");
    }
    for code in ["69", "75", "77", "124", "125", "126", "128+N"] {
        assert!(help.contains(code), "{code} is not in the help");
    }
    for hidden in ["guard", "anchor", "begin", "actor"] {
        let listed = help.contains(&format!("\n  {hidden} "))
            || manual.contains(&format!("pares\\-{hidden}"));
        assert!(!listed, "{hidden} is nobody's command");
    }
    assert!(ground.ask("--version").code(0).out.starts_with("pares "));
}

#[test]
fn completions_are_for_the_usual_shells() {
    let ground = Ground::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = ground.ask(&format!("completions {shell}")).code(0).out;
        assert!(script.contains("is-supervisor"), "{shell}");
        for form in ["pares__guard", "'guard:", "-a \"guard\"", "pares,guard"] {
            assert!(!script.contains(form), "{shell}: {form}");
        }
    }
}

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
