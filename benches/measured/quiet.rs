//! What a group costs while nothing happens: wake-ups, packets, memory; with up to ten thousand
//! subordinates.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::helper::{Helper, free_port, part};
use crate::limits;
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};

/// How many subordinates, and in how many processes.
const SIZES: [u64; 4] = [64, 256, 1000, 10_000];
const PROCESSES: u64 = 8;

/// From so many on it is counted what happens while nothing does.
const IDLE_FROM: u64 = 1000;

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// What brings a new namespace's loopback interface up.
const LO_UP: [&str; 5] = ["ip", "link", "set", "lo", "up"];

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let (idle, memory) = (plan.wants("idle"), plan.wants("memory"));
    let sizes = plan.any_sizes(&SIZES).into_iter();
    sizes.flat_map(|size| rows_of(plan, size, idle && size >= IDLE_FROM, memory)).collect()
}

fn rows_of(plan: &Plan, size: u64, idle: bool, memory: bool) -> Vec<Row> {
    if !idle && !memory {
        return Vec::new();
    }
    let lacking = limits::lacking(size, PROCESSES);
    // In a network namespace of its own nobody else's packets are counted.
    let scene = part("quiet", &[&"alone", &size]);
    let apart = |flags: &[&str]| {
        let can = Command::new("unshare")
            .args(flags)
            .args(LO_UP)
            .output()
            .is_ok_and(|output| output.status.success());
        can.then(|| {
            let mut command = Command::new("unshare");
            command.args(flags).arg(scene.get_program()).args(scene.get_args());
            command
        })
    };
    let alone = apart(&["--net"]).or_else(|| apart(&["--net", "--map-root-user"]));
    let is_alone = alone.is_some();
    let helper =
        || Helper::start(alone.unwrap_or_else(|| part("quiet", &[&"among others", &size])));
    let mut helper = lacking.is_none().then(helper);
    let (mut floor_memory, mut own_memory) = (Vec::new(), Vec::new());
    let mut counts = None;
    let times = if memory { plan.rounds(3) } else { 1 };
    for round in 0..times {
        let Some(helper) = &mut helper else { break };
        let last = idle && round + 1 == times;
        let numbers = helper.ask("round", if last { IDLE.as_secs() } else { 0 });
        own_memory.push(numbers[0] as f64);
        floor_memory.push(numbers[1] as f64);
        counts = last.then(|| [numbers[2], numbers[3], numbers[4]].map(|number| number as f64));
    }
    let mut rows = Vec::new();
    let series = |kind, who: &str, values: Vec<f64>| match &lacking {
        Some(why) => Series::skipped(kind, who, why),
        None => Series::new(kind, who, values),
    };
    if idle {
        let [wakes, floor_wakes, packets] = counts.unwrap_or_default();
        let what = format!("wake-ups in {} idle seconds, {size} subordinates", IDLE.as_secs());
        let wakes = vec![
            series(Kind::Floor, "as many threads blocked in read", vec![floor_wakes]),
            series(Kind::Own, "pares: all threads of all processes", vec![wakes]),
        ];
        rows.push(Row { group: "idle", what, size: Some(size), unit: Unit::Count, series: wakes });
        let what = format!("packets in {} idle seconds, {size} subordinates", IDLE.as_secs());
        let packets = if is_alone {
            series(Kind::Own, "pares", vec![packets])
        } else {
            let why = "no network namespace can be made here, so packets of others would count";
            Series::skipped(Kind::Own, "pares", why)
        };
        rows.push(Row {
            group: "idle",
            what,
            size: Some(size),
            unit: Unit::Count,
            series: vec![packets],
        });
    }
    if memory {
        let what = format!("resident memory of the supervisor for each of {size} subordinates");
        let memory = vec![
            series(Kind::Floor, "one thread blocked in read, same stack", floor_memory),
            series(Kind::Own, "pares", own_memory),
        ];
        rows.push(Row {
            group: "memory",
            what,
            size: Some(size),
            unit: Unit::Bytes,
            series: memory,
        });
    }
    rows
}

/// The part that plays the scene, in a namespace of its own where there is one. A number of seconds
/// is answered by: bytes for each subordinate, for each blocked thread; wake-ups of the group, of
/// the blocked threads; packets.
pub(crate) fn scene(alone: bool, size: u64) -> ! {
    if alone {
        let up = Command::new(LO_UP[0]).args(&LO_UP[1..]).status();
        assert!(up.is_ok_and(|status| status.success()), "the loopback interface");
    }
    crate::drive::obey(move |_, seconds| {
        // One after the other: together they would be more threads than most machines allow.
        let [own_memory, wakes, packets] = group(size, seconds);
        let [floor_memory, floor_wakes] = blocked_threads(size, seconds);
        vec![own_memory, floor_memory, wakes, floor_wakes, packets]
    })
}

fn group(size: u64, seconds: u64) -> [u64; 3] {
    let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
    let place = directory.path().display();
    let first = Helper::start(part("first", &[&port, &place]));
    let alone = resident(first.pid());
    let each = size / PROCESSES;
    let others =
        Helper::start_all((0..PROCESSES).map(|_| part("subordinates", &[&port, &place, &each])));
    thread::sleep(Duration::from_millis(1500)); // what a join leaves to be done is done
    let memory = (resident(first.pid()) - alone) / size;
    let group: Vec<u32> = others.iter().chain([&first]).map(Helper::pid).collect();
    let before = (switches(&group), packets());
    thread::sleep(Duration::from_secs(seconds));
    let packets = packets() - before.1;
    [memory, switches(&group) - before.0, packets]
}

fn blocked_threads(size: u64, seconds: u64) -> [u64; 2] {
    let readers = Helper::start(part("blocked-readers", &[]));
    let alone = resident(readers.pid());
    let _dialler = Helper::start(part("dialler", &[&readers.port(), &size]));
    thread::sleep(Duration::from_millis(500));
    let memory = (resident(readers.pid()) - alone) / size;
    let before = switches(&[readers.pid()]);
    thread::sleep(Duration::from_secs(seconds));
    [memory, switches(&[readers.pid()]) - before]
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).expect("a field of /proc");
    line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
}

/// In bytes.
fn resident(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives"), "VmRSS:")
        * 1024
}

/// How often any thread of these has given up its processor: each time, it was woken before.
fn switches(pids: &[u32]) -> u64 {
    let of_thread = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).expect("the thread lives");
        field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:")
    };
    let threads =
        |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten();
    pids.iter().flat_map(threads).map(of_thread).sum()
}

/// Received on the loopback interface of this namespace.
fn packets() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").expect("the network's counters");
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .expect("a loopback interface");
    line.split_whitespace().nth(1).expect("packets").parse().expect("a number")
}
