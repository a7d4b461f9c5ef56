//! The rules of turns, one by one.

use super::*;

const LATER: Time = Time::from_secs(1);

fn terms(weight: u16, policy: Policy) -> Terms {
    Terms { weight, policy, capacity: 16 }
}

fn ready(ready: u32) -> Report {
    Report { ready, ..Report::default() }
}

/// Acceptors 1, 2, … of these weights, each with so much room.
fn turns(policy: Policy, weights: &[u16], room: u32) -> Turns {
    let mut turns = Turns::default();
    for (conn, &weight) in (1..).zip(weights) {
        turns.enter(conn, format!("w{conn}"), terms(weight, policy), 0);
        assert!(turns.report(conn, ready(room)));
    }
    turns
}

/// Has the desk look when so many connections wait.
fn deal(turns: &mut Turns, now: Time, waiting: u32) -> Vec<Given> {
    turns.look(waiting);
    turns.deal(now)
}

fn to(given: &[Given]) -> Vec<(ConnId, u64)> {
    given.iter().map(|one| (one.to, one.in_all)).collect()
}

/// Has connections come one by one, each of which its acceptor takes at once. Returns who took how
/// many.
fn serve(turns: &mut Turns, connections: usize) -> BTreeMap<ConnId, u64> {
    deal(turns, LATER, 0);
    for _ in 0..connections {
        let (conn, spent) = turns
            .acceptors
            .iter()
            .find(|(_, one)| one.out() > 0)
            .map(|(conn, one)| (*conn, one.report.spent + 1))
            .expect("a turn is out");
        let report = turns.acceptors[&conn].report;
        assert!(turns.report(conn, Report { spent, open: report.open + 1, ..report }));
        deal(turns, LATER, 0);
    }
    turns.acceptors.iter().map(|(conn, one)| (*conn, one.report.spent)).collect()
}

#[test]
fn one_turn_more_is_out_than_connections_wait() {
    let mut turns = turns(Policy::Even, &[1, 1, 1], 4);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 1)]);
    assert_eq!(deal(&mut turns, LATER, 0), []);
    assert_eq!(to(&deal(&mut turns, LATER, 2)), [(2, 1), (3, 1)]);
    assert_eq!(turns.out(), 3);
}

#[test]
fn nobody_gets_more_turns_than_it_has_room_for() {
    let mut one = turns(Policy::Even, &[1], 3);
    assert_eq!(to(&deal(&mut one, LATER, 3)), [(1, 3)]);
    assert_eq!(to(&deal(&mut one, LATER, 100)), [(1, 4)], "one ahead, while others wait");
    assert_eq!(deal(&mut one, LATER, 100), []);
    let mut small = turns(Policy::Even, &[], 0);
    small.enter(1, "w1".into(), Terms { capacity: 2, ..terms(1, Policy::Even) }, 0);
    small.report(1, ready(100));
    assert_eq!(to(&deal(&mut small, LATER, 100)), [(1, 2)]);
}

#[test]
fn shares_follow_the_weights_exactly() {
    let mut turns = turns(Policy::Even, &[1, 2, 3], 1);
    let shares: Vec<u64> = serve(&mut turns, 6_000).into_values().collect();
    assert_eq!(shares, [1_000, 2_000, 3_000]);
}

#[test]
fn the_fewest_open_connections_get_the_next() {
    let mut turns = turns(Policy::Connections, &[1, 1], 4);
    turns.report(1, Report { open: 10, ..ready(4) });
    assert_eq!(to(&deal(&mut turns, LATER, 3)), [(2, 4)], "four more do not make ten");
    turns.report(2, Report { spent: 4, open: 14, ..ready(4) });
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 1)]);
}

#[test]
fn twice_the_weight_bears_twice_the_connections() {
    let mut turns = turns(Policy::Connections, &[1, 2], 1);
    assert_eq!(serve(&mut turns, 300).into_values().collect::<Vec<_>>(), [100, 200]);
}

#[test]
fn a_standby_gets_turns_only_while_the_first_has_no_room() {
    let mut turns = turns(Policy::Standby, &[1, 5, 5], 2);
    assert_eq!(to(&deal(&mut turns, LATER, 1)), [(2, 2)], "the heaviest, and of these the oldest");
    assert_eq!(to(&deal(&mut turns, LATER, 2)), [(3, 1)]);
    turns.leave(2);
    assert_eq!(to(&deal(&mut turns, LATER, 1)), [(3, 2)]);
}

