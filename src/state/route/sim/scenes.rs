//! The failures, one by one.

use super::world::{At, DEAD, Deed, H, Stage, Who, World, host};
use crate::state::masterless::Millis;
use crate::state::route::{Order, RouteNews, RoutePolicy, RouterInput, TargetCondition};
use crate::state::sim::seeds::run_seeds;

/// Two routers and three targets.
const APART: [bool; 5] = [false, false, true, true, true];
/// The second router is a target, too.
const TOGETHER: [bool; 4] = [false, true, true, true];

fn bed_of(seed: u64) -> &'static [bool] {
    if seed % 2 == 0 { &APART } else { &TOGETHER }
}

/// A world in which the first router owns the addresses, and clients have come.
pub(super) fn bed(seed: u64, story: bool, hosts: &[bool], routers: &[At]) -> World {
    let mut world = World::new(seed, story, hosts);
    start(&mut world, routers);
    world
}

pub(super) fn start(world: &mut World, routers: &[At]) {
    for at in routers {
        world.start_router(*at, 10 + *at as u8);
    }
    let targets = (0..world.hosts.len()).filter(|at| world.hosts[*at].is_target);
    targets.collect::<Vec<At>>().into_iter().for_each(|at| _ = world.start_agent(at));
    world.run_until(60_000, "settled", World::is_settled);
    for _ in 0..20 {
        world.connect();
        let pause = world.random.time_in(100);
        world.run_for(pause);
    }
}

/// New clients for so long, some each second.
pub(super) fn come(world: &mut World, time: Millis) {
    let mut at = 0;
    while at < time {
        at += 20 + world.random.time_in(200);
        world.plan(at, Deed::Client);
    }
}

/// Nobody has noticed anything but a delay.
#[track_caller]
pub(super) fn all_is_well(world: &mut World) {
    world.check_all_well();
    assert!(world.resets.is_empty(), "{:?}", world.resets);
}

fn host_of(world: &World, who: Who) -> At {
    world.processes[who].at
}

#[test]
fn a_router_that_dies_loses_no_connection() {
    run_seeds(100, "a_router_that_dies", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        come(&mut world, 10_000);
        let before = world.random.time_in(2000);
        world.run_for(before);
        let owner = world.owner();
        match seed / 2 % 2 {
            0 => world.kill(owner),
            _ => world.off(host_of(&world, owner)),
        }
        world.run_for(9000);
        assert_ne!(world.owner(), owner);
        all_is_well(&mut world);
    });
}

/// The kernel goes on routing, and ends the dead process's hold on the addresses.
#[test]
fn the_death_of_a_routers_process_is_no_pause() {
    run_seeds(40, "no_pause", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        come(&mut world, 10_000);
        world.run_for(1000);
        let owner = world.owner();
        let at = host_of(&world, owner);
        world.kill(owner);
        world.longest_wait = 0;
        world.run_for(2000);
        assert!(!world.owning_hosts().contains(&at), "the addresses outlive the lease");
        world.run_for(7000);
        all_is_well(&mut world);
    });
}

#[test]
fn a_router_that_dies_between_any_two_deeds_loses_no_connection() {
    run_seeds(250, "between_any_two_deeds", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        world.start_router(0, 200);
        let third = world.routers().len();
        assert_eq!(third, 3);
        come(&mut world, 12_000);
        // The successor dies while it takes over, a few deeds later each time.
        let (owner, next) = (world.owner(), world.routers()[1]);
        world.dies_before = Some((next, seed as usize % 60));
        world.kill(owner);
        world.run_for(14_000);
        all_is_well(&mut world);
        assert_eq!(world.owners().len(), 1);
    });
}

#[test]
fn a_router_that_comes_back_gets_the_addresses_back_and_nobody_notices() {
    run_seeds(150, "comes_back", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        let first = world.owner();
        match seed / 2 % 2 {
            0 => world.kill(first),
            _ => {
                world.off(0);
                world.plan(500, Deed::On(0));
            }
        }
        world.run_for(5000);
        assert_ne!(world.owner(), first);
        world.check_all_well();
        come(&mut world, 12_000);
        world.run_for(1000);
        world.longest_wait = 0;
        let back = world.start_router(0, 10);
        world.run_for(10_000);
        assert_eq!(world.owner(), back, "the better one has them again");
        all_is_well(&mut world);
        // A client thinks for up to two seconds; an answer that fails to come is asked for again
        // after 200 ms.
        assert!(world.longest_wait < 2300, "{} ms", world.longest_wait);
    });
}

