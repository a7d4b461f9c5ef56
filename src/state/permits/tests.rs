//! The ledger's decisions, one by one.

use super::*;

/// A ledger that is checked after each step; numbers of permits are told in words: holder 1's
/// request 2 is `1.2`.
struct Desk(Ledger);

impl Desk {
    /// An open ledger of a resource `db` of which there are so many units.
    fn open(limit: u64) -> Self {
        let mut desk = Desk(Ledger::default());
        desk.enter(0, declaring(limit, None));
        assert_eq!(desk.step(Ledger::open), "");
        desk
    }

    /// What is decided in this step, in words.
    fn step(&mut self, step: impl FnOnce(&mut Ledger, &mut Vec<Verdict>)) -> String {
        let mut verdicts = Vec::new();
        step(&mut self.0, &mut verdicts);
        self.0.check();
        let word = |verdict: &Verdict| match verdict {
            Verdict::Granted { holder, id } => format!("{holder}.{id}"),
            Verdict::Denied { holder, id, shortage, units } => {
                format!("no {holder}.{id} {shortage:?} {units}")
            }
            Verdict::Revoked { holder, id } => format!("-{holder}.{id}"),
            Verdict::OverLimit { resource, in_use, limit } => {
                format!("{resource} {in_use}>{limit}")
            }
        };
        verdicts.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    fn enter(&mut self, holder: ConnId, claims: Claims) -> String {
        self.back(holder, claims, 1, None)
    }

    fn back(
        &mut self,
        holder: ConnId,
        claims: Claims,
        confirmed_term: u64,
        replaced: Option<ConnId>,
    ) -> String {
        let claims = Claims { confirmed_term, ..claims };
        self.step(|ledger, verdicts| ledger.enter(holder, claims, replaced, verdicts))
    }

    /// Requests come in the order of their numbers.
    fn acquire(&mut self, holder: ConnId, id: u64, units: u64) -> String {
        if !self.0.holders.contains_key(&holder) {
            self.enter(holder, Claims::default());
        }
        self.step(|ledger, verdicts| ledger.acquire(holder, wanted(id, units), verdicts))
    }

    fn attempt(&mut self, holder: ConnId, id: u64, units: u64) -> String {
        let wanted = Wanted { wait: false, ..wanted(id, units) };
        self.step(|ledger, verdicts| ledger.acquire(holder, wanted, verdicts))
    }

    fn release(&mut self, holder: ConnId, id: u64) -> String {
        self.step(|ledger, verdicts| ledger.release(holder, id, verdicts))
    }

    fn leave(&mut self, holder: ConnId) -> String {
        self.step(|ledger, verdicts| ledger.leave(holder, verdicts))
    }

    fn count(&mut self, holder: ConnId, units: u64) -> String {
        self.step(|ledger, verdicts| {
            ledger.count(holder, Counted { resource: "db".into(), units }, verdicts)
        })
    }

    fn limit(&mut self, limit: Option<u64>) -> String {
        self.step(|ledger, verdicts| ledger.set_limit("db", limit, verdicts))
    }

    fn in_use(&self) -> u64 {
        self.0.usage("db").map_or(0, |usage| usage.in_use)
    }
}

fn wanted(id: u64, units: u64) -> Wanted {
    Wanted { id, resource: "db".into(), units, wait: true, asked_ns: id }
}

fn declaring(limit: u64, per_holder: Option<u64>) -> Claims {
    Claims {
        declared: vec![Declared { resource: "db".into(), limit, per_holder }],
        ..Claims::default()
    }
}

fn holding(ids_and_units: &[(u64, u64)]) -> Claims {
    let held = |&(id, units): &(u64, u64)| Held { id, resource: "db".into(), units };
    Claims { held: ids_and_units.iter().map(held).collect(), ..declaring(4, None) }
}

#[test]
fn first_come_first_served() {
    let mut desk = Desk::open(2);
    assert_eq!(desk.acquire(1, 1, 1), "1.1");
    assert_eq!(desk.acquire(2, 2, 1), "2.2");
    assert_eq!(desk.acquire(3, 3, 1), "");
    assert_eq!(desk.acquire(1, 4, 1), "");
    assert_eq!(desk.release(2, 2), "3.3");
    assert_eq!(desk.release(3, 3), "1.4");
}

#[test]
fn who_asked_first_is_first_also_if_it_is_heard_of_later() {
    let mut desk = Desk::open(1);
    desk.acquire(1, 1, 1);
    desk.acquire(2, 7, 1);
    assert_eq!(desk.enter(3, Claims { wanted: vec![wanted(5, 1)], ..Claims::default() }), "");
    assert_eq!(desk.release(1, 1), "3.5");
}

#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 2);
    assert_eq!(desk.acquire(2, 2, 4), "");
    assert_eq!(desk.acquire(3, 3, 1), "", "though it would fit");
    assert_eq!(desk.release(1, 1), "2.2");
    assert_eq!(desk.release(2, 2), "3.3");
}

