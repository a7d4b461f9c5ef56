//! A routed service: what its routers and the agents on its targets decide.
//!
//! A router [owns](Router) the service's addresses while it is primary of the masterless group. The
//! kernel carries every packet by the router's table; the router only decides what is written into
//! it. Before it takes the addresses, it asks the agents on all targets what connections their
//! kernels have: that is the table. Nothing is replicated while nothing fails.
//!
//! | phase | has the addresses | its table | what it does not know |
//! |---|---|---|---|
//! | idle | no | is empty | it passes on to the owner |
//! | preparing | no | what the targets have reported | the same |
//! | owner | yes | what the targets have reported, and what was opened since | it asks the targets for, and passes on to the owner before it meanwhile |
//! | former | until the next owner has them | as it was, less what has closed, until the next owner knows all | it passes on to the owner |
//!
//! A connection is refused only if its target is dead, or if an owner whom all targets follow was
//! told by every one of them that they do not have it. So late reports, lost announcements, stale
//! neighbour tables and even two owners at once delay a connection and never break it.
//!
//! The rooms: `targets` is what a router knows of them, `slots` which of them gets a new connection,
//! `reports` and `strangers` what they say they have, `owning` how the addresses are taken and
//! given up, `writing` what of all that is written to the kernel, `agent` the other end.
//!
//! Invariants, held to by the simulator: a packet of a living connection reaches its target or
//! nobody; who has lost the lease refuses nothing and gives nobody a new connection; an agent only
//! ever moves on to a larger token; nothing grows past a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use self::reports::Asking;
use self::strangers::Strangers;
use self::targets::Targets;
use self::writing::Written;
use crate::config::route::{MAX_ROUTERS, MAX_SERVICES};
use crate::event::masterless::{EventKind, LeftCause, Token};
use crate::state::masterless::{Millis, NEVER};
use crate::wire::heartbeat::Status;
use crate::wire::{BetweenRouters, FromAgent, Host, RouteToken, Tail, ToAgent};

pub(crate) mod agent;
mod owning;
mod reports;
#[cfg(test)]
mod sim;
pub(crate) mod slots;
mod strangers;
mod targets;
mod writing;

/// The number of a target in a router's table. 0 is no target.
pub(crate) type Target = u32;

/// The number that a router's own host has, whether it is a target or not.
pub(crate) const HERE: Target = 1;

/// A connection: the place of its service in the router's list, and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Conn {
    pub(crate) service: u16,
    pub(crate) client: SocketAddr,
}

/// Who gets a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RoutePolicy {
    /// All in turn, by weight.
    #[default]
    Even,
    /// Whoever has fewer connections gets more.
    Connections,
    /// Whoever has less to do gets more.
    Load,
    /// A client's connections all go to one target.
    Client,
    /// The target of the largest weight, alone.
    Standby,
}

/// What a router is to be.
#[derive(Clone, Debug)]
pub(crate) struct RouteRules {
    pub(crate) services: Vec<SocketAddr>,
    pub(crate) host: Host,
    /// The targets and their weights; all that come, if there is no list.
    pub(crate) candidates: Option<Vec<(IpAddr, u16)>>,
    pub(crate) policy: RoutePolicy,
    /// The group's heartbeat, and the silence after which a process is dead.
    pub(crate) interval: Millis,
    pub(crate) dead: Millis,
}

/// An operator's order.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Drain { target: IpAddr, on: bool },
    Weight { target: IpAddr, weight: u16 },
    Candidates(Option<Vec<(IpAddr, u16)>>),
}

