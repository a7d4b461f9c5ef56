//! CLOCK_MONOTONIC: the one clock that never goes back and is the same for all processes of a
//! machine. A time that one process sends therefore means the same to another.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::config::FOR_EVER;
use crate::state::Time;

pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Returns the same in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    now().as_nanos() as u64
}

/// Returns the moment at which `timeout` is over. Any timeout is allowed, even `Duration::MAX`,
/// which programs use for "no timeout": adding that to a moment would overflow.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOR_EVER)
}

/// Returns the time of day in milliseconds, for people: it may be set back.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Returns the clock of masterless groups, in milliseconds: it also runs while the system sleeps.
/// On Linux CLOCK_MONOTONIC does not; with it, a process would resume its role hours later without
/// noticing that it was away.
pub(crate) fn awake_or_asleep_ms() -> u64 {
    let now = clock_gettime(AWAKE_OR_ASLEEP);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const AWAKE_OR_ASLEEP: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const AWAKE_OR_ASLEEP: ClockId = ClockId::Monotonic;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Goal: the time that the system has slept counts. Method: the kernel's own figure of the time
    /// since boot, sleep included, with a clock between two readings of it. (A machine that has
    /// never slept shows no difference; so the clock's name is looked at, too.)
    #[test]
    fn the_clock_of_masterless_groups_runs_while_the_system_sleeps() {
        let kernel = || {
            let now = clock_gettime(ClockId::Boottime);
            now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
        };
        let (before, read, after) = (kernel(), awake_or_asleep_ms(), kernel());
        assert!(before <= read && read <= after, "{before} {read} {after}");
        assert_eq!(AWAKE_OR_ASLEEP as i32, libc::CLOCK_BOOTTIME);
    }
}
