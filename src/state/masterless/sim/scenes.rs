//! The first primary, the next one, and how the role is handed over.

use super::every_seed;
use super::world::{FAST, H, MID, PROFILES, Pause, Profile, Who, World};
use crate::event::masterless::{EventKind, RoleCause};
use crate::state::masterless::{Input, Millis, Rules};
use crate::wire::heartbeat::Status;

/// So fast that what is measured is the algorithm, not the network.
const QUICK: Millis = H / 20;

/// A group that has found its primary and come to rest.
pub(super) fn group(seed: u64, profile: Profile, members: usize) -> World {
    let mut world = World::new(seed, profile);
    join(&mut world, members);
    world
}

pub(super) fn join(world: &mut World, members: usize) {
    for _ in 0..members {
        let rules = world.rules();
        world.start(rules);
        let pause = world.random.next() % (H / members as u64 + 1);
        world.run_for(pause);
    }
    let found = world.run_while(20 * H, |world| !world.has_one(1));
    assert!(found, "no first primary");
    world.run_for(9 * H);
    assert!(world.has_one(1));
}

/// How long it takes until another than `old` is primary.
pub(super) fn until_another(world: &mut World, old: Who, most: Millis) -> Millis {
    let from = world.now;
    let another = |world: &World| world.primaries(1).iter().any(|who| *who != old);
    assert!(
        world.run_while(most, |world| !another(world)),
        "nobody else is primary after {most} ms"
    );
    world.now - from
}

#[track_caller]
pub(super) fn no_overlap(world: &mut World) {
    world.finish();
    assert!(world.overlaps.is_empty(), "{:?}", world.overlaps);
}

#[test]
fn who_is_alone_is_primary_when_any_other_would_have_been_heard() {
    every_seed(30, |seed| {
        let mut world = World::new(seed, MID);
        let epoch = [0, 41][seed as usize % 2];
        let who = world.start(Rules { epoch, ..world.rules() });
        world.run_for(MID.dead() - 1);
        assert!(
            world.primaries(1).is_empty(),
            "a primary that stands still may not even know it yet"
        );
        world.run_for(H / 4);
        assert_eq!(world.primary(), who);
        let acquired = world.acquisitions[0];
        assert_eq!((acquired.token.epoch, acquired.cause), (epoch + 1, RoleCause::Unopposed));
    });
}

#[test]
fn a_cold_start_has_one_primary_and_no_second() {
    for members in [1, 2, 5, 10, 50] {
        every_seed(if members < 50 { 12 } else { 4 }, |seed| {
            let window = [0, H][seed as usize % 2];
            let profile = PROFILES[seed as usize % 3].slowest(QUICK);
            let mut world = World::new(seed, profile);
            for _ in 0..members {
                let pause = world.random.next() % (window / members + 1);
                world.run_for(pause);
                let rules = world.rules();
                world.start(rules);
            }
            let from = world.now;
            assert!(world.run_while(12 * H, |world| !world.has_one(1)));
            let took = world.now - from;
            assert!(
                took <= 3 * H + profile.window() + 3 * H / 10,
                "{members} processes took {took} ms"
            );
            world.run_until(from + 53 * H / 10);
            let joining = world
                .processes
                .iter()
                .filter(|one| one.machine.status() == Status::Joining)
                .count();
            assert_eq!(joining, 0, "not admitted after 5.3 H");
            world.run_for(10 * H);
            assert_eq!(world.acquisitions.len(), 1);
            no_overlap(&mut world);
        });
    }
}

#[test]
fn a_cold_start_on_a_bad_network_ends_with_one_primary() {
    every_seed(20, |seed| {
        let members = [1, 2, 5, 10][seed as usize % 4];
        let mut world = World::new(seed, MID.loss(30));
        for _ in 0..members {
            let rules = world.rules();
            world.start(rules);
        }
        world.run_for(15 * H);
        assert!(world.run_while(10 * H, |world| !world.has_one(1)));
    });
}

#[test]
fn of_equal_ranks_the_oldest_has_priority_and_growth_changes_nothing() {
    every_seed(20, |seed| {
        let mut world = group(seed, MID, 3);
        let first = world.primary();
        join(&mut world, 4);
        world.run_for(20 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (first, 1));
    });
}

