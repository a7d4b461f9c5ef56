//! What is written to the kernel of all this: whatever differs from what stands there.

use super::slots::{Candidate, by_client, in_turn, shares};
use super::{Ends, Millis, RoutePhase, RoutePolicy, Router, RouterAction, Target, ms};
use crate::config::route::{LOOK_OFTEN, NO_TARGET, RESHARE};
use crate::wire::Host;

/// Who shares a service's new connections, and in what parts.
type Shares = Vec<(Target, u64)>;

/// What stands in the kernel.
pub(super) struct Written {
    ends: Option<Ends>,
    routers: Option<Vec<Host>>,
    /// For each service; `None` if it is not known what stands there.
    shares: Vec<Option<Shares>>,
    /// Since when a service has had nobody for new connections.
    unserved_since: Vec<Option<Millis>>,
    reshared_at: Millis,
    looked_at: Millis,
}

impl Written {
    pub(super) fn new(services: usize) -> Self {
        Written {
            ends: None,
            routers: None,
            shares: vec![None; services],
            unserved_since: vec![None; services],
            reshared_at: 0,
            looked_at: 0,
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn gives_nothing(&self) -> bool {
        self.shares.iter().flatten().all(Vec::is_empty)
    }
}

impl Router {
    /// Writes what has changed.
    pub(super) fn write(&mut self, out: &mut Vec<RouterAction>) {
        let hosts: Vec<Host> = self.others.values().map(|other| other.host).collect();
        if self.written.routers.as_ref() != Some(&hosts) {
            self.written.routers = Some(hosts.clone());
            out.push(RouterAction::Routers(hosts));
        }
        self.write_slots(out);
        let longest = self.written.unserved_since.iter().flatten().min();
        let is_long = longest.is_some_and(|since| self.now >= since + ms(NO_TARGET));
        let refuse_new = is_long && !self.may_be_cut_off();
        let ends = self.ends(refuse_new);
        if self.written.ends != Some(ends) {
            self.written.ends = Some(ends);
            out.push(RouterAction::Ends(ends));
        }
        if self.looks_at().is_some_and(|at| self.now >= at) {
            self.written.looked_at = self.now;
            out.push(RouterAction::Look);
        }
    }

    fn write_slots(&mut self, out: &mut Vec<RouterAction>) {
        let gives = self.is_owner() && self.lease;
        let may_reshare = self.now >= self.written.reshared_at + ms(RESHARE);
        for service in 0..self.rules.services.len() {
            let candidates = match gives {
                true => self.targets.actual(&self.rules, service, self.stands_in, self.now),
                false => Vec::new(),
            };
            let unserved = &mut self.written.unserved_since[service];
            match gives && candidates.is_empty() {
                true => _ = unserved.get_or_insert(self.now),
                false => *unserved = None,
            }
            let new = shares(self.rules.policy, &candidates);
            let old = &self.written.shares[service];
            let differs = match (old, self.rules.policy) {
                (None, _) => true,
                (Some(old), RoutePolicy::Connections | RoutePolicy::Load) => {
                    !are_same_targets(old, &new) || may_reshare && is_moved(old, &new)
                }
                (Some(old), _) => *old != new,
            };
            if differs {
                self.written.reshared_at = self.now;
                let slots = slots(self.rules.policy, &candidates, &new);
                self.written.shares[service] = Some(new);
                out.push(RouterAction::Slots { service: service as u16, slots });
            }
        }
    }

    fn looks_at(&self) -> Option<Millis> {
        let RoutePhase::Owner { .. } = self.phase else { return None };
        let often = self.before.is_some() || !self.is_settled();
        let every = if often { ms(LOOK_OFTEN) } else { self.rules.interval };
        Some(self.written.looked_at + every)
    }

    pub(super) fn writing_due(&self) -> Option<Millis> {
        let unserved = self.written.unserved_since.iter().flatten().map(|at| at + ms(NO_TARGET));
        let follows = matches!(self.rules.policy, RoutePolicy::Connections | RoutePolicy::Load);
        let reshare = (follows && self.is_owner()).then(|| self.written.reshared_at + ms(RESHARE));
        unserved.chain(self.looks_at()).chain(reshare).filter(|due| *due > self.now).min()
    }
}

fn slots(policy: RoutePolicy, candidates: &[Candidate], shares: &Shares) -> Vec<Target> {
    if policy == RoutePolicy::Client { by_client(candidates) } else { in_turn(shares) }
}

fn are_same_targets(old: &Shares, new: &Shares) -> bool {
    old.iter().map(|(target, _)| target).eq(new.iter().map(|(target, _)| target))
}

/// Returns true if a target's part of the whole has changed by more than a sixteenth of it.
fn is_moved(old: &Shares, new: &Shares) -> bool {
    let all = |shares: &Shares| shares.iter().map(|(_, share)| u128::from(*share)).sum::<u128>();
    let (all_old, all_new) = (all(old), all(new));
    old.iter().zip(new).any(|((_, old), (_, new))| {
        let (old, new) = (u128::from(*old) * all_new, u128::from(*new) * all_old);
        16 * old.abs_diff(new) > old
    })
}
