//! Processes that crash, with and without a core dump.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use pares::{Instance, JoinError};

use crate::actors::forker;
use crate::fork::{crowd, now_ns, report, taken_over};
use crate::support::{Ground, PATIENCE, await_true};

/// True if a dump of a process here becomes a file in its directory. Else the test says why it
/// shows nothing.
pub(crate) fn dumps_to_a_file() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    let most = rustix::process::getrlimit(rustix::process::Resource::Core).maximum;
    let plain = !pattern.is_empty() && !pattern.contains(['|', '/', '@']);
    if !plain || most.is_some() {
        crate::skipped::skip(format_args!(
            "core_pattern is {pattern:?} and the limit {most:?}; no dump becomes a file here"
        ));
    }
    plain && most.is_none()
}

fn dump_in(ground: &Ground) -> Option<PathBuf> {
    let files = fs::read_dir(&ground.directory).expect("the ground").flatten();
    files.map(|file| file.path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    })
}

pub(crate) fn is_dumping(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| status.contains("CoreDumping:\t1"))
}

/// Goal: with `release_on_crash` a crashed supervisor is replaced while it still writes its core
/// dump; the dump and the exit status are as without. Method: real processes with 300 MiB, real
/// dumps; the survivors' own times.
#[test]
fn a_crashed_supervisor_is_replaced_before_its_dump_is_written() {
    if !dumps_to_a_file() {
        return;
    }
    let mut times = Vec::new();
    for (how, signal) in [("fault", libc::SIGSEGV), ("abort", libc::SIGABRT)] {
        for release in [false, true] {
            let ground = Ground::new();
            let environment = [("CORE", "unlimited"), ("RELEASE", "1")];
            let environment = &environment[..1 + usize::from(release)];
            let mut first = forker::start_with(&ground, "first", environment);
            first.order("touch 300");
            first.expect("touched");
            let crowd = crowd(&ground, 5);
            let began = now_ns();
            first.order(&format!("crash {how}"));
            let taken = taken_over(&crowd);
            let (status, _) = first.end();
            let ended = now_ns();
            assert_eq!((status.signal(), status.core_dumped()), (Some(signal), true), "{how}");
            let dump = dump_in(&ground).expect("a dump");
            let bytes = fs::metadata(&dump).expect("a dump").len();
            assert!(bytes > 300 << 20, "only {bytes} bytes");
            let name = if release { "released" } else { "not released" };
            report(
                &format!("{how}, {name}: taken over, dump of {} MiB", bytes >> 20),
                began,
                taken,
            );
            report(&format!("{how}, {name}: dump written"), began, ended);
            times.push(taken - began);
        }
        let (without, with) = (times[times.len() - 2], times[times.len() - 1]);
        assert!(with < without, "{how}: with the option {with} ns, without {without} ns");
    }
}

/// Goal: who cannot join because the supervisor is writing its dump is told so.
#[test]
fn who_waits_for_a_dump_is_told_so() {
    if !dumps_to_a_file() {
        return;
    }
    let ground = Ground::new();
    let mut first = forker::start_with(&ground, "first", &[("CORE", "unlimited")]);
    first.order("touch 900");
    first.expect("touched");
    let pid = first.pid();
    first.order("crash fault");
    await_true("dumping", || is_dumping(pid));
    let error = Instance::join(ground.config().join_timeout(Duration::from_millis(60)))
        .expect_err("joined");
    let JoinError::TimedOut { holder: Some(holder), .. } = &error else { panic!("{error}") };
    assert_eq!(
        (holder.pid, holder.dumping_core, holder.stopped),
        (Some(pid), true, false),
        "{error}"
    );
    assert!(
        error.to_string().contains("writing its core dump")
            && error.to_string().contains("release_on_crash")
    );
    println!("{error}");
    // It is free as soon as the dump is written.
    drop(Instance::join(ground.config().join_timeout(PATIENCE)).expect("joined"));
}

