//! The world: hosts with kernels, the processes on them, the network between, and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::agent::{Agent, AgentAction, AgentInput, report};
use super::super::{
    Conn, Millis, RouteNews, RoutePolicy, RouteRules, Router, RouterAction, RouterInput, Target,
    from_group,
};
use super::kernel::{Fate, Packet, Segment, Table};
use crate::event::masterless::{EventKind, Token};
use crate::state::masterless::{Action, Input, Machine, NEVER, Rules};
use crate::state::sim::random::Random;
use crate::wire::heartbeat::{Heartbeat, Status};
use crate::wire::label::Label;
use crate::wire::route::{pack, unpack};
use crate::wire::{BetweenRouters, FromAgent, Host, Tail, ToAgent};

pub(super) const H: Millis = 500;
const D: Millis = 250;
/// The silence after which a process is dead.
pub(super) const DEAD: Millis = 3 * H + 2 * D;
const BEGIN: Millis = 1_000_000;
const SYN_RECV: u8 = 3;
const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 6;

pub(super) type At = usize;
pub(super) type Who = usize;

pub(super) fn services() -> Vec<SocketAddr> {
    [80, 81].map(|port| SocketAddr::new(Ipv4Addr::new(10, 0, 0, 100).into(), port)).to_vec()
}

pub(super) fn host(at: At) -> Host {
    let mut mac = [2, 0, 0, 0, 0, 0];
    mac[5] = at as u8;
    Host { v4: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, at as u8 + 1))), v6: None, mac }
}

pub(super) struct Machinery {
    pub(super) is_target: bool,
    pub(super) alive: bool,
    /// Its sockets are those since it was last switched on.
    boot: u32,
    /// It has the addresses as a target: its agent was started. Where there is a router, too, that
    /// was first, or the host's own stack would answer what comes for the router.
    prepared: bool,
    has_routed: bool,
    pub(super) table: Option<Table>,
    /// Until when it has the addresses.
    pub(super) has_until: Millis,
    pub(super) listening: bool,
    /// The state of each, and since when.
    pub(super) sockets: BTreeMap<Conn, (u8, Millis)>,
}

enum Part {
    Router(Box<Router>),
    Agent(Box<Agent>),
}

pub(super) struct Process {
    pub(super) at: At,
    group: Machine,
    part: Part,
    pub(super) alive: bool,
    paused_until: Millis,
    wake: u64,
    pub(super) news: Vec<(Millis, RouteNews)>,
}

impl Process {
    fn tail(&self) -> Tail {
        self.group.id().tail()
    }

    pub(super) fn router(&self) -> Option<&Router> {
        match &self.part {
            Part::Router(router) => Some(router),
            Part::Agent(_) => None,
        }
    }

    pub(super) fn agent(&self) -> Option<&Agent> {
        match &self.part {
            Part::Agent(agent) => Some(agent),
            Part::Router(_) => None,
        }
    }

    pub(super) fn is_owner(&self) -> bool {
        self.alive && self.router().is_some_and(Router::is_owner)
    }
}

#[derive(Clone, Debug)]
enum Letter {
    ToAgent(ToAgent),
    FromAgent(FromAgent),
    Router(BetweenRouters),
}

struct Link {
    ends: [Who; 2],
    /// Of each direction: when what was last sent arrives, how much was sent, and how much has come.
    last: [Millis; 2],
    sent: [u64; 2],
    come: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    Open { on: At, boot: u32 },
    Over,
    Reset,
}

pub(super) struct Client {
    pub(super) conn: Conn,
    pub(super) stage: Stage,
    /// The host that it sends to.
    pub(super) sends_to: Option<At>,
    /// Waits for an answer, and when it repeats its question.
    pub(super) waits: bool,
    rto: Millis,
    timer: u64,
    requests: usize,
    think: Millis,
    pub(super) answered_at: Millis,
    /// The host that has taken it.
    opened: Option<At>,
    /// A router has rightly refused it.
    given_up: bool,
    /// The target that its first packet was sent to, and whether there was another before.
    offered: Option<At>,
    pub(super) doubled: bool,
}

