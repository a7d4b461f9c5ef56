//! How a router and an agent start: what they open, and in which order.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::addresses::RoutedAddresses;
use super::agent::{AgentThread, RunningAgent};
use super::announce::Announcer;
use super::dialler::Dialler;
use super::filter::PacketFilter;
use super::inbox::Inbox;
use super::life::HostCalls;
use super::links::{Entrance, OwnSide, Switchboard};
use super::member::GroupMember;
use super::poke::Poker;
use super::prepare::Preparation;
use super::program::{Plan, table};
use super::router::{Ground, RouterThread, RunningRouter, Tell};
use crate::config::masterless::{Config, Transport};
use crate::config::route::MAX_SERVICES;
use crate::error::RouteError;
use crate::net::files::key;
use crate::net::netlink::address::{Device, Devices};
use crate::net::netlink::diag::{SocketEnds, Sockets};
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::lock::Mutex;
use crate::net::transport::handshake::Pass;
use crate::state::masterless::{Millis, NEVER};
use crate::state::route::agent::Agent;
use crate::state::route::giveback::{GiveBack, Returning};
use crate::state::route::{RoutePolicy, RouteRules, Router, Target};
use crate::wire::Host;

/// What a router is to be.
#[derive(Clone)]
pub(crate) struct RouterPlan {
    pub(crate) group: Config,
    pub(crate) services: Vec<SocketAddr>,
    pub(crate) device: String,
    pub(crate) candidates: Option<Vec<(IpAddr, u16)>>,
    pub(crate) policy: RoutePolicy,
    pub(crate) give_back: GiveBack,
    /// The port at which routers let others in; without one, that of the group.
    pub(crate) port: Option<u16>,
}

/// What an agent is to be.
#[derive(Clone)]
pub(crate) struct AgentPlan {
    pub(crate) group: Config,
    pub(crate) services: Vec<SocketAddr>,
    pub(crate) device: Option<String>,
    pub(crate) weight: u16,
    /// This host's configuration does what a target takes.
    pub(crate) prepared: bool,
    pub(crate) port: Option<u16>,
}

/// Starts to route.
pub(crate) fn serve(plan: &RouterPlan, tell: Tell) -> Result<RunningRouter, RouteError> {
    let services = checked(&plan.services)?;
    let port = entrance(&plan.group, plan.port)?;
    let pass = pass(&plan.group)?;
    let addresses = addresses(&services);
    let mut devices = Devices::open().map_err(looking)?;
    let (device, host) = own_host(&mut devices, &plan.device, &addresses)?;
    let mac = host.mac;

    // Opened early: opening or closing some of them takes long.
    let routed = RoutedAddresses::open(&device, &addresses)?;
    let announcer = Announcer::open(device.number, mac, &addresses)
        .map_err(RouteError::io("speak to the neighbours"))?;
    let poker = Poker::open(&addresses).map_err(RouteError::io("speak to clients"))?;
    let program = Plan {
        device: device.name.clone(),
        device_number: device.number,
        services: services.clone(),
        by_client: plan.policy == RoutePolicy::Client,
    };
    let table = table(&plan.group.place.group, plan.group.service);
    let (filter, adopted) = PacketFilter::open(table, program)?;
    let is_new = adopted.is_none();
    if !filter.is_lasting() {
        log::warn!(
            "this kernel has no tables with an owner: a reload of the firewall that begins with \
             `flush ruleset` ends the service"
        );
    }
    let ground = Ground { filter, addresses: routed, announcer, poker };
    let started = start(plan, services, host, port, pass, adopted, ground, tell);
    started.map_err(|failed| {
        let (error, ground) = *failed;
        // What an earlier process has left still routes.
        if let (true, Some(ground)) = (is_new, ground) {
            _ = ground.filter.remove();
        }
        error
    })
}

