//! Processes that live and do nothing: seen, reported, ended where that is wanted, and never
//! mistaken for the merely late.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pares::{Config, EventKind, Instance, Role, StallCause};
use rustix::process::Signal;

use crate::actors::Actor;
use crate::support::{Ground, PATIENCE, Proc};

/// A hang timeout that a busy machine does not pass by itself, and a test can wait for.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(800);

/// A process whose program pulses until it is told to hang.
fn pulsing(ground: &Ground, name: &str) -> Actor {
    let other = Actor::start(ground, "pulsing", name, &[]);
    other.expect("joined");
    other
}

fn watcher(ground: &Ground, name: &str) -> Config {
    ground.config().name(name).hang_timeout(TIMEOUT)
}

fn join(ground: &Ground, name: &str, more: &str) -> Proc {
    let instance = ground.start(&format!("join --json --name {name} {more}"));
    instance.role();
    instance
}

#[track_caller]
fn stalled(watcher: &Proc, name: &str) -> String {
    let event = watcher.expect(|event| event["event"] == "stalled" && event["name"] == name);
    event["cause"].as_str().expect("a cause").to_owned()
}

/// Goal: a stopped supervisor is reported to those who watch, and that it goes on, too; nobody else
/// is told. Method: SIGSTOP and SIGCONT; one member watches, one does not.
#[test]
fn a_stopped_supervisor_is_reported_and_so_is_that_it_goes_on() {
    let ground = Ground::new();
    let boss = ground.join("boss");
    let (watcher, other) = (join(&ground, "watcher", "--hang-timeout 0.4"), ground.join("other"));
    // Else its watch may find the registry without it.
    watcher.expect(|event| event["event"] == "joined" && event["name"] == "other");
    boss.stop();
    assert_eq!(stalled(&watcher, "boss"), "stopped");
    boss.signal(Signal::CONT);
    watcher.expect(|event| event["event"] == "resumed" && event["name"] == "boss");
    other.leave();
    watcher.expect(|event| event["event"] == "left" && event["name"] == "other");
    boss.leave();
}

/// Goal: a supervisor reports a subordinate that hangs, and keeps it.
#[test]
fn a_stopped_subordinate_is_reported_and_stays_in_the_registry() {
    let ground = Ground::new();
    let boss = join(&ground, "boss", "--hang-timeout 0.4 --end-hung-supervisor");
    let one = ground.join("one");
    one.stop();
    assert_eq!(stalled(&boss, "one"), "stopped");
    assert_eq!(ground.names(), ["boss", "one"]);
    one.signal(Signal::CONT);
    boss.expect(|event| event["event"] == "resumed" && event["name"] == "one");
    one.leave();
}

/// Goal: with that policy, a supervisor that hangs is ended and replaced, also if several see it at
/// once. Method: SIGSTOP it; its process must have died of SIGKILL, and one of the three survivors
/// be supervisor.
#[test]
fn a_hung_supervisor_is_ended_and_replaced() {
    let ground = Ground::new();
    let mut boss = ground.join("boss");
    let watchers =
        ["a", "b", "c"].map(|name| join(&ground, name, "--hang-timeout 0.4 --end-hung-supervisor"));
    boss.stop();
    let began = Instant::now();
    assert_eq!(boss.end_code(), 128 + 9);
    println!(
        "a stopped supervisor was ended {:?} after it had been stopped, with a timeout of 400 ms",
        began.elapsed()
    );
    let mut roles: Vec<String> =
        watchers.iter().map(|one| one.role()["event"].as_str().unwrap().to_owned()).collect();
    roles.sort();
    assert_eq!(roles, ["subordinate", "subordinate", "supervisor"]);
    assert_eq!(ground.names(), ["a", "b", "c"]);
}

/// Goal: without that policy nobody is ended.
#[test]
fn a_hung_supervisor_is_left_alone_unless_told_otherwise() {
    let ground = Ground::new();
    let boss = ground.join("boss");
    let watcher = join(&ground, "watcher", "--hang-timeout 0.2");
    boss.stop();
    assert_eq!(stalled(&watcher, "boss"), "stopped");
    watcher.says_nothing_for(Duration::from_millis(600));
    boss.signal(Signal::CONT);
    boss.leave();
    assert_eq!(watcher.role()["event"], "supervisor");
}

