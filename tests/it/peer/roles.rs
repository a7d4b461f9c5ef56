//! Who is primary, and how the role goes from one to another in order.

use std::fs;

use pares::masterless::{EventKind, LeftCause, RoleCause, Status};

use super::{MS, config, expect, join, primary, sees, to};
use crate::support::{Ground, PATIENCE, await_true};

#[test]
fn who_is_alone_becomes_primary_and_its_epochs_grow_from_life_to_life() {
    let ground = Ground::new();
    for epoch in 1..=3 {
        let (peer, token) = primary(config(&ground));
        assert_eq!((token.epoch, token.id, peer.token()), (epoch, peer.id(), Some(token)));
        assert!(peer.lease_ok() && peer.status() == Status::Primary);
        assert_eq!(peer.id().rank(), 128);
        let events = peer.events();
        peer.leave();
        assert_eq!(events.iter().last().map(|event| event.kind), Some(EventKind::Stopped));
    }
    assert_eq!(
        fs::read_dir(ground.directory.join("it.peers")).unwrap().count(),
        0,
        "a file was left behind"
    );
}

#[test]
fn a_new_receiver_is_told_the_present_status_first_and_one_after_the_end_its_end() {
    let ground = Ground::new();
    let (peer, token) = primary(config(&ground));
    let first = peer.events().recv_timeout(PATIENCE).expect("an event").kind;
    assert!(matches!(first, EventKind::Role { to: Status::Primary, .. }), "{first:?}");
    assert_eq!(first.token(), Some(token));
    let small = join(config(&ground).event_capacity(2));
    let events = small.events();
    assert!(small.wait_admitted(PATIENCE));
    sees(&peer, &small);
    small.leave();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.len(), 2, "more than there is room for: {kinds:?}");
}

#[test]
fn two_see_each_other_and_the_first_one_stays_primary() {
    let ground = Ground::new();
    let (first, token) = primary(config(&ground).workload(7));
    let second = join(config(&ground).workload(3));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let infos = second.peers();
    let [one, two] = infos.as_slice() else { panic!("{infos:?}") };
    assert_eq!(
        (one.id, one.status, one.workload, one.epoch, one.own),
        (first.id(), Status::Primary, 7, 1, false)
    );
    assert_eq!(
        (two.id, two.status, two.workload, two.own),
        (second.id(), Status::Standby, 3, true)
    );
    assert!(one.direct && !one.suspected && one.age_ms < PATIENCE.as_millis() as u64);
    assert_eq!(second.least_loaded(0).map(|info| info.id), Some(second.id()));
    assert_eq!(second.least_loaded(1), None);
    assert!(second.token().is_none() && !second.lease_ok());
    assert_eq!(first.token(), Some(token));
    assert!(first.counters().sent > 0 && first.counters().heard > 0);
}

#[test]
fn leaving_hands_over_and_dropping_says_goodbye() {
    let ground = Ground::new();
    let slow = |ground: &Ground| config(ground).interval(MS(1000)).delay(MS(300));
    let (first, _) = primary(slow(&ground));
    let second = join(slow(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let (events, farewells) = (second.events(), second.events());
    let own = first.id();
    first.leave();
    let (token, cause) = expect(&events, to(Status::Primary));
    assert_eq!((token.map(|token| token.epoch), cause), (Some(2), RoleCause::Named));
    let left = |kind| {
        if let EventKind::Left { id, cause, .. } = kind { Some((id.tail(), cause)) } else { None }
    };
    assert_eq!(expect(&farewells, left), (own.tail(), LeftCause::Left));

    let third = join(slow(&ground));
    assert!(third.wait_admitted(PATIENCE));
    sees(&second, &third);
    let (events, farewells) = (third.events(), third.events());
    let own = second.id();
    drop(second);
    // It was not its silence that told of it.
    assert_eq!(expect(&farewells, left), (own.tail(), LeftCause::Left));
    assert_eq!(
        expect(&events, to(Status::Primary)).1,
        RoleCause::Unopposed,
        "named: it handed over"
    );
}

/// Goal: the program has its time to end its work, and ends it sooner if it says so. Method: one
/// that prepares, and a better one; what comes in which order, and that nothing comes before it is
/// said.
#[test]
fn a_primary_that_prepares_hands_over_when_it_says_so() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let events = old.events();
    let new = join(config(&ground).rank(1));
    let prepare = |kind| {
        if let EventKind::PrepareHandover { to, within_ms, .. } = kind {
            Some((to, within_ms))
        } else {
            None
        }
    };
    let (to_whom, within_ms) = expect(&events, prepare);
    assert_eq!((to_whom, within_ms), (new.id(), 800));
    assert_eq!(old.status(), Status::Primary);
    old.handover_ready();
    assert_eq!(expect(&events, to(Status::Standby)).1, RoleCause::HandedOver);
    let (_, cause) = expect(&new.events(), to(Status::Primary));
    assert_eq!(cause, RoleCause::Named);
    assert!(!old.lease_ok() && old.token().is_none());
}

#[test]
fn a_primary_that_prepares_and_never_says_so_hands_over_all_the_same() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let events = old.events();
    let new = join(config(&ground).rank(1));
    assert_eq!(expect(&events, to(Status::Standby)).1, RoleCause::Overdue);
    assert_eq!(expect(&new.events(), to(Status::Primary)).1, RoleCause::Named);
}

