//! The registry at one moment.

use crate::event::Role;
use crate::wire::Entry;

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
