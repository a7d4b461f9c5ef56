//! What is measured: instances in processes of their own.

use std::path::Path;
use std::thread;

use pares::{Config, EventKind, Instance};

use crate::drive::{Slot, now, obey, obey_with_threads, say, until_the_bench_ends};
use crate::helper::DEADLINE;

/// The name of the first instance, and of its function that gives back what it gets.
pub(crate) const FIRST: &str = "first";
pub(crate) const ECHO_FUNCTION: &str = "echo";

/// The resource whose permits are taken and given back; nobody has to wait for them.
pub(crate) const RESOURCE: &str = "connections";

/// The setting that is seen by all; its value is the round.
pub(crate) const KEY: &str = "round";

pub(crate) fn config(port: u16, directory: &Path) -> Config {
    Config::new("bench")
        .port(port)
        .state_directory(directory)
        .join_timeout(DEADLINE)
        .resource(pares::Resource::new(RESOURCE, 1000))
}

/// An instance that is supervisor, and can be called.
pub(crate) fn first(port: u16, directory: &Path) -> ! {
    let config = config(port, directory).name(FIRST);
    let instance = Instance::join(
        config.admin_function(ECHO_FUNCTION, "gives it back", |bytes| Ok(bytes.to_vec())),
    );
    let instance = instance.expect("join");
    assert!(instance.is_supervisor(), "the port was free");
    say("ready", now(), port.into());
    until_the_bench_ends()
}

/// Says whenever its role changes, and as supervisor who is back.
pub(crate) fn member(port: u16, directory: &Path) -> ! {
    let instance = Instance::join(config(port, directory)).expect("join");
    let events = instance.events();
    say("present", now(), 0);
    thread::spawn(move || {
        for event in events {
            match event.kind {
                EventKind::Supervisor { .. } => say("leader", event.monotonic_ns, 0),
                EventKind::Settled { members, .. } if instance.is_supervisor() => {
                    say("settled", event.monotonic_ns, members.into());
                }
                _ => {}
            }
        }
    });
    until_the_bench_ends()
}

/// So many instances with a thread each that takes a permit and gives it back.
pub(crate) fn holders(port: u16, directory: &Path, number: u64) -> ! {
    let worker = |_| {
        let instance = Instance::join(config(port, directory)).expect("join");
        move || drop(instance.acquire(RESOURCE, 1).expect("a permit"))
    };
    obey_with_threads((0..number).map(worker).collect())
}

/// Notes when it has seen a setting.
pub(crate) fn seer(port: u16, directory: &Path, slots: &Path, number: u64) -> ! {
    let slot = Slot::open(slots, number);
    let instance = Instance::join(config(port, directory)).expect("join");
    let events = instance.events();
    thread::spawn(move || {
        for event in events {
            if let EventKind::Setting { value: Some(value), .. } = event.kind {
                slot.seen(value.parse().expect("a round"));
            }
        }
    });
    say("ready", now(), 0);
    until_the_bench_ends()
}

/// So many instances that do nothing.
pub(crate) fn subordinates(port: u16, directory: &Path, number: u64) -> ! {
    let join = |_| Instance::join(config(port, directory)).expect("join");
    let _instances: Vec<Instance> = (0..number).map(join).collect();
    say("ready", now(), number);
    until_the_bench_ends()
}

/// Joins as many instances as it is told, one after the other. Asked to look, it answers when one
/// of them was elected, when that one was settled, and how many instances it had then.
pub(crate) fn crowd(port: u16, directory: &Path) -> ! {
    let mut instances = Vec::new();
    // Who was elected, when; when it was settled, with how many.
    let (mut leader, mut known, mut settled, mut members) = (None, 0, 0, 0);
    obey(move |word, number| {
        if word == "join" {
            instances.extend((0..number).map(|_| {
                let instance =
                    Instance::join(config(port, directory).event_capacity(16)).expect("join");
                let events = instance.events();
                (instance, events)
            }));
            return vec![number];
        }
        // Noted by the library as they happen; read only now, so that nobody had to be woken for
        // them.
        for (who, (_, events)) in instances.iter().enumerate() {
            for event in events.try_iter() {
                match event.kind {
                    EventKind::Supervisor { .. } => {
                        (leader, known) = (Some(who), event.monotonic_ns)
                    }
                    EventKind::Settled { members: number, .. } if leader == Some(who) => {
                        (settled, members) = (event.monotonic_ns, number.into());
                    }
                    _ => {}
                }
            }
        }
        vec![known, settled, members]
    })
}
