//! CLOCK_MONOTONIC: the one clock that never goes back and is the same for all processes of a machine, so that what one
//! says of a time means the same to another.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::config::FOR_EVER;
use crate::state::Time;

pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The same in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    now().as_nanos() as u64
}

/// The moment at which `timeout` is over. Any timeout will do, `Duration::MAX` too, which programs say for "without end":
/// the sum of that and a moment would overflow.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOR_EVER)
}
