//! What a program holds: instances in this process, on real sockets.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use pares::channel::Receiver;
use pares::{Config, Event, EventKind, Instance};

use crate::raw::free_port;
use crate::support::PATIENCE;

mod calls;
mod groups;
mod jobs;
mod roles;
mod threads;

/// A group of its own for one test: a port that was free, and a directory that goes with it.
struct Group {
    config: Config,
    directory: PathBuf,
}

impl Group {
    fn new() -> Self {
        let port = free_port();
        let directory =
            std::env::temp_dir().join(format!("pares-instance-{}-{port}", std::process::id()));
        Group { config: Config::new("test").port(port).directory(&directory), directory }
    }

    fn join(&self, name: &str) -> Instance {
        Instance::join(self.config.clone().name(name)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.directory);
    }
}

#[track_caller]
fn expect(events: &Receiver<Event>, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
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
