//! Everything at once: whatever fails, in any order, no connection is broken but a dead target's.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::scenes::{come, start};
use super::world::{At, DEAD, Deed, H, World, host, services};
use crate::event::masterless::Token;
use crate::state::masterless::Millis;
use crate::state::route::agent::report;
use crate::state::route::giveback::GiveBack;
use crate::state::route::{
    Conn, GroupPeer, RoutePolicy, RouteRules, Router, RouterAction, RouterInput, Target,
};
use crate::state::sim::random::Random;
use crate::state::sim::seeds::run_seeds;
use crate::wire::heartbeat::Status;
use crate::wire::route::{MAX_KEYS, pack};
use crate::wire::{
    BetweenRouters, FromAgent, Host, PeerId, RouteToken, Tail, TargetState, ToAgent,
};

const POLICIES: [RoutePolicy; 5] = [
    RoutePolicy::Even,
    RoutePolicy::Connections,
    RoutePolicy::Load,
    RoutePolicy::Client,
    RoutePolicy::Standby,
];
const GIVE_BACKS: [GiveBack; 4] =
    [GiveBack::Now, GiveBack::Never, GiveBack::WhenIdle, GiveBack::After(Duration::from_secs(10))];

/// Plans failures for so long, each of which ends by itself.
fn fail(world: &mut World, routers: &[At], time: Millis) {
    let hosts = world.hosts.len();
    let mut at = 0;
    while at < time {
        at += 100 + world.random.time_in(4000);
        let host = world.random.below(hosts);
        let ends = at + 50 + world.random.time_in(8000);
        match world.random.below(6) {
            0 => {
                let at_host = routers[world.random.below(routers.len())];
                world.plan(at, Deed::KillRouter(at_host));
                world.plan(ends, Deed::StartRouter(at_host));
            }
            1 => {
                world.plan(at, Deed::KillAgent(host));
                world.plan(ends, Deed::StartAgent(host));
            }
            2 => {
                world.plan(at, Deed::Off(host));
                world.plan(ends, Deed::On(host));
                let boots = world.random.time_in(1000);
                if routers.contains(&host) {
                    world.plan(ends + boots, Deed::StartRouter(host));
                }
                world.plan(ends + boots, Deed::StartAgent(host));
            }
            3 => {
                let other = (host + 1 + world.random.below(hosts - 1)) % hosts;
                world.plan(at, Deed::Cut(host, other));
                world.plan(ends, Deed::Mend(host, other));
            }
            4 => world.plan(at, Deed::Pause(host, ends - at)),
            _ => world.plan(at, Deed::Flip),
        }
    }
}

fn chaos(seed: u64, story: bool, loss: u64) -> World {
    let shapes: [(&[bool], &[At]); 4] = [
        (&[false, false, true, true, true], &[0, 1]),
        (&[true, true, true], &[0, 1]),
        (&[false, true, true, true, true, true], &[0, 1, 2]),
        (&[false, false, false, false, true, true], &[0, 1, 2, 3]),
    ];
    let (hosts, routers) = shapes[seed as usize % shapes.len()];
    let mut world = World::new(seed, story, hosts);
    world.listed = true;
    let at = seed as usize / shapes.len();
    world.policy = POLICIES[at % POLICIES.len()];
    world.give_back = GIVE_BACKS[at / POLICIES.len() % GIVE_BACKS.len()];
    start(&mut world, routers);
    (world.loss, world.may_refuse_new) = (loss, true);
    let busy = world.random.time_in(40_000);
    come(&mut world, busy);
    fail(&mut world, routers, busy);
    world.run_for(busy + 9000);
    // Then all is mended.
    (world.loss, world.may_refuse_new) = (0, false);
    world.mend_all();
    for (at, is_target) in hosts.iter().enumerate() {
        world.execute(Deed::On(at));
        if routers.contains(&at) {
            world.execute(Deed::StartRouter(at));
        }
        if *is_target {
            world.execute(Deed::StartAgent(at));
        }
    }
    world.run_until(60_000, "settled again", World::is_settled);
    come(&mut world, 3000);
    world.run_for(5000);
    assert_eq!(world.owning_hosts().len(), 1);
    world.check_all_well();
    // Whose target has died knows it, as soon as it says something.
    world.run_until(60_000, "all know", |world| world.hanging() == 0);
    world
}

