//! What operators choose: who gets new connections, and when the addresses come back.

use std::time::Duration;

use super::super::agent::Agent;
use super::super::giveback::GiveBack;
use super::scenes::{all_is_well, bed, come, start};
use super::world::{At, Who, World, host};
use crate::event::masterless::Token;
use crate::state::route::{Order, RoutePolicy, Router, RouterInput, TargetCondition, TargetView};
use crate::state::sim::seeds::run_seeds;

/// Two routers and three targets.
const APART: [bool; 5] = [false, false, true, true, true];

fn bed_with(seed: u64, story: bool, set: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(seed, story, &APART);
    set(&mut world);
    start(&mut world, &[0, 1]);
    world.run_for(2000);
    world
}

fn order(world: &mut World, order: Order) {
    world.router_step(world.owner(), RouterInput::Order(order));
}

fn weigh(world: &mut World, at: At, weight: u16) {
    let target = host(at).v4.expect("a target has an address");
    order(world, Order::Weight { target, weight });
}

/// Returns how many of so many new clients each target gets.
fn taken(world: &mut World, clients: usize) -> [usize; 3] {
    let before = [2, 3, 4].map(|at| world.opened_on(at));
    for _ in 0..clients {
        world.connect();
        world.run_for(20);
    }
    world.run_for(1000);
    let after = [2, 3, 4].map(|at| world.opened_on(at));
    [0, 1, 2].map(|at| after[at] - before[at])
}

fn host_of(world: &World, who: Who) -> At {
    world.processes[who].at
}

/// The first router's process fails and is started again: returns after how many seconds it has
/// the addresses again, if it has them within two minutes.
fn comes_back(world: &mut World) -> Option<u64> {
    let first = world.owner();
    world.kill(first);
    world.run_for(9000);
    assert_eq!(host_of(world, world.owner()), 1);
    let again = world.start_router(0, 10);
    (1..=120).find(|_| {
        come(world, 900);
        world.run_for(1000);
        world.owners() == [again]
    })
}

#[test]
fn a_router_that_comes_back_takes_the_addresses_back_when_its_policy_says() {
    run_seeds(6, "gives_back", |seed, story| {
        let minute = Duration::from_secs(60);
        for policy in [GiveBack::Now, GiveBack::Never, GiveBack::After(minute)] {
            let mut world = bed_with(seed, story, |world| world.give_back = policy);
            let back = comes_back(&mut world);
            match policy {
                GiveBack::Now => assert!(back.is_some_and(|after| after <= 15), "{back:?}"),
                GiveBack::Never => assert_eq!(back, None),
                _ => assert!(back.is_some_and(|after| (60..=75).contains(&after)), "{back:?}"),
            }
            all_is_well(&mut world);
        }
    });
}

#[test]
fn a_pause_begins_the_time_anew_after_which_a_router_takes_the_addresses_back() {
    run_seeds(12, "begins_anew", |seed, story| {
        let after = GiveBack::After(Duration::from_secs(30));
        let mut world = bed_with(seed, story, |world| world.give_back = after);
        let first = world.owner();
        world.kill(first);
        world.run_for(9000);
        let again = world.start_router(0, 10);
        world.run_for(20_000);
        world.pause(again, 5000);
        world.run_for(30_000);
        assert_ne!(world.owners(), [again], "twenty-five seconds after the pause");
        world.run_for(15_000);
        assert_eq!(world.owners(), [again]);
        all_is_well(&mut world);
    });
}

#[test]
fn a_router_that_fails_again_and_again_does_not_have_the_addresses_wander() {
    run_seeds(6, "wander", |seed, story| {
        let minute = GiveBack::After(Duration::from_secs(60));
        let mut world = bed_with(seed, story, |world| world.give_back = minute);
        let first = world.owner();
        world.kill(first);
        world.run_for(9000);
        let second = world.owner();
        for _ in 0..20 {
            let again = world.start_router(0, 10);
            come(&mut world, 2000);
            world.run_for(3000);
            assert_eq!(world.owners(), [second]);
            world.kill(again);
        }
        all_is_well(&mut world);
    });
}

#[test]
fn a_router_that_waits_for_idleness_takes_the_addresses_back_when_nobody_is_connected() {
    run_seeds(6, "when_idle", |seed, story| {
        let mut world = bed_with(seed, story, |world| world.give_back = GiveBack::WhenIdle);
        assert_eq!(comes_back(&mut world), None, "clients come all the time");
        let again = world.routers()[1];
        world.run_for(30_000);
        assert!(world.open_on(2) + world.open_on(3) + world.open_on(4) > 0);
        assert_ne!(world.owners(), [again], "some stay");
        world.clients.iter_mut().for_each(|one| one.requests = 0);
        world.run_until(120_000, "given back", |world| world.owners() == [again]);
        assert_eq!(world.open_on(2) + world.open_on(3) + world.open_on(4), 0);
        all_is_well(&mut world);
    });
}

#[test]
fn new_connections_go_to_the_targets_by_their_weights() {
    run_seeds(20, "weights", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.run_for(2000);
        weigh(&mut world, 3, 2);
        weigh(&mut world, 4, 5);
        let [one, two, five] = taken(&mut world, 160);
        assert!(one.abs_diff(20) <= 2 && two.abs_diff(40) <= 2, "{one} {two} {five}");
        weigh(&mut world, 4, 0);
        let [one, two, none] = taken(&mut world, 60);
        assert!(none == 0 && one.abs_diff(20) <= 2, "{one} {two} {none}");
        all_is_well(&mut world);
    });
}

