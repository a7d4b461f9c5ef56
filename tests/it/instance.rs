//! What a program holds: instances in this process, on real sockets.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pares::channel::Receiver;
use pares::{
    Admin, CallError, Change, ChangeKind, Config, Event, EventKind, Instance, JoinError, LeftCause,
    Role, StepDownError,
};

use crate::raw::free_port;
use crate::support::PATIENCE;

/// A group of its own for one test: a port that was free, and a directory that goes with it.
struct Group {
    config: Config,
    directory: PathBuf,
}

impl Group {
    fn new() -> Self {
        let port = free_port();
        let directory =
            std::env::temp_dir().join(format!("pares-instance-{}-{port}", std::process::id()));
        Group { config: Config::new("test").port(port).directory(&directory), directory }
    }

    fn join(&self, name: &str) -> Instance {
        Instance::join(self.config.clone().name(name)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.directory);
    }
}

#[track_caller]
fn expect(events: &Receiver<Event>, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match events.recv_deadline(deadline) {
            Ok(event) if wanted(&event.kind) => return event.kind,
            Ok(event) => seen.push(event.kind),
            Err(error) => panic!("{error}; seen: {seen:?}"),
        }
    }
}

/// Waits until the group is settled in a term after `before`, with so many members.
#[track_caller]
fn expect_settled(events: &Receiver<Event>, before: u64, wanted: u32) {
    let later = |kind: &EventKind| match kind {
        EventKind::Settled { term, members } => *term > before && *members == wanted,
        _ => false,
    };
    expect(events, later);
}

/// The next changes up to the one wanted, in words.
#[track_caller]
fn changes_until(changes: &Receiver<Change>, last: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some(last) {
        let change = changes
            .recv_deadline(deadline)
            .unwrap_or_else(|error| panic!("{error}; seen: {seen:?}"));
        seen.push(match change.kind {
            ChangeKind::Joined(entry) => format!("+{}", entry.name),
            ChangeKind::Left { name, cause } => format!("-{name} {cause}"),
            ChangeKind::Supervisor { name, term } => format!("{name} in term {term}"),
            ChangeKind::Settled { members, .. } => format!("settled with {members}"),
            other => format!("{other:?}"),
        });
    }
    seen
}

/// Runs `body` in a process of its own, where nothing else has threads or descriptors: this test,
/// once more.
fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "PARES_TEST_ALONE";
    if std::env::var(MARK).as_deref() == Ok(test) {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1"])
        .env(MARK, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn threads() -> BTreeSet<String> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("pares-"))
        .collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn an_instance_can_be_shared_by_all_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Instance>();
    shareable::<Admin>();
    shareable::<pares::Job>();
    shareable::<pares::Watch>();
}

