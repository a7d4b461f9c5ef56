//! What a watcher believes of the registry, across supervisors: it turns listings and changes into
//! changes.
//!
//! Invariant: the changes reported so far, applied in order, result in `known`. A name is never
//! reported as gone only because a new supervisor has not heard of it yet, and not before the new
//! supervisor says that it is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::ChangeKind;
use crate::wire::{Entry, LeftCause, News};

#[derive(Debug, Default)]
pub(crate) struct View {
    known: BTreeMap<String, Entry>,
    supervisor: String,
    term: u64,
    settled: bool,
    /// Names that the present supervisor has not confirmed.
    unconfirmed: BTreeSet<String>,
    /// Entries of a listing that are still to come.
    expected: u32,
}

impl View {
    /// Takes a message of the supervisor. Returns false if it has no place in a watch.
    pub(crate) fn on(&mut self, news: News, changes: &mut Vec<ChangeKind>) -> bool {
        match news {
            News::Listing { term, settled, supervisor, count } => {
                if (term, &supervisor) != (self.term, &self.supervisor) {
                    (self.term, self.supervisor) = (term, supervisor.clone());
                    changes.push(ChangeKind::Supervisor { name: supervisor, term });
                    self.settled = false;
                }
                self.unconfirmed = self.known.keys().cloned().collect();
                self.expected = count;
                // Known gone only once the whole listing is here.
                if settled && count == 0 {
                    self.settle(changes);
                } else if settled {
                    self.settled = true;
                }
                true
            }
            News::Member { entry } => {
                if self.expected == 0 {
                    return false;
                }
                self.expected -= 1;
                self.insert(Arc::unwrap_or_clone(entry), changes);
                if self.expected == 0 && self.settled {
                    self.settle(changes);
                }
                true
            }
            News::Joined { entry } => {
                self.insert(Arc::unwrap_or_clone(entry), changes);
                true
            }
            News::Left { name, cause } => {
                self.unconfirmed.remove(&name);
                self.remove(name, cause, changes);
                true
            }
            News::State { term, settled, .. } => {
                if term != self.term {
                    self.term = term;
                    changes.push(ChangeKind::Supervisor { name: self.supervisor.clone(), term });
                }
                if settled && !self.settled {
                    self.settled = true;
                    self.settle(changes);
                }
                true
            }
        }
    }

    /// Notes that the supervisor is gone. What is known stays until its successor corrects it.
    pub(crate) fn lost(&mut self, changes: &mut Vec<ChangeKind>) {
        if !self.supervisor.is_empty() {
            self.supervisor.clear();
            changes.push(ChangeKind::Contending);
        }
        (self.settled, self.expected) = (false, 0);
    }

    /// Notes that the supervisor knows all survivors: an unconfirmed name is gone.
    fn settle(&mut self, changes: &mut Vec<ChangeKind>) {
        self.settled = true;
        for name in std::mem::take(&mut self.unconfirmed) {
            self.remove(name, LeftCause::Died, changes);
        }
        changes.push(ChangeKind::Settled { term: self.term, members: self.known.len() as u32 });
    }

    fn insert(&mut self, entry: Entry, changes: &mut Vec<ChangeKind>) {
        self.unconfirmed.remove(&entry.name);
        match self.known.get(&entry.name) {
            Some(known) if *known == entry => return,
            // Another life of the same name.
            Some(known) if known.id != entry.id => {
                self.remove(entry.name.clone(), LeftCause::Died, changes)
            }
            Some(_) | None => {}
        }
        self.known.insert(entry.name.clone(), entry.clone());
        changes.push(ChangeKind::Joined { entry });
    }

    fn remove(&mut self, name: String, cause: LeftCause, changes: &mut Vec<ChangeKind>) {
        if self.known.remove(&name).is_some() {
            changes.push(ChangeKind::Left { name, cause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::test_entry;
    use super::*;

    fn member(name: &str, id: u64) -> News {
        News::Member { entry: test_entry(name, id, 1).into() }
    }

    fn listing(term: u64, settled: bool, count: u32) -> News {
        News::Listing { term, settled, supervisor: format!("s{term}"), count }
    }

    /// What changes when these messages come, in words.
    fn story(view: &mut View, messages: impl IntoIterator<Item = News>) -> Vec<String> {
        let mut changes = Vec::new();
        for message in messages {
            assert!(view.on(message, &mut changes));
        }
        words(&changes)
    }

    fn words(changes: &[ChangeKind]) -> Vec<String> {
        let word = |change: &ChangeKind| match change {
            ChangeKind::Joined { entry } => format!("+{}", entry.name),
            ChangeKind::Left { name, cause } => format!("-{name} {cause}"),
            ChangeKind::Supervisor { name, term } => format!("{name} {term}"),
            ChangeKind::Settled { members, .. } => format!("settled {members}"),
            ChangeKind::Contending => "contending".into(),
        };
        changes.iter().map(word).collect()
    }

    fn watching() -> View {
        let mut view = View::default();
        let began = story(&mut view, [listing(1, true, 2), member("a", 1), member("b", 2)]);
        assert_eq!(began, ["s1 1", "+a", "+b", "settled 2"]);
        view
    }

    #[test]
    fn a_failover_shows_only_who_really_left() {
        let mut view = watching();
        let mut changes = Vec::new();
        view.lost(&mut changes);
        assert_eq!(words(&changes), ["contending"]);
        let listed = story(&mut view, [listing(2, false, 1), member("b", 2)]);
        assert_eq!(listed, ["s2 2"], "a may still come back");
        let state = News::State { term: 2, settled: true, members: 1 };
        assert_eq!(story(&mut view, [state]), ["-a died", "settled 1"]);
    }

    #[test]
    fn a_survivor_that_comes_back_has_neither_left_nor_joined() {
        let mut view = watching();
        view.lost(&mut Vec::new());
        let messages = [
            listing(2, false, 1),
            member("b", 2),
            News::Joined { entry: test_entry("a", 1, 1).into() },
        ];
        assert_eq!(story(&mut view, messages), ["s2 2"]);
        let state = News::State { term: 2, settled: true, members: 2 };
        assert_eq!(story(&mut view, [state]), ["settled 2"]);
    }

    #[test]
    fn another_life_of_the_same_name_is_a_death_and_a_join() {
        let mut view = watching();
        view.lost(&mut Vec::new());
        let messages = [listing(2, true, 2), member("a", 9), member("b", 2)];
        assert_eq!(story(&mut view, messages), ["s2 2", "-a died", "+a", "settled 2"]);
    }

    #[test]
    fn how_the_supervisor_before_went_is_told_by_its_successor() {
        let mut view = watching();
        view.lost(&mut Vec::new());
        let left = News::Left { name: "a".into(), cause: LeftCause::Left };
        assert_eq!(
            story(&mut view, [listing(2, false, 1), member("b", 2), left]),
            ["s2 2", "-a left"]
        );
    }

    #[test]
    fn a_new_listing_for_one_who_was_behind_corrects_everything() {
        let mut view = watching();
        let messages = [listing(1, true, 2), member("b", 2), member("c", 3)];
        assert_eq!(story(&mut view, messages), ["+c", "-a died", "settled 2"]);
    }

    #[test]
    fn an_entry_outside_a_listing_is_nonsense() {
        assert!(!watching().on(member("x", 1), &mut Vec::new()));
    }
}