#[test]
fn a_dead_primary_is_replaced_within_the_time_that_detection_takes() {
    for (members, usual) in [(2, 100), (3, 100), (10, 30), (50, 2)] {
        every_seed(usual, |seed| {
            let profile = PROFILES[seed as usize % 3].slowest(QUICK);
            let mut world = group(seed, profile, members);
            let old = world.primary();
            world.kill(old);
            let took = until_another(&mut world, old, 20 * H);
            assert!(took <= profile.dead() + 3 * H / 10, "{members} processes took {took} ms");
            world.run_for(10 * H);
            assert_eq!(world.acquisitions.len(), 2);
            no_overlap(&mut world);
        });
    }
}

#[test]
fn in_a_record_with_little_room_the_best_are_kept() {
    every_seed(2, |seed| {
        let profile = MID.slowest(QUICK);
        let mut world = World::new(seed, profile);
        for _ in 0..50 {
            world.start(Rules { max_members: 8, ..world.rules() });
        }
        world.run_for(20 * H);
        let old = world.primary();
        world.kill(old);
        let took = until_another(&mut world, old, 20 * H);
        assert!(took <= profile.dead() + 3 * H / 10, "took {took} ms");
        no_overlap(&mut world);
    });
}

#[test]
fn when_the_primary_and_the_next_die_together_the_third_takes_over() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3].slowest(QUICK);
        let mut world = group(seed, profile, 5);
        let old = world.primary();
        world.kill(old);
        let next = world
            .living()
            .into_iter()
            .min_by_key(|who| world.processes[*who].machine.id())
            .expect("four live");
        world.kill(next);
        let took = until_another(&mut world, old, 20 * H);
        assert!(took <= profile.dead() + 13 * H / 10, "took {took} ms");
        no_overlap(&mut world);
    });
}

/// A better process joins a group at rest. Gives both.
fn challenged(
    seed: u64,
    profile: Profile,
    members: usize,
    drain: Option<Millis>,
) -> (World, Who, Who) {
    let mut world = group(seed, profile, members);
    let old = world.primary();
    world.processes[old].drain = drain;
    let better = world.start(Rules { rank: 10, ..world.rules() });
    (world, old, better)
}

#[test]
fn a_better_process_is_handed_the_role_when_the_work_is_brought_to_an_end() {
    every_seed(90, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let drain = [Some(0), Some(3 * H / 2), None][seed as usize / 3 % 3];
        let (mut world, old, better) = challenged(seed, profile, 1 + seed as usize % 4, drain);
        assert!(world.run_while(30 * H, |world| world.processes[old].is_primary()));
        let yielded = world.now;
        assert!(world.run_while(30 * H, |world| !world.processes[better].is_primary()));
        let gap = world.now - yielded;
        assert!(gap <= profile.slowest + H / 8, "nobody was primary for {gap} ms");
        assert_eq!(world.acquisitions.last().map(|one| one.cause), Some(RoleCause::Named));
        world.run_for(40 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (better, 2));
        no_overlap(&mut world);
    });
}

#[test]
fn without_pre_emption_a_better_process_waits_for_the_primarys_death() {
    every_seed(30, |seed| {
        let mut world = World::new(seed, MID);
        for _ in 0..3 {
            world.start(Rules { preempt: false, ..world.rules() });
        }
        world.run_for(15 * H);
        let old = world.primary();
        let better = world.start(Rules { rank: 10, preempt: seed % 2 == 0, ..world.rules() });
        world.run_for(40 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (old, 1));
        world.kill(old);
        until_another(&mut world, old, 10 * H);
        assert_eq!(world.primary(), better);
        no_overlap(&mut world);
    });
}

