//! Permits: who waits gets them in order, past deaths, revocations and new limits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::{
    AcquireError, AskError, EventKind, Instance, MessageError, Permit, ResourceError, SettingError,
};
use rustix::process::Signal;

use super::{Group, Queue, is_lost, is_over, next};
use crate::support::{PATIENCE, await_true, units};

#[test]
fn who_asks_first_is_served_first_also_if_it_asks_for_much() {
    let group = Group::of(&[("db", 3)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let (one, two) = (a.acquire("db", 1).unwrap(), b.acquire("db", 2).unwrap());
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&b, 3);
        queue.add(&a, 1);
        queue.add(&b, 1);
        drop(one);
        // One unit is free, and the large one is first: the small ones do not starve it, nor does
        // one who only tries.
        queue.nobody_is_served_for(Duration::from_millis(50));
        assert_eq!(
            a.try_acquire("db", 1).unwrap_err(),
            AcquireError::Exhausted { resource: "db".into(), wanted: 1, free: 1 }
        );
        drop(two);
        let large = queue.expect(0);
        assert_eq!((large.units(), large.resource(), large.is_valid()), (3, "db", true));
        queue.nobody_is_served_for(Duration::from_millis(50));
        drop(large);
        let mut small = [queue.next(), queue.next()];
        small.sort_by_key(|(number, _)| *number);
        assert!(small.iter().all(|(_, result)| result.is_ok()));
        assert_eq!(group.usage("db").in_use, 2);
    });
    // What is given back goes one way, and may be a moment behind.
    await_true("all given back", || group.usage("db").in_use == 0);
}

