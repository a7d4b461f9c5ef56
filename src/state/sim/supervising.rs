//! The supervisor's deeds in the simulated world, as `net/supervising/server` does them.

use super::*;
use crate::state::supervisor::OWN;

impl World {
    pub(super) fn decide(&mut self, who: Who, input: Input) {
        tell!(self, "{} decides on {input:?}", self.name(who));
        let mut actions = Vec::new();
        let before = self.registered(who);
        let Some(desk) = self.instances[who].desk() else { return };
        let was_settled = desk.supervisor.settled();
        desk.supervisor.on(self.now, input, &mut actions);
        desk.supervisor.check();
        assert!(desk.supervisor.settled() || !was_settled, "no longer settled");
        let registry = desk.supervisor.registry();
        desk.welcomed
            .retain(|&member| registry.entries().any(|entry| entry.id as usize == member + 1));
        self.note_removed(who, &before);
        self.carry_through(who, actions);
    }

    /// Carries out what a supervisor decided, as far as it comes before it is killed.
    pub(super) fn act(&mut self, who: Who, actions: Vec<Action>) {
        for action in actions {
            if self.dies_now(who) {
                return;
            }
            tell!(self, "{}   {action:?}", self.name(who));
            let turn = self.instances[who].turn;
            match action {
                Action::Send { conn, message } => {
                    let link = &mut self.links[conn as usize];
                    assert_eq!(
                        (link.owner[1], link.turn),
                        (who, turn),
                        "a message on another's connection"
                    );
                    if let Message::Joining(Joining::Welcome { .. }) = message {
                        assert!(!link.welcomed, "welcomed twice");
                        link.welcomed = true;
                        let other = &self.instances[link.owner[0]];
                        let back = other.lives() && other.member.last_term() > 0;
                        let desk = self.instances[who].desk().unwrap();
                        link.cursor = Some(desk.supervisor.member_cursor());
                        desk.welcomed.insert(link.owner[0]);
                        desk.came_at = self.now;
                        // Nobody has come back if its hello is read after it was found dead, or if
                        // it never heard that it was welcomed before.
                        if self.survivors.remove(&link.owner[0]).is_some() && back {
                            desk.came_back_at = self.now;
                        }
                    }
                    if let Message::ToHolder(message) = &message {
                        self.note_verdict(conn, message, who);
                    }
                    let is_welcome = matches!(message, Message::Joining(Joining::Welcome { .. }));
                    self.send(conn as usize, Server, message);
                    if is_welcome {
                        self.watch_over(conn as usize, Server);
                    }
                }
                Action::Close { conn } => {
                    let link = &mut self.links[conn as usize];
                    link.cut = true;
                    // Of whoever was refused everything has been read.
                    let reset = link.welcomed;
                    self.close(conn as usize, Server, reset);
                    self.read_soon(conn as usize, Server);
                }
                Action::Tell { conns, message } => {
                    for conn in conns {
                        if self.dies_now(who) {
                            return;
                        }
                        self.send(conn as usize, Server, message.clone());
                    }
                }
                Action::Own { message } => {
                    self.note_verdict(OWN, &message, who);
                    let desk = self.instances[who].desk().unwrap();
                    desk.own.push_back(message);
                    if !std::mem::replace(&mut desk.collecting, true) {
                        self.soon(What::Step(who, turn, Step::Collect));
                    }
                }
                Action::Probe { admin_port } => {
                    if !self.instances[who_has(admin_port)].lives() {
                        self.soon(What::Step(who, turn, Step::Found { dead_port: admin_port }));
                    }
                }
                Action::Announce => {
                    let desk = self.instances[who].desk().unwrap();
                    if !std::mem::replace(&mut desk.announcing, true) {
                        self.soon(What::Step(who, turn, Step::Announce));
                    }
                }
                Action::Settled { term, .. } => {
                    self.keep_again(term);
                    self.settled(who);
                    self.instances[who].member.on_own_state(term, true);
                }
                Action::TermRaised { term } => {
                    self.raise_term(who, term);
                    self.instances[who].member.on_own_state(term, false);
                }
            }
        }
        let turn = self.instances[who].turn;
        let Some(desk) = self.instances[who].desk() else { return };
        let wake_at = desk.supervisor.wake_at();
        if wake_at != std::mem::replace(&mut desk.wake_at, wake_at) {
            if let Some(time) = wake_at {
                self.at(time.saturating_sub(self.now), What::Step(who, turn, Step::Wake));
            }
        }
    }

