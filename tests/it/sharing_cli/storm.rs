//! Hundreds of short commands at once.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use pares::channel::{Receiver, unbounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::permit;
use crate::support::{Ground, PATIENCE};

/// What a storm of commands came to.
struct Storm {
    /// How many ended with which exit code or signal.
    ends: BTreeMap<(Option<i32>, Option<i32>), usize>,
    /// What they said on standard output.
    said: String,
    /// What went wrong, in their own words.
    errors: String,
    /// How many were killed.
    killed: usize,
}

/// Runs `count` commands, 48 at a time; after each tenth end kills one that lives, if asked to.
fn storm(count: usize, kill: bool, command: impl Fn() -> Command + Sync) -> Storm {
    // One storm after the other: two would starve each other, and a survivor that is late by the
    // settle time loses its permit.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let living = Mutex::new(Vec::new());
    let (turns, turn) = unbounded();
    (0..count).for_each(|number| turns.send(number).unwrap());
    drop(turns);
    let (report, reports) = unbounded();
    let one_by_one = |turn: Receiver<usize>, report: pares::channel::Sender<_>| {
        for _ in turn {
            let mut command = command();
            let mut alive = living.lock().unwrap();
            let child =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
            let pid = Pid::from_child(&child);
            alive.push(pid);
            drop(alive);
            // Not reaped before it is off the list: its number stays its own.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .expect("a child");
            living.lock().unwrap().retain(|one| *one != pid);
            report.send(child.wait_with_output().expect("its output")).unwrap();
        }
    };
    let mut storm =
        Storm { ends: BTreeMap::new(), said: String::new(), errors: String::new(), killed: 0 };
    thread::scope(|scope| {
        for _ in 0..48 {
            let (turn, report) = (turn.clone(), report.clone());
            thread::Builder::new()
                .name("runner".into())
                .spawn_scoped(scope, || one_by_one(turn, report))
                .unwrap();
        }
        for number in 1..=count {
            let output = reports.recv_timeout(PATIENCE).expect("one more ends");
            *storm.ends.entry((output.status.code(), output.status.signal())).or_default() += 1;
            storm.said += &String::from_utf8_lossy(&output.stdout);
            storm.errors += &String::from_utf8_lossy(&output.stderr);
            let living = living.lock().unwrap();
            if kill && number % 10 == 0 && !living.is_empty() {
                // Any: a holder, one that waits, the supervisor, one that has only begun.
                kill_process(living[number * 7919 % living.len()], Signal::KILL).unwrap();
                storm.killed += 1;
            }
        }
    });
    storm
}

/// A script that takes one of four locks, and ends; it goes on if none is free.
fn take_slot(ground: &Ground) -> String {
    let slot = ground.directory.join("slot").display().to_string();
    format!(
        "for s in 1 2 3 4; do exec 9> {slot}$s; if flock -n 9; then sleep 0.01; exit 0; fi; done"
    )
}

const NO_SLOT: &str = "echo 'no slot is free' >&2; exit 99";

/// Goal: hundreds of short commands, each of them supervisor for a moment, and never more than four
/// at once. Method: each takes one of four locks without waiting; not one finds them all taken.
#[test]
fn hundreds_of_short_commands_keep_to_the_limit() {
    let ground = Ground::new();
    let script = format!("{}; {NO_SLOT}", take_slot(&ground));
    let storm = storm(240, false, || permit(&ground, "slots --limit 4", &script));
    assert_eq!(storm.ends, BTreeMap::from([((Some(0), None), 240)]), "{}", storm.errors);
    assert_eq!((storm.said.as_str(), storm.errors.as_str()), ("", ""));
}

/// Goal: the same while some of them are killed. Method: after every tenth end SIGKILL another. Its
/// unit is free when its connection ends, its lock when its command has been killed, a moment
/// later: who finds no lock free in this moment says so and looks again. So there can be as many of
/// these as there were kills, and not more.
#[test]
fn hundreds_of_short_commands_keep_to_the_limit_while_some_are_killed() {
    let ground = Ground::new();
    let take = take_slot(&ground);
    let script =
        format!("{take}; echo again; for t in $(seq 200); do sleep 0.01; {take}; done; {NO_SLOT}");
    let storm = storm(240, true, || permit(&ground, "slots --limit 4", &script));
    let (killed, ended) = (storm.ends.get(&(None, Some(9))), storm.ends.get(&(Some(0), None)));
    assert_eq!(
        killed.copied().unwrap_or(0) + ended.copied().unwrap_or(0),
        240,
        "{:?} {}",
        storm.ends,
        storm.errors
    );
    assert_eq!(storm.errors, "");
    let again = storm.said.lines().count();
    assert!(again <= storm.killed, "{again} found no slot free, after {} kills", storm.killed);
}
