//! Processes that are started because they are needed, and that leave because they are not; and how
//! much is said.

use super::every_seed;
use super::scenes::{group, until_another};
use super::world::{H, MID, ROBUST, World};
use crate::config::masterless::Need;
use crate::state::masterless::{Input, Rules};
use crate::wire::heartbeat::Status;

fn needing(seed: u64, loss: u64, needs: &[(u16, u16, Option<u16>)], members: &[u16]) -> World {
    let mut world = World::new(seed, MID.loss(loss));
    world.need = needs.iter().map(|&(service, min, max)| Need { service, min, max }).collect();
    for service in members {
        world.start(Rules { service: *service, can_start: true, ..world.rules() });
    }
    world.run_for(20 * H);
    world
}

#[test]
fn as_many_are_started_as_are_missing() {
    every_seed(60, |seed| {
        let mut world = needing(seed, 10 * (seed % 2), &[(1, 5, None)], &[1; 5]);
        let crashes = 1 + seed as usize % 3;
        for _ in 0..crashes {
            let living = world.living();
            let who = living[world.random.below(living.len())];
            world.kill(who);
        }
        world.run_for(40 * H);
        assert_eq!((world.starts.len(), world.count(1)), (crashes, 5));
        assert!(world.has_one(1));
    });
}

#[test]
fn of_two_that_both_think_that_they_have_least_to_do_one_starts() {
    every_seed(200, |seed| {
        let mut world = needing(seed, 0, &[(1, 3, None)], &[1; 3]);
        let (idle, busy, victim) = (0, 1, 2);
        world.step(idle, Input::Workload(0x4000));
        world.step(busy, Input::Workload(0x8000));
        world.run_for(3 * H);
        world.kill(victim);
        // About when the start is due; the others hear of it only with its next heartbeat.
        let pause = 6 * H + world.random.next() % (5 * H);
        world.run_for(pause);
        world.step(busy, Input::Workload(0));
        world.run_for(40 * H);
        assert_eq!((world.starts.len(), world.count(1)), (1, 3));
    });
}

#[test]
fn the_last_of_its_type_is_replaced_by_a_process_of_another() {
    every_seed(40, |seed| {
        let mut world = needing(seed, 0, &[(1, 1, None), (2, 2, None)], &[1, 2, 2]);
        let last = world.primary();
        world.kill(last);
        world.run_for(40 * H);
        assert_eq!((world.starts.len(), world.count(1), world.count(2)), (1, 1, 2));
        assert!(world.has_one(1));
    });
}

#[test]
fn a_group_that_begins_too_small_grows_to_what_it_needs() {
    every_seed(20, |seed| {
        let mut world = needing(seed, 0, &[(1, 4, None)], &[1]);
        world.run_for(40 * H);
        assert_eq!((world.starts.len(), world.count(1)), (3, 4));
    });
}

#[test]
fn a_start_that_comes_to_nothing_is_tried_again_once() {
    every_seed(40, |seed| {
        let mut world = needing(seed, 0, &[(1, 3, None)], &[1; 3]);
        world.starts_fail = true;
        let victim = world.living()[seed as usize % 3];
        world.kill(victim);
        assert!(world.run_while(30 * H, |world| world.starts.is_empty()));
        // The starter's death makes one more missing, and does not have anybody start twice for the
        // first.
        let expected = if seed % 2 == 1 {
            let starter = (0..world.processes.len()).find(|who| {
                let spawned = |(_, kind): &(u64, _)| {
                    matches!(kind, crate::event::masterless::EventKind::Spawn { .. })
                };
                world.processes[*who].alive && world.processes[*who].news.iter().any(spawned)
            });
            world.kill(starter.expect("somebody started"));
            2
        } else {
            1
        };
        world.starts_fail = false;
        world.run_for(13 * H);
        assert_eq!(world.starts.len(), expected, "nobody starts another while one is waited for");
        world.run_for(20 * H);
        assert_eq!((world.starts.len(), world.count(1)), (expected + 1, 3));
    });
}

