//! The simulator of masterless groups: many real machines in a world of slow, lossy and divided
//! networks, of clocks that run apart, of crashes and pauses. Everything follows from one seed; a
//! seed that fails prints the command that tells its story line by line.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.story {
            let heartbeats = $world.now as f64 / $crate::state::masterless::sim::world::H as f64;
            println!("{heartbeats:>9.3} H  {}", format!($($text)*));
        }
    };
}

mod chaos;
mod disorder;
mod faults;
mod figures;
mod measure;
mod needs;
mod outages;
mod scenes;
mod world;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `PARES_SIM_SEED` selects one seed and its story; `PARES_SIM_SEEDS` sets how many seeds to run
/// instead of the usual 2,000.
fn seeds(usual: u64) -> Range<u64> {
    match (number("PARES_SIM_SEED"), number("PARES_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(all)) => 0..(usual * all).div_ceil(2000),
        (None, None) => 0..usual,
    }
}

/// Runs every seed, on all processors. Prints which one failed, and the command for its story.
fn every_seed<T: Send>(usual: u64, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let seeds = seeds(usual);
    let next = AtomicU64::new(seeds.start);
    let test = thread::current().name().unwrap_or_default().to_owned();
    let worker = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return outcomes;
            }
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(seed))) else {
                next.store(seeds.end, Ordering::Relaxed);
                panic!(
                    "seed {seed} failed; its story: PARES_SIM_SEED={seed} cargo test --lib {test} \
                     -- --nocapture"
                );
            };
            outcomes.push((seed, outcome));
        }
    };
    let mut all: Vec<(u64, T)> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}