#[test]
fn whatever_fails_only_what_a_dead_target_had_is_lost() {
    let seen = Mutex::new((0, BTreeMap::new()));
    let seeds = run_seeds(400, "whatever_fails", |seed, story| {
        let world = chaos(seed, story, 0);
        let mut seen = seen.lock().unwrap();
        seen.0 += world.clients.len();
        *seen.1.entry("doubled").or_insert(0) +=
            world.clients.iter().filter(|one| one.doubled).count();
        for (by, count) in world.resets {
            *seen.1.entry(by).or_insert(0) += count;
        }
    });
    let seen = seen.into_inner().unwrap();
    println!("{seen:?}");
    assert!(seeds < 400 || seen.1.len() >= 2, "the worlds are too poor: {seen:?}");
}

#[test]
fn with_packets_and_heartbeats_lost_too_it_is_the_same() {
    run_seeds(200, "lost_too", |seed, story| {
        chaos(seed, story, 1 + seed % 30);
    });
}

fn tail(number: u8) -> Tail {
    Tail([number; 11])
}

fn token(epoch: u64, number: u8) -> RouteToken {
    RouteToken { epoch, id: PeerId::new(10, u32::from(number), tail(number)) }
}

fn router() -> Router {
    let rules = RouteRules {
        services: services(),
        host: host(0),
        candidates: None,
        policy: RoutePolicy::Even,
        interval: H,
        dead: 4 * H,
    };
    Router::new(rules, None, 0)
}

/// A router that knows another one as the owner, and is linked to that or not.
pub(in crate::state::route) fn owned_elsewhere(is_linked: bool) -> Router {
    let mut router = router();
    let (tail, owns) = (tail(9), Some(token(1, 9)));
    let mut out = Vec::new();
    router.step(0, false, RouterInput::RouterUp { tail, host: host(9), owns }, &mut out);
    if !is_linked {
        router.step(0, false, RouterInput::Down { tail }, &mut out);
    }
    router
}

fn agent_up(router: &mut Router, at: At, out: &mut Vec<RouterAction>) {
    let (tail, host) = (tail(at as u8), host(at));
    let up = RouterInput::AgentUp { tail, name: String::new(), host, weight: 1 };
    router.step(0, false, up, out);
}

/// Its heartbeats never came, though its agent reached the router.
#[test]
fn the_host_of_an_agent_that_the_group_never_heard_of_is_asked_too() {
    let mut router = router();
    let mut out = Vec::new();
    agent_up(&mut router, 3, &mut out);
    router.step(0, false, RouterInput::Down { tail: tail(3) }, &mut out);
    router.step(DEAD - 1, false, RouterInput::Tick, &mut out);
    let asks = |out: &[RouterAction]| {
        out.iter().any(|action| matches!(action, RouterAction::Probe { .. }))
    };
    assert!(!asks(&out) && router.wake_at() == DEAD);
    router.step(DEAD, false, RouterInput::Tick, &mut out);
    assert!(asks(&out), "{out:?}");
}

