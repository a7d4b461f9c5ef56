//! Questions to the group's registry, from inside
//! ([`Instance::registry`](crate::Instance::registry)) and from outside
//! ([`Admin::registry`](crate::Admin::registry)).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::error::{AskError, StartError};
use crate::event::{Change, Role};
use crate::net::client::ask::{Answered, Asker};
use crate::net::client::watch::Watcher;
use crate::net::rt::clock::deadline;
use crate::sys::Origin;
use crate::wire::{Entry, Status};

/// The group's registry, which is kept in the supervisor's process.
pub struct Registry {
    asker: Arc<Asker>,
}

/// The registry at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The number of the present supervisorship.
    pub term: u64,
    /// False as long as survivors of the last election may still be missing.
    pub settled: bool,
    /// The supervisor's unique name.
    pub supervisor: String,
    /// All instances in the order of their names, the supervisor included.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// The role of the instance `name`: `Supervisor`, or `Subordinate` for all others.
    #[must_use]
    pub fn role(&self, name: &str) -> Role {
        if name == self.supervisor { Role::Supervisor } else { Role::Subordinate }
    }

    /// The entry of the supervisor, which is also reached by the name `main`.
    #[must_use]
    pub fn main(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == self.supervisor)
    }
}

/// The registry's changes, from when it was begun until it is dropped; it goes on from one
/// supervisor to the next.
///
/// Dropping it ends its thread and connection.
pub struct Watch {
    changes: Option<Receiver<Change>>,
    /// Has ended; for a forked child, in which nobody sends.
    ended: Receiver<Change>,
    origin: Origin,
    watcher: Option<Watcher>,
}

impl Registry {
    pub(crate) fn new(asker: Arc<Asker>) -> Self {
        Registry { asker }
    }

    /// Lists all instances.
    ///
    /// Blocks for one round trip to the supervisor (none if this instance is supervisor), at most
    /// for `timeout`; asked by an instance during an election, it waits for the new supervisor.
    ///
    /// # Errors
    ///
    /// Any [`AskError`]; nothing is changed by asking.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// let listing = instance.registry().list(Duration::from_secs(2))?;
    /// assert_eq!(listing.entries.len(), 1);
    /// assert_eq!(listing.supervisor, "first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self, timeout: Duration) -> Result<Listing, AskError> {
        let Answered { term, settled, supervisor, entries } = self.asker.list(deadline(timeout))?;
        Ok(Listing { term, settled, supervisor, entries })
    }

    /// Looks up one instance by its unique name; `main` is the supervisor, whatever its name.
    ///
    /// The listing has exactly this entry. Blocks like [`list`](Registry::list).
    ///
    /// # Errors
    ///
    /// [`AskError::NoSuchInstance`] if there is none of this name. As long as the registry is not
    /// settled, it may still come back. Else any [`AskError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// # let timeout = std::time::Duration::from_secs(2);
    /// let instance = pares::Instance::join(config.name("first").meta("version", "2.4"))?;
    /// let found = instance.registry().look_up("main", timeout)?;
    /// let entry = &found.entries[0];
    /// println!("{} (pid {}) has {:?}", entry.name, entry.pid, entry.meta);
    /// assert!(instance.registry().look_up("nobody", timeout).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look_up(&self, name: &str, timeout: Duration) -> Result<Listing, AskError> {
        let Answered { term, settled, supervisor, entries } =
            self.asker.look_up(name, deadline(timeout))?;
        Ok(Listing { term, settled, supervisor, entries })
    }

    /// Asks for the state of the group: who is supervisor since when, in which term, and why.
    ///
    /// Blocks like [`list`](Registry::list).
    ///
    /// # Errors
    ///
    /// Any [`AskError`]; nothing is changed by asking.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// let status = instance.registry().status(std::time::Duration::from_secs(2))?;
    /// println!("{} supervises in term {}: {}", status.supervisor, status.term, status.cause);
    /// assert_eq!(status.members, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self, timeout: Duration) -> Result<Status, AskError> {
        self.asker.status(deadline(timeout))
    }

    /// Begins to watch the registry: first all instances that are there come as
    /// [`Joined`](crate::ChangeKind::Joined), then every change.
    ///
    /// Does not block. The watch goes on across elections, and reports an instance as gone only if
    /// it is: not because a new supervisor has not heard of it yet. A program that reads slowly
    /// delays nobody; it may miss an instance that came and went meanwhile.
    ///
    /// # Errors
    ///
    /// Any [`StartError`]; nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone().name("first"))?;
    /// let watch = first.registry().watch()?;
    /// let second = pares::Instance::join(config.name("second"))?;
    /// let came = watch.changes().iter().any(|change| match change.kind {
    ///     pares::ChangeKind::Joined(entry) => entry.name == "second",
    ///     _ => false,
    /// });
    /// assert!(came);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> Result<Watch, StartError> {
        let (watcher, changes) = Watcher::start(self.asker.clone())?;
        let (_, ended) = bounded(0);
        Ok(Watch { changes: Some(changes), ended, origin: Origin::here(), watcher: Some(watcher) })
    }
}

impl Watch {
    /// The changes. The channel ends when the watching instance has left its group.
    #[must_use]
    pub fn changes(&self) -> &Receiver<Change> {
        if self.origin.is_elsewhere() {
            return &self.ended;
        }
        self.changes.as_ref().expect("taken only by drop")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            // The thread, and whatever it has locked, is the parent's.
            std::mem::forget((self.changes.take(), self.watcher.take()));
            return;
        }
        // First the receiver: the thread may be waiting for room in it.
        self.changes = None;
        self.watcher = None;
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("group", &self.asker.pass.group).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
