//! Real processes that are killed, stopped and forked.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pares::channel::Select;
use pares::masterless::{EventKind, SuspicionCause};
use rustix::process::Signal;
use serde_json::Value;

use super::starting::first;
use super::{MS, config, expect, join, process};
use crate::actors::Actor;
use crate::fork::now_ns;
use crate::support::{Ground, PATIENCE, Proc, await_true};

fn is_primary(event: &Value) -> bool {
    event["event"] == "role" && event["to"] == "primary"
}

/// The file that says which process has this tail.
pub(super) fn file_of(ground: &Ground, tail: &str) -> PathBuf {
    ground.directory.join("it.peers").join(tail)
}

/// Goal: the kernel's news of a death spares the time until silence is noticed. Method: what the
/// next one says that it suspects the killed one for. A second time without the file that says
/// which process it is: then silence it is.
#[test]
fn a_killed_primary_is_replaced_at_once_where_the_kernel_tells_of_its_death() {
    let ground = Ground::new();
    let slow = "--interval 2000 --delay 100";
    let first = process(&ground, slow);
    first.expect(is_primary);
    let (second, third) = (process(&ground, slow), process(&ground, slow));
    let tail = |event: &Value| event["id"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let admitted = |event: &Value| event["event"] == "role" && event["to"] == "standby";
    let own = [second.expect(admitted), third.expect(admitted)];
    second.expect_event("joined");
    for _ in 0..2 {
        third.expect_event("joined");
    }
    let suspects = |one: &Proc| one.expect(|event| event["event"] == "suspected")["cause"].clone();
    first.kill();
    let (next, last, gone) = {
        let better = own[0]["id"].as_str() < own[1]["id"].as_str();
        if better { (second, third, tail(&own[0])) } else { (third, second, tail(&own[1])) }
    };
    assert_eq!(suspects(&next), "ended");
    next.expect(is_primary);
    let files = || fs::read_dir(ground.directory.join("it.peers")).unwrap().count();
    await_true("without the dead one's file", || files() == 2);

    // The pidfd is open already; so the last one is a process that has not found the file.
    drop(last);
    fs::remove_file(file_of(&ground, &gone)).unwrap();
    let late = process(&ground, slow);
    late.expect(admitted);
    late.expect_event("joined");
    next.kill();
    assert_eq!(suspects(&late), "silent");
    late.expect(is_primary);
}

/// Goal: a program that knows of a death says so, and it counts.
/// Method: the process stands still, which the kernel does not tell; long intervals.
#[test]
fn a_process_that_the_program_says_has_ended_is_suspected_at_once() {
    let ground = Ground::new();
    let here = join(config(&ground).interval(MS(2000)).delay(MS(100)));
    let events = here.events();
    let there = process(&ground, "--interval 2000 --delay 100");
    let joined = |kind| if let EventKind::Joined { id, .. } = kind { Some(id) } else { None };
    let id = expect(&events, joined);
    there.stop();
    here.process_ended(std::process::id() + 1_000_000); // of nobody
    here.process_ended(there.pid());
    let suspected = |kind| {
        if let EventKind::Suspected { id, cause, .. } = kind {
            Some((id.tail(), cause))
        } else {
            None
        }
    };
    assert_eq!(expect(&events, suspected), (id.tail(), SuspicionCause::Ended));
}

/// Goal: whatever happens to the primary, there is soon one again, and only one; and each has a
/// larger epoch. Method: five processes with the usual times; the primary is killed, or stopped
/// until it is replaced and then continued, in turn. Who is primary is asked from outside; the time
/// is the successor's own.
#[test]
fn five_processes_have_one_primary_again_whatever_happens_to_it() {
    const ROUNDS: u64 = 20;
    let ground = Ground::new();
    let mut group: Vec<Proc> = (0..5).map(|_| process(&ground, "")).collect();
    let mut times = Vec::new();
    let mut last = 0;
    for round in 0..ROUNDS {
        let (at, epoch) = the_primary(&ground, &group, 5);
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        let old = group.remove(at);
        let began = now_ns();
        if round % 2 == 0 {
            old.kill();
            times.push(("killed", took_over(&group, began)));
            group.push(process(&ground, ""));
        } else {
            old.stop();
            times.push(("stopped", took_over(&group, began)));
            let (_, epoch) = the_primary(&ground, &group, 4);
            assert!(epoch > last, "{epoch} after {last}");
            old.signal(Signal::CONT);
            old.expect(|event| event["event"] == "paused" && event["for_ms"].as_u64() > Some(500));
            group.push(old);
        }
    }
    let (_, epoch) = the_primary(&ground, &group, 5);
    assert!(epoch > last, "{epoch} after {last}");
    // Dead after 800 ms of silence. (A machine that is busy with other tests lets it take longer,
    // so this only reports.)
    println!("{times:?}");
}

/// How long it was until one of them became primary.
#[track_caller]
fn took_over(group: &[Proc], began: u64) -> Duration {
    let mut select = Select::new();
    group.iter().for_each(|process| _ = select.recv(process.lines()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = select.select_deadline(deadline).expect("a primary in time");
        let process = &group[ready.index()];
        let line = ready.recv(process.lines()).expect("a living process");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let time = event["monotonic_ns"].as_u64().expect("a time");
        if is_primary(&event) && time > began {
            return Duration::from_nanos(time - began);
        }
    }
}

/// Waits until all of the group are seen from outside, and one of them is primary: says which, and
/// its epoch.
#[track_caller]
fn the_primary(ground: &Ground, group: &[Proc], count: usize) -> (usize, u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ground.ask("peer ls --json --wait 500");
        let peers: Vec<Value> = serde_json::from_str(&answer.out).expect("JSON");
        let primaries: Vec<&Value> =
            peers.iter().filter(|one| one["status"] == "primary").collect();
        let standbys = peers.iter().filter(|one| one["status"] == "standby").count();
        if let ([primary], true) = (primaries.as_slice(), standbys + 1 == count) {
            let file = file_of(ground, primary["tail"].as_str().expect("a tail"));
            let pid = fs::read_to_string(file).map(|text| first(&text) as u32);
            let at = group
                .iter()
                .position(|process| pid.as_ref().is_ok_and(|pid| *pid == process.pid()));
            if let Some(at) = at {
                return (at, primary["epoch"].as_u64().expect("an epoch"));
            }
        }
        assert!(Instant::now() < deadline, "not {count} with one primary: {answer:?}");
    }
}

#[test]
fn in_a_forked_child_a_peer_is_void_and_the_child_may_join_by_itself() {
    let ground = Ground::new();
    let mut forker = Actor::start(&ground, "forking-peer", "", &[]);
    forker.expect("forked");
    assert_eq!(forker.process.end_code(), 0);
}
