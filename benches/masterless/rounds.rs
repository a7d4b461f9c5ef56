//! The rounds: the one that leads is killed, or its host vanishes, and another leads.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hosts::Network;
use crate::keepalived::{self, Keepalived};
use crate::pares::Pares;
use crate::peers::Homes;
use crate::subject::{INTERVAL, Subject};

/// How often each is killed, and its host vanishes, in a whole run.
pub(crate) const ROUNDS: usize = 25;

/// For so long datagrams are counted, in a whole run.
const COUNTED: Duration = Duration::from_secs(20);

/// What pares assumes of the delay by default.
const DELAY: Duration = Duration::from_millis(100);

/// The least that it can be told to assume. In here, as on most wired networks, the true one is far
/// below it.
const LEAST_DELAY: Duration = Duration::from_millis(20);

/// A host's kernel notices within a second that its cable is in again.
const NOTICED: Duration = Duration::from_millis(1500);

/// The times of one subject, in nanoseconds.
struct Series {
    who: &'static str,
    kind: &'static str,
    times: Vec<u64>,
}

/// All that is measured with so many hosts.
pub(crate) fn rows(size: usize, rounds: usize) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("make a directory");
    let fresh = |name| {
        let path = directory.path().join(name);
        fs::create_dir(&path).expect("make a directory");
        path
    };
    let mut network = Network::new(size);
    let (second, mut third, one_host) = (Network::new(size), Network::new(size), Network::new(1));
    let seldom = INTERVAL * size as u32;
    let start = |network: &Network, times, homes, name| {
        Pares::start(network, size, times, homes, fresh(name))
    };
    let mut apart = start(&network, (INTERVAL, DELAY), Homes::Apart, "apart");
    let mut quick = start(&second, (INTERVAL, LEAST_DELAY), Homes::Apart, "quick");
    let mut sparse = start(&third, (seldom, DELAY), Homes::Apart, "sparse");
    let mut together = start(&one_host, (INTERVAL, DELAY), Homes::Shared, "together");
    let mut other =
        keepalived::lacking().map_or_else(|| Ok(Keepalived::start(&network, fresh("vrrp"))), Err);

    let series = |who, kind| Series { who, kind, times: Vec::new() };
    let mut killed = [
        series("pares, one machine, with the kernel's news of deaths", "pares"),
        series("pares, hosts", "pares"),
        series("pares, hosts, delay 20 ms", "pares"),
        series("pares, hosts, as few datagrams in all as keepalived", "pares"),
        series("keepalived", "rival"),
    ];
    let mut vanished = [
        series("pares, hosts", "pares"),
        series("pares, hosts, delay 20 ms", "pares"),
        series("keepalived", "rival"),
    ];
    for round in 0..rounds {
        // At any moment between two heartbeats.
        let phase = INTERVAL.mul_f64((round as f64 * 0.618).fract());
        killed[0].times.push(kill(&mut together, &one_host, phase));
        killed[1].times.push(kill(&mut apart, &network, phase));
        killed[2].times.push(kill(&mut quick, &second, phase));
        killed[3].times.push(kill(&mut sparse, &third, phase * size as u32));
        if let Ok(other) = &mut other {
            killed[4].times.push(kill(other, &network, phase));
        }
        vanished[0].times.push(vanish(&mut apart, &network, phase));
        vanished[1].times.push(vanish(&mut quick, &second, phase));
        settle_all(&mut apart, &mut other);
        if let Ok(other) = &mut other {
            vanished[2].times.push(vanish(other, &network, phase));
        }
        settle_all(&mut apart, &mut other);
        println!("{size} hosts, round {} of {rounds}", round + 1);
    }
    let time = COUNTED.mul_f64(rounds as f64 / ROUNDS as f64);
    let counts = count(&mut network, &mut third, size, other.is_ok(), time);
    let why = other.err();
    let skipped = why.as_deref();
    vec![
        times_row(
            "sigkill",
            format!("SIGKILL of the one that leads, {size} hosts"),
            size,
            &killed,
            skipped,
        ),
        times_row(
            "vanish",
            format!("cable of its host cut, {size} hosts"),
            size,
            &vanished,
            skipped,
        ),
        counts_row(size, counts, skipped),
    ]
}

/// One SIGKILL; how long until another led.
fn kill(subject: &mut impl Subject, network: &Network, phase: Duration) -> u64 {
    let host = subject.settle();
    thread::sleep(phase);
    let killed = subject.kill(host);
    let taken = subject.taken(host, killed);
    subject.restart(network, host);
    subject.settle();
    taken - killed
}

/// One cut cable; how long until another led. The cable is in again, but whoever led at both ends
/// may do so still.
fn vanish(subject: &mut impl Subject, network: &Network, phase: Duration) -> u64 {
    let host = subject.settle();
    thread::sleep(phase);
    let cut = crate::peers::now();
    network.cut(host);
    let taken = subject.taken(host, cut);
    network.mend(host);
    taken - cut
}

fn settle_all(apart: &mut Pares, other: &mut Result<Keepalived, String>) {
    thread::sleep(NOTICED);
    apart.settle();
    if let Ok(other) = other {
        other.settle();
    }
}

/// What all processes of a kind sent in each second in which nothing happened.
fn count(
    network: &mut Network,
    sparse: &mut Network,
    size: usize,
    with_other: bool,
    time: Duration,
) -> Vec<(&'static str, &'static str, f64, f64)> {
    network.count();
    sparse.count();
    let from = Instant::now();
    thread::sleep(time);
    let ((own, others), (few, _)) = (network.counted(), sparse.counted());
    let seconds = from.elapsed().as_secs_f64();
    let of = |number: u64| (number as f64 / seconds, number as f64 / seconds / size as f64);
    let mut counts = vec![
        ("pares, hosts", "pares", of(own).0, of(own).1),
        ("pares, hosts, as few datagrams in all as keepalived", "pares", of(few).0, of(few).1),
    ];
    if with_other {
        counts.push(("keepalived", "rival", of(others).0, of(others).1));
    }
    counts
}

fn times_row(
    group: &str,
    what: String,
    size: usize,
    series: &[Series],
    skipped: Option<&str>,
) -> Value {
    let one = |series: &Series| match (skipped, series.kind) {
        (Some(why), "rival") => json!({"who": series.who, "kind": series.kind, "skipped": why}),
        _ => {
            // Tenths of milliseconds: whatever is smaller is the time of a command or a thread's
            // turn.
            let values: Vec<f64> =
                series.times.iter().map(|time| (*time as f64 / 1e5).round() / 10.0).collect();
            json!({"who": series.who, "kind": series.kind, "values": values})
        }
    };
    let series: Vec<_> = series.iter().map(one).collect();
    json!({"group": group, "what": what, "hosts": size, "unit": "ms", "series": series})
}

fn counts_row(size: usize, counts: Vec<(&str, &str, f64, f64)>, skipped: Option<&str>) -> Value {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let count = |(who, kind, all, each)| {
        let (all, each) = (round(all), round(each));
        json!({"who": who, "kind": kind, "all": all, "each": each})
    };
    let mut series: Vec<_> = counts.into_iter().map(count).collect();
    series.extend(skipped.map(|why| json!({"who": "keepalived", "kind": "rival", "skipped": why})));
    let what = format!("datagrams per second, {size} hosts");
    let unit = "per second";
    json!({"group": "datagrams", "what": what, "hosts": size, "unit": unit, "series": series})
}