#[test]
fn who_dies_before_it_has_started_another_is_relieved_of_it() {
    every_seed(40, |seed| {
        let mut world = needing(seed, 0, &[(1, 4, None)], &[1; 4]);
        let victim = world.living()[seed as usize % 4];
        world.kill(victim);
        // The next heartbeats of who announces a start: it dies with them.
        let announced = |world: &World| {
            world.heard.as_ref().and_then(|heard| {
                heard.iter().rev().take(6).find(|beat| beat.starts.len() > 0).copied()
            })
        };
        world.heard = Some(Vec::new());
        assert!(world.run_while(30 * H, |world| announced(world).is_none()));
        let tail = announced(&world).expect("it was").id.tail();
        let starter =
            world.living().into_iter().find(|who| world.tail(*who) == tail).expect("it lives");
        world.kill(starter);
        world.run_for(50 * H);
        assert_eq!((world.starts.len(), world.count(1)), (2, 4));
    });
}

#[test]
fn when_there_are_too_many_the_youngest_standby_leaves() {
    every_seed(40, |seed| {
        let mut world = needing(seed, 0, &[(1, 3, Some(4))], &[1; 3]);
        let old = world.primary();
        world.split(|who| u8::from(who == 0));
        world.run_for(60 * H);
        assert_eq!(world.count(1), 6, "each side has started what it misses");
        world.heal();
        world.run_for(90 * H);
        assert_eq!(world.count(1), 4);
        assert!(world.has_one(1) && world.processes[old].alive | (world.primary() != old));
        let left = world
            .processes
            .iter()
            .filter(|one| !one.alive && one.machine.status() == Status::Primary);
        assert_eq!(left.count(), 0, "a primary has left");
    });
}

#[test]
fn at_rest_everybody_says_one_thing_in_each_interval_however_many_they_are() {
    for members in [2, 3, 10, 50] {
        for loss in [0, 30] {
            let all = every_seed(if members < 50 { 6 } else { 1 }, |seed| {
                let mut world = group(seed, ROBUST.slowest(H / 20), members);
                world.profile.loss = loss;
                let (sent, length) = (world.sent, 100);
                world.run_for(length * H);
                let each = (world.sent - sent) as f64 / (length * members as u64) as f64;
                let once = loss > 0 || (0.98..=1.02).contains(&each);
                assert!(once, "{members} processes: {each:.3} each");
                each
            });
            let mean = all.iter().map(|(_, each)| each).sum::<f64>() / all.len() as f64;
            println!("{members} processes, {loss} % lost: {mean:.3} heartbeats each");
            // Where much is lost, some suspect their primary for nothing, and ask for it.
            let most = if members == 2 { 1.15 } else { 1.05 };
            assert!(
                (0.98..=most).contains(&mean),
                "{members} processes, {loss} % lost: {mean:.3} each"
            );
        }
    }
}

#[test]
fn a_large_group_says_no_more_each_and_less_if_so_configured() {
    // A thousand take minutes; the long run has them.
    let members = if super::number("PARES_SIM_SEEDS").is_some_and(|seeds| seeds >= 20_000) {
        1000
    } else {
        150
    };
    for slow_above in [0, members / 5] {
        let profile = MID.slowest(H / 20);
        let mut world = World::new(7, profile);
        for _ in 0..members {
            world.start(Rules { slow_above, ..world.rules() });
        }
        world.run_for(12 * H);
        let old = world.primary();
        let sent = world.sent;
        world.run_for(10 * H);
        let each = (world.sent - sent) as f64 / (10 * members) as f64;
        let most = if slow_above == 0 { 1.15 } else { 0.4 };
        assert!(each <= most, "{each:.3} heartbeats each");
        world.kill(old);
        let took = until_another(&mut world, old, 20 * H);
        assert!(took <= profile.dead() + 3 * H / 10, "took {took} ms");
        println!(
            "{members} processes, fewer above {slow_above}: {each:.3} heartbeats each, taken over \
             after {took} ms"
        );
    }
}