/// The part that needs the table.
#[allow(clippy::too_many_arguments, reason = "each is one thing that was opened before")]
fn start(
    plan: &RouterPlan,
    services: Vec<SocketAddr>,
    host: Host,
    port: u16,
    pass: Pass,
    adopted: Option<Vec<(Target, Host)>>,
    ground: Ground,
    tell: Tell,
) -> Result<RunningRouter, Box<(RouteError, Option<Ground>)>> {
    let returning = Returning::new(plan.give_back, plan.group.rank);
    let group = plan.group.clone().prepare_handover(true).rank(returning.first_rank());
    let group = group.preempt(returning.may_preempt());
    let (interval, dead) = times(&group);
    let member = match GroupMember::join(&group, port) {
        Ok(member) => member,
        Err(error) => return Err(Box::new((RouteError::Join(error), Some(ground)))),
    };
    let rules = RouteRules {
        services: services.clone(),
        host,
        candidates: plan.candidates.clone(),
        policy: plan.policy,
        interval,
        dead,
    };
    let own = Arc::new(OwnSide {
        service_type: group.service,
        tail: member.tail(),
        name: member.shared.label.as_str().to_owned(),
        host,
        weight: 0,
        owns: Some(Mutex::new(None)),
        services,
        dead: Duration::from_millis(dead),
    });
    let opened = (|| {
        let inbox = Arc::new(Inbox::new()?);
        let entrance = Entrance::open(port, pass.clone(), own.clone(), inbox.clone())?;
        Ok((inbox, entrance))
    })();
    let (inbox, entrance) = match opened {
        Ok(opened) => opened,
        Err(source) => {
            return Err(Box::new((RouteError::Entrance { port, source }, Some(ground))));
        }
    };
    let pause = group.interval;
    let router = RouterThread {
        router: Router::new(rules.clone(), adopted, awake_or_asleep_ms()),
        dialler: Dialler::new(own.clone(), pass, inbox.clone(), pause),
        rules,
        member,
        own,
        inbox,
        links: Switchboard::default(),
        ground,
        calls: HostCalls::default(),
        tell,
        returning,
        read_at: None,
        is_over: false,
        _entrance: entrance,
    };
    RunningRouter::start(router).map_err(|source| {
        Box::new((RouteError::Io { doing: "start the router's thread", source }, None))
    })
}

/// Starts to be a target.
pub(crate) fn target(plan: &AgentPlan, tell: Tell) -> Result<RunningAgent, RouteError> {
    let services = checked(&plan.services)?;
    let port = entrance(&plan.group, plan.port)?;
    let pass = pass(&plan.group)?;
    let addresses = addresses(&services);
    let looking = || RouteError::io("look at the kernel's sockets");
    let ends = SocketEnds::open().map_err(looking())?;
    let sockets = Sockets::open().map_err(looking())?;
    let mut devices = Devices::open().map_err(self::looking)?;
    let device = match &plan.device {
        Some(device) => device.clone(),
        None => leading_to(&mut devices, addresses[0])?,
    };
    let (_, host) = own_host(&mut devices, &device, &addresses)?;
    let preparation = Preparation::make(&addresses, plan.device.as_deref(), plan.prepared)?;
    let group = plan.group.clone().rank(NEVER);
    let member = match GroupMember::join(&group, port) {
        Ok(member) => member,
        Err(error) => {
            _ = preparation.restore();
            return Err(RouteError::Join(error));
        }
    };
    let (interval, dead) = times(&group);
    let own = Arc::new(OwnSide {
        service_type: group.service,
        tail: member.tail(),
        name: member.shared.label.as_str().to_owned(),
        host,
        weight: plan.weight,
        owns: None,
        services: services.clone(),
        dead: Duration::from_millis(dead),
    });
    let inbox = Arc::new(Inbox::new().map_err(RouteError::io("make a waker"))?);
    let agent = AgentThread {
        agent: Agent::new(awake_or_asleep_ms()),
        dialler: Dialler::new(own, pass, inbox.clone(), group.interval),
        member,
        inbox,
        links: Switchboard::default(),
        sockets,
        ends,
        services: services.into_iter().collect::<BTreeSet<_>>(),
        preparation,
        interval,
        tell,
        looked_at: None,
        counted: None,
        is_over: false,
    };
    RunningAgent::start(agent).map_err(RouteError::io("start the agent's thread"))
}

