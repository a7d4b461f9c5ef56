//! What an instance holds: permits, requests under way, tallies, settings. Its hello carries them,
//! and each new supervisor rebuilds its records from the hellos.
//!
//! Invariant: a permit is here from the moment its grant is read until it is given back or revoked;
//! a request is here from the moment it is made until it is answered or withdrawn. Numbers are
//! never used twice in the life of an instance.

use std::collections::BTreeMap;

use super::Time;
use super::permits::Claims;
use super::settings::Settings;
use crate::config::{MAX_PERMITS, MAX_RESOURCES, MAX_UNITS, TAKEN_STEP, message_size};
use crate::wire::field::Payload;
use crate::wire::{Counted, Declared, FromHolder, Held, Setting, Shortage, ToHolder, Wanted};

#[derive(Clone, Debug, Default)]
pub(crate) struct Holdings {
    declared: Vec<Declared>,
    permits: BTreeMap<u64, Held>,
    requests: BTreeMap<u64, Wanted>,
    /// Questions for the total of a resource's tallies.
    queries: BTreeMap<u64, String>,
    counted: BTreeMap<String, u64>,
    settings: Settings,
    touch: Touch,
    /// The last supervisor's term.
    term: u64,
    /// See [`Claims::confirmed_term`].
    confirmed_term: u64,
    /// Since when others may have been given what this instance holds; `None` while a supervisor
    /// has it in its ledger.
    doubtful_from: Option<Time>,
    next_id: u64,
    /// Bytes of messages read since the last report to the supervisor.
    taken: u32,
}

/// The supervisor that will learn of what this instance knows.
#[derive(Clone, Copy, Debug, Default)]
enum Touch {
    /// The next supervisor: the next hello says it.
    #[default]
    Next,
    /// None: the hello has been sent, and what comes now waits.
    Joining,
    /// The supervisor of this term, which knows all that was set in it.
    With,
}

/// Why a request is refused; see [`Shortage`] for `units`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) shortage: Shortage,
    pub(crate) units: u64,
}

/// The meaning of a message from the supervisor for what this instance holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upshot {
    /// Nothing that a thread waits for.
    Quiet,
    /// The request with this number is now a permit, or is refused.
    Decided { id: u64, verdict: Result<(), Denial> },
    /// This permit is no longer valid.
    Lost(Held),
    /// A setting has changed.
    Changed(Setting),
    /// A message from a member.
    Delivered { from: String, topic: String, payload: Payload },
    /// This number of messages did not reach this instance.
    Missed(u64),
    /// The use of a resource exceeds its limit.
    OverLimit { resource: String, in_use: u64, limit: u64 },
    /// The answer to the question with this number.
    Total { id: u64, units: u64 },
}

impl Holdings {
    pub(crate) fn new(declared: Vec<Declared>) -> Self {
        Holdings { declared, ..Holdings::default() }
    }

    /// Asks for a permit. Returns `None` if the instance has as many permits and requests as it may
    /// have.
    pub(crate) fn ask(
        &mut self,
        resource: &str,
        units: u64,
        wait: bool,
        asked_ns: u64,
    ) -> Option<Wanted> {
        let wanted =
            Wanted { id: self.next_id()?, resource: resource.into(), units, wait, asked_ns };
        self.requests.insert(wanted.id, wanted.clone());
        Some(wanted)
    }

    /// Asks for the total of a resource's tallies. Returns `None` where [`ask`](Holdings::ask)
    /// does.
    pub(crate) fn ask_total(&mut self, resource: &str) -> Option<(u64, FromHolder)> {
        let id = self.next_id()?;
        self.queries.insert(id, resource.into());
        Some((id, FromHolder::TotalQuery { id, resource: resource.into() }))
    }

    fn next_id(&mut self) -> Option<u64> {
        let used = self.permits.len() + self.requests.len() + self.queries.len();
        self.next_id += 1;
        (used < MAX_PERMITS).then_some(self.next_id)
    }

    /// Gives a permit back, or withdraws a request. Returns true if the supervisor must know.
    pub(crate) fn release(&mut self, id: u64) -> bool {
        self.queries.remove(&id);
        self.permits.remove(&id).is_some() | self.requests.remove(&id).is_some()
    }

