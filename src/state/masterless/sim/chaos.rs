//! Random faults for a while, then peace: whatever happened, one primary of each type remains.

use super::every_seed;
use super::world::{FAST, H, MID, Overlap, PROFILES, Pause, Profile, ROBUST, World};
use crate::state::masterless::{Input, Millis, Rules};
use crate::wire::heartbeat::Status;

/// What goes wrong besides crashes, starts, departures, pauses that are seen, and changes of rank.
#[derive(Clone, Copy)]
struct Family {
    splits: bool,
    frozen: bool,
    loss: bool,
    /// Nothing that some, or all, send is taken; and now and then something is not.
    outages: bool,
}

const PLAIN: Family = Family { splits: false, frozen: false, loss: false, outages: false };
const OUTAGES: Family = Family { outages: true, ..PLAIN };
const SPLITS: Family = Family { splits: true, ..PLAIN };
const LOSSY: Family = Family { loss: true, ..PLAIN };
const EVERYTHING: Family = Family { splits: true, frozen: true, loss: true, outages: true };

struct Outcome {
    overlaps: Vec<Overlap>,
    acquisitions: usize,
    longest_gap: Millis,
}

fn chaos(seed: u64, family: Family, profile: Profile) -> Outcome {
    let mut world = World::new(seed, profile);
    world.drift = true;
    if family.loss {
        world.profile.loss = world.random.next() % 31;
    }
    let types = 1 + world.random.below(2) as u16;
    let members = 2 + world.random.below(6);
    for _ in 0..members {
        start(&mut world, types);
        let pause = world.random.next() % (2 * H);
        world.run_for(pause);
    }
    world.run_for(6 * H);
    for _ in 0..4 + world.random.below(10) {
        if family.outages && world.random.one_in(2) {
            outage(&mut world);
        } else {
            fault(&mut world, family, types);
        }
        let pause = world.random.time_in(8 * H);
        world.run_for(pause);
    }
    world.heal();
    for process in &mut world.processes {
        (process.refused, process.flaky) = (false, 0);
    }
    if family.loss {
        // Peace begins with a network that loses no more than it must.
        world.profile.loss = world.profile.loss.min(10);
    }
    world.run_for(45 * H);
    converged(&mut world, family);
    world.finish();
    Outcome {
        overlaps: world.overlaps,
        acquisitions: world.acquisitions.len(),
        longest_gap: world.longest_gap,
    }
}

fn start(world: &mut World, types: u16) {
    let service = 1 + world.random.below(usize::from(types)) as u16;
    let rank = [128, 128, 128, 10, 200, 255][world.random.below(6)];
    let workload = world.random.next() as u16;
    let prepare_handover = world.random.one_in(2);
    let rules = Rules { service, rank, workload, prepare_handover, ..world.rules() };
    let who = world.start(rules);
    world.processes[who].works = world.random.one_in(2);
    world.processes[who].drain =
        [Some(0), Some(H / 2), Some(3 * H / 2), None][world.random.below(4)];
}

fn fault(world: &mut World, family: Family, types: u16) {
    let living = world.living();
    let Some(&who) = living.get(world.random.below(living.len().max(1))) else {
        return start(world, types);
    };
    // Primaries are where it hurts.
    let service = world.processes[who].rules.service;
    let who = if world.random.one_in(2) {
        world.primaries(service).first().copied().unwrap_or(who)
    } else {
        who
    };
    let time = world.random.time_in(12 * H);
    match world.random.below(if family.splits { 12 } else { 9 }) {
        0 | 1 => world.kill(who),
        2 | 3 => start(world, types),
        4 => world.step(who, Input::Leave),
        5 => {
            let pause = if family.frozen && world.random.one_in(2) {
                Pause::Frozen
            } else {
                Pause::Visible
            };
            world.pause(who, pause, time);
        }
        6 => world.pause(who, Pause::Visible, time),
        7 => {
            let rank = [10, 128, 200, 255][world.random.below(4)];
            if world.processes[who].is_running() {
                world.step(who, Input::Rank(rank));
            }
        }
        8 => {
            let target = world.tail(who);
            let by = living[world.random.below(living.len())];
            let rank = [10, 128, 200][world.random.below(3)];
            if world.processes[by].is_running() {
                world.step(by, Input::Direct { target, rank });
            }
        }
        9 | 10 => {
            let bits = world.random.next();
            world.split(|who| (bits >> (who % 64) & 1) as u8);
        }
        _ => world.heal(),
    }
}

