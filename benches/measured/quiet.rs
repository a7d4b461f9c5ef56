//! What a group costs while nothing happens: wake-ups, packets, memory; with a thousand subordinates.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::helper::{Directory, Helper, free_port, part};
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};

/// How many subordinates, and in how many processes.
const SUBORDINATES: u64 = 1000;
const PROCESSES: u64 = 4;

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// What brings a new namespace's loopback interface up.
const LO_UP: [&str; 5] = ["ip", "link", "set", "lo", "up"];

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let (idle, memory) = (plan.wants("idle"), plan.wants("memory"));
    if !idle && !memory {
        return Vec::new();
    }
    // In a network namespace of its own nobody else's packets are counted.
    let scene = part("quiet", &[&"alone"]);
    let apart = |flags: &[&str]| {
        let can = Command::new("unshare").args(flags).args(LO_UP).output().is_ok_and(|output| output.status.success());
        can.then(|| {
            let mut command = Command::new("unshare");
            command.args(flags).arg(scene.get_program()).args(scene.get_args());
            command
        })
    };
    let alone = apart(&["--net"]).or_else(|| apart(&["--net", "--map-root-user"]));
    let is_alone = alone.is_some();
    let mut helper = Helper::start(alone.unwrap_or_else(|| part("quiet", &[&"among others"])));
    let (mut floor_memory, mut own_memory) = (Vec::new(), Vec::new());
    let mut counts = None;
    let times = if memory { plan.rounds(3) } else { 1 };
    for round in 0..times {
        let last = idle && round + 1 == times;
        let numbers = helper.ask("round", if last { IDLE.as_secs() } else { 0 });
        own_memory.push(numbers[0] as f64);
        floor_memory.push(numbers[1] as f64);
        counts = last.then(|| [numbers[2], numbers[3], numbers[4]].map(|number| number as f64));
    }
    let mut rows = Vec::new();
    if let Some([wakes, floor_wakes, packets]) = counts {
        let what = format!("wake-ups in {} idle seconds, {SUBORDINATES} subordinates", IDLE.as_secs());
        let series = vec![
            Series::new(Kind::Floor, "as many threads blocked in read", [floor_wakes]),
            Series::new(Kind::Own, "pares: all threads of all processes", [wakes]),
        ];
        rows.push(Row { group: "idle", what, size: Some(SUBORDINATES), unit: Unit::Count, series });
        let what = format!("packets in {} idle seconds, {SUBORDINATES} subordinates", IDLE.as_secs());
        let series = if is_alone {
            vec![Series::new(Kind::Own, "pares", [packets])]
        } else {
            vec![Series::skipped(
                Kind::Own,
                "pares",
                "no network namespace can be made here, so packets of others would count",
            )]
        };
        rows.push(Row { group: "idle", what, size: Some(SUBORDINATES), unit: Unit::Count, series });
    }
    if memory {
        let what = "resident memory of the supervisor for each subordinate".into();
        let series = vec![
            Series::new(Kind::Floor, "one thread blocked in read, same stack", floor_memory),
            Series::new(Kind::Own, "pares", own_memory),
        ];
        rows.push(Row { group: "memory", what, size: Some(SUBORDINATES), unit: Unit::Bytes, series });
    }
    rows
}

/// The part that plays the scene, in a namespace of its own where there is one. A number of seconds is answered by: bytes
/// for each subordinate, for each blocked thread; wake-ups of the group, of the blocked threads; packets.
pub(crate) fn scene(alone: bool) -> ! {
    if alone {
        let up = Command::new(LO_UP[0]).args(&LO_UP[1..]).status();
        assert!(up.is_ok_and(|status| status.success()), "the loopback interface");
    }
    crate::drive::obey(|_, seconds| {
        let (directory, port) = (Directory::new(), free_port());
        let place = directory.path().display();
        let first = Helper::start(part("first", &[&port, &place]));
        let alone = resident(first.pid());
        let each = SUBORDINATES / PROCESSES;
        let others = Helper::start_all((0..PROCESSES).map(|_| part("subordinates", &[&port, &place, &each])));
        thread::sleep(Duration::from_millis(1500)); // what a join leaves to be done is done
        let own_memory = (resident(first.pid()) - alone) / SUBORDINATES;

        let readers = Helper::start(part("blocked-readers", &[]));
        let alone = resident(readers.pid());
        let _dialler = Helper::start(part("dialler", &[&readers.port(), &SUBORDINATES]));
        thread::sleep(Duration::from_millis(500));
        let floor_memory = (resident(readers.pid()) - alone) / SUBORDINATES;

        let group: Vec<u32> = others.iter().chain([&first]).map(Helper::pid).collect();
        let count = || (switches(&group), switches(&[readers.pid()]), packets());
        let before = count();
        thread::sleep(Duration::from_secs(seconds));
        let after = count();
        let (wakes, floor_wakes, packets) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        vec![own_memory, floor_memory, wakes, floor_wakes, packets]
    })
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).expect("a field of /proc");
    line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
}

/// In bytes.
fn resident(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives"), "VmRSS:") * 1024
}

/// How often any thread of these has given up its processor: each time, it was woken before.
fn switches(pids: &[u32]) -> u64 {
    let of_thread = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).expect("the thread lives");
        field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:")
    };
    let threads = |pid: &u32| fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten();
    pids.iter().flat_map(threads).map(of_thread).sum()
}

/// Received on the loopback interface of this namespace.
fn packets() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").expect("the network's counters");
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).expect("a loopback interface");
    line.split_whitespace().nth(1).expect("packets").parse().expect("a number")
}