    /// Returns true as long as the permit with this number was not revoked or given back.
    pub(crate) fn holds(&self, id: u64) -> bool {
        self.permits.contains_key(&id)
    }

    /// Returns true as long as no other instance can have been given what this one holds.
    ///
    /// A new supervisor does not change that before the group is settled, not even if it is this
    /// instance itself: until then, instances may come that were given it meanwhile.
    pub(crate) fn is_certain(&self, now: Time) -> bool {
        self.doubtful_from.is_none_or(|from| now < from)
    }

    /// Makes room for a tally. Returns false if this instance counts under as many names as it may.
    pub(crate) fn begin_tally(&mut self, resource: &str) -> bool {
        let room = self.counted.len() < MAX_RESOURCES || self.counted.contains_key(resource);
        if room {
            self.counted.entry(resource.into()).or_default();
        }
        room
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.permits.values()
    }

    /// Returns the number of questions for totals that are under way.
    #[cfg(test)]
    pub(crate) fn unanswered(&self) -> usize {
        self.queries.len()
    }

    /// Changes the count of this instance. Returns the new count.
    pub(crate) fn count(&mut self, resource: &str, change: impl FnOnce(u64) -> u64) -> u64 {
        let Some(units) = self.counted.get_mut(resource) else { return 0 };
        *units = change(*units).min(MAX_UNITS);
        *units
    }