#[test]
fn one_who_no_longer_waits_holds_nobody_up() {
    let group = Group::of(&[("db", 2)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let held = a.acquire("db", 1).unwrap();
    let began = Instant::now();
    let late = b.acquire_timeout("db", 2, Duration::from_millis(100));
    assert_eq!(late.unwrap_err(), AcquireError::TimedOut { resource: "db".into() });
    assert!(began.elapsed() >= Duration::from_millis(100));
    // What it asked for is withdrawn: the free unit is anybody's, and nothing is granted to it
    // later.
    let other = b.try_acquire("db", 1).unwrap();
    drop((held, other));
    await_true("free", || group.usage("db").in_use == 0);
    assert_eq!(group.usage("db").waiting, 0);
}

/// Goal: nothing is lost or counted twice where grants and withdrawals cross. Method: timeouts of
/// about as long as a grant takes, on both sides of the lifeline, then the books are compared.
#[test]
fn grants_that_cross_their_withdrawal_are_given_back() {
    let group = Group::of(&[("db", 2)]);
    let instances = [group.join("a"), group.join("b"), group.join("c")];
    let (granted, late) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for (seed, instance) in instances.iter().chain(&instances).enumerate() {
            let (granted, late) = (&granted, &late);
            scope.spawn(move || {
                for turn in 0..300 {
                    let timeout = Duration::from_micros((turn * 37 + seed as u64 * 13) % 250);
                    match instance.acquire_timeout("db", 1 + turn % 2, timeout) {
                        Ok(permit) => {
                            assert!(permit.is_valid());
                            granted.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(AcquireError::TimedOut { .. }) => {
                            _ = late.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    println!("{} granted, {} withdrawn", granted.into_inner(), late.into_inner());
    let newcomer = group.join("newcomer");
    assert!(newcomer.acquire_timeout("db", 2, PATIENCE).is_ok());
    await_true("nobody holds anything", || {
        group.usage("db").in_use == 0 && group.usage("db").waiting == 0
    });
}

#[test]
fn one_holder_gets_no_more_than_its_share_and_holds_nobody_up() {
    let group = Group::of(&[]);
    let join = |name: &str| {
        Instance::join(group.config(name).resource(pares::Resource::new("db", 4).per_holder(2)))
            .unwrap()
    };
    let (a, b) = (join("a"), join("b"));
    let first = a.acquire("db", 2).unwrap();
    assert_eq!(
        a.acquire("db", 3).unwrap_err(),
        AcquireError::OverHolderLimit { resource: "db".into(), wanted: 3, limit: 2 }
    );
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&a, 1);
        let others = b.acquire_timeout("db", 2, PATIENCE).unwrap();
        queue.nobody_is_served_for(Duration::from_millis(50));
        drop(first);
        drop(queue.expect(0));
        drop(others);
    });
}

#[test]
fn every_refusal_says_what_is_wrong() {
    let group = Group::of(&[("db", 2)]);
    let (a, b) = (group.join("a"), group.join("b"));
    for instance in [&a, &b] {
        let over = AcquireError::OverLimit { resource: "db".into(), wanted: 3, limit: 2 };
        assert_eq!(instance.acquire("db", 3).unwrap_err(), over);
        assert_eq!(instance.try_acquire("db", 3).unwrap_err(), over);
        assert_eq!(
            instance.acquire("tape", 1).unwrap_err(),
            AcquireError::Unknown { resource: "tape".into() }
        );
        for (resource, units) in
            [("", 1), ("two words", 1), ("-x", 1), ("db", 0), ("db", (1 << 38) + 1)]
        {
            let error = instance.acquire(resource, units).unwrap_err();
            assert!(matches!(error, AcquireError::Invalid { .. }), "{error:?}");
        }
        assert!(matches!(instance.acquire(&"x".repeat(65), 1), Err(AcquireError::Invalid { .. })));
    }
    let held = a.acquire("db", 2).unwrap();
    let refused = b.try_acquire("db", 1).unwrap_err();
    assert_eq!(refused, AcquireError::Exhausted { resource: "db".into(), wanted: 1, free: 0 });
    assert!(refused.to_string().contains("`db`"), "{refused}");
    drop(held);
}

#[test]
fn an_instance_has_no_more_permits_than_it_may() {
    let group = Group::of(&[("db", 10_000)]);
    let (a, b) = (group.join("a"), group.join("b"));
    for instance in [&b, &a] {
        let mut permits: Vec<Permit> =
            (0..1024).map(|_| instance.acquire("db", 1).unwrap()).collect();
        assert_eq!(instance.acquire("db", 1).unwrap_err(), AcquireError::TooMany { limit: 1024 });
        permits.pop();
        permits.push(instance.acquire("db", 1).unwrap());
        assert_eq!(group.usage("db").in_use, 1024);
        drop(permits);
        await_true("given back", || group.usage("db").in_use == 0);
    }
}

#[test]
fn a_killed_holders_units_go_to_the_next_at_once() {
    let group = Group::of(&[("db", 2)]);
    let waiter = group.join("waiter");
    let mut times = Vec::new();
    for round in 0..5 {
        let mut holder = group.other(&format!("holder{round}"));
        assert_eq!(holder.obey("try db 2"), "yes");
        thread::scope(|scope| {
            let mut queue = Queue::new(scope, &group, "db");
            queue.add(&waiter, 2);
            let killed = Instant::now();
            holder.process.signal(Signal::KILL);
            let permit = queue.expect(0);
            times.push(killed.elapsed());
            drop(permit);
        });
        await_true("free", || group.usage("db").in_use == 0);
    }
    println!("from SIGKILL of a holder to the grant of the next: {times:?}");
}

#[test]
fn a_stopped_holder_keeps_what_it_holds() {
    let group = Group::of(&[("db", 1)]);
    let waiter = group.join("waiter");
    let mut holder = group.other("holder");
    holder.obey("acquire db 1");
    holder.process.stop();
    let late = waiter.acquire_timeout("db", 1, Duration::from_millis(300));
    assert_eq!(late.unwrap_err(), AcquireError::TimedOut { resource: "db".into() });
    holder.process.signal(Signal::CONT);
    assert_eq!(holder.obey("valid"), "1");
    holder.obey("release");
    assert!(waiter.acquire_timeout("db", 1, PATIENCE).is_ok());
}

/// Goal: who holds and who waits does not notice that the supervisor died, and the order of asking
/// is kept. Method: SIGKILL the supervisor while one holds all and others wait, a large one first;
/// then give back one by one.
#[test]
fn permits_and_the_order_of_waiting_survive_the_supervisor() {
    let group = Group::of(&[("db", 2)]);
    let boss = group.other("boss");
    let (a, b, c) = (group.join("a"), group.join("b"), group.join("c"));
    let held = a.acquire("db", 2).unwrap();
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&b, 2);
        queue.add(&c, 1);
        queue.add(&a, 1);
        queue.add(&b, 2);
        boss.process.kill();
        // Asks again until the next supervisor is settled.
        let usage = a.client().usage_of("db").unwrap();
        assert_eq!((usage.in_use, usage.waiting, usage.limit), (2, 4, Some(2)));
        assert_eq!(units(&usage.holders), [("a".to_owned(), 2)]);
        queue.nobody_is_served_for(Duration::from_millis(50));
        assert!(held.is_valid());
        drop(held);
        drop(queue.expect(0));
        let mut small = [queue.next(), queue.next()];
        small.sort_by_key(|(number, _)| *number);
        assert_eq!([small[0].0, small[1].0], [1, 2]);
        queue.nobody_is_served_for(Duration::from_millis(50));
        drop(small);
        drop(queue.expect(3));
    });
}

/// Goal: what is asked for while the supervisor dies is granted exactly once. Method: SIGKILL the
/// supervisor in the middle of a stream of requests; what the askers have been given is what the
/// next supervisor counts.
#[test]
fn what_is_asked_for_across_a_death_is_granted_once() {
    for _ in 0..10 {
        let group = Group::of(&[("db", 100_000)]);
        let boss = group.other("boss");
        let instances = [group.join("a"), group.join("b"), group.join("c")];
        let enough = AtomicBool::new(false);
        let granted = AtomicU64::new(0);
        let permits: Vec<Permit> = thread::scope(|scope| {
            let askers: Vec<_> = instances
                .iter()
                .map(|instance| {
                    let (enough, granted) = (&enough, &granted);
                    scope.spawn(move || {
                        let mut permits = Vec::new();
                        while !enough.load(Ordering::Relaxed) && permits.len() < 1000 {
                            let permit = instance.acquire("db", 1).unwrap();
                            granted.fetch_add(1, Ordering::Relaxed);
                            // Some are given back, some kept.
                            if permits.len() % 3 != 2 {
                                permits.push(permit);
                            } else {
                                drop(permit);
                                permits.push(instance.acquire("db", 1).unwrap());
                            }
                        }
                        permits
                    })
                })
                .collect();
            await_true("under way", || granted.load(Ordering::Relaxed) > 30);
            boss.process.kill();
            let before = granted.load(Ordering::Relaxed);
            await_true("under way again", || granted.load(Ordering::Relaxed) > before + 30);
            enough.store(true, Ordering::Relaxed);
            askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
        });
        await_true("confirmed", || permits.iter().all(Permit::is_valid));
        let held = permits.len() as u64;
        await_true("counted once", || group.usage("db").in_use == held);
        let usage = group.usage("db");
        assert_eq!((usage.in_use, usage.waiting), (held, 0));
        drop(permits);
        await_true("all free", || group.usage("db").in_use == 0);
    }
}

#[test]
fn a_revoked_permit_is_lost_and_its_units_go_to_the_next() {
    let group = Group::of(&[("db", 3)]);
    let (a, b, c) = (group.join("a"), group.join("b"), group.join("c"));
    let events = [a.events(), b.events()];
    for (holder, name, events) in [(&a, "a", &events[0]), (&b, "b", &events[1])] {
        let (one, two) = (holder.acquire("db", 1).unwrap(), holder.acquire("db", 2).unwrap());
        thread::scope(|scope| {
            let mut queue = Queue::new(scope, &group, "db");
            queue.add(&c, 3);
            assert_eq!(group.admin().revoke("db", name).unwrap(), 2);
            drop(queue.expect(0));
        });
        let mut lost = [next(events, is_lost), next(events, is_lost)].map(|kind| match kind {
            EventKind::PermitLost { permit, resource, units } => (permit, resource, units),
            other => panic!("{other:?}"),
        });
        lost.sort_by_key(|lost| lost.2);
        assert_eq!(lost, [(one.id(), "db".to_owned(), 1), (two.id(), "db".to_owned(), 2)]);
        assert!(!one.is_valid() && !two.is_valid());
        await_true("free", || group.usage("db").in_use == 0);
        let again = holder.acquire("db", 3).unwrap();
        // What was lost is not given back a second time.
        drop((one, two));
        assert_eq!(group.usage("db").in_use, 3);
        drop(again);
    }
    assert_eq!(group.admin().revoke("db", "main").unwrap(), 0);
    let unknown = group.admin().revoke("tape", "a");
    assert!(matches!(unknown, Err(ResourceError::Unknown { resource }) if resource == "tape"));
    let nobody = group.admin().revoke("db", "nobody");
    let Err(ResourceError::Ask { source: AskError::NoSuchInstance { name } }) = nobody else {
        panic!("{nobody:?}");
    };
    assert_eq!(name, "nobody");
}

#[test]
fn a_limit_changes_for_those_who_wait_and_takes_nothing_away() {
    let group = Group::of(&[("db", 2)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let events = b.events();
    let held = a.acquire("db", 2).unwrap();
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&b, 2);
        b.client().set_limit("db", 4).unwrap();
        let more = queue.expect(0);
        group.await_waiting("db", 0);
        group.admin().set_limit("db", 1).unwrap();
        let usage = group.usage("db");
        assert_eq!((usage.limit, usage.in_use), (Some(1), 4));
        assert!(held.is_valid() && more.is_valid());
        let over = EventKind::OverLimit { resource: "db".into(), in_use: 4, limit: 1 };
        assert_eq!(next(&events, is_over), over);
        let large = b.acquire("db", 2).unwrap_err();
        assert_eq!(large, AcquireError::OverLimit { resource: "db".into(), wanted: 2, limit: 1 });

        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&a, 1);
        drop(held);
        queue.nobody_is_served_for(Duration::from_millis(50));
        drop(more);
        drop(queue.expect(0));
    });
    assert!(!events.try_iter().any(|event| is_over(&event.kind)), "said once");
    let unknown = a.client().set_limit("tape", 1);
    assert!(matches!(unknown, Err(ResourceError::Unknown { .. })));
    let high = a.client().set_limit("db", (1 << 38) + 1);
    assert!(matches!(high, Err(ResourceError::Invalid { .. })));
}

#[test]
fn one_who_waits_for_more_than_a_new_limit_is_refused() {
    let group = Group::of(&[("db", 3)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let held = a.acquire("db", 1).unwrap();
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&b, 3);
        a.client().set_limit("db", 2).unwrap();
        let refused = queue.next().1.unwrap_err();
        assert_eq!(refused, AcquireError::OverLimit { resource: "db".into(), wanted: 3, limit: 2 });
    });
    drop(held);
}

