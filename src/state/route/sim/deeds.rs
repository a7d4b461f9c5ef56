//! What routers and agents decide, carried out.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use super::super::agent::{AgentAction, AgentInput, report};
use super::super::{Conn, Millis, RouterAction, RouterInput};
use super::world::{
    At, D, Letter, Part, Process, TIME_WAIT, What, Who, World, host, services, tell,
};
use crate::state::masterless::Input;
use crate::wire::FromAgent;
use crate::wire::route::{pack, unpack};

impl World {
    pub(super) fn router_step(&mut self, who: Who, input: RouterInput) {
        let now = self.now;
        let process = &mut self.processes[who];
        let lease = process.group.lease_ok(now);
        let Part::Router(router) = &mut process.part else { return };
        if !process.alive {
            return;
        }
        let mut out = Vec::new();
        router.step(now, lease, input, &mut out);
        router.check();
        for action in out {
            match &mut self.dies_before {
                Some((doomed, 0)) if *doomed == who => return self.kill(who),
                Some((doomed, left)) if *doomed == who => *left -= 1,
                _ => {}
            }
            self.carry_out(who, action, lease);
        }
        self.schedule(who);
    }

    pub(super) fn carry_out(&mut self, who: Who, action: RouterAction, lease: bool) {
        let (now, at) = (self.now, self.processes[who].at);
        if self.story && !matches!(action, RouterAction::Look) {
            tell!(self, "{who} does {action:?}");
        }
        assert!(lease || !action.needs_lease(), "{who} does {action:?} without the lease");
        let table = self.hosts[at].table.as_mut().expect("a router has a table");
        match action {
            RouterAction::ToAgent(tail, message) => self.post(who, tail, Letter::ToAgent(message)),
            RouterAction::ToRouter(tail, message) => self.post(who, tail, Letter::Router(message)),
            RouterAction::HangUp(tail, fault) => {
                assert!(fault.contains("dead"), "{who} hangs up on {tail}: {fault}");
                self.end_link(who, tail);
            }
            RouterAction::Replace(known) => table.replace(known, now),
            RouterAction::Fill(reports) => table.fill(reports, now),
            RouterAction::Forget(conns) => table.forget(&conns),
            RouterAction::Refuse(conns) => {
                for conn in &conns {
                    self.check_refusal(at, *conn);
                }
                let table = self.hosts[at].table.as_mut().expect("as above");
                table.refuse(conns, now);
            }
            RouterAction::Point(target, host) => _ = table.targets.insert(target, host),
            RouterAction::Hold(target) => _ = table.targets.remove(&target),
            RouterAction::Cut { target, refuse } => {
                for conn in table.cut(target, refuse, now) {
                    if refuse {
                        self.check_refusal(at, conn);
                        let client = self.by_name[&conn];
                        self.later(1, What::Poke { client });
                    }
                }
            }
            RouterAction::Slots { service, slots } => {
                table.slots(service, slots);
            }
            RouterAction::Ends(ends) => table.ends(ends),
            RouterAction::Routers(hosts) => table.routers(hosts),
            RouterAction::Take { life } => {
                self.hosts[at].has_until = life.map_or(Millis::MAX, |life| now + life);
            }
            RouterAction::Release => self.hosts[at].has_until = 0,
            RouterAction::Announce => self.announce(at),
            RouterAction::Probe { target, host: probed } => {
                let other = (0..self.hosts.len()).find(|one| host(*one).is(&probed));
                let alive = other.is_some_and(|other| self.reach(at, other));
                self.later(2 * D, What::Probed { who, target, alive });
            }
            RouterAction::Look => {
                let found = table.strangers(now);
                if !found.is_empty() {
                    self.router_step(who, RouterInput::Strangers(found));
                }
            }
            RouterAction::HandoverReady => self.group(who, Input::HandoverReady),
            RouterAction::Tell(news) => self.processes[who].news.push((now, news)),
            RouterAction::Exit => {
                self.hosts[at].table = None;
                self.kill(who);
            }
        }
    }

    pub(super) fn agent_step(&mut self, who: Who, input: AgentInput) {
        let now = self.now;
        let process = &mut self.processes[who];
        let Part::Agent(agent) = &mut process.part else { return };
        if !process.alive {
            return;
        }
        let (mut out, before) = (Vec::new(), agent.served());
        agent.step(now, input, &mut out);
        assert!(agent.served() >= before, "an agent moves on to larger tokens only");
        let at = process.at;
        for action in out {
            match action {
                AgentAction::Send(tail, message) => {
                    self.post(who, tail, Letter::FromAgent(message));
                }
                AgentAction::Report { to, number, services, state } => {
                    let of = |service| self.connections(at, service as u16);
                    let all: Vec<_> = (0..services.len()).map(of).collect();
                    for message in report(number, state, &all) {
                        self.post(who, to, Letter::FromAgent(message));
                    }
                }
                AgentAction::Find { to, number, place, service, keys } => {
                    let wanted = unpack(&keys, service).expect("a router asks for keys");
                    let wanted: BTreeSet<_> =
                        wanted.into_iter().map(|(client, _)| client).collect();
                    let mut has = self.connections(at, place);
                    has.retain(|(client, _)| wanted.contains(client));
                    let found = FromAgent::Found { number, service: place, keys: pack(&has) };
                    self.post(who, to, Letter::FromAgent(found));
                }
                AgentAction::Serves(token) => tell!(self, "{who} serves {token}"),
            }
        }
        self.schedule(who);
    }

    pub(super) fn connections(&self, at: At, service: u16) -> Vec<(SocketAddr, u8)> {
        let of_service = self.hosts[at].sockets.iter().filter(|(conn, _)| conn.service == service);
        of_service.map(|(conn, (state, _))| (conn.client, *state)).collect()
    }

    pub(super) fn look(&mut self, who: Who) {
        let (now, at) = (self.now, self.processes[who].at);
        let one = &mut self.hosts[at];
        one.sockets.retain(|_, (state, since)| *state != TIME_WAIT || now < *since + 60_000);
        let listening = if one.listening { services() } else { Vec::new() };
        let connections = one.sockets.len() as u32;
        self.agent_step(who, AgentInput::Looked { listening, connections });
    }

    pub(super) fn ended(&mut self, at: At, conn: Conn) {
        let of = |one: &Process| one.alive && one.at == at && one.agent().is_some();
        if let Some(who) = self.processes.iter().position(of) {
            let service = services()[usize::from(conn.service)];
            self.agent_step(who, AgentInput::Ended(vec![(service, conn.client)]));
        }
    }
}
