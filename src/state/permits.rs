//! The ledger of permits: which instance holds and counts how many units of what, and which
//! requests wait.
//!
//! Invariants (`check`):
//! * nothing is granted before the ledger is open, that is, before every instance is here that may
//!   hold something;
//! * a grant never takes a resource's use above its limit, nor its holder's above the limit for one
//!   holder;
//! * requests are served in the order of asking, even if later ones need less; but a request that
//!   waits for room under its holder's own limit holds up no other holder;
//! * no request waits that could be granted, or never could be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::ConnId;
use crate::config::MAX_PERMITS;
use crate::wire::{Counted, Declared, Held, Shortage, Wanted};
use resource::{Request, Resource};

mod resource;

/// What the ledger decides; the supervisor tells the instances concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted {
        holder: ConnId,
        id: u64,
    },
    Denied {
        holder: ConnId,
        id: u64,
        shortage: Shortage,
        units: u64,
    },
    Revoked {
        holder: ConnId,
        id: u64,
    },
    /// The use exceeds the limit: an instance counts without asking, or the limit was lowered.
    OverLimit {
        resource: String,
        in_use: u64,
        limit: u64,
    },
}

/// What a holder brings along when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The last term in which what it holds was certainly given to no other instance; 0 if there is
    /// none.
    pub(crate) confirmed_term: u64,
    pub(crate) declared: Vec<Declared>,
    pub(crate) held: Vec<Held>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) counted: Vec<Counted>,
}

/// One resource as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resource: String,
    pub(crate) limit: Option<u64>,
    pub(crate) in_use: u64,
    /// The part of the use that is counted, not held.
    pub(crate) counted: u64,
    pub(crate) waiting: usize,
    pub(crate) holders: BTreeMap<ConnId, u64>,
}

/// The place of a holder's permit or request.
#[derive(Debug)]
struct InQueue {
    resource: String,
    /// `None` once it is granted.
    asked_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Holder {
    declared: Vec<Declared>,
    counted: BTreeSet<String>,
    places: BTreeMap<u64, InQueue>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    resources: BTreeMap<String, Resource>,
    holders: BTreeMap<ConnId, Holder>,
    open: bool,
    /// The largest confirmed term of all claims.
    newest: u64,
}

impl Ledger {
    /// Enters what a holder brings along. `replaced` is a connection of the same life of the same
    /// holder that has not ended yet: the new connection takes over what stands there, and no other
    /// holder gets it in between.
    pub(crate) fn enter(
        &mut self,
        holder: ConnId,
        mut claims: Claims,
        replaced: Option<ConnId>,
        verdicts: &mut Vec<Verdict>,
    ) {
        let before = replaced.map(|old| self.take_out(old)).unwrap_or_default();
        let mut touched: BTreeSet<String> = before.names();
        touched.extend(claims.held.iter().map(|held| held.resource.clone()));
        self.newest = self.newest.max(claims.confirmed_term);
        for Declared { resource, limit, per_holder } in &claims.declared {
            let this = self.resources.entry(resource.clone()).or_default();
            this.limits.add(*limit);
            per_holder.iter().for_each(|&most| this.holder_limits.add(most));
        }
        let mut places = BTreeMap::new();
        let was_here =
            |held: &Held| before.places.get(&held.id).is_some_and(|place| place.asked_ns.is_none());
        // First what was here: what was not must find room beside it.
        claims.held.sort_by_key(|held| !was_here(held));
        for held in claims.held {
            let was_here = was_here(&held);
            let Held { id, resource, units } = held;
            let this = self.resources.entry(resource.clone()).or_default();
            if self.open
                && !was_here
                && this.limit().is_some_and(|limit| this.in_use() + units > limit)
            {
                // It was away for so long that others were given what it held.
                verdicts.push(Verdict::Revoked { holder, id });
                continue;
            }
            this.enter(holder, id, units, claims.confirmed_term);
            places.insert(id, InQueue { resource, asked_ns: None });
        }
        for Wanted { id, resource, units, wait, asked_ns } in claims.wanted {
            let this = self.resources.entry(resource.clone()).or_default();
            this.waiting.insert((asked_ns, holder, id), Request { units, wait });
            places.insert(id, InQueue { resource, asked_ns: Some(asked_ns) });
        }
        for Counted { resource, units } in &claims.counted {
            self.resources.entry(resource.clone()).or_default().count(holder, *units);
        }
        let counted = claims.counted.into_iter().map(|counted| counted.resource).collect();
        let this = Holder { declared: claims.declared, counted, places };
        touched.extend(this.names());
        self.holders.insert(holder, this);
        touched.iter().for_each(|resource| self.serve(resource, true, verdicts));
    }