/// Goal: a crash ends as it would have without the handlers, by each of the signals and ways; and
/// the group is told.
#[test]
fn a_crash_without_a_dump_ends_as_it_would_have() {
    let signals =
        ["4", "5", "6", "8", "31"].map(|number| (number, number.parse::<i32>().expect("a number")));
    let ways = [
        ("fault", libc::SIGSEGV),
        ("bus", libc::SIGBUS),
        ("abort", libc::SIGABRT),
        ("overflow", libc::SIGABRT),
        #[cfg(target_arch = "x86_64")]
        ("illegal", libc::SIGILL),
        #[cfg(target_arch = "x86_64")]
        ("trap", libc::SIGTRAP),
    ];
    for (how, signal) in ways.into_iter().chain(signals) {
        let ground = Ground::new();
        let mut first = forker::start_with(&ground, "first", &[("CORE", "0"), ("RELEASE", "1")]);
        let crowd = crowd(&ground, 2);
        first.order(&format!("crash {how}"));
        taken_over(&crowd);
        let (status, errors) = first.end();
        assert_eq!(status.signal(), Some(signal), "{how}: {errors}");
        assert_eq!(errors.contains("overflowed its stack"), how == "overflow", "{how}: {errors}");
    }
}

/// Goal: the program's own handler is called with what the kernel said, and while it works there is
/// a new supervisor already.
#[test]
fn the_programs_own_handler_comes_next() {
    let environment = [("CORE", "0"), ("RELEASE", "1"), ("HANDLER", "takes its time")];
    let ground = Ground::new();
    let mut first = forker::start_with(&ground, "first", &environment);
    let members = crowd(&ground, 3);
    first.order("crash fault");
    assert_eq!(first.expect("handler"), "8", "another address");
    taken_over(&members);
    assert!(fs::exists(format!("/proc/{}/fd", first.pid())).expect("an answer"), "it has ended");
    first.process.kill();

    let environment = [("CORE", "0"), ("RELEASE", "1"), ("HANDLER", "exits")];
    let ground = Ground::new();
    let mut first = forker::start_with(&ground, "first", &environment);
    first.order("crash fault");
    assert_eq!(first.expect("handler"), "8");
    assert_eq!(first.end().0.code(), Some(42));
}

/// Goal: a signal that only pretends to be a fault, and that std's handler lets pass, costs the
/// group nothing.
#[test]
fn a_fault_that_somebody_sent_is_left_to_the_handler_before() {
    let ground = Ground::new();
    let mut first = forker::start_with(&ground, "first", &[("CORE", "0"), ("RELEASE", "1")]);
    first.order("crash 11");
    first.order("crash 7");
    first.order("touch 1");
    first.expect("touched");
    assert_eq!(
        ground.admin().call("first", "ping", b"still", PATIENCE).expect("an answer"),
        b"still"
    );
}

/// Goal: the crash of a subordinate frees its place at once, too.
#[test]
fn a_crashed_subordinate_is_gone_at_once() {
    let environment = [("CORE", "0"), ("RELEASE", "1"), ("HANDLER", "takes its time")];
    let ground = Ground::new();
    let first = ground.join("first");
    let mut second = forker::start_with(&ground, "second", &environment);
    first.sees("second");
    second.order("crash fault");
    second.expect("handler");
    first.expect(|event| event["event"] == "left" && event["name"] == "second");
    second.process.kill();
    // It has not come back meanwhile.
    assert_eq!(ground.names(), ["first"]);
}

/// Goal: the crash of a child is none of its parent, whether the child has its own memory or its
/// parent's.
#[test]
fn the_crash_of_a_child_ends_nothing_of_its_parents() {
    let ground = Ground::new();
    let mut first = forker::start_with(&ground, "first", &[("CORE", "0"), ("RELEASE", "1")]);
    let crowd = crowd(&ground, 2);
    first.order("crash-children");
    first.expect("children crashed");
    assert_eq!(crowd[0].0.term(), 1);
    assert_eq!(
        crowd[0].0.client().call("first", "ping", b"still", PATIENCE).expect("an answer"),
        b"still"
    );
    assert_eq!(ground.names(), ["crowd-0", "crowd-1", "first"]);
}
