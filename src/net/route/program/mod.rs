//! The packet filter's program that routes a service: for every packet to one of its addresses, the
//! target that has the packet's connection, or, for a new connection, the target whose turn it is.
//!
//! The program stays as it is. What a router decides, it writes into sets and maps, and into four
//! small chains that depend on its [`Ends`].

pub(crate) mod connections;
mod family;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};

use crate::config::route::{MAX_PIECES, PIECES};
use crate::net::netlink::nftables::set::{Holds, Set, Type, Value};
use crate::net::netlink::nftables::{Batch, Nftables, Owner};
use crate::net::netlink::{address_of, octets};
use crate::state::route::slots::{SLOTS, SLOTS_BY_CLIENT};
use crate::state::route::{Ends, EndsRole, Target};
use crate::wire::Host;
#[cfg(test)]
pub(crate) use family::connection_key;
use family::{
    ENTRANCE, FAMILIES, FRAGMENT_CHAIN, FRAGMENT_MAP, Family, LEARN, MINE, ROUTERS, SENT, SLOT_MAP,
    end_bytes, family_of, fresh_chain,
};
pub(crate) use rules::{write_ends, write_role};

/// Before the host's own rules at the same place, which have 0.
const PRIORITY: i32 = -10;

/// Of the program. Another one takes nothing over.
const VERSION: u32 = 1;

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
    pub(crate) services: Vec<SocketAddr>,
    /// A client's connections all go to one target.
    pub(crate) by_client: bool,
}

impl Plan {
    /// So many slots has each service.
    pub(super) fn slots(&self) -> usize {
        if self.by_client { SLOTS_BY_CLIENT } else { SLOTS }
    }

    /// What a table is marked with that has this plan's program. `nft list ruleset` shows it as a
    /// comment.
    pub(crate) fn note(&self) -> Vec<u8> {
        const COMMENT: u8 = 0;
        let Plan { device, device_number, services, by_client } = self;
        let all = format!("{device} {device_number} {services:?} {by_client}");
        let mut text = format!("pares {VERSION} ");
        for byte in &Sha256::digest(all)[..16] {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        text.push('\0');
        [&[COMMENT, text.len() as u8], text.as_bytes()].concat()
    }
}

/// The place of a service's slot in the map of all.
fn slot(service: u32, at: usize) -> u32 {
    service * SLOTS_BY_CLIENT as u32 + at as u32
}

/// The whole program, its sets empty but for the services, its ends those of a router that has no
/// role.
pub(crate) fn load(batch: &mut Batch<'_>, owner: Owner, plan: &Plan) {
    batch.table(owner, &plan.note());
    batch.counter(SENT);
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
    [MINE, FRAGMENT_CHAIN, LEARN].iter().for_each(|chain| _ = batch.chain(chain));
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
    write_ends(batch, plan, &Ends { role: EndsRole::Other, is_target: false, pass: None });
    batch.entrance(ENTRANCE, &plan.device, PRIORITY);
    FAMILIES.iter().for_each(|family| rules::entrance(batch, family));
}

fn common_sets() -> [Set; 3] {
    let mark = || vec![Type::Mark];
    let plain = |name, key, holds| Set { name, key, holds, dynamic: None, lives: None };
    [
        plain(SLOT_MAP, mark(), Holds::Value(Type::Mark)),
        plain(ROUTERS, vec![Type::Ethernet], Holds::Nothing),
        Set {
            name: FRAGMENT_MAP,
            key: vec![Type::Ipv4, Type::Ipv4, Type::Port],
            holds: Holds::Value(Type::Mark),
            dynamic: Some(MAX_PIECES as u32),
            lives: Some(PIECES),
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

/// Where a target's packets are sent; nowhere without a host.
pub(crate) fn write_target(batch: &mut Batch<'_>, target: Target, host: Option<&Host>) {
    let key = target.to_ne_bytes();
    for family in FAMILIES {
        batch.remove(family.names.targets, [key]);
        let address = host.and_then(|host| if family.is_v4 { host.v4 } else { host.v6 });
        let value = address.map(octets);
        let element = value.iter().map(|value| (key, Value::Bytes(value)));
        batch.insert(family.names.targets, element, None);
    }
}

/// Whose turn it is at a service; nobody's if there are no slots.
pub(crate) fn write_slots(batch: &mut Batch<'_>, plan: &Plan, service: u16, slots: &[Target]) {
    let keys = (0..plan.slots()).map(|at| slot(service.into(), at).to_ne_bytes());
    batch.remove(SLOT_MAP, keys.clone());
    let values: Vec<[u8; 4]> = slots.iter().map(|target| target.to_ne_bytes()).collect();
    batch.insert(SLOT_MAP, keys.zip(values.iter().map(|value| Value::Bytes(value))), None);
}

/// Gives new connections to nobody.
pub(crate) fn clear_slots(batch: &mut Batch<'_>) {
    batch.clear(SLOT_MAP);
}

/// The other routers, whose packets are known by their hardware addresses.
pub(crate) fn write_routers(batch: &mut Batch<'_>, hosts: &[Host]) {
    batch.clear(ROUTERS);
    let all: BTreeSet<[u8; 6]> = hosts.iter().map(|host| host.mac).collect();
    batch.insert(ROUTERS, all.into_iter().map(|mac| (mac, Value::Nothing)), None);
}

/// The targets of a table, and where they are. Their hardware addresses are not in it.
pub(crate) fn targets(nftables: &mut Nftables, table: &str) -> io::Result<Vec<(Target, Host)>> {
    let mut found: BTreeMap<Target, Host> = BTreeMap::new();
    for family in FAMILIES {
        for element in nftables.elements(table, family.names.targets)? {
            let Ok(number) = <[u8; 4]>::try_from(&element.key[..]) else { continue };
            let nowhere = Host { v4: None, v6: None, mac: [0; 6] };
            let host = found.entry(Target::from_ne_bytes(number)).or_insert(nowhere);
            let address = if family.is_v4 { &mut host.v4 } else { &mut host.v6 };
            *address = address_of(&element.value);
        }
    }
    Ok(found.into_iter().collect())
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
