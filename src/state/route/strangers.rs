//! Connections that the owner's table does not know: the targets are asked whose they are. What all
//! targets deny is refused; what nobody could say stays without an answer, and is asked for again
//! when its next packet comes.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::certainty::Certainty;
use super::{Conn, Millis, RouteNews, Router, RouterAction, Target, TargetReports, ms, set};
use crate::config::route::{MAX_FINDS, MAX_STRANGERS, STRANGER_LIFE};
use crate::wire::route::{MAX_KEYS, pack};
use crate::wire::{Tail, ToAgent};

/// An answer to a question of [`Strangers`].
pub(super) struct FindAnswer {
    pub(super) tail: Tail,
    pub(super) target: Target,
    pub(super) service: u16,
    pub(super) keys: Vec<(SocketAddr, u8)>,
}

/// One question to all agents.
#[derive(Debug)]
struct Finding {
    service: u16,
    /// Who has it, and how far that is certain.
    keys: BTreeMap<SocketAddr, Option<(Target, Certainty)>>,
    asked: BTreeSet<Tail>,
    waiting: BTreeSet<Tail>,
    since: Millis,
}

/// The questions that are out. Invariant: at most [`MAX_STRANGERS`] connections at a time.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    number: u32,
    out: BTreeMap<u32, Finding>,
    /// How often each has been asked for, and since when.
    tries: BTreeMap<Conn, (u8, Millis)>,
}

impl Strangers {
    pub(super) fn down(&mut self, tail: Tail) {
        // It has not answered, and is not waited for: nothing of this question is refused.
        self.out.values_mut().for_each(|finding| _ = finding.waiting.remove(&tail));
    }

    pub(super) fn forget(&mut self) {
        (self.out, self.tries) = Default::default();
    }

    /// Returns those that are to be asked for now.
    fn fresh(&mut self, found: Vec<Conn>, now: Millis) -> BTreeMap<u16, Vec<SocketAddr>> {
        self.tries.retain(|_, (_, since)| now < *since + ms(STRANGER_LIFE));
        let mut fresh: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
        for conn in found {
            let is_out = |finding: &Finding| {
                finding.service == conn.service && finding.keys.contains_key(&conn.client)
            };
            let is_known = self.tries.contains_key(&conn);
            if self.out.values().any(is_out) || !is_known && self.tries.len() == MAX_STRANGERS {
                continue;
            }
            let (tries, _) = self.tries.entry(conn).or_insert((0, now));
            if *tries < MAX_FINDS {
                *tries += 1;
                fresh.entry(conn.service).or_default().push(conn.client);
            }
        }
        fresh
    }

    pub(super) fn answered(&mut self, number: u32, answer: FindAnswer) {
        let Some(finding) = self.out.get_mut(&number) else { return };
        if finding.service != answer.service || !finding.waiting.remove(&answer.tail) {
            return;
        }
        for (client, state) in answer.keys {
            let certainty = Certainty::of(state);
            if let Some(found) = finding.keys.get_mut(&client) {
                if found.is_none_or(|(_, known)| certainty > known) {
                    *found = Some((answer.target, certainty));
                }
            }
        }
    }

    pub(super) fn due(&self, patience: Millis) -> Option<Millis> {
        self.out.values().map(|finding| finding.since + patience).min()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        assert!(self.tries.len() <= MAX_STRANGERS);
        let asked: usize = self.out.values().map(|finding| finding.keys.len()).sum();
        assert!(asked <= MAX_STRANGERS, "{asked}");
    }
}

impl Router {
    /// Asks all targets for connections that the table does not know.
    pub(super) fn find(&mut self, found: Vec<Conn>, out: &mut Vec<RouterAction>) {
        if !self.is_owner() {
            return;
        }
        let agents: Vec<Tail> = self.asking.agents().collect();
        for (service, clients) in self.strangers.fresh(found, self.now) {
            for clients in clients.chunks(MAX_KEYS) {
                self.strangers.number = self.strangers.number.wrapping_add(1);
                let number = self.strangers.number;
                let keys: Vec<(SocketAddr, u8)> = clients.iter().map(|one| (*one, 0)).collect();
                let find = ToAgent::Find { number, service, keys: pack(&keys) };
                out.extend(agents.iter().map(|tail| RouterAction::ToAgent(*tail, find.clone())));
                let finding = Finding {
                    service,
                    keys: clients.iter().map(|client| (*client, None)).collect(),
                    asked: set(agents.iter().copied()),
                    waiting: set(agents.iter().copied()),
                    since: self.now,
                };
                self.strangers.out.insert(number, finding);
            }
        }
    }

    /// Takes in what has been answered, when all have, or have had the time to.
    pub(super) fn end_finds(&mut self, out: &mut Vec<RouterAction>) {
        if !self.is_owner() {
            self.strangers.forget();
            return;
        }
        let (now, patience) = (self.now, self.rules.interval);
        let is_over = |one: &Finding| one.waiting.is_empty() || now >= one.since + patience;
        let over: Vec<u32> = self
            .strangers
            .out
            .iter()
            .filter(|(_, finding)| is_over(finding))
            .map(|(number, _)| *number)
            .collect();
        for finding in
            over.iter().filter_map(|number| self.strangers.out.remove(number)).collect::<Vec<_>>()
        {
            self.end_find(finding, out);
        }
    }

    fn end_find(&mut self, finding: Finding, out: &mut Vec<RouterAction>) {
        // Whoever came since may have it, and whoever is gone may have had it.
        let asked_all = finding.waiting.is_empty()
            && self.asking.agents().all(|tail| finding.asked.contains(&tail))
            && finding.asked.iter().all(|tail| self.asking.target(*tail).is_some());
        let may_refuse = asked_all && self.lease && self.is_settled() && self.handing_to.is_none();
        let (mut reports, mut denied) = (TargetReports::default(), Vec::new());
        for (client, found) in finding.keys {
            let conn = Conn { service: finding.service, client };
            match found {
                Some((_, Certainty::Perhaps)) if !asked_all => {}
                Some((target, certainty)) => reports.push(conn, target, certainty),
                None => denied.push(conn),
            }
        }
        if reports != TargetReports::default() {
            out.push(RouterAction::Fill(reports));
        }
        if may_refuse && !denied.is_empty() {
            out.push(RouterAction::Tell(RouteNews::Refused { connections: denied.len() }));
            out.push(RouterAction::Refuse(denied));
        }
    }
}
