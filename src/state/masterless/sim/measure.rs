//! The measurements of a world: which process is primary, when there are two, and when there is
//! none.

use std::collections::BTreeSet;

use super::world::{Overlap, Process, Who, World};
use crate::event::masterless::{EventKind, LeftCause};
use crate::wire::Tail;
use crate::wire::heartbeat::Status;

impl World {
    /// Returns the running primaries of a type.
    pub(super) fn primaries(&self, service: u16) -> Vec<Who> {
        let primary =
            |one: &Process| one.rules.service == service && one.is_running() && one.is_primary();
        (0..self.processes.len()).filter(|who| primary(&self.processes[*who])).collect()
    }

    pub(super) fn primary(&self) -> Who {
        match self.primaries(1)[..] {
            [one] => one,
            ref others => panic!("primaries: {others:?}"),
        }
    }

    /// Returns true if there is exactly one primary of a type.
    pub(super) fn has_one(&self, service: u16) -> bool {
        self.primaries(service).len() == 1
    }

    pub(super) fn measure(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for service in self.services() {
            let primaries = self.primaries(service);
            let meet = |(a, b): (&Who, &Who)| self.reaches(*a, *b) && self.reaches(*b, *a);
            let overlap = primaries
                .iter()
                .enumerate()
                .any(|(at, a)| primaries[at + 1..].iter().any(|b| meet((a, b))));
            match (overlap, self.overlapping.get(&service).copied()) {
                (true, None) => {
                    tell!(self, "two primaries: {primaries:?}");
                    self.overlapping.insert(service, self.now);
                }
                (false, Some(from)) => {
                    self.overlapping.remove(&service);
                    if self.now > from {
                        tell!(self, "no longer two primaries");
                        self.overlaps.push(Overlap { from, to: self.now });
                    }
                }
                (true, Some(_)) | (false, None) => {}
            }
            let led = !primaries.is_empty();
            let able = self.processes.iter().any(|one| {
                one.rules.service == service
                    && one.is_running()
                    && one.could_lead()
                    && matches!(one.machine.status(), Status::Standby | Status::ToBecomePrimary)
            });
            if led || !able {
                if let Some(from) = self.headless.remove(&service) {
                    self.longest_gap = self.longest_gap.max(self.now - from);
                }
            } else {
                self.headless.entry(service).or_insert(self.now);
            }
        }
    }

    /// Ends what is still going on.
    pub(super) fn finish(&mut self) {
        self.measure();
        for from in std::mem::take(&mut self.overlapping).into_values() {
            self.overlaps.push(Overlap { from, to: self.now });
        }
        for from in std::mem::take(&mut self.headless).into_values() {
            self.longest_gap = self.longest_gap.max(self.now - from);
        }
    }

    /// Nobody is reported as dead who was not reported as suspected before.
    pub(super) fn check_suspected(&self, who: Who, kind: &EventKind) {
        let EventKind::Left { id, cause: LeftCause::Died, .. } = kind else { return };
        let of = |one: &EventKind| match one {
            EventKind::Joined { id, .. } => Some((id.tail(), false)),
            EventKind::Suspected { id, .. } => Some((id.tail(), true)),
            _ => None,
        };
        let news = self.processes[who].news.iter().rev();
        let last = news.filter_map(|(_, one)| of(one)).find(|(tail, _)| *tail == id.tail());
        assert!(last.is_some_and(|(_, suspected)| suspected), "{id:?} died unsuspected");
    }

    pub(super) fn services(&self) -> BTreeSet<u16> {
        self.processes.iter().map(|process| process.rules.service).collect()
    }

    pub(super) fn tail(&self, who: Who) -> Tail {
        self.processes[who].machine.id().tail()
    }

    pub(super) fn living(&self) -> Vec<Who> {
        (0..self.processes.len()).filter(|who| self.processes[*who].alive).collect()
    }

    pub(super) fn count(&self, service: u16) -> usize {
        self.processes.iter().filter(|one| one.alive && one.rules.service == service).count()
    }
}