/// Goal: a living library in a dead-locked program does not count as health; one that goes on is
/// well again.
#[test]
fn a_program_without_progress_is_reported_though_its_library_answers() {
    let ground = Ground::new();
    let mut boss = pulsing(&ground, "boss");
    let watcher = Instance::join(watcher(&ground, "watcher")).unwrap();
    let events = watcher.events();
    let next = |wanted: fn(&EventKind) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = events.recv_deadline(deadline).expect("an event").kind;
            if wanted(&event) {
                return event;
            }
        }
    };
    boss.obey("hang");
    // On a busy machine it may seem starved first.
    let stalled = next(
        |kind| matches!(kind, EventKind::Stalled { cause, .. } if *cause != StallCause::Starved),
    );
    assert_eq!(stalled, EventKind::Stalled { name: "boss".into(), cause: StallCause::NoProgress });
    boss.obey("go on");
    assert_eq!(
        next(|kind| matches!(kind, EventKind::Resumed { .. })),
        EventKind::Resumed { name: "boss".into() }
    );
    assert_eq!(watcher.role(), Role::Subordinate);
}

/// Goal: the same with the policy to end it.
#[test]
fn a_supervisor_without_progress_is_ended_and_replaced() {
    let ground = Ground::new();
    let mut boss = pulsing(&ground, "boss");
    let watcher = Instance::join(watcher(&ground, "watcher").end_hung_supervisor(true)).unwrap();
    let events = watcher.events();
    boss.obey("hang");
    let deadline = Instant::now() + PATIENCE;
    let mut before = Vec::new();
    loop {
        match events.recv_deadline(deadline).map(|event| event.kind) {
            Ok(EventKind::Supervisor { .. }) => break,
            Ok(other) => before.push(other),
            Err(error) => panic!("{error} after {before:?}"),
        }
    }
    assert_eq!(boss.process.end_code(), 128 + 9);
}

/// Goal: an instance does not end its own process, where its supervisor is another instance of
/// that.
#[test]
fn a_supervisor_in_the_watchers_own_process_is_reported_only() {
    let ground = Ground::new();
    let boss = Instance::join(ground.config().name("boss")).unwrap();
    let watcher = Instance::join(watcher(&ground, "watcher").end_hung_supervisor(true)).unwrap();
    let events = watcher.events();
    boss.pulse();
    let deadline = Instant::now() + PATIENCE;
    let mut told = std::iter::from_fn(|| events.recv_deadline(deadline).ok());
    let stalled = EventKind::Stalled { name: "boss".into(), cause: StallCause::NoProgress };
    assert!(told.any(|event| event.kind == stalled));
    assert!(events.recv_timeout(TIMEOUT).is_err(), "once only, and it lives to tell");
    // As often as a program does that lives: one alone may be too old when the watcher asks.
    let resumed = EventKind::Resumed { name: "boss".into() };
    let is_told = || {
        boss.pulse();
        events.recv_timeout(TIMEOUT / 8).is_ok_and(|event| event.kind == resumed)
    };
    while !is_told() {
        assert!(Instant::now() < deadline, "it is never told that the boss goes on");
    }
}

/// Goal: nobody is reported as long as all make progress, on a machine that is busy with other
/// things. Method: busy threads on all processors, more than there are; short timeouts; half a
/// minute's worth of questions.
#[test]
fn nobody_is_reported_on_a_busy_machine() {
    let ground = Ground::new();
    let boss = join(&ground, "boss", "--hang-timeout 0.5");
    let members =
        ["a", "b", "c"].map(|name| join(&ground, name, "--hang-timeout 0.5 --end-hung-supervisor"));
    members.iter().for_each(|member| _ = member.expect(|event| event["event"] == "settled"));
    let burning: Vec<Burner> = (0..8).map(|_| Burner::start(&[])).collect();
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        for process in members.iter().chain([&boss]) {
            if let Ok(line) = process.lines().recv_timeout(Duration::from_millis(50)) {
                assert!(!line.contains("stalled"), "{line}");
            }
        }
    }
    drop(burning);
    boss.leave();
}