#[derive(Clone, Debug)]
enum What {
    Beat { to: Who, beat: Heartbeat },
    Wake { who: Who, wake: u64 },
    Dial { one: Who, other: Who },
    Letter { link: u64, to: Who, number: u64, letter: Letter },
    HangUp { link: u64 },
    Packet { at: At, packet: Packet, hops: u32 },
    SynAck { client: usize, on: At, boot: u32 },
    Answer { client: usize, on: At },
    Reset { client: usize, by: &'static str },
    Poke { client: usize },
    Timer { client: usize, timer: u64 },
    Announced { client: usize, at: At },
    Probed { who: Who, target: Target, alive: bool },
    Do(Deed),
}

/// What a scene has planned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    KillRouter(At),
    KillAgent(At),
    /// All processes of a host stand still.
    Pause(At, Millis),
    StartRouter(At),
    StartAgent(At),
    Off(At),
    On(At),
    Client,
    Cut(At, At),
    Mend(At, At),
    Flip,
}

pub(super) struct World {
    pub(super) now: Millis,
    pub(super) story: bool,
    pub(super) random: Random,
    pub(super) hosts: Vec<Machinery>,
    pub(super) processes: Vec<Process>,
    pub(super) clients: Vec<Client>,
    by_name: BTreeMap<Conn, usize>,
    links: BTreeMap<u64, Link>,
    pub(super) cut: BTreeSet<(At, At)>,
    /// When those that are cut no more were mended.
    mended: BTreeMap<(At, At), Millis>,
    /// Of a hundred packets and heartbeats so many are lost.
    pub(super) loss: u64,
    /// New connections may be refused: there may be no target.
    pub(super) may_refuse_new: bool,
    /// The routers have a list of the targets.
    pub(super) listed: bool,
    pub(super) policy: RoutePolicy,
    queue: BTreeMap<(Millis, u64), What>,
    next: u64,
    pub(super) letters: u64,
    pub(super) resets: BTreeMap<&'static str, usize>,
    pub(super) longest_wait: Millis,
    /// This router is killed before it does so many more things.
    pub(super) dies_before: Option<(Who, usize)>,
    epoch: u64,
}

macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.story {
            println!("{:>9.3}  {}", ($world.now - BEGIN) as f64 / 1000.0, format!($($text)*));
        }
    };
}

impl World {
    /// A world of hosts; of each, whether it is a target.
    pub(super) fn new(seed: u64, story: bool, targets: &[bool]) -> Self {
        let host = |is_target: &bool| Machinery {
            is_target: *is_target,
            alive: true,
            boot: 0,
            prepared: false,
            has_routed: false,
            table: None,
            has_until: 0,
            listening: *is_target,
            sockets: BTreeMap::new(),
        };
        World {
            now: BEGIN,
            story,
            random: Random(seed),
            hosts: targets.iter().map(host).collect(),
            processes: Vec::new(),
            clients: Vec::new(),
            by_name: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            mended: BTreeMap::new(),
            loss: 0,
            may_refuse_new: false,
            listed: false,
            policy: RoutePolicy::Even,
            queue: BTreeMap::new(),
            next: 0,
            letters: 0,
            resets: BTreeMap::new(),
            longest_wait: 0,
            dies_before: None,
            epoch: 0,
        }
    }

    // -- time --

    fn later(&mut self, after: Millis, what: What) {
        self.next += 1;
        self.queue.insert((self.now + after, self.next), what);
    }

    pub(super) fn plan(&mut self, after: Millis, deed: Deed) {
        self.later(after, What::Do(deed));
    }

