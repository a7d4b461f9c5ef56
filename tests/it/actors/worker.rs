//! One of the workers of `chaos`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::{AcquireError, EventKind, Instance};
use rustix::fs::{FlockOperation, flock};

use super::{given, given_config, orders, say};
use crate::chaos::{EXIT_PATIENCE, SETTLE, UNITS, now_ns};
use crate::random::Random;
use crate::support::PATIENCE;

/// The files of the units, as one process has them open.
struct Slots(Vec<File>);

impl Slots {
    fn open() -> Self {
        let path = |number: usize| format!("{}/slot{number}", given("DIRECTORY"));
        let open = |number| {
            File::options().read(true).write(true).create(true).truncate(false).open(path(number))
        };
        Slots((0..UNITS).map(|number| open(number).unwrap()).collect())
    }

    /// Locks a file for each unit; says so if one had to be waited for, and by whom it was held.
    fn occupy(&self, units: usize, random: &mut Random) -> Vec<&File> {
        let mut ours: BTreeSet<usize> = BTreeSet::new();
        let (began, began_ns) = (Instant::now(), now_ns());
        let mut passes = 0;
        let mut holders: BTreeSet<String> = BTreeSet::new();
        while ours.len() < units {
            let start = random.below(UNITS as u64) as usize;
            for number in (0..UNITS).map(|number| (start + number) % UNITS) {
                let free =
                    || flock(&self.0[number], FlockOperation::NonBlockingLockExclusive).is_ok();
                if ours.len() < units && !ours.contains(&number) && free() {
                    ours.insert(number);
                    let mut file = &self.0[number];
                    file.seek(SeekFrom::Start(0)).unwrap();
                    file.write_all(format!("{:<8}", std::process::id()).as_bytes()).unwrap();
                }
            }
            passes += 1;
            // One pass sees no moment but a while, in which the free file may have been another
            // each time.
            if ours.len() < units && passes > 20 && began.elapsed() > Duration::from_millis(1) {
                for number in (0..UNITS).filter(|number| !ours.contains(number)) {
                    let (mut file, mut holder) = (&self.0[number], String::new());
                    file.seek(SeekFrom::Start(0)).unwrap();
                    file.read_to_string(&mut holder).unwrap();
                    holders.insert(holder.trim().into());
                }
                if began.elapsed() > EXIT_PATIENCE {
                    say(&format!("violation: no file for {units} units, held by {holders:?}"));
                    break;
                }
            }
            thread::yield_now();
        }
        if !holders.is_empty() {
            let holders: Vec<String> = holders.into_iter().collect();
            say(&format!(
                "waited {began_ns} {} {}",
                began.elapsed().as_micros(),
                holders.join(",")
            ));
        }
        ours.into_iter().map(|number| &self.0[number]).collect()
    }
}

/// What a process does with permits until it is to be calm.
fn use_permits(instance: &Instance, calm: &AtomicBool, fresh: &AtomicBool, random: &mut Random) {
    let slots = Slots::open();
    let mut granted = 0;
    while !calm.load(Ordering::Relaxed) {
        let units = 1 + random.below(3);
        let asked = match random.below(10) {
            0..5 => instance.acquire_timeout("slots", units, random.millis(50, 500)),
            5..7 => instance.try_acquire("slots", units),
            7..9 => instance.acquire_timeout("slots", units, random.millis(0, 3)),
            _ => instance.acquire("slots", units),
        };
        let permit = match asked {
            Ok(permit) => permit,
            Err(AcquireError::Exhausted { .. } | AcquireError::TimedOut { .. }) => {
                thread::sleep(random.millis(0, 3));
                continue;
            }
            Err(error) => {
                say(&format!("violation: {error:?}"));
                continue;
            }
        };
        granted += 1;
        if granted % 10 == 0 {
            say("ten");
        }
        if fresh.swap(false, Ordering::Relaxed) {
            say(&format!("granted {} {}", instance.term(), now_ns()));
        }
        let occupied = slots.occupy(units as usize, random);
        thread::sleep(random.millis(2, 10));
        if !permit.is_valid() {
            say("violation: a permit is not valid");
        }
        for file in occupied {
            flock(file, FlockOperation::Unlock).unwrap();
        }
        if random.below(2) == 0 {
            drop(permit);
        } else {
            permit.release();
        }
    }
}

pub(super) fn play() {
    let config = given_config()
        .resource(pares::Resource::new("slots", UNITS as u64))
        .settle_time(SETTLE)
        .join_timeout(PATIENCE);
    let instance = Arc::new(Instance::join(config).unwrap());
    let seed: u64 = given("SEED").parse().unwrap();
    let (calm, fresh) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let events = instance.events();
    {
        let fresh = fresh.clone();
        thread::spawn(move || {
            for event in events {
                match event.kind {
                    EventKind::Supervisor { term } => {
                        fresh.store(true, Ordering::Relaxed);
                        say(&format!("supervisor {term}"));
                    }
                    EventKind::Subordinate { .. } => fresh.store(true, Ordering::Relaxed),
                    EventKind::PermitLost { .. } => say("violation: a permit is lost"),
                    _ => {}
                }
            }
        });
    }
    let (instance_1, calm_1) = (instance.clone(), calm.clone());
    let user = thread::spawn(move || use_permits(&instance_1, &calm_1, &fresh, &mut Random(seed)));
    let (instance_2, calm_2) = (instance.clone(), calm.clone());
    let counter = thread::spawn(move || {
        let mut random = Random(seed + 1);
        let tally = instance_2.tally("jobs").unwrap();
        while !calm_2.load(Ordering::Relaxed) {
            if random.below(2) == 0 {
                tally.add(random.below(5))
            } else {
                tally.sub(random.below(5))
            };
            thread::sleep(random.millis(1, 20));
        }
        tally.count()
    });
    let (instance_3, calm_3) = (instance.clone(), calm.clone());
    let key = given("WRITES");
    let writer = (!key.is_empty()).then(|| {
        thread::spawn(move || {
            let mut random = Random(seed + 2);
            for number in 1.. {
                if calm_3.load(Ordering::Relaxed) {
                    break;
                }
                let value = format!("{} {number}", instance_3.name());
                say(&format!("tried {key} {value}"));
                match instance_3.client().set(&key, &value) {
                    Ok(()) => say(&format!("set {key} {value}")),
                    Err(error) => say(&format!("violation: {error:?}")),
                }
                thread::sleep(random.millis(5, 30));
            }
        })
    });
    say("joined");
    let mut left = orders();
    if let Some(kept) = left.next() {
        calm.store(true, Ordering::Relaxed);
        writer.into_iter().for_each(|writer| writer.join().unwrap());
        user.join().unwrap();
        let counted = counter.join().unwrap();
        let kept: u64 = kept.parse().unwrap();
        let permit = (kept > 0).then(|| instance.acquire("slots", kept).unwrap());
        say(&format!("calm {kept} {counted}"));
        for order in left {
            let settings: Vec<String> = instance
                .settings()
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            say(&format!("{order} {}", settings.join(" ")));
            if order == "release" {
                break;
            }
        }
        drop(permit);
        say("released");
        orders().for_each(drop);
    }
    // Whatever its threads wait for.
    std::process::exit(0);
}