    /// The promise: a supervisor that says settled has all survivors with it, unless none came for
    /// the settle time, or it did not know which to expect for as long as that may last. And it
    /// says so no later than when none came for the settle time.
    pub(super) fn settled(&mut self, who: Who) {
        self.note_missing(who);
        self.survivors.retain(|&who, _| self.instances[who].lives());
        let now = self.now;
        let stalled = self.instances[who].stalled_until;
        let pending = std::mem::take(&mut self.instances[who].desk().unwrap().pending);
        pending.into_iter().for_each(|id| self.soon(What::Arrive(id)));
        let desk = self.instances[who].desk().unwrap();
        assert!(!std::mem::replace(&mut desk.settled, true), "settled twice");
        let Desk { claimed_at, came_back_at, came_at, .. } = *desk;
        let knew = desk.knew.clone();
        assert!(now <= came_at + SETTLE || stalled >= claimed_at, "nobody came since {came_at:?}");
        // Its welcome may be yet to come.
        let registry = desk.supervisor.registry();
        let names: BTreeSet<String> = registry.entries().map(|entry| entry.name.clone()).collect();
        // Another may have its name, or its place.
        let is_full = names.len() >= self.max_members;
        let missing = |who: Who| !is_full && !names.contains(&self.instances[who].entry.name);
        let owed = |lost: Time| now < (came_back_at + SETTLE).min(lost + MAX_UNKNOWN * SETTLE);
        let missed: Vec<Who> = self
            .survivors
            .iter()
            .filter(|&(&who, &lost)| missing(who) && owed(lost))
            .map(|(&who, _)| who)
            .collect();
        assert!(missed.is_empty() || self.astray, "settled without the survivors {missed:?}");
        if now < claimed_at + SETTLE {
            self.seen.settled_early += 1;
            return;
        }
        self.survivors.clear();
        if knew.is_none() {
            self.seen.gave_up_on_the_unknown += 1;
            self.seen.waited_on += u64::from(came_back_at >= claimed_at + SETTLE);
        }
        // It waited till the end: then somebody whom it expected must have been worth it.
        if let Some(knew) = knew.filter(|_| stalled < claimed_at) {
            let welcomed = self.instances[who].desk().unwrap().welcomed.clone();
            let worth_it = |&admin_port: &u16| {
                let other = who_has(admin_port);
                let Instance { died_at, .. } = self.instances[other];
                let lives = self.instances[other].lives();
                if lives {
                    !welcomed.contains(&other)
                } else {
                    died_at + NEXT_PROBE + 2 * SLOWEST > now
                }
            };
            assert!(knew.iter().any(worth_it), "waited in vain for {knew:?}");
            self.seen.gave_up_on_known_ones += 1;
        }
    }

    pub(super) fn announce(&mut self, who: Who) {
        let instance = &mut self.instances[who];
        let turn = instance.turn;
        instance.desk().unwrap().announcing = false;
        for link in 0..self.links.len() {
            let this = &mut self.links[link];
            let ours = this.owner[1] == who && this.turn == turn && this.open[1];
            let Some(cursor) = this.cursor.as_mut().filter(|_| ours) else { continue };
            let mut news = Vec::new();
            self.instances[who].desk().unwrap().supervisor.news(cursor, &mut news);
            news.into_iter().for_each(|message| self.send(link, Server, message));
        }
        self.tell_watcher();
    }

    /// True if `who` is killed at this very point.
    pub(super) fn dies_now(&mut self, who: Who) -> bool {
        let Some(left) = &mut self.instances[who].dies_in else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        self.seen.killed_amid_actions += 1;
        self.kill(who);
        true
    }

    /// Notes who of the group is there to be waited for, as the supervisor `who` comes to its end.
    pub(super) fn end_supervising(&mut self, who: Who) {
        let Some(Desk { welcomed, pending, .. }) = self.instances[who].desk() else { return };
        let (members, pending) = (std::mem::take(welcomed), std::mem::take(pending));
        members.into_iter().for_each(|who| _ = self.survivors.entry(who).or_insert(self.now));
        pending.into_iter().for_each(|id| self.end_question(id));
        self.watch_soon();
    }

    /// Says goodbye to all as a supervisor. True if it lived to the end of it.
    pub(super) fn farewell(&mut self, who: Who, reason: Departure) -> bool {
        // What was decided for its own instance before is still taken.
        self.collect(who);
        let turn = self.instances[who].turn;
        for link in 0..self.links.len() {
            if self.links[link].owner[1] == who
                && self.links[link].turn == turn
                && self.links[link].welcomed
            {
                if self.dies_now(who) {
                    return false;
                }
                self.send(link, Server, Control::Leaving { reason });
            }
        }
        self.end_supervising(who);
        self.port = None;
        for link in 0..self.links.len() {
            if self.links[link].owner[1] == who {
                self.close(link, Server, false);
            }
        }
        true
    }
}