/// Goal: dropping leaves nothing behind, whatever was going on. Method: a process of its own;
/// instances in both roles with watches, jobs, kept connections; count before and after.
#[test]
fn dropping_leaves_no_thread_and_no_descriptor_behind() {
    alone("instance::dropping_leaves_no_thread_and_no_descriptor_behind", || {
        // What the process makes once and keeps (the descriptor of the random source, for example)
        // is made first.
        drop(Group::new().join("warm"));
        let before = descriptors();
        for round in 0..10 {
            let group = Group::new();
            let mut instances: Vec<Instance> =
                ["a", "b", "c", "d"].map(|name| group.join(name)).into();
            let watch = instances[1].registry().watch().unwrap();
            changes_until(watch.changes(), "settled with 4");
            let job =
                instances[0].while_supervisor(|guard| while !guard.wait(PATIENCE) {}).unwrap();
            for instance in &instances {
                assert_eq!(instance.call("main", "ping", b"x", PATIENCE).unwrap(), b"x");
                assert_eq!(instance.call("d", "ping", b"y", PATIENCE).unwrap(), b"y");
                assert_eq!(instance.call_all("ping", b"", PATIENCE).unwrap().len(), 4);
            }
            // The supervisor first, last, or in between.
            instances.rotate_left(round % 4);
            if round % 2 == 0 {
                drop((watch, job));
                instances.clear();
            } else {
                instances.clear();
                drop((watch, job));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        // A thread that has been joined may be listed for a moment longer.
        while !threads().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(threads(), BTreeSet::new());
        assert_eq!(descriptors(), before);
    });
}

#[test]
fn the_first_is_supervisor_and_its_death_promotes_another() {
    let group = Group::new();
    let (first, second, third) = (group.join("first"), group.join("second"), group.join("third"));
    assert_eq!(first.role(), Role::Supervisor);
    assert!(!second.is_supervisor() && third.role() == Role::Subordinate);
    let term = first.term();
    let (events_2, events_3) = (second.events(), third.events());
    first.leave();
    expect_settled(&events_2, term, 2);
    expect_settled(&events_3, term, 2);
    assert!(second.is_supervisor() != third.is_supervisor());
    assert!(second.term() == term + 1 && third.term() == term + 1);
    let listing = third.registry().list(PATIENCE).unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["second", "third"]);
    assert!(listing.settled && listing.term == term + 1);
}

#[test]
fn main_is_the_supervisor_whatever_its_name() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let main = second.registry().look_up("main", PATIENCE).unwrap();
    assert_eq!(main.entries, [first.entry().clone()]);
    assert_eq!(main.main(), Some(first.entry()));
    let info = String::from_utf8(second.call("main", "info", b"", PATIENCE).unwrap()).unwrap();
    assert!(info.contains("name=first\n") && info.contains("role=supervisor\n"), "{info}");
}

#[test]
fn a_made_up_name_is_kept_for_life() {
    let group = Group::new();
    let first = Instance::join(group.config.clone()).unwrap();
    let second = Instance::join(group.config.clone()).unwrap();
    assert!(second.name().ends_with(&format!("-{}", second.entry().admin)), "{}", second.name());
    let (name, term, events) = (second.name().to_owned(), second.term(), second.events());
    drop(first);
    expect_settled(&events, term, 1);
    assert_eq!(second.registry().list(PATIENCE).unwrap().entries[0].name, name);
}

#[test]
fn a_name_of_a_living_instance_is_refused() {
    let group = Group::new();
    let _first = group.join("first");
    let second = group.join("second");
    for taken in ["first", "second"] {
        let error = Instance::join(group.config.clone().name(taken)).unwrap_err();
        assert!(matches!(error, JoinError::NameTaken { .. }), "{error}");
        let (text, pid) = (error.to_string(), std::process::id().to_string());
        assert!(text.contains(taken) && text.contains(&pid) && text.contains("--name"), "{text}");
    }
    drop(second);
    group.join("second");
}

#[test]
fn the_first_event_tells_the_present_role_and_the_last_one_the_end() {
    let group = Group::new();
    let first = group.join("first");
    let second = group.join("second");
    let events = second.events();
    let present = events.recv_timeout(PATIENCE).unwrap().kind;
    assert_eq!(present, EventKind::Subordinate { term: first.term(), supervisor: "first".into() });
    second.leave();
    assert_eq!(events.iter().last().unwrap().kind, EventKind::Stopped);
}

#[test]
fn a_step_down_moves_the_role_and_nobody_leaves() {
    let group = Group::new();
    let (first, second, third) = (group.join("first"), group.join("second"), group.join("third"));
    let watch = third.registry().watch().unwrap();
    changes_until(watch.changes(), "settled with 3");
    assert_eq!(second.step_down(PATIENCE), Err(StepDownError::NotSupervisor));
    for _ in 0..5 {
        let instances = [&first, &second, &third];
        let supervisor = instances.iter().find(|instance| instance.is_supervisor()).unwrap();
        supervisor.step_down(PATIENCE).unwrap();
        assert_eq!(supervisor.role(), Role::Subordinate);
        let seen = changes_until(watch.changes(), "settled with 3");
        assert!(!seen.iter().any(|change| change.starts_with(['+', '-'])), "{seen:?}");
    }
}

#[test]
fn who_is_alone_cannot_step_down() {
    let group = Group::new();
    let only = group.join("only");
    assert_eq!(only.step_down(PATIENCE), Err(StepDownError::Alone));
    assert!(only.is_supervisor());
}