/// What happens to a router.
#[derive(Clone, Debug)]
pub(crate) enum RouterInput {
    /// Time has passed.
    Tick,
    /// This process has another status in the group, or another token.
    Status { to: Status, token: Option<Token> },
    /// Another process waits for this one to end its role.
    PrepareHandover { to: Tail },
    /// A process of the group: whether it may lead, and how much it has to do.
    Member { tail: Tail, leads: bool, workload: u16 },
    /// A process has left the group, or is dead.
    Gone { tail: Tail, died: bool },
    RouterUp { tail: Tail, host: Host, owns: Option<RouteToken> },
    AgentUp { tail: Tail, name: String, host: Host, weight: u16 },
    /// The connection to a router or an agent has ended.
    Down { tail: Tail },
    FromAgent { tail: Tail, message: FromAgent },
    FromRouter { tail: Tail, message: BetweenRouters },
    /// Connections that the packet filter does not know.
    Strangers(Vec<Conn>),
    /// Whether the host of a target answers at its own address.
    Probed { target: Target, alive: bool },
    /// Another host says that it has one of the addresses.
    Claimed,
    Order(Order),
    Leave,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RouterAction {
    ToAgent(Tail, ToAgent),
    ToRouter(Tail, BetweenRouters),
    /// End the connection to an agent or a router, for this reason.
    HangUp(Tail, &'static str),
    /// These connections, and no others, are known.
    Replace(Vec<(Conn, Target)>),
    /// Add what targets have to what is known. Where the table has another target for a live
    /// connection, one of both is wrong: forget it, and the next packet asks for it.
    Fill(Reports),
    Forget(Vec<Conn>),
    /// Answer these with a reset. They are strangers no more.
    Refuse(Vec<Conn>),
    /// Where a target's packets are sent.
    Point(Target, Host),
    /// Send nothing to this target until it is pointed at again. Its connections stay known.
    Hold(Target),
    /// Send nothing to this target any more. Forget its connections; with `refuse`, answer them
    /// with a reset, and make each client send something, to be answered.
    Cut { target: Target, refuse: bool },
    /// Whose turn it is at a service, from now on.
    Slots { service: u16, slots: Vec<Target> },
    /// What happens to packets that the tables say nothing of.
    Ends(Ends),
    /// The other routers.
    Routers(Vec<Host>),
    /// Have the addresses, for so long; for ever, if `None`.
    Take { life: Option<Millis> },
    Release,
    Announce,
    /// Find out whether the host of a target answers.
    Probe { target: Target, host: Host },
    /// Look for connections that the packet filter does not know.
    Look,
    HandoverReady,
    Tell(RouteNews),
    Exit,
}

/// What targets have said that they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    pub(crate) live: Vec<(Conn, Target)>,
    /// Half-closed, or not open yet.
    pub(crate) other: Vec<(Conn, Target)>,
    /// Those that have said all. What the table has of them beyond that, and no packet has come of
    /// for long, is no more.
    pub(crate) of: Vec<Target>,
}

/// What becomes of packets that the tables say nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) role: EndsRole,
    /// This host is a target: it takes what other routers have chosen it for.
    pub(crate) is_target: bool,
    /// The router that they are passed on to; else they are dropped.
    pub(crate) pass: Option<Host>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndsRole {
    /// Has the addresses. `refuse_new`: a client without a target to go to is told so.
    Owner { refuse_new: bool },
    /// Has refused nothing.
    Other,
}

/// What a router tells its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteNews {
    Owner { token: Token },
    Former,
    /// All targets have answered since this router has the addresses.
    Settled,
    TargetUp { name: String, target: Target },
    TargetQuiet { target: Target },
    TargetDead { target: Target },
    Refused { connections: usize },
    Claimed,
    /// There is no number left for another target.
    TooManyTargets { name: String },
}

/// Where a router stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Preparing {
        since: Millis,
        loaded: bool,
        /// It is primary already.
        token: Option<Token>,
    },
    Owner {
        since: Millis,
        token: Token,
        /// The number of the first question since then.
        asked: Option<u32>,
        told_settled: bool,
    },
    Former {
        since: Millis,
    },
}

/// Another router.
#[derive(Clone, Copy, Debug)]
struct Other {
    host: Host,
    linked: bool,
    /// It has its table for when it takes over from this router.
    ready: bool,
}

