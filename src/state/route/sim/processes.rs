//! Hosts and processes: what starts, stands still, ends and is cut off.

use super::super::agent::{Agent, AgentInput};
use super::super::giveback::Returning;
use super::super::{GroupPeer, Millis, RouteRules, Router, RouterInput, from_group};
use super::kernel::Table;
use super::world::{
    At, D, DEAD, Deed, H, Link, Part, Process, What, Who, World, host, services, tell,
};
use crate::event::masterless::EventKind;
use crate::state::masterless::{Action, Input, Machine, NEVER, Rules};
use crate::state::sim::random::Random;
use crate::wire::heartbeat::Heartbeat;
use crate::wire::label::Label;

impl World {
    pub(super) fn start(&mut self, at: At, rank: u8, part: impl FnOnce(&mut Self) -> Part) -> Who {
        let returning = Returning::new(self.give_back, rank);
        let rules = Rules {
            service: 1,
            rank: if rank < NEVER { returning.first_rank() } else { NEVER },
            workload: self.hosts[at].workload,
            label: Label::EMPTY,
            origin: 0,
            interval: H,
            delay: D,
            preempt: returning.may_preempt(),
            prepare_handover: rank < NEVER,
            quorum: 0,
            slow_above: 0,
            max_members: 4096,
            can_start: false,
            needs: Vec::new(),
            epoch: self.epoch,
            observe: false,
        };
        let mut chance = Random(self.random.next());
        let mut out = Vec::new();
        let group = Machine::new(rules, self.now, Box::new(move || chance.next()), &mut out);
        let part = part(self);
        let who = self.processes.len();
        tell!(self, "{who} starts on {at}, rank {rank}");
        self.processes.push(Process {
            at,
            group,
            part,
            returning,
            alive: true,
            paused_until: 0,
            wake: 0,
            news: Vec::new(),
            told_list: None,
        });
        self.carry_out_group(who, out);
        for other in 0..who {
            self.later_dial(who, other);
        }
        who
    }

    pub(super) fn later_dial(&mut self, one: Who, other: Who) {
        let after = H / 2 + self.random.next() % H;
        self.later(after, What::Dial { one, other });
    }

    pub(super) fn start_router(&mut self, at: At, rank: u8) -> Who {
        let services = services();
        let all = self.hosts.iter().enumerate().filter(|(_, one)| one.is_target);
        let all = all.map(|(at, _)| at).collect();
        let list = self.own_lists.get(&at).unwrap_or(&all);
        let list = list.iter().filter_map(|at| Some((host(*at).v4?, 1))).collect();
        let rules = RouteRules {
            services: services.clone(),
            host: host(at),
            candidates: self.listed.then_some(list),
            policy: self.policy,
            interval: H,
            dead: DEAD,
        };
        self.start(at, rank, |world| {
            let adopted = world.hosts[at].table.as_mut().map(Table::adopt);
            world.hosts[at].has_routed = true;
            world.hosts[at].table.get_or_insert_with(|| Table::new(services.len()));
            Part::Router(Box::new(Router::new(rules, adopted, world.now)))
        })
    }

    pub(super) fn start_agent(&mut self, at: At) -> Who {
        self.hosts[at].prepared = true;
        let who = self.start(at, NEVER, |world| Part::Agent(Box::new(Agent::new(world.now))));
        self.look(who);
        who
    }

    pub(super) fn kill(&mut self, who: Who) {
        if std::mem::take(&mut self.processes[who].alive) {
            tell!(self, "{who} is killed");
            let links: Vec<u64> = self.links_of(who).collect();
            // Its kernel ends its connections.
            for link in links {
                self.later(1, What::HangUp { link });
            }
        }
    }

    pub(super) fn pause(&mut self, who: Who, time: Millis) {
        tell!(self, "{who} stands still for {time} ms");
        self.processes[who].paused_until = self.now + time;
    }

    /// The process leaves in order.
    pub(super) fn leave(&mut self, who: Who) {
        tell!(self, "{who} leaves");
        if self.processes[who].router().is_some() {
            self.router_step(who, RouterInput::Leave);
        }
        self.group(who, Input::Leave);
    }

