//! The registry: the instances of the group, and the last changes.
//!
//! Invariant: an entry is here exactly as long as its instance's lifeline is open (the supervisor's
//! own entry: as long as it is supervisor), and applying the kept changes to an older copy results
//! in the present one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::config::CHANGE_LOG;
use crate::wire::{Entry, LeftCause};

/// One change of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(Arc<Entry>),
    Left(String, LeftCause),
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: BTreeMap<String, Arc<Entry>>,
    /// The last changes, oldest first; the newest has number `next - 1`.
    changes: VecDeque<Change>,
    next: u64,
}

impl Registry {
    /// Enters `entry`, in place of an older one of the same name.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        let before = self.entries.insert(entry.name.clone(), entry.clone());
        // An instance that comes back after its link was cut has not left, so it does not join.
        if before.as_ref() != Some(&entry) {
            self.log(Change::Joined(entry));
        }
    }

    /// Removes the entry of `name`, if there is one.
    pub(crate) fn remove(&mut self, name: &str, cause: LeftCause) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(name)?;
        self.log(Change::Left(name.to_owned(), cause));
        Some(entry)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.get(name)
    }

    /// Returns all entries in the order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number that the next change will have: a cursor that has seen everything.
    pub(crate) fn version(&self) -> u64 {
        self.next
    }

    /// Returns the changes from number `cursor` on, or `None` if some of them are no longer kept.
    pub(crate) fn since(&self, cursor: u64) -> Option<impl Iterator<Item = &Change>> {
        let oldest = self.next - self.changes.len() as u64;
        (cursor >= oldest).then(|| {
            self.changes.range((cursor - oldest).min(self.changes.len() as u64) as usize..)
        })
    }

    fn log(&mut self, change: Change) {
        if self.changes.len() == CHANGE_LOG {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.next += 1;
    }
}

#[cfg(test)]
pub(crate) fn test_entry(name: &str, id: u64, admin_port: u16) -> Entry {
    Entry {
        name: name.into(),
        id,
        pid: 1,
        uid: 0,
        admin_port,
        joined_ms: 0,
        meta: vec![],
        functions: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_since_a_cursor_lead_from_the_old_copy_to_the_new_one() {
        let mut registry = Registry::default();
        registry.insert(test_entry("a", 1, 1));
        let cursor = registry.version();
        registry.insert(test_entry("b", 2, 2));
        registry.remove("a", LeftCause::Died);
        registry.remove("nobody", LeftCause::Died);
        let changes: Vec<_> = registry.since(cursor).unwrap().cloned().collect();
        assert_eq!(
            changes,
            [
                Change::Joined(Arc::new(test_entry("b", 2, 2))),
                Change::Left("a".into(), LeftCause::Died)
            ]
        );
        assert_eq!(registry.since(registry.version()).unwrap().count(), 0);
    }

    #[test]
    fn who_is_too_far_behind_is_told_so() {
        let mut registry = Registry::default();
        for round in 0..CHANGE_LOG as u64 {
            registry.insert(test_entry("a", round, 1));
        }
        assert_eq!(registry.since(0).unwrap().count(), CHANGE_LOG);
        registry.insert(test_entry("a", u64::MAX, 1));
        assert!(registry.since(0).is_none());
    }

    #[test]
    fn an_instance_that_comes_back_unchanged_has_neither_left_nor_joined() {
        let mut registry = Registry::default();
        registry.insert(test_entry("a", 1, 1));
        registry.insert(test_entry("a", 1, 1));
        assert_eq!(registry.version(), 1);
    }
}