#[test]
fn a_limit_and_settings_survive_the_supervisor_and_are_known_to_newcomers() {
    let group = Group::of(&[("db", 2)]);
    let boss = group.other("boss");
    let (a, _b) = (group.join("a"), group.join("b"));
    a.client().set_limit("db", 7).unwrap();
    a.client().set("mode", "safe").unwrap();
    a.client().set("gone", "soon").unwrap();
    a.client().unset("gone").unwrap();
    boss.process.kill();
    let newcomer = group.join("newcomer");
    assert_eq!(newcomer.client().usage_of("db").unwrap().limit, Some(7));
    assert!(newcomer.acquire("db", 7).is_ok());
    await_true("known to the newcomer", || newcomer.get("mode").as_deref() == Some("safe"));
    let all = BTreeMap::from([("mode".to_owned(), "safe".to_owned())]);
    assert_eq!((a.settings(), group.admin().settings().unwrap()), (all.clone(), all));
}

#[test]
fn leaving_and_stepping_down_keep_permits_and_those_who_wait() {
    let group = Group::of(&[("db", 2)]);
    let (a, b, c) = (group.join("a"), group.join("b"), group.join("c"));
    let (of_a, of_b) = (a.acquire("db", 1).unwrap(), b.acquire("db", 1).unwrap());
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&c, 1);
        for _ in 0..3 {
            let leader =
                [&a, &b, &c].into_iter().find(|one| one.is_supervisor()).expect("a supervisor");
            leader.step_down(PATIENCE).unwrap();
            let usage = group.usage("db");
            assert_eq!((usage.in_use, usage.waiting), (2, 1));
            assert_eq!(units(&usage.holders), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
            await_true("confirmed", || of_a.is_valid() && of_b.is_valid());
        }
        queue.nobody_is_served_for(Duration::from_millis(20));
        drop(of_a);
        drop(queue.expect(0));
    });
    let leader =
        [&a, &b, &c].into_iter().position(|one| one.is_supervisor()).expect("a supervisor");
    let mut instances = vec![a, b, c];
    let last = instances.remove(leader);
    let permit = last.acquire("db", 1).unwrap();
    // The supervisor leaves with a permit: its units are free, what others hold is kept.
    drop(last);
    assert!(!permit.is_valid());
    let expected = if leader == 1 { 0 } else { 1 };
    await_true("free", || group.usage("db").in_use == expected);
    await_true("confirmed", || of_b.is_valid() == (leader != 1));
    drop(permit);
    assert_eq!(group.usage("db").in_use, expected);
}