/// Goal: of all jobs of a group at most one runs at a time, through hand-overs and departures.
/// Method: each counts itself in and out; two at once would be seen by one of them.
#[test]
fn jobs_of_a_group_never_overlap() {
    let group = Group::new();
    let (running, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut crew: Vec<_> = (0..4)
        .map(|number| {
            let instance = group.join(&format!("w{number}"));
            let (running, runs) = (running.clone(), runs.clone());
            let job = instance.while_supervisor(move |guard| {
                assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two jobs at once");
                runs.fetch_add(1, Ordering::SeqCst);
                assert!(guard.wait(PATIENCE));
                running.fetch_sub(1, Ordering::SeqCst);
            });
            (job.unwrap(), instance)
        })
        .collect();
    for _ in 0..10 {
        let (_, supervisor) = crew.iter().find(|(_, instance)| instance.is_supervisor()).unwrap();
        supervisor.step_down(PATIENCE).unwrap();
    }
    while crew.len() > 1 {
        let at = crew.iter().position(|(_, instance)| instance.is_supervisor()).unwrap();
        let events: Vec<_> = crew
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, it)| it.1.events())
            .collect();
        drop(crew.remove(at));
        events.iter().for_each(|events| {
            expect(events, |kind| matches!(kind, EventKind::Contending { .. }));
            expect(events, |kind| {
                matches!(kind, EventKind::Supervisor { .. } | EventKind::Subordinate { .. })
            });
        });
    }
    drop(crew);
    assert_eq!(running.load(Ordering::SeqCst), 0);
    assert!(runs.load(Ordering::SeqCst) >= 11, "{runs:?} runs");
}

#[test]
fn a_job_that_does_not_end_keeps_the_role() {
    let group = Group::new();
    let (first, _second) = (group.join("first"), group.join("second"));
    let (started, starts) = std::sync::mpsc::channel();
    let (let_go, may_go) = std::sync::mpsc::channel::<()>();
    let job = first.while_supervisor(move |_| {
        started.send(()).unwrap();
        _ = may_go.recv_timeout(PATIENCE);
    });
    let job = job.unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first.step_down(Duration::from_millis(50)), Err(StepDownError::JobRunning));
    assert!(first.is_supervisor());
    let_go.send(()).unwrap();
    first.step_down(PATIENCE).unwrap();
    assert!(!first.is_supervisor());
    drop(job);
}

#[test]
fn an_admin_call_reaches_one_or_all_and_says_what_went_wrong() {
    let group = Group::new();
    let config = group.config.clone();
    let first = Instance::join(
        config.clone().name("first").function("fail", "", |_| Err("no paper".into())),
    )
    .unwrap();
    let second =
        Instance::join(config.clone().name("second").function("panic", "", |_| panic!("oh no")))
            .unwrap();
    let call = |name: &str, function: &str| first.call(name, function, b"hi", PATIENCE);
    assert_eq!(call("second", "ping").unwrap(), b"hi");
    assert_eq!(call("first", "ping").unwrap(), b"hi");
    assert!(matches!(call("second", "nothing"), Err(CallError::NoSuchFunction { .. })));
    assert!(matches!(call("nobody", "ping"), Err(CallError::Ask(_))));
    assert!(matches!(call("second", "panic"), Err(CallError::Panicked(text)) if text == "oh no"));
    let failed = second.call("main", "fail", b"", PATIENCE);
    assert!(matches!(failed, Err(CallError::Failed(text)) if text == "no paper"));
    assert_eq!(call("second", "ping").unwrap(), b"hi", "a panic harms nothing");
    let functions = String::from_utf8(call("second", "functions").unwrap()).unwrap();
    for name in ["ping", "info", "functions", "log-level", "stop", "panic"] {
        assert!(
            functions.lines().any(|line| line.starts_with(&format!("{name}\t"))),
            "{name}: {functions}"
        );
        assert!(
            second.entry().functions.iter().any(|one| one == name),
            "{name} is not in the entry"
        );
    }
    let all = second.call_all("ping", b"all", PATIENCE).unwrap();
    let all: Vec<_> = all.into_iter().map(|(name, result)| (name, result.unwrap())).collect();
    assert_eq!(all, [("first".into(), b"all".to_vec()), ("second".into(), b"all".to_vec())]);
}

