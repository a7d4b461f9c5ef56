//! What instances share: permits, tallies, settings and messages, over real connections, past
//! deaths and hand-overs.
//!
//! Most instances here live in this process; those that are killed or stopped are processes of
//! their own, see `actors::member`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pares::{AcquireError, Client, Config, Event, EventKind, Instance, Permit, Usage};

use crate::actors::Actor;
use crate::support::{Ground, PATIENCE, await_true};

mod deaths;
mod messages;
mod permits;
mod settings;
mod tallies;

/// A group whose instances declare these resources.
struct Group {
    ground: Ground,
    resources: &'static [(&'static str, u64)],
}

impl Group {
    fn of(resources: &'static [(&'static str, u64)]) -> Self {
        Group { ground: Ground::new(), resources }
    }

    fn config(&self, name: &str) -> Config {
        let config = self.ground.config().name(name).event_capacity(100_000);
        self.resources.iter().fold(config, |config, &(name, limit)| {
            config.resource(pares::Resource::new(name, limit))
        })
    }

    fn join(&self, name: &str) -> Instance {
        Instance::join(self.config(name)).expect("a member")
    }

    /// An instance in a process of its own.
    fn other(&self, name: &str) -> Actor {
        self.other_with(name, &[])
    }

    fn other_with(&self, name: &str, more: &[(&str, String)]) -> Actor {
        let resources: Vec<String> =
            self.resources.iter().map(|(name, limit)| format!("{name}={limit}")).collect();
        let mut all = vec![("RESOURCES", resources.join(" "))];
        all.extend_from_slice(more);
        let other = Actor::start(&self.ground, "member", name, &all);
        other.expect("joined");
        other
    }

    fn admin(&self) -> Client {
        self.ground.admin()
    }

    /// An admin, once there is a supervisor again: one who only asks waits less long for an
    /// election than this may take.
    fn admin_later(&self) -> Client {
        let admin = self.admin();
        await_true("there is a supervisor", || admin.status().is_ok());
        admin
    }

    fn usage(&self, resource: &str) -> Usage {
        self.admin().usage_of(resource).expect("usage")
    }

    /// Waits until so many requests wait for the resource.
    #[track_caller]
    fn await_waiting(&self, resource: &str, requests: u32) {
        let admin = self.admin();
        let waiting = || admin.usage_of(resource).is_ok_and(|usage| usage.waiting == requests);
        await_true("so many waiting", waiting);
    }
}

/// Asks on threads of their own, one after the other, so that the order of asking is certain. Who
/// is served says so.
struct Queue<'a, 'scope> {
    scope: &'scope thread::Scope<'scope, 'a>,
    group: &'a Group,
    resource: &'static str,
    waiting: u32,
    served: (mpsc::Sender<Served>, mpsc::Receiver<Served>),
}

type Served = (u32, Result<Permit, AcquireError>);

impl<'a, 'scope> Queue<'a, 'scope> {
    fn new(
        scope: &'scope thread::Scope<'scope, 'a>,
        group: &'a Group,
        resource: &'static str,
    ) -> Self {
        Queue { scope, group, resource, waiting: 0, served: mpsc::channel() }
    }

    /// One more who has to wait.
    #[track_caller]
    fn add(&mut self, instance: &'a Instance, units: u64) {
        let (number, tell, resource) = (self.waiting, self.served.0.clone(), self.resource);
        // With a deadline, so that a test that fails comes to its end.
        self.scope.spawn(move || {
            _ = tell.send((number, instance.acquire_timeout(resource, units, 2 * PATIENCE)))
        });
        self.waiting += 1;
        self.group.await_waiting(resource, self.waiting);
    }

    #[track_caller]
    fn next(&self) -> Served {
        self.served.1.recv_timeout(PATIENCE).expect("one who is served")
    }

    /// The next one is this, and gets a permit.
    #[track_caller]
    fn expect(&self, number: u32) -> Permit {
        let (served, result) = self.next();
        assert_eq!(served, number);
        result.expect("a permit")
    }

    #[track_caller]
    fn nobody_is_served_for(&self, time: Duration) {
        assert!(matches!(self.served.1.recv_timeout(time), Err(RecvTimeoutError::Timeout)));
    }
}

#[track_caller]
fn next(events: &pares::Events<Event>, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match events.recv_deadline(deadline) {
            Ok(event) if wanted(&event.kind) => return event.kind,
            Ok(event) => seen.push(event.kind),
            Err(error) => panic!("{error}; seen: {seen:?}"),
        }
    }
}

fn is_lost(kind: &EventKind) -> bool {
    matches!(kind, EventKind::PermitLost { .. })
}

fn is_over(kind: &EventKind) -> bool {
    matches!(kind, EventKind::OverLimit { .. })
}

/// Ends what looks for it, also when the test fails.
pub(crate) struct Ended<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