#[test]
fn a_permit_may_outlive_its_instance() {
    let group = Group::of(&[("db", 1)]);
    let (a, b) = (group.join("a"), group.join("b"));
    for instance in [b, a] {
        let permit = instance.acquire("db", 1).unwrap();
        let tally = instance.tally("seats").unwrap();
        drop(instance);
        assert!(!permit.is_valid());
        assert_eq!(tally.add(1), 1);
        assert!(matches!(tally.total(), Err(AskError::Stopped)));
        permit.release();
    }
}

#[test]
fn one_who_waits_is_told_when_its_instance_leaves() {
    let group = Group::of(&[("db", 1)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let held = a.acquire("db", 1).unwrap();
    thread::scope(|scope| {
        let mut queue = Queue::new(scope, &group, "db");
        queue.add(&b, 1);
        queue.add(&a, 1);
        for name in ["b", "a"] {
            group.admin().call(name, "stop", b"", PATIENCE).unwrap();
            assert_eq!(queue.next().1.unwrap_err(), AcquireError::Stopped);
        }
    });
    assert!(!held.is_valid());
    for instance in [a, b] {
        assert_eq!(instance.acquire("db", 1).unwrap_err(), AcquireError::Stopped);
        assert_eq!(instance.try_acquire("db", 1).unwrap_err(), AcquireError::Stopped);
        assert!(matches!(
            instance.client().set("k", "v"),
            Err(SettingError::Ask { source: AskError::Stopped })
        ));
        assert!(matches!(
            instance.broadcast("t", b""),
            Err(MessageError::Ask { source: AskError::Stopped })
        ));
    }
}
