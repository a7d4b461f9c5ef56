//! The connections between routers and agents.

use super::super::RouterInput;
use super::super::agent::AgentInput;
use super::world::{Letter, Link, Part, What, Who, World, host, services, tell};
use crate::wire::{Tail, ToAgent};

impl World {
    pub(super) fn dial(&mut self, one: Who, other: Who) {
        let both = [one, other].map(|who| &self.processes[who]);
        let is_link = both.iter().any(|process| process.router().is_some());
        if !is_link || both.iter().any(|process| !process.alive) {
            return;
        }
        let linked = self.links.values().any(|link| link.ends == [one, other]);
        let away = self.away(one).is_some() || self.away(other).is_some();
        if linked || away || !self.reach(both[0].at, both[1].at) {
            return self.later_dial(one, other);
        }
        self.next += 1;
        let link = Link { ends: [one, other], last: [self.now; 2], sent: [0; 2], come: [0; 2] };
        self.links.insert(self.next, link);
        tell!(self, "{one} and {other} are linked");
        for (who, to) in [(one, other), (other, one)] {
            let peer = &self.processes[to];
            let (tail, at) = (peer.tail(), host(peer.at));
            match &peer.part {
                Part::Router(router) => {
                    let owns = router.owns();
                    self.agent_step(who, AgentInput::Up { tail, services: services() });
                    self.router_step(who, RouterInput::RouterUp { tail, host: at, owns });
                }
                Part::Agent(_) => {
                    let name = format!("{to}");
                    let up = RouterInput::AgentUp { tail, name, host: at, weight: 1 };
                    self.router_step(who, up);
                }
            }
        }
    }

    pub(super) fn hang_up(&mut self, link: u64) {
        let Some(Link { ends: [one, other], .. }) = self.links.remove(&link) else { return };
        tell!(self, "{one} and {other} are linked no more");
        for (who, to) in [(one, other), (other, one)] {
            let tail = self.processes[to].tail();
            self.agent_step(who, AgentInput::Down { tail });
            self.router_step(who, RouterInput::Down { tail });
        }
        self.later_dial(one, other);
    }

    /// One end ends it; the other learns of it if it can.
    pub(super) fn end_link(&mut self, who: Who, tail: Tail) {
        let is_it = |link: &Link| {
            link.ends.contains(&who)
                && link.ends.iter().any(|to| self.processes[*to].tail() == tail)
        };
        let link = self.links.iter().find(|(_, link)| is_it(link)).map(|(id, _)| *id);
        if let Some(Link { ends: [one, other], .. }) = link.and_then(|id| self.links.remove(&id)) {
            let to = if one == who { other } else { one };
            let tail = self.processes[who].tail();
            self.agent_step(to, AgentInput::Down { tail });
            self.router_step(to, RouterInput::Down { tail });
            self.later_dial(one, other);
        }
    }

    pub(super) fn post(&mut self, who: Who, tail: Tail, letter: Letter) {
        let to = (0..self.processes.len()).find(|to| self.processes[*to].tail() == tail);
        let Some(to) = to else { return };
        let after = 1 + self.random.time_in(200);
        let now = self.now;
        let link = self
            .links
            .iter_mut()
            .find(|(_, link)| link.ends == [who, to] || link.ends == [to, who]);
        let Some((id, link)) = link else { return };
        // In order, as TCP does it.
        let way = usize::from(link.ends[0] == who);
        link.last[way] = link.last[way].max(now + after);
        link.sent[way] += 1;
        let (number, link, after) = (link.sent[way], *id, link.last[way] - now);
        self.letters += 1;
        self.later(after, What::Letter { link, to, number, letter });
    }

    pub(super) fn deliver(&mut self, link: u64, to: Who, number: u64, letter: Letter) {
        let Some(one) = self.links.get(&link) else { return };
        let [a, b] = one.ends;
        let from = if a == to { b } else { a };
        if !self.processes[to].alive {
            return;
        }
        let at = [from, to].map(|who| self.processes[who].at);
        let way = usize::from(a == from);
        let is_next = one.come[way] + 1 == number;
        if !is_next || at[0] != at[1] && !self.reach(at[0], at[1]) {
            // It waits until the way is open again, or the link is given up.
            return self.later(20, What::Letter { link, to, number, letter });
        }
        self.links.get_mut(&link).expect("as above").come[way] = number;
        let tail = self.processes[from].tail();
        match letter {
            Letter::ToAgent(message) => {
                if let ToAgent::Serve { candidates, .. } = &message {
                    self.processes[to].told_list.clone_from(candidates);
                }
                self.agent_step(to, AgentInput::Heard { tail, message });
            }
            Letter::FromAgent(message) => {
                self.router_step(to, RouterInput::FromAgent { tail, message });
            }
            Letter::Router(message) => {
                self.router_step(to, RouterInput::FromRouter { tail, message });
            }
        }
    }
}
