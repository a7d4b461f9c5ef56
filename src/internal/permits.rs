//! The ledger of permits beside a naive one, which keeps lists and works out everything anew each
//! time.

use std::collections::BTreeMap;

use super::Choices;
use crate::state::ConnId;
use crate::state::permits::{Claims, Ledger, Verdict};
use crate::wire::{Counted, Declared, Held, Shortage, Wanted};

const RESOURCES: [&str; 3] = ["db", "gpu", "net"];
const HOLDERS: usize = 5;

/// Any sequence of requests is decided as the naive ledger decides it.
///
/// Input: one event after the other.
pub fn fuzz_permits(input: &[u8]) {
    let mut choices = Choices(input);
    let (mut ledger, mut naive) = (Ledger::default(), Naive::default());
    while !choices.0.is_empty() {
        let (mut verdicts, mut expected) = (Vec::new(), Vec::new());
        naive.step(&mut choices, &mut ledger, &mut verdicts, &mut expected);
        naive.serve(&mut expected);
        ledger.check();
        let text = |verdicts: &[Verdict]| {
            let mut lines: Vec<String> =
                verdicts.iter().map(|verdict| format!("{verdict:?}")).collect();
            lines.sort();
            lines
        };
        assert_eq!(text(&verdicts), text(&expected));
        for &holder in &naive.present {
            assert_eq!(ledger.claims_of(holder), naive.claims_of(holder), "of {holder}");
        }
        for resource in RESOURCES {
            assert_eq!(ledger.total(resource), naive.counted(resource));
            let in_use = ledger.usage(resource).map_or(0, |usage| usage.in_use);
            assert_eq!(in_use, naive.in_use(resource), "of {resource}");
        }
    }
}

#[derive(Default)]
struct Naive {
    present: Vec<ConnId>,
    declared: Vec<(ConnId, Declared)>,
    held: Vec<(ConnId, Held, u64)>,
    waiting: Vec<(ConnId, Wanted)>,
    counted: BTreeMap<(String, ConnId), u64>,
    limits: BTreeMap<String, u64>,
    over: Vec<String>,
    newest: u64,
    open: bool,
    next_id: u64,
    next_holder: ConnId,
}

impl Naive {
    /// Does one thing to `ledger`, and to this one what follows from it at once.
    fn step(
        &mut self,
        choices: &mut Choices<'_>,
        ledger: &mut Ledger,
        verdicts: &mut Vec<Verdict>,
        expected: &mut Vec<Verdict>,
    ) {
        let resource = String::from(RESOURCES[choices.below(RESOURCES.len())]);
        let someone = self.present.get(choices.below(HOLDERS)).copied();
        match (choices.below(10), someone) {
            (0, Some(holder)) => {
                ledger.leave(holder, verdicts);
                self.forget(holder);
            }
            (1, someone) if self.present.len() < HOLDERS || someone.is_some() => {
                // A newcomer; or the same instance as before on another connection.
                let replaced =
                    someone.filter(|_| self.present.len() == HOLDERS || choices.below(2) == 0);
                let claims = self.some_claims(replaced, choices);
                self.next_holder += 1;
                ledger.enter(self.next_holder, claims.clone(), replaced, verdicts);
                self.enter(self.next_holder, claims, replaced, expected);
            }
            (2, _) if !self.open => {
                ledger.open(verdicts);
                self.open = true;
                self.revoke_stale(expected);
            }
            (3, _) => {
                let limit = Some(choices.below(8) as u64).filter(|&limit| limit < 7);
                ledger.set_limit(&resource, limit, verdicts);
                self.limits.remove(&resource);
                limit.into_iter().for_each(|limit| _ = self.limits.insert(resource.clone(), limit));
            }
            (4, Some(holder)) => {
                let count = ledger.revoke(&resource, holder, verdicts);
                let ours = |(other, held, _): &&(ConnId, Held, u64)| {
                    *other == holder && held.resource == resource
                };
                let ids: Vec<u64> =
                    self.held.iter().filter(ours).map(|(_, held, _)| held.id).collect();
                assert_eq!(count, ids.len());
                self.held.retain(|(other, held, _)| *other != holder || !ids.contains(&held.id));
                expected.extend(ids.into_iter().map(|id| Verdict::Revoked { holder, id }));
            }
            (5, Some(holder)) => {
                let units = choices.below(4) as u64;
                ledger.count(holder, Counted { resource: resource.clone(), units }, verdicts);
                self.count(holder, resource, units);
            }
            (6 | 7, Some(holder)) => {
                let wanted = self.some_request(resource, choices);
                ledger.acquire(holder, wanted.clone(), verdicts);
                self.waiting.push((holder, wanted));
            }
            (8 | 9, Some(holder)) => {
                let claims = self.claims_of(holder);
                let ids = claims
                    .held
                    .iter()
                    .map(|held| held.id)
                    .chain(claims.wanted.iter().map(|wanted| wanted.id));
                let ids: Vec<u64> = ids.collect();
                let Some(&id) = ids.get(choices.below(ids.len().max(1))) else { return };
                ledger.release(holder, id, verdicts);
                self.held.retain(|(other, held, _)| (*other, held.id) != (holder, id));
                self.waiting.retain(|(other, wanted)| (*other, wanted.id) != (holder, id));
            }
            _ => {}
        }
    }

