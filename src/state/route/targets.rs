//! What a router knows of its targets.
//!
//! | a target is | while | new connections | its connections |
//! |---|---|---|---|
//! | up | its agent has a connection to this router | if it has a listener, is fit and does not drain | are its |
//! | quiet | its agent has none, and its host may live | for ten seconds, as before | are its |
//! | dead | the group says that its agent died, and its host does not answer | none | are refused |

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::slots::Candidate;
use super::{HERE, Millis, RouteRules, Target, TargetCondition, TargetView, ms};
use crate::config::route::{MAX_TARGETS, QUIET_GRACE};
use crate::wire::{Host, Tail, TargetState};

/// Workloads of this and more are of the class that is spared while the first router is away.
const BUSY: u16 = 3 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetLife {
    Up,
    Quiet {
        since: Millis,
        /// When its host was last asked whether it lives.
        probed_at: Option<Millis>,
        question: HostQuestion,
    },
    Dead,
}

/// Whether the host of a quiet target is being asked. It is asked twice: it may have been switched
/// on again since the first question, and have connections that it accepted since. From the second
/// on nothing is sent to it, so that what it then has is as dead as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostQuestion {
    None,
    First,
    Second,
}

/// What follows from the answer of a target's host, or from none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Open,
    /// Send it nothing, and ask again.
    AskAgain(Host),
    /// It lives: send it what is its again.
    Lives(Host),
    Dead,
}

#[derive(Clone, Debug)]
struct TargetRecord {
    /// The label of its agent.
    name: String,
    host: Host,
    /// The agents that speak for it: one, or two while one takes over from the other.
    agents: BTreeSet<Tail>,
    /// The one that spoke last.
    agent: Option<Tail>,
    life: TargetLife,
    /// The group says that its agent has died.
    died: bool,
    now: TargetState,
    weight: u16,
    ordered_weight: Option<u16>,
    draining: bool,
    workload: u16,
}

impl TargetRecord {
    /// One that has not spoken yet.
    fn quiet(host: Host, now: Millis) -> Self {
        TargetRecord {
            name: String::new(),
            host,
            agents: BTreeSet::new(),
            agent: None,
            life: TargetLife::Quiet { since: now, probed_at: None, question: HostQuestion::None },
            died: false,
            now: TargetState::default(),
            weight: 1,
            ordered_weight: None,
            draining: false,
            workload: 0,
        }
    }

    /// Returns its weight: an operator's, that of the list, or its own; `None` if it is not listed.
    fn weight_by(&self, rules: &RouteRules) -> Option<u16> {
        let listed = match &rules.candidates {
            None => self.weight,
            Some(list) => list.iter().find(|(address, _)| self.host.has(*address))?.1,
        };
        Some(self.ordered_weight.unwrap_or(listed))
    }
}

/// The targets by their numbers. Invariant: at most [`MAX_TARGETS`].
pub(super) struct Targets {
    all: BTreeMap<Target, TargetRecord>,
    own: Host,
}

impl Targets {
    /// `known` are those of an earlier process of this host.
    pub(super) fn new(
        rules: &RouteRules,
        known: impl Iterator<Item = (Target, Host)>,
        now: Millis,
    ) -> Self {
        let mut targets = Targets { all: BTreeMap::new(), own: rules.host };
        for (number, host) in known {
            targets.all.insert(number, TargetRecord::quiet(host, now));
        }
        targets.expect(rules, now);
        targets
    }

    /// Takes note of the targets on the list: until one of them has spoken, or is dead, it may have
    /// connections that nobody else knows of.
    pub(super) fn expect(&mut self, rules: &RouteRules, now: Millis) {
        for (address, _) in rules.candidates.iter().flatten() {
            if self.at(*address).next().is_none() {
                let one = Some(*address);
                let (v4, v6) = if address.is_ipv4() { (one, None) } else { (None, one) };
                let host = Host { v4, v6, mac: [0; 6] };
                let number = if self.own.is(&host) { Some(HERE) } else { self.free() };
                let record = TargetRecord::quiet(host, now);
                self.all.extend(number.map(|number| (number, record)));
            }
        }
    }

    /// Takes in an agent. Returns its target's number, and true if its packets must be sent
    /// elsewhere than before; `None` if there are too many.
    pub(super) fn up(
        &mut self,
        tail: Tail,
        name: &str,
        host: Host,
        weight: u16,
        now: Millis,
    ) -> Option<(Target, bool)> {
        let known = self.all.iter().find(|(_, one)| one.host.is(&host)).map(|(number, _)| *number);
        let number = match known {
            Some(number) => number,
            None if self.own.is(&host) => HERE,
            None => self.free()?,
        };
        let mut moved = false;
        let one = self.all.entry(number).or_insert_with(|| {
            moved = true;
            TargetRecord::quiet(host, now)
        });
        let is_held = matches!(one.life, TargetLife::Quiet { question: HostQuestion::Second, .. });
        moved |= one.host != host || one.life == TargetLife::Dead || is_held;
        (one.host, one.weight, one.agent) = (host, weight, Some(tail));
        name.clone_into(&mut one.name);
        (one.life, one.died) = (TargetLife::Up, false);
        one.agents.insert(tail);
        Some((number, moved && number != HERE))
    }

