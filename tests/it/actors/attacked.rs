//! Instances of a group that is attacked.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use pares::{Config, Instance};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Actor, given, given_place, orders, say};
use crate::hostile::{GROUP, raise_limits};

fn config(name: &str) -> Config {
    given_place(GROUP).name(name)
}

/// A supervisor and a subordinate.
pub(super) fn serve() {
    raise_limits();
    if let Ok(files) = given("FILES").parse() {
        setrlimit(Resource::Nofile, Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) })
            .unwrap();
    }
    let boss = Instance::join(config("boss")).unwrap();
    let worker = Instance::join(config("worker")).unwrap();
    let status = boss.client().status().unwrap();
    say(&format!("ready {} {}", status.registry_port, worker.entry().admin_port));
    let mut watch = None;
    for order in orders() {
        if let Some(files) = order.strip_prefix("files ") {
            let current = Some(files.parse().unwrap());
            setrlimit(Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) }).unwrap();
            say("limited");
            continue;
        }
        assert_eq!(order, "watch");
        let started = boss.client().watch().unwrap();
        let changes = started.changes().as_ref().clone();
        thread::spawn(move || {
            changes.iter().for_each(|change| say(&format!("change {:?}", change.kind)))
        });
        watch = Some(started);
    }
    drop(watch);
}

/// One that joins when it is told to.
pub(super) fn join() {
    raise_limits();
    let mut orders = orders();
    say("here");
    orders.next();
    let began = Instant::now();
    let timeout = Duration::from_millis(given("TIMEOUT").parse().unwrap());
    match Instance::join(config(&given("NAME")).join_timeout(timeout)) {
        Ok(instance) => {
            say(&format!("joined {} {}", instance.role(), instance.term()));
            let events = instance.events();
            thread::spawn(move || {
                events.iter().for_each(|event| say(&format!("event {:?}", event.kind)))
            });
            orders.for_each(drop);
        }
        Err(error) => {
            let debug = format!("{error:?}");
            let variant = debug.split([' ', '(']).next().unwrap();
            say(&format!("failed {} {variant} {error}", began.elapsed().as_millis()));
            orders.for_each(drop);
        }
    }
}

impl Actor {
    /// CPU time used so far, in clock ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}
