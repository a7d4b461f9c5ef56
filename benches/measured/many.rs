//! Many at once: permits per second, and a setting seen by a hundred.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pares::Instance;

use crate::drive::{Slot, now};
use crate::floor::ECHO;
use crate::helper::{DEADLINE, Helper, free_port, part, pause};
use crate::own::{KEY, config};
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};
use crate::rivals::Rivals;

/// How long each kind of holders has its turn, in milliseconds.
const TURN_MS: u64 = 250;

/// Permits acquired and released per second by so many holders at once, all threads of one process.
pub(crate) fn throughput(plan: &Plan, rivals: &Rivals) -> Vec<Row> {
    if !plan.wants("throughput") {
        return Vec::new();
    }
    plan.sizes(&[1, 8, 64, 512]).into_iter().map(|size| throughput_of(size, plan, rivals)).collect()
}

fn throughput_of(size: u64, plan: &Plan, rivals: &Rivals) -> Row {
    let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
    let _first = Helper::start(part("first", &[&port, &directory.path().display()]));
    let (echo, counter) = (Helper::start(part("echo", &[])), Helper::start(part("counter", &[])));
    let redis = rivals.redis();
    let mut contestants = vec![
        (Kind::Floor, "echo, 32 bytes", Ok(Helper::start(part("echoers", &[&echo.port(), &size])))),
        (
            Kind::Floor,
            "echo and one message more",
            Ok(Helper::start(part("customers", &[&counter.port(), &size]))),
        ),
        (
            Kind::Own,
            "pares",
            Ok(Helper::start(part("holders", &[&port, &directory.path().display(), &size]))),
        ),
    ];
    for (address, who) in [(0, "Redis script, Unix socket"), (1, "Redis script, TCP")] {
        let holders = redis
            .as_ref()
            .map(|redis| Helper::start(redis.part_at(address, "redis-holders", &[&size])));
        contestants.push((Kind::Rival, who, holders));
    }
    let mut rates: Vec<Vec<f64>> = contestants.iter().map(|_| Vec::new()).collect();
    for turn in 0..=plan.rounds(10) {
        for ((_, _, holders), rates) in contestants.iter_mut().zip(&mut rates) {
            let Ok(holders) = holders else { continue };
            let answer = holders.ask("run", TURN_MS);
            if turn > 0 {
                rates.push(answer[0] as f64 * 1e9 / answer[1] as f64);
            }
        }
    }
    let series = contestants.iter().zip(rates).map(|((kind, who, holders), rates)| match holders {
        Ok(_) => Series::new(*kind, who, rates),
        Err(why) => Series::skipped(*kind, who, why),
    });
    let series = series.collect();
    let what = format!("acquire and release per second, {size} holders");
    Row { group: "throughput", what, size: Some(size), unit: Unit::PerSecond, series }
}

/// How many see a setting.
const SEERS: u64 = 100;

/// From the call that sets a setting until the last of a hundred processes has seen it.
pub(crate) fn setting(plan: &Plan, rivals: &Rivals) -> Vec<Row> {
    if !plan.wants("setting") {
        return Vec::new();
    }
    let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
    let slots = |name| Slots::new(directory.path(), name);
    let (floor_slots, own_slots, redis_slots) = (slots("floor"), slots("own"), slots("redis"));

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let bare = listener.local_addr().expect("a port").port();
    let accept = thread::spawn(move || {
        let streams = listener.incoming().map_while(Result::ok).take(SEERS as usize);
        streams.inspect(|stream| stream.set_nodelay(true).expect("nodelay")).collect::<Vec<_>>()
    });
    let _readers = Helper::start_all(
        (0..SEERS).map(|number| part("reader", &[&bare, &floor_slots.path.display(), &number])),
    );
    let mut streams = accept.join().expect("the readers");

    let place = directory.path().display();
    let _first = Helper::start(part("first", &[&port, &place]));
    let _seers = Helper::start_all(
        (0..SEERS).map(|number| part("seer", &[&port, &place, &own_slots.path.display(), &number])),
    );
    let setter = Instance::join(config(port, directory.path())).expect("join");

    let mut redis = rivals.redis().map(|server| {
        let part =
            |number| server.part("redis-subscriber", &[&redis_slots.path.display(), &number]);
        let subscribers = Helper::start_all((0..SEERS).map(part));
        (Helper::start(server.part("redis-caller", &[])), subscribers, server)
    });

    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 1..=plan.rounds(50) {
        pause();
        let mut bytes = [0; ECHO];
        bytes[..8].copy_from_slice(&round.to_ne_bytes());
        let began = now();
        streams.iter_mut().for_each(|stream| stream.write_all(&bytes).expect("a reader"));
        took[0].push(floor_slots.all_saw(round) - began);

        pause();
        let began = now();
        setter.client().with_timeout(DEADLINE).set(KEY, &round.to_string()).expect("set");
        took[1].push(own_slots.all_saw(round) - began);

        if let Ok((publisher, ..)) = &mut redis {
            pause();
            let began = publisher.ask("publish", round)[0];
            took[2].push(redis_slots.all_saw(round) - began);
        }
    }
    let rival = match redis {
        Ok(_) => Series::times(Kind::Rival, "Redis PUBLISH, Unix socket", &took[2]),
        Err(why) => Series::skipped(Kind::Rival, "Redis PUBLISH, Unix socket", &why),
    };
    let series = vec![
        Series::times(Kind::Floor, "100 bare writes, 100 reads", &took[0]),
        Series::times(Kind::Own, "pares", &took[1]),
        rival,
    ];
    let what = format!("a setting set until {SEERS} processes have seen it");
    vec![Row { group: "setting", what, size: None, unit: Unit::Time, series }]
}

/// Where all note when they have seen a round.
struct Slots {
    path: std::path::PathBuf,
}

impl Slots {
    fn new(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        fs::write(&path, vec![0; (SEERS * Slot::SIZE) as usize]).expect("write the slots");
        Slots { path }
    }

    /// When the last one has seen it; looks seldom, so as not to delay those who still have to.
    fn all_saw(&self, round: u64) -> u64 {
        let began = now();
        loop {
            thread::sleep(Duration::from_millis(10));
            let bytes = fs::read(&self.path).expect("read the slots");
            let number = |at: &[u8]| u64::from_ne_bytes(at.try_into().expect("eight bytes"));
            let mut slots = bytes
                .chunks_exact(Slot::SIZE as usize)
                .map(|slot| (number(&slot[..8]), number(&slot[8..])));
            if slots.clone().all(|(seen, _)| seen == round) {
                return slots.map(|(_, at)| at).max().expect("slots");
            }
            assert!(
                now() - began < DEADLINE.as_nanos() as u64,
                "{:?} did not see it",
                slots.find(|slot| slot.0 != round)
            );
        }
    }
}
