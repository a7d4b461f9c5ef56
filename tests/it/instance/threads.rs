//! What an instance costs its process, and what it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use pares::{Admin, Instance};

use super::Group;
use super::groups::changes_until;
use crate::support::PATIENCE;

/// Runs `body` in a process of its own, where nothing else has threads or descriptors: this test,
/// once more.
fn alone(test: &str, body: impl FnOnce()) {
    const MARK: &str = "PARES_TEST_ALONE";
    if std::env::var(MARK).as_deref() == Ok(test) {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads", "1"])
        .env(MARK, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

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

#[test]
fn an_instance_can_be_shared_by_all_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Instance>();
    shareable::<Admin>();
    shareable::<pares::Job>();
    shareable::<pares::Watch>();
}

/// Goal: dropping leaves nothing behind, whatever was going on. Method: a process of its own;
/// instances in both roles with watches, jobs, kept connections; count before and after.
#[test]
fn dropping_leaves_no_thread_and_no_descriptor_behind() {
    alone("instance::threads::dropping_leaves_no_thread_and_no_descriptor_behind", || {
        // What the process makes once and keeps (the descriptor of the random source, for example)
        // is made first.
        drop(Group::new().join("warm"));
        let before = descriptors();
        for round in 0..10 {
            let group = Group::new();
            let mut instances: Vec<Instance> =
                ["a", "b", "c", "d"].map(|name| group.join(name)).into();
            let watch = instances[1].registry().watch().unwrap();
            changes_until(watch.changes(), "settled with 4");
            let job =
                instances[0].while_supervisor(|guard| while !guard.wait(PATIENCE) {}).unwrap();
            for instance in &instances {
                assert_eq!(instance.call("main", "ping", b"x", PATIENCE).unwrap(), b"x");
                assert_eq!(instance.call("d", "ping", b"y", PATIENCE).unwrap(), b"y");
                assert_eq!(instance.call_all("ping", b"", PATIENCE).unwrap().len(), 4);
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
    });
}