#[test]
fn one_that_does_not_want_to_wait_overtakes_nobody() {
    let mut desk = Desk::open(4);
    assert_eq!(desk.acquire(1, 1, 2), "1.1");
    assert_eq!(desk.attempt(1, 2, 3), "no 1.2 Exhausted 2");
    assert_eq!(desk.acquire(2, 3, 3), "");
    assert_eq!(desk.attempt(1, 4, 1), "no 1.4 Exhausted 2", "2 are free, for one who waits");
    assert_eq!(desk.release(2, 3), "", "withdrawn");
    assert_eq!(desk.attempt(1, 5, 2), "1.5");
}

#[test]
fn who_waits_for_room_of_its_own_holds_up_nobody_else() {
    let mut desk = Desk::open(4);
    desk.enter(9, declaring(4, Some(2)));
    assert_eq!(desk.acquire(1, 1, 2), "1.1");
    assert_eq!(desk.acquire(1, 2, 1), "", "it has as much as one may have");
    assert_eq!(desk.acquire(2, 3, 1), "2.3");
    assert_eq!(desk.acquire(2, 4, 2), "");
    assert_eq!(desk.acquire(3, 5, 1), "3.5");
    assert_eq!(desk.release(1, 1), "1.2");
}

#[test]
fn a_request_withdrawn_lets_those_behind_it_through() {
    let mut desk = Desk::open(2);
    desk.acquire(1, 1, 1);
    desk.acquire(2, 2, 2);
    assert_eq!(desk.acquire(3, 3, 1), "");
    assert_eq!(desk.release(2, 2), "3.3");
}

#[test]
fn under_a_shrunken_limit_nothing_is_granted_until_use_has_fallen() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 2);
    desk.acquire(1, 2, 2);
    assert_eq!(desk.limit(Some(2)), "db 4>2");
    assert_eq!(desk.acquire(2, 3, 1), "");
    assert_eq!(desk.release(1, 1), "", "in use is as much as there may be");
    assert_eq!(desk.release(1, 2), "2.3");
}

#[test]
fn who_asks_for_more_than_a_shrunken_limit_is_told() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 4);
    desk.acquire(2, 2, 1);
    assert_eq!(desk.acquire(2, 3, 4), "");
    assert_eq!(desk.limit(Some(3)), "no 2.3 OverLimit 3, db 4>3");
}

#[test]
fn a_limit_set_while_running_counts_in_place_of_the_declared_ones() {
    let mut desk = Desk::open(2);
    desk.acquire(1, 1, 2);
    desk.acquire(1, 2, 3);
    assert_eq!(desk.acquire(1, 3, 1), "");
    assert_eq!(desk.limit(Some(5)), "1.3");
    desk.enter(7, declaring(1, None));
    assert_eq!(desk.acquire(1, 4, 2), "1.4");
    assert_eq!(desk.limit(None), "db 5>1");
}

#[test]
fn the_smallest_declared_limit_counts_as_long_as_its_holder_is_here() {
    let mut desk = Desk::open(4);
    desk.enter(1, declaring(2, None));
    desk.enter(2, declaring(2, None));
    desk.acquire(3, 1, 2);
    assert_eq!(desk.acquire(3, 2, 2), "");
    assert_eq!(desk.leave(1), "");
    assert_eq!(desk.leave(2), "3.2");
}

