//! Notices that the program has closed our descriptors under us, as a program does that becomes a
//! daemon.
//!
//! The kernel does not tell a thread that the number it waits on is gone, and the next file that
//! the program opens gets that number. Every thread that waits without end therefore also waits for
//! a pair of sockets whose other end only we hold: a program that closes all descriptors closes
//! that end with them, and all threads wake. From that moment an [era](Era) is over. What was made
//! in it is not touched any more, except that it is closed if it is still open; a thread that waits
//! for it gives it up.
//!
//! Nothing asks the kernel before each use, because that would cost a system call each time. What a
//! program does with its descriptors between closing ours and the waking of the first of our
//! threads (some 10 microseconds) may meet one of ours. Therefore what a program is likely to do
//! next (leave, fork), and what could harm most (claim a port, write to what may be a file),
//! [looks](look) first.

use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Booked, Kind, Origin, book, section};

static ERA: AtomicU32 = AtomicU32::new(0);

/// The end of the pair to wait for; -1 without one.
static WIRE: AtomicI32 = AtomicI32::new(-1);

/// The other end. It has a low number, as a program's own files have: no loop that closes files
/// leaves it out.
static HELD: AtomicI32 = AtomicI32::new(-1);

/// Which file that is.
static FILE: AtomicU64 = AtomicU64::new(0);

type Pair = (Booked<UnixStream>, Booked<UnixStream>);

/// The number that the end to wait for should have; 0 if it must still be found.
static PLACE: AtomicI32 = AtomicI32::new(0);

/// How often a wire was laid or taken up.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// The wire, and how many hold a [part](Wire) in it.
struct Laid {
    pair: Option<Pair>,
    holders: usize,
}

impl Laid {
    const NONE: Self = Laid { pair: None, holders: 0 };

    fn lay(&mut self, (end, held): Pair) {
        FILE.store(held.identity(), Ordering::Relaxed);
        HELD.store(held.as_raw_fd(), Ordering::Relaxed);
        CHANGES.fetch_add(1, Ordering::Relaxed);
        WIRE.store(end.as_raw_fd(), Ordering::Release);
        self.pair = Some((end, held));
    }

    fn take_up(&mut self) -> Option<Pair> {
        self.holders = 0;
        WIRE.store(-1, Ordering::Release);
        CHANGES.fetch_add(1, Ordering::Release);
        self.pair.take()
    }
}

/// Locked in a [section] only, so a fork waits; in a cell, because a child that a signal handler
/// forks in spite of that gets a new one.
struct Ground(UnsafeCell<Mutex<Laid>>);

// SAFETY: it is only ever read, except by `forget`, when there is one thread.
unsafe impl Sync for Ground {}

static GROUND: Ground = Ground(UnsafeCell::new(Mutex::new(Laid::NONE)));