    pub(super) fn links_of(&self, who: Who) -> impl Iterator<Item = u64> + '_ {
        self.links.iter().filter(move |(_, link)| link.ends.contains(&who)).map(|(id, _)| *id)
    }

    pub(super) fn off(&mut self, at: At) {
        if !std::mem::take(&mut self.hosts[at].alive) {
            return;
        }
        tell!(self, "host {at} is off");
        let here: Vec<Who> =
            (0..self.processes.len()).filter(|who| self.processes[*who].at == at).collect();
        for who in here {
            self.processes[who].alive = false;
            let links: Vec<u64> = self.links_of(who).collect();
            // The others' kernels give up.
            links.into_iter().for_each(|link| self.later(DEAD, What::HangUp { link }));
        }
        let one = &mut self.hosts[at];
        one.boot += 1;
        (one.table, one.has_until, one.prepared) = (None, 0, false);
        one.sockets.clear();
    }

    /// The living processes of a host.
    pub(super) fn on(&self, at: At, is_it: impl Fn(&Process) -> bool) -> std::vec::IntoIter<Who> {
        let its = |who: &Who| {
            let process = &self.processes[*who];
            process.alive && process.at == at && is_it(process)
        };
        (0..self.processes.len()).filter(its).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn execute(&mut self, deed: Deed) {
        match deed {
            Deed::KillRouter(at) => {
                self.on(at, |one| one.router().is_some()).for_each(|who| self.kill(who));
            }
            Deed::KillAgent(at) => {
                self.on(at, |one| one.agent().is_some()).for_each(|who| self.kill(who));
            }
            Deed::Pause(at, time) => {
                self.on(at, |_| true).for_each(|who| self.pause(who, time));
            }
            Deed::StartRouter(at) => {
                let runs = self.on(at, |one| one.router().is_some()).next().is_some();
                if self.hosts[at].alive && !runs {
                    self.start_router(at, 10 + at as u8);
                }
            }
            Deed::StartAgent(at) => {
                let runs = self.on(at, |one| one.agent().is_some()).next().is_some();
                let one = &self.hosts[at];
                if one.has_routed && one.table.is_none() {
                    self.execute(Deed::StartRouter(at));
                }
                let one = &self.hosts[at];
                if one.alive && one.is_target && !runs {
                    self.start_agent(at);
                }
            }
            Deed::Off(at) => self.off(at),
            Deed::On(at) => self.hosts[at].alive = true,
            Deed::Client => _ = self.connect(),
            Deed::Cut(one, other) => {
                tell!(self, "{one} and {other} are cut from each other");
                self.cut.insert((one, other));
                self.break_links();
            }
            Deed::Mend(one, other) => {
                tell!(self, "{one} and {other} reach each other again");
                if self.cut.remove(&(one, other)) {
                    self.mended.insert((one, other), self.now);
                }
            }
            Deed::Flip => self.flip(),
        }
    }

    pub(super) fn mend_all(&mut self) {
        let all: Vec<(At, At)> = self.cut.iter().copied().collect();
        all.into_iter().for_each(|(one, other)| self.execute(Deed::Mend(one, other)));
    }

    pub(super) fn break_links(&mut self) {
        let ends = |link: &Link| link.ends.map(|who| self.processes[who].at);
        let broken: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| {
                let [one, other] = ends(link);
                one != other && !self.reach(one, other)
            })
            .map(|(id, _)| *id)
            .collect();
        broken.into_iter().for_each(|link| self.later(DEAD, What::HangUp { link }));
    }

    pub(super) fn group(&mut self, who: Who, input: Input) {
        if !self.processes[who].alive {
            return;
        }
        let mut out = Vec::new();
        let is_beat = matches!(input, Input::Heard(_));
        self.processes[who].group.step(self.now, input, &mut out);
        if is_beat && self.processes[who].group.wake_at() <= self.now {
            self.processes[who].group.step(self.now, Input::Tick, &mut out);
        }
        self.carry_out_group(who, out);
    }

    pub(super) fn carry_out_group(&mut self, who: Who, actions: Vec<Action>) {
        let mut exits = false;
        for action in actions {
            match action {
                Action::Send { beat, .. } => self.broadcast(who, beat),
                Action::Flush => {}
                Action::Tell(kind) => self.told(who, &kind),
                Action::Exit => exits = true,
            }
        }
        if exits && self.processes[who].agent().is_some() {
            self.kill(who);
        }
        self.router_step(who, RouterInput::Tick);
        self.agent_step(who, AgentInput::Tick);
        self.schedule(who);
    }

    pub(super) fn schedule(&mut self, who: Who) {
        let process = &mut self.processes[who];
        let part = match &process.part {
            Part::Router(router) => router.wake_at(),
            Part::Agent(agent) => agent.wake_at().unwrap_or(Millis::MAX),
        };
        process.wake += 1;
        let (wake, at) = (process.wake, process.group.wake_at().min(part).max(self.now + 1));
        self.later(at - self.now, What::Wake { who, wake });
    }

    pub(super) fn broadcast(&mut self, who: Who, beat: Heartbeat) {
        self.epoch = self.epoch.max(beat.epoch);
        for to in 0..self.processes.len() {
            let (from, at) = (self.processes[who].at, self.processes[to].at);
            if to != who && self.processes[to].alive && self.reach(from, at) && !self.lost() {
                let after = 1 + self.random.next() % 20;
                self.later(after, What::Beat { to, beat: Box::new(beat) });
            }
        }
        match self.processes[who].part {
            Part::Agent(_) => self.look(who),
            Part::Router(_) => self.read_record(who),
        }
    }

    /// Once an interval a router reads who is in the group.
    fn read_record(&mut self, who: Who) {
        let process = &mut self.processes[who];
        let Part::Router(router) = &process.part else { return };
        let rank = process.returning.step(self.now, router);
        let record = RouterInput::Record(process.group.members().map(GroupPeer::from).collect());
        self.router_step(who, record);
        if let Some(rank) = rank {
            self.group(who, Input::Rank(rank));
        }
    }

    pub(super) fn told(&mut self, who: Who, kind: &EventKind) {
        if matches!(kind, EventKind::Paused { .. }) {
            self.processes[who].returning.paused();
        }
        if matches!(kind, EventKind::Role { .. }) {
            tell!(self, "{who}: {kind:?}");
        }
        if let Some(input) = from_group(kind) {
            self.router_step(who, input);
        }
    }
}