#[test]
fn a_holders_end_serves_the_next_in_the_same_step() {
    let mut desk = Desk::open(3);
    desk.acquire(1, 1, 2);
    desk.acquire(1, 2, 1);
    desk.acquire(2, 3, 3);
    desk.acquire(3, 4, 1);
    assert_eq!(desk.leave(1), "2.3");
    assert_eq!(desk.leave(2), "3.4");
}

#[test]
fn what_cannot_be_granted_is_denied_and_blocks_nobody() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 4);
    desk.acquire(2, 2, 1);
    assert_eq!(desk.acquire(3, 3, 5), "no 3.3 OverLimit 4");
    desk.enter(9, declaring(9, Some(2)));
    assert_eq!(desk.acquire(3, 4, 3), "no 3.4 OverHolderLimit 2");
    let unknown = Wanted { resource: "scanner".into(), ..wanted(5, 1) };
    assert_eq!(
        desk.step(|ledger, verdicts| ledger.acquire(3, unknown, verdicts)),
        "no 3.5 Unknown 0"
    );
    assert!(!desk.0.is_known("scanner"), "a name that was asked for once is not kept");
    assert_eq!(desk.release(1, 1), "2.2");
}

#[test]
fn nobody_waits_for_a_resource_that_nobody_declares_any_more() {
    let mut desk = Desk::open(1);
    desk.acquire(1, 1, 1);
    desk.acquire(2, 2, 1);
    assert_eq!(desk.leave(0), "no 2.2 Unknown 0");
    assert_eq!(desk.in_use(), 1, "what was granted stands");
}

#[test]
fn tallies_count_against_the_limit() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 1);
    assert_eq!(desk.count(1, 3), "");
    assert_eq!(desk.acquire(2, 2, 1), "");
    assert_eq!(desk.count(1, 2), "2.2");
    assert_eq!((desk.in_use(), desk.0.total("db")), (4, 2));
    desk.acquire(2, 3, 2);
    assert_eq!(desk.leave(1), "2.3", "a tally goes with its holder");
    assert_eq!(desk.0.total("db"), 0);
}

#[test]
fn too_much_in_use_is_told_once_for_each_crossing() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 1);
    assert_eq!(desk.count(1, 3), "", "as much as there may be");
    assert_eq!(desk.count(1, 4), "db 5>4");
    assert_eq!(desk.count(1, 9), "");
    assert_eq!(desk.count(1, 3), "");
    assert_eq!(desk.count(1, 5), "db 6>4");
}

#[test]
fn nothing_is_granted_before_all_are_here() {
    let mut desk = Desk(Ledger::default());
    desk.enter(1, declaring(4, None));
    assert_eq!(desk.acquire(1, 2, 3), "");
    assert_eq!(desk.attempt(1, 3, 9), "", "nor denied");
    assert_eq!(desk.enter(2, Claims { wanted: vec![wanted(1, 2)], ..holding(&[(9, 1)]) }), "");
    assert_eq!(desk.enter(3, holding(&[(1, 1)])), "");
    assert_eq!(desk.step(Ledger::open), "2.1, no 1.3 OverLimit 4");
    assert_eq!(desk.release(2, 9), "");
    assert_eq!(desk.release(2, 1), "1.2");
}

#[test]
fn of_claims_that_contradict_each_other_the_stale_ones_lose() {
    let mut desk = Desk(Ledger::default());
    desk.back(1, holding(&[(1, 1), (2, 2)]), 6, None);
    desk.back(2, holding(&[(1, 2)]), 7, None);
    desk.back(3, holding(&[(1, 1)]), 5, None);
    assert_eq!(desk.step(Ledger::open), "-3.1, -1.1", "oldest first, and no more than must be");
    assert_eq!(desk.in_use(), 4);
}

#[test]
fn old_claims_that_contradict_nothing_stand() {
    let mut desk = Desk(Ledger::default());
    desk.back(1, holding(&[(1, 1)]), 3, None);
    desk.back(2, holding(&[(1, 3)]), 7, None);
    assert_eq!(desk.step(Ledger::open), "");
    assert_eq!(desk.in_use(), 4);
}

