//! What happens to heartbeats on their way, and to processes from outside.

use super::*;

impl World {
    pub(in crate::state::masterless::sim) fn send(&mut self, from: Who, beat: Heartbeat) {
        self.sent += 1;
        if let Some(heard) = &mut self.heard {
            heard.push(beat);
        }
        self.deliver(Some(from), beat);
    }

    /// Everybody gets it who can, its sender too.
    pub(in crate::state::masterless::sim) fn deliver(
        &mut self,
        from: Option<Who>,
        beat: Heartbeat,
    ) {
        self.next += 1;
        let letter = self.next;
        let mut copies = 0;
        for to in 0..self.processes.len() {
            if !self.processes[to].alive {
                continue;
            }
            let own = from == Some(to);
            let mut lost = self.random.next() % 100 < self.profile.loss;
            if !own && self.losses.1 > 0 {
                lost |= self.losses.0 & 1 == 1;
                self.losses = (self.losses.0 >> 1, self.losses.1 - 1);
            }
            if !own && (lost || from.is_some_and(|from| !self.reaches(from, to))) {
                continue;
            }
            let times = if self.random.next() % 100 < self.twice { 2 } else { 1 };
            for _ in 0..times {
                let delay = if own { 0 } else { self.random.next() % (self.profile.slowest + 1) };
                if let (Some(came), Some(from)) = (&mut self.came, from) {
                    came.entry((from, to)).or_default().push(self.now + delay);
                }
                self.later(self.now + delay, What::Deliver { to, letter });
                copies += 1;
            }
        }
        if copies > 0 {
            self.letters.insert(letter, (beat, copies));
        }
    }

    /// Whether what one says gets to the other.
    pub(in crate::state::masterless::sim) fn reaches(&self, from: Who, to: Who) -> bool {
        let (sender, receiver) = (&self.processes[from], &self.processes[to]);
        sender.part == receiver.part
            && !sender.mute
            && !receiver.deaf
            && !self.cut.contains(&(from, to))
    }

    pub(in crate::state::masterless::sim) fn kill(&mut self, who: Who) {
        tell!(self, "{who} is killed");
        self.processes[who].alive = false;
        self.processes[who].inbox.clear();
        self.changed = true;
        self.measure();
    }

    pub(in crate::state::masterless::sim) fn pause(
        &mut self,
        who: Who,
        pause: Pause,
        time: Millis,
    ) {
        if !self.processes[who].is_running() {
            return;
        }
        tell!(self, "{who} stands still for {time} ms, {pause:?}");
        self.processes[who].pause = Some((pause, self.now));
        self.later(self.now + time, What::Resume { who });
        self.changed = true;
        self.measure();
    }

    /// What has come meanwhile waits. The process was stopped anywhere: perhaps just when it had
    /// read all there was, so that it goes on with what it decides of that.
    pub(in crate::state::masterless::sim) fn resume(&mut self, who: Who) {
        let process = &mut self.processes[who];
        if !process.alive {
            return;
        }
        let Some((pause, since)) = process.pause.take() else { return };
        let stopped_at = match pause {
            Pause::Visible => since,
            Pause::Frozen => {
                process.behind += self.now - since;
                self.now
            }
        };
        tell!(self, "{who} goes on");
        self.changed = true;
        if self.random.one_in(2) {
            self.step_at(who, stopped_at, Input::Tick);
        }
        self.read(who);
        if self.processes[who].alive {
            self.step(who, Input::Tick);
        }
    }

    pub(in crate::state::masterless::sim) fn split(&mut self, part_of: impl Fn(Who) -> u8) {
        for (who, process) in self.processes.iter_mut().enumerate() {
            process.part = part_of(who);
        }
        tell!(
            self,
            "the network is divided: {:?}",
            self.processes.iter().map(|one| one.part).collect::<Vec<_>>()
        );
        self.changed = true;
        self.measure();
    }

    pub(in crate::state::masterless::sim) fn heal(&mut self) {
        self.processes.iter_mut().for_each(|process| process.part = 0);
        tell!(self, "the network is whole");
        self.changed = true;
        self.measure();
    }
}