/// Closes come in between, an earlier question is answered late, and one report ends in the middle.
#[test]
fn the_table_is_what_the_targets_have_however_large_their_reports_are() {
    let mut router = router();
    let mut out = Vec::new();
    (1..=3).for_each(|at| agent_up(&mut router, at, &mut out));
    let prepare = RouterInput::Status { to: Status::ToBecomePrimary, token: None };
    router.step(10, false, prepare, &mut out);
    let asked = |out: &[RouterAction]| {
        let number = |action: &RouterAction| match action {
            RouterAction::ToAgent(_, ToAgent::Report { number }) => Some(*number),
            _ => None,
        };
        out.iter().filter_map(number).next_back().unwrap()
    };
    let number = asked(&out);
    let client = |number: u32| {
        SocketAddr::new(
            IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + number / 60_000)),
            (number % 60_000) as u16,
        )
    };
    let keys = |from: u32, to: u32| (from..to).map(|one| (client(one), 1)).collect::<Vec<_>>();
    let state = TargetState { listening: 3, fit: true, connections: 0 };
    let say = |router: &mut Router, at: u8, message: FromAgent| {
        let mut out = Vec::new();
        let tail = tail(at);
        router.step(20, false, RouterInput::FromAgent { tail, message }, &mut out);
        out
    };
    // The whole of the first, with closes in between.
    let all = report(number, state, &[keys(0, 100_000), keys(0, 10)]);
    assert_eq!(all.len(), 2 + 100_000_usize.div_ceil(MAX_KEYS) + 1);
    for (at, message) in all.into_iter().enumerate() {
        say(&mut router, 1, message);
        if at == 5 {
            say(&mut router, 1, FromAgent::Closed { service: 0, keys: pack(&keys(0, 3)) });
        }
    }
    // An answer to a question that was never put, and one that ends in the middle.
    for message in report(number + 7, state, &[keys(200_000, 200_010), Vec::new()]) {
        say(&mut router, 2, message);
    }
    for message in report(number, state, &[keys(300_000, 300_010), Vec::new()]).into_iter().take(2)
    {
        say(&mut router, 3, message);
    }
    let mut out = Vec::new();
    router.step(25, false, RouterInput::Down { tail: tail(3) }, &mut out);
    // Of what two have, who has it alive counts.
    let mut two = keys(100_000, 100_005);
    two.push((client(50), 6));
    let mut last = Vec::new();
    for message in report(number, state, &[two, Vec::new()]) {
        last = say(&mut router, 2, message);
    }
    let loaded = last.iter().find_map(|action| match action {
        RouterAction::Replace(known) => Some(known),
        _ => None,
    });
    let loaded: BTreeMap<Conn, Target> =
        loaded.expect("all have answered").iter().copied().collect();
    let mut expected = BTreeMap::new();
    expected.extend((3..100_000).map(|one| (Conn { service: 0, client: client(one) }, 2)));
    expected.extend((0..10).map(|one| (Conn { service: 1, client: client(one) }, 2)));
    expected.extend((100_000..100_005).map(|one| (Conn { service: 0, client: client(one) }, 3)));
    assert!(loaded == expected, "{} and {}", loaded.len(), expected.len());
}

#[test]
fn an_agent_that_does_not_keep_to_the_protocol_is_cut_off() {
    let bad = [
        FromAgent::Closed { service: 2, keys: pack(&[]) },
        FromAgent::Closed { service: 0, keys: crate::wire::field::Payload(vec![0; 6]) },
        FromAgent::Found { number: 0, service: u16::MAX, keys: pack(&[]) },
        FromAgent::TargetNow { state: TargetState { listening: 4, fit: true, connections: 0 } },
    ];
    for message in bad {
        let mut router = router();
        let mut out = Vec::new();
        agent_up(&mut router, 1, &mut out);
        let input = RouterInput::FromAgent { tail: tail(1), message: message.clone() };
        router.step(10, false, input, &mut out);
        let hung_up = out.iter().any(|action| matches!(action, RouterAction::HangUp(..)));
        assert!(hung_up, "{message:?}: {out:?}");
    }
    let mut router = router();
    let mut out = Vec::new();
    agent_up(&mut router, 1, &mut out);
    router.step(
        5,
        false,
        RouterInput::Status { to: Status::ToBecomePrimary, token: None },
        &mut out,
    );
    let state = TargetState::default();
    let lost =
        [FromAgent::ReportBegin { number: 1, state }, FromAgent::ReportEnd { number: 1, keys: 1 }];
    for message in lost {
        router.step(10, false, RouterInput::FromAgent { tail: tail(1), message }, &mut out);
    }
    let lost = |action: &RouterAction| match action {
        RouterAction::HangUp(_, fault) => fault.contains("lost a part"),
        _ => false,
    };
    assert!(out.iter().any(lost), "{out:?}");
}

