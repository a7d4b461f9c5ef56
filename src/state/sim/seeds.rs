//! The families of worlds, and the tests that run thousands of each, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Family, Seen, World};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs the seeds of a family on all processors.
///
/// `PARES_SIM_SEED` selects one seed and its story. `PARES_SIM_SEEDS` sets how many seeds to run
/// instead of the usual 10,000, and `PARES_SIM_FROM` the first of them, to continue where another
/// run ended.
#[track_caller]
fn run_all(family: Family, test: &str) {
    if let Some(seed) = number("PARES_SIM_SEED") {
        return println!("{:#?}", World::new(seed, family, true).run());
    }
    let (first, seeds) =
        (number("PARES_SIM_FROM").unwrap_or(0), number("PARES_SIM_SEEDS").unwrap_or(10_000));
    let (next, seen) = (AtomicU64::new(first), Mutex::new(Seen::default()));
    let work = || {
        let mut mine = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return seen.lock().unwrap().add(&mine);
            }
            match std::panic::catch_unwind(|| World::new(seed, family, false).run()) {
                Ok(one) => mine.add(&one),
                Err(_) => {
                    next.store(first + seeds, Ordering::Relaxed);
                    panic!(
                        "seed {seed} fails; its story: PARES_SIM_SEED={seed} cargo test --lib \
                         {test} -- --nocapture"
                    );
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    let seen = seen.into_inner().unwrap();
    println!("{seen:#?}");
    let mut missing = seen.missing();
    if family == Family::Hasty {
        // These worlds are over before anybody is late.
        let late = ["silence_noticed", "no_progress_noticed", "watcher_held_up"];
        missing.retain(|what| !late.contains(what));
    }
    assert!(
        seeds < 10_000 || missing.is_empty(),
        "the worlds are too poor, they never had: {missing:?}"
    );
}

#[test]
fn one_supervises_and_all_survivors_are_with_it_whatever_dies() {
    run_all(Family::Plain, "whatever_dies");
}

#[test]
fn nobody_is_sure_of_what_others_were_given_however_fast_supervisors_and_limits_change() {
    run_all(Family::Hasty, "however_fast");
}