#[test]
fn a_fault_inside_a_handover_leaves_one_primary() {
    every_seed(160, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let (mut world, old, better) = challenged(seed, profile, 2 + seed as usize % 3, Some(H));
        let begun =
            |world: &World| world.processes[better].machine.status() == Status::ToBecomePrimary;
        assert!(world.run_while(30 * H, |world| !begun(world)));
        let instant = world.random.next() % (3 * H);
        world.run_for(instant);
        let time = world.random.next() % (12 * H);
        match seed / 3 % 8 {
            0 => world.kill(old),
            1 => world.kill(better),
            2 => {
                world.kill(old);
                world.kill(better);
            }
            3 => world.pause(old, Pause::Visible, time),
            4 => world.pause(better, Pause::Visible, time),
            5 => world.step(old, Input::Leave),
            6 => world.step(better, Input::Leave),
            _ => {
                let rules = Rules { rank: 5, ..world.rules() };
                world.start(rules);
            }
        }
        world.longest_gap = 0;
        world.run_for(60 * H);
        assert!(world.has_one(1));
        no_overlap(&mut world);
        let most = profile.dead() + 35 * H / 10;
        assert!(world.longest_gap <= most, "nobody was primary for {} ms", world.longest_gap);
    });
}

#[test]
fn a_primary_that_never_yields_is_left_in_peace() {
    every_seed(20, |seed| {
        let (mut world, old, better) = challenged(seed, MID, 1, Some(0));
        world.cut.insert((better, old));
        let claims =
            |world: &World| world.processes[better].machine.status() == Status::ToBecomePrimary;
        assert!(world.run_while(30 * H, |world| !claims(world)));
        for peace in [30 * H, 60 * H] {
            let from = world.now;
            assert!(world.run_while(12 * H, claims));
            assert!(world.now - from >= 10 * H, "given up after {} ms", world.now - from);
            assert!(
                !world.run_while(peace - 2 * H, |world| !claims(world)),
                "claimed again too soon"
            );
            assert!(world.run_while(4 * H, |world| !claims(world)), "did not try again");
        }
        assert_eq!(world.primary(), old);
        no_overlap(&mut world);
    });
}

#[test]
fn of_two_that_claim_a_released_role_only_the_named_one_takes_it_at_once() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = group(seed, profile, 4);
        let old = world.primary();
        world.processes[old].drain = Some(H);
        world.step(old, Input::Leave);
        // The best of the others is to be named; the second best does not hear of its claim, and
        // makes one of its own.
        let mut others = world.living();
        others.retain(|who| *who != old);
        others.sort_by_key(|who| world.processes[*who].machine.id());
        world.cut.insert((others[0], others[1]));
        world.run_for(12 * H);
        let at_once: Vec<_> =
            world.acquisitions.iter().filter(|one| one.cause == RoleCause::Named).collect();
        assert!(at_once.len() <= 1, "{at_once:?}");
        world.cut.clear();
        world.run_for(10 * H);
        assert!(world.has_one(1));
    });
}

#[test]
fn who_leaves_hands_over_first() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let members = 2 + seed as usize % 4;
        let mut world = group(seed, profile, members);
        for left in 1..=members {
            let primary = world.primary();
            let others: Vec<Who> =
                world.living().into_iter().filter(|who| *who != primary).collect();
            // A standby's leaving changes nothing.
            if seed % 2 == 1 && others.len() > 1 {
                world.step(others[0], Input::Leave);
                world.run_for(5 * H);
                assert_eq!(world.primary(), primary);
                continue;
            }
            world.longest_gap = 0;
            world.step(primary, Input::Leave);
            world.run_for(8 * H);
            assert!(!world.processes[primary].alive, "it has not left");
            if others.is_empty() {
                assert!(world.primaries(1).is_empty());
                break;
            }
            assert!(world.has_one(1), "after {left} have left");
            world.finish();
            assert!(
                world.longest_gap <= profile.slowest + H / 8,
                "nobody was primary for {} ms",
                world.longest_gap
            );
        }
        let epochs: Vec<u64> = world.acquisitions.iter().map(|one| one.token.epoch).collect();
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
        no_overlap(&mut world);
    });
}

#[test]
fn a_directive_changes_who_is_primary_once() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = group(seed, profile, 3);
        let old = world.primary();
        let others: Vec<Who> = world.living().into_iter().filter(|who| *who != old).collect();
        let (target, rank) = [(others[0], 10), (old, 200), (old, 255)][seed as usize / 3 % 3];
        let by = others[1];
        let directive = Input::Direct { target: world.tail(target), rank };
        world.step(by, directive);
        world.run_for(100 * H);
        assert_ne!(world.primary(), old);
        assert!(target == old || world.primary() == target);
        assert_eq!(world.processes[target].machine.id().rank(), rank);
        assert_eq!(world.acquisitions.len(), 2, "the role went to and fro");
        no_overlap(&mut world);
    });
}

