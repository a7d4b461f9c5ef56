//! The other processes that tests need: this program again, each playing one of the [`PARTS`].
//!
//! `main` is the test harness's, and what comes before it takes unsafe code. So a process begins as
//! one of the tests, [`STAGE`], and becomes what its environment says; where that says nothing, it
//! is a test like any other.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::panic;
use std::path::Path;
use std::process::{self, ChildStdin, Command, ExitStatus, Stdio};

use pares::Config;

use crate::support::{GROUP, Ground, Proc, finish};

mod acceptor;
pub(crate) mod attacked;
mod crash;
pub(crate) mod forker;
mod hanging;
mod leaver;
mod member;
mod peers;
pub(crate) mod subject;
mod worker;

const PARTS: [(&str, fn()); 12] = [
    ("member", member::play),
    ("worker", worker::play),
    ("pulsing", hanging::pulse),
    ("both", hanging::be_both),
    ("subject", subject::play),
    ("leaver", leaver::play),
    ("forker", forker::play),
    ("forking-peer", peers::fork_once),
    ("starter", peers::start_others),
    ("attacked", attacked::serve),
    ("joiner", attacked::join),
    ("acceptor", acceptor::play),
];

const STAGE: &str = "actors::a_part_that_nobody_plays_is_refused";

/// Goal: who asks for a part that there is not is told so, and does not wait for it.
/// Method: this program as it is started for every part.
#[test]
fn a_part_that_nobody_plays_is_refused() {
    if let Ok(part) = env::var("PARES_TEST_PART") {
        play(&part);
    }
    let answer = finish(command(&[], "nobody")).code(101);
    assert!(answer.err.contains("no part `nobody`, but: member, worker, "), "{answer:?}");
}

fn play(part: &str) -> ! {
    let Some((_, play)) = PARTS.iter().find(|(name, _)| *name == part) else {
        panic!("no part `{part}`, but: {}", PARTS.map(|(name, _)| name).join(", "));
    };
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        say(&format!("{PANICKED} {info}").replace('\n', " "));
        usual(info);
    }));
    play();
    process::exit(0);
}

// ------------------------------------------------------------------------------------------
// the test's side

/// What makes this program play a part; `before` are the words of a command that starts it.
fn command(before: &[&str], part: &str) -> Command {
    let own = env::current_exe().expect("this program");
    let mut words = before.iter().map(OsString::from).chain([own.into()]);
    let mut command = Command::new(words.next().expect("at least this program"));
    command
        .args(words)
        .args(["--exact", STAGE, "--nocapture", "--test-threads=1"])
        .env("PARES_TEST_PART", part)
        .stdin(Stdio::null());
    command
}

/// The same for one that takes part in a group; `more` are environment variables without their
/// prefix.
pub(crate) fn command_in(
    directory: &Path,
    port: u16,
    before: &[&str],
    part: &str,
    more: &[(&str, String)],
) -> Command {
    let mut command = command(before, part);
    command
        .env("PARES_TEST_DIRECTORY", directory)
        .env("PARES_TEST_PORT", port.to_string())
        .envs(more.iter().map(|(name, value)| (format!("PARES_TEST_{name}"), value)));
    command
}

/// Runs a part to its end.
#[track_caller]
pub(crate) fn run(part: &str) {
    finish(command(&[], part)).code(0);
}

/// Another process; it ends when this value or this process does.
pub(crate) struct Actor {
    pub(crate) process: Proc,
    orders: ChildStdin,
}

impl Actor {
    pub(crate) fn start(ground: &Ground, part: &str, name: &str, more: &[(&str, String)]) -> Self {
        let mut command = command_in(&ground.directory, ground.port, &[], part, more);
        command.env("PARES_TEST_NAME", name);
        Actor::run(command)
    }

    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        let (process, orders) = Proc::start_with_input(command);
        Actor { process, orders }
    }

    pub(crate) fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).expect("a living process");
    }

    /// The next thing it says. A panic of any of its threads is none.
    #[track_caller]
    pub(crate) fn word(&self) -> String {
        loop {
            if let Some(word) = word(&self.process.line()) {
                assert!(!word.starts_with(PANICKED), "{word}");
                return word.to_owned();
            }
        }
    }

    /// What is left of the next word that begins with `start`; others before it are passed over.
    #[track_caller]
    pub(crate) fn expect(&self, start: &str) -> String {
        loop {
            if let Some(rest) = self.word().strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn obey(&mut self, order: &str) -> String {
        self.order(order);
        self.expect("done")
    }

    /// Waits for its end; gives how it ended, and what it said on standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        (self.process.end(), self.process.stderr())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// What another process says, among what the test harness prints.
pub(crate) fn word(line: &str) -> Option<&str> {
    line.split_once("@@ ").map(|(_, word)| word)
}

// ------------------------------------------------------------------------------------------
// the other process's side

const PANICKED: &str = "panicked:";

/// A line of its own, in one write, whatever else is printed.
fn say(word: &str) {
    _ = std::io::stdout().write_all(format!("\n@@ {word}\n").as_bytes());
}

/// The orders, one a line, until there will be no more.
fn orders() -> impl Iterator<Item = String> {
    std::io::stdin().lines().map_while(Result::ok)
}

/// A variable of its part, empty if there is none.
fn given(name: &str) -> String {
    env::var(format!("PARES_TEST_{name}")).unwrap_or_default()
}

/// The place of its group.
fn given_place(group: &str) -> Config {
    Config::new(group)
        .answer_timeout(crate::support::PATIENCE)
        .state_directory(given("DIRECTORY"))
        .port(given("PORT").parse().expect("a port"))
}

/// How it takes part.
fn given_config() -> Config {
    let events = given("EVENTS").parse().unwrap_or(100_000);
    given_place(GROUP).name(given("NAME")).event_capacity(events)
}
