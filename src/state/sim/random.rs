//! Everything in the simulated world that is left to chance, from one seed.

use crate::state::Time;

/// Splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// From nothing to 2^`bits` µs, every order of magnitude as likely as another: races are a
    /// matter of microseconds.
    pub(crate) fn time(&mut self, bits: usize) -> Time {
        let limit = 1 << self.below(bits + 1);
        Time::from_micros(self.below(limit) as u64)
    }

    /// Less than so many, every order of magnitude as likely as another.
    pub(crate) fn time_in(&mut self, limit: u64) -> u64 {
        let bits = 64 - limit.leading_zeros() as usize;
        let limit = limit.min(1 << self.below(bits + 1));
        self.next() % limit
    }
}
