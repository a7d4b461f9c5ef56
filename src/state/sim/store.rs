//! The group's directory in the simulated world: what it keeps, and its faults.
//!
//! The promise: no supervisorship has the term of an earlier one, or a smaller one, over the whole
//! life of the group, even when all instances die and it starts anew. A supervisorship may start
//! with an older term only where the directory does not have the last term, and no instance that
//! has had a role in that term supervises. As soon as an instance comes that knows better, its term
//! is above all others again.

use std::path::Path;

use super::*;
use crate::error::KeepError;
use crate::state::term::Last;

#[derive(Debug)]
pub(super) struct Store {
    last: Last,
    readable: bool,
    writable: bool,
    /// Something is to go wrong with it in this world.
    pub(super) in_trouble: bool,
    /// The highest term that there has been is not in it: it was restored from an older copy, could
    /// not be written, or was damaged and then written anew by a survivor that had missed the last
    /// supervisorships.
    forgotten: bool,
}

impl Store {
    pub(super) fn new(in_trouble: bool) -> Self {
        let last = Last::NONE;
        Store { last, readable: true, writable: true, in_trouble, forgotten: false }
    }

    pub(super) fn is_well(&self) -> bool {
        self.readable && self.writable
    }

    pub(super) fn read(&self) -> Result<Last, KeepError> {
        if self.readable { Ok(self.last) } else { Err(error(b"nonsense")) }
    }

    /// What is damaged is whole again once it is written.
    fn write(&mut self, last: Last) -> Result<(), KeepError> {
        if !self.writable {
            return Err(error(b"what cannot be written"));
        }
        let there = self.readable.then_some(self.last);
        (self.last, self.readable) = (last.over(there), true);
        Ok(())
    }
}

/// One as good as another: what it is decides nothing.
fn error(found: &[u8]) -> KeepError {
    KeepError::damaged(Path::new("term"), found)
}

impl World {
    /// Keeps the term of a supervisorship that is about to begin, if it is not killed before.
    pub(super) fn keep(&mut self, who: Who, term: u64) {
        if self.dies_now(who) {
            return;
        }
        assert!(
            term > self.instances[who].member.last_term(),
            "a term that this instance has seen already"
        );
        let was_readable = self.store.readable;
        let kept = self.store.write(Last { term, vacant: false });
        self.seen.term_kept_again += u64::from(kept.is_ok() && !was_readable);
        self.store.forgotten |= !was_readable && term <= self.highest_term;
        if self.dies_now(who) {
            return;
        }
        let (begins_anew, unkept) = (self.instances[who].member.last_term() == 0, kept.is_err());
        self.on(who, Outcome::Kept(kept));
        let supervises = self.instances[who].lives() && self.port == Some((who, true));
        assert!(
            !(supervises && begins_anew && unkept),
            "began the group anew with a term that was not kept"
        );
        self.seen.refused_to_begin += u64::from(begins_anew && unkept);
        self.seen.term_unkept += u64::from(supervises && unkept);
    }

    /// A supervisorship has this term from now on.
    pub(super) fn note_term(&mut self, term: u64) {
        let kept = self.store.readable && self.store.last.term == term;
        let older = term <= self.highest_term;
        assert!(!older || self.store.forgotten, "term {term} after {}", self.highest_term);
        self.seen.began_with_an_older_term += u64::from(older);
        self.astray |= older;
        if !older {
            self.highest_term = term;
            self.store.forgotten = !kept;
        }
    }

    /// A survivor knew of a higher term.
    pub(super) fn raise_term(&mut self, who: Who, term: u64) {
        assert!(self.astray, "the last term was not above all that there were");
        self.seen.raised_term += 1;
        _ = self.store.write(Last { term, vacant: false });
        self.note_term(term);
        tell!(self, "{} is in term {term} from now on", self.name(who));
    }

    /// A supervisor gives the port up in order.
    pub(super) fn keep_the_end(&mut self, who: Who, reason: Departure) -> u64 {
        let last = self.instances[who].desk().expect("a supervisor").supervisor.last(reason);
        _ = self.store.write(last);
        self.store.forgotten &= self.store.last.term < self.highest_term;
        last.term
    }

    /// Something goes wrong with the directory, or is put right.
    pub(super) fn trouble(&mut self) {
        if self.faults == 0 {
            return;
        }
        let gap = self.random.time(21);
        self.at(gap, What::Trouble);
        match self.random.below(7) {
            0..=2 => {
                let term = self.random.below(1 + self.store.last.term as usize) as u64;
                tell!(self, "the directory is an older one, with term {term}");
                self.store.last = Last { term, vacant: false };
                self.store.forgotten |= term < self.highest_term;
            }
            3 => self.store.readable = false,
            4 => self.store.writable = false,
            _ => self.put_right(),
        }
        tell!(self, "{:?}", self.store);
    }

    /// Somebody follows the error's advice: makes room, and, where nobody supervises who will do
    /// it, writes the last term into a damaged file.
    pub(super) fn put_right(&mut self) {
        self.store.writable = true;
        let nobody =
            !self.instances.iter().any(|instance| matches!(instance.doing, Doing::Supervising(_)));
        if !self.store.readable && nobody {
            self.store.last = Last { term: self.highest_term, vacant: false };
            (self.store.readable, self.store.forgotten) = (true, false);
        }
    }

    /// A supervisor whose term could not be kept tries again.
    pub(super) fn keep_again(&mut self, term: u64) {
        if self.store.forgotten || !self.store.readable {
            _ = self.store.write(Last { term, vacant: false });
            self.store.forgotten &= self.store.last.term < self.highest_term;
        }
    }
}
