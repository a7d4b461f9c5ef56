//! What cannot be done: the exit code and the words for it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Ground, Proc, finish};

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
    let holder = Proc::mute(Ipv4Addr::LOCALHOST, ground.port);
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

/// Goal: every option that takes a time takes the same times, and says what is wrong with another.
/// Method: each with a time that cannot be, and with one that is refused for its unit.
#[test]
fn an_option_that_takes_a_time_says_what_is_wrong_with_it() {
    let ground = Ground::new();
    for (option, bare) in [
        ("join --timeout=", "in seconds"),
        ("join --hang-timeout=", "in seconds"),
        ("call one ping --timeout=", "in seconds"),
        ("step-down --timeout=", "in seconds"),
        ("usage --timeout=", "in seconds"),
        ("run --when-supervisor --wait=", "in seconds"),
        ("run --when-supervisor --kill-after=", "in seconds"),
        ("peer run --when-primary --wait=", "in seconds"),
        ("peer run --when-primary --kill-after=", "in seconds"),
        ("peer direct 00112233445566778899aa 3 --timeout=", "in seconds"),
        ("peer join --interval=", "in milliseconds"),
        ("peer join --delay=", "in milliseconds"),
        ("peer ls --wait=", "in milliseconds"),
    ] {
        let end = if option.contains("run ") { " -- true" } else { "" };
        let says = |time: &str, what: &str| {
            let example = format!("as in 200ms, 1.5s, 2m or 1h; a number alone is {bare}");
            ground.ask(&format!("{option}{time}{end}")).code(2).says(what).says(&example);
        };
        says("-1", "not negative");
        says("5min", "`min` is none of the units ms, s, m and h");
    }
    let _one = ground.join("one");
    for time in ["2", "2s", "2000ms", "0.1m", "1e1"] {
        ground.ask(&format!("call one ping x --timeout {time}")).code(0);
    }
    ground.ask("peer ls --interval 20 --delay 20ms --wait 0.01s").code(3);
}
