//! Heartbeats that come twice, late or not at all, or from a process with another's identity.

use std::collections::BTreeMap;

use super::every_seed;
use super::scenes::{group, join, no_overlap, until_another};
use super::world::{FAST, H, MID, PROFILES, ROBUST, Who, World};
use crate::state::masterless::{Input, Millis, Rules};
use crate::state::sim::random::Random;
use crate::wire::heartbeat::Status;

#[test]
fn whoever_has_the_same_random_numbers_gets_another_identity() {
    every_seed(60, |seed| {
        let mut world = group(seed, MID, 2);
        // Both draw the same tail and session at the start, and others later.
        let chance = world.random.next();
        let rules = world.rules();
        let one = world.start_with(rules.clone(), chance);
        if seed % 2 == 1 {
            world.run_for(6 * H);
        }
        let tail = world.tail(one);
        let other = world.start_with(rules, chance);
        world.run_for(15 * H);
        assert_ne!(world.tail(one), world.tail(other));
        assert!(seed % 2 == 1 || world.tail(one) != tail);
        assert!(world.has_one(1));
        assert!(world.processes.iter().all(|process| process.machine.status() != Status::Joining));
        no_overlap(&mut world);
    });
}

#[test]
fn of_two_with_one_tail_the_established_one_keeps_it() {
    every_seed(60, |seed| {
        let mut world = group(seed, MID, 2);
        let shared = [world.random.next(), world.random.next()];
        let drawing = |seed: u64| {
            let (mut chance, mut first) = (Random(seed), shared.into_iter());
            Box::new(move || first.next().unwrap_or_else(|| chance.next()))
        };
        let rules = world.rules();
        let (one, other) = (world.random.next(), world.random.next());
        let established = world.start_drawing(rules.clone(), drawing(one));
        let tail = world.tail(established);
        // Both join at once, or the second one finds the first admitted.
        if seed % 2 == 1 {
            world.run_for(8 * H);
        }
        let second = world.start_drawing(rules, drawing(other));
        assert_eq!(world.tail(second), tail);
        world.run_for(15 * H);
        assert_ne!(world.tail(second), world.tail(established));
        assert!(seed % 2 == 0 || world.tail(established) == tail);
        assert!(world.processes.iter().all(|process| process.machine.status() != Status::Joining));
        assert!(world.has_one(1));
        no_overlap(&mut world);
    });
}

#[test]
fn what_is_played_again_changes_nothing() {
    every_seed(40, |seed| {
        let mut world = World::new(seed, MID);
        world.heard = Some(Vec::new());
        join(&mut world, 3);
        // One that is dead by now is in the recording, too.
        let dead = world.living()[2];
        let primary = world.living().into_iter().find(|who| world.processes[*who].is_primary());
        if primary != Some(dead) {
            world.kill(dead);
        }
        world.run_for(10 * H);
        let (old, acquisitions) = (world.primary(), world.acquisitions.len());
        let recorded = world.heard.take().expect("it was on");
        let tails = |world: &World| {
            world.living().into_iter().map(|who| world.tail(who)).collect::<Vec<_>>()
        };
        let before = tails(&world);
        for _ in 0..400 {
            let beat = recorded[world.random.below(recorded.len())];
            world.deliver(None, beat);
            let pause = world.random.next() % (H / 10);
            world.run_for(pause);
        }
        world.run_for(5 * H);
        assert_eq!(
            (world.primary(), world.acquisitions.len(), tails(&world)),
            (old, acquisitions, before)
        );
        no_overlap(&mut world);
    });
}

#[test]
fn what_comes_twice_or_late_changes_nothing() {
    every_seed(30, |seed| {
        let mut world = World::new(seed, ROBUST);
        world.twice = 50;
        join(&mut world, 4);
        world.run_for(60 * H);
        assert_eq!(world.acquisitions.len(), 1);
        no_overlap(&mut world);
    });
}

#[test]
fn with_a_quorum_a_divided_group_never_has_two_primaries() {
    every_seed(90, |seed| {
        let members = [3, 5][seed as usize % 2];
        let profile = PROFILES[seed as usize % 3];
        let mut world = World::new(seed, profile);
        for _ in 0..members {
            world.start(Rules { quorum: members / 2 + 1, ..world.rules() });
        }
        assert!(world.run_while(40 * H, |world| !world.has_one(1)));
        world.run_for(10 * H);
        let cut = 1 + world.random.below(members - 1);
        world.split(|who| u8::from(who < cut));
        for _ in 0..400 {
            world.run_for(H / 10);
            assert!(world.primaries(1).len() <= 1, "two primaries anywhere");
        }
        let side = world.primaries(1).first().map(|who| world.processes[*who].part);
        let of_side = |part: u8| world.processes.iter().filter(|one| one.part == part).count();
        assert!(side.is_some_and(|part| 2 * of_side(part) > members), "the majority has none");
        world.heal();
        world.run_for(20 * H);
        let primary = world.primary();
        // Without enough of them there is none at all.
        for who in world.living().into_iter().filter(|who| *who != primary) {
            world.kill(who);
        }
        world.run_for(20 * H);
        assert!(world.primaries(1).is_empty());
        no_overlap(&mut world);
    });
}

