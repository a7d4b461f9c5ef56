//! A program that joins and leaves again and again, and counts what is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use pares::Instance;

use crate::instance::{Group, changes_until};
use crate::support::PATIENCE;

fn threads() -> BTreeSet<String> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("pares-"))
        .collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(super) fn play() {
    // What the process makes once and keeps (the descriptor of the random source, for example)
    // is made first.
    drop(Group::new().join("warm"));
    let before = descriptors();
    for round in 0..10 {
        let group = Group::new();
        let mut instances: Vec<Instance> = ["a", "b", "c", "d"].map(|name| group.join(name)).into();
        let watch = instances[1].client().watch().unwrap();
        changes_until(watch.changes(), "settled with 4");
        let job = instances[0].while_supervisor(|guard| while !guard.wait(PATIENCE) {}).unwrap();
        for instance in &instances {
            assert_eq!(instance.client().call("main", "ping", b"x", PATIENCE).unwrap(), b"x");
            assert_eq!(instance.client().call("d", "ping", b"y", PATIENCE).unwrap(), b"y");
            assert_eq!(instance.client().call_all("ping", b"", PATIENCE).unwrap().len(), 4);
        }
        // The supervisor first, last, or in between.
        instances.rotate_left(round % 4);
        if round % 2 == 0 {
            drop((watch, job));
            instances.clear();
        } else {
            instances.clear();
            drop((watch, job));
        }
    }
    let deadline = Instant::now() + PATIENCE;
    // A thread that has been joined may be listed for a moment longer.
    while !threads().is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(threads(), BTreeSet::new());
    assert_eq!(descriptors(), before);
}
