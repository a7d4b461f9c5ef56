//! The packet filter's program that routes a service: for every packet to one of its addresses, the
//! target that has the packet's connection, or, for a new connection, the target whose turn it is.
//!
//! The program stays as it is. What a router decides, it writes into sets and maps, and into four
//! small chains that depend on its [`Ends`].

mod family;
mod rules;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::netlink::nftables::set::{Holds, Set, Type, Value};
use crate::net::netlink::nftables::{Batch, Nftables, Owner};
use crate::net::netlink::{address_of, octets};
pub(crate) use family::connection_key;
use family::{
    ENTRANCE, FAMILIES, FRAGMENT_CHAIN, FRAGMENT_MAP, Family, LEARN, ROUTER_TARGETS, ROUTERS,
    SLOT_MAP, end_bytes, family_of, fresh_chain,
};
pub(crate) use rules::write_ends;

/// New connections of a service go to the targets in this many slots, one after the other.
pub(crate) const SLOTS: u32 = 256;
/// So many where the client's address decides.
const SLOTS_BY_CLIENT: u32 = 4096;
/// How many connections are known at once. One takes 130 bytes, over IPv6 164.
const CONNECTIONS: u32 = 262_144;
const STRANGERS: u32 = 4_096;
const REFUSED: u32 = 65_536;
const FRAGMENTS: u32 = 65_536;

/// An idle connection is asked for again long before.
pub(crate) const KNOWN: Duration = Duration::from_secs(2 * 60 * 60);
/// Until its second packet: a flood of first packets must not fill the map.
const FIRST: Duration = Duration::from_secs(15);
const STRANGER: Duration = Duration::from_secs(5);
const REFUSAL: Duration = Duration::from_secs(60);
const FRAGMENT: Duration = Duration::from_secs(10);

/// Before the host's own rules at the same place, which have 0.
const PRIORITY: i32 = -10;

/// The number of a target in the maps. 0 is no target.
pub(crate) type Target = u32;

/// The name of the table of a group's service type.
pub(crate) fn table(group: &str, service: u16) -> String {
    format!("pares_{service}_{group}")
}

/// What a program is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) device: String,
    /// The number of `device`.
    pub(crate) device_number: u32,
    /// The number that this host has as a target, whether it is one or not.
    pub(crate) me: Target,
    pub(crate) services: Vec<SocketAddr>,
    /// A client's connections all go to one target.
    pub(crate) by_client: bool,
}

/// What becomes of packets that the maps say nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) role: Role,
    /// The router that they are passed on to, over each family; else they are dropped.
    pub(crate) pass_v4: Option<IpAddr>,
    pub(crate) pass_v6: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Has the addresses. `refuse_new`: a client without a target to go to is told so.
    Owner {
        refuse_new: bool,
    },
    Other {
        is_target: bool,
    },
}

/// The whole program, its sets empty but for the services, its ends those of a router that has no
/// role.
pub(crate) fn load(batch: &mut Batch<'_>, owner: Owner, note: &[u8], plan: &Plan) {
    batch.table(owner, note);
    for family in FAMILIES {
        family.sets().iter().for_each(|set| _ = batch.set(set));
    }
    for set in common_sets() {
        batch.set(&set);
    }
    let services = plan.services.iter().enumerate();
    for chain in FAMILIES.iter().flat_map(|family| family.chains()) {
        batch.chain(chain);
    }
    batch.chain(FRAGMENT_CHAIN);
    batch.chain(LEARN);
    services.clone().for_each(|(at, _)| _ = batch.chain(&fresh_chain(at)));
    for family in FAMILIES {
        rules::service(batch, family);
        rules::send(batch, family, plan);
        rules::error(batch, family);
    }
    rules::fragment(batch);
    for (at, service) in services.clone() {
        rules::fresh(batch, family_of(service.ip()), at as u32, plan);
    }
    for family in FAMILIES {
        fill(batch, family, plan);
    }
    write_ends(
        batch,
        plan,
        Ends { role: Role::Other { is_target: false }, pass_v4: None, pass_v6: None },
    );
    batch.entrance(ENTRANCE, &plan.device, PRIORITY);
    FAMILIES.iter().for_each(|family| rules::entrance(batch, family));
}

