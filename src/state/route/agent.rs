//! The agent on a target: says what its kernel has, to all routers alike, and serves the one with
//! the largest token.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use super::{Millis, ms};
use crate::config::route::{GATHER, MAX_CLOSED};
use crate::event::masterless::Token;
use crate::wire::field::Payload;
use crate::wire::route::{MAX_KEYS, pack};
use crate::wire::{FromAgent, RouteToken, Tail, TargetState, ToAgent};

/// What happens to an agent.
#[derive(Clone, Debug)]
pub(crate) enum AgentInput {
    /// Time has passed.
    Tick,
    /// There is a connection to a router, which has these services.
    Up {
        tail: Tail,
        services: Vec<SocketAddr>,
    },
    Down {
        tail: Tail,
    },
    Heard {
        tail: Tail,
        message: ToAgent,
    },
    /// What the kernel has: which services have a listener, and how many connections.
    Looked {
        listening: Vec<SocketAddr>,
        connections: u32,
    },
    /// Connections to services have ended: the service, and the client.
    Ended(Vec<(SocketAddr, SocketAddr)>),
    /// Some ends were missed.
    Missed,
    /// Whether its program takes new connections.
    Fit(bool),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AgentAction {
    Send(Tail, FromAgent),
    /// Look at the kernel's connections to all these services, and send them as [`report`] says.
    Report {
        to: Tail,
        number: u32,
        services: Vec<SocketAddr>,
        state: TargetState,
    },
    /// Look which of these are among the kernel's connections, and send them as a `Found`.
    Find {
        to: Tail,
        number: u32,
        place: u16,
        service: SocketAddr,
        keys: Payload,
    },
    /// Another router is served from now on.
    Serves(Token),
}

struct RouterLink {
    services: Vec<SocketAddr>,
    /// What it was told last.
    told: Option<TargetState>,
    /// It has said that it owns the addresses.
    serves: bool,
}

pub(crate) struct Agent {
    now: Millis,
    routers: BTreeMap<Tail, RouterLink>,
    served: Option<Token>,
    listening: Vec<SocketAddr>,
    connections: u32,
    fit: bool,
    /// Ends that are not told yet, and since when.
    ended: Vec<(SocketAddr, SocketAddr)>,
    gathers_since: Option<Millis>,
}

impl Agent {
    pub(crate) fn new(now: Millis) -> Self {
        Agent {
            now,
            routers: BTreeMap::new(),
            served: None,
            listening: Vec::new(),
            connections: 0,
            fit: true,
            ended: Vec::new(),
            gathers_since: None,
        }
    }

    /// Takes what has happened at `now`, and appends what to do to `out`.
    pub(crate) fn step(&mut self, now: Millis, input: AgentInput, out: &mut Vec<AgentAction>) {
        self.now = now.max(self.now);
        match input {
            AgentInput::Tick => {}
            AgentInput::Up { tail, services } => {
                self.routers.insert(tail, RouterLink { services, told: None, serves: false });
            }
            AgentInput::Down { tail } => _ = self.routers.remove(&tail),
            AgentInput::Heard { tail, message } => self.heard(tail, message, out),
            AgentInput::Looked { listening, connections } => {
                (self.listening, self.connections) = (listening, connections);
            }
            AgentInput::Ended(ended) => {
                self.ended.extend(ended);
                self.gathers_since = self.gathers_since.or(Some(self.now));
            }
            AgentInput::Missed => self.behind(out),
            AgentInput::Fit(fit) => self.fit = fit,
        }
        self.tell_ends(out);
        self.tell_state(out);
    }

    fn heard(&mut self, tail: Tail, message: ToAgent, out: &mut Vec<AgentAction>) {
        let Some(router) = self.routers.get(&tail) else { return };
        match message {
            ToAgent::Report { number } => {
                if router.serves && self.serves_another(tail) {
                    self.say_stale(tail, out);
                }
                let (services, state) = (router.services.clone(), self.state(router));
                out.push(AgentAction::Report { to: tail, number, services, state });
            }
            ToAgent::Find { number, service: place, keys } => {
                if let Some(service) = router.services.get(usize::from(place)) {
                    let (to, service) = (tail, *service);
                    out.push(AgentAction::Find { to, number, place, service, keys });
                }
            }
            ToAgent::Serve { token, .. } => self.serve(tail, token.into(), out),
        }
    }

    fn serves_another(&self, tail: Tail) -> bool {
        self.served.is_some_and(|served| served.id.tail() != tail)
    }

