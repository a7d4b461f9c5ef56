//! Programs that wait for several things at once, with `poll`.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use pares::{ChangeKind, EventKind, Events, Instance};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{Ground, PATIENCE};

/// Which of these are readable within the time.
fn readable(fds: &[&dyn AsFd], time: Duration) -> Vec<bool> {
    let mut fds: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    poll(&mut fds, Some(&time)).expect("polled");
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// Polls until an event is the wanted one; each time all that is there is taken.
#[track_caller]
fn poll_for<E: std::fmt::Debug>(events: &Events<E>, wanted: impl Fn(&E) -> bool) {
    let end = Instant::now() + PATIENCE;
    while readable(&[events], end.saturating_duration_since(Instant::now())) == [true] {
        let mut taken = 0;
        for event in events.try_iter() {
            taken += 1;
            if wanted(&event) {
                return;
            }
        }
        assert!(taken > 0, "woken for nothing: {events:?}");
    }
    panic!("it never came");
}

/// Goal: a program that polls is woken for what happens, and for nothing else. Method: an instance
/// of this process among real ones, of which some die; its events and a watch's changes are polled.
#[test]
fn a_program_that_polls_is_woken_by_deaths_and_by_nothing_else() {
    let ground = Ground::new();
    let leader = ground.join("leader");
    leader.expect_event("settled");
    let instance = Instance::join(ground.config().name("polls")).unwrap();
    let (events, watch) = (instance.events(), instance.client().watch().unwrap());
    let changes = watch.changes();

    let worker = ground.join("worker");
    poll_for(
        changes,
        |change| matches!(&change.kind, ChangeKind::Joined { entry } if entry.name == "worker"),
    );
    worker.kill();
    poll_for(changes, |it| matches!(&it.kind, ChangeKind::Left { name, .. } if name == "worker"));

    leader.kill();
    poll_for(&events, |event| matches!(event.kind, EventKind::Supervisor { .. }));
    poll_for(changes, |it| matches!(&it.kind, ChangeKind::Left { name, .. } if name == "leader"));
    poll_for(&events, |event| matches!(event.kind, EventKind::Settled { .. }));
    poll_for(changes, |it| matches!(it.kind, ChangeKind::Settled { .. }));
    assert_eq!(readable(&[&events, changes], Duration::ZERO), [false, false]);

    let late = events.try_recv();
    assert!(late.is_err(), "{late:?}");
    drop(instance);
    poll_for(&events, |event| event.kind == EventKind::Stopped);
    // The end is to be noticed, too, of each in its time, and stays.
    assert_eq!(readable(&[changes], PATIENCE), [true]);
    for _ in 0..2 {
        assert_eq!(readable(&[&events, changes], PATIENCE), [true, true]);
        assert!(events.recv().is_err());
    }
    assert!(changes.iter().count() < 3);
}
