//! Client functions, called from outside.

use std::time::Duration;

use pares::{CallError, Client, EventKind, Instance, Role};

use super::{Group, changes_until, expect};
use crate::support::PATIENCE;

#[test]
fn an_admin_call_reaches_one_or_all_and_says_what_went_wrong() {
    let group = Group::new();
    let config = group.config.clone();
    let first = Instance::join(
        config.clone().name("first").admin_function("fail", "", |_| Err("no paper".into())),
    )
    .unwrap();
    let second = Instance::join(
        config.clone().name("second").admin_function("panic", "", |_| panic!("oh no")),
    )
    .unwrap();
    let call = |name: &str, function: &str| first.client().call(name, function, b"hi", PATIENCE);
    assert_eq!(call("second", "ping").unwrap(), b"hi");
    assert_eq!(call("first", "ping").unwrap(), b"hi");
    assert!(matches!(call("second", "nothing"), Err(CallError::NoSuchFunction { .. })));
    assert!(matches!(call("nobody", "ping"), Err(CallError::Ask { .. })));
    assert!(
        matches!(call("second", "panic"), Err(CallError::Panicked { detail }) if detail == "oh no")
    );
    let failed = second.client().call("main", "fail", b"", PATIENCE);
    assert!(matches!(failed, Err(CallError::Failed { detail: text }) if text == "no paper"));
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
    let all = second.client().call_all("ping", b"all", PATIENCE).unwrap();
    let all: Vec<_> = all.into_iter().map(|reply| (reply.name, reply.result.unwrap())).collect();
    assert_eq!(all, [("first".into(), b"all".to_vec()), ("second".into(), b"all".to_vec())]);
}

#[test]
fn a_slow_function_delays_its_own_caller_only() {
    let group = Group::new();
    let (let_go, may_go) = pares::channel::bounded::<()>(0);
    let slow = group.config.clone().name("slow").admin_function("slow", "", move |_| {
        _ = may_go.recv_timeout(PATIENCE);
        Ok(vec![])
    });
    let (slow, other) = (Instance::join(slow).unwrap(), group.join("other"));
    // From here on a call is a round trip, whatever else the machine does.
    assert_eq!(other.client().call("slow", "ping", b"first", PATIENCE).unwrap(), b"first");
    let late = other.client().call("slow", "slow", b"", Duration::from_millis(200));
    assert!(matches!(late, Err(CallError::TimedOut)), "{late:?}");
    assert_eq!(other.client().call("slow", "ping", b"quick", PATIENCE).unwrap(), b"quick");
    drop(let_go); // or leaving would wait for it
    drop(slow);
}

#[test]
fn an_instance_that_is_asked_to_stop_leaves_and_says_so() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let watch = first.client().watch().unwrap();
    changes_until(watch.changes(), "settled with 2");
    let events = second.events();
    assert_eq!(first.client().call("second", "stop", b"", PATIENCE).unwrap(), b"leaving");
    expect(&events, |kind| *kind == EventKind::StopAsked);
    expect(&events, |kind| *kind == EventKind::Stopped);
    assert_eq!(second.role(), Role::Stopped);
    assert_eq!(changes_until(watch.changes(), "-second left"), ["-second left"]);
}

/// Goal: who has called an instance is answered, also if the instance leaves before the answer is
/// on its way. Method: `step-down` of an instance that is dropped as soon as it has no role, which
/// is before the function returns.
#[test]
fn an_instance_that_leaves_answers_its_callers_first() {
    let group = Group::new();
    let admin = Client::new(&group.config).unwrap();
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
        .answer_timeout(Duration::MAX)
        .answer_timeout(Duration::MAX)
        .resource(pares::Resource::new("seats", 2));
    let (one, two) = (
        Instance::join(config.clone().name("one")).unwrap(),
        Instance::join(config.name("two")).unwrap(),
    );
    let long = Duration::MAX;
    for (asker, other) in [(&one, "two"), (&two, "one")] {
        assert_eq!(asker.client().list().unwrap().entries.len(), 2);
        assert_eq!(asker.client().look_up(other).unwrap().entries.len(), 1);
        assert_eq!(asker.client().status().unwrap().members, 2);
        assert_eq!(asker.client().call(other, "ping", b"hello", long).unwrap(), b"hello");
        assert_eq!(asker.client().call_all("ping", b"hello", long).unwrap().len(), 2);
        drop(asker.acquire_timeout("seats", 2, long).unwrap());
        asker.client().set_limit("seats", 3).unwrap();
        assert_eq!(asker.client().usage_of("seats").unwrap().limit, Some(3));
        assert_eq!(asker.client().usage().unwrap().len(), 1);
        assert_eq!(asker.client().revoke("seats", other).unwrap(), 0);
        assert_eq!(asker.tally("others").unwrap().total().unwrap(), 0);
        asker.client().set("mode", "fast").unwrap();
        asker.client().compare_and_set("mode", Some("fast"), "safe").unwrap();
        asker.client().unset("mode").unwrap();
        assert_eq!(asker.broadcast("topic", b"").unwrap(), 2);
        asker.send(other, "topic", b"").unwrap();
    }
    let (ran, runs) = pares::channel::bounded(1);
    let job = one.while_supervisor(move |guard| {
        _ = ran.send(());
        assert!(guard.wait(Duration::MAX));
    });
    runs.recv_timeout(PATIENCE).unwrap();
    one.step_down(long).unwrap();
    drop(job);
    let admin = Client::new(&group.config.clone().answer_timeout(Duration::MAX)).unwrap();
    assert_eq!(admin.call("two", "ping", b"", long).unwrap(), b"");
    assert_eq!(admin.settings().unwrap().len(), 0);
}