#[test]
fn a_router_that_leaves_hands_over_and_loses_no_connection() {
    run_seeds(60, "hands_over", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        come(&mut world, 10_000);
        world.run_for(1000);
        let owner = world.owner();
        world.longest_wait = 0;
        world.leave(owner);
        world.run_for(9000);
        assert_ne!(world.owner(), owner);
        assert!(world.hosts[0].table.is_none(), "it has taken everything away");
        all_is_well(&mut world);
        assert!(world.longest_wait < 2300, "{} ms", world.longest_wait);
    });
}

#[test]
fn two_owners_at_once_break_no_connection() {
    run_seeds(150, "two_owners", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        come(&mut world, 14_000);
        world.plan(500, Deed::Cut(0, 1));
        for flip in 0..50 {
            world.plan(1000 + 150 * flip, Deed::Flip);
        }
        world.plan(8000, Deed::Mend(0, 1));
        world.run_for(7900);
        assert_eq!(world.owners().len(), 1, "the targets say that there is a newer one");
        world.run_for(6100);
        all_is_well(&mut world);
        assert_eq!(world.owners().len(), 1);
    });
}

#[test]
fn a_restarted_router_goes_on_with_the_table_that_it_finds() {
    run_seeds(120, "the_table_that_it_finds", |seed, story| {
        let alone = seed % 3 == 0;
        let routers: &[At] = if alone { &[0] } else { &[0, 1] };
        let mut world = bed(seed, story, &APART, routers);
        come(&mut world, 12_000);
        world.run_for(1000);
        let owner = world.owner();
        world.kill(owner);
        let away = world.random.time_in(5 * DEAD);
        world.run_for(away);
        world.start_router(0, 10);
        world.run_for(12_000);
        assert_eq!(world.owner(), *world.routers().last().unwrap());
        all_is_well(&mut world);
    });
}

#[test]
fn a_router_that_stood_still_gives_up_and_breaks_nothing() {
    run_seeds(100, "stood_still", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        come(&mut world, 14_000);
        let owner = world.owner();
        let time = world.random.time_in(10_000);
        world.pause(owner, time);
        world.run_for(15_000);
        all_is_well(&mut world);
        assert_eq!(world.owners().len(), 1);
    });
}

/// It cannot know whether all others are dead, or it is cut off; and its neighbours still send to
/// it for a while when it is back.
/// Nothing in the group says so.
#[test]
fn a_target_that_dies_before_its_agent_has_joined_is_dead_too() {
    run_seeds(40, "before_it_has_joined", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.off(4);
        world.run_for(20_000);
        world.execute(Deed::On(4));
        world.start_agent(4);
        world.run_for(1400);
        world.off(4);
        world.run_for(20_000);
        assert!(world.is_settled());
        let view = world.processes[world.owner()].router().expect("it is a router").view();
        let target = view.targets.iter().find(|one| one.host.is(&host(4)));
        assert_eq!(target.map(|one| one.condition), Some(TargetCondition::Dead));
    });
}

#[test]
fn a_router_that_was_cut_off_from_all_has_refused_nobody() {
    run_seeds(60, "cut_off_from_all", |seed, story| {
        let mut world = bed(seed, story, bed_of(seed), &[0, 1]);
        let others = 1..world.hosts.len();
        others.for_each(|other| world.plan(1000, Deed::Cut(0, other)));
        let time = 1000 + world.random.time_in(10 * DEAD);
        world.run_for(time);
        world.mend_all();
        for flip in 0..20 {
            world.plan(50 * flip, Deed::Flip);
        }
        come(&mut world, 3000);
        world.run_for(8000);
        all_is_well(&mut world);
        assert_eq!(world.owners().len(), 1);
    });
}

#[test]
fn the_clients_of_a_dead_target_learn_it_and_no_others() {
    run_seeds(80, "dead_target", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.run_for(2000);
        let had = world.open_on(3);
        world.off(3);
        // The group knows after its silence, the router when nothing answers there either.
        world.run_for(DEAD + 3 * H);
        assert_eq!(world.open_on(3), 0, "of {had}");
        come(&mut world, 3000);
        world.run_for(4000);
        assert!(world.resets.values().sum::<usize>() <= had, "{:?} of {had}", world.resets);
        world.check_all_well();
    });
}

#[test]
fn a_target_that_loses_only_its_agent_loses_no_connection() {
    run_seeds(60, "only_its_agent", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        come(&mut world, 20_000);
        let agent = world.agents()[1];
        world.kill(agent);
        let back = world.random.time_in(16_000);
        world.plan(back, Deed::StartAgent(3));
        world.run_for(21_000);
        all_is_well(&mut world);
    });
}