    pub(super) fn run_for(&mut self, time: Millis) {
        let end = self.now + time;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            self.now = entry.key().0;
            let what = entry.remove();
            self.happen(what);
        }
        self.now = end;
    }

    pub(super) fn run_until(&mut self, most: Millis, what: &str, is_it: impl Fn(&World) -> bool) {
        let end = self.now + most;
        while !is_it(self) {
            let Some(entry) = self.queue.first_entry() else { panic!("never {what}") };
            assert!(entry.key().0 <= end, "not {what} after {most} ms");
            self.now = entry.key().0;
            let happens = entry.remove();
            self.happen(happens);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Do(deed) => self.execute(deed),
            What::Beat { to, beat } => {
                if let Some(back) = self.away(to) {
                    return self.later(back, What::Beat { to, beat });
                }
                self.group(to, Input::Heard(beat));
            }
            What::Wake { who, wake } => {
                if let Some(back) = self.away(who) {
                    return self.later(back, What::Wake { who, wake });
                }
                if self.processes[who].wake == wake {
                    self.group(who, Input::Tick);
                }
            }
            What::Dial { one, other } => self.dial(one, other),
            What::Letter { link, to, number, letter } => {
                if let Some(back) = self.away(to) {
                    return self.later(back, What::Letter { link, to, number, letter });
                }
                self.deliver(link, to, number, letter);
            }
            What::HangUp { link } => self.hang_up(link),
            What::Packet { at, packet, hops } => self.packet(at, packet, hops),
            What::SynAck { client, on, boot } => self.syn_ack(client, on, boot),
            What::Answer { client, on } => self.answer(client, on),
            What::Reset { client, by } => self.reset(client, by),
            What::Poke { client } => {
                if matches!(self.clients[client].stage, Stage::Open { .. }) {
                    self.send(client, Segment::Data);
                }
            }
            What::Timer { client, timer } => self.timer(client, timer),
            What::Announced { client, at } => self.clients[client].sends_to = Some(at),
            What::Probed { who, target, alive } => {
                self.router_step(who, RouterInput::Probed { target, alive });
            }
        }
    }

    /// Returns for how long the process still stands still.
    fn away(&self, who: Who) -> Option<Millis> {
        let until = self.processes[who].paused_until;
        (until > self.now).then(|| until - self.now)
    }

    fn reach(&self, one: At, other: At) -> bool {
        let cut = self.cut.contains(&(one, other)) || self.cut.contains(&(other, one));
        self.hosts[one].alive && self.hosts[other].alive && !cut
    }

    fn lost(&mut self) -> bool {
        self.random.next() % 100 < self.loss
    }

    fn hop(&mut self) -> Millis {
        self.random.next() % 3
    }

    // -- processes --

    fn start(&mut self, at: At, rank: u8, part: impl FnOnce(&mut Self) -> Part) -> Who {
        let rules = Rules {
            service: 1,
            rank,
            workload: 0,
            label: Label::EMPTY,
            origin: 0,
            interval: H,
            delay: D,
            preempt: true,
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
            alive: true,
            paused_until: 0,
            wake: 0,
            news: Vec::new(),
        });
        self.carry_out_group(who, out);
        for other in 0..who {
            self.later_dial(who, other);
        }
        who
    }

    fn later_dial(&mut self, one: Who, other: Who) {
        let after = H / 2 + self.random.next() % H;
        self.later(after, What::Dial { one, other });
    }

    pub(super) fn start_router(&mut self, at: At, rank: u8) -> Who {
        let services = services();
        let all = self.hosts.iter().enumerate().filter(|(_, one)| one.is_target);
        let list = all.filter_map(|(at, _)| Some((host(at).v4?, 1))).collect();
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

    fn links_of(&self, who: Who) -> impl Iterator<Item = u64> + '_ {
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
    fn on(&self, at: At, is_it: impl Fn(&Process) -> bool) -> std::vec::IntoIter<Who> {
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

    fn break_links(&mut self) {
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

    fn group(&mut self, who: Who, input: Input) {
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

    fn carry_out_group(&mut self, who: Who, actions: Vec<Action>) {
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

    fn schedule(&mut self, who: Who) {
        let process = &mut self.processes[who];
        let part = match &process.part {
            Part::Router(router) => router.wake_at(),
            Part::Agent(agent) => agent.wake_at().unwrap_or(Millis::MAX),
        };
        process.wake += 1;
        let (wake, at) = (process.wake, process.group.wake_at().min(part).max(self.now + 1));
        self.later(at - self.now, What::Wake { who, wake });
    }

    fn broadcast(&mut self, who: Who, beat: Heartbeat) {
        self.epoch = self.epoch.max(beat.epoch);
        for to in 0..self.processes.len() {
            let (from, at) = (self.processes[who].at, self.processes[to].at);
            if to != who && self.processes[to].alive && self.reach(from, at) && !self.lost() {
                let after = 1 + self.random.next() % 20;
                self.later(after, What::Beat { to, beat });
            }
        }
        if self.processes[who].agent().is_some() {
            self.look(who);
        }
    }

    fn told(&mut self, who: Who, kind: &EventKind) {
        if matches!(kind, EventKind::Role { .. }) {
            tell!(self, "{who}: {kind:?}");
        }
        if let Some(input) = from_group(kind) {
            self.router_step(who, input);
        }
    }

    // -- links --

    fn dial(&mut self, one: Who, other: Who) {
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

    fn hang_up(&mut self, link: u64) {
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
    fn end_link(&mut self, who: Who, tail: Tail) {
        let is_it = |link: &Link| {
            link.ends.contains(&who) && link.ends.iter().any(|to| self.processes[*to].tail() == tail)
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

    fn post(&mut self, who: Who, tail: Tail, letter: Letter) {
        let to = (0..self.processes.len()).find(|to| self.processes[*to].tail() == tail);
        let Some(to) = to else { return };
        let after = 1 + self.random.time_in(200);
        let now = self.now;
        let link = self.links.iter_mut().find(|(_, link)| {
            link.ends == [who, to] || link.ends == [to, who]
        });
        let Some((id, link)) = link else { return };
        // In order, as TCP does it.
        let way = usize::from(link.ends[0] == who);
        link.last[way] = link.last[way].max(now + after);
        link.sent[way] += 1;
        let (number, link, after) = (link.sent[way], *id, link.last[way] - now);
        self.letters += 1;
        self.later(after, What::Letter { link, to, number, letter });
    }

    fn deliver(&mut self, link: u64, to: Who, number: u64, letter: Letter) {
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
            Letter::ToAgent(message) => self.agent_step(to, AgentInput::Heard { tail, message }),
            Letter::FromAgent(message) => {
                self.router_step(to, RouterInput::FromAgent { tail, message });
            }
            Letter::Router(message) => {
                self.router_step(to, RouterInput::FromRouter { tail, message });
            }
        }
    }

    // -- routers and agents --

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

    fn carry_out(&mut self, who: Who, action: RouterAction, lease: bool) {
        let (now, at) = (self.now, self.processes[who].at);
        if self.story && !matches!(action, RouterAction::Look) {
            tell!(self, "{who} does {action:?}");
        }
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
                assert!(lease, "{who} refuses without the lease");
                for conn in &conns {
                    self.check_refusal(at, *conn);
                }
                let table = self.hosts[at].table.as_mut().expect("as above");
                table.refuse(conns, now);
            }
            RouterAction::Point(target, host) => _ = table.targets.insert(target, host),
            RouterAction::Hold(target) => _ = table.targets.remove(&target),
            RouterAction::Cut { target, refuse } => {
                assert!(lease || !refuse, "{who} cuts off without the lease");
                for conn in table.cut(target, refuse, now) {
                    if refuse {
                        self.check_refusal(at, conn);
                        let client = self.by_name[&conn];
                        self.later(1, What::Poke { client });
                    }
                }
            }
            RouterAction::Slots { service, slots } => {
                assert!(lease || slots.is_empty(), "{who} gives without the lease");
                table.slots(service, slots);
            }
            RouterAction::Ends(ends) => table.ends(ends),
            RouterAction::Routers(hosts) => table.routers(hosts),
            RouterAction::Take { life } => {
                assert!(lease, "{who} renews without the lease");
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

    fn agent_step(&mut self, who: Who, input: AgentInput) {
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
                    let wanted: BTreeSet<_> = wanted.into_iter().map(|(client, _)| client).collect();
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

    fn connections(&self, at: At, service: u16) -> Vec<(SocketAddr, u8)> {
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

    fn ended(&mut self, at: At, conn: Conn) {
        let of = |one: &Process| one.alive && one.at == at && one.agent().is_some();
        if let Some(who) = self.processes.iter().position(of) {
            let service = services()[usize::from(conn.service)];
            self.agent_step(who, AgentInput::Ended(vec![(service, conn.client)]));
        }
    }

    // -- packets --

    fn announce(&mut self, at: At) {
        for client in 0..self.clients.len() {
            if self.hosts[at].alive && !self.lost() {
                let after = self.hop();
                self.later(after, What::Announced { client, at });
            }
        }
    }

    /// Neighbour tables change their minds, among those that have the addresses.
    fn flip(&mut self) {
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
    fn resolve(&mut self, client: usize) {
        let owners = self.owning_hosts();
        let present = self.clients[client].sends_to;
        if !owners.is_empty() && !present.is_some_and(|at| owners.contains(&at)) {
            let at = owners[self.random.below(owners.len())];
            self.clients[client].sends_to = Some(at);
        }
    }

    fn send(&mut self, client: usize, segment: Segment) {
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

    fn packet(&mut self, at: At, packet: Packet, hops: u32) {
        let Packet { conn, segment, from, .. } = packet;
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
    fn offer(&mut self, client: usize, at: At) {
        let one = &mut self.clients[client];
        let before = one.offered.replace(at);
        one.doubled |= before.is_some_and(|before| before != at);
    }

    /// A target's own stack.
    fn receive(&mut self, at: At, client: usize, conn: Conn, segment: Segment) {
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

    // -- clients --

    pub(super) fn connect(&mut self) -> usize {
        let number = self.clients.len() as u32;
        let address = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + number));
        let conn = Conn {
            service: (number % 2) as u16,
            client: SocketAddr::new(address, 1024 + (number % 60_000) as u16),
        };
        let requests = if self.random.one_in(3) { usize::MAX } else { 1 + self.random.below(20) };
        self.connect_as(conn, requests)
    }

    /// Packets of connections that nobody has.
    pub(super) fn junk(&mut self, count: u32) {
        for _ in 0..count {
            let number = self.clients.len() as u32;
            let client = SocketAddr::new(Ipv4Addr::from(0x0a80_0000 + number).into(), 9);
            let conn = Conn { service: 0, client };
            let one = self.add(conn, 0);
            self.clients[one].stage = Stage::Over;
            self.resolve(one);
            self.send(one, Segment::Data);
        }
    }

    /// The same client once more, from another port.
    pub(super) fn connect_again(&mut self, client: usize) -> usize {
        let Conn { service, client: name } = self.clients[client].conn;
        let conn = Conn { service, client: SocketAddr::new(name.ip(), name.port() / 2) };
        self.connect_as(conn, 3)
    }

    fn add(&mut self, conn: Conn, requests: usize) -> usize {
        let client = self.clients.len();
        self.by_name.insert(conn, client);
        let think = 20 + self.random.time_in(2000);
        self.clients.push(Client {
            conn,
            stage: Stage::Opening,
            sends_to: None,
            waits: true,
            rto: 1000,
            timer: 0,
            requests,
            think,
            answered_at: self.now,
            opened: None,
            given_up: false,
            offered: None,
            doubled: false,
        });
        client
    }

    pub(super) fn connect_as(&mut self, conn: Conn, requests: usize) -> usize {
        let client = self.add(conn, requests);
        self.resolve(client);
        self.send(client, Segment::Syn);
        self.arm(client, 1000);
        client
    }

    fn arm(&mut self, client: usize, after: Millis) {
        let one = &mut self.clients[client];
        one.timer += 1;
        let timer = one.timer;
        self.later(after, What::Timer { client, timer });
    }

    fn timer(&mut self, client: usize, timer: u64) {
        let one = &mut self.clients[client];
        if one.timer != timer {
            return;
        }
        match one.stage {
            Stage::Over | Stage::Reset => {}
            Stage::Opening => {
                one.rto = (2 * one.rto).min(4000);
                let rto = one.rto;
                self.resolve(client);
                self.send(client, Segment::Syn);
                self.arm(client, rto);
            }
            Stage::Open { .. } if one.waits => {
                one.rto = (2 * one.rto).min(4000);
                let rto = one.rto;
                self.resolve(client);
                self.send(client, Segment::Data);
                self.arm(client, rto);
            }
            Stage::Open { .. } if one.requests == 0 => {
                one.stage = Stage::Over;
                self.send(client, Segment::Fin);
            }
            Stage::Open { .. } => self.ask(client),
        }
    }

    fn ask(&mut self, client: usize) {
        let one = &mut self.clients[client];
        one.requests = one.requests.saturating_sub(1);
        (one.waits, one.rto) = (true, 200);
        self.send(client, Segment::Data);
        self.arm(client, 200);
    }

    fn syn_ack(&mut self, client: usize, on: At, boot: u32) {
        let one = &mut self.clients[client];
        if one.stage == Stage::Opening {
            (one.stage, one.opened) = (Stage::Open { on, boot }, Some(on));
            one.answered_at = self.now;
            self.ask(client);
        }
    }

    fn answer(&mut self, client: usize, on: At) {
        let now = self.now;
        let one = &mut self.clients[client];
        let Stage::Open { on: its, .. } = one.stage else { return };
        assert!(its == on || one.doubled, "{:?} is answered by another target", one.conn);
        if std::mem::take(&mut one.waits) {
            self.longest_wait = self.longest_wait.max(now - one.answered_at);
            one.answered_at = now;
            let think = one.think;
            self.arm(client, think);
        }
    }

    fn reset(&mut self, client: usize, by: &'static str) {
        let one = &mut self.clients[client];
        match one.stage {
            Stage::Over | Stage::Reset => return,
            Stage::Opening => {
                assert!(self.may_refuse_new, "{:?} is refused by {by}", one.conn);
            }
            Stage::Open { .. } => {
                let may = self.clients[client].given_up || !self.lives(client);
                assert!(may, "{client} {:?} is reset by {by}", self.clients[client].conn);
            }
        }
        self.clients[client].stage = Stage::Reset;
        *self.resets.entry(by).or_default() += 1;
    }

    /// Returns true if a client's connection is alive at its target, and for certain at no other.
    pub(super) fn lives(&self, client: usize) -> bool {
        let one = &self.clients[client];
        let Stage::Open { on, boot } = one.stage else { return false };
        if one.doubled {
            return false;
        }
        let at = &self.hosts[on];
        let state = at.sockets.get(&one.conn).map(|(state, _)| *state);
        at.alive && at.boot == boot && matches!(state, Some(SYN_RECV | ESTABLISHED))
    }

    /// A packet of a living connection reaches its target or nobody.
    fn check_place(&self, at: At, client: usize, segment: Segment) {
        if let (Stage::Open { on, .. }, true) = (self.clients[client].stage, self.lives(client)) {
            let harmless = segment == Segment::Syn; // one that was repeated, and is late
            assert!(
                on == at || harmless,
                "{client} {:?} {segment:?} of {on} reaches {at}",
                self.clients[client].conn
            );
        }
    }

    /// Only what a dead target had may be refused. A target that a router has not reached for long
    /// is dead to it.
    fn check_refusal(&mut self, by: At, conn: Conn) {
        let client = self.by_name[&conn];
        let Stage::Open { on, .. } = self.clients[client].stage else { return };
        let lately = |pair| self.mended.get(&pair).is_some_and(|at| self.now < *at + 5000);
        let pairs = [(by, on), (on, by)];
        let apart = pairs.iter().any(|pair| self.cut.contains(pair) || lately(*pair));
        assert!(apart || !self.lives(client), "{client} {conn:?} is refused, and lives");
        self.clients[client].given_up = true;
    }

    /// Every connection whose target lives is well: it is answered again.
    pub(super) fn check_all_well(&mut self) {
        let since = self.now;
        let waits = |one: &Client, now| one.waits && now >= since && one.answered_at < since;
        let unwell = |world: &World| {
            let clients = world.clients.iter().enumerate();
            let of = clients.filter(|(_, one)| matches!(one.stage, Stage::Open { .. }));
            of.filter(|(at, one)| world.lives(*at) && waits(one, world.now)).count()
        };
        self.run_until(10_000, "all answered", |world| unwell(world) == 0);
        let opening = |world: &World| {
            world.clients.iter().filter(|one| one.stage == Stage::Opening).count()
        };
        self.run_until(10_000, "all opened", |world| opening(world) == 0);
    }

    // -- looks --

    pub(super) fn owners(&self) -> Vec<Who> {
        (0..self.processes.len()).filter(|who| self.processes[*who].is_owner()).collect()
    }

    pub(super) fn owner(&self) -> Who {
        let owners = self.owners();
        assert_eq!(owners.len(), 1, "{owners:?}");
        owners[0]
    }

    pub(super) fn is_settled(&self) -> bool {
        let owners = self.owners();
        let settled = |who: &Who| self.processes[*who].router().is_some_and(Router::is_settled);
        owners.len() == 1 && owners.iter().all(settled)
    }

    pub(super) fn agents(&self) -> Vec<Who> {
        let is_one = |who: &Who| self.processes[*who].alive && self.processes[*who].agent().is_some();
        (0..self.processes.len()).filter(is_one).collect()
    }

    pub(super) fn routers(&self) -> Vec<Who> {
        let is_one = |who: &Who| self.processes[*who].alive && self.processes[*who].router().is_some();
        (0..self.processes.len()).filter(is_one).collect()
    }

    pub(super) fn open_on(&self, at: At) -> usize {
        let is_on = |one: &&Client| matches!(one.stage, Stage::Open { on, .. } if on == at);
        self.clients.iter().filter(is_on).count()
    }

    /// Returns how many connections a host has ever taken.
    pub(super) fn opened_on(&self, at: At) -> usize {
        self.clients.iter().filter(|one| one.opened == Some(at)).count()
    }

    pub(super) fn opened(&self, client: usize) -> Option<At> {
        self.clients[client].opened
    }

    pub(super) fn status(&self, who: Who) -> Status {
        self.processes[who].group.status()
    }

    pub(super) fn token(&self, who: Who) -> Option<Token> {
        self.processes[who].group.token()
    }

    pub(super) fn set_rank(&mut self, who: Who, rank: u8) {
        self.group(who, Input::Rank(rank));
    }
}
