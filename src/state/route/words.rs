//! What a router hears, what it does, and what is written of it.

use core::net::{IpAddr, SocketAddr};

use crate::event::masterless::{EventKind, LeftCause, Token};
pub(crate) use crate::event::route::EventKind as RouteNews;
use crate::state::masterless::{Millis, NEVER, PeerRecord};
use crate::wire::heartbeat::Status;
use crate::wire::{BetweenRouters, FromAgent, Host, RouteToken, Tail, ToAgent};

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
pub enum RoutePolicy {
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

/// What a router notes of another process of its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupPeer {
    pub(crate) tail: Tail,
    /// It is a router.
    pub(crate) leads: bool,
    pub(crate) workload: u16,
}

impl From<&PeerRecord> for GroupPeer {
    fn from(one: &PeerRecord) -> Self {
        let leads = one.id.rank() < NEVER || one.status == Status::Primary;
        GroupPeer { tail: one.id.tail(), leads, workload: one.workload }
    }
}

/// What happens to a router.
#[derive(Clone, Debug)]
pub(crate) enum RouterInput {
    /// Time has passed.
    Tick,
    /// This process has another status in the group, or another token.
    Status {
        to: Status,
        token: Option<Token>,
    },
    /// Another process waits for this one to end its role.
    PrepareHandover {
        to: Tail,
    },
    /// A process has joined the group.
    Joined(GroupPeer),
    /// All other processes of the group. Whoever died before it had joined is told of by nothing
    /// else.
    Record(Vec<GroupPeer>),
    /// A process has left the group, or is dead.
    Gone {
        tail: Tail,
        died: bool,
    },
    RouterUp {
        tail: Tail,
        host: Host,
        owns: Option<RouteToken>,
    },
    AgentUp {
        tail: Tail,
        name: String,
        host: Host,
        weight: u16,
    },
    /// The connection to a router or an agent has ended.
    Down {
        tail: Tail,
    },
    FromAgent {
        tail: Tail,
        message: FromAgent,
    },
    FromRouter {
        tail: Tail,
        message: BetweenRouters,
    },
    /// Connections that the packet filter does not know.
    Strangers(Vec<Conn>),
    /// Whether the host of a target answers at its own address.
    Probed {
        target: Target,
        alive: bool,
    },
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
    Fill(TargetReports),
    Forget(Vec<Conn>),
    /// Answer these with a reset. They are strangers no more.
    Refuse(Vec<Conn>),
    /// Where a target's packets are sent.
    Point(Target, Host),
    /// Send nothing to this target until it is pointed at again. Its connections stay known.
    Hold(Target),
    /// Send nothing to this target any more. Forget its connections; with `refuse`, answer them
    /// with a reset, and make each client send something, to be answered.
    Cut {
        target: Target,
        refuse: bool,
    },
    /// Whose turn it is at a service, from now on.
    Slots {
        service: u16,
        slots: Vec<Target>,
    },
    /// What happens to packets that the tables say nothing of.
    Ends(Ends),
    /// The other routers.
    Routers(Vec<Host>),
    /// Have the addresses, for so long; for ever, if `None`.
    Take {
        life: Option<Millis>,
    },
    Release,
    Announce,
    /// Find out whether the host of a target answers.
    Probe {
        target: Target,
        host: Host,
    },
    /// Look for connections that the packet filter does not know.
    Look,
    HandoverReady,
    Tell(RouteNews),
    Exit,
}

impl RouterAction {
    /// Returns true if only the one that has the lease may do this.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn needs_lease(&self) -> bool {
        match self {
            RouterAction::Take { .. } | RouterAction::Refuse(_) => true,
            RouterAction::Cut { refuse, .. } => *refuse,
            RouterAction::Slots { slots, .. } => !slots.is_empty(),
            _ => false,
        }
    }
}

/// What targets have said that they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetReports {
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

/// What is to be seen of a router.
pub(crate) struct RouterView {
    pub(crate) owns: Option<Token>,
    pub(crate) is_settled: bool,
    pub(crate) targets: Vec<TargetView>,
}

/// What is to be seen of a target.
pub(crate) struct TargetView {
    pub(crate) number: Target,
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) condition: TargetCondition,
    /// A bit for each service that has a listener there.
    pub(crate) listening: u64,
    pub(crate) is_fit: bool,
    pub(crate) is_draining: bool,
    pub(crate) weight: u16,
    /// As its agent has said last.
    pub(crate) connections: u32,
}

/// Whether a target can be reached.
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetCondition {
    /// Its agent speaks to this router.
    Up,
    /// Its agent does not, and its host may live.
    Quiet,
    /// Its host does not answer.
    Dead,
}

/// Returns what a change in the group means to a router, if anything.
pub(crate) fn from_group(kind: &EventKind) -> Option<RouterInput> {
    match kind {
        EventKind::Role { to, token, .. } => Some(RouterInput::Status { to: *to, token: *token }),
        EventKind::EpochBump { token } => {
            Some(RouterInput::Status { to: Status::Primary, token: Some(*token) })
        }
        EventKind::PrepareHandover { to, .. } => {
            Some(RouterInput::PrepareHandover { to: to.tail() })
        }
        EventKind::Joined { id, .. } => {
            let leads = id.rank() < NEVER;
            Some(RouterInput::Joined(GroupPeer { tail: id.tail(), leads, workload: 0 }))
        }
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