/// What might come, in any order.
fn anything(random: &mut Random) -> RouterInput {
    let name = tail(random.below(6) as u8);
    let number = random.below(4) as u32;
    let any_token = token(random.below(6) as u64, random.below(6) as u8);
    let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(random.below(50) as u32)), 9);
    let service = random.below(3) as u16;
    let keys = pack(&[(client, random.below(12) as u8)]);
    let state =
        TargetState { listening: random.next() % 5, fit: random.one_in(2), connections: number };
    let token_of = Token::from(any_token);
    match random.below(16) {
        0 => RouterInput::Tick,
        1 => RouterInput::Status { to: Status::Primary, token: Some(token_of) },
        2 => RouterInput::Status { to: Status::ToBecomePrimary, token: None },
        3 => RouterInput::Status { to: Status::Standby, token: None },
        4 => RouterInput::PrepareHandover { to: name },
        5 => {
            let member = |tail| GroupPeer { tail, leads: number > 1, workload: number as u16 };
            match random.one_in(3) {
                true => RouterInput::Record((0..number as u8).map(|at| member(tail(at))).collect()),
                false => RouterInput::Joined(member(name)),
            }
        }
        6 => RouterInput::Gone { tail: name, died: random.one_in(2) },
        7 => {
            let owns = random.one_in(2).then_some(any_token);
            RouterInput::RouterUp { tail: name, host: host(random.below(5)), owns }
        }
        8 | 9 => {
            let host = match random.one_in(9) {
                true => Host { v4: None, v6: None, mac: [0; 6] },
                false => host(random.below(5)),
            };
            RouterInput::AgentUp { tail: name, name: String::new(), host, weight: number as u16 }
        }
        10 => RouterInput::Down { tail: name },
        11 => {
            let message = match random.below(7) {
                0 => FromAgent::Stale { token: any_token },
                1 => FromAgent::ReportBegin { number, state },
                2 => FromAgent::ReportPart { number, service, keys },
                3 => FromAgent::ReportEnd { number, keys: random.below(2) as u32 },
                4 => FromAgent::Closed { service, keys },
                5 => FromAgent::Found { number, service, keys },
                _ => FromAgent::Behind {},
            };
            RouterInput::FromAgent { tail: name, message }
        }
        12 => {
            let message = match random.below(3) {
                0 => BetweenRouters::Ready { entries: number },
                1 => BetweenRouters::Owns { token: any_token },
                _ => BetweenRouters::Settled { token: any_token },
            };
            RouterInput::FromRouter { tail: name, message }
        }
        13 => {
            let conns = (0..random.below(40)).map(|one| {
                let client = SocketAddr::new(Ipv4Addr::from(one as u32).into(), 9);
                Conn { service: (one % 2) as u16, client }
            });
            RouterInput::Strangers(conns.collect())
        }
        14 => RouterInput::Probed { target: number, alive: random.one_in(2) },
        _ => RouterInput::Claimed,
    }
}

#[test]
fn any_events_in_any_order_do_no_harm() {
    run_seeds(300, "no_harm", |seed, story| {
        let mut random = Random(seed);
        let mut router = router();
        let mut now = 0;
        for _ in 0..2000 {
            // The clock may also go back.
            now = now + random.time_in(3000) - random.time_in(1500).min(now);
            let (lease, input) = (random.one_in(2), anything(&mut random));
            let mut out = Vec::new();
            if story {
                println!("{now} {lease} {input:?}");
            }
            router.step(now, lease, input, &mut out);
            router.check();
            let needs_lease = out.iter().any(RouterAction::needs_lease);
            assert!(lease || !needs_lease, "without the lease: {out:?}");
        }
    });
}
