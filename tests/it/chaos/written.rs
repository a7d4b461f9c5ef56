//! What the workers wrote into their file, and what of it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::actors::word;

/// The values of one setting. Each has its writer's name and number: those of one writer grow, and
/// no two write at once.
#[derive(Default)]
pub(super) struct Written {
    /// The last value that was acknowledged.
    pub(super) set: Option<String>,
    /// What the living writer has tried last.
    pub(super) tried: Option<String>,
    /// What the dead tried last and were not answered: it may have come late, and be the last word.
    pub(super) adrift: BTreeSet<String>,
}

impl Written {
    pub(super) fn may_be(&self, present: Option<&String>) -> bool {
        present == self.set.as_ref()
            || present == self.tried.as_ref()
            || present.is_some_and(|one| self.adrift.contains(one))
    }

    /// Its writer is dead.
    pub(super) fn end(&mut self) {
        self.adrift.extend(self.tried.take().filter(|tried| self.set.as_ref() != Some(tried)));
    }
}

/// What all have said.
#[derive(Default)]
pub(super) struct Told {
    /// Who became supervisor last.
    pub(super) supervisor: (u64, String),
    pub(super) granted: Vec<(u64, u64)>,
    pub(super) permits: u64,
    pub(super) waited: Vec<(u64, Duration, Vec<u32>)>,
    pub(super) written: BTreeMap<String, Written>,
    pub(super) acknowledged: u64,
    pub(super) violations: Vec<String>,
}

impl Told {
    /// Takes a line; gives its words if they are an answer to an order.
    pub(super) fn note(&mut self, name: &str, line: &str) -> Option<String> {
        let words = word(line)?;
        let (kind, rest) = words.split_once(' ').unwrap_or((words, ""));
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields[at].parse::<u64>().unwrap();
        match kind {
            "supervisor" if number(0) > self.supervisor.0 => {
                self.supervisor = (number(0), name.into())
            }
            "supervisor" | "joined" => {}
            "ten" => self.permits += 10,
            "granted" => self.granted.push((number(0), number(1))),
            "waited" => {
                let holders =
                    fields[2].split(',').map(|holder| holder.parse().unwrap_or(0)).collect();
                self.waited.push((number(0), Duration::from_micros(number(1)), holders));
            }
            "tried" => {
                self.written.entry(fields[0].into()).or_default().tried =
                    Some(fields[1..].join(" "))
            }
            "set" => {
                self.acknowledged += 1;
                self.written.entry(fields[0].into()).or_default().set = Some(fields[1..].join(" "));
            }
            "violation:" => self.violations.push(format!("{name}: {rest}")),
            _ => return Some(words.to_owned()),
        }
        None
    }
}
