//! Many processes of one group that share things while some of them are killed, stopped and
//! replaced, most of all their supervisor. What they share must come out right all the same.
//!
//! That no more is held than there may be is not asked of those who count: for each unit that a
//! process has a permit for it locks one of as many files as there are units. A file must be free
//! for each, except that of a process that is being killed: the kernel frees its files and its
//! connections in the same exit, but not at the same instant.
//!
//! `PARES_TEST_CHAOS=500` makes 500 signals of it, among 50 processes; `PARES_TEST_SEED` repeats a
//! run's random choices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::Instance;
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::actors::Actor;
use crate::random::Random;
use crate::sharing::Ended;
use crate::support::{Ground, PATIENCE, await_true, units};
use group::Chaos;
use written::{Told, Written};

mod group;
mod written;

/// How many units of the shared resource there are.
pub(crate) const UNITS: usize = 5;

/// Longer than any process here stands still, so that nobody is taken for dead who is not.
pub(crate) const SETTLE: Duration = Duration::from_secs(3);

/// How long a unit's file may be held by a process that is being killed.
pub(crate) const EXIT_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Goal: whatever dies, stops and comes back, in whatever order: no more is held than there may be;
/// in the end nothing is lost or counted twice, and what was acknowledged is there. Method:
/// processes that use all that is shared, random signals, and the books compared with what the
/// living say.
#[test]
fn what_is_shared_survives_any_deaths() {
    let signals =
        std::env::var("PARES_TEST_CHAOS").ok().map(|signals| signals.parse().expect("a number"));
    let processes = if signals.is_some() { 50 } else { 12 };
    let began = Instant::now();
    let mut chaos = Chaos::start(processes);
    for _ in 0..signals.unwrap_or(40) {
        chaos.strike();
        let pause = chaos.random.millis(0, 60);
        thread::sleep(pause);
        chaos.go_on(false);
        // Again and again also in the middle of work.
        if chaos.random.below(4) == 0 {
            chaos.await_work();
        }
    }
    chaos.go_on(true);
    // All come to rest, and two of them keep a unit.
    for (at, worker) in chaos.workers.iter_mut().enumerate() {
        worker.other.order(if at < 2 { "1" } else { "0" });
    }
    let calm = chaos.answers("calm");
    let number =
        |answer: &str, at: usize| answer.split(' ').nth(at).unwrap().parse::<u64>().unwrap();
    let by_name = |at: usize| -> Vec<(String, u64)> {
        let numbers = calm.iter().map(|(name, answer)| (name.clone(), number(answer, at)));
        numbers.filter(|(_, number)| *number > 0).collect()
    };
    let (kept, counted) = (by_name(0), by_name(1));
    let total: u64 = counted.iter().map(|(_, count)| count).sum();

    let config = chaos
        .ground
        .config()
        .name("newcomer")
        .resource(pares::Resource::new("slots", UNITS as u64))
        .settle_time(SETTLE);
    let newcomer = Instance::join(config).unwrap();
    let usage = |resource: &str| newcomer.client().usage_of(resource).expect("usage");
    // What is given back or counted goes one way, and may be a moment behind.
    await_true("the books as the living say", || {
        units(&usage("slots").holders) == kept && units(&usage("jobs").holders) == counted
    });
    assert_eq!(
        (usage("slots").in_use, usage("slots").waiting, usage("slots").limit),
        (2, 0, Some(UNITS as u64))
    );
    assert_eq!(usage("jobs").in_use, total);
    assert_eq!(newcomer.tally("jobs").unwrap().total().unwrap(), total);

    chaos.order("settings");
    let settings = chaos.answers("settings");
    let of_newcomer: Vec<String> =
        newcomer.settings().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    for (name, theirs) in &settings {
        assert_eq!(*theirs, of_newcomer.join(" "), "{name} and a newcomer know other settings");
    }
    let settings = newcomer.settings();
    for (key, written) in &chaos.told.written {
        let (present, Written { set, tried, adrift }) = (settings.get(key), written);
        assert!(
            written.may_be(present),
            "{key} is {present:?}: not {set:?}, {tried:?} or one of {adrift:?}"
        );
    }
    chaos.order("release");
    chaos.answers("released");
    let all = newcomer.acquire_timeout("slots", UNITS as u64, PATIENCE).expect("all units");
    assert_eq!(usage("slots").in_use, UNITS as u64);
    drop(all);

    let Told { waited, violations, .. } = &chaos.told;
    assert!(violations.is_empty(), "{violations:#?}");
    for (began_ns, wait, holders) in waited {
        let until = began_ns + wait.as_nanos() as u64;
        let dying = holders
            .iter()
            .any(|holder| chaos.killed.get(holder).is_some_and(|&killed| killed < until));
        assert!(dying, "held by the living: {holders:?} for {wait:?}");
    }
    let gaps = chaos.gaps();
    let (stopped, supervisors) = chaos.stops;
    println!(
        "{} processes, {} killed, {} supervisors among them; {stopped} stopped, {supervisors} of \
         them supervisors; in {:.0?}",
        chaos.started,
        chaos.killed.len(),
        chaos.killed_supervisors.len(),
        began.elapsed(),
    );
    let Told { permits, acknowledged, .. } = &chaos.told;
    println!(
        "more than {permits} permits; {acknowledged} changes of {} settings acknowledged",
        settings.len()
    );
    let longest = waited.iter().map(|(_, wait, _)| *wait).max();
    println!(
        "a unit was waited for {} times for one who was dying, at most {longest:?}",
        waited.len()
    );
    let median = gaps.get(gaps.len() / 2);
    println!(
        "from SIGKILL of a supervisor to the next grant: median {median:?}, at most {:?}",
        gaps.last()
    );
}

