//! The costs and times of the algorithm, in intervals: for the documentation, and held to what it
//! promises.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::scenes::{group, until_another};
use super::world::{H, MID, World};
use super::{every_seed, number};

/// Sorted, in intervals.
type Times = Vec<f64>;

fn in_intervals(times: impl IntoIterator<Item = u64>) -> Times {
    let mut times: Vec<u64> = times.into_iter().collect();
    times.sort_unstable();
    times.into_iter().map(|time| time as f64 / H as f64).collect()
}

#[track_caller]
fn at_most(times: &Times, middle: f64, last: f64) {
    assert!(!times.is_empty());
    assert!(times[times.len() / 2] <= middle, "half of them take {}", times[times.len() / 2]);
    assert!(times[times.len() - 1] <= last, "the slowest takes {}", times[times.len() - 1]);
}

/// A primary's death: when it is suspected, when another has taken over, and how much each process
/// says in an interval of rest and in the ten after the death.
fn crash(seed: u64, members: usize) -> (u64, u64, f64, f64) {
    let mut world = group(seed, MID.slowest(H / 20), members);
    let each = |world: &mut World, members: usize| {
        let before = world.sent;
        world.run_for(10 * H);
        (world.sent - before) as f64 / (10 * members) as f64
    };
    let rest = each(&mut world, members);
    let phase = world.random.next() % H;
    world.run_for(phase);
    let old = world.primary();
    let (died, sent) = (world.now, world.sent);
    world.kill(old);
    let took = until_another(&mut world, old, 20 * H);
    let suspected = |one: &super::world::Process| {
        let told = |(at, kind): &&(u64, crate::event::masterless::EventKind)| {
            *at >= died && matches!(kind, crate::event::masterless::EventKind::Suspected { .. })
        };
        one.news.iter().find(told).map(|(at, _)| *at)
    };
    let detected =
        world.processes.iter().filter_map(suspected).min().expect("somebody suspected it") - died;
    world.run_until(died + 10 * H);
    (detected, took, rest, (world.sent - sent) as f64 / (10 * (members - 1).max(1)) as f64)
}

/// A divided group becomes whole: for how long there are two primaries.
fn heal(seed: u64, members: usize) -> u64 {
    let mut world = group(seed, MID.slowest(H / 20), members);
    let cut = 1 + world.random.below(members - 1);
    world.split(|who| u8::from(who < cut));
    world.run_for(20 * H);
    world.heal();
    let from = world.now;
    assert!(world.run_while(10 * H, |world| !world.has_one(1)));
    world.now - from
}

/// A handover: for how long there is no primary.
fn handover(seed: u64, members: usize) -> u64 {
    let mut world = group(seed, MID.slowest(H / 20), members);
    let old = world.primary();
    world.step(old, crate::state::masterless::Input::Leave);
    assert!(world.run_while(10 * H, |world| world.processes[old].is_primary()));
    let from = world.now;
    assert!(world.run_while(10 * H, |world| !world.has_one(1)));
    world.now - from
}

#[test]
fn times_and_messages_are_in_proportion_to_the_interval_and_not_to_the_group() {
    let path = std::env::var_os("PARES_SIM_FIGURES");
    let sizes: &[(usize, u64)] = if path.is_some() {
        &[(2, 1000), (10, 400), (100, 20), (1000, 1)]
    } else {
        &[(2, 30), (10, 15), (50, 1)]
    };
    let mut figures: BTreeMap<&str, BTreeMap<usize, Times>> = BTreeMap::new();
    for &(members, usual) in sizes {
        let usual = if number("PARES_SIM_SEED").is_some() { 1 } else { usual };
        let crashes = every_seed(usual, |seed| crash(seed, members));
        let crashes: Vec<_> = crashes.into_iter().map(|(_, one)| one).collect();
        let detected = in_intervals(crashes.iter().map(|one| one.0));
        let taken = in_intervals(crashes.iter().map(|one| one.1));
        at_most(&detected, 3.0, 3.2);
        at_most(&taken, 4.0, 4.3);
        let mean = |part: fn(&(u64, u64, f64, f64)) -> f64| {
            crashes.iter().map(part).sum::<f64>() / crashes.len() as f64
        };
        let (rest, change) = (mean(|one| one.2), mean(|one| one.3));
        assert!(
            (0.97..1.03).contains(&rest) && change < 3.0,
            "{members} processes say {rest:.2} and {change:.2} each"
        );
        // What comes of a partition and of a hand-over does not depend on the size, and a thousand
        // take minutes.
        let few = if members > 100 { 0 } else { usual.min(400) };
        let overlaps = in_intervals(
            every_seed(few, |seed| heal(seed, members)).into_iter().map(|(_, time)| time),
        );
        let gaps = in_intervals(
            every_seed(few, |seed| handover(seed, members)).into_iter().map(|(_, time)| time),
        );
        if few > 0 {
            at_most(&overlaps, 1.2, 2.5);
            at_most(&gaps, 0.06, 0.1);
        }
        for (name, times) in [
            ("detection_H", detected),
            ("takeover_H", taken),
            ("overlap_after_heal_H", overlaps),
            ("gap_in_handover_H", gaps),
            ("messages_at_rest", vec![rest]),
            ("messages_in_a_takeover", vec![change]),
        ] {
            if !times.is_empty() {
                figures.entry(name).or_default().insert(members, times);
            }
        }
    }
    if let Some(path) = path {
        std::fs::write(path, json(&figures)).expect("the file of the figures");
    }
}

fn json(figures: &BTreeMap<&str, BTreeMap<usize, Times>>) -> String {
    let mut text = String::from("{\n");
    for (place, (name, sizes)) in figures.iter().enumerate() {
        let lists = sizes.iter().map(|(members, times)| {
            let times: Vec<String> = times.iter().map(|time| format!("{time:.3}")).collect();
            format!("    \"{members}\": [{}]", times.join(", "))
        });
        let lists: Vec<String> = lists.collect();
        let comma = if place + 1 < figures.len() { "," } else { "" };
        _ = writeln!(text, "  \"{name}\": {{\n{}\n  }}{comma}", lists.join(",\n"));
    }
    text + "}\n"
}