#[test]
fn of_two_that_are_let_lead_at_the_same_time_one_does() {
    every_seed(60, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let mut world = World::new(seed, profile);
        for _ in 0..2 {
            world.start(Rules { rank: 255, ..world.rules() });
        }
        world.run_for(9 * H);
        assert!(world.primaries(1).is_empty());
        world.step(0, Input::Rank(10));
        let pause = world.random.next() % (2 * profile.delay);
        world.run_for(pause);
        world.step(1, Input::Rank(10));
        world.run_for(10 * H);
        assert!(world.has_one(1));
        no_overlap(&mut world);
    });
}

/// Goal: a process that stood still takes in all that has come meanwhile before it decides, not
/// just what came first.
#[test]
fn a_better_claim_that_waits_unread_is_heard_before_an_own_one_succeeds() {
    every_seed(60, |seed| {
        let mut world = World::new(seed, [FAST, MID][seed as usize % 2]);
        for _ in 0..4 {
            world.start(Rules { rank: 255, ..world.rules() });
        }
        world.run_for(9 * H);
        world.step(0, Input::Rank(20));
        world.run_for(world.profile.slowest);
        // No longer than the others bear.
        world.pause(0, Pause::Visible, 7 * H / 4);
        let pause = world.random.next() % (H / 4);
        world.run_for(pause);
        world.step(1, Input::Rank(10));
        world.run_for(10 * H);
        assert_eq!((world.primary(), world.acquisitions.len()), (1, 1));
    });
}

#[test]
fn an_observer_knows_all_and_is_known_to_nobody() {
    every_seed(20, |seed| {
        let mut world = group(seed, FAST, 4);
        let old = world.primary();
        let news = |world: &World| world.processes.iter().map(|one| one.news.len()).sum::<usize>();
        let before = news(&world);
        let observer = world.start(Rules { observe: true, rank: 255, ..world.rules() });
        world.run_for(2 * H);
        assert_eq!(world.processes[observer].machine.members().count(), 4);
        world.run_for(20 * H);
        let told = world.processes[observer].news.len();
        assert_eq!((news(&world) - told, world.primary()), (before, old), "others were told of it");
        // Also when somebody asks everybody.
        world.heard = Some(Vec::new());
        let rules = world.rules();
        world.start(rules);
        world.run_for(10 * H);
        let own = world.tail(observer);
        let heard = world.heard.take().expect("it was on");
        assert!(
            heard.len() > 40 && heard.iter().all(|beat| beat.id.tail() != own),
            "an observer asks once, and is silent"
        );
    });
}

/// Goal: the role waits for the work. Method: a job that takes a while, or for ever, to end after
/// it was told; a better process that joins, or the primary's own leaving, alone or not.
#[test]
fn a_role_is_handed_over_when_its_job_has_ended() {
    every_seed(90, |seed| {
        let profile = PROFILES[seed as usize % 3];
        let drain = [Some(0), Some(3 * H / 2), None][seed as usize / 3 % 3];
        let mut world = group(seed, profile, 1 + seed as usize % 3);
        let old = world.primary();
        world.processes[old].drain = drain;
        world.processes[old].works = true;
        world.begin_job(old);
        assert!(world.processes[old].working);
        let told = world.now;
        if seed % 2 == 0 {
            world.start(Rules { rank: 10, ..world.rules() });
        } else {
            world.step(old, Input::Leave);
        }
        assert!(world.run_while(30 * H, |world| world.processes[old].is_primary()));
        let role = |(_, kind): &(Millis, EventKind)| match kind {
            EventKind::Role { cause, .. } => Some(*cause),
            _ => None,
        };
        let cause = world.processes[old].news.iter().rev().find_map(role).expect("a role");
        if drain.is_some() {
            assert!(!world.processes[old].working, "its job runs, and it is not primary");
            assert!(matches!(cause, RoleCause::HandedOver | RoleCause::Left), "{cause}");
        } else {
            assert!(world.processes[old].working, "who ended it?");
            assert!(matches!(cause, RoleCause::Overdue | RoleCause::Left), "{cause}");
            assert!(world.now >= told + 2 * H, "it was not waited for");
        }
        no_overlap(&mut world);
    });
}
