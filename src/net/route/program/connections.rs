//! The connections in the program's maps and sets.

use std::io;
use std::time::Duration;

use super::Plan;
use super::family::{FAMILIES, Family, connection_key, service_and_client};
use crate::config::route::{KNOWN, MAX_CONNECTIONS, REFUSAL};
use crate::net::netlink::nftables::set::Value;
use crate::net::netlink::nftables::{Batch, Nftables};
use crate::state::route::{Conn, Target};

/// What is noted of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Their targets.
    Known,
    Refused,
    Stranger,
}

impl Noted {
    fn name(self, family: &Family) -> &'static str {
        match self {
            Noted::Known => family.names.conns,
            Noted::Refused => family.names.refused,
            Noted::Stranger => family.names.strangers,
        }
    }
}

/// Removes what is noted of these connections, if anything is.
pub(crate) fn forget(batch: &mut Batch<'_>, plan: &Plan, what: Noted, conns: &[Conn]) {
    for family in FAMILIES {
        let keys = conns.iter().filter_map(|conn| key(family, plan, *conn));
        batch.remove(what.name(family), keys);
    }
}

pub(crate) fn forget_all(batch: &mut Batch<'_>, what: Noted) {
    FAMILIES.iter().for_each(|family| _ = batch.clear(what.name(family)));
}

/// Makes connections known, as many as can be: the others are asked for when they say something.
/// One that is known as another target's fails the batch.
pub(crate) fn know(batch: &mut Batch<'_>, plan: &Plan, known: &[(Conn, Target)]) {
    for family in FAMILIES {
        let element =
            |(conn, to): &(Conn, Target)| Some((key(family, plan, *conn)?, to.to_ne_bytes()));
        let of_family = || known.iter().filter_map(element).take(MAX_CONNECTIONS);
        let values: Vec<[u8; 4]> = of_family().map(|(_, value)| value).collect();
        let keys = of_family().map(|(key, _)| key);
        let elements = keys.zip(values.iter().map(|value| Value::Bytes(value)));
        batch.insert(family.names.conns, elements, Some(KNOWN));
    }
}

/// Has connections refused from now on.
pub(crate) fn refuse(batch: &mut Batch<'_>, plan: &Plan, conns: &[Conn]) {
    forget(batch, plan, Noted::Refused, conns);
    for family in FAMILIES {
        let keys = conns.iter().filter_map(|conn| key(family, plan, *conn));
        let elements = keys.map(|key| (key, Value::Nothing));
        batch.insert(family.names.refused, elements, Some(REFUSAL));
    }
}

/// Returns what is noted: the connections, their targets if that is noted, and how much longer they
/// are, if nothing comes of them. What is of no service of the plan is left out.
///
/// # Errors
/// `NotFound` if there is no such table.
pub(crate) fn read(
    nftables: &mut Nftables,
    table: &str,
    plan: &Plan,
    what: Noted,
) -> io::Result<Vec<(Conn, Target, Duration)>> {
    let mut all = Vec::new();
    for family in FAMILIES {
        if !plan.services.iter().any(|service| service.is_ipv4() == family.is_v4) {
            continue;
        }
        let elements = nftables.elements(table, what.name(family))?;
        all.extend(elements.into_iter().filter_map(|element| {
            let (service, client) = service_and_client(&element.key)?;
            let service = plan.services.iter().position(|one| *one == service)? as u16;
            let target = element.value.try_into().map_or(0, Target::from_ne_bytes);
            Some((Conn { service, client }, target, element.expires.unwrap_or_default()))
        }));
    }
    Ok(all)
}

/// The key of a connection; `None` if it is not of this family, or of no service.
fn key(family: &Family, plan: &Plan, conn: Conn) -> Option<Vec<u8>> {
    let service = *plan.services.get(usize::from(conn.service))?;
    let fits = service.is_ipv4() == family.is_v4 && conn.client.is_ipv4() == family.is_v4;
    fits.then(|| connection_key(service, conn.client))
}