/// What some process sends is refused from now on, or all of a machine's, or now and then; or no
/// longer.
fn outage(world: &mut World) {
    let living = world.living();
    let Some(&any) = living.get(world.random.below(living.len().max(1))) else { return };
    let who = if world.random.one_in(2) {
        world.primaries(1).first().copied().unwrap_or(any)
    } else {
        any
    };
    tell!(world, "what {who} and others send is taken or not");
    match world.random.below(6) {
        0 | 1 => world.processes[who].refused = true,
        2 => world.processes.iter_mut().for_each(|process| process.refused = true),
        3 => world.processes[who].flaky = 30,
        _ => world
            .processes
            .iter_mut()
            .for_each(|process| (process.refused, process.flaky) = (false, 0)),
    }
}

fn converged(world: &mut World, family: Family) {
    for service in world.services() {
        // Who is never to be primary and is, stays as long as nobody else could be it.
        let able = world.processes.iter().any(|one| {
            let could = one.could_lead() && one.machine.status() != Status::Leaving;
            one.is_running() && one.rules.service == service && (could || one.is_primary())
        });
        // At some loss there are moments of a change; at none there is peace by now.
        let settled = world.run_while(30 * H, |world| world.has_one(service) != able);
        assert!(settled, "type {service}: able {able}, primaries {:?}", world.primaries(service));
        let Some(&primary) = world.primaries(service).first() else { continue };
        if family.loss {
            continue;
        }
        let epoch = world.processes[primary].machine.max_epoch();
        let token = world.processes[primary].machine.token().expect("it is primary").epoch;
        assert_eq!(epoch, token, "its epoch is behind");
        for process in
            world.processes.iter().filter(|one| one.is_running() && one.rules.service == service)
        {
            assert!(
                process.machine.max_epoch() <= token,
                "somebody knows an epoch above the primary's {token}"
            );
        }
    }
}

/// Runs every seed and prints what came of all of them.
fn every_chaos(usual: u64, run: impl Fn(u64) -> Outcome + Sync) -> Vec<(u64, Outcome)> {
    let all = every_seed(usual, run);
    let acquisitions: usize = all.iter().map(|(_, outcome)| outcome.acquisitions).sum();
    let gap =
        all.iter().map(|(seed, outcome)| (outcome.longest_gap, *seed)).max().unwrap_or_default();
    let overlaps = all.iter().flat_map(|(seed, outcome)| {
        outcome.overlaps.iter().map(move |one| (one.to - one.from, *seed))
    });
    let overlaps: Vec<(Millis, u64)> = overlaps.collect();
    println!(
        "{} seeds, {acquisitions} acquisitions, longest gap and its seed {gap:?} ms, {} overlaps \
         of {} ms in all, the longest and its seed {:?}",
        all.len(),
        overlaps.len(),
        overlaps.iter().map(|(length, _)| length).sum::<Millis>(),
        overlaps.iter().max(),
    );
    all
}

#[test]
fn without_loss_there_are_never_two_primaries() {
    let all = every_chaos(600, |seed| chaos(seed, PLAIN, PROFILES[seed as usize % 3]));
    for (seed, outcome) in all {
        assert!(outcome.overlaps.is_empty(), "seed {seed}: {:?}", outcome.overlaps);
    }
}

#[test]
fn who_cannot_send_does_not_make_two_primaries() {
    let all = every_chaos(600, |seed| chaos(seed, OUTAGES, PROFILES[seed as usize % 3]));
    for (seed, outcome) in all {
        assert!(outcome.overlaps.is_empty(), "seed {seed}: {:?}", outcome.overlaps);
    }
}

#[test]
fn with_loss_two_primaries_are_rare_and_soon_one() {
    let all = every_chaos(400, |seed| chaos(seed, LOSSY, ROBUST));
    let bad = all.iter().filter(|(_, outcome)| !outcome.overlaps.is_empty()).count();
    assert!(bad <= all.len() / 200 + 1, "{bad} of {} runs", all.len());
    for (seed, outcome) in &all {
        for overlap in &outcome.overlaps {
            assert!(overlap.to - overlap.from <= 2 * H, "seed {seed}: {overlap:?}");
        }
    }
}

#[test]
fn a_divided_group_that_is_whole_again_has_one_primary_soon() {
    let all = every_chaos(600, |seed| chaos(seed, SPLITS, [FAST, MID][seed as usize % 2]));
    for (seed, outcome) in &all {
        for overlap in &outcome.overlaps {
            assert!(overlap.to - overlap.from <= 33 * H / 10, "seed {seed}: {overlap:?}");
        }
    }
    let mut lengths: Vec<Millis> = all
        .iter()
        .flat_map(|(_, outcome)| outcome.overlaps.iter().map(|one| one.to - one.from))
        .collect();
    lengths.sort_unstable();
    if let Some(&most) = lengths.get(lengths.len() * 95 / 100) {
        assert!(most <= 14 * H / 10, "one in twenty overlaps is longer than {most} ms");
    }
}

#[test]
fn everything_at_once_comes_to_an_end() {
    every_chaos(400, |seed| chaos(seed, EVERYTHING, PROFILES[seed as usize % 3]));
}