    pub(crate) fn counted(&self, resource: &str) -> u64 {
        self.counted.get(resource).copied().unwrap_or(0)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a setting that this instance has just set. Returns true if it is new.
    ///
    /// Takes it only if all others know it, or will learn of it from us: the supervisor that
    /// answered may be dead by now, and its successor may never have heard of the change.
    pub(crate) fn merge(&mut self, setting: Setting) -> bool {
        let heard = match self.touch {
            Touch::Next => true,
            Touch::Joining => false,
            Touch::With => self.term == setting.term,
        };
        heard && self.settings.merge(setting)
    }

    /// Notes the supervisor's term, and whether the group is settled. If it is, we have already
    /// been told what others were given of what we held.
    pub(crate) fn on_state(&mut self, term: u64, settled: bool) {
        self.term = term;
        if settled {
            (self.confirmed_term, self.doubtful_from) = (term, None);
        }
    }

    /// Notes that the lifeline was cut while the supervisor lived. It may have given to others what
    /// we hold, and they have the better claim, even if they are cut off next.
    pub(crate) fn cut_off(&mut self) {
        self.confirmed_term = 0;
        self.doubtful_from = Some(Time::ZERO);
    }

    /// Notes that a hello is about to say all of this.
    pub(crate) fn join(&mut self) {
        self.touch = Touch::Joining;
    }

    /// Notes that there is no supervisor any more. Its successor waits for us until `patience`, and
    /// then gives what we hold to others.
    pub(crate) fn end(&mut self, patience: Time) {
        self.touch = Touch::Next;
        self.doubtful_from.get_or_insert(patience);
    }

    /// Returns everything that a new supervisor must know.
    pub(crate) fn claims(&self) -> Claims {
        let counted = self
            .counted
            .iter()
            .filter(|(_, units)| **units > 0)
            .map(|(resource, &units)| Counted { resource: resource.clone(), units });
        Claims {
            confirmed_term: self.confirmed_term,
            declared: self.declared.clone(),
            held: self.permits.values().cloned().collect(),
            wanted: self.requests.values().cloned().collect(),
            counted: counted.collect(),
        }
    }

    /// Starts a new lifeline, or our own supervisorship: the supervisor counts from zero what was
    /// read of its messages. Returns what must be asked again.
    pub(crate) fn begin(&mut self, now: Time, term: u64, settled: bool) -> Vec<FromHolder> {
        self.taken = 0;
        self.touch = Touch::With;
        // In time: it is in the ledger of one who has given nothing to anybody.
        self.doubtful_from = self.doubtful_from.filter(|&from| from <= now);
        self.on_state(term, settled);
        let again = self.queries.iter();
        again
            .map(|(&id, resource)| FromHolder::TotalQuery { id, resource: resource.clone() })
            .collect()
    }

    /// Takes a message of the supervisor. Puts the answer to it, if there is one, into `answer`.
    pub(crate) fn on(&mut self, message: ToHolder, answer: &mut Option<FromHolder>) -> Upshot {
        match message {
            ToHolder::Granted { id } => match self.requests.remove(&id) {
                Some(Wanted { resource, units, .. }) => {
                    self.permits.insert(id, Held { id, resource, units });
                    // Only granted once settled, and after all that was revoked then.
                    (self.confirmed_term, self.doubtful_from) =
                        (self.confirmed_term.max(self.term), None);
                    Upshot::Decided { id, verdict: Ok(()) }
                }
                // Withdrawn meanwhile, which the supervisor is about to read.
                None => Upshot::Quiet,
            },
            ToHolder::Denied { id, shortage, units } => match self.requests.remove(&id) {
                Some(_) => Upshot::Decided { id, verdict: Err(Denial { shortage, units }) },
                None => Upshot::Quiet,
            },
            ToHolder::Revoked { id } => {
                self.permits.remove(&id).map_or(Upshot::Quiet, Upshot::Lost)
            }
            ToHolder::Setting { setting } => {
                if self.settings.merge(setting.clone()) {
                    Upshot::Changed(setting)
                } else {
                    Upshot::Quiet
                }
            }
            ToHolder::Delivery { from, topic, payload } => {
                self.taken = self.taken.saturating_add(message_size(&from, &topic, &payload.0));
                if self.taken >= TAKEN_STEP {
                    *answer = Some(FromHolder::Taken { bytes: std::mem::take(&mut self.taken) });
                }
                Upshot::Delivered { from, topic, payload }
            }
            ToHolder::Missed { messages } => Upshot::Missed(messages),
            ToHolder::OverLimit { resource, in_use, limit } => {
                Upshot::OverLimit { resource, in_use, limit }
            }
            ToHolder::Total { id, units } => match self.queries.remove(&id) {
                Some(_) => Upshot::Total { id, units },
                None => Upshot::Quiet,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(7);

    fn asked() -> (Holdings, u64) {
        let mut holdings = Holdings::default();
        let id = holdings.ask("db", 2, true, 7).unwrap().id;
        (holdings, id)
    }

    #[test]
    fn a_request_becomes_a_permit_and_is_claimed_as_such() {
        let (mut holdings, id) = asked();
        let wanted = Wanted { id, resource: "db".into(), units: 2, wait: true, asked_ns: 7 };
        assert_eq!(holdings.claims(), Claims { wanted: vec![wanted], ..Claims::default() });
        holdings.begin(NOW, 0, true);
        assert_eq!(
            holdings.on(ToHolder::Granted { id }, &mut None),
            Upshot::Decided { id, verdict: Ok(()) }
        );
        let held = Held { id, resource: "db".into(), units: 2 };
        assert_eq!(holdings.claims(), Claims { held: vec![held.clone()], ..Claims::default() });
        assert_eq!(holdings.on(ToHolder::Revoked { id }, &mut None), Upshot::Lost(held));
        assert!(!holdings.holds(id));
    }

    #[test]
    fn a_grant_that_crosses_a_withdrawal_is_none() {
        let (mut holdings, id) = asked();
        assert!(holdings.release(id));
        assert_eq!(holdings.on(ToHolder::Granted { id }, &mut None), Upshot::Quiet);
        assert_eq!(holdings.claims(), Claims::default());
    }

    #[test]
    fn what_was_set_is_taken_at_once_only_if_all_will_know_it() {
        let mut sequence = 0;
        let mut news = |holdings: &mut Holdings, term| {
            sequence += 1;
            let (scope, key) = (crate::wire::Scope::Program, String::from("k"));
            holdings.merge(Setting { scope, key, value: None, term, sequence })
        };
        let mut holdings = Holdings::default();
        assert!(news(&mut holdings, 3), "the next hello says it");
        holdings.join();
        assert!(!news(&mut holdings, 4), "the hello is on its way");
        holdings.begin(NOW, 5, true);
        assert!(!news(&mut holdings, 4), "the new supervisor may not know it");
        assert!(news(&mut holdings, 5));
        holdings.end(NOW);
        assert!(news(&mut holdings, 6));
    }

    #[test]
    fn claims_stand_as_of_the_last_term_in_which_they_were_confirmed() {
        let mut holdings = Holdings::default();
        let mut stands = |what: fn(&mut Holdings)| {
            what(&mut holdings);
            holdings.claims().confirmed_term
        };
        assert_eq!(stands(|holdings| _ = holdings.begin(NOW, 3, true)), 3);
        assert_eq!(
            stands(|holdings| _ = holdings.begin(NOW, 5, false)),
            3,
            "others may have been given what we hold"
        );
        assert_eq!(stands(|holdings| holdings.on_state(6, true)), 6);
        assert_eq!(stands(|holdings| holdings.cut_off()), 0);
        assert_eq!(stands(|holdings| _ = holdings.begin(NOW, 7, false)), 0, "not yet");
        let granted = |holdings: &mut Holdings| {
            holdings.begin(NOW, 8, false);
            let id = holdings.ask("db", 1, true, 0).unwrap().id;
            holdings.on(ToHolder::Granted { id }, &mut None);
        };
        assert_eq!(stands(granted), 8, "only a settled supervisor grants");
    }

    /// Every step that an instance without a settled supervisor can take, and what its permits are
    /// worth after it.
    #[test]
    fn what_is_doubtful_stays_so_until_a_settled_supervisor_confirms_it_whoever_that_is() {
        let late = NOW + Time::from_millis(500);
        let mut holdings = Holdings::default();
        let mut certain = |now: Time, what: &dyn Fn(&mut Holdings)| {
            what(&mut holdings);
            holdings.is_certain(now)
        };
        assert!(certain(NOW, &|holdings| _ = holdings.begin(NOW, 3, true)));
        assert!(certain(NOW, &|holdings| holdings.end(late)), "the next one waits for us");
        assert!(!certain(late, &|_| ()), "no longer");
        assert!(!certain(late, &|holdings| holdings.end(late + late)), "a second loss in a row");
        assert!(
            !certain(late, &|holdings| _ = holdings.begin(late, 4, false)),
            "others may come who were given it"
        );
        assert!(certain(late, &|holdings| holdings.on_state(4, true)));
        assert!(!certain(late, &|holdings| holdings.cut_off()), "the supervisor lives, and gives");
        assert!(!certain(late, &|holdings| holdings.end(late + late)));
        assert!(
            !certain(late, &|holdings| _ = holdings.begin(late, 5, false)),
            "its successor has not confirmed it"
        );
        assert!(!certain(late, &|holdings| holdings.end(late + late)), "nor will it: it is dead");
        assert!(
            !certain(late, &|holdings| _ = holdings.begin(late, 6, false)),
            "our own supervisorship"
        );
        let id = holdings.ask("db", 1, true, 0).unwrap().id;
        holdings.on(ToHolder::Granted { id }, &mut None);
        assert!(holdings.is_certain(late), "only a settled supervisor grants");
        holdings.end(late);
        holdings.begin(NOW, 7, false);
        assert!(holdings.is_certain(late), "it has us in its ledger since before it was late");
    }

    #[test]
    fn numbers_are_used_once_and_not_without_end() {
        let mut holdings = Holdings::default();
        let first = holdings.ask("db", 1, true, 0).unwrap().id;
        holdings.release(first);
        let ids: Vec<u64> =
            (0..MAX_PERMITS).map(|_| holdings.ask("db", 1, true, 0).unwrap().id).collect();
        assert!(!ids.contains(&first));
        assert_eq!(holdings.ask("db", 1, true, 0), None);
    }

    #[test]
    fn what_was_read_is_told_step_by_step() {
        let mut holdings = Holdings::default();
        let (from, topic, payload) = (String::from("a"), String::from("t"), Payload(vec![0; 1000]));
        let size = message_size(&from, &topic, &payload.0);
        let delivery = ToHolder::Delivery { from, topic, payload };
        let mut told = 0;
        for read in 1.. {
            let mut answer = None;
            holdings.on(delivery.clone(), &mut answer);
            if let Some(FromHolder::Taken { bytes }) = answer {
                told += bytes;
                assert_eq!(told, read * size);
                break;
            }
            assert!(read * size < TAKEN_STEP);
        }
    }
}