    /// Strikes out a holder that is gone: everything it had is free, and goes to waiting requests.
    pub(crate) fn leave(&mut self, holder: ConnId, verdicts: &mut Vec<Verdict>) {
        let names = self.take_out(holder).names();
        names.iter().for_each(|resource| self.serve(resource, true, verdicts));
    }

    fn take_out(&mut self, holder: ConnId) -> Holder {
        let Some(this) = self.holders.remove(&holder) else { return Holder::default() };
        for Declared { resource, limit, per_holder } in &this.declared {
            let resource = self.resources.get_mut(resource).expect("declared here");
            resource.limits.remove(*limit);
            per_holder.iter().for_each(|&most| resource.holder_limits.remove(most));
        }
        for (&id, place) in &this.places {
            let resource = self.resources.get_mut(&place.resource).expect("used here");
            match place.asked_ns {
                None => resource.strike(holder, id),
                Some(asked_ns) => _ = resource.waiting.remove(&(asked_ns, holder, id)),
            }
        }
        for name in &this.counted {
            self.resources.get_mut(name).expect("counted here").count(holder, 0);
        }
        this
    }

    pub(crate) fn acquire(&mut self, holder: ConnId, wanted: Wanted, verdicts: &mut Vec<Verdict>) {
        let Wanted { id, resource, units, wait, asked_ns } = wanted;
        let Some(this) = self.holders.get_mut(&holder) else { return };
        if this.places.len() >= MAX_PERMITS {
            let (shortage, units) = (Shortage::TooMany, MAX_PERMITS as u64);
            return verdicts.push(Verdict::Denied { holder, id, shortage, units });
        }
        this.places.insert(id, InQueue { resource: resource.clone(), asked_ns: Some(asked_ns) });
        let at = (asked_ns, holder, id);
        let this = self.resources.entry(resource.clone()).or_default();
        this.waiting.insert(at, Request { units, wait });
        // Those behind one who must wait are only looked at if this may be one that must not.
        let all = !wait || this.impossible(units).is_some();
        self.serve(&resource, all, verdicts);
    }

    /// Returns true if the holder has asked for a permit of this number, or holds it.
    pub(crate) fn knows(&self, holder: ConnId, id: u64) -> bool {
        self.holders.get(&holder).is_some_and(|holder| holder.places.contains_key(&id))
    }

    /// Gives a permit back, or withdraws a request. Unknown numbers belong to permits that were
    /// revoked meanwhile.
    pub(crate) fn release(&mut self, holder: ConnId, id: u64, verdicts: &mut Vec<Verdict>) {
        let Some(place) =
            self.holders.get_mut(&holder).and_then(|holder| holder.places.remove(&id))
        else {
            return;
        };
        if let Some(this) = self.resources.get_mut(&place.resource) {
            match place.asked_ns {
                None => this.strike(holder, id),
                Some(asked_ns) => _ = this.waiting.remove(&(asked_ns, holder, id)),
            }
        }
        self.serve(&place.resource, false, verdicts);
    }

    /// Notes how much the holder says that it uses.
    pub(crate) fn count(
        &mut self,
        holder: ConnId,
        Counted { resource, units }: Counted,
        verdicts: &mut Vec<Verdict>,
    ) {
        let Some(this) = self.holders.get_mut(&holder) else { return };
        if units > 0 {
            this.counted.insert(resource.clone());
        } else {
            this.counted.remove(&resource);
        }
        self.resources.entry(resource.clone()).or_default().count(holder, units);
        self.serve(&resource, false, verdicts);
    }

    pub(crate) fn is_counted(&self, holder: ConnId, resource: &str) -> bool {
        self.holders.get(&holder).is_some_and(|holder| holder.counted.contains(resource))
    }

