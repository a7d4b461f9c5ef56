//! The registry at one moment.

use crate::event::Role;
use crate::wire::Entry;

/// The registry at one moment.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The term: the number of the present supervisorship.
    pub term: u64,
    /// False while survivors of the last election may still be missing.
    pub settled: bool,
    /// The supervisor's unique name.
    pub supervisor: String,
    /// All instances in the order of their names, the supervisor included.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// Returns the role of the instance `name`: `Supervisor`, or `Subordinate` for every other
    /// name.
    #[must_use]
    pub fn role(&self, name: &str) -> Role {
        if name == self.supervisor { Role::Supervisor } else { Role::Subordinate }
    }

    /// Returns the supervisor's entry, which the name `main` also reaches.
    #[must_use]
    pub fn main(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == self.supervisor)
    }
}
