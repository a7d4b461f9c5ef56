//! Decides whether the other end of a lifeline still answers, for an instance that watches for
//! hangs.
//!
//! The end of a connection shows a death; it does not show a process that lives but does nothing.
//! The watcher therefore probes the other end at intervals, and measures how long there is no
//! answer. It does not measure elapsed time, but parts of its timeout in which it was itself run
//! when it wanted to be. A machine that has no processor time for the watched process has none for
//! the watcher either, as a rule, and a watcher that was itself stopped must not take its own
//! absence for the other's.
//!
//! Invariant: at most one probe is unanswered at any time; an end that is overdue has been so for
//! the whole timeout.

use super::Time;

/// The number of parts of the timeout. Each part has one probe: more would cost more wake-ups; with
/// fewer, the watcher, which notices at the end of a part, would be later than a quarter of the
/// timeout.
const PARTS: u32 = 4;

/// What to do at the end of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Send a probe with this number.
    pub(crate) ask: Option<u64>,
    /// There has been no good answer for the whole timeout.
    pub(crate) overdue: Option<Overdue>,
}

/// What is wrong with the other end, as far as its answers show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It does not answer.
    Silent,
    /// It answers, but reports that its program makes no progress.
    NoProgress,
}

#[derive(Clone, Debug)]
pub(crate) struct Health {
    part: Time,
    /// When the present part ends.
    due: Time,
    /// The number of the last probe.
    number: u64,
    /// The answer to it: whether there is progress.
    answer: Option<bool>,
    /// Parts in a row, ended on time, without a good answer.
    bad: u32,
}

impl Health {
    /// Starts at `now` with a probe, number 0.
    pub(crate) fn new(timeout: Time, now: Time) -> Self {
        let part = timeout / PARTS;
        Health { part, due: now + part, number: 0, answer: None, bad: 0 }
    }

    /// Returns when [`on_time`](Health::on_time) is due.
    pub(crate) fn due(&self) -> Time {
        self.due
    }

    /// Ends a part: everything that the other end had sent by `now` has been read.
    pub(crate) fn on_time(&mut self, now: Time) -> Step {
        if now < self.due {
            return Step::default();
        }
        let on_time = now - self.due < self.part;
        self.due = now + self.part;
        let answer = self.answer.take();
        match answer {
            Some(true) => self.bad = 0,
            Some(false) | None if on_time => self.bad = (self.bad + 1).min(PARTS),
            // We were late ourselves: what was not answered meanwhile proves nothing.
            Some(false) | None => {}
        }
        let ask = answer.is_some().then(|| {
            self.number += 1;
            self.number
        });
        let overdue = (self.bad >= PARTS && on_time).then_some(if answer.is_some() {
            Overdue::NoProgress
        } else {
            Overdue::Silent
        });
        Step { ask, overdue }
    }

    /// Takes the answer of the other end to the probe `number`. Returns true if the other end is
    /// well.
    pub(crate) fn on_answer(&mut self, number: u64, progress: bool) -> bool {
        let ours = number == self.number;
        if ours {
            self.answer = Some(progress);
        }
        ours && progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Time = Time::from_millis(400);
    const PART: Time = Time::from_millis(100);

    fn health() -> Health {
        Health::new(TIMEOUT, Time::ZERO)
    }

    /// The step at the end of part `part`, `late` ms after that.
    fn step(health: &mut Health, part: u32, late: u64) -> Step {
        let now = health.due() + Time::from_millis(late);
        let step = health.on_time(now);
        assert_eq!(health.due(), now + PART, "part {part}");
        step
    }

    #[test]
    fn one_that_answers_is_asked_once_in_each_part_and_never_overdue() {
        let mut health = health();
        for number in 0..100 {
            assert!(health.on_answer(number, true));
            assert_eq!(health.on_time(health.due() - Time::from_millis(1)), Step::default());
            assert_eq!(step(&mut health, 0, 0), Step { ask: Some(number + 1), overdue: None });
        }
    }

    #[test]
    fn one_that_is_silent_for_the_timeout_is_overdue_and_is_not_asked_again() {
        let mut health = health();
        for part in 1..PARTS {
            assert_eq!(step(&mut health, part, 0), Step::default());
        }
        for part in PARTS..10 {
            assert_eq!(
                step(&mut health, part, 0),
                Step { ask: None, overdue: Some(Overdue::Silent) }
            );
        }
    }

    #[test]
    fn parts_in_which_the_watcher_was_late_do_not_count() {
        let mut health = health();
        for part in 0..1000 {
            assert_eq!(step(&mut health, part, 100 + u64::from(part)).overdue, None);
        }
        for part in 1..PARTS {
            assert_eq!(step(&mut health, part, 99).overdue, None);
        }
        assert_eq!(step(&mut health, PARTS, 100_000).overdue, None, "it stood still itself");
        assert_eq!(step(&mut health, PARTS, 0).overdue, Some(Overdue::Silent));
    }

    #[test]
    fn an_answer_without_progress_is_no_good_answer() {
        let mut health = health();
        for number in 0..u64::from(PARTS) - 1 {
            health.on_answer(number, false);
            assert_eq!(step(&mut health, 0, 0), Step { ask: Some(number + 1), overdue: None });
        }
        health.on_answer(3, false);
        assert_eq!(
            step(&mut health, 0, 0),
            Step { ask: Some(4), overdue: Some(Overdue::NoProgress) }
        );
        assert!(!health.on_answer(4, false));
        assert_eq!(step(&mut health, 0, 0).overdue, Some(Overdue::NoProgress));
        assert!(health.on_answer(5, true), "it is well again");
        assert_eq!(step(&mut health, 0, 0), Step { ask: Some(6), overdue: None });
    }

    #[test]
    fn an_answer_to_another_question_says_nothing() {
        let mut health = health();
        assert!(!health.on_answer(7, true));
        for part in 1..PARTS {
            step(&mut health, part, 0);
        }
        assert_eq!(step(&mut health, PARTS, 0).overdue, Some(Overdue::Silent));
    }
}
