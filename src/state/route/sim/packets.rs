//! The packets of clients, from host to host.

use super::super::Conn;
use super::kernel::{Fate, Packet, Segment};
use super::world::{At, ESTABLISHED, SYN_RECV, TIME_WAIT, What, World, host, tell};

impl World {
    pub(super) fn announce(&mut self, at: At) {
        for client in 0..self.clients.len() {
            if self.hosts[at].alive && !self.lost() {
                let after = self.hop();
                self.later(after, What::Announced { client, at });
            }
        }
    }

    /// Neighbour tables change their minds, among those that have the addresses.
    pub(super) fn flip(&mut self) {
        let owners = self.owning_hosts();
        if let 1.. = owners.len() {
            for client in 0..self.clients.len() {
                let at = owners[self.random.below(owners.len())];
                self.clients[client].sends_to = Some(at);
            }
        }
    }

    /// The hosts that answer for the addresses.
    pub(super) fn owning_hosts(&self) -> Vec<At> {
        let has = |at: &At| self.hosts[*at].alive && self.hosts[*at].has_until > self.now;
        (0..self.hosts.len()).filter(has).collect()
    }

    /// The host that it sends to, if that still answers for the addresses; else another that does.
    pub(super) fn resolve(&mut self, client: usize) {
        let owners = self.owning_hosts();
        let present = self.clients[client].sends_to;
        if !owners.is_empty() && !present.is_some_and(|at| owners.contains(&at)) {
            let at = owners[self.random.below(owners.len())];
            self.clients[client].sends_to = Some(at);
        }
    }

    pub(super) fn send(&mut self, client: usize, segment: Segment) {
        if self.clients[client].sends_to.is_none() {
            self.resolve(client);
        }
        let (conn, to) = (self.clients[client].conn, self.clients[client].sends_to);
        if let (Some(at), false) = (to, self.lost()) {
            let after = self.hop();
            let packet = Packet { conn, segment, from: None, is_passed: false };
            self.later(after, What::Packet { at, packet, hops: 0 });
        }
    }

    pub(super) fn packet(&mut self, at: At, packet: Packet, hops: u32) {
        let Packet { conn, segment, .. } = packet;
        if !self.hosts[at].alive {
            return;
        }
        assert!(hops < 4, "{conn:?} went by more than three routers");
        let now = self.now;
        let client = self.by_name[&conn];
        let verdict = match &mut self.hosts[at].table {
            Some(table) => table.meet(packet, now),
            None => Fate::Accept,
        };
        if self.story {
            tell!(self, "  {client} {segment:?} at {at}: {verdict:?}");
        }
        match verdict {
            Fate::Accept if self.hosts[at].prepared => {
                if segment == Segment::Syn {
                    self.offer(client, at);
                }
                self.receive(at, client, conn, segment);
            }
            Fate::Accept => {
                let has = self.hosts[at].has_until > now;
                assert!(!has, "the router's own stack answers {conn:?}");
            }
            Fate::Drop => {}
            Fate::Reset => self.later(1, What::Reset { client, by: "a router" }),
            Fate::Forward(to) | Fate::Pass(to) => {
                let other = (0..self.hosts.len()).find(|one| host(*one) == to);
                let Some(other) = other else { return };
                let is_passed = verdict == Fate::Pass(to);
                if segment == Segment::Syn && !is_passed {
                    self.offer(client, other);
                }
                if self.reach(at, other) && !self.lost() {
                    let after = self.hop();
                    let packet = Packet { from: Some(host(at).mac), is_passed, ..packet };
                    self.later(after, What::Packet { at: other, packet, hops: hops + 1 });
                }
            }
        }
    }

    /// A client that repeats its first packet while routers change may have it sent to two targets.
    /// Without packet loss nobody does.
    pub(super) fn offer(&mut self, client: usize, at: At) {
        let one = &mut self.clients[client];
        let before = one.offered.replace(at);
        one.doubled |= before.is_some_and(|before| before != at);
    }

    /// A target's own stack.
    pub(super) fn receive(&mut self, at: At, client: usize, conn: Conn, segment: Segment) {
        let now = self.now;
        let boot = self.hosts[at].boot;
        self.check_place(at, client, segment);
        let lost = self.lost();
        let one = &mut self.hosts[at];
        let state = one.sockets.get(&conn).map(|(state, _)| *state);
        let answer = match (segment, state) {
            (Segment::Syn, Some(ESTABLISHED)) => return,
            (Segment::Syn, _) if one.listening => {
                one.sockets.insert(conn, (SYN_RECV, now));
                What::SynAck { client, on: at, boot }
            }
            (Segment::Data, Some(SYN_RECV | ESTABLISHED)) => {
                one.sockets.insert(conn, (ESTABLISHED, now));
                What::Answer { client, on: at }
            }
            (Segment::Fin, Some(TIME_WAIT)) => return,
            (Segment::Fin, Some(_)) => {
                one.sockets.remove(&conn);
                return self.ended(at, conn);
            }
            (Segment::Data, Some(_)) => return,
            (Segment::Syn, _) => What::Reset { client, by: "nobody who listens" },
            (Segment::Data | Segment::Fin, None) => What::Reset { client, by: "a target" },
        };
        if !lost {
            let after = self.hop();
            self.later(after, answer);
        }
    }
}
