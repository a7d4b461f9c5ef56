//! Groups that start what they miss.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::deaths::file_of;
use crate::actors::{Actor, command_in};
use crate::support::{Ground, Proc, await_true};

/// A process that is nobody's child any more, and ends with its test.
struct Launched(i32);

impl Drop for Launched {
    fn drop(&mut self) {
        _ = kill_process(Pid::from_raw(self.0).unwrap(), Signal::KILL);
    }
}

/// Goal: one missing process is started once, by one of those who can; it is known as the one that
/// was waited for, and has nothing of its starter open. Method: the started command is a shell that
/// writes down what it was told and what it has open, and becomes `pares peer join`.
#[test]
fn what_is_missing_is_started_and_joins_with_its_origin() {
    let ground = Ground::new();
    let note = ground.directory.join("launched");
    let launch = format!(
        "echo $$ $PARES_GROUP $PARES_SERVICE $PARES_ORIGIN $(ls -l /proc/$$/fd | grep -c -e socket \
         -e eventfd -e pidfd) >> {}; \
         exec $PARES peer join",
        note.display()
    );
    let pares = env!("CARGO_BIN_EXE_pares");
    let start = || {
        let mut command =
            ground.command_of(["peer", "join", "--json", "--need", "7=1:1", "--launch", &launch]);
        Proc::start({
            command.env("PARES", pares);
            command
        })
    };
    let starters = [start(), start()];
    let joined = |event: &Value| event["event"] == "joined" && event["service"] == 7;
    let one = starters[0].expect(joined);
    let text = fs::read_to_string(&note).unwrap();
    let _launched: Vec<Launched> = text.lines().map(|line| Launched(first(line))).collect();
    let other = starters[1].expect(joined);
    assert_eq!(one["tail"], other["tail"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words.len(), 5, "started more than once: {text}");
    assert_eq!(words[1..3], ["it", "7"]);
    assert!(words[3].parse::<u32>().is_ok_and(|origin| origin > 0), "{text}");
    assert_eq!(words[4], "0", "it has something of its starter's open");
    let pid: u32 = words[0].parse().unwrap();
    let file = fs::read_to_string(file_of(&ground, one["tail"].as_str().unwrap())).unwrap();
    assert_eq!(first(&file) as u32, pid);
}

pub(super) fn first(line: &str) -> i32 {
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a pid")
}

/// Goal: a start that fails harms nobody, and the next one is tried; also in a program that ignores
/// SIGCHLD, so that nobody can wait for its children. Method: two starts of a program that is not
/// there, then it is.
#[test]
fn a_start_that_fails_is_logged_and_the_starter_goes_on() {
    let starters = ["USR1", "CHLD"].map(|ignored| {
        let ground = Ground::new();
        let program = ground.directory.join("program");
        let before = ["env", &format!("--ignore-signal={ignored}")];
        let more = [("PROGRAM", program.to_str().expect("UTF-8").to_owned())];
        let command = command_in(&ground.directory, ground.port, &before, "starter", &more);
        (Actor::run(command), program, ground)
    });
    for (starter, program, ground) in starters {
        let tried = || while starter.word() != "7 true" {};
        tried();
        tried();
        let ran = ground.directory.join("ran");
        ground.make_program(
            &format!("printf '#!/bin/sh\\necho > {}' > \"$1\"", ran.display()),
            &program,
        );
        await_true("started", || ran.exists());
    }
}
