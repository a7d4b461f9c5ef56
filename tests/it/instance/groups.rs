//! Groups: their terms, their end and their beginning anew.

use std::fs;
use std::time::{Duration, Instant};

use pares::{Client, Config, Event, EventKind, Instance, JoinError};

use super::{Group, changes_until, expect};

/// Waits until the group is settled in a term after `before`, with so many members.
#[track_caller]
pub(super) fn expect_settled(events: &pares::Events<Event>, before: u64, wanted: u32) {
    let later = |kind: &EventKind| match kind {
        EventKind::Settled { term, members } => *term > before && *members == wanted,
        _ => false,
    };
    expect(events, later);
}

#[test]
fn a_watch_goes_on_from_supervisor_to_supervisor() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let (inside, admin) = (second.client().watch().unwrap(), Client::new(&group.config).unwrap());
    let outside = admin.watch().unwrap();
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
    assert!(again.client().status().unwrap().settled);
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
        Config::new("other").port(group.config.supervisor_port()).state_directory(&group.directory);
    let error = Instance::join(other).unwrap_err();
    assert!(matches!(&error, JoinError::OtherGroup { theirs, .. } if theirs == "test"), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused_before_anything_is_done() {
    let group = Group::new();
    let error = Instance::join(group.config.clone().name("two words")).unwrap_err();
    assert!(matches!(error, JoinError::Config { .. }), "{error}");
    assert!(!group.directory.exists());
}