pub(crate) struct Router {
    rules: RouteRules,
    now: Millis,
    /// As far as heartbeats tell, no other process can be primary.
    lease: bool,
    phase: Phase,
    /// The table is that of an earlier process of this host, and packets go by it.
    adopted: bool,
    /// The largest token under which anybody has owned the addresses.
    newest: Option<Token>,
    /// The owner before this one, and until when it may have more.
    before: Option<(Tail, Millis)>,
    others: BTreeMap<Tail, Other>,
    /// All processes of the group, and whether they may lead.
    members: BTreeMap<Tail, bool>,
    /// When another process that may lead was last there.
    company_at: Option<Millis>,
    targets: Targets,
    asking: Asking,
    strangers: Strangers,
    handing_to: Option<Tail>,
    /// When it took the addresses or renewed its hold on them, if it still has them.
    renewed_at: Option<Millis>,
    /// When it gives them up.
    release_at: Option<Millis>,
    /// When it was last an owner.
    lost_at: Option<Millis>,
    /// How often the addresses have been announced, since when, and when last.
    announced: (usize, Millis),
    defended_at: Option<Millis>,
    leaving: bool,
    gone: bool,
    written: Written,
}

impl Router {
    /// Makes a router. `adopted` says that there is a table of an earlier process, with these
    /// targets, and perhaps the addresses: this one begins as a former owner.
    pub(crate) fn new(rules: RouteRules, adopted: Option<Vec<(Target, Host)>>, now: Millis) -> Self {
        assert!(rules.services.len() <= MAX_SERVICES, "the number of services is checked before");
        Router {
            targets: Targets::new(&rules, adopted.iter().flatten().copied(), now),
            adopted: adopted.is_some(),
            now,
            lease: false,
            phase: if adopted.is_some() { Phase::Former { since: now } } else { Phase::Idle },
            newest: None,
            before: None,
            others: BTreeMap::new(),
            members: BTreeMap::new(),
            company_at: None,
            asking: Asking::default(),
            strangers: Strangers::default(),
            handing_to: None,
            renewed_at: adopted.is_some().then_some(now),
            release_at: None,
            lost_at: None,
            announced: (0, now),
            defended_at: None,
            leaving: false,
            gone: false,
            written: Written::new(rules.services.len()),
            rules,
        }
    }

    /// Takes what has happened at `now`, and appends what to do to `out`. `lease` says whether, as
    /// far as heartbeats can tell, no other process can be primary.
    pub(crate) fn step(
        &mut self,
        now: Millis,
        lease: bool,
        input: RouterInput,
        out: &mut Vec<RouterAction>,
    ) {
        if self.gone {
            return;
        }
        self.now = now.max(self.now);
        self.lease = lease;
        match input {
            RouterInput::Tick => {}
            RouterInput::Status { to, token } => self.status(to, token, out),
            RouterInput::PrepareHandover { to } => self.handing_to = Some(to),
            RouterInput::Member { tail, leads, workload } => {
                self.members.insert(tail, leads);
                self.targets.workload(tail, workload);
            }
            RouterInput::Gone { tail, died } => self.member_gone(tail, died, out),
            RouterInput::RouterUp { tail, host, owns } => self.router_up(tail, host, owns, out),
            RouterInput::AgentUp { tail, name, host, weight } => {
                self.agent_up(tail, name, host, weight, out);
            }
            RouterInput::Down { tail } => self.down(tail, out),
            RouterInput::FromAgent { tail, message } => self.from_agent(tail, message, out),
            RouterInput::FromRouter { tail, message } => self.from_router(tail, message, out),
            RouterInput::Strangers(found) => self.find(found, out),
            RouterInput::Probed { target, alive } => self.probed(target, alive, out),
            RouterInput::Claimed => self.claimed(out),
            RouterInput::Order(order) => self.order(order, out),
            RouterInput::Leave => self.leaving = true,
        }
        self.go_on(out);
        self.write(out);
    }

