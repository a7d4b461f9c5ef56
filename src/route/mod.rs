//! The routed service address: one address for all instances, on one machine and across hosts.
//!
//! So far: whether this host's kernel can route, and removing what a router has left that died.

use std::net::IpAddr;

mod router;
mod status;
mod target;

pub use self::router::{GiveBack, Route, RouteConfig, RoutePolicy};
pub use self::status::{RouteStatus, TargetCondition, TargetInfo};
pub use self::target::{RouteTarget, TargetConfig};
pub use crate::error::RouteError;
pub use crate::event::route::{Event, EventKind};
use crate::net::netlink::address::Devices;
use crate::net::netlink::nftables::Nftables;
use crate::net::route::{clean, probe as parts, program};

/// What [`clean()`] has removed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The packet filter's table, if there was one.
    pub table: Option<String>,
    /// The addresses, each with the device that had it.
    pub addresses: Vec<(IpAddr, String)>,
}

/// Removes the packet filter's table and the addresses that a router of `group` and `service` type
/// has left on this host, in this thread's network namespace. That is needed only for a router that
/// was killed and is not started again: one that is started again goes on with them. Does nothing
/// if there are none.
///
/// Blocks for a few milliseconds.
///
/// # Errors
/// - [`Held`](RouteError::Held): the router lives. Nothing has changed.
/// - [`NotAllowed`](RouteError::NotAllowed): this takes CAP_NET_ADMIN. Nothing has changed.
/// - [`Io`](RouteError::Io): what was removed before stays removed.
///
/// ```no_run
/// let cleaned = pares::route::clean("web", 0)?;
/// for (address, device) in &cleaned.addresses {
///     println!("{address} is no longer on {device}");
/// }
/// # Ok::<(), pares::route::RouteError>(())
/// ```
pub fn clean(group: &str, service: u16) -> Result<Cleaned, RouteError> {
    let table = program::table(group, service);
    let removed = clean::clean(&table)?;
    Ok(Cleaned { table: removed.table.then_some(table), addresses: removed.addresses })
}

/// What [`probe()`] has found.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// A router's table outlives its process and is out of the reach of others. Without this, as
    /// before Linux 6.9, any reload of the firewall that begins with `nft flush ruleset` ends the
    /// routing.
    pub lasting: bool,
}

/// Looks whether this host's kernel can route what enters by `device`, and changes nothing: the
/// kernel checks the whole program and then forgets it.
///
/// Blocks for a few milliseconds.
///
/// # Errors
/// - [`UnfitDevice`](RouteError::UnfitDevice): this network namespace has no such device, or it is
///   down, or it is no Ethernet device.
/// - [`NotAllowed`](RouteError::NotAllowed): this takes CAP_NET_ADMIN.
/// - [`Lacking`](RouteError::Lacking): the kernel was built without something, which it names.
///
/// ```no_run
/// match pares::route::probe("eth0") {
///     Ok(abilities) if abilities.lasting => println!("yes"),
///     Ok(_) => println!("yes, until the firewall is reloaded"),
///     Err(error) => println!("no: {error}"),
/// }
/// ```
pub fn probe(device: &str) -> Result<Abilities, RouteError> {
    let looking = RouteError::io("look at the network devices");
    let devices = Devices::open().and_then(|mut devices| devices.all()).map_err(looking)?;
    let unfit = |why| RouteError::UnfitDevice { device: device.into(), why };
    let found = devices.into_iter().find(|one| one.name == device);
    let found = found.ok_or_else(|| unfit("does not exist here"))?;
    if !found.is_ethernet {
        return Err(unfit("has no neighbours with Ethernet addresses"));
    }
    if !found.is_up {
        return Err(unfit("is down"));
    }
    let checking = || RouteError::io("ask the kernel's packet filter");
    let mut nftables = Nftables::open().map_err(checking())?;
    let lacking = parts::lacking(&mut nftables, device, found.number).map_err(checking())?;
    let (lasting, needed): (Vec<_>, Vec<_>) =
        lacking.into_iter().partition(|(part, _)| *part == parts::Part::Owner);
    if needed.is_empty() {
        return Ok(Abilities { lasting: lasting.is_empty() });
    }
    let parts = needed.into_iter().map(|(part, error)| (part.called(), error)).collect();
    Err(RouteError::Lacking { parts })
}