/// The services, if there may be so many.
fn checked(services: &[SocketAddr]) -> Result<Vec<SocketAddr>, RouteError> {
    let unusable = |what: String| Err(RouteError::Invalid { what });
    let mut distinct = services.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    match distinct.len() {
        0 => return unusable("there is no service: name an address and a port".into()),
        count if count != services.len() => return unusable("a service is named twice".into()),
        count if count > MAX_SERVICES => {
            return unusable(format!("{count} services are more than {MAX_SERVICES}"));
        }
        _ => {}
    }
    let is_none = |one: &&SocketAddr| {
        let ip = one.ip();
        one.port() == 0 || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast()
    };
    match services.iter().find(is_none) {
        Some(one) => unusable(format!("{one} cannot be routed: name a host's address and a port")),
        None => Ok(services.to_vec()),
    }
}

fn addresses(services: &[SocketAddr]) -> Vec<IpAddr> {
    let distinct: BTreeSet<IpAddr> = services.iter().map(SocketAddr::ip).collect();
    distinct.into_iter().collect()
}

/// The port of the routers' entrances.
fn entrance(group: &Config, port: Option<u16>) -> Result<u16, RouteError> {
    let own = match &group.transport {
        Transport::Local(_) => {
            let what = "a routed service needs a group on a network: multicast or unicast".into();
            return Err(RouteError::Invalid { what });
        }
        Transport::Multicast { group, .. } => group.port(),
        Transport::Unicast { bind, .. } => bind.port(),
    };
    Ok(port.unwrap_or(own))
}

fn pass(group: &Config) -> Result<Pass, RouteError> {
    let file = group.place.key().map_err(|error| RouteError::Join(error.into()))?;
    let key = key::of(&file).map_err(|error| RouteError::Join(error.into()))?;
    Ok(Pass { group: group.place.group.clone(), key, key_file: file.into_path() })
}

/// The interval, and the silence after which a process is dead, as the group decides it.
fn times(group: &Config) -> (Millis, Millis) {
    let interval = group.interval.as_millis() as Millis;
    (interval, 3 * interval + 2 * group.assumed_delay().as_millis() as Millis)
}

fn looking(source: std::io::Error) -> RouteError {
    RouteError::Io { doing: "look at the network devices", source }
}

/// Returns the device by which this host reaches an address.
fn leading_to(devices: &mut Devices, address: IpAddr) -> Result<String, RouteError> {
    let number = devices.towards(address).map_err(looking)?;
    let all = devices.all().map_err(looking)?;
    let device = all.into_iter().find(|one| Some(one.number) == number);
    device.map(|one| one.name).ok_or(RouteError::Unreached { address })
}

/// Returns a device, and where neighbours reach this host there: its own addresses, not those of
/// the service.
fn own_host(
    devices: &mut Devices,
    name: &str,
    service: &[IpAddr],
) -> Result<(Device, Host), RouteError> {
    let unfit = |why| RouteError::UnfitDevice { device: name.to_owned(), why };
    let device = devices.all().map_err(looking)?.into_iter().find(|one| one.name == name);
    let device = device.ok_or_else(|| unfit("does not exist"))?;
    if !device.is_up {
        return Err(unfit("is down"));
    }
    let mac = device.mac.filter(|_| device.is_ethernet);
    let mac = mac.ok_or_else(|| unfit("has no neighbours with hardware addresses"))?;
    let assigned = devices.addresses().map_err(looking)?;
    let own = |is_v4: bool| {
        let fits = |address: IpAddr| match address {
            IpAddr::V4(_) => is_v4,
            IpAddr::V6(v6) => !is_v4 && !v6.is_unicast_link_local(),
        };
        let all = assigned.iter().filter(|one| one.device == device.number && !one.is_single());
        all.map(|one| one.address).find(|one| fits(*one) && !service.contains(one))
    };
    let host = Host { v4: own(true), v6: own(false), mac };
    for address in service {
        if host.like(*address).is_none() {
            return Err(unfit("has no address of the service's family"));
        }
    }
    Ok((device, host))
}