#[test]
fn claims_of_the_newest_term_stand_even_over_a_limit_that_shrank() {
    let mut desk = Desk(Ledger::default());
    desk.back(1, holding(&[(1, 3)]), 7, None);
    assert_eq!(desk.back(2, holding(&[(1, 3)]), 7, None), "", "not before all are here");
    assert_eq!(desk.step(Ledger::open), "db 6>4");
}

/// Goal: the limit holds although nobody can vouch for anything: one was cut off, others were given
/// what it held, and were cut off too before the supervisor died.
#[test]
fn of_claims_that_were_all_cut_off_none_stands_above_the_limit() {
    let mut desk = Desk(Ledger::default());
    desk.back(1, holding(&[(1, 3)]), 0, None);
    desk.back(2, holding(&[(1, 1), (2, 3)]), 0, None);
    assert_eq!(desk.step(Ledger::open), "-1.1");
    assert_eq!(desk.in_use(), 4);
}

#[test]
fn who_comes_late_loses_what_others_were_given() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 2);
    assert_eq!(desk.back(2, holding(&[(1, 2), (2, 1)]), 1, None), "-2.2");
    assert_eq!(desk.in_use(), 4);
    assert!(!desk.0.knows(2, 2));
}

#[test]
fn a_replaced_connection_keeps_what_it_had() {
    let mut desk = Desk::open(4);
    desk.enter(1, holding(&[(1, 3)]));
    desk.acquire(2, 2, 4);
    desk.limit(Some(2));
    assert_eq!(desk.back(5, Claims { counted: vec![], ..holding(&[(1, 3)]) }, 1, Some(1)), "");
    assert_eq!(desk.in_use(), 3, "neither given to another nor too much");
    assert!(desk.0.knows(5, 1) && !desk.0.knows(1, 1));
    assert_eq!(desk.leave(1), "", "the old connection's end changes nothing");
    assert_eq!(desk.in_use(), 3);
}

/// A hello that was under way when its sender gave a permit back, said another hello, and was
/// admitted with that one.
#[test]
fn what_a_late_hello_claims_takes_no_room_of_what_is_in_the_book() {
    let mut desk = Desk::open(4);
    desk.back(1, holding(&[(3, 3)]), 1, None);
    desk.acquire(2, 1, 1);
    assert_eq!(desk.back(3, holding(&[(2, 1), (3, 3)]), 1, Some(1)), "-3.2");
    assert_eq!(desk.in_use(), 4);
}

#[test]
fn a_replaced_connection_gives_back_what_it_does_not_claim_any_more() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 3);
    desk.count(1, 1);
    desk.acquire(1, 2, 1);
    desk.acquire(2, 3, 4);
    assert_eq!(desk.back(5, Claims::default(), 1, Some(1)), "2.3");
}

#[test]
fn a_grant_that_was_lost_with_its_connection_is_granted_again() {
    let mut desk = Desk::open(1);
    assert_eq!(desk.acquire(1, 1, 1), "1.1");
    desk.acquire(2, 2, 1);
    assert_eq!(
        desk.back(5, Claims { wanted: vec![wanted(1, 1)], ..Claims::default() }, 1, Some(1)),
        "5.1"
    );
}

#[test]
fn what_is_revoked_goes_to_those_who_wait() {
    let mut desk = Desk::open(4);
    desk.acquire(1, 1, 2);
    desk.acquire(1, 2, 2);
    desk.acquire(2, 3, 3);
    let mut count = 0;
    assert_eq!(
        desk.step(|ledger, verdicts| count = ledger.revoke("db", 1, verdicts)),
        "-1.1, -1.2, 2.3"
    );
    assert_eq!(count, 2);
    assert_eq!(desk.release(1, 1), "", "it did not know yet");
    assert_eq!(desk.in_use(), 3);
}

#[test]
fn one_holder_has_no_more_permits_and_requests_than_it_may() {
    let mut desk = Desk::open(1);
    for id in 0..MAX_PERMITS as u64 {
        desk.acquire(1, id, 1);
    }
    assert_eq!(desk.acquire(1, 5000, 1), format!("no 1.5000 TooMany {MAX_PERMITS}"));
    assert_eq!(desk.acquire(2, 1, 1), "");
    assert_eq!(desk.leave(1), "2.1");
}
