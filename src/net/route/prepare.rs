//! Prepares a target: its host takes packets for the service's addresses, and tells nobody that it
//! has them.
//!
//! The addresses are on `lo`. Over IPv4, a host answers for every address of its own at every
//! interface, unless told otherwise; and it asks in the name of the address that it is about to
//! send from, which others believe. Over IPv6 it does neither.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;

use super::addresses::{configured, looking, remove};
use crate::error::RouteError;
use crate::net::netlink::address::{Device, Devices, LOOPBACK};

/// A setting of an interface. The kernel goes by the larger of its value and that for all.
struct ArpRule {
    name: &'static str,
    value: u8,
    fit: &'static [u8],
}

const ARP_RULES: [ArpRule; 2] = [
    // 2 answers to fewer, 8 to nobody. 3 answers for what is on `lo`.
    ArpRule { name: "arp_ignore", value: 1, fit: &[1, 2, 8] },
    ArpRule { name: "arp_announce", value: 2, fit: &[2] },
];

const ALL: &str = "all";

/// Something that a target takes and its host does not have.
enum Lack {
    Address(IpAddr),
    Rule { name: &'static str, value: u8, interface: String },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Address(address) => write!(f, "{address} on lo"),
            Lack::Rule { name, value, interface } => write!(f, "{name}={value} on {interface}"),
        }
    }
}

/// A setting that was changed.
struct ChangedRule {
    path: String,
    before: String,
    now: u8,
}

/// What was changed on this host for a target. Stays after this value, unless it is
/// [restored](Preparation::restore): connections outlive a process.
#[must_use]
pub(crate) struct Preparation {
    devices: Devices,
    addresses: Vec<IpAddr>,
    rules: Vec<ChangedRule>,
}

impl Preparation {
    /// Prepares this host as a target for these addresses, whose packets come in at `device`: by
    /// default the one that leads to their networks. With `prepared` it changes nothing, and looks
    /// whether all is there.
    ///
    /// # Errors
    /// Nothing is changed then.
    /// - [`RouteError::Unprepared`]: something is missing that must not be changed.
    /// - [`RouteError::Configured`]: another device has an address, and would answer for it.
    /// - [`RouteError::UnfitDevice`], [`RouteError::Unreached`]: there is no such device.
    /// - [`RouteError::NotAllowed`]: something is missing, and this user may not change it.
    pub(crate) fn make(
        addresses: &[IpAddr],
        device: Option<&str>,
        prepared: bool,
    ) -> Result<Self, RouteError> {
        let mut devices = Devices::open().map_err(looking)?;
        let interfaces = interfaces(&mut devices, addresses, device)?;
        if let Some(one) = configured(&mut devices, addresses, None)? {
            return Err(one);
        }
        let lacking = lacking(&mut devices, addresses, &interfaces)?;
        // What holds for all interfaces is not for a target to change.
        let is_beyond = |lack: &Lack| {
            prepared || matches!(lack, Lack::Rule { interface, .. } if interface == ALL)
        };
        let missing: Vec<String> =
            lacking.iter().filter(|lack| is_beyond(lack)).map(Lack::to_string).collect();
        if !missing.is_empty() {
            return Err(RouteError::Unprepared { missing });
        }
        let mut made = Preparation { devices, addresses: Vec::new(), rules: Vec::new() };
        for lack in lacking {
            if let Err(error) = made.add(lack) {
                _ = made.restore();
                return Err(error);
            }
        }
        Ok(made)
    }

    fn add(&mut self, lack: Lack) -> Result<(), RouteError> {
        match lack {
            Lack::Address(address) => {
                let done = self.devices.assign(address, LOOPBACK, None);
                done.map_err(RouteError::io("give `lo` an address"))?;
                self.addresses.push(address);
            }
            Lack::Rule { name, value, interface } => {
                let path = path(&interface, name);
                let changing = || RouteError::io("change how this host answers for its addresses");
                let before = fs::read_to_string(&path).map_err(changing())?;
                fs::write(&path, value.to_string()).map_err(changing())?;
                self.rules.push(ChangedRule { path, before, now: value });
            }
        }
        Ok(())
    }

    /// Takes back what was changed, unless somebody has changed it since.
    ///
    /// # Errors
    /// The first one. What could be taken back was.
    pub(crate) fn restore(mut self) -> io::Result<()> {
        let mut result = Ok(());
        // Addresses first: without the rules the host would answer for them.
        for address in self.addresses {
            result = result.and(remove(&mut self.devices, address, LOOPBACK));
        }
        for rule in self.rules {
            let done = match fs::read_to_string(&rule.path) {
                Ok(now) if now.trim() == rule.now.to_string() => fs::write(rule.path, rule.before),
                Ok(_) => Ok(()),
                // The device is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            result = result.and(done);
        }
        result
    }
}

/// The interfaces at which the host must not answer for these addresses.
fn interfaces(
    devices: &mut Devices,
    addresses: &[IpAddr],
    device: Option<&str>,
) -> Result<BTreeSet<String>, RouteError> {
    let all = devices.all().map_err(looking)?;
    if let Some(name) = device {
        let exists = |one: &Device| one.name == name && one.number != LOOPBACK;
        if !all.iter().any(exists) {
            let why = "does not exist here, or has no neighbours";
            return Err(RouteError::UnfitDevice { device: name.into(), why });
        }
        return Ok([name.to_owned()].into());
    }
    let mut found = BTreeSet::new();
    for address in addresses.iter().copied().filter(IpAddr::is_ipv4) {
        let number = devices.towards(address).map_err(looking)?;
        let device = all.iter().find(|one| Some(one.number) == number);
        found.insert(device.ok_or(RouteError::Unreached { address })?.name.clone());
    }
    Ok(found)
}

/// What is missing, in the order in which to add it: with an address before its rules, the host
/// would answer for it.
fn lacking(
    devices: &mut Devices,
    addresses: &[IpAddr],
    interfaces: &BTreeSet<String>,
) -> Result<Vec<Lack>, RouteError> {
    let mut lacking = Vec::new();
    if addresses.iter().any(IpAddr::is_ipv4) {
        for (interface, rule) in
            interfaces.iter().flat_map(|one| ARP_RULES.iter().map(move |rule| (one, rule)))
        {
            let reading = || RouteError::io("look how this host answers for its addresses");
            let of_all = read(ALL, rule.name).map_err(reading())?;
            let own = read(interface, rule.name).map_err(reading())?;
            if !rule.fit.contains(&of_all.max(own)) {
                let interface = if of_all > rule.value { ALL } else { interface }.to_owned();
                lacking.push(Lack::Rule { name: rule.name, value: rule.value, interface });
            }
        }
    }
    let assigned = devices.addresses().map_err(looking)?;
    let is_there = |address: IpAddr| {
        assigned.iter().any(|one| one.device == LOOPBACK && one.address == address)
    };
    lacking.extend(addresses.iter().copied().filter(|one| !is_there(*one)).map(Lack::Address));
    Ok(lacking)
}

fn path(interface: &str, name: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/{name}")
}

fn read(interface: &str, name: &str) -> io::Result<u8> {
    let text = fs::read_to_string(path(interface, name))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}
