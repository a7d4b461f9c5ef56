//! What a process of the bench says, and how it is told what to do; the rivals' program
//! (`benches/rivals`) has it too.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// CLOCK_MONOTONIC in nanoseconds: the same clock in all processes.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Says to the bench what happened, and when.
pub(crate) fn say(what: &str, at: u64, number: u64) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{what} {at} {number}");
    _ = out.flush();
}

/// Does nothing more until the bench closes our standard input, which it also does by dying; then
/// ends this process.
pub(crate) fn until_the_bench_ends() -> ! {
    _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    std::process::exit(0) // the kernel ends it, as it would any process
}

/// Takes orders of the form `word number`, one a line; each is answered by one line of numbers.
pub(crate) fn obey(mut deed: impl FnMut(&str, u64) -> Vec<u64>) -> ! {
    say("ready", now(), 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (word, number) = line.split_once(' ').expect("a word and a number");
        let numbers: Vec<String> =
            deed(word, number.parse().expect("a number")).iter().map(ToString::to_string).collect();
        let mut out = std::io::stdout().lock();
        _ = writeln!(out, "{}", numbers.join(" "));
        _ = out.flush();
    }
    std::process::exit(0)
}

/// How long each of so many calls takes, in nanoseconds.
pub(crate) fn timed(times: u64, mut deed: impl FnMut()) -> Vec<u64> {
    let one = |_| {
        let began = Instant::now();
        deed();
        began.elapsed().as_nanos() as u64
    };
    (0..times).map(one).collect()
}

/// As many threads as there are workers, each doing its deed over and over while the bench says
/// `run`, which it says with a number of milliseconds; the answer is how often the deed was done by
/// all of them, and in how many nanoseconds.
pub(crate) fn obey_with_threads<W: FnMut() + Send + 'static>(workers: Vec<W>) -> ! {
    let (stop, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let start = Arc::new(Barrier::new(workers.len() + 1));
    let end = Arc::new(Barrier::new(workers.len() + 1));
    for mut worker in workers {
        let (stop, done, start, end) = (stop.clone(), done.clone(), start.clone(), end.clone());
        let body = move || {
            loop {
                start.wait();
                let mut times = 0;
                while !stop.load(Ordering::Relaxed) {
                    worker();
                    times += 1;
                }
                done.fetch_add(times, Ordering::Relaxed);
                end.wait();
            }
        };
        thread::Builder::new().stack_size(256 * 1024).spawn(body).expect("a thread");
    }
    obey(|_, milliseconds| {
        stop.store(false, Ordering::Relaxed);
        done.store(0, Ordering::Relaxed);
        start.wait();
        let began = Instant::now();
        thread::sleep(Duration::from_millis(milliseconds));
        stop.store(true, Ordering::Relaxed);
        end.wait(); // what was begun is done, and counts
        vec![done.load(Ordering::Relaxed), began.elapsed().as_nanos() as u64]
    })
}

/// Where many processes write down when they have seen something: a slot each in one file, so that
/// writing it wakes nobody.
pub(crate) struct Slot {
    file: File,
    at: u64,
}

impl Slot {
    /// Two numbers of eight bytes.
    pub(crate) const SIZE: u64 = 16;

    pub(crate) fn open(path: &Path, number: u64) -> Self {
        let file = File::options().write(true).open(path).expect("open the slots");
        Slot { file, at: number * Self::SIZE }
    }

    /// Writes down that round `round` has been seen, now.
    pub(crate) fn seen(&self, round: u64) {
        let mut bytes = [0; Self::SIZE as usize];
        bytes[..8].copy_from_slice(&round.to_ne_bytes());
        bytes[8..].copy_from_slice(&now().to_ne_bytes());
        self.file.write_all_at(&bytes, self.at).expect("write a slot");
    }
}