#[test]
fn a_slow_function_delays_its_own_caller_only() {
    let group = Group::new();
    let (let_go, may_go) = pares::channel::bounded::<()>(0);
    let slow = group.config.clone().name("slow").function("slow", "", move |_| {
        _ = may_go.recv_timeout(PATIENCE);
        Ok(vec![])
    });
    let (slow, other) = (Instance::join(slow).unwrap(), group.join("other"));
    // From here on a call is a round trip, whatever else the machine does.
    assert_eq!(other.call("slow", "ping", b"first", PATIENCE).unwrap(), b"first");
    let late = other.call("slow", "slow", b"", Duration::from_millis(200));
    assert!(matches!(late, Err(CallError::Deadline)), "{late:?}");
    assert_eq!(other.call("slow", "ping", b"quick", PATIENCE).unwrap(), b"quick");
    drop(let_go); // or leaving would wait for it
    drop(slow);
}

#[test]
fn an_instance_that_is_asked_to_stop_leaves_and_says_so() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let watch = first.registry().watch().unwrap();
    changes_until(watch.changes(), "settled with 2");
    let events = second.events();
    assert_eq!(first.call("second", "stop", b"", PATIENCE).unwrap(), b"leaving");
    expect(&events, |kind| *kind == EventKind::StopAsked);
    expect(&events, |kind| *kind == EventKind::Stopped);
    assert_eq!(second.role(), Role::Stopped);
    assert_eq!(changes_until(watch.changes(), "-second left"), ["-second left"]);
}

#[test]
fn a_watch_goes_on_from_supervisor_to_supervisor() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let (inside, admin) = (second.registry().watch().unwrap(), Admin::new(&group.config).unwrap());
    let outside = admin.registry().watch().unwrap();
    let term = first.term();
    for changes in [inside.changes(), outside.changes()] {
        let began = changes_until(changes, "settled with 2");
        assert_eq!(
            began[..3],
            [format!("first in term {term}"), "+first".into(), "+second".into()]
        );
    }
    let third = group.join("third");
    for changes in [inside.changes(), outside.changes()] {
        assert_eq!(changes_until(changes, "+third"), ["+third"]);
    }
    first.leave();
    for changes in [inside.changes(), outside.changes()] {
        let seen = changes_until(changes, "settled with 2");
        let gone: Vec<&String> =
            seen.iter().filter(|change| change.starts_with(['+', '-'])).collect();
        assert_eq!(gone, ["-first left"], "{seen:?}");
        assert_eq!(seen[0], "Contending");
    }
    drop(third);
}

#[test]
fn terms_grow_also_when_the_group_starts_anew() {
    let group = Group::new();
    let terms: Vec<u64> = (0..3).map(|_| group.join("only").term()).collect();
    assert_eq!(terms, [1, 2, 3]);
}

/// Goal: after an orderly end nobody is waited for; after a crash, survivors that may exist are.
/// Method: the file that says so, with and without the mark that an orderly end leaves.
#[test]
fn a_group_that_ended_in_order_starts_settled_and_one_that_crashed_waits_for_survivors() {
    let group = Group::new();
    drop(group.join("only"));
    let again = group.join("only");
    assert!(again.registry().status(PATIENCE).unwrap().settled);
    let term_file = group.directory.join("test.term");
    let crashed = fs::read(&term_file).unwrap(); // as a crash would leave it now
    drop(again);
    fs::write(&term_file, crashed).unwrap();
    let (began, settle_time) = (Instant::now(), Duration::from_millis(300));
    let after = Instance::join(group.config.clone().name("only").settle_time(settle_time)).unwrap();
    expect_settled(&after.events(), 0, 1);
    assert!(began.elapsed() >= settle_time, "it waited for nobody");
}