    /// Returns a number that no target has; if there is none, that of a dead target.
    fn free(&mut self) -> Option<Target> {
        let free = (HERE + 1..=MAX_TARGETS).find(|number| !self.all.contains_key(number));
        let dead =
            || self.all.iter().find(|(_, one)| one.life == TargetLife::Dead).map(|(at, _)| *at);
        let number = free.or_else(dead)?;
        self.all.remove(&number);
        Some(number)
    }

    /// Returns a target's name and its host, for people.
    pub(super) fn named(&self, number: Target) -> (String, IpAddr) {
        let one = self.all.get(&number).map(|one| (one.name.clone(), one.host.any()));
        one.unwrap_or_else(|| (String::new(), self.own.any()))
    }

    /// Returns the target if nobody speaks for it any more.
    pub(super) fn down(&mut self, tail: Tail, now: Millis) -> Option<Target> {
        let (number, one) = self.all.iter_mut().find(|(_, one)| one.agents.contains(&tail))?;
        one.agents.remove(&tail);
        if !one.agents.is_empty() {
            return None;
        }
        one.life = TargetLife::Quiet { since: now, probed_at: None, question: HostQuestion::None };
        Some(*number)
    }

    /// Takes note that an agent has left the group. Returns its target if nothing is left of it.
    pub(super) fn member_gone(&mut self, tail: Tail, died: bool) -> Option<Target> {
        let is_its = |one: &&mut TargetRecord| one.agent == Some(tail);
        let number = *self.all.iter_mut().find(|(_, one)| is_its(one))?.0;
        let one = self.all.get_mut(&number)?;
        one.died |= died;
        // Its operator has taken it away.
        let is_quiet = matches!(one.life, TargetLife::Quiet { .. });
        let is_left = !died && is_quiet && one.now.connections == 0;
        is_left.then(|| {
            self.all.remove(&number);
            number
        })
    }

    pub(super) fn state(&mut self, tail: Tail, state: TargetState) {
        if let Some(one) = self.all.values_mut().find(|one| one.agent == Some(tail)) {
            one.now = state;
        }
    }

    pub(super) fn workload(&mut self, tail: Tail, workload: u16) {
        if let Some(one) = self.all.values_mut().find(|one| one.agent == Some(tail)) {
            // Smoothed: one beat says little.
            one.workload = ((3 * u32::from(one.workload) + u32::from(workload)).div_ceil(4)) as u16;
        }
    }

    pub(super) fn drain(&mut self, target: IpAddr, on: bool) {
        self.at(target).for_each(|one| one.draining = on);
    }

    pub(super) fn weigh(&mut self, target: IpAddr, weight: u16) {
        self.at(target).for_each(|one| one.ordered_weight = Some(weight));
    }

    fn at(&mut self, address: IpAddr) -> impl Iterator<Item = &mut TargetRecord> {
        self.all.values_mut().filter(move |one| one.host.has(address))
    }

    pub(super) fn draining(&self) -> Vec<IpAddr> {
        let one = |one: &TargetRecord| one.host.v4.or(one.host.v6);
        self.all.values().filter(|one| one.draining).filter_map(one).collect()
    }

    /// Returns the targets whose agents have died and whose hosts must be asked, each no more often
    /// than every `every`.
    pub(super) fn due_probes(
        &mut self,
        now: Millis,
        every: Millis,
        is_member: impl Fn(Tail) -> bool,
    ) -> Vec<(Target, Host)> {
        let mut due = Vec::new();
        // This host lives.
        for (number, one) in self.all.iter_mut().filter(|(number, _)| **number != HERE) {
            let TargetLife::Quiet { since, probed_at, question } = &mut one.life else { continue };
            // One of whose agent the group has never said anything: it spoke to an earlier process
            // of this host, or died before it had joined.
            one.died |= !one.agent.is_some_and(&is_member) && now >= *since + every;
            if one.died && probed_at.is_none_or(|at| now >= at + every) {
                // What nothing is sent to stays so until it answers.
                *probed_at = Some(now);
                if *question != HostQuestion::Second {
                    *question = HostQuestion::First;
                }
                due.push((*number, one.host));
            }
        }
        due
    }

