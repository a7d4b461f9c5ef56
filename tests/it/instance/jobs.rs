//! Jobs: what runs on the supervisor only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pares::{EventKind, StepDownError};

use super::{Group, expect};
use crate::support::PATIENCE;

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