#[test]
fn groups_of_one_user_do_not_mix() {
    let group = Group::new();
    let _first = group.join("first");
    let other =
        Config::new("other").port(group.config.supervisor_port()).directory(&group.directory);
    let error = Instance::join(other).unwrap_err();
    assert!(matches!(&error, JoinError::OtherGroup { theirs, .. } if theirs == "test"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused_before_anything_is_done() {
    let group = Group::new();
    let error = Instance::join(group.config.clone().name("two words")).unwrap_err();
    assert!(matches!(error, JoinError::Config(_)), "{error}");
    assert!(!group.directory.exists());
}

#[test]
fn the_cause_of_a_departure_is_told() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let watch = first.registry().watch().unwrap();
    changes_until(watch.changes(), "settled with 2");
    drop(second);
    let last = watch.changes().recv_timeout(PATIENCE).unwrap();
    assert_eq!(last.kind, ChangeKind::Left { name: "second".into(), cause: LeftCause::Left });
}

/// Goal: who has called an instance is answered, also if the instance leaves before the answer is
/// on its way. Method: `step-down` of an instance that is dropped as soon as it has no role, which
/// is before the function returns.
#[test]
fn an_instance_that_leaves_answers_its_callers_first() {
    let group = Group::new();
    let admin = Admin::new(&group.config).unwrap();
    let mut one = group.join("0");
    for turn in 1..30 {
        let events = one.events();
        // Before another comes, who could be quicker to the port.
        expect(&events, |kind| matches!(kind, EventKind::Supervisor { .. }));
        let two = group.join(&turn.to_string());
        let name = one.name().to_owned();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| admin.call(&name, "step-down", b"", PATIENCE));
            expect(&events, |kind| matches!(kind, EventKind::Contending { .. }));
            drop(one);
            let answer = asked.join().unwrap();
            assert!(answer.is_ok(), "turn {turn}: {answer:?}");
        });
        one = two;
    }
}

/// Goal: whoever wants to wait without end says so with the longest time there is.
/// Method: `Duration::MAX` in every place that takes a time.
#[test]
fn the_longest_time_is_never_too_long() {
    let group = Group::new();
    let config = group
        .config
        .clone()
        .join_timeout(Duration::MAX)
        .settle_time(Duration::MAX)
        .resource("seats", 2);
    let (one, two) = (
        Instance::join(config.clone().name("one")).unwrap(),
        Instance::join(config.name("two")).unwrap(),
    );
    let long = Duration::MAX;
    for (asker, other) in [(&one, "two"), (&two, "one")] {
        assert_eq!(asker.registry().list(long).unwrap().entries.len(), 2);
        assert_eq!(asker.registry().look_up(other, long).unwrap().entries.len(), 1);
        assert_eq!(asker.registry().status(long).unwrap().members, 2);
        assert_eq!(asker.call(other, "ping", b"hello", long).unwrap(), b"hello");
        assert_eq!(asker.call_all("ping", b"hello", long).unwrap().len(), 2);
        drop(asker.acquire_timeout("seats", 2, long).unwrap());
        asker.set_limit("seats", 3, long).unwrap();
        assert_eq!(asker.usage_of("seats", long).unwrap().limit, Some(3));
        assert_eq!(asker.usage(long).unwrap().len(), 1);
        assert_eq!(asker.revoke("seats", other, long).unwrap(), 0);
        assert_eq!(asker.tally("others").unwrap().total(long).unwrap(), 0);
        asker.set("mode", "fast", long).unwrap();
        asker.compare_and_set("mode", Some("fast"), "safe", long).unwrap();
        asker.unset("mode", long).unwrap();
        assert_eq!(asker.broadcast("topic", b"", long).unwrap(), 2);
        asker.send(other, "topic", b"", long).unwrap();
    }
    let (ran, runs) = pares::channel::bounded(1);
    let job = one.while_supervisor(move |guard| {
        _ = ran.send(());
        assert!(guard.wait(Duration::MAX));
    });
    runs.recv_timeout(PATIENCE).unwrap();
    one.step_down(long).unwrap();
    drop(job);
    let admin = Admin::new(&group.config).unwrap();
    assert_eq!(admin.call("two", "ping", b"", long).unwrap(), b"");
    assert_eq!(admin.settings(long).unwrap().len(), 0);
}
