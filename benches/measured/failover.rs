//! Take-over and recovery: from the SIGKILL of the one that leads to the one that knows that it
//! leads, and to the group in which all survivors are registered again; in real processes.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::helper::{Crowd, Helper, free_port, part};
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};
use crate::rivals::{Rivals, Server};

const TAKEOVER: &str = "takeover";
const RECOVERY: &str = "recovery";

pub(crate) fn rows(plan: &Plan, rivals: &Rivals) -> Vec<Row> {
    let mut rows = Vec::new();
    for size in plan.sizes(&[2, 8, 64, 256]) {
        let (takeover, recovery) = (plan.wants(TAKEOVER), plan.wants(RECOVERY) && size > 2);
        if takeover || recovery {
            measure(plan, rivals, size, takeover, recovery, &mut rows);
        }
    }
    rows
}

/// One that is led, and how its processes are started.
struct Contest<'a> {
    crowd: Crowd,
    command: Box<dyn Fn() -> Command + 'a>,
    took: Vec<u64>,
}

impl<'a> Contest<'a> {
    fn start(size: u64, command: impl Fn() -> Command + 'a) -> Self {
        let crowd = Crowd::start(size as usize, true, &command);
        Contest { crowd, command: Box::new(command), took: Vec::new() }
    }

    fn round(&mut self) {
        self.crowd.calm_down();
        self.took.push(self.crowd.replace_leader(&*self.command, None).0);
    }
}

/// Those that sleep while nothing happens are measured in turns, kill by kill. The locks with a
/// lease keep their processes busy all the time: each has its turn for itself, between the two
/// halves of the others.
fn measure(
    plan: &Plan,
    rivals: &Rivals,
    size: u64,
    takeover: bool,
    recovery: bool,
    rows: &mut Vec<Row>,
) {
    let directory = tempfile::tempdir().expect("make a directory");
    let lock = directory.path().join("lock");
    let port = free_port();
    let rounds = plan.rounds(30);
    let member = || part("member", &[&port, &directory.path().display()]);
    let mut group = Crowd::start(size as usize, true, &member);
    let mut waiters =
        takeover.then(|| Contest::start(size, || part("flock-waiter", &[&lock.display()])));
    let dbus = takeover.then(|| rivals.dbus());
    let mut queue =
        dbus.as_ref().map(|dbus| dbus.as_ref().map(|dbus| contest(size, dbus, "dbus-queue")));
    let mut gathering = recovery.then(|| Gathering::start(size - 1));
    let (mut known, mut settled, mut leases) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        if takeover && round == rounds / 2 {
            let few = |usual: u64| plan.rounds(if size > 64 { usual - 2 } else { usual });
            leases.push(lease("Redis lock, TTL 1 s", rivals.redis(), "redis-lock", size, few(6)));
            leases.push(lease("etcd lock, TTL 1 s", rivals.etcd(), "etcd-lock", size, few(5)));
        }
        group.calm_down();
        let (one, all) = group.replace_leader(&member, Some(size - 1));
        known.push(one);
        settled.push(all);
        if let Some(waiters) = &mut waiters {
            waiters.round();
        }
        if let Some(Ok(queue)) = &mut queue {
            queue.round();
        }
        if let Some(gathering) = &mut gathering {
            gathering.round();
        }
    }
    if let (Some(waiters), Some(queue)) = (waiters, queue) {
        let queue = match queue {
            Ok(queue) => Series::times(Kind::Rival, "D-Bus name queue", &queue.took),
            Err(why) => Series::skipped(Kind::Rival, "D-Bus name queue", why),
        };
        let mut series = vec![
            Series::times(Kind::Floor, "waiter blocked in flock", &waiters.took),
            Series::times(Kind::Own, "pares: supervisor known", &known),
            queue,
        ];
        // What of it is the end of so many threads: the kernel closes the connections of a process
        // after the last of them.
        if let Some(gathering) = &gathering {
            let who = "as many bare threads and connections: first end seen";
            series.insert(1, Series::times(Kind::Floor, who, &gathering.first));
        }
        series.append(&mut leases);
        let what = format!("take-over after SIGKILL, {size} processes");
        rows.push(Row { group: TAKEOVER, what, size: Some(size), unit: Unit::Time, series });
    }
    if let Some(gathering) = gathering {
        let series = vec![
            Series::times(Kind::Floor, "bare connect, two round trips each", &gathering.took),
            Series::times(Kind::Own, "pares: all survivors registered", &settled),
        ];
        let what = format!("recovery after SIGKILL, {size} processes");
        rows.push(Row { group: RECOVERY, what, size: Some(size), unit: Unit::Time, series });
    }
}

fn contest<'a>(size: u64, server: &'a Server, name: &'a str) -> Contest<'a> {
    Contest::start(size, move || server.part(name, &[]))
}

fn lease(who: &str, server: Result<Server, String>, name: &str, size: u64, rounds: u64) -> Series {
    let server = match server {
        Ok(server) => server,
        Err(why) => return Series::skipped(Kind::Rival, who, &why),
    };
    let mut contest = contest(size, &server, name);
    for round in 0..rounds {
        // The lock has been renewed at least once, and its holder is killed at any moment between
        // two renewals.
        let share = (round as f64 * 0.618).fract();
        thread::sleep(Duration::from_millis(500) + Duration::from_millis(333).mul_f64(share));
        contest.round();
    }
    Series::times(Kind::Rival, who, &contest.took)
}

/// The floor of a recovery: as many survivors as there are hold a line to a process that is killed,
/// and meet at another.
struct Gathering {
    survivors: Crowd,
    meeting: Helper,
    number: u64,
    /// Until the first of them knew.
    first: Vec<u64>,
    took: Vec<u64>,
}

impl Gathering {
    fn start(number: u64) -> Self {
        let survivors = Crowd::start(number as usize, false, &|| part("survivor", &[]));
        let meeting = Helper::start(part("gathering", &[&number]));
        Gathering { survivors, meeting, number, first: Vec::new(), took: Vec::new() }
    }

    fn round(&mut self) {
        let mut lifelines = Helper::start(part("lifelines", &[]));
        self.survivors.order(&format!("{} {}", lifelines.port(), self.meeting.port()));
        self.survivors.await_all(self.number as usize, "ready");
        self.survivors.calm_down();
        let killed = lifelines.kill();
        let line = self.meeting.line();
        let times: Vec<u64> =
            line.split_whitespace().skip(1).map(|time| time.parse().expect("a time")).collect();
        self.took.push(times[0] - killed);
        self.first.push(times[1] - killed);
    }
}
