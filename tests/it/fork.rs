//! Children that were forked without exec: they have nothing of their parent's connections.

use std::time::Duration;

use pares::{Event, EventKind, Instance, LeftCause};
use rustix::time::{ClockId, clock_gettime};

use crate::actors::forker::{self, Orphan, sockets};
use crate::support::{Ground, PATIENCE, await_true};

pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Instances in this process, with their events.
pub(crate) fn crowd(ground: &Ground, count: usize) -> Vec<(Instance, pares::Events<Event>)> {
    let join = |number| {
        let instance =
            Instance::join(ground.config().name(format!("crowd-{number}"))).expect("joined");
        let events = instance.events();
        (instance, events)
    };
    (0..count).map(join).collect()
}

/// When the first of them knew that it is supervisor.
#[track_caller]
pub(crate) fn taken_over(crowd: &[(Instance, pares::Events<Event>)]) -> u64 {
    let mut times = Vec::new();
    for (instance, events) in crowd {
        let next = || {
            events
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("{} has no role", instance.name()))
        };
        while !matches!(next().kind, EventKind::Contending { .. }) {}
        loop {
            let event = next();
            match event.kind {
                EventKind::Supervisor { .. } => times.push(event.monotonic_ns),
                EventKind::Subordinate { .. } => {}
                _ => continue,
            }
            break;
        }
    }
    assert_eq!(times.len(), 1, "not one supervisor");
    times[0]
}

#[track_caller]
pub(crate) fn report(what: &str, began: u64, ended: u64) {
    let time = Duration::from_nanos(ended.saturating_sub(began));
    println!("{what}: {:.2} ms", time.as_secs_f64() * 1e3);
    // Without the cure it would be the child's life, a minute.
    assert!(time < PATIENCE, "{what}: {time:?}");
}

/// Goal: a killed supervisor is replaced at once although a child of it lives on. Method: a real
/// process with many members forks a child that sleeps; SIGKILL; the survivors' own times.
#[test]
fn a_forked_child_does_not_keep_its_dead_parents_port_or_connections() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let crowd = crowd(&ground, 20);
    let child = first.fork("fork");
    assert_eq!(sockets(child.0), [""; 0], "the child has sockets of ours");
    let began = now_ns();
    first.process.kill();
    report("forked by a thread of the program", began, taken_over(&crowd));
    assert!(child.lives());
}

/// The same, where the one that forks is in the library at that moment: in a function, and in a
/// job.
#[test]
fn a_function_or_a_job_may_fork() {
    for how in ["function", "job"] {
        let ground = Ground::new();
        let mut first = forker::start(&ground, "first");
        let crowd = crowd(&ground, 5);
        let child = match how {
            "job" => first.fork("job"),
            _ => {
                let pid = crowd[0].0.client().call("first", "fork", b"", PATIENCE).expect("a pid");
                Orphan::of(&String::from_utf8_lossy(&pid))
            }
        };
        assert_eq!(sockets(child.0), [""; 0], "{how}: the child has sockets of ours");
        let began = now_ns();
        first.process.kill();
        report(&format!("forked by a {how}"), began, taken_over(&crowd));
        assert!(child.lives());
    }
}

/// Goal: a child that returns from the function that forked it ends, and the caller gets the
/// parent's answer, once.
#[test]
fn a_child_that_returns_to_the_library_ends() {
    let ground = Ground::new();
    let _first = forker::start(&ground, "first");
    let admin = ground.admin();
    for _ in 0..5 {
        let pid = admin.call("first", "fork-and-return", b"", PATIENCE).expect("an answer");
        let child = Orphan::of(&String::from_utf8_lossy(&pid));
        assert_ne!(child.0, 0, "the child answered");
        child.ends();
    }
    assert_eq!(admin.call("first", "ping", b"still", PATIENCE).expect("an answer"), b"still");
}

