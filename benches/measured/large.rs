//! How cost grows with the group: joins, recovery, and what one caller gets, from 8 instances to
//! 10,000 in a few processes.

use std::fs;
use std::thread;
use std::time::Duration;

use pares::Instance;

use crate::drive::{now, timed};
use crate::floor::{ECHO, Echo};
use crate::helper::{DEADLINE, Helper, OneProcessor, free_port, part, pause};
use crate::limits;
use crate::own::{FIRST, RESOURCE, config};
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};

const JOIN: &str = "growth-join";
const RECOVERY: &str = "growth-recovery";
const LOOK_UP: &str = "growth-look-up";
const ACQUIRE: &str = "growth-acquire";
const MISSING: &str = "growth-missing";
const PROCESSOR: &str = "growth-processor";

const SIZES: [u64; 5] = [8, 64, 256, 1000, 10_000];

/// All subordinates are in so many processes, at least one in each.
pub(crate) const PROCESSES: u64 = 8;

/// Calls of one caller, while so many others are there.
const CALLS: u64 = 300;

const BARE: &str = "bare connect, two round trips each";

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let groups = [JOIN, RECOVERY, MISSING, PROCESSOR, LOOK_UP, ACQUIRE]
        .into_iter()
        .filter(|group| plan.wants(group))
        .collect::<Vec<_>>();
    if groups.is_empty() {
        return Vec::new();
    }
    plan.any_sizes(&SIZES).into_iter().flat_map(|size| measure(plan, size, &groups)).collect()
}

#[derive(Default)]
struct Took {
    joined: Vec<u64>,
    known: Vec<u64>,
    settled: Vec<u64>,
    worked: Vec<u64>,
    looked_up: Vec<u64>,
    acquired: Vec<u64>,
    /// How many had not come back when the group was settled.
    missing: Vec<u64>,
}

fn measure(plan: &Plan, size: u64, groups: &[&'static str]) -> Vec<Row> {
    let lacking = limits::lacking(size, PROCESSES);
    let (mut own, mut floor) = (Took::default(), Took::default());
    if lacking.is_none() {
        // One after the other and never both at once: together they would be more threads than most
        // machines allow.
        for _ in 0..plan.rounds(if size > 1000 { 3 } else { 7 }) {
            bare(size, &mut floor);
            group(size, &mut own);
        }
    }
    let row = |group: &'static str, what: &str, series: Vec<(Kind, &str, &Vec<u64>)>| Row {
        group,
        what: format!("{what}, {size} instances in {PROCESSES} processes"),
        size: Some(size),
        unit: Unit::Time,
        series: series
            .into_iter()
            .map(|(kind, who, took)| match &lacking {
                Some(why) => Series::skipped(kind, who, why),
                None => Series::times(kind, who, took),
            })
            .collect(),
    };
    let (floor_kind, own_kind) = (Kind::Floor, Kind::Own);
    let rows = [
        row(
            JOIN,
            "all have joined",
            vec![
                (floor_kind, BARE, &floor.joined),
                (own_kind, "pares: all instances", &own.joined),
            ],
        ),
        row(
            RECOVERY,
            "recovery after SIGKILL",
            vec![
                (floor_kind, BARE, &floor.settled),
                (own_kind, "pares: settled", &own.settled),
                (own_kind, "pares: supervisor known", &own.known),
            ],
        ),
        Row {
            unit: Unit::Count,
            ..row(
                MISSING,
                "survivors that the group was settled without",
                vec![(own_kind, "pares", &own.missing)],
            )
        },
        row(
            PROCESSOR,
            "processor time of a recovery for each survivor",
            vec![(floor_kind, BARE, &floor.worked), (own_kind, "pares", &own.worked)],
        ),
        row(
            LOOK_UP,
            "look-up by one caller",
            vec![
                (floor_kind, "echo, 32 bytes", &floor.looked_up),
                (own_kind, "pares", &own.looked_up),
            ],
        ),
        row(
            ACQUIRE,
            "try-acquire and release by one caller",
            vec![
                (floor_kind, "echo, 32 bytes", &floor.looked_up),
                (own_kind, "pares", &own.acquired),
            ],
        ),
    ];
    // The kernel counts processor time in ticks of milliseconds.
    let counts = |row: &Row| row.group != PROCESSOR || size >= 1000;
    rows.into_iter().filter(|row| groups.contains(&row.group) && counts(row)).collect()
}

