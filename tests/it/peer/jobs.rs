//! Jobs of the primary: what they are told, and what waits for them.

use std::sync::mpsc::{Receiver, Sender, channel};

use pares::masterless::{EventKind, Job, Peer, RoleCause, Status, Token};

use super::{MS, config, expect, join, primary, sees, to};
use crate::support::{Ground, PATIENCE};

/// What a job says of itself.
#[derive(Debug)]
enum Said {
    Began(Token),
    Told { lease_ok: bool },
    Ended { lease_ok: bool },
}

/// A job that returns when it was told to and is let go.
fn job(peer: &Peer) -> (Job, Receiver<Said>, Sender<()>) {
    let (say, said) = channel();
    let (let_go, go) = channel::<()>();
    let job = peer.while_primary(move |guard| {
        _ = say.send(Said::Began(guard.token()));
        while !guard.wait(MS(60_000)) {}
        _ = say.send(Said::Told { lease_ok: guard.lease_ok() });
        _ = go.recv();
        _ = say.send(Said::Ended { lease_ok: guard.lease_ok() });
    });
    (job.expect("a thread"), said, let_go)
}

#[track_caller]
fn began(said: &Receiver<Said>) -> Token {
    match said.recv_timeout(PATIENCE) {
        Ok(Said::Began(token)) => token,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn told(said: &Receiver<Said>) -> bool {
    match said.recv_timeout(PATIENCE) {
        Ok(Said::Told { lease_ok }) => lease_ok,
        other => panic!("{other:?}"),
    }
}

/// Goal: the role waits for the work, and the work comes back with it. Method: demoted, and
/// promoted again.
#[test]
fn a_role_is_handed_over_when_the_job_has_ended_and_the_job_returns_with_it() {
    let ground = Ground::new();
    let (first, token) = primary(config(&ground));
    let (_job, said, let_go) = job(&first);
    assert_eq!(began(&said), token);
    let second = join(config(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let (of_first, of_second) = (first.events(), second.events());
    first.set_rank(200);
    assert!(told(&said), "it may bring its work to an end");
    assert_eq!((first.status(), second.token()), (Status::Primary, None));
    let_go.send(()).expect("a job");
    assert_eq!(expect(&of_first, to(Status::Standby)).1, RoleCause::HandedOver);
    assert_eq!(expect(&of_second, to(Status::Primary)).1, RoleCause::Named);
    assert!(matches!(said.recv_timeout(PATIENCE), Ok(Said::Ended { .. })));

    first.set_rank(1);
    let again = began(&said);
    assert!(again > token, "{again} after {token}");
}

/// Goal: a job that does not end keeps nobody waiting for ever, and knows that it may not act.
#[test]
fn a_job_that_does_not_end_loses_the_role_in_the_end() {
    let ground = Ground::new();
    let (first, _) = primary(config(&ground));
    let (_job, said, let_go) = job(&first);
    began(&said);
    let events = first.events();
    let second = join(config(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    first.set_rank(200);
    told(&said);
    assert_eq!(expect(&events, to(Status::Standby)).1, RoleCause::Overdue);
    let_go.send(()).expect("a job");
    assert!(matches!(said.recv_timeout(PATIENCE), Ok(Said::Ended { lease_ok: false })));
}

/// Goal: also one that is alone does not leave its job behind.
#[test]
fn who_leaves_waits_for_its_job() {
    let ground = Ground::new();
    let (alone, _) = primary(config(&ground));
    let (_job, said, let_go) = job(&alone);
    began(&said);
    let events = alone.events();
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| alone.leave());
        assert!(told(&said), "it is primary until its job has ended");
        assert!(!leaving.is_finished());
        let stopped = |event: pares::masterless::Event| event.kind == EventKind::Stopped;
        assert!(!events.try_iter().any(stopped));
        let_go.send(()).expect("a job");
        assert!(matches!(said.recv_timeout(PATIENCE), Ok(Said::Ended { .. })));
        leaving.join().expect("left");
    });
    assert_eq!(expect(&events, to(Status::Leaving)).1, RoleCause::Left);
}

#[test]
fn who_has_no_time_leaves_without_its_job() {
    let ground = Ground::new();
    let (alone, _) = primary(config(&ground));
    let (_job, said, let_go) = job(&alone);
    began(&said);
    assert!(!alone.leave_timeout(MS(100)), "its job runs");
    told(&said);
    let_go.send(()).expect("a job");
    assert!(matches!(said.recv_timeout(PATIENCE), Ok(Said::Ended { lease_ok: false })));

    let (idle, _) = primary(config(&ground));
    assert!(idle.leave_timeout(PATIENCE), "nothing holds it");
}

#[test]
fn a_dropped_job_is_told_and_waited_for_and_one_that_returns_runs_once() {
    let ground = Ground::new();
    let (peer, _) = primary(config(&ground));
    let (count, counted) = channel();
    let once = peer.while_primary(move |guard| _ = count.send(guard.token())).expect("a thread");
    counted.recv_timeout(PATIENCE).expect("a run");
    let (job, said, let_go) = job(&peer);
    began(&said);
    let_go.send(()).expect("a job");
    drop(job);
    told(&said);
    assert!(matches!(said.try_recv(), Ok(Said::Ended { lease_ok: true })), "it was not waited for");
    assert!(counted.try_recv().is_err(), "it ran twice as one primary");
    drop(once);
    assert_eq!(peer.status(), Status::Primary);
}
