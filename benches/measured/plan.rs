//! What is to be measured, and how often.

use std::env;

/// What the words and `PARES_BENCH_ROUNDS` say.
pub(crate) struct Plan {
    words: Vec<String>,
    sizes: Vec<u64>,
    rounds: Option<u64>,
}

impl Plan {
    pub(crate) fn new(words: &[String]) -> Self {
        let rounds = env::var("PARES_BENCH_ROUNDS").ok();
        let rounds = rounds.map(|rounds| rounds.parse().expect("PARES_BENCH_ROUNDS is a number"));
        let sizes = words.iter().filter_map(|word| word.parse().ok()).collect();
        let words = words.iter().filter(|word| word.parse::<u64>().is_err()).cloned().collect();
        Plan { words, sizes, rounds }
    }

    /// True if nothing is left out and nothing shortened.
    pub(crate) fn is_whole(&self) -> bool {
        self.words.is_empty() && self.sizes.is_empty() && self.rounds.is_none()
    }

    /// True if this group of rows is asked for.
    pub(crate) fn wants(&self, group: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| group.contains(word.as_str()))
    }

    /// The sizes that are asked for.
    pub(crate) fn sizes(&self, all: &[u64]) -> Vec<u64> {
        all.iter()
            .copied()
            .filter(|size| self.sizes.is_empty() || self.sizes.contains(size))
            .collect()
    }

    /// The sizes that are asked for, whichever they are; all usual ones if none is.
    pub(crate) fn any_sizes(&self, usual: &[u64]) -> Vec<u64> {
        if self.sizes.is_empty() { usual.to_vec() } else { self.sizes.clone() }
    }

    /// How many rounds: so many, or fewer if `PARES_BENCH_ROUNDS` says so.
    pub(crate) fn rounds(&self, usual: u64) -> u64 {
        self.rounds.map_or(usual, |rounds| rounds.clamp(1, usual))
    }
}