/// So many for each process.
fn shares(size: u64) -> impl Iterator<Item = u64> {
    (0..PROCESSES)
        .map(move |at| size / PROCESSES + u64::from(at < size % PROCESSES))
        .filter(|share| *share > 0)
}

/// All at once; what each says when it is done.
fn ask_all(
    helpers: &mut [Helper],
    word: &str,
    numbers: impl Iterator<Item = u64>,
) -> Vec<Vec<u64>> {
    helpers.iter_mut().zip(numbers).for_each(|(helper, number)| helper.order(word, number));
    helpers.iter_mut().map(Helper::answer).collect()
}

fn group(size: u64, took: &mut Took) {
    let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
    let place = directory.path().display();
    let mut first = Helper::start(part("first", &[&port, &place]));
    let mut crowds = Helper::start_all(shares(size).map(|_| part("crowd", &[&port, &place])));
    let began = now();
    ask_all(&mut crowds, "join", shares(size));
    took.joined.push(now() - began);
    calm_down(size);

    let one = OneProcessor::take();
    one.bring(&first);
    let caller = Instance::join(config(port, directory.path())).expect("join");
    let registry = caller.client().with_timeout(DEADLINE);
    let mut look_up = || _ = registry.look_up(FIRST).expect("an entry");
    timed(CALLS / 10, &mut look_up);
    took.looked_up.extend(timed(CALLS, &mut look_up));
    took.acquired.extend(timed(CALLS, || drop(caller.try_acquire(RESOURCE, 1).expect("a permit"))));
    drop(caller);
    drop(one);
    pause();

    let worked = processor_time(&crowds);
    let killed = first.kill();
    loop {
        thread::sleep(Duration::from_millis(50));
        let seen = ask_all(&mut crowds, "look", std::iter::repeat(0));
        let done = seen.iter().find(|seen| seen[1] > 0);
        if let Some(done) = done {
            took.missing.push(size - done[2]);
            took.known.push(done[0] - killed);
            took.settled.push(done[1] - killed);
            calm_down(size);
            took.worked.push((processor_time(&crowds) - worked) / size);
            break;
        }
        assert!(now() - killed < DEADLINE.as_nanos() as u64, "not settled: {seen:?}");
    }
}

fn bare(size: u64, took: &mut Took) {
    let mut gathering = Helper::start(part("gathering", &[&size]));
    let mut crowds =
        Helper::start_all(shares(size).map(|_| part("bare-crowd", &[&gathering.port()])));
    let began = now();
    ask_all(&mut crowds, "join", shares(size));
    took.joined.push(now() - began);
    gathering.line();
    drop(crowds);
    drop(gathering);

    let one = OneProcessor::take();
    let other = Helper::start(part("echo", &[]));
    let mut echo = Echo::<ECHO>::connect(other.port());
    took.looked_up.extend(timed(CALLS, || echo.trip()));
    drop(one);

    let gathering = Helper::start(part("gathering", &[&size]));
    let mut lifelines = Helper::start(part("lifelines", &[]));
    let mut crowds =
        Helper::start_all(shares(size).map(|_| part("bare-crowd", &[&gathering.port()])));
    ask_all(&mut crowds, "hold", std::iter::repeat(u64::from(lifelines.port())));
    ask_all(&mut crowds, "survive", shares(size));
    calm_down(size);
    crowds.push(gathering);
    let worked = processor_time(&crowds);
    let killed = lifelines.kill();
    let line = crowds.last_mut().expect("the gathering").line();
    let at: u64 = line.split(' ').nth(1).expect("what and when").parse().expect("a time");
    took.settled.push(at - killed);
    calm_down(size);
    took.worked.push((processor_time(&crowds) - worked) / size);
}

/// What these processes have used of the processors until now, in nanoseconds.
fn processor_time(helpers: &[Helper]) -> u64 {
    let ticks = |helper: &Helper| {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", helper.pid())).expect("the process lives");
        let fields = stat.rsplit(") ").next().expect("fields after the name");
        fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum::<u64>()
    };
    helpers.iter().map(ticks).sum::<u64>()
        * (1_000_000_000 / rustix::param::clock_ticks_per_second())
}

/// What a join leaves to be done is done after that.
fn calm_down(size: u64) {
    thread::sleep(Duration::from_millis(200) + Duration::from_micros(100) * size as u32);
}