    /// What follows from the time, and from what is now known.
    fn go_on(&mut self, out: &mut Vec<RouterAction>) {
        if self.members.values().any(|leads| *leads) {
            self.company_at = Some(self.now);
        }
        self.end_reports(out);
        self.end_finds(out);
        self.go_on_owning(out);
        self.probe_quiet(out);
    }

    fn member_gone(&mut self, tail: Tail, died: bool, out: &mut Vec<RouterAction>) {
        self.members.remove(&tail);
        // The group decides who is dead: its kernel's connections may outlive it for long.
        let is_linked = self.asking.target(tail).is_some()
            || self.others.get(&tail).is_some_and(|other| other.linked);
        if died && is_linked {
            out.push(RouterAction::HangUp(tail, "the group says that it is dead"));
            self.down(tail, out);
        }
        if let Some(forgotten) = self.targets.member_gone(tail, died) {
            out.push(RouterAction::Cut { target: forgotten, refuse: false });
        }
    }

    fn router_up(
        &mut self,
        tail: Tail,
        host: Host,
        owns: Option<RouteToken>,
        out: &mut Vec<RouterAction>,
    ) {
        // Those that are gone are remembered: their kernels may pass on what they do not know.
        if self.others.len() == MAX_ROUTERS && !self.others.contains_key(&tail) {
            let gone = self.others.iter().find(|(_, other)| !other.linked).map(|(tail, _)| *tail);
            let Some(gone) = gone else { return };
            self.others.remove(&gone);
        }
        self.others.retain(|_, other| other.linked || !other.host.is(&host));
        self.others.insert(tail, Other { host, linked: true, ready: false });
        if let Some(token) = owns {
            self.heard_of(token.into(), out);
        }
        if let Phase::Owner { token, told_settled, .. } = self.phase {
            let token = token.into();
            out.push(RouterAction::ToRouter(tail, BetweenRouters::Owns { token }));
            if told_settled {
                out.push(RouterAction::ToRouter(tail, BetweenRouters::Settled { token }));
            }
        }
        if let Phase::Preparing { loaded: true, .. } = self.phase {
            let ready = BetweenRouters::Ready { entries: self.asking.entries() };
            out.push(RouterAction::ToRouter(tail, ready));
        }
    }

    fn from_router(&mut self, tail: Tail, message: BetweenRouters, out: &mut Vec<RouterAction>) {
        match message {
            BetweenRouters::Ready { .. } => {
                if let Some(other) = self.others.get_mut(&tail) {
                    other.ready = true;
                }
            }
            BetweenRouters::Owns { token } => self.heard_of(token.into(), out),
            BetweenRouters::Settled { token } => {
                self.heard_of(token.into(), out);
                self.settled_elsewhere(token.into(), out);
            }
        }
    }

    fn down(&mut self, tail: Tail, out: &mut Vec<RouterAction>) {
        if let Some(other) = self.others.get_mut(&tail) {
            (other.linked, other.ready) = (false, false);
        }
        self.asking.down(tail);
        self.strangers.down(tail);
        if let Some(target) = self.targets.down(tail, self.now) {
            out.push(RouterAction::Tell(RouteNews::TargetQuiet { target }));
        }
    }

    fn order(&mut self, order: Order, out: &mut Vec<RouterAction>) {
        match order {
            Order::Drain { target, on } => self.targets.drain(target, on),
            Order::Weight { target, weight } => self.targets.weigh(target, weight),
            Order::Candidates(candidates) => {
                self.rules.candidates = candidates;
                self.targets.expect(&self.rules, self.now);
            }
        }
        self.serve_all(out);
    }