/// Goal: the death of a subordinate that has forked is known at once.
#[test]
fn a_subordinate_that_has_forked_dies_at_once() {
    let ground = Ground::new();
    let first = ground.join("first");
    let mut second = forker::start(&ground, "second");
    first.sees("second");
    let child = second.fork("fork");
    let began = now_ns();
    second.process.kill();
    let left = first.expect(|event| event["event"] == "left" && event["name"] == "second");
    assert_eq!(left["cause"], LeftCause::Died.to_string());
    report("a subordinate's death", began, left["monotonic_ns"].as_u64().expect("a time"));
    assert!(child.lives());
}

/// Goal: however many children live on, and whenever the supervisor dies, the survivors take over.
/// Method: the supervisor forks hundreds; it is killed while it forks more.
#[test]
fn a_storm_of_forks_delays_no_failover() {
    let ground = Ground::new();
    for round in 0..4 {
        let mut first = forker::start(&ground, "first");
        await_true("supervisor", || ground.names() == ["first"]);
        let crowd = crowd(&ground, 8);
        first.order("storm 150");
        let children: Vec<Orphan> = first.expect("children ").split(' ').map(Orphan::of).collect();
        await_true("without sockets of ours", || {
            children.iter().all(|child| sockets(child.0).is_empty())
        });
        // Killed in the middle of the next ones, which nobody can name: their alarm ends them, and
        // this.
        first.order("storm 5000");
        std::thread::sleep(Duration::from_millis(20 * round));
        let before = children_of(first.pid());
        let began = now_ns();
        first.process.kill();
        report(&format!("{} children", before.len()), began, taken_over(&crowd));
        assert!(children.iter().all(Orphan::lives));
        before.into_iter().for_each(|child| drop(Orphan(child)));
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let threads =
        std::fs::read_dir(format!("/proc/{pid}/task")).expect("a living process").flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Goal: no child has a socket of ours, also while connections come and go on all threads.
#[test]
fn forks_amid_traffic_leak_nothing() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let _crowd = crowd(&ground, 3);
    first.order("traffic 300");
    assert_eq!(first.expect("leaked"), "[]");
}

/// Goal: what the parent has made hangs nobody in the child and costs the parent nothing, used or
/// dropped.
#[test]
fn in_the_child_everything_is_stopped() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let crowd = crowd(&ground, 2);
    for _ in 0..5 {
        first.order("use");
        println!("used and dropped in {}", first.expect("used in"));
        assert_eq!(first.expect("ended"), "true");
    }
    assert_eq!(
        crowd[0].0.client().call("first", "ping", b"still", PATIENCE).expect("an answer"),
        b"still"
    );
}

/// Goal: the child can join by itself, and takes over from its parent.
#[test]
fn a_child_can_join_by_itself() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let crowd = crowd(&ground, 1);
    let child = first.fork("join");
    assert_eq!(first.expect("child is"), "subordinate");
    assert_eq!(first.expect("child hears"), "Ok(5)");
    await_true("three", || ground.names() == ["child", "crowd-0", "first"]);
    first.process.kill();
    await_true("two", || ground.admin().list().is_ok_and(|listing| listing.entries.len() == 2));
    assert_eq!(ground.names(), ["child", "crowd-0"]);
    drop(crowd);
    await_true("the child leads", || {
        ground.admin().list().is_ok_and(|listing| listing.supervisor == "child")
    });
    assert!(child.lives());
}

/// Goal: programs that a supervisor executes get none of its descriptors, however it starts them.
#[test]
fn executed_programs_have_no_descriptor_of_ours() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let _crowd = crowd(&ground, 10);
    first.order("run");
    let system = first.expect("system");
    let pids = first.expect("run");
    for pid in pids.split(' ').chain([system.as_str()]) {
        let program = Orphan::of(pid);
        let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        await_true("executed", || name().trim() == "sleep");
        assert_eq!(sockets(program.0), [""; 0], "{pid} has sockets of ours");
    }
}