/// Goal: a watcher that stood still itself blames nobody for its own absence. Method: SIGSTOP the
/// watcher for longer than its timeout, again and again; the supervisor lives on.
#[test]
fn a_watcher_that_stood_still_itself_blames_nobody() {
    let ground = Ground::new();
    let boss = ground.join("boss");
    let watcher = join(&ground, "watcher", "--hang-timeout 0.1 --end-hung-supervisor");
    watcher.expect(|event| event["event"] == "settled");
    watcher.sees("boss");
    boss.sees("watcher");
    for _ in 0..5 {
        watcher.stop();
        boss.says_nothing_for(Duration::from_millis(300));
        watcher.signal(Signal::CONT);
        watcher.says_nothing_for(Duration::from_millis(60));
    }
    boss.leave();
    assert_eq!(watcher.role()["event"], "supervisor");
}

/// A process that uses all the processor time that it is given.
struct Burner(std::process::Child);

impl Burner {
    fn start(through: &[&str]) -> Self {
        let words = [through, &["timeout", "60", "sh", "-c", "while :; do :; done"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        Burner(command.spawn().expect("a shell"))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        // By way of `timeout`, which hands it on to the shell.
        let pid = rustix::process::Pid::from_child(&self.0);
        _ = rustix::process::kill_process(pid, Signal::TERM);
        _ = self.0.wait();
    }
}

/// Goal: a supervisor that gets no processor is reported as starved, and not ended, however long
/// that lasts. Method: it runs as idle class on one processor that others keep busy; the watcher
/// has another processor.
#[test]
fn a_starved_supervisor_is_not_ended() {
    let tools =
        ["chrt", "taskset"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !tools || thread::available_parallelism().map_or(1, usize::from) < 2 {
        crate::skipped::skip("needs chrt, taskset and two processors");
        return;
    }
    let ground = Ground::new();
    let boss = join(&ground, "boss", "");
    let watcher = join(&ground, "watcher", "--hang-timeout 0.1 --end-hung-supervisor");
    let pid = boss.pid().to_string();
    let each_thread = |tool: &str, options: &[&str]| {
        // It fails if one of them has ended meanwhile, as some do that a new supervisor starts.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = Command::new(tool).arg("-a").args(options).arg(&pid).output().unwrap();
            if done.status.success() {
                break;
            }
            assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&done.stderr));
        }
    };
    each_thread("taskset", &["-p", "-c", "0"]);
    each_thread("chrt", &["-i", "-p", "0"]);
    let burning: Vec<Burner> = (0..6).map(|_| Burner::start(&["taskset", "-c", "0"])).collect();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut reports = 0;
    while let Ok(line) = watcher.lines().recv_deadline(deadline) {
        assert!(!line.contains("contending"), "it was ended: {line}");
        if line.contains("\"stalled\"") {
            assert!(line.contains("starved"), "{line}");
            reports += 1;
        }
    }
    println!("reported as starved {reports} times in 5 s");
    drop(burning);
    each_thread("chrt", &["-o", "-p", "0"]);
    boss.leave();
    assert_eq!(watcher.role()["event"], "supervisor");
}

/// Goal: what cannot be cured is said at once, and not at each look. Method: a watcher looks four
/// times in each second at one that it may not end. (That it comes again, and with which count, is
/// for `net::complaint`, where no busy machine is in between.)
#[test]
fn a_watcher_that_cannot_end_a_hung_supervisor_does_not_say_so_at_each_look() {
    let ground = Ground::new();
    let other = Actor::start(&ground, "both", "boss", &[]);
    let complaint = "log cannot kill `boss`, which is stalled: it is in this very process";
    assert_eq!(other.expect(complaint), "");
    let until = Instant::now() + Duration::from_secs(3);
    while let Ok(line) = other.process.lines().recv_deadline(until) {
        assert!(!line.contains(complaint), "{line}");
    }
}
