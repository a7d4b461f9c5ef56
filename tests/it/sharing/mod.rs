//! What instances share: permits, tallies, settings and messages, over real connections, past
//! deaths and hand-overs.
//!
//! Most instances here live in this process; those that are killed or stopped are processes of
//! their own: this program again, with [`member`] as its only test.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pares::channel::Receiver;
use pares::{AcquireError, Admin, Config, Event, EventKind, Instance, Permit, Usage};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::support::{GROUP, Ground, PATIENCE, Proc, await_true};

mod deaths;
mod messages;
mod permits;
mod settings;
mod tallies;

// ------------------------------------------------------------------------------------------
// processes of their own

/// This program again, in a part of its own; it ends when this value or this process does.
pub(crate) struct Other {
    pub(crate) process: Proc,
    orders: File,
}

impl Other {
    /// `test` plays the part; `more` are environment variables without their prefix.
    pub(crate) fn start(ground: &Ground, test: &str, name: &str, more: &[(&str, String)]) -> Self {
        let (orders_out, orders) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let mut command = Command::new(env::current_exe().expect("this program"));
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("PARES_TEST_NAME", name)
            .env("PARES_TEST_DIRECTORY", &ground.directory)
            .env("PARES_TEST_PORT", ground.port.to_string())
            .envs(more.iter().map(|(name, value)| (format!("PARES_TEST_{name}"), value)))
            .stdin::<OwnedFd>(orders_out);
        Other { process: Proc::start(command), orders: File::from(orders) }
    }

    pub(crate) fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).expect("a living process");
    }

    /// What is left of the next line that begins with `start`; others before it are passed over.
    #[track_caller]
    pub(crate) fn expect(&self, start: &str) -> String {
        loop {
            let line = self.process.line();
            if let Some(rest) = word(&line).and_then(|word| word.strip_prefix(start)) {
                return rest.trim().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn obey(&mut self, order: &str) -> String {
        self.order(order);
        self.expect("done")
    }
}

/// What another process says among what the test harness prints.
pub(crate) fn word(line: &str) -> Option<&str> {
    line.split_once("@@ ").map(|(_, word)| word)
}

/// A line of its own, in one write, whatever else is printed.
pub(crate) fn say(word: &str) {
    _ = std::io::stdout().write_all(format!("\n@@ {word}\n").as_bytes());
}

/// In another process: its part's variable, empty if there is none.
pub(crate) fn given(name: &str) -> String {
    env::var(format!("PARES_TEST_{name}")).unwrap_or_default()
}

/// In another process: how it takes part.
pub(crate) fn given_config() -> Config {
    let port = given("PORT").parse().expect("a port");
    let events = given("EVENTS").parse().unwrap_or(100_000);
    Config::new(GROUP).directory(given("DIRECTORY")).port(port).name(given("NAME")).events(events)
}

/// Goal: to be the instance that the tests here order about, kill and stop; by itself it does
/// nothing.
#[test]
fn member() {
    if given("MEMBER").is_empty() {
        return;
    }
    let mut config = given_config();
    for declared in given("RESOURCES").split_whitespace() {
        let (name, limit) = declared.split_once('=').unwrap();
        config = config.resource(name, limit.parse().unwrap());
    }
    if let Ok(millis) = given("SETTLE").parse() {
        config = config.settle_time(Duration::from_millis(millis));
    }
    let instance = Instance::join(config).unwrap();
    let events = instance.events();
    say("joined");
    let mut permits: Vec<Permit> = Vec::new();
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = order.split(' ').collect();
        match words[..] {
            ["acquire", resource, units] => {
                permits.push(instance.acquire(resource, units.parse().unwrap()).unwrap());
                say("done");
            }
            ["try", resource, units] => {
                match instance.try_acquire(resource, units.parse().unwrap()) {
                    Ok(permit) => {
                        permits.push(permit);
                        say("done yes");
                    }
                    Err(error) => say(&format!("done {error:?}")),
                }
            }
            ["release"] => {
                permits.clear();
                say("done");
            }
            ["valid"] => {
                say(&format!("done {}", permits.iter().filter(|permit| permit.is_valid()).count()))
            }
            ["count", resource, units] => {
                say(&format!(
                    "done {}",
                    instance.tally(resource).unwrap().add(units.parse().unwrap())
                ));
            }
            ["get", key] => say(&format!("done {}", instance.get(key).unwrap_or_default())),
            ["lost"] => {
                let lost = events.iter().find_map(|event| match event.kind {
                    EventKind::PermitLost { units, .. } => Some(units),
                    _ => None,
                });
                say(&format!("done {}", lost.unwrap()));
            }
            // Messages that came and messages that were missed, until both together are so many.
            ["messages", wanted] => {
                let (wanted, mut came, mut missed) = (wanted.parse::<u64>().unwrap(), 0, 0);
                let deadline = Instant::now() + PATIENCE / 2;
                while came + missed < wanted {
                    match events.recv_deadline(deadline).map(|event| event.kind) {
                        Ok(EventKind::Message { .. }) => came += 1,
                        Ok(EventKind::Missed { events }) => missed += events,
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                // Nothing comes twice.
                while let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
                    match event.kind {
                        EventKind::Message { .. } => came += 1,
                        EventKind::Missed { events } => missed += events,
                        _ => {}
                    }
                }
                say(&format!("done {came} {missed}"));
            }
            _ => panic!("no order {order}"),
        }
    }
}

// -------------------------------------------------------------------------------------------------
// the group

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
        let config = self.ground.config().name(name).events(100_000);
        self.resources.iter().fold(config, |config, &(name, limit)| config.resource(name, limit))
    }

    fn join(&self, name: &str) -> Instance {
        Instance::join(self.config(name)).expect("a member")
    }

    /// An instance in a process of its own.
    fn other(&self, name: &str) -> Other {
        self.other_with(name, &[])
    }

    fn other_with(&self, name: &str, more: &[(&str, String)]) -> Other {
        let resources: Vec<String> =
            self.resources.iter().map(|(name, limit)| format!("{name}={limit}")).collect();
        let mut all = vec![("MEMBER", "1".to_owned()), ("RESOURCES", resources.join(" "))];
        all.extend_from_slice(more);
        let other = Other::start(&self.ground, "sharing::member", name, &all);
        other.expect("joined");
        other
    }

    fn admin(&self) -> Admin {
        self.ground.admin()
    }

    /// An admin, once there is a supervisor again: one who only asks waits less long for an
    /// election than this may take.
    fn admin_later(&self) -> Admin {
        let admin = self.admin();
        await_true("there is a supervisor", || admin.registry().status(PATIENCE).is_ok());
        admin
    }

    fn usage(&self, resource: &str) -> Usage {
        self.admin().usage_of(resource, PATIENCE).expect("usage")
    }

    /// Waits until so many requests wait for the resource.
    #[track_caller]
    fn await_waiting(&self, resource: &str, requests: u32) {
        let admin = self.admin();
        let waiting =
            || admin.usage_of(resource, PATIENCE).is_ok_and(|usage| usage.waiting == requests);
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
fn next(events: &Receiver<Event>, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
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
