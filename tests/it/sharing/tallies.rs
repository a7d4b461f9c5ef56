//! Tallies: what each instance counts, summed.

use pares::{AcquireError, EventKind};

use super::{Group, is_over, next};
use crate::support::await_true;

#[test]
fn tallies_are_summed_and_die_with_who_counted() {
    let group = Group::of(&[]);
    let (a, b) = (group.join("a"), group.join("b"));
    let (of_a, of_b) = (a.tally("seats").unwrap(), b.tally("seats").unwrap());
    assert_eq!((of_a.add(3), of_b.add(4), of_a.sub(1), of_b.sub(9), of_b.add(5)), (3, 4, 2, 0, 5));
    assert_eq!((of_a.count(), b.tally("seats").unwrap().count()), (2, 5));
    // Who asks has its own counts in the answer; others' are a moment behind.
    assert!(of_b.total().unwrap() >= 5);
    await_true("summed", || of_a.total().unwrap() == 7);
    let mut other = group.other("other");
    assert_eq!(other.obey("count seats 10"), "10");
    await_true("summed", || of_a.total().unwrap() == 17);
    other.process.kill();
    await_true("gone with it", || of_a.total().unwrap() == 7);
    drop(a);
    // It was supervisor: the next one has heard of all counts before it answers.
    assert_eq!(of_b.total().unwrap(), 5);
}

#[test]
fn counting_past_the_limit_is_said_once() {
    let group = Group::of(&[("seats", 5)]);
    let (a, b) = (group.join("a"), group.join("b"));
    let events = [a.events(), b.events()];
    let tally = b.tally("seats").unwrap();
    for round in 0..3 {
        tally.add(6);
        for events in &events {
            let over = EventKind::OverLimit { resource: "seats".into(), in_use: 6, limit: 5 };
            assert_eq!(next(events, is_over), over, "round {round}");
        }
        tally.add(3);
        assert_eq!(tally.total().unwrap(), 9);
        let full = a.try_acquire("seats", 1).unwrap_err();
        assert_eq!(full, AcquireError::Exhausted { resource: "seats".into(), wanted: 1, free: 0 });
        tally.sub(9);
        assert_eq!(tally.total().unwrap(), 0);
    }
    a.broadcast("end", b"").unwrap();
    for events in &events {
        let last = next(events, |kind| is_over(kind) || matches!(kind, EventKind::Message { .. }));
        assert!(matches!(last, EventKind::Message { .. }), "once only: {last:?}");
    }
}