/// Goal: once a supervisor has died, permits are granted again. Method: many processes at work,
/// none of which stands still; SIGKILL the supervisor ten times, and measure.
#[test]
fn permits_are_granted_again_after_a_supervisors_death() {
    let processes = if std::env::var_os("PARES_TEST_CHAOS").is_some() { 50 } else { 20 };
    let mut chaos = Chaos::start(processes);
    for _ in 0..10 {
        chaos.await_work();
        if let Some(at) = chaos.supervisor() {
            chaos.replace(at);
        }
    }
    chaos.await_work();
    let gaps = chaos.gaps();
    println!("{processes} processes, from SIGKILL of a supervisor to the next grant: {gaps:?}");
    assert!(chaos.told.violations.is_empty(), "{:#?}", chaos.told.violations);
}

/// Goal: one that stands still right across a supervisor's death for longer than the settle time
/// loses what others were given meanwhile, and knows; at no time is more in use than there may be.
/// Method: again and again SIGSTOP the one that holds everything, SIGKILL the supervisor, have
/// another take everything, SIGCONT; the use is looked at all the while.
#[test]
fn who_sleeps_through_a_failover_holds_nothing_that_others_got() {
    let rounds = std::env::var("PARES_TEST_CHAOS")
        .map_or(5, |signals| signals.parse::<u64>().expect("a number") / 5);
    let ground = Ground::new();
    let mut random = Random(Random::seed());
    let start = |number: u64| {
        let (resources, settle) = ("slots=4".to_owned(), "200".to_owned());
        let more = [("MEMBER", "1".to_owned()), ("RESOURCES", resources), ("SETTLE", settle)];
        let name = format!("m{number}");
        (name.clone(), Actor::start(&ground, "member", &name, &more))
    };
    let mut members: Vec<(String, Actor)> = (0..6).map(start).collect();
    members.iter().for_each(|(_, member)| _ = member.expect("joined"));
    let end = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (admin, mut most) = (ground.admin(), 0);
            while !end.load(Ordering::Relaxed) {
                if let Ok(usage) = admin.usage_of("slots") {
                    most = most.max(usage.in_use);
                }
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let ended = Ended(&end);
        let admin = ground.admin();
        for round in 0..rounds {
            await_true("settled", || admin.status().is_ok_and(|status| status.settled));
            let leading = admin.status().unwrap().supervisor;
            let at = members.iter().position(|(name, _)| *name == leading).expect("one of them");
            let (_, supervisor) = members.remove(at);
            let at = random.below(members.len() as u64) as usize;
            let (_, holder) = &mut members[at];
            // In one permit or in several.
            if random.below(2) == 0 {
                holder.obey("acquire slots 4");
            } else {
                (0..4).for_each(|_| _ = holder.obey("acquire slots 1"));
            }
            holder.process.stop();
            let began = Instant::now();
            supervisor.process.kill();
            let taker = (at + 1 + random.below(members.len() as u64 - 1) as usize) % members.len();
            members[taker].1.obey("acquire slots 4");
            assert!(
                began.elapsed() >= Duration::from_millis(200),
                "round {round}: {:?}",
                began.elapsed()
            );
            thread::sleep(random.millis(0, 300));
            let (_, holder) = &mut members[at];
            holder.process.signal(Signal::CONT);
            holder.obey("lost");
            let valid = Instant::now() + PATIENCE;
            while holder.obey("valid") != "0" {
                assert!(
                    Instant::now() < valid,
                    "round {round}: a permit that others have is valid"
                );
            }
            let usage = admin.usage_of("slots").unwrap();
            assert_eq!(units(&usage.holders), [(members[taker].0.clone(), 4)], "round {round}");
            assert_eq!(members[taker].1.obey("valid"), "1", "round {round}");
            members[at].1.obey("release");
            members[taker].1.obey("release");
            let new = start(6 + round);
            new.1.expect("joined");
            members.push(new);
        }
        drop(ended);
        watching.join().unwrap()
    });
    println!("{rounds} times, with never more than {most} of 4 in use");
    assert_eq!(most, 4);
}