/// Goal: a program that leaves as primary still says itself when its work is at an end.
#[test]
fn who_leaves_says_that_its_work_has_ended() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let new = join(config(&ground));
    assert!(new.wait_admitted(PATIENCE));
    sees(&old, &new);
    let (of_old, of_new) = (old.events(), new.events());
    old.begin_to_leave();
    let prepare =
        |kind| if let EventKind::PrepareHandover { to, .. } = kind { Some(to) } else { None };
    assert_eq!(expect(&of_old, prepare), new.id());
    old.handover_ready();
    assert_eq!(expect(&of_old, to(Status::Standby)).1, RoleCause::HandedOver);
    expect(&of_old, |kind| (kind == EventKind::Stopped).then_some(()));
    assert_eq!(old.status(), Status::Leaving);
    assert_eq!(expect(&of_new, to(Status::Primary)).1, RoleCause::Named);
}

#[test]
fn anyone_can_promote_and_demote_anyone() {
    let ground = Ground::new();
    let (first, _) = primary(config(&ground));
    let second = join(config(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let (of_first, of_second) = (first.events(), second.events());
    first.direct(second.id().tail(), 3);
    expect(&of_second, to(Status::Primary));
    assert_eq!(second.id().rank(), 3);
    expect(&of_first, to(Status::Standby));
    second.set_rank(255);
    expect(&of_first, to(Status::Primary));
    await_true("demoted", || second.status() == Status::Standby);
}

#[test]
fn the_workload_is_asked_for_and_what_panics_is_not_believed() {
    use std::sync::atomic::{AtomicU16, Ordering};
    static LOAD: AtomicU16 = AtomicU16::new(40);
    let ground = Ground::new();
    let load = || match LOAD.load(Ordering::Relaxed) {
        0 => panic!("no number"),
        load => load,
    };
    let one = join(config(&ground).workload_from(load));
    let two = join(config(&ground).workload(50));
    let heard = |workload| {
        two.peers()
            .iter()
            .any(|info| info.id.tail() == one.id().tail() && info.workload == workload)
    };
    await_true("heard", || heard(40));
    assert!(one.wait_admitted(PATIENCE) && two.wait_admitted(PATIENCE));
    await_true("least loaded", || {
        two.least_loaded(0).is_some_and(|info| info.id.tail() == one.id().tail())
    });
    LOAD.store(60, Ordering::Relaxed);
    await_true("heard", || heard(60));
    LOAD.store(0, Ordering::Relaxed);
    let beats = one.counters().sent;
    await_true("alive", || one.counters().sent > beats + 2);
    assert!(heard(60));
    two.set_workload(70);
    await_true("told", || two.peers().iter().any(|info| info.own && info.workload == 70));
}

#[test]
fn an_onlooker_sees_all_and_is_nobody() {
    let ground = Ground::new();
    let (first, _) = primary(config(&ground));
    let onlooker = join(config(&ground).service(9).rank(255).observe(true));
    await_true("heard", || onlooker.peers().iter().any(|info| info.id == first.id()));
    assert!(!onlooker.wait_admitted(MS(500)));
    assert_eq!(onlooker.status(), Status::Joining);
    assert!(!ground.directory.join("it.9.epoch").exists());
    let joined =
        first.events().try_iter().any(|event| matches!(event.kind, EventKind::Joined { .. }));
    assert!(!joined, "an onlooker is none of the group");
}
