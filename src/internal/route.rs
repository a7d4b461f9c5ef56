//! The fuzz target of routed services.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Choices;
use crate::event::masterless::Token;
use crate::state::route::agent::{Agent, AgentInput};
use crate::state::route::{
    Conn, GroupPeer, Order, RoutePolicy, RouteRules, Router, RouterAction, RouterInput,
};
use crate::wire::heartbeat::Status;
use crate::wire::proof::{Key, Prover};
use crate::wire::route::FrameSeal;
use crate::wire::{Host, Introduction, Message, PeerId, Tail};

const POLICIES: [RoutePolicy; 5] = [
    RoutePolicy::Even,
    RoutePolicy::Connections,
    RoutePolicy::Load,
    RoutePolicy::Client,
    RoutePolicy::Standby,
];

/// A router and an agent among others that have the key and say anything, at any time: never a
/// panic, never more kept than there may be, nothing done without the lease that needs it, and the
/// agent moves on to larger tokens only. Bytes without the right tag are never understood.
///
/// Input: what the router is configured to be, then one event after the other; a message is its
/// length and its bytes.
pub fn fuzz_route(input: &[u8]) {
    let mut choices = Choices(input);
    let rules = RouteRules {
        services: services(),
        host: host(0),
        candidates: (choices.below(2) == 1)
            .then(|| (0..choices.below(5)).map(|at| (address(at), choices.u16())).collect()),
        policy: POLICIES[choices.below(POLICIES.len())],
        interval: 500,
        dead: 2000,
    };
    let adopted = (choices.below(3) == 0)
        .then(|| (0..choices.below(4)).map(|at| (at as u32, host(at))).collect());
    let mut now = 1_000_000;
    let mut router = Router::new(rules, adopted, now);
    let mut agent = Agent::new(now);
    let mut seal = FrameSeal::new(&Key([1; 32]), &[1; 32], &[2; 32], Prover::Client);
    for _ in 0..400 {
        if choices.0.is_empty() {
            break;
        }
        now = match choices.below(4) {
            0 => now + u64::from(choices.byte()),
            1 => now + u64::from(choices.u16()),
            2 => now.saturating_sub(u64::from(choices.byte()) * 16),
            _ => now,
        };
        let tail = Tail([choices.below(6) as u8; 11]);
        let lease = choices.below(2) == 1;
        let input = match choices.below(12) {
            0 => status(&mut choices),
            1 => RouterInput::PrepareHandover { to: tail },
            2 => RouterInput::Joined(member(&mut choices)),
            3 => RouterInput::Record(
                (0..choices.below(5)).map(|_| member(&mut choices)).collect::<Vec<_>>(),
            ),
            4 => RouterInput::Gone { tail, died: choices.below(2) == 1 },
            5 => {
                agent_step(&mut agent, now, AgentInput::Down { tail });
                RouterInput::Down { tail }
            }
            6 => RouterInput::Strangers(conns(&mut choices)),
            7 => RouterInput::Probed {
                target: choices.below(5) as u32,
                alive: choices.below(2) == 1,
            },
            8 => order(&mut choices),
            9 => RouterInput::Claimed,
            10 => RouterInput::Tick,
            _ => {
                let length = choices.below(200).min(choices.0.len());
                let (body, rest) = choices.0.split_at(length);
                choices.0 = rest;
                assert!(seal.open(body).is_err(), "a tag was guessed");
                match Message::decode(body) {
                    Ok(message) => said(tail, message, &mut agent, now),
                    Err(_) => RouterInput::Down { tail },
                }
            }
        };
        let mut out = Vec::new();
        router.step(now, lease, input, &mut out);
        router.check();
        assert!(lease || !out.iter().any(RouterAction::needs_lease), "without the lease: {out:?}");
    }
}

fn services() -> Vec<SocketAddr> {
    let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 100), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100));
    vec![(v4, 80).into(), (v6, 80).into()]
}

fn address(at: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1 + at as u8).into()
}

fn host(at: usize) -> Host {
    let v6 = (at % 2 == 1).then(|| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1 + at as u16).into());
    Host { v4: Some(address(at)), v6, mac: [2, 0, 0, 0, 0, at as u8] }
}

fn member(choices: &mut Choices<'_>) -> GroupPeer {
    let tail = Tail([choices.below(6) as u8; 11]);
    GroupPeer { tail, leads: choices.below(2) == 1, workload: choices.u16() }
}