#[test]
fn who_accepts_freely_gets_no_turns_and_keeps_the_policy_of_the_others() {
    let mut turns = turns(Policy::Even, &[1], 1);
    turns.enter(9, "cmd".into(), terms(1, Policy::Free), 0);
    turns.report(9, ready(4));
    assert_eq!(to(&deal(&mut turns, LATER, 5)), [(1, 2)]);
}

#[test]
fn the_turns_of_the_dead_and_the_drained_are_for_others() {
    let mut turns = turns(Policy::Even, &[1, 1, 1], 1);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 1)]);
    turns.leave(1);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(2, 1)]);
    turns.drain(2);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(3, 1)]);
    turns.drain(3);
    assert_eq!(deal(&mut turns, LATER, 9), []);
}

#[test]
fn a_turn_waits_for_an_acceptor_that_has_no_room_and_does_not_count_meanwhile() {
    let mut turns = turns(Policy::Even, &[1, 1], 1);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 1)]);
    turns.report(1, ready(0));
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(2, 1)]);
    turns.report(1, ready(1));
    assert_eq!(turns.out(), 2, "it has kept the turn");
    assert_eq!(deal(&mut turns, LATER, 1), []);
}

#[test]
fn an_acceptor_that_leaves_its_turn_unused_while_connections_wait_holds_up_nobody() {
    let mut turns = turns(Policy::Even, &[1, 1], 1);
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 1)]);
    assert_eq!(turns.wake_at(), None, "nothing waits");
    assert_eq!(to(&deal(&mut turns, LATER, 1)), [(2, 1)]);
    turns.report(2, Report { spent: 1, ..ready(1) });
    deal(&mut turns, LATER, 1);
    assert_eq!(turns.wake_at(), Some(LATER + LAPSE));
    turns.report(2, Report { spent: 2, ..ready(1) });
    let given = deal(&mut turns, LATER + LAPSE, 1);
    assert_eq!(to(&given), [(1, 1), (2, 3)], "the first one is asked for a report");
    assert_eq!(turns.out(), 1, "the first one's turn counts no longer");
    assert_eq!(turns.wake_at(), Some(LATER + LAPSE + LAPSE), "it is the second one's time now");
    turns.report(1, Report { spent: 1, ..ready(1) });
    assert_eq!(deal(&mut turns, LATER + LAPSE, 2).len(), 1, "it is heard again, and served again");
}

#[test]
fn who_was_away_does_not_get_all_that_it_has_missed() {
    let mut turns = turns(Policy::Even, &[1, 1], 1);
    turns.report(1, ready(0));
    serve(&mut turns, 10_000);
    turns.report(1, ready(1));
    let before = turns.acceptors[&2].report.spent;
    let shares = serve(&mut turns, 1_000);
    let late = shares[&2] - before;
    assert!((480..=500).contains(&late), "{late} of 1,000 for the one that was there");
}

#[test]
fn a_newcomer_has_missed_nothing() {
    let mut turns = turns(Policy::Even, &[1], 1);
    serve(&mut turns, 1_000);
    turns.enter(2, "w2".into(), terms(1, Policy::Even), 0);
    turns.report(2, ready(1));
    let shares = serve(&mut turns, 100);
    assert!((49..=51).contains(&shares[&2]), "{shares:?}");
}

#[test]
fn what_survivors_bring_counts_as_given() {
    let mut turns = Turns::default();
    turns.enter(1, "w1".into(), terms(1, Policy::Even), 2);
    turns.report(1, ready(2));
    assert_eq!(deal(&mut turns, LATER, 1), []);
    assert!(!turns.report(1, Report { spent: 3, ..ready(2) }), "more than it was given");
    assert!(turns.report(1, Report { spent: 2, ..ready(2) }));
    assert!(!turns.report(1, Report { spent: 1, ..ready(2) }), "it does not go back");
}

#[test]
fn reports_may_wait_only_while_nothing_depends_on_them() {
    let mut turns = turns(Policy::Even, &[1], 1);
    assert!(turns.is_short());
    deal(&mut turns, LATER, 0);
    assert!(!turns.is_short());
    deal(&mut turns, LATER, 1);
    assert!(turns.is_short());
    turns.leave(1);
    assert!(!turns.is_short(), "nobody is there to be given any");
}

#[test]
fn who_claims_to_bring_more_than_it_can_have_is_taken_for_full() {
    let mut turns = Turns::default();
    for conn in 1..=2 {
        turns.enter(conn, "liar".into(), terms(1, Policy::Even), u64::MAX);
        assert!(!turns.report(conn, Report { spent: u64::MAX, ..ready(1) }));
        assert!(turns.report(conn, Report { spent: 16, ..ready(1) }));
    }
    assert_eq!(to(&deal(&mut turns, LATER, 0)), [(1, 17)]);
}