#[test]
fn a_target_that_is_switched_off_and_on_again_loses_only_what_it_had() {
    run_seeds(80, "off_and_on", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.may_refuse_new = true; // by the host itself, while nobody listens there yet
        come(&mut world, 15_000);
        world.run_for(1000);
        world.off(3);
        let after = world.random.time_in(2 * DEAD);
        world.run_for(after);
        world.execute(Deed::On(3));
        let boot = world.random.time_in(1000);
        world.plan(boot, Deed::StartAgent(3));
        world.run_for(15_000);
        world.check_all_well();
        assert_eq!(world.hanging(), 0, "all that it had know that it has them no more");
    });
}

#[test]
fn what_all_targets_deny_is_refused_and_the_rest_is_not() {
    run_seeds(40, "deny", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.run_for(5000);
        let owner = world.owner();
        let refused = |world: &World| {
            let of = |(_, news): &(Millis, RouteNews)| match news {
                RouteNews::Refused { connections } => *connections,
                _ => 0,
            };
            world.processes[owner].news.iter().map(of).sum::<usize>()
        };
        world.junk(100);
        world.run_for(2 * H + 500);
        assert_eq!(refused(&world), 100, "nobody has them");
        // Now one target says nothing.
        let agent = world.agents()[0];
        world.kill(agent);
        world.run_for(H);
        world.junk(100);
        world.run_for(8 * H);
        assert_eq!(refused(&world), 100, "that one may have them");
        world.start_agent(2);
        world.run_for(5000);
        world.junk(10_000);
        world.run_for(10_000);
        all_is_well(&mut world);
    });
}

#[test]
fn a_drained_target_gets_nothing_new_and_keeps_what_it_has() {
    run_seeds(40, "drained", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.run_for(2000);
        let address = "10.0.0.4".parse().unwrap();
        let order = |on| RouterInput::Order(Order::Drain { target: address, on });
        world.router_step(world.owner(), order(true));
        let before = world.open_on(3);
        come(&mut world, 5000);
        world.run_for(6000);
        assert!(world.open_on(3) <= before);
        world.router_step(world.owner(), order(false));
        let before = world.opened_on(3);
        come(&mut world, 5000);
        world.run_for(6000);
        assert!(world.opened_on(3) > before);
        all_is_well(&mut world);
    });
}

#[test]
fn without_a_target_new_clients_wait_and_are_then_refused() {
    run_seeds(20, "refused", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        world.run_for(2000);
        let listen = |world: &mut World, on| {
            (2..5).for_each(|at| world.hosts[at].listening = on);
            world.agents().into_iter().for_each(|agent| world.look(agent));
        };
        listen(&mut world, false);
        world.run_for(300);
        let client = world.connect();
        world.run_for(2000);
        assert_eq!(world.clients[client].stage, Stage::Opening, "it waits");
        listen(&mut world, true);
        world.run_for(3000);
        assert!(matches!(world.clients[client].stage, Stage::Open { .. } | Stage::Over));
        listen(&mut world, false);
        world.run_for(4000);
        world.may_refuse_new = true;
        let client = world.connect();
        world.run_for(1000);
        assert_eq!(world.clients[client].stage, Stage::Reset, "it is told");
    });
}

#[test]
fn a_group_in_which_nothing_happens_says_nothing() {
    run_seeds(10, "says_nothing", |seed, story| {
        let mut world = bed(seed, story, &APART, &[0, 1]);
        // Until all who only came for a while are gone.
        world.run_for(60_000);
        let letters = world.letters;
        world.run_for(100 * H);
        assert_eq!(world.letters, letters);
        all_is_well(&mut world);
    });
}

#[test]
fn with_affinity_a_client_comes_to_the_same_target_through_another_router() {
    run_seeds(20, "affinity", |seed, story| {
        let mut world = World::new(seed, story, &APART);
        world.policy = RoutePolicy::Client;
        world.start_router(0, 10);
        world.start_router(1, 11);
        (2..5).for_each(|at| _ = world.start_agent(at));
        world.run_until(60_000, "settled", World::is_settled);
        let before: Vec<usize> = (0..30).map(|_| world.connect()).collect();
        world.run_for(1000);
        let owner = world.owner();
        world.kill(owner);
        world.run_for(8000);
        assert_ne!(world.owner(), owner);
        for client in before {
            let Some(on) = world.opened(client) else { panic!("it was opened") };
            let again = world.connect_again(client);
            world.run_for(100);
            assert_eq!(world.opened(again), Some(on));
        }
    });
}