/// Nothing may be opened or closed under this lock: what is given back is closed after it.
fn change(change: impl FnOnce(&mut Laid) -> Option<Pair>) -> Option<Pair> {
    let _section = section();
    // SAFETY: valid for ever; replaced only in a child that has no other thread, see `forget`.
    let laid = unsafe { &*GROUND.0.get() };
    change(&mut laid.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A time in which the program has closed no descriptor of ours, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Era(u32);

impl Era {
    pub(crate) fn present() -> Self {
        Era(ERA.load(Ordering::Acquire))
    }

    pub(crate) fn is_over(self) -> bool {
        self != Era::present()
    }

    /// Ends the era: one of its descriptors is known to be closed. All that wait wake.
    pub(super) fn end(self) {
        let pair = change(|laid| {
            ERA.compare_exchange(
                self.0,
                self.0.wrapping_add(1),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
            ENDED.store(now(), Ordering::Relaxed);
            book::forget();
            laid.take_up()
        });
        if let Some((end, held)) = pair {
            held.give_up(); // which wakes all
            end.give_up();
        }
    }

    /// Waits until the era has been over for a while. A program that closes one descriptor after
    /// the other could close one of ours, and open another file, between a look at it and its
    /// closing here.
    pub(super) fn settle(self) {
        let since = Duration::from_nanos(now().saturating_sub(ENDED.load(Ordering::Relaxed)));
        if let Some(left) = CLOSING.checked_sub(since) {
            thread::sleep(left);
        }
    }

    /// Waits for any of `fds`, which are of this era, until the time or the era is over. May return
    /// early.
    pub(super) fn poll(
        self,
        fds: &mut Vec<PollFd<'_>>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<()> {
        let changes = CHANGES.load(Ordering::Acquire);
        let wire = WIRE.load(Ordering::Acquire);
        if self.is_over() {
            return Ok(());
        }
        let waited = fds.len();
        let mut most = Some(BLIND);
        if wire >= 0 {
            // SAFETY: a number that is only waited for, whatever it is by now.
            let wire = unsafe { BorrowedFd::borrow_raw(wire) };
            fds.push(PollFd::from_borrowed_fd(wire, PollFlags::empty()));
            most = None;
        }
        let timeout = [timeout, most]
            .into_iter()
            .flatten()
            .min()
            .and_then(|time| Timespec::try_from(time).ok());
        let polled = rustix::event::poll(fds, timeout.as_ref());
        let is_over = fds[waited..].iter().any(|wire| !wire.revents().is_empty());
        // Or it was taken up, when nobody held it any more.
        let is_cut = is_over && changes == CHANGES.load(Ordering::Acquire)
            || fds[..waited].iter().any(|fd| fd.revents().contains(PollFlags::NVAL));
        fds.truncate(waited);
        if polled.is_ok_and(|count| count > 0) && is_cut {
            self.end();
        }
        polled.map(drop)
    }
}

/// When an era ended last, in nanoseconds of the monotonic clock.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// A million takes some 100 ms.
const CLOSING: Duration = Duration::from_millis(200);

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Without a wire (the process is at its limit of descriptors, or no thread in it waits without
/// end), this is how often to look.
const BLIND: Duration = Duration::from_secs(1);

/// A thread that wakes in `poll` looks its numbers up again before it returns. By then the program
/// may have opened files that took ours, and the thread would see nothing and sleep on. The number
/// that all wait for is therefore one that is given again only after hundreds of open files
/// (dozens, where there is no [room]): either it is ours, and says that the other end is closed, or
/// it is nobody's, which wakes as well.
const HIGH: u64 = 1000;

/// Returns the highest number that the table of descriptors has room for, or can be given without a
/// wait: while several threads use the table, the kernel takes some ten milliseconds to replace it
/// by a larger one, and a join takes a tenth of one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn room() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    // Each table begins with 64 places.
    if number("Threads:") == Some(1) {
        u64::MAX
    } else {
        number("FDSize:").unwrap_or(64).saturating_sub(1)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn room() -> u64 {
    u64::MAX
}

/// A part in the wire, for threads that wait without end. The wire lies while there is a part.
pub(crate) struct Wire {
    era: Era,
    origin: Origin,
}

impl Wire {
    /// Lays the wire, unless it is there.
    pub(crate) fn lay() -> Self {
        look();
        let (mut spare, mut tried) = (None, false);
        loop {
            let mut era = None;
            let superfluous = change(|laid| {
                if laid.pair.is_none() {
                    spare.take().into_iter().for_each(|pair| laid.lay(pair));
                }
                if laid.pair.is_some() || tried {
                    laid.holders += 1;
                    era = Some(Era::present());
                }
                spare.take()
            });
            drop(superfluous);
            if let Some(era) = era {
                return Wire { era, origin: Origin::here() };
            }
            (spare, tried) = (make().ok(), true);
        }
    }

    /// Returns true once the program has closed descriptors of the time in which this was laid.
    pub(crate) fn is_cut(&self) -> bool {
        self.era.is_over()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            return;
        }
        let taken_up = change(|laid| {
            if self.is_cut() {
                return None; // its holders are not counted any more
            }
            laid.holders -= 1;
            if laid.holders == 0 { laid.take_up() } else { None }
        });
        drop(taken_up);
    }
}

/// Makes the pair: the end to wait for, and the other one.
fn make() -> std::io::Result<Pair> {
    // As files, so that a crash does not cut it.
    let (low, held) = Booked::pair(Kind::File, UnixStream::pair)?;
    // A table of descriptors never becomes smaller, and to look for its size costs a third of a
    // join.
    let high = match PLACE.load(Ordering::Relaxed) {
        0 => {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let high = HIGH.min(room()).min(limit.saturating_sub(1)) as i32;
            PLACE.store(high, Ordering::Relaxed);
            high
        }
        known => known,
    };
    // Without room there it stays where it is.
    let raised = Booked::make(Kind::File, || Ok(rustix::io::fcntl_dupfd_cloexec(&low, high)?));
    Ok((raised.map_or(low, Booked::become_a), held))
}

/// Looks whether the wire is held: the one thing here that asks the kernel.
pub(crate) fn look() {
    let era = Era::present();
    let is_laid = WIRE.load(Ordering::Acquire) >= 0;
    if is_laid && book::identity(HELD.load(Ordering::Relaxed)) != Some(FILE.load(Ordering::Relaxed))
    {
        era.end();
    }
}

/// Runs in a forked child, before `fork` returns there.
pub(super) fn forget() {
    WIRE.store(-1, Ordering::Relaxed);
    PLACE.store(0, Ordering::Relaxed); // a child's table may be smaller
    // SAFETY: this is the only thread. What was there is not dropped: its descriptors are closed,
    // see `book::close_all`.
    unsafe { std::ptr::write(GROUND.0.get(), Mutex::new(Laid::NONE)) };
}
