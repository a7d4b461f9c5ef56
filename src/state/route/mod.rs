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
//! The rooms: `words` is what a router hears and does, `targets` what it knows of them, `slots`
//! which of them gets a new connection, `reports` and `strangers` what they say they have, `owning`
//! how the addresses are taken and given up, `writing` what of all that is written to the kernel,
//! `agent` the other end.
//!
//! Invariants, held to by the simulator: a packet of a living connection reaches its target or
//! nobody; who has lost the lease refuses nothing and gives nobody a new connection; an agent only
//! ever moves on to a larger token; nothing grows past a limit.

use std::collections::{BTreeMap, BTreeSet};

use self::reports::Asking;
use self::strangers::Strangers;
use self::targets::Targets;
pub(crate) use self::words::*;
pub use self::words::{RoutePolicy, TargetCondition};
use self::writing::Written;
use crate::config::route::{MAX_ROUTERS, MAX_SERVICES};
use crate::event::masterless::Token;
use crate::state::masterless::Millis;
use crate::wire::{BetweenRouters, Host, RouteToken, Tail};

pub(crate) mod agent;
mod certainty;
pub(crate) mod giveback;
mod owning;
mod reports;
#[cfg(test)]
mod sim;
pub(crate) mod slots;
mod strangers;
mod targets;
mod words;
mod writing;

/// Where a router stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RoutePhase {
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
    phase: RoutePhase,
    /// The table is that of an earlier process of this host, and packets go by it.
    adopted: bool,
    /// The largest token under which anybody has owned the addresses.
    newest: Option<Token>,
    /// The owner before this one, and until when it may have more.
    before: Option<(Tail, Millis)>,
    /// It has taken the addresses from a router of smaller rank, which is away.
    stands_in: bool,
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
    pub(crate) fn new(
        rules: RouteRules,
        adopted: Option<Vec<(Target, Host)>>,
        now: Millis,
    ) -> Self {
        assert!(rules.services.len() <= MAX_SERVICES, "the number of services is checked before");
        Router {
            targets: Targets::new(&rules, adopted.iter().flatten().copied(), now),
            adopted: adopted.is_some(),
            now,
            lease: false,
            phase: if adopted.is_some() {
                RoutePhase::Former { since: now }
            } else {
                RoutePhase::Idle
            },
            newest: None,
            before: None,
            stands_in: false,
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
            RouterInput::Joined(one) => _ = self.members.insert(one.tail, one.leads),
            RouterInput::Record(all) => self.read_record(&all, out),
            RouterInput::Gone { tail, died } => self.member_gone(tail, died, out),
            RouterInput::RouterUp { tail, host, owns } => self.router_up(tail, host, owns, out),
            RouterInput::AgentUp { tail, name, host, weight } => {
                self.agent_up(tail, name, host, weight, out);
            }
            RouterInput::Down { tail } => self.down(tail, out),
            RouterInput::FromAgent { tail, message } => self.hear_agent(tail, message, out),
            RouterInput::FromRouter { tail, message } => self.hear_router(tail, message, out),
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

    fn read_record(&mut self, all: &[GroupPeer], out: &mut Vec<RouterAction>) {
        let there = set(all.iter().map(|one| one.tail));
        let gone: Vec<Tail> =
            self.members.keys().filter(|tail| !there.contains(tail)).copied().collect();
        // Those that left in order have said so, or will: until then it is only asked whether
        // their hosts live.
        gone.into_iter().for_each(|tail| self.member_gone(tail, true, out));
        for one in all {
            self.members.insert(one.tail, one.leads);
            self.targets.workload(one.tail, one.workload);
        }
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
        if let RoutePhase::Owner { token, told_settled, .. } = self.phase {
            let token = token.into();
            out.push(RouterAction::ToRouter(tail, BetweenRouters::Owns { token }));
            if told_settled {
                out.push(RouterAction::ToRouter(tail, BetweenRouters::Settled { token }));
            }
        }
        if let RoutePhase::Preparing { loaded: true, .. } = self.phase {
            let ready = BetweenRouters::Ready { entries: self.asking.entries() };
            out.push(RouterAction::ToRouter(tail, ready));
        }
    }

    fn hear_router(&mut self, tail: Tail, message: BetweenRouters, out: &mut Vec<RouterAction>) {
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
            let (name, address) = self.targets.named(target);
            out.push(RouterAction::Tell(RouteNews::TargetQuiet { name, address }));
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
        let RoutePhase::Owner { asked: Some(asked), .. } = self.phase else { return false };
        let agents = self.members.iter().filter(|(_, leads)| !**leads).map(|(tail, _)| *tail);
        self.asking.have_answered(asked, agents) && !self.targets.is_any_quiet()
    }

    pub(crate) fn is_owner(&self) -> bool {
        matches!(self.phase, RoutePhase::Owner { .. })
    }

    /// Returns the token under which this router owns the addresses.
    pub(crate) fn owns(&self) -> Option<RouteToken> {
        let RoutePhase::Owner { token, .. } = self.phase else { return None };
        Some(token.into())
    }

    /// Returns what is to be seen of it.
    pub(crate) fn view(&self) -> RouterView {
        RouterView {
            owns: self.owns().map(Token::from),
            is_settled: self.is_settled(),
            targets: self.targets.view(&self.rules),
        }
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
        if let RoutePhase::Owner { token, .. } = self.phase {
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

/// All at once, for those who keep a set.
fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}