    fn some_request(&mut self, resource: String, choices: &mut Choices<'_>) -> Wanted {
        self.next_id += 1;
        let (units, wait, asked_ns) =
            (1 + choices.below(5) as u64, choices.below(3) > 0, choices.below(16) as u64);
        Wanted { id: self.next_id, resource, units, wait, asked_ns }
    }

    /// What one that comes may say: some of what is known of it, and something new.
    fn some_claims(&mut self, replaced: Option<ConnId>, choices: &mut Choices<'_>) -> Claims {
        let mut claims = replaced.map(|old| self.claims_of(old)).unwrap_or_default();
        claims.confirmed_term = choices.below(4) as u64;
        claims.held.retain(|_| choices.below(4) > 0);
        claims.declared.clear();
        for resource in RESOURCES {
            if choices.below(2) == 0 {
                let per_holder = Some(1 + choices.below(6) as u64).filter(|&most| most < 5);
                claims.declared.push(Declared {
                    resource: resource.into(),
                    limit: choices.below(7) as u64,
                    per_holder,
                });
            }
        }
        for _ in 0..choices.below(3) {
            let wanted = self.some_request(RESOURCES[choices.below(3)].into(), choices);
            claims.wanted.push(wanted);
        }
        for _ in 0..choices.below(3) {
            self.next_id += 1;
            let resource = RESOURCES[choices.below(3)].into();
            claims.held.push(Held {
                id: self.next_id,
                resource,
                units: 1 + choices.below(4) as u64,
            });
        }
        claims
    }

    fn enter(
        &mut self,
        holder: ConnId,
        claims: Claims,
        replaced: Option<ConnId>,
        expected: &mut Vec<Verdict>,
    ) {
        let before = replaced.map(|old| self.claims_of(old).held).unwrap_or_default();
        replaced.into_iter().for_each(|old| self.forget(old));
        self.present.push(holder);
        self.newest = self.newest.max(claims.confirmed_term);
        self.declared.extend(claims.declared.into_iter().map(|declared| (holder, declared)));
        let is_new = |held: &Held| !before.iter().any(|known| known.id == held.id);
        let (new, here): (Vec<Held>, Vec<Held>) = claims.held.into_iter().partition(is_new);
        for held in here.into_iter().chain(new) {
            let new = is_new(&held);
            let too_much = self
                .limit(&held.resource)
                .is_some_and(|limit| self.in_use(&held.resource) + held.units > limit);
            if self.open && new && too_much {
                expected.push(Verdict::Revoked { holder, id: held.id });
            } else {
                self.held.push((holder, held, claims.confirmed_term));
            }
        }
        self.waiting.extend(claims.wanted.into_iter().map(|wanted| (holder, wanted)));
        claims
            .counted
            .into_iter()
            .for_each(|counted| self.count(holder, counted.resource, counted.units));
    }

    fn forget(&mut self, holder: ConnId) {
        self.present.retain(|&other| other != holder);
        self.declared.retain(|&(other, _)| other != holder);
        self.held.retain(|&(other, ..)| other != holder);
        self.waiting.retain(|&(other, _)| other != holder);
        self.counted.retain(|&(_, other), _| other != holder);
    }

    fn count(&mut self, holder: ConnId, resource: String, units: u64) {
        self.counted.remove(&(resource.clone(), holder));
        if units > 0 {
            self.counted.insert((resource, holder), units);
        }
    }

