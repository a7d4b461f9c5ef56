//! Which target gets which slot: a new connection goes to the target of the next slot, or of the
//! slot that its client's address selects.

use core::net::IpAddr;

use super::{RoutePolicy, Target};

/// So many slots are taken one after the other.
pub(crate) const SLOTS: usize = 256;

/// So many where the client's address selects.
pub(crate) const SLOTS_BY_CLIENT: usize = 4096;

/// What decides about a target's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) target: Target,
    /// The same at every router.
    pub(crate) address: IpAddr,
    pub(crate) weight: u16,
    pub(crate) connections: u32,
    /// 0 is idle, 65,535 has no room.
    pub(crate) workload: u16,
}

/// The parts of one that every weight can be divided into.
const UNIT: u64 = 1 << 16;

/// Returns each target's share of the new connections, as parts of no particular whole. Targets
/// without weight have none.
pub(crate) fn shares(policy: RoutePolicy, candidates: &[Candidate]) -> Vec<(Target, u64)> {
    let weight = |one: &Candidate| u64::from(one.weight);
    let able: Vec<&Candidate> = candidates.iter().filter(|one| one.weight > 0).collect();
    let all: u64 = able.iter().map(|one| weight(one)).sum();
    let open: u64 = able.iter().map(|one| u64::from(one.connections)).sum();
    // So many new connections are shared out: enough to even out the present ones over a while.
    let coming = 256.max(open / 16);
    let share = |one: &Candidate| match policy {
        RoutePolicy::Even | RoutePolicy::Client => weight(one) * UNIT,
        RoutePolicy::Connections => {
            let fair = weight(one) * coming * UNIT / all;
            let due = (weight(one) * (open + coming) * UNIT / all)
                .saturating_sub(u64::from(one.connections) * UNIT);
            // A target that has none yet is not given all at once.
            due.clamp(fair / 20, 2 * fair).max(1)
        }
        RoutePolicy::Load => weight(one) * (UNIT - u64::from(one.workload)).max(UNIT / 16),
        RoutePolicy::Standby => {
            let best = able.iter().max_by_key(|one| (one.weight, std::cmp::Reverse(one.address)));
            u64::from(best.is_some_and(|best| best.target == one.target))
        }
    };
    able.iter().map(|one| (one.target, share(one))).filter(|(_, share)| *share > 0).collect()
}

/// Returns whose slot each is, so that each target's part of every run of slots is close to its
/// share: smooth weighted round robin, as nginx does it.
pub(crate) fn in_turn(shares: &[(Target, u64)]) -> Vec<Target> {
    let all: i128 = shares.iter().map(|(_, share)| i128::from(*share)).sum();
    let mut due = vec![0_i128; shares.len()];
    let next = |_| {
        due.iter_mut().zip(shares).for_each(|(due, (_, share))| *due += i128::from(*share));
        // Of equals the first, and `max_by_key` returns the last.
        let at = (0..shares.len()).rev().max_by_key(|at| due[*at])?;
        due[at] -= all;
        Some(shares[at].0)
    };
    (0..SLOTS).map_while(next).collect()
}

/// Returns whose slot each is, such that a target that leaves moves only its own slots, and every
/// router comes to the same: rendezvous hashing (Thaler, Ravishankar: Using name-based mappings to
/// increase hit rates, 1998), weighted by the logarithm method (Schindelhauer, Schomaker: Weighted
/// distributed hash tables, 2005).
pub(crate) fn by_client(candidates: &[Candidate]) -> Vec<Target> {
    let able: Vec<(&Candidate, u64)> = candidates
        .iter()
        .filter(|one| one.weight > 0)
        .map(|one| (one, hash_of(one.address)))
        .collect();
    let cost = |slot: usize, (one, hash): &(&Candidate, u64)| {
        let drawn = mix(hash ^ mix(slot as u64));
        ((u128::from(minus_log2(drawn)) << 64) / u128::from(one.weight), one.address)
    };
    let cheapest = |slot| able.iter().min_by_key(|one| cost(slot, one)).map(|one| one.0.target);
    (0..SLOTS_BY_CLIENT).map_while(cheapest).collect()
}