    fn serve(&mut self, tail: Tail, token: Token, out: &mut Vec<AgentAction>) {
        if let Some(router) = self.routers.get_mut(&tail) {
            router.serves = true;
        }
        if self.served.is_some_and(|served| served > token) {
            return self.say_stale(tail, out);
        }
        if self.served != Some(token) {
            self.served = Some(token);
            out.push(AgentAction::Serves(token));
        }
        let older = self.routers.iter().filter(|(other, router)| **other != tail && router.serves);
        let older: Vec<Tail> = older.map(|(other, _)| *other).collect();
        older.into_iter().for_each(|other| self.say_stale(other, out));
    }

    /// Whoever still reaches a target learns from it that there is another owner, also when the
    /// routers do not hear each other.
    fn say_stale(&self, tail: Tail, out: &mut Vec<AgentAction>) {
        let stale = self.served.map(|token| FromAgent::Stale { token: token.into() });
        out.extend(stale.map(|stale| AgentAction::Send(tail, stale)));
    }

    fn state(&self, router: &RouterLink) -> TargetState {
        let bit = |(at, service)| u64::from(self.listening.contains(service)) << at;
        let listening = router.services.iter().enumerate().map(bit).sum();
        TargetState { listening, fit: self.fit, connections: self.connections }
    }

    /// Tells each router what has changed; the number of connections only if by more than a
    /// sixteenth.
    fn tell_state(&mut self, out: &mut Vec<AgentAction>) {
        let states: Vec<(Tail, TargetState)> =
            self.routers.iter().map(|(tail, router)| (*tail, self.state(router))).collect();
        for (tail, state) in states {
            let Some(router) = self.routers.get_mut(&tail) else { continue };
            let is_news = router.told.is_none_or(|told| {
                let moved = 16 * told.connections.abs_diff(state.connections) > told.connections;
                (told.listening, told.fit) != (state.listening, state.fit) || moved
            });
            if is_news {
                router.told = Some(state);
                out.push(AgentAction::Send(tail, FromAgent::TargetNow { state }));
            }
        }
    }

    fn tell_ends(&mut self, out: &mut Vec<AgentAction>) {
        if self.ended.len() > MAX_CLOSED {
            return self.behind(out);
        }
        let is_time = self.gathers_since.is_some_and(|since| self.now >= since + ms(GATHER));
        if !is_time && self.ended.len() < MAX_KEYS {
            return;
        }
        let mut of: BTreeMap<SocketAddr, Vec<(SocketAddr, u8)>> = BTreeMap::new();
        for (service, client) in std::mem::take(&mut self.ended) {
            of.entry(service).or_default().push((client, 0));
        }
        self.gathers_since = None;
        for (tail, router) in &self.routers {
            for (place, service) in router.services.iter().enumerate() {
                for keys in of.get(service).into_iter().flat_map(|keys| keys.chunks(MAX_KEYS)) {
                    let closed = FromAgent::Closed { service: place as u16, keys: pack(keys) };
                    out.push(AgentAction::Send(*tail, closed));
                }
            }
        }
    }

    fn behind(&mut self, out: &mut Vec<AgentAction>) {
        (self.ended, self.gathers_since) = Default::default();
        let all = self.routers.keys().map(|tail| AgentAction::Send(*tail, FromAgent::Behind {}));
        out.extend(all);
    }

    /// Returns when [`step`](Self::step) must be called with [`AgentInput::Tick`] at the latest.
    pub(crate) fn wake_at(&self) -> Option<Millis> {
        self.gathers_since.map(|since| since + ms(GATHER))
    }

    /// Returns the token of the router that it serves.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn served(&self) -> Option<Token> {
        self.served
    }
}

/// Returns a full report: `connections` has those of each service, in the router's order.
pub(crate) fn report(
    number: u32,
    state: TargetState,
    connections: &[Vec<(SocketAddr, u8)>],
) -> Vec<FromAgent> {
    let all = connections.iter().map(Vec::len).sum::<usize>() as u32;
    let state = TargetState { connections: all, ..state };
    let mut messages = vec![FromAgent::ReportBegin { number, state }];
    for (service, keys) in connections.iter().enumerate() {
        messages.extend(keys.chunks(MAX_KEYS).map(|keys| FromAgent::ReportPart {
            number,
            service: service as u16,
            keys: pack(keys),
        }));
    }
    messages.push(FromAgent::ReportEnd { number, keys: all });
    messages
}

impl From<RouteToken> for Token {
    fn from(token: RouteToken) -> Self {
        Token { epoch: token.epoch, id: token.id }
    }
}

impl From<Token> for RouteToken {
    fn from(token: Token) -> Self {
        RouteToken { epoch: token.epoch, id: token.id }
    }
}