/// For how long one of the living heard nothing of another one, at most.
fn longest_silence(world: &World, from: Millis) -> Millis {
    let came = world.came.as_ref().expect("it is kept");
    let living = world.living();
    let pairs = living.iter().flat_map(|one| living.iter().map(move |other| (*one, *other)));
    let silence = |pair: (Who, Who)| {
        let moments =
            [&[from][..], came.get(&pair).map_or(&[][..], Vec::as_slice), &[world.now][..]]
                .concat();
        moments.windows(2).map(|two| two[1].saturating_sub(two[0])).max().unwrap_or(0)
    };
    pairs.filter(|(one, other)| one != other).map(silence).max().unwrap_or(0)
}

/// Each of the next thirteen heartbeats on their way may be lost: 8,192 ways, of which the long run
/// takes all. Some of them are all that two processes say to one another in the time after which
/// one is taken for dead; nothing can help those.
#[test]
fn whichever_heartbeats_are_lost_in_a_change_there_are_never_two_primaries() {
    for change in ["the first primary", "a death", "a hand-over"] {
        let all = every_seed(400, |seed| {
            // Every pattern once in 8,192 seeds, and the first of them as different as the others.
            let losses = (seed.wrapping_mul(0x9e5) & 0x1fff, 13);
            let mut world = World::new(seed, MID.slowest(H / 20));
            world.came = Some(BTreeMap::new());
            let began = world.now;
            if change == "the first primary" {
                world.losses = losses;
                for _ in 0..3 {
                    let rules = world.rules();
                    world.start(rules);
                }
            } else {
                join(&mut world, 3);
                let old = world.primary();
                world.losses = losses;
                match change {
                    "a death" => world.kill(old),
                    _ => world.step(old, Input::Leave),
                }
            }
            world.run_for(30 * H);
            assert!(world.has_one(1), "{change}");
            world.finish();
            let silence = longest_silence(&world, began);
            assert!(
                world.overlaps.is_empty() || silence >= MID.dead(),
                "{change}: {:?}, {silence}",
                world.overlaps
            );
            (!world.overlaps.is_empty(), silence >= MID.dead())
        });
        let (overlaps, silences) =
            all.iter().fold((0, 0), |(overlaps, silences), (_, (overlap, silence))| {
                (overlaps + usize::from(*overlap), silences + usize::from(*silence))
            });
        println!(
            "{change}: {overlaps} overlaps, {silences} with a silence of that length, of {}",
            all.len()
        );
    }
}

#[test]
fn the_kernels_news_make_a_takeover_sooner_and_a_mistaken_one_harms_nothing() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3].slowest(2);
        let mut world = group(seed, profile, 3);
        let old = world.primary();
        let tail = world.tail(old);
        // Its last words have just been heard by all, by some a moment later.
        let before = world.processes[old].machine.counts().sent;
        assert!(
            world.run_while(3 * H, |world| world.processes[old].machine.counts().sent == before)
        );
        world.run_for(2);
        if seed % 2 == 0 {
            world.kill(old);
        }
        let others: Vec<Who> = world.living().into_iter().filter(|who| *who != old).collect();
        for who in &others {
            world.step(*who, Input::Doubt(tail));
        }
        if seed % 2 == 0 {
            let took: Millis = until_another(&mut world, old, 10 * H);
            assert!(took <= profile.window().max(2 * profile.delay) + H / 4, "took {took} ms");
        } else {
            world.run_for(10 * H);
            assert_eq!((world.primary(), world.acquisitions.len()), (old, 1));
        }
        no_overlap(&mut world);
    });
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    every_seed(20, |seed| {
        let mut world = group(seed, FAST, 2);
        let primary = world.primary();
        let mut out = Vec::new();
        let back = world.processes[primary].clock(world.now) - 5 * H;
        world.processes[primary].machine.step(back, Input::Tick, &mut out);
        assert!(out.is_empty(), "{out:?}");
        world.run_for(20 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (primary, 1));
    });
}
