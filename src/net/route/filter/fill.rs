//! What to change in the table so that it has what targets have reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::route::{FIRST, KNOWN, SILENCE};
use crate::state::route::{Conn, Target, TargetReports};

/// Connections, their targets, and how long they are still known if nothing comes of them.
pub(super) type Lasting = Vec<(Conn, Target, Duration)>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableChange {
    /// Before others become known.
    pub(super) forget: Vec<Conn>,
    pub(super) know: Vec<(Conn, Target)>,
    pub(super) no_strangers: Vec<Conn>,
}

/// Of several targets of a connection the last one.
pub(super) fn once_each(known: Vec<(Conn, Target)>) -> Vec<(Conn, Target)> {
    known.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

pub(super) fn change(known: Lasting, strangers: Vec<Conn>, reports: &TargetReports) -> TableChange {
    let TargetReports { live, other, of } = reports;
    let told: BTreeSet<Conn> = live.iter().chain(other).map(|(conn, _)| *conn).collect();
    let silent = |lasts: Duration| lasts < KNOWN - SILENCE && lasts > FIRST;
    let mut change = TableChange::default();
    let mut before: BTreeMap<Conn, Target> = BTreeMap::new();
    for (conn, target, lasts) in known {
        if told.contains(&conn) {
            before.insert(conn, target);
        } else if of.contains(&target) && silent(lasts) {
            change.forget.push(conn);
        }
    }
    let mut after = before.clone();
    let mut said = BTreeSet::new();
    for (conn, target) in live {
        if after.get(conn).is_some_and(|known| known != target) {
            after.remove(conn);
        } else {
            after.insert(*conn, *target);
        }
        said.insert(*conn);
    }
    for (conn, target) in other {
        if !after.contains_key(conn) {
            after.insert(*conn, *target);
            said.insert(*conn);
        }
    }
    // What was not known is not forgotten before: if a packet has made it known since, that fails.
    change.forget.extend(said.iter().filter(|conn| before.contains_key(conn)));
    change.know = said.iter().filter_map(|conn| Some((*conn, *after.get(conn)?))).collect();
    change.no_strangers = strangers.into_iter().filter(|conn| told.contains(conn)).collect();
    change
}
