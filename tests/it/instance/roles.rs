//! Who supervises, under which name, and what the events say.

use pares::{ChangeKind, EventKind, Instance, JoinError, LeftCause, Role, StepDownError};

use super::groups::expect_settled;
use super::{Group, changes_until};
use crate::support::PATIENCE;

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
    let listing = third.client().list().unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["second", "third"]);
    assert!(listing.settled && listing.term == term + 1);
}

#[test]
fn main_is_the_supervisor_whatever_its_name() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let main = second.client().look_up("main").unwrap();
    assert_eq!(main.entries, [first.entry().clone()]);
    assert_eq!(main.main(), Some(first.entry()));
    let info =
        String::from_utf8(second.client().call("main", "info", b"", PATIENCE).unwrap()).unwrap();
    assert!(info.contains("name=first\n") && info.contains("role=supervisor\n"), "{info}");
}

#[test]
fn a_made_up_name_is_kept_for_life() {
    let group = Group::new();
    let first = Instance::join(group.config.clone()).unwrap();
    let second = Instance::join(group.config.clone()).unwrap();
    let ending = format!("-{}", second.entry().admin_port);
    assert!(second.name().ends_with(&ending), "{}", second.name());
    let (name, term, events) = (second.name().to_owned(), second.term(), second.events());
    drop(first);
    expect_settled(&events, term, 1);
    assert_eq!(second.client().list().unwrap().entries[0].name, name);
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
        assert!(
            text.contains(taken) && text.contains(&pid) && text.contains("Config::name"),
            "{text}"
        );
    }
    drop(second);
    drop(group.join("second"));
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
    let watch = third.client().watch().unwrap();
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

#[test]
fn the_cause_of_a_departure_is_told() {
    let group = Group::new();
    let (first, second) = (group.join("first"), group.join("second"));
    let watch = first.client().watch().unwrap();
    changes_until(watch.changes(), "settled with 2");
    drop(second);
    let last = watch.changes().recv_timeout(PATIENCE).unwrap();
    assert_eq!(last.kind, ChangeKind::Left { name: "second".into(), cause: LeftCause::Left });
}
