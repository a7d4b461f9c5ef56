//! The process in which things are counted.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::{fs, process, thread};

use pares::{Client, Config, EventKind, Instance};

use super::{given, given_place, say};
use crate::support::{GROUP, PATIENCE};

/// How often each request is made.
pub(crate) const ROUNDS: usize = 20;

/// The request of which threads begin and end.
pub(crate) const JOIN: &str = "join, leave";

/// Waits for a line of input, or its end.
fn await_word() {
    _ = std::io::stdin().read_line(&mut String::new());
}

pub(super) fn play() {
    let config = given_place(GROUP).resource(pares::Resource::new("seats", 3));
    let what = given("WHAT");
    match what.split_once(' ') {
        None if what == "requests" => requests(&config),
        None if what == "sharer" => share(&config),
        Some(("members", count)) => be_many(&config, count.parse().expect("a number")),
        _ => panic!("{what:?}"),
    }
}

/// Makes a system call that fails, and that shows in a trace with its name.
fn mark(name: &str) {
    _ = fs::metadata(format!("/mark/{name}"));
}

/// Makes each request some times, with marks around it. Says which, so that whoever waits for it on
/// a busy machine sees that it goes on.
fn requests(config: &Config) {
    let supervisor = Instance::join(config.clone().name("supervisor")).expect("joined");
    // While there is nobody else who would be told of it.
    measure(JOIN, || drop(Instance::join(config.clone().name("guest")).expect("joined")));
    measure("ask anew", || {
        let admin = Client::new(config).expect("an admin");
        _ = admin.status().expect("a status");
    });
    let asker = Instance::join(config.clone().name("asker")).expect("joined");
    assert!(supervisor.is_supervisor());
    let registry = asker.client();
    let tally = asker.tally("visits").expect("a tally");
    let payload = [7; 32];
    let mut number = 0;
    let subjects: &mut [(&str, &mut dyn FnMut())] = &mut [
        ("look-up", &mut || _ = registry.look_up("supervisor").expect("an entry")),
        ("status", &mut || _ = registry.status().expect("a status")),
        ("try-acquire", &mut || drop(asker.try_acquire("seats", 1).expect("a permit"))),
        ("acquire", &mut || drop(asker.acquire("seats", 1).expect("a permit"))),
        ("tally", &mut || _ = tally.add(1)),
        ("total", &mut || _ = tally.total().expect("a sum")),
        ("set", &mut || {
            number += 1;
            asker.client().set("number", &number.to_string()).expect("set");
        }),
        ("call", &mut || {
            _ = asker.client().call("main", "ping", &payload, PATIENCE).expect("a pong")
        }),
    ];
    // What goes one way has arrived when what was asked after it is answered.
    let arrive = || _ = tally.total().expect("a sum");
    for (name, run) in subjects {
        (0..3).for_each(|_| run()); // connections are made, memory is had
        arrive();
        say(name);
        mark(name);
        (0..ROUNDS).for_each(|_| run());
        arrive();
        mark("end");
    }
}

/// The same for what leaves nothing behind that the next could use.
fn measure(name: &str, mut run: impl FnMut()) {
    (0..3).for_each(|_| run()); // a new supervisor makes room for descriptors
    say(name);
    mark(name);
    (0..ROUNDS).for_each(|_| run());
    mark("end");
}

/// Holds one of everything, and waits for more than there is.
fn share(config: &Config) {
    let instance = Instance::join(config.clone()).expect("joined");
    let permit = instance.acquire("seats", 1).expect("a permit");
    let tally = instance.tally("visits").expect("a tally");
    tally.add(3);
    instance.client().set(instance.name(), "here").expect("set");
    let watch = instance.client().watch().expect("a watch");
    let changes = watch.changes().as_ref().clone();
    let events = instance.events();
    thread::scope(|scope| {
        scope.spawn(|| changes.iter().for_each(drop));
        scope.spawn(|| events.iter().for_each(drop));
        say("ready");
        await_word();
        scope.spawn(|| instance.acquire("seats", 3).map(drop));
        await_word();
        process::exit(i32::from(!permit.is_valid()));
    });
}

/// Messages that were sent, by their names.
struct Sent(Mutex<BTreeMap<String, usize>>);

static SENT: Sent = Sent(Mutex::new(BTreeMap::new()));

impl log::Log for Sent {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let Some(message) = text.strip_prefix("-> ") else { return };
        let (name, times) = message.split_once(" to ").unwrap_or((message, "1"));
        *self.0.lock().expect("a count").entry(name.to_owned()).or_default() +=
            times.parse::<usize>().expect("a number");
    }

    fn flush(&self) {}
}

/// So many subordinates; says how many messages they send from a word until they are settled under
/// one of themselves.
fn be_many(config: &Config, count: usize) {
    log::set_logger(&SENT).expect("no logger before");
    log::set_max_level(log::LevelFilter::Trace);
    // On a busy machine so many are not back within the usual settle time, and the group would be
    // settled without some.
    let config = config.clone().settle_time(PATIENCE);
    let join = |number| Instance::join(config.clone().name(format!("m{number}"))).expect("joined");
    let instances: Vec<Instance> = (0..count).map(join).collect();
    let events: Vec<_> = instances.iter().map(Instance::events).collect();
    say("ready");
    await_word();
    SENT.0.lock().expect("a count").clear();
    say("counting");
    for events in events {
        let settled = |kind: EventKind| match kind {
            EventKind::Settled { term: 2.., members } => members as usize == count,
            _ => false,
        };
        while !settled(events.recv_timeout(PATIENCE).expect("settled").kind) {}
    }
    let sent = SENT.0.lock().expect("a count").clone();
    say(&sent.iter().map(|(name, times)| format!("{name}={times}")).collect::<Vec<_>>().join(" "));
    await_word();
}