    /// Returns the number of names under which the holder counts.
    pub(crate) fn counts(&self, holder: ConnId) -> usize {
        self.holders.get(&holder).map_or(0, |holder| holder.counted.len())
    }

    /// Sets a limit that replaces the declared ones, or removes it again.
    pub(crate) fn set_limit(
        &mut self,
        resource: &str,
        limit: Option<u64>,
        verdicts: &mut Vec<Verdict>,
    ) {
        self.resources.entry(resource.to_owned()).or_default().live_limit = limit;
        self.serve(resource, true, verdicts);
    }

    pub(crate) fn is_known(&self, resource: &str) -> bool {
        self.resources.contains_key(resource)
    }

    /// Takes all permits of the resource from a holder. Returns how many there were.
    pub(crate) fn revoke(
        &mut self,
        resource: &str,
        holder: ConnId,
        verdicts: &mut Vec<Verdict>,
    ) -> usize {
        let Some(this) = self.resources.get_mut(resource) else { return 0 };
        let ids: Vec<u64> =
            this.held.range((holder, 0)..=(holder, u64::MAX)).map(|(&(_, id), _)| id).collect();
        for &id in &ids {
            this.strike(holder, id);
            self.holders
                .get_mut(&holder)
                .into_iter()
                .for_each(|holder| _ = holder.places.remove(&id));
            verdicts.push(Verdict::Revoked { holder, id });
        }
        self.serve(resource, false, verdicts);
        ids.len()
    }

    /// Opens the ledger: every instance is here that may hold something, and permits are granted
    /// from now on.
    ///
    /// Claims can contradict each other only if a holder stood still during a whole supervisorship
    /// that gave away what it held, or was cut off while the supervisor lived. The holder's
    /// confirmed term tells it from the others: it loses what there is no room for. If all holders
    /// were cut off, one after the other, nothing shows which of them has the better claim, and any
    /// may lose.
    pub(crate) fn open(&mut self, verdicts: &mut Vec<Verdict>) {
        self.open = true;
        for this in self.resources.values_mut() {
            let Some(limit) = this.limit() else { continue };
            let mut old: Vec<(u64, ConnId, u64)> = this
                .held
                .iter()
                .filter(|(_, permit)| permit.confirmed_term < self.newest.max(1))
                .map(|(&(holder, id), permit)| (permit.confirmed_term, holder, id))
                .collect();
            old.sort_unstable();
            for (_, holder, id) in old {
                if this.in_use() <= limit {
                    break;
                }
                this.strike(holder, id);
                self.holders
                    .get_mut(&holder)
                    .into_iter()
                    .for_each(|holder| _ = holder.places.remove(&id));
                verdicts.push(Verdict::Revoked { holder, id });
            }
        }
        let names: Vec<String> = self.resources.keys().cloned().collect();
        names.iter().for_each(|resource| self.serve(resource, true, verdicts));
    }

    /// Gives free units to waiting requests. `all`: also looks beyond a request that must wait
    /// longer, for requests that do not want to wait or could never be granted.
    fn serve(&mut self, resource: &str, all: bool, verdicts: &mut Vec<Verdict>) {
        let Some(this) = self.resources.get_mut(resource) else { return };
        if self.open {
            let mut blocked = false;
            let mut next = this.waiting.keys().next().copied();
            while let Some(at @ (_, holder, id)) = next {
                let Request { units, wait } = this.waiting[&at];
                let own_room = this.has_own_room(holder, units);
                let mut denial = this.impossible(units);
                if denial.is_none() && own_room && !blocked && units <= this.free() {
                    this.waiting.remove(&at);
                    this.enter(holder, id, units, 0);
                    self.holders.get_mut(&holder).into_iter().for_each(|holder| holder.settle(id));
                    verdicts.push(Verdict::Granted { holder, id });
                } else {
                    if denial.is_none() && !wait {
                        denial = Some((Shortage::Exhausted, this.free()));
                    }
                    blocked |= denial.is_none() && own_room;
                }
                if let Some((shortage, units)) = denial {
                    this.waiting.remove(&at);
                    self.holders
                        .get_mut(&holder)
                        .into_iter()
                        .for_each(|holder| _ = holder.places.remove(&id));
                    verdicts.push(Verdict::Denied { holder, id, shortage, units });
                }
                if blocked && !all {
                    break;
                }
                next = this
                    .waiting
                    .range((Bound::Excluded(at), Bound::Unbounded))
                    .next()
                    .map(|(&at, _)| at);
            }
        }
        // Until the ledger is open, claims may contradict each other: then it is not yet so.
        let over = this.limit().filter(|&limit| self.open && this.in_use() > limit);
        if let (Some(limit), false) = (over, this.over) {
            verdicts.push(Verdict::OverLimit {
                resource: resource.to_owned(),
                in_use: this.in_use(),
                limit,
            });
        }
        this.over = over.is_some();
        if this.is_nothing() {
            self.resources.remove(resource);
        }
    }

