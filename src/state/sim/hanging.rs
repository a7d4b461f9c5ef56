//! Both ends of a lifeline probe each other, in some of the worlds, as `net/supervising/watchdog`
//! does it.
//!
//! The promise: an instance that is reported as stalled has given no good answer for the whole
//! timeout, as far as messages on their way can show; and an instance that hangs for longer is
//! noticed by every watcher that was not held up itself.

use super::*;
use crate::state::health::{Health, Overdue};

pub(super) const HANG: Time = Time::from_secs(1);
/// The end of a part comes so much later at most than the part itself takes.
const PART: Time = Time::from_millis(250);
/// What lies between a stall and its being noticed: messages that were on their way.
const SLACK: Time = Time::from_millis(240);

impl World {
    /// The lifeline has begun for this end.
    pub(super) fn watch_over(&mut self, link: LinkId, end: End) {
        if self.watchful {
            let health = Health::new(HANG, self.now);
            let due = health.due();
            self.links[link].health[end as usize] = Some(health);
            self.links[link].watched_since[end as usize] = self.now;
            self.links[link].well_at[1 - end as usize] = self.now;
            self.ask_for_life(link, end, 0);
            self.at(due - self.now, What::Part(link, end == Server));
        }
    }

    fn ask_for_life(&mut self, link: LinkId, end: End, number: u64) {
        self.send(link, end, Control::Probe { number, within_ns: 0 });
    }

    /// The end of a part, unless there is something that is still to be read.
    pub(super) fn part(&mut self, link: LinkId, end: End, what: What) {
        let who = self.links[link].owner[end as usize];
        let this = &self.links[link];
        let goes_on = this.open[end as usize] && self.instances[who].lives() && self.faults > 0;
        if !goes_on || self.stalled(who, what) {
            return;
        }
        if !self.links[link].inbox[end as usize].is_empty() {
            return self.soon(what);
        }
        let Some(health) = &mut self.links[link].health[end as usize] else { return };
        self.seen.watcher_held_up += u64::from(self.now >= health.due() + PART);
        let step = health.on_time(self.now);
        let due = health.due();
        let other = self.links[link].owner[1 - end as usize];
        match step.overdue {
            Some(overdue) => self.check_overdue(link, end, overdue),
            None => self.check_unnoticed(link, end, who, other),
        }
        step.ask.into_iter().for_each(|number| self.ask_for_life(link, end, number));
        self.at(due.saturating_sub(self.now).max(Time::from_millis(1)), what);
    }

    fn check_overdue(&mut self, link: LinkId, end: End, overdue: Overdue) {
        let this = &self.links[link];
        let other = this.owner[1 - end as usize];
        tell!(self, "{} gives no good answer: {overdue:?}", self.name(other));
        let ended = this.open != [true; 2] || this.reset != [false; 2];
        let unanswered = this.well_at[1 - end as usize] + HANG <= self.now + SLACK;
        let Instance { stalled_until, stuck_since, stuck_until, .. } = self.instances[other];
        let unwell =
            stuck_since.is_some() || stalled_until.max(stuck_until) + HANG + SLACK >= self.now;
        assert!(unanswered && unwell || ended, "{} is well", self.name(other));
        match overdue {
            Overdue::Silent => self.seen.silence_noticed += 1,
            Overdue::NoProgress => self.seen.no_progress_noticed += 1,
        }
    }

    fn check_unnoticed(&mut self, link: LinkId, end: End, who: Who, other: Who) {
        let since = self.now.saturating_sub(HANG + 2 * PART + SLACK);
        let was_held_up = self.instances[who].stalled_until > since;
        let watched = self.links[link].watched_since[end as usize] <= since;
        let Instance { stalled_since, stalled_until, .. } = self.instances[other];
        let hangs = stalled_since <= since && stalled_until >= self.now;
        assert!(
            !hangs || was_held_up || !watched,
            "nobody notices that {} hangs",
            self.name(other)
        );
    }

    /// A question or an answer about life.
    pub(super) fn hear_of_life(&mut self, link: LinkId, end: End, message: &Control) {
        let who = self.links[link].owner[end as usize];
        match message {
            Control::Probe { number, .. } => {
                let progress = self.instances[who].stuck_since.is_none();
                if progress {
                    self.links[link].well_at[end as usize] = self.now;
                }
                self.send(link, end, Control::Alive { number: *number, progress });
            }
            Control::Alive { number, progress } => {
                let health = &mut self.links[link].health[end as usize];
                health.iter_mut().for_each(|health| _ = health.on_answer(*number, *progress));
            }
            Control::Leaving { .. } | Control::Roster { .. } => panic!("{message:?} of life"),
        }
    }

    /// From now on it does nothing, until then.
    pub(super) fn stall(&mut self, who: Who, until: Time) {
        let instance = &mut self.instances[who];
        if instance.stalled_until < self.now {
            instance.stalled_since = self.now;
        }
        instance.stalled_until = instance.stalled_until.max(until);
    }

    /// Its program makes no progress any more, or does so again.
    pub(super) fn be_stuck(&mut self, who: Who) {
        let instance = &mut self.instances[who];
        instance.stuck_since = match instance.stuck_since.take() {
            None => Some(self.now),
            Some(_) => {
                instance.stuck_until = self.now;
                None
            }
        };
    }
}
