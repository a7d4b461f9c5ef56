//! The world: hosts with kernels, the processes on them, the network between, and clients.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use super::super::agent::Agent;
use super::super::giveback::{GiveBack, Returning};
use super::super::{Conn, Millis, RouteNews, RoutePolicy, Router, RouterInput, Target};
use super::kernel::{Packet, Segment, Table};
use crate::state::masterless::{Input, Machine};
use crate::state::sim::random::Random;
use crate::wire::heartbeat::Heartbeat;
use crate::wire::{BetweenRouters, FromAgent, Host, Tail, ToAgent};

pub(super) const H: Millis = 500;
pub(super) const D: Millis = 250;
/// The silence after which a process is dead.
pub(super) const DEAD: Millis = 3 * H + 2 * D;
pub(super) const BEGIN: Millis = 1_000_000;
pub(super) const SYN_RECV: u8 = 3;
pub(super) const ESTABLISHED: u8 = 1;
pub(super) const TIME_WAIT: u8 = 6;

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
    pub(super) boot: u32,
    /// It has the addresses as a target: its agent was started. Where there is a router, too, that
    /// was first, or the host's own stack would answer what comes for the router.
    pub(super) prepared: bool,
    pub(super) has_routed: bool,
    pub(super) table: Option<Table>,
    /// Until when it has the addresses.
    pub(super) has_until: Millis,
    pub(super) listening: bool,
    /// What its processes say in their heartbeats.
    pub(super) workload: u16,
    /// The state of each, and since when.
    pub(super) sockets: BTreeMap<Conn, (u8, Millis)>,
}

pub(super) enum Part {
    Router(Box<Router>),
    Agent(Box<Agent>),
}

pub(super) struct Process {
    pub(super) at: At,
    pub(super) group: Machine,
    pub(super) part: Part,
    /// Of a router.
    pub(super) returning: Returning,
    pub(super) alive: bool,
    pub(super) paused_until: Millis,
    pub(super) wake: u64,
    pub(super) news: Vec<(Millis, RouteNews)>,
    /// The list that an agent was last told.
    pub(super) told_list: Option<Vec<(IpAddr, u16)>>,
}

impl Process {
    pub(super) fn tail(&self) -> Tail {
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
pub(super) enum Letter {
    ToAgent(ToAgent),
    FromAgent(FromAgent),
    Router(BetweenRouters),
}

pub(super) struct Link {
    pub(super) ends: [Who; 2],
    /// Of each direction: when what was last sent arrives, how much was sent, how much has come.
    pub(super) last: [Millis; 2],
    pub(super) sent: [u64; 2],
    pub(super) come: [u64; 2],
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
    pub(super) rto: Millis,
    pub(super) timer: u64,
    pub(super) requests: usize,
    pub(super) think: Millis,
    pub(super) answered_at: Millis,
    /// The host that has taken it.
    pub(super) opened: Option<At>,
    /// A router has rightly refused it.
    pub(super) given_up: bool,
    /// The target that its first packet was sent to, and whether there was another before.
    pub(super) offered: Option<At>,
    pub(super) doubled: bool,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Beat { to: Who, beat: Box<Heartbeat> },
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
    pub(super) by_name: BTreeMap<Conn, usize>,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) cut: BTreeSet<(At, At)>,
    /// When those that are cut no more were mended.
    pub(super) mended: BTreeMap<(At, At), Millis>,
    /// Of a hundred packets and heartbeats so many are lost.
    pub(super) loss: u64,
    /// New connections may be refused: there may be no target.
    pub(super) may_refuse_new: bool,
    /// The routers have a list of the targets.
    pub(super) listed: bool,
    /// That of a router on this host, if it is not of all targets.
    pub(super) own_lists: BTreeMap<At, Vec<At>>,
    pub(super) policy: RoutePolicy,
    pub(super) give_back: GiveBack,
    pub(super) queue: BTreeMap<(Millis, u64), What>,
    pub(super) next: u64,
    pub(super) letters: u64,
    pub(super) resets: BTreeMap<&'static str, usize>,
    pub(super) longest_wait: Millis,
    /// This router is killed before it does so many more things.
    pub(super) dies_before: Option<(Who, usize)>,
    pub(super) epoch: u64,
}

/// Tells the story, if it is wanted.
macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.story {
            println!("{:>9.3}  {}", $world.seconds(), format!($($text)*));
        }
    };
}
pub(super) use tell;

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
            workload: 0,
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
            own_lists: BTreeMap::new(),
            policy: RoutePolicy::Even,
            give_back: GiveBack::Now,
            queue: BTreeMap::new(),
            next: 0,
            letters: 0,
            resets: BTreeMap::new(),
            longest_wait: 0,
            dies_before: None,
            epoch: 0,
        }
    }

    /// Returns the seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        (self.now - BEGIN) as f64 / 1000.0
    }

    pub(super) fn later(&mut self, after: Millis, what: What) {
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

    pub(super) fn happen(&mut self, what: What) {
        match what {
            What::Do(deed) => self.execute(deed),
            What::Beat { to, beat } => {
                if let Some(back) = self.away(to) {
                    return self.later(back, What::Beat { to, beat });
                }
                self.group(to, Input::Heard(*beat));
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
    pub(super) fn away(&self, who: Who) -> Option<Millis> {
        let until = self.processes[who].paused_until;
        (until > self.now).then(|| until - self.now)
    }

    pub(super) fn reach(&self, one: At, other: At) -> bool {
        let cut = self.cut.contains(&(one, other)) || self.cut.contains(&(other, one));
        self.hosts[one].alive && self.hosts[other].alive && !cut
    }

    pub(super) fn lost(&mut self) -> bool {
        self.random.next() % 100 < self.loss
    }

    pub(super) fn hop(&mut self) -> Millis {
        self.random.next() % 3
    }

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
        let is_one =
            |who: &Who| self.processes[*who].alive && self.processes[*who].agent().is_some();
        (0..self.processes.len()).filter(is_one).collect()
    }

    pub(super) fn routers(&self) -> Vec<Who> {
        let is_one =
            |who: &Who| self.processes[*who].alive && self.processes[*who].router().is_some();
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
}