fn token(choices: &mut Choices<'_>) -> Token {
    let (rank, sequence) = (choices.byte(), u32::from(choices.byte()));
    let id = PeerId::new(rank, sequence, Tail([choices.below(6) as u8; 11]));
    Token { epoch: u64::from(choices.below(4) as u8), id }
}

fn status(choices: &mut Choices<'_>) -> RouterInput {
    match choices.below(3) {
        0 => RouterInput::Status { to: Status::Primary, token: Some(token(choices)) },
        1 => RouterInput::Status { to: Status::ToBecomePrimary, token: None },
        _ => RouterInput::Status { to: Status::Standby, token: None },
    }
}

fn conns(choices: &mut Choices<'_>) -> Vec<Conn> {
    let count = choices.below(40);
    let one = |_| {
        let (number, service) = (choices.byte(), choices.below(2) as u16);
        let client: IpAddr = match service {
            0 => Ipv4Addr::from(u32::from(number)).into(),
            _ => Ipv6Addr::from(u128::from(number)).into(),
        };
        Conn { service, client: SocketAddr::new(client, 9) }
    };
    (0..count).map(one).collect()
}

fn order(choices: &mut Choices<'_>) -> RouterInput {
    let target = address(choices.below(5));
    RouterInput::Order(match choices.below(3) {
        0 => Order::Drain { target, on: choices.below(2) == 1 },
        1 => Order::Weight { target, weight: choices.u16() },
        _ => Order::Candidates(
            (choices.below(3) > 0)
                .then(|| (0..choices.below(5)).map(|at| (address(at), choices.u16())).collect()),
        ),
    })
}

/// What a message means to the one that it is for.
fn said(tail: Tail, message: Message, agent: &mut Agent, now: u64) -> RouterInput {
    match message {
        Message::FromAgent(message) => RouterInput::FromAgent { tail, message },
        Message::BetweenRouters(message) => RouterInput::FromRouter { tail, message },
        Message::ToAgent(message) => {
            agent_step(agent, now, AgentInput::Heard { tail, message });
            RouterInput::Tick
        }
        Message::Introduction(Introduction::RouteHello { router, name, host, weight, .. }) => {
            agent_step(agent, now, AgentInput::Up { tail, services: services() });
            match router {
                Some(now) => RouterInput::RouterUp { tail, host: *host, owns: now.owns },
                None => RouterInput::AgentUp { tail, name, host: *host, weight },
            }
        }
        _ => RouterInput::Tick,
    }
}

fn agent_step(agent: &mut Agent, now: u64, input: AgentInput) {
    let before = agent.served();
    agent.step(now, input, &mut Vec::new());
    assert!(agent.served() >= before, "an agent moves on to larger tokens only");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sim::random::Random;
    use crate::wire::{FromAgent, TargetState};

    /// Goal: without fuzzing, too, nothing that is said brings it down: 2,000 routers, of whose
    /// events some are messages that are well made.
    #[test]
    fn whatever_is_said_nothing_breaks() {
        let mut chance = Random(1);
        let said: Vec<Vec<u8>> = messages().iter().map(encoded).collect();
        for length in 0..2000 {
            let mut input: Vec<u8> = (0..length).map(|_| chance.next() as u8).collect();
            // As an event: the time stands still, who says it, the lease, the kind, the length.
            for _ in 0..length / 20 {
                let body = &said[chance.below(said.len())];
                let at = chance.below(input.len());
                let who = chance.next() as u8;
                let event = [3, who, chance.next() as u8, 11, body.len() as u8];
                input.splice(at..at, event.into_iter().chain(body.iter().copied()));
            }
            fuzz_route(&input);
        }
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut body = Vec::new();
        message.put(&mut body);
        body
    }

    fn messages() -> Vec<Message> {
        let hello = |at, router| {
            Message::from(Introduction::RouteHello {
                service_type: 1,
                tail: Tail([1; 11]),
                router,
                name: String::from("target"),
                host: Box::new(host(at)),
                weight: 1,
            })
        };
        let state = TargetState { listening: 3, fit: true, connections: 1 };
        let mut all = vec![
            hello(2, None),
            hello(3, None),
            hello(4, Some(Box::new(crate::wire::RouterNow { owns: None }))),
            FromAgent::TargetNow { state }.into(),
            FromAgent::Behind {}.into(),
        ];
        for number in 1..4 {
            all.push(FromAgent::ReportBegin { number, state }.into());
            all.push(FromAgent::ReportEnd { number, keys: 0 }.into());
        }
        all
    }
}
