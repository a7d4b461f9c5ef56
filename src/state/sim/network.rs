//! The simulated network: connections with delays, ends and resets, and the messages on them.

use super::*;

impl World {
    pub(super) fn send(&mut self, link: LinkId, from: End, message: impl Into<Message>) {
        let to = if from == Client { Server } else { Client };
        if self.links[link].open == [true; 2] && !self.links[link].reset[from as usize] {
            self.links[link].inbox[to as usize].push_back(message.into());
            self.read_soon(link, to);
        }
    }

    /// Closes one end; the other one sees a reset in place of an end if `reset`, or if there was
    /// something unread.
    pub(super) fn close(&mut self, link: LinkId, end: End, reset: bool) {
        let other = if end == Client { Server } else { Client };
        let this = &mut self.links[link];
        if !std::mem::replace(&mut this.open[end as usize], false) {
            return;
        }
        let unread = !std::mem::take(&mut this.inbox[end as usize]).is_empty();
        if (reset || unread) && this.open[other as usize] {
            self.reset(link, other);
        }
        self.read_soon(link, other);
    }

    pub(super) fn reset(&mut self, link: LinkId, end: End) {
        self.seen.reset += 1;
        self.links[link].reset[end as usize] = true;
        if self.lossy {
            self.links[link].inbox[end as usize].clear();
        }
        self.read_soon(link, end);
    }

    pub(super) fn read_soon(&mut self, link: LinkId, end: End) {
        if !std::mem::replace(&mut self.links[link].reading[end as usize], true) {
            let delay = self.random.time(self.links[link].delay);
            self.at(delay, What::Read(link, end == Server));
        }
    }

    pub(super) fn read(&mut self, link: LinkId, end: End, what: What) {
        let who = self.links[link].owner[end as usize];
        if !self.instances[who].lives() || self.stalled(who, what) {
            return;
        }
        let this = &mut self.links[link];
        this.reading[end as usize] = false;
        let message = this.inbox[end as usize].pop_front();
        let ended = this.open != [true; 2] || this.reset[end as usize];
        if message.is_some() {
            self.read_soon(link, end);
        } else if !ended {
            return;
        }
        match end {
            Client if self.links[link].open[0] => self.read_as_client(who, link, message),
            Server if self.instances[who].turn == self.links[link].turn => {
                self.read_as_server(who, link, message)
            }
            Client | Server => {}
        }
    }

    /// `None` is the end.
    pub(super) fn read_as_client(&mut self, who: Who, link: LinkId, message: Option<Message>) {
        let reset = self.links[link].reset[0];
        let instance = &mut self.instances[who];
        match (&instance.doing, message) {
            (Doing::Following(_), Some(Message::Control(message @ Control::Alive { .. }))) => {
                self.hear_of_life(link, Client, &message);
            }
            (Doing::Joining(_) | Doing::Following(_), Some(message)) => {
                let followed = matches!(instance.doing, Doing::Following(_)).then_some(link);
                self.hear(who, link, message, followed);
            }
            (Doing::Joining(_), None) => {
                self.seen.closed_at_once += 1;
                // Nothing tells it from a supervisor that died before it welcomed us.
                instance.cut_while_joining |= reset;
                self.close(link, Client, false);
                self.on(who, Outcome::ClosedAtOnce);
            }
            (Doing::Following(_), None) => {
                instance.was_cut = self.links[link].cut;
                self.close(link, Client, false);
                self.on(who, Outcome::LifelineEnded { sure: !reset });
            }
            (Doing::Deed(_) | Doing::Binding | Doing::Supervising(_) | Doing::Gone, _) => {
                panic!("has no lifeline")
            }
        }
    }

    fn hear(&mut self, who: Who, link: LinkId, message: Message, followed: Option<LinkId>) {
        tell!(self, "{} hears {message:?}", self.name(who));
        let about = match &message {
            Message::ToHolder(message) => Instance::about(message),
            _ => None,
        };
        match self.instances[who].member.hear(message) {
            Heard::Quiet | Heard::State => {}
            Heard::Probed { number, within_ns } => {
                self.hear_of_life(link, Client, &Control::Probe { number, within_ns });
            }
            Heard::Held(upshot, answer) => {
                self.heed(who, about, upshot, followed);
                answer.into_iter().for_each(|answer| self.send(link, Client, answer));
            }
            Heard::Answer(answer @ Message::Joining(Joining::Welcome { .. })) => {
                let instance = &mut self.instances[who];
                (instance.doing, instance.stepped_down) = (Doing::Following(link), None);
                self.on(who, Outcome::Answered(answer));
                self.begin(who, link);
                self.watch_over(link, Client);
            }
            Heard::Answer(Message::Handshake(Handshake::Rejected { rejection })) => {
                let instance = &mut self.instances[who];
                self.seen.refused_a_survivor += u64::from(instance.member.last_term() > 0);
                let obstacle = Obstacle::refused(&rejection);
                self.close(link, Client, false);
                self.on(who, Outcome::Obstructed(obstacle));
                // Nor does it come to an end as long as somebody goes on in vain.
                if self.faults == 0 && self.instances[who].lives() {
                    self.kill(who);
                }
            }
            Heard::Answer(other) => panic!("{other:?} in answer to a hello"),
            Heard::Nonsense => {
                self.instances[who].was_cut = true;
                self.close(link, Client, false);
                self.on(who, Outcome::LifelineEnded { sure: false });
            }
        }
    }

    /// `None` is the end.
    pub(super) fn read_as_server(&mut self, who: Who, link: LinkId, message: Option<Message>) {
        let conn = link as u64;
        match message {
            Some(Message::Joining(Joining::Hello { greeting })) if !self.links[link].hello_read => {
                self.links[link].hello_read = true;
                let hello = Hello::of(*greeting);
                self.look_for_the_end_of(who, &hello.entry);
                self.decide(who, Input::Hello { conn, hello });
            }
            Some(Message::Control(message @ (Control::Probe { .. } | Control::Alive { .. }))) => {
                self.hear_of_life(link, Server, &message);
            }
            Some(message) => self.decide(who, Input::of(conn, message)),
            None => {
                self.close(link, Server, false);
                if self.links[link].hello_read {
                    self.decide(who, Input::Ended { conn });
                }
            }
        }
    }

    /// Before a name is refused, its dead holder's sockets are given the time to close.
    pub(super) fn look_for_the_end_of(&mut self, who: Who, entry: &Entry) {
        let Some(desk) = self.instances[who].desk() else { return };
        let Some(conn) = desk.supervisor.rival(entry) else {
            let back = desk
                .supervisor
                .registry()
                .entry(&entry.name)
                .is_some_and(|holder| holder.id == entry.id);
            self.seen.replaced += u64::from(back);
            return;
        };
        let old = conn as usize;
        if self.instances[self.links[old].owner[0]].lives() {
            // The greeting of one who has died since, and whose name another life has by now.
            let is_late = !self.instances[entry.id as usize - 1].lives();
            return assert!(self.namesakes || is_late, "two of one name");
        }
        self.close(old, Client, false);
        for message in std::mem::take(&mut self.links[old].inbox[1]) {
            self.decide(who, Input::of(conn, message));
        }
        self.close(old, Server, false);
        self.decide(who, Input::Ended { conn });
    }
}