fn common_sets() -> [Set; 4] {
    let mark = || vec![Type::Mark];
    let plain = |name, key, holds| Set { name, key, holds, dynamic: None, lives: None };
    [
        plain(SLOT_MAP, mark(), Holds::Value(Type::Mark)),
        plain(ROUTERS, vec![Type::Ethernet], Holds::Nothing),
        plain(ROUTER_TARGETS, mark(), Holds::Nothing),
        Set {
            name: FRAGMENT_MAP,
            key: vec![Type::Ipv4, Type::Ipv4, Type::Port],
            holds: Holds::Value(Type::Mark),
            dynamic: Some(FRAGMENTS),
            lives: Some(FRAGMENT),
        },
    ]
}

/// The services, their addresses, the errors.
fn fill(batch: &mut Batch<'_>, family: &Family, plan: &Plan) {
    let names = family.names;
    let services: Vec<(usize, SocketAddr)> = plan
        .services
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, service)| service.is_ipv4() == family.is_v4)
        .collect();
    let chains: Vec<String> = services.iter().map(|(at, _)| fresh_chain(*at)).collect();
    let keys = || services.iter().map(|(_, service)| end_bytes(*service));
    batch.insert(names.services, keys().zip(chains.iter().map(|chain| Value::Goto(chain))), None);
    batch.insert(names.serving, keys().map(|key| (key, Value::Nothing)), None);
    let mut addresses: Vec<Vec<u8>> = services.iter().map(|(_, one)| octets(one.ip())).collect();
    addresses.sort();
    addresses.dedup();
    batch.insert(names.addresses, addresses.into_iter().map(|one| (one, Value::Nothing)), None);
    batch.insert(names.errors, family.errors().iter().map(|kind| ([*kind], Value::Nothing)), None);
}

/// Where a target's packets are sent.
pub(crate) fn add_target(batch: &mut Batch<'_>, target: Target, address: IpAddr) {
    let names = family_of(address).names;
    let (key, value) = (target.to_ne_bytes(), octets(address));
    batch.remove(names.targets, [key]);
    batch.insert(names.targets, [(key, Value::Bytes(&value))], None);
}

/// Gives a service's new connections to the targets in turn; to nobody if there are none.
pub(crate) fn write_slots(batch: &mut Batch<'_>, service: u32, targets: &[Target]) {
    let keys = (0..SLOTS).map(|at| (service * SLOTS_BY_CLIENT + at).to_ne_bytes());
    batch.remove(SLOT_MAP, keys.clone());
    let values: Vec<[u8; 4]> = targets.iter().map(|target| target.to_ne_bytes()).collect();
    let slots = keys.zip(values.iter().cycle()).map(|(key, value)| (key, Value::Bytes(value)));
    batch.insert(SLOT_MAP, slots, None);
}

/// Makes connections known, whatever was known of them before.
pub(crate) fn write_connections(
    batch: &mut Batch<'_>,
    connections: &[(SocketAddr, SocketAddr, Target)],
) {
    for family in FAMILIES {
        let of_family = || connections.iter().filter(|one| one.0.is_ipv4() == family.is_v4);
        let values: Vec<[u8; 4]> = of_family().map(|one| one.2.to_ne_bytes()).collect();
        let keys = || of_family().map(|one| connection_key(one.0, one.1));
        batch.remove(family.names.conns, keys());
        let known = keys().zip(values.iter().map(|value| Value::Bytes(value)));
        batch.insert(family.names.conns, known, Some(KNOWN));
    }
}

/// The addresses that a table routes.
pub(crate) fn addresses(nftables: &mut Nftables, table: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let elements = match nftables.elements(table, family.names.addresses) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // it is half made
            elements => elements?,
        };
        found.extend(elements.iter().filter_map(|element| address_of(&element.key)));
    }
    Ok(found)
}
