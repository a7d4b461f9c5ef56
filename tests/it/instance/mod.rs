//! What a program holds: instances in this process, on real sockets.

use std::path::PathBuf;
use std::time::Instant;

use pares::{Change, ChangeKind, Config, Event, EventKind, Instance};
use tempfile::TempDir;

use crate::raw::free_port;
use crate::support::PATIENCE;

mod calls;
mod groups;
mod jobs;
mod roles;
mod threads;

/// A group of its own for one test: a port that was free, and a directory that goes with it.
pub(crate) struct Group {
    config: Config,
    directory: PathBuf,
    _removed_at_the_end: TempDir,
}

impl Group {
    pub(crate) fn new() -> Self {
        let port = free_port();
        let home = tempfile::tempdir().expect("a directory for the test");
        // Which is made by the first instance.
        let directory = home.path().join("state");
        let config =
            Config::new("test").port(port).state_directory(&directory).answer_timeout(PATIENCE);
        Group { config, directory, _removed_at_the_end: home }
    }

    pub(crate) fn join(&self, name: &str) -> Instance {
        Instance::join(self.config.clone().name(name)).unwrap()
    }
}

#[track_caller]
fn expect(events: &pares::Events<Event>, wanted: impl Fn(&EventKind) -> bool) -> EventKind {
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

/// The next changes up to the one wanted, in words.
#[track_caller]
pub(crate) fn changes_until(changes: &pares::Events<Change>, last: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some(last) {
        let change = changes
            .recv_deadline(deadline)
            .unwrap_or_else(|error| panic!("{error}; seen: {seen:?}"));
        seen.push(match change.kind {
            ChangeKind::Joined { entry } => format!("+{}", entry.name),
            ChangeKind::Left { name, cause } => format!("-{name} {cause}"),
            ChangeKind::Supervisor { name, term } => format!("{name} in term {term}"),
            ChangeKind::Settled { members, .. } => format!("settled with {members}"),
            other => format!("{other:?}"),
        });
    }
    seen
}