#[test]
fn a_target_that_is_taken_off_the_list_gets_nothing_new_and_keeps_what_it_has() {
    run_seeds(20, "off_the_list", |seed, story| {
        let mut world = bed_with(seed, story, |world| world.listed = true);
        let list = [2, 3].map(|at| (host(at).v4.expect("one"), 3)).to_vec();
        order(&mut world, Order::Candidates(Some(list)));
        let [one, two, none] = taken(&mut world, 60);
        assert!(none == 0 && one.abs_diff(two) <= 2, "{one} {two} {none}");
        order(&mut world, Order::Candidates(None));
        let [_, _, some] = taken(&mut world, 60);
        assert!(some.abs_diff(20) <= 2, "{some}");
        all_is_well(&mut world);
    });
}

/// So the hosts that the failure loads otherwise can be left out.
#[test]
fn a_backups_own_list_counts_while_it_has_the_addresses_and_all_agents_are_told() {
    run_seeds(20, "own_list", |seed, story| {
        let mut world = bed_with(seed, story, |world| {
            world.listed = true;
            world.own_lists.insert(1, vec![3, 4]);
        });
        let shares = taken(&mut world, 60);
        assert!(shares.iter().all(|share| share.abs_diff(20) <= 2), "{shares:?}");
        let first = world.owner();
        world.off(host_of(&world, first));
        world.run_for(9000);
        let [none, one, two] = taken(&mut world, 60);
        assert!(none == 0 && one.abs_diff(two) <= 2, "{none} {one} {two}");
        let list = [3, 4].map(|at| (host(at).v4.expect("one"), 1)).to_vec();
        for agent in world.agents() {
            assert_eq!(world.processes[agent].told_list.as_ref(), Some(&list));
            let served = world.processes[agent].agent().and_then(Agent::served);
            let owns = world.processes[world.owner()].router().and_then(Router::owns);
            assert_eq!(served, owns.map(Token::from), "it serves the one that has the addresses");
        }
        all_is_well(&mut world);
    });
}

#[test]
fn by_connections_an_empty_target_catches_up_and_is_not_given_all_at_once() {
    run_seeds(12, "catches_up", |seed, story| {
        let mut world = bed_with(seed, story, |world| {
            world.policy = RoutePolicy::Connections;
            world.hosts[4].listening = false;
        });
        let [_, _, none] = taken(&mut world, 300);
        assert_eq!(none, 0);
        world.hosts[4].listening = true;
        world.agents().into_iter().for_each(|agent| world.look(agent));
        let [one, two, empty] = taken(&mut world, 120);
        assert!(empty > one && empty > two, "it catches up: {one} {two} {empty}");
        assert!(one > 0 && two > 0, "it is not given all: {one} {two} {empty}");
        all_is_well(&mut world);
    });
}

#[test]
fn by_load_the_idle_targets_get_more_than_the_busy_one() {
    run_seeds(12, "by_load", |seed, story| {
        let mut world = bed_with(seed, story, |world| {
            world.policy = RoutePolicy::Load;
            world.hosts[4].workload = 49_152;
        });
        world.run_for(20_000);
        // A quarter of the room of each other.
        let [one, two, busy] = taken(&mut world, 180);
        assert!(busy.abs_diff(20) <= 4 && one.abs_diff(80) <= 4, "{one} {two} {busy}");
        all_is_well(&mut world);
    });
}

#[test]
fn with_a_standby_one_target_gets_all_and_then_another() {
    run_seeds(12, "standby_target", |seed, story| {
        let mut world = bed_with(seed, story, |world| world.policy = RoutePolicy::Standby);
        weigh(&mut world, 3, 9);
        assert_eq!(taken(&mut world, 30), [0, 30, 0]);
        weigh(&mut world, 3, 1);
        // Of equals the one with the smallest address.
        assert_eq!(taken(&mut world, 30), [30, 0, 0]);
        all_is_well(&mut world);
    });
}

#[test]
fn while_a_router_stands_in_for_a_better_one_busy_targets_are_spared() {
    run_seeds(12, "spared", |seed, story| {
        let mut world = bed_with(seed, story, |world| world.hosts[4].workload = 60_000);
        world.run_for(20_000);
        let [_, _, busy] = taken(&mut world, 60);
        assert!(busy.abs_diff(20) <= 2, "{busy}");
        let first = world.owner();
        world.kill(first);
        world.run_for(9000);
        let [one, two, busy] = taken(&mut world, 60);
        assert!(busy == 0 && one.abs_diff(two) <= 2, "{one} {two} {busy}");
        all_is_well(&mut world);
    });
}

#[test]
fn what_is_to_be_seen_of_the_targets_is_what_they_are() {
    run_seeds(20, "view", |seed, story| {
        let mut world = bed_with(seed, story, |world| world.listed = true);
        weigh(&mut world, 3, 7);
        world.off(4);
        world.run_for(20_000);
        let view = world.processes[world.owner()].router().expect("it is a router").view();
        assert!(view.owns.is_some() && view.is_settled);
        let seen = |at| {
            let is_its = |one: &&TargetView| one.host.is(&host(at));
            view.targets.iter().find(is_its).expect("it is a target")
        };
        let conditions = [2, 3, 4].map(|at| seen(at).condition);
        let (up, dead) = (TargetCondition::Up, TargetCondition::Dead);
        assert_eq!(conditions, [up, up, dead]);
        assert_eq!([2, 3].map(|at| seen(at).weight), [1, 7]);
        assert_eq!([2, 3].map(|at| seen(at).connections as usize >= world.open_on(at)), [true; 2]);
        assert!(seen(2).is_fit && seen(2).listening == 0b11 && !seen(2).is_draining);
    });
}
