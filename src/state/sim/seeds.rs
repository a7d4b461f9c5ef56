//! The families of worlds, and the tests that run thousands of each, on all processors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Family, Seen, World};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs a world of each seed on all processors. Returns how many: none if only one tells its story.
///
/// `PARES_SIM_SEED` selects one seed and its story. `PARES_SIM_SEEDS` sets how many seeds to run
/// instead of the `usual`, and `PARES_SIM_FROM` the first of them, to continue where another run
/// ended.
#[track_caller]
pub(crate) fn run_seeds(usual: u64, test: &str, run: impl Fn(u64, bool) + Sync) -> u64 {
    if let Some(seed) = number("PARES_SIM_SEED") {
        run(seed, true);
        return 0;
    }
    let (first, seeds) =
        (number("PARES_SIM_FROM").unwrap_or(0), number("PARES_SIM_SEEDS").unwrap_or(usual));
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| run(seed, false))).is_err() {
                next.store(first + seeds, Ordering::Relaxed);
                panic!(
                    "seed {seed} fails; its story: PARES_SIM_SEED={seed} cargo test --lib \
                     {test} -- --nocapture"
                );
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    seeds
}

/// Runs the seeds of a family, 10,000 as a rule, and looks at what they met.
#[track_caller]
fn run_all(family: Family, test: &str) {
    let seen = Mutex::new(Seen::default());
    let seeds = run_seeds(10_000, test, |seed, tells| {
        let one = World::new(seed, family, tells).run();
        if tells {
            println!("{one:#?}");
        }
        seen.lock().unwrap().add(&one);
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