    fn revoke_stale(&mut self, expected: &mut Vec<Verdict>) {
        for resource in RESOURCES {
            let Some(limit) = self.limit(resource) else { continue };
            while self.in_use(resource) > limit {
                let stale = self.held.iter().filter(|(_, held, confirmed_term)| {
                    held.resource == resource && *confirmed_term < self.newest.max(1)
                });
                let oldest = stale
                    .map(|(holder, held, confirmed_term)| (*confirmed_term, *holder, held.id))
                    .min();
                let Some((_, holder, id)) = oldest else { break };
                self.held.retain(|(other, held, _)| (*other, held.id) != (holder, id));
                expected.push(Verdict::Revoked { holder, id });
            }
        }
    }

    /// Looks at all who wait, in the order of asking.
    fn serve(&mut self, expected: &mut Vec<Verdict>) {
        if !self.open {
            return;
        }
        for resource in RESOURCES {
            let mut queue: Vec<(ConnId, Wanted)> = self.waiting.clone();
            queue.retain(|(_, wanted)| wanted.resource == resource);
            queue.sort_by_key(|(holder, wanted)| (wanted.asked_ns, *holder, wanted.id));
            let mut blocked = false;
            for (holder, Wanted { id, units, wait, .. }) in queue {
                let most =
                    self.declared.iter().filter(|(_, declared)| declared.resource == resource);
                let most = most.filter_map(|(_, declared)| declared.per_holder).min();
                let mine = self
                    .held
                    .iter()
                    .filter(|(other, held, _)| *other == holder && held.resource == resource);
                let own_room = most.is_none_or(|most| {
                    mine.map(|(_, held, _)| held.units).sum::<u64>() + units <= most
                });
                let limit = self.limit(resource);
                let free = limit.unwrap_or(0).saturating_sub(self.in_use(resource));
                let denial = match (limit, most) {
                    (None, _) => Some((Shortage::Unknown, 0)),
                    (Some(limit), _) if units > limit => Some((Shortage::OverLimit, limit)),
                    (_, Some(most)) if units > most => Some((Shortage::OverHolderLimit, most)),
                    _ if own_room && !blocked && units <= free => None,
                    _ if !wait => Some((Shortage::Exhausted, free)),
                    _ => {
                        blocked |= own_room;
                        continue;
                    }
                };
                self.waiting.retain(|(other, wanted)| (*other, wanted.id) != (holder, id));
                match denial {
                    Some((shortage, units)) => {
                        expected.push(Verdict::Denied { holder, id, shortage, units })
                    }
                    None => {
                        self.held.push((holder, Held { id, resource: resource.into(), units }, 0));
                        expected.push(Verdict::Granted { holder, id });
                    }
                }
            }
            let (in_use, over) =
                (self.in_use(resource), self.over.iter().any(|known| known == resource));
            let limit = self.limit(resource).filter(|&limit| in_use > limit);
            self.over.retain(|known| known != resource);
            if let Some(limit) = limit {
                self.over.push(resource.into());
                if !over {
                    expected.push(Verdict::OverLimit { resource: resource.into(), in_use, limit });
                }
            }
        }
    }

    fn limit(&self, resource: &str) -> Option<u64> {
        let declared = self.declared.iter().filter(|(_, declared)| declared.resource == resource);
        self.limits.get(resource).copied().or(declared.map(|(_, declared)| declared.limit).min())
    }

    fn counted(&self, resource: &str) -> u64 {
        self.counted.iter().filter(|((name, _), _)| name == resource).map(|(_, units)| units).sum()
    }

    fn in_use(&self, resource: &str) -> u64 {
        let held = self.held.iter().filter(|(_, held, _)| held.resource == resource);
        held.map(|(_, held, _)| held.units).sum::<u64>() + self.counted(resource)
    }

    fn claims_of(&self, holder: ConnId) -> Claims {
        let ours = |other: &ConnId| *other == holder;
        let mut claims = Claims::default();
        claims.declared.extend(
            self.declared.iter().filter(|(other, _)| ours(other)).map(|(_, this)| this.clone()),
        );
        claims.held.extend(
            self.held.iter().filter(|(other, ..)| ours(other)).map(|(_, this, _)| this.clone()),
        );
        claims.held.sort_by_key(|held| held.id);
        claims.wanted.extend(
            self.waiting.iter().filter(|(other, _)| ours(other)).map(|(_, this)| this.clone()),
        );
        claims.wanted.sort_by_key(|wanted| wanted.id);
        let counted = self.counted.iter().filter(|((_, other), _)| ours(other));
        claims.counted.extend(
            counted.map(|((resource, _), &units)| Counted { resource: resource.clone(), units }),
        );
        claims
    }
}