    /// Returns true if every agent that the group has, and every one that speaks to this router,
    /// has answered since this router has the addresses, and every target has an agent.
    pub(crate) fn is_settled(&self) -> bool {
        let Phase::Owner { asked: Some(asked), .. } = self.phase else { return false };
        let agents = self.members.iter().filter(|(_, leads)| !**leads).map(|(tail, _)| *tail);
        self.asking.have_answered(asked, agents) && !self.targets.is_any_quiet()
    }

    pub(crate) fn is_owner(&self) -> bool {
        matches!(self.phase, Phase::Owner { .. })
    }

    /// Returns the token under which this router owns the addresses.
    pub(crate) fn owns(&self) -> Option<RouteToken> {
        let Phase::Owner { token, .. } = self.phase else { return None };
        Some(token.into())
    }

    /// Returns when [`step`](Self::step) must be called with [`RouterInput::Tick`] at the latest.
    pub(crate) fn wake_at(&self) -> Millis {
        let due = [
            self.owning_due(),
            self.asking.due(self.rules.interval),
            self.strangers.due(self.rules.interval),
            self.targets.due(self.now, self.rules.dead),
            self.writing_due(),
        ];
        due.into_iter().flatten().filter(|due| *due > self.now).min().unwrap_or(Millis::MAX)
    }

    /// Checks what must always hold.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check(&self) {
        assert!(self.others.len() <= MAX_ROUTERS);
        self.targets.check();
        self.strangers.check();
        if let Phase::Owner { token, .. } = self.phase {
            assert!(self.newest == Some(token), "an owner knows no larger token");
        } else {
            assert!(self.written.gives_nothing(), "only an owner gives new connections");
        }
    }
}

/// Milliseconds of a configured time.
fn ms(time: std::time::Duration) -> Millis {
    time.as_millis() as Millis
}

/// The connections of a target, as it has reported them.
type Reported = Vec<(Conn, u8)>;

/// How far a target's word goes that it has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// Its client may have opened it at another target since, or have another by the same name: the
    /// first packet was repeated, or all is said. Others must deny it.
    Perhaps,
    /// One side has closed it.
    HalfClosed,
    Live,
}

impl Certainty {
    /// Of the kernel's number of a state (`include/net/tcp_states.h`).
    fn of(state: u8) -> Self {
        const ESTABLISHED: u8 = 1;
        const FIN_WAIT1: u8 = 4;
        const FIN_WAIT2: u8 = 5;
        const CLOSE_WAIT: u8 = 8;
        match state {
            ESTABLISHED => Certainty::Live,
            FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT => Certainty::HalfClosed,
            _ => Certainty::Perhaps,
        }
    }
}

impl Reports {
    fn push(&mut self, conn: Conn, target: Target, certainty: Certainty) {
        let list = if certainty == Certainty::Live { &mut self.live } else { &mut self.other };
        list.push((conn, target));
    }
}

/// All at once, for those who keep a set.
fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// Returns what a change in the group means to a router, if anything.
pub(crate) fn from_group(kind: &EventKind) -> Option<RouterInput> {
    match kind {
        EventKind::Role { to, token, .. } => {
            Some(RouterInput::Status { to: *to, token: *token })
        }
        EventKind::EpochBump { token } => {
            Some(RouterInput::Status { to: Status::Primary, token: Some(*token) })
        }
        EventKind::PrepareHandover { to, .. } => {
            Some(RouterInput::PrepareHandover { to: to.tail() })
        }
        EventKind::Joined { id, .. } => Some(RouterInput::Member {
            tail: id.tail(),
            leads: id.rank() < NEVER,
            workload: 0,
        }),
        EventKind::Left { id, cause, .. } => {
            Some(RouterInput::Gone { tail: id.tail(), died: *cause == LeftCause::Died })
        }
        EventKind::Suspected { .. }
        | EventKind::Spawn { .. }
        | EventKind::Paused { .. }
        | EventKind::CannotSend { .. }
        | EventKind::SendsAgain { .. }
        | EventKind::Missed { .. }
        | EventKind::Stopped => None,
    }
}