    pub(crate) fn usage(&self, resource: &str) -> Option<Usage> {
        let this = self.resources.get(resource)?;
        let mut holders = this.counted.clone();
        for (&(holder, _), permit) in &this.held {
            *holders.entry(holder).or_default() += permit.units;
        }
        Some(Usage {
            resource: resource.to_owned(),
            limit: this.limit(),
            in_use: this.in_use(),
            counted: this.counted_units,
            waiting: this.waiting.len(),
            holders,
        })
    }

    /// Returns the sum of all counts under this name.
    pub(crate) fn total(&self, resource: &str) -> u64 {
        self.resources.get(resource).map_or(0, |this| this.counted_units)
    }

    /// Returns all resources in the order of their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.resources.keys()
    }

    /// Checks the invariants, for tests and fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self) {
        let mut places = 0;
        for (name, this) in &self.resources {
            assert_eq!(
                this.held_units,
                this.held.values().map(|permit| permit.units).sum::<u64>(),
                "{name}"
            );
            assert_eq!(this.counted_units, this.counted.values().sum::<u64>(), "{name}");
            assert!(!this.is_nothing(), "{name} is kept for nothing");
            places += this.held.len() + this.waiting.len();
            for &(holder, id) in this.held.keys() {
                assert!(self.holders[&holder].places[&id].asked_ns.is_none(), "{id} of {holder}");
            }
            let mut blocked = false;
            for (&(asked, holder, id), request) in this.waiting.iter().filter(|_| self.open) {
                assert_eq!(
                    self.holders[&holder].places[&id].asked_ns,
                    Some(asked),
                    "{id} of {holder}"
                );
                assert!(request.wait, "{id} of {holder} did not want to wait");
                assert_eq!(this.impossible(request.units), None, "{id} of {holder} waits in vain");
                let own_room = this.has_own_room(holder, request.units);
                assert!(
                    blocked || !own_room || this.free() < request.units,
                    "{id} of {holder} could be served"
                );
                blocked |= own_room;
            }
        }
        assert_eq!(places, self.holders.values().map(|holder| holder.places.len()).sum::<usize>());
    }

    /// Returns what the ledger has of a holder, in the form in which the holder said it.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn claims_of(&self, holder: ConnId) -> Claims {
        let Some(this) = self.holders.get(&holder) else { return Claims::default() };
        let mut claims = Claims { declared: this.declared.clone(), ..Claims::default() };
        for (&id, InQueue { resource, asked_ns }) in &this.places {
            let (ledger, resource) = (&self.resources[resource], resource.clone());
            match *asked_ns {
                None => {
                    claims.held.push(Held { id, resource, units: ledger.held[&(holder, id)].units })
                }
                Some(asked_ns) => {
                    let Request { units, wait } = ledger.waiting[&(asked_ns, holder, id)];
                    claims.wanted.push(Wanted { id, resource, units, wait, asked_ns });
                }
            }
        }
        for resource in &this.counted {
            let units = self.resources[resource].counted[&holder];
            claims.counted.push(Counted { resource: resource.clone(), units });
        }
        claims
    }
}

impl Holder {
    /// Grants the request of this number.
    fn settle(&mut self, id: u64) {
        self.places.get_mut(&id).into_iter().for_each(|place| place.asked_ns = None);
    }

    /// Returns the resources that the holder has to do with.
    fn names(&self) -> BTreeSet<String> {
        let declared = self.declared.iter().map(|declared| declared.resource.clone());
        let places = self.places.values().map(|place| place.resource.clone());
        declared.chain(places).chain(self.counted.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