    /// Takes note whether a target's host has answered. `may_be_us`: nobody else speaks to this
    /// router either, so that it may be the one that is cut off.
    pub(super) fn probed(
        &mut self,
        number: Target,
        alive: bool,
        may_be_us: bool,
        now: Millis,
    ) -> Answer {
        let Some(one) = self.all.get_mut(&number) else { return Answer::Open };
        // Its agent may be back.
        let TargetLife::Quiet { question, probed_at, .. } = &mut one.life else {
            return Answer::Open;
        };
        match (*question, alive) {
            (HostQuestion::None, _) => Answer::Open,
            (HostQuestion::First, true) => {
                *question = HostQuestion::None;
                Answer::Open
            }
            (HostQuestion::First, false) => {
                (*question, *probed_at) = (HostQuestion::Second, Some(now));
                Answer::AskAgain(one.host)
            }
            (HostQuestion::Second, true) => {
                *question = HostQuestion::None;
                Answer::Lives(one.host)
            }
            (HostQuestion::Second, false) if may_be_us => Answer::Open,
            (HostQuestion::Second, false) => {
                one.life = TargetLife::Dead;
                Answer::Dead
            }
        }
    }

    /// Returns true if there are targets, and none has a connection.
    pub(super) fn is_idle(&self) -> bool {
        let is_idle = |one: &TargetRecord| one.now.connections == 0;
        !self.is_any_quiet() && !self.all.is_empty() && self.all.values().all(is_idle)
    }

    pub(super) fn is_any_quiet(&self) -> bool {
        self.all.values().any(|one| matches!(one.life, TargetLife::Quiet { .. }))
    }

    /// Returns true if this router's host is a target.
    pub(super) fn is_here(&self) -> bool {
        self.all.get(&HERE).is_some_and(|one| one.life != TargetLife::Dead)
    }

    /// Returns what is to be seen of all.
    pub(super) fn view(&self, rules: &RouteRules) -> Vec<TargetView> {
        let view = |(number, one): (&Target, &TargetRecord)| TargetView {
            number: *number,
            name: one.name.clone(),
            host: one.host,
            condition: match one.life {
                TargetLife::Up => TargetCondition::Up,
                TargetLife::Quiet { .. } => TargetCondition::Quiet,
                TargetLife::Dead => TargetCondition::Dead,
            },
            listening: one.now.listening,
            is_fit: one.now.fit,
            is_draining: one.draining,
            weight: one.weight_by(rules).unwrap_or(0),
            connections: one.now.connections,
        };
        self.all.iter().map(view).collect()
    }

    /// Returns those that get new connections of a service. `spares_busy`: the first router's host
    /// is away, and those that have taken over its other work are left in peace.
    pub(super) fn actual(
        &self,
        rules: &RouteRules,
        service: usize,
        spares_busy: bool,
        now: Millis,
    ) -> Vec<Candidate> {
        let address = rules.services[service].ip();
        let candidate = |(number, one): (&Target, &TargetRecord)| {
            let weight = one.weight_by(rules)?;
            let takes = match one.life {
                TargetLife::Up => true,
                TargetLife::Quiet { since, question, .. } => {
                    question != HostQuestion::Second && now < since + ms(QUIET_GRACE)
                }
                TargetLife::Dead => false,
            };
            let able =
                takes && one.now.fit && !one.draining && one.now.listening >> service & 1 == 1;
            able.then_some(Candidate {
                target: *number,
                address: one.host.like(address)?,
                weight,
                connections: one.now.connections,
                workload: one.workload,
            })
        };
        let all: Vec<Candidate> =
            self.all.iter().filter_map(candidate).filter(|one| one.weight > 0).collect();
        let is_idle = |one: &Candidate| one.workload < BUSY;
        if spares_busy && all.iter().any(is_idle) {
            return all.into_iter().filter(is_idle).collect();
        }
        all
    }

    /// Returns when one of them is due: it gets no new connections from then on, or its host is to
    /// be asked again.
    pub(super) fn due(&self, now: Millis, probe_every: Millis) -> Option<Millis> {
        let due = |one: &TargetRecord| match one.life {
            TargetLife::Quiet { since, probed_at, .. } => {
                let probe = match probed_at {
                    Some(at) => Some(at + probe_every),
                    None => Some(since + probe_every),
                };
                [Some(since + ms(QUIET_GRACE)), probe]
            }
            TargetLife::Up | TargetLife::Dead => [None, None],
        };
        self.all.values().flat_map(due).flatten().filter(|due| *due > now).min()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        assert!(self.all.len() <= MAX_TARGETS as usize);
        for one in self.all.values() {
            assert_eq!(one.life == TargetLife::Up, !one.agents.is_empty(), "{one:?}");
        }
    }
}
