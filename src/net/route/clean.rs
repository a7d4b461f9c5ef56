//! Removes what a router has left that died.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::filter::process;
use super::program;
use crate::error::RouteError;
use crate::net::netlink::Refused;
use crate::net::netlink::address::Devices;
use crate::net::netlink::nftables::{Batch, Nftables, Owner};

/// What was there and is not any more.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) table: bool,
    /// Each with its device.
    pub(crate) addresses: Vec<(IpAddr, String)>,
}

/// Removes a table and the addresses in it, unless their router lives.
pub(crate) fn clean(table: &str) -> Result<Removed, RouteError> {
    let mut nftables =
        Nftables::open().map_err(RouteError::io("speak to the kernel's packet filter"))?;
    let looking = || RouteError::io("look at the kernel's tables");
    let mut removed = Removed { table: false, addresses: Vec::new() };
    let Some(found) = nftables.table(table).map_err(looking())? else { return Ok(removed) };
    let refused = |refused: Refused| match refused.error.raw_os_error() {
        Some(libc::EPERM) => RouteError::Held { pid: process(found.owner) },
        _ => RouteError::Io { doing: "remove the table", source: refused.error },
    };
    // From here on no router can claim it: that would lose its addresses to what follows.
    if found.has_owners {
        let mut claim = Batch::of(table);
        claim.table(Owner::Me, &found.note);
        nftables.commit(claim).map_err(&refused)?;
    }
    let routed = program::addresses(&mut nftables, table).map_err(looking())?;
    // First: without the table this host would itself answer for the addresses, with resets.
    removed.addresses = remove(&routed).map_err(RouteError::io("remove an address"))?;
    let mut batch = Batch::of(table);
    batch.destroy_table();
    nftables.commit(batch).map_err(&refused)?;
    removed.table = true;
    Ok(removed)
}

/// A router gives an address to a device as that of a single host. On `lo` it is a target's.
fn remove(routed: &[IpAddr]) -> io::Result<Vec<(IpAddr, String)>> {
    let mut devices = Devices::open()?;
    let names: BTreeMap<u32, String> =
        devices.all()?.into_iter().map(|device| (device.number, device.name)).collect();
    let mut removed = Vec::new();
    for assigned in devices.addresses()? {
        let name = names.get(&assigned.device).map_or("", String::as_str);
        if assigned.is_single() && name != "lo" && routed.contains(&assigned.address) {
            match devices.remove(assigned.address, assigned.device) {
                // Its time was over, and the kernel has removed it.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => continue,
                done => done?,
            }
            removed.push((assigned.address, name.to_owned()));
        }
    }
    Ok(removed)
}