/// FNV-1a (Fowler, Noll, Vo).
fn hash_of(address: IpAddr) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let fold = |bytes: &[u8]| bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    match address {
        IpAddr::V4(address) => fold(&address.octets()),
        IpAddr::V6(address) => fold(&address.octets()),
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood, 2014).
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The binary logarithm of 2^64 / `number`, with 16 binary places. In integers: two routers with
/// different libraries must agree on it.
fn minus_log2(number: u64) -> u64 {
    let number = number.max(1);
    let zeros = number.leading_zeros();
    // In [1, 2), with 63 binary places; each squaring shows one more binary place of its logarithm.
    let mut rest = number << zeros;
    let mut places = 0;
    for _ in 0..16 {
        let square = (u128::from(rest) * u128::from(rest)) >> 63;
        let carry = (square >> 64) as u64;
        places = places << 1 | carry;
        rest = (square >> carry) as u64;
    }
    (u64::from(zeros) + 1) * UNIT - places
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::state::sim::random::Random;

    fn candidate(number: u32, weight: u16) -> Candidate {
        let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
        Candidate { target: number, address, weight, connections: 0, workload: 0 }
    }

    fn count(slots: &[Target], target: Target) -> i64 {
        slots.iter().filter(|slot| **slot == target).count() as i64
    }

    #[test]
    fn each_target_has_its_share_of_the_slots_to_within_one() {
        let mut random = Random(1);
        for _ in 0..500 {
            let targets = 1 + random.below(50) as u32;
            let all: Vec<Candidate> =
                (1..=targets).map(|number| candidate(number, 1 + random.below(9) as u16)).collect();
            let slots = in_turn(&shares(RoutePolicy::Even, &all));
            assert_eq!(slots.len(), SLOTS);
            let weights: i64 = all.iter().map(|one| i64::from(one.weight)).sum();
            for one in &all {
                // In parts of a slot: has x weights - share x slots.
                let off = count(&slots, one.target) * weights - i64::from(one.weight) * 256;
                assert!(off.abs() <= weights, "{one:?} of {all:?}: {off}");
            }
        }
    }

    #[test]
    fn turns_of_one_target_are_not_in_a_row() {
        let slots = in_turn(&shares(RoutePolicy::Even, &[candidate(1, 2), candidate(2, 1)]));
        let longest = slots.chunk_by(|one, next| one == next).map(<[Target]>::len).max();
        assert_eq!(longest, Some(2));
        assert_eq!(&slots[..6], [1, 2, 1, 1, 2, 1]);
    }

    #[test]
    fn without_a_target_there_are_no_slots() {
        assert!(in_turn(&[]).is_empty() && by_client(&[]).is_empty());
        assert!(in_turn(&shares(RoutePolicy::Even, &[candidate(1, 0)])).is_empty());
        assert!(by_client(&[candidate(1, 0)]).is_empty());
    }

    #[test]
    fn a_client_keeps_its_target_when_another_target_leaves_or_returns() {
        let all: Vec<Candidate> = (1..=10).map(|number| candidate(number, 1)).collect();
        let before = by_client(&all);
        for leaving in 1..=10 {
            let others: Vec<Candidate> =
                all.iter().filter(|one| one.target != leaving).copied().collect();
            let after = by_client(&others);
            let moved = |(before, after): (&Target, &Target)| before != after;
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(moved((before, after)), *before == leaving);
            }
        }
    }

    /// Another router gives its targets other numbers, and knows them in another order.
    #[test]
    fn every_router_chooses_the_same_target_for_a_client() {
        let here: Vec<Candidate> = (1..=5).map(|number| candidate(number, number as u16)).collect();
        let there: Vec<Candidate> =
            here.iter().rev().map(|one| Candidate { target: 50 + one.target, ..*one }).collect();
        let (here, there) = (by_client(&here), by_client(&there));
        assert!(here.iter().zip(&there).all(|(here, there)| here + 50 == *there));
    }

    #[test]
    fn by_client_too_shares_are_those_of_the_weights() {
        for (targets, off) in [(3, 5), (10, 10), (50, 35)] {
            let all: Vec<Candidate> = (1..=targets).map(|number| candidate(number, 7)).collect();
            let slots = by_client(&all);
            let fair = SLOTS_BY_CLIENT as i64 / i64::from(targets);
            for one in &all {
                let apart = (count(&slots, one.target) - fair).abs();
                assert!(apart * 100 <= off * fair, "{targets} targets: {apart} from {fair}");
            }
        }
        let slots = by_client(&[candidate(1, 3), candidate(2, 1)]);
        assert!((count(&slots, 1) - 3072).abs() < 150, "{}", count(&slots, 1));
    }

    #[test]
    fn the_logarithm_in_integers_is_the_logarithm() {
        let mut random = Random(2);
        for _ in 0..10_000 {
            let number = random.next() >> random.below(64);
            let exact = 64.0 - (number.max(1) as f64).log2();
            let ours = minus_log2(number) as f64 / UNIT as f64;
            assert!((ours - exact).abs() < 2.0 / UNIT as f64, "{number}: {ours}, not {exact}");
        }
    }

    #[test]
    fn who_has_fewer_connections_gets_more_but_at_first_not_all() {
        let with = |number, connections| Candidate { connections, ..candidate(number, 1) };
        let shares =
            shares(RoutePolicy::Connections, &[with(1, 10_000), with(2, 10_000), with(3, 0)]);
        let slots = in_turn(&shares);
        let (first, new) = (count(&slots, 1), count(&slots, 3));
        assert!(new > 200, "{new}");
        assert!(first >= 3, "who has many still gets some: {first}");
        let equal = [with(1, 100), with(2, 100)];
        assert_eq!(count(&in_turn(&super::shares(RoutePolicy::Connections, &equal)), 1), 128);
    }

    #[test]
    fn who_has_much_to_do_gets_less_but_never_nothing() {
        let with = |number, workload| Candidate { workload, ..candidate(number, 1) };
        let slots = in_turn(&shares(RoutePolicy::Load, &[with(1, 0), with(2, 32_768)]));
        assert!((count(&slots, 1) - 171).abs() <= 1, "{}", count(&slots, 1));
        let slots = in_turn(&shares(RoutePolicy::Load, &[with(1, 0), with(2, u16::MAX)]));
        assert_eq!(count(&slots, 2), 15);
    }

    #[test]
    fn only_the_heaviest_serves_while_it_can() {
        let slots = |all: &[Candidate]| in_turn(&shares(RoutePolicy::Standby, all));
        let all = [candidate(1, 1), candidate(2, 5), candidate(3, 5)];
        assert_eq!(slots(&all), [2; SLOTS], "of equals the smallest address");
        assert_eq!(slots(&all[..1]), [1; SLOTS]);
    }
}
