//! This host's network devices and their addresses.
//!
//! The numbers are those of `include/uapi/linux/if_link.h`, `if_addr.h` and `rtnetlink.h`.

use std::cmp::Reverse;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{ACK, DUMP, Messages, Netlink, address_of, array, attribute, family_and_octets};

const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;

const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

const HARDWARE_ADDRESS: u16 = 1;
const NAME: u16 = 3;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const CACHE_INFO: u16 = 6;
const FLAGS: u16 = 8;
const PROTOCOL: u16 = 11;

const NO_DUPLICATE_DETECTION: u32 = 0x02;
const FOR_EVER: u32 = u32::MAX;

/// Who has assigned an address: nobody else says this. `ip address` shows it as `proto 0x70`.
const OURS: u8 = 0x70;

const DESTINATION: u16 = 1;
const OUT_OF: u16 = 4;
const PRIORITY: u16 = 6;
const NEXT_HOPS: u16 = 9;

const MAIN_TABLE: u8 = 254;
const UNICAST: u8 = 1;

/// The number of `lo` in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    /// Has neighbours with hardware addresses.
    pub(crate) is_ethernet: bool,
    pub(crate) mac: Option<[u8; 6]>,
}

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) address: IpAddr,
    /// How many leading bits say which hosts are on the same link.
    pub(crate) prefix: u8,
    /// The number of the device.
    pub(crate) device: u32,
    /// When the kernel removes it; `None` for never.
    pub(crate) expires: Option<Duration>,
    /// Was [assigned](Devices::assign) by this library, in this process or another.
    pub(crate) is_ours: bool,
}

impl Assigned {
    /// Is on no network, as a router's address of a service.
    pub(crate) fn is_single(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// The kernel's tables of devices and addresses.
pub(crate) struct Devices(Netlink);

impl Devices {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(None).map(Devices)
    }

    /// Returns all devices.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Device>> {
        // `ifinfomsg`: family, type, number, flags, and which of them to change.
        Ok(self.dump(GET_LINK, &[0; 16])?.bodies().filter_map(read_device).collect())
    }

    /// Returns all addresses of all devices.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<Assigned>> {
        let head = head(libc::AF_UNSPEC as u8, 0, 0);
        Ok(self.dump(GET_ADDRESS, &head)?.bodies().filter_map(read_address).collect())
    }

    /// Returns the number of the device by which packets to this address leave, were it not one of
    /// this host's own.
    pub(crate) fn towards(&mut self, address: IpAddr) -> io::Result<Option<u32>> {
        let (family, _) = family_and_octets(address);
        // `rtmsg`: family, lengths of the prefixes, service, table, protocol, scope, type, flags.
        let head = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let routes = self.dump(GET_ROUTE, &head)?;
        let fitting = routes.bodies().filter_map(|body| read_route(body, address));
        Ok(fitting.min_by_key(|one| one.0).map(|(_, device)| device))
    }

    /// Gives a device an address of a single host, or renews it. The kernel takes it away after
    /// `life`; `None` is for ever.
    pub(crate) fn assign(
        &mut self,
        address: IpAddr,
        device: u32,
        life: Option<Duration>,
    ) -> io::Result<()> {
        let seconds = life.map_or(FOR_EVER, |life| life.as_millis().div_ceil(1000) as u32);
        self.tell(NEW_ADDRESS, CREATE | REPLACE, address, device, |message| {
            // Over IPv6 a single address wins over the host's own as that of new connections (RFC
            // 6724, rule 8), unless it is deprecated. These must not end with the address.
            let preferred = if address.is_ipv4() { seconds } else { 0 };
            let life = [preferred, seconds, 0, 0].map(u32::to_ne_bytes);
            message.attribute(CACHE_INFO, life.as_flattened());
            message.attribute(PROTOCOL, &[OURS]);
            if address.is_ipv6() {
                message.attribute(FLAGS, &NO_DUPLICATE_DETECTION.to_ne_bytes());
            }
        })
    }

    /// Takes an address of a single host from a device.
    ///
    /// # Errors
    /// `AddrNotAvailable` if the device does not have it.
    pub(crate) fn remove(&mut self, address: IpAddr, device: u32) -> io::Result<()> {
        self.tell(DELETE_ADDRESS, 0, address, device, |_| {})
    }

    fn tell(
        &mut self,
        kind: u16,
        flags: u16,
        address: IpAddr,
        device: u32,
        more: impl FnOnce(&mut Messages),
    ) -> io::Result<()> {
        let (family, bytes) = family_and_octets(address);
        let mut messages = Messages::default();
        let head = head(family, 8 * bytes.len() as u8, device);
        messages.message(kind, flags | ACK, &head, |message| {
            message.attribute(LOCAL, &bytes);
            message.attribute(ADDRESS, &bytes);
            more(message);
        });
        self.0.tell(&messages)?.into_iter().next().map_or(Ok(()), |refused| Err(refused.error))
    }

    fn dump(&mut self, kind: u16, head: &[u8]) -> io::Result<super::Dump> {
        let mut question = Messages::default();
        question.message(kind, DUMP, head, |_| {});
        self.0.dump(&question)
    }
}

/// `ifaddrmsg`: family, prefix, flags, scope, device.
fn head(family: u8, prefix: u8, device: u32) -> [u8; 8] {
    let [a, b, c, d] = device.to_ne_bytes();
    [family, prefix, 0, 0, a, b, c, d]
}

fn read_device(body: &[u8]) -> Option<Device> {
    let kind = u16::from_ne_bytes(array(body, 2)?);
    let number = u32::from_ne_bytes(array(body, 4)?);
    let flags = u32::from_ne_bytes(array(body, 8)?);
    let attributes = body.get(16..)?;
    let name = attribute(attributes, NAME)?.strip_suffix(b"\0")?;
    Some(Device {
        number,
        name: String::from_utf8_lossy(name).into_owned(),
        is_up: flags & libc::IFF_UP as u32 != 0,
        is_ethernet: kind == libc::ARPHRD_ETHER,
        mac: attribute(attributes, HARDWARE_ADDRESS).and_then(|mac| mac.try_into().ok()),
    })
}

fn read_address(body: &[u8]) -> Option<Assigned> {
    let [_, prefix, ..] = array::<8>(body, 0)?;
    let device = u32::from_ne_bytes(array(body, 4)?);
    let attributes = body.get(8..)?;
    // Of a link between two hosts ADDRESS is the other one's.
    let bytes = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    let address = address_of(bytes)?;
    let valid = attribute(attributes, CACHE_INFO).and_then(|info| array(info, 4));
    let valid = valid.map_or(FOR_EVER, u32::from_ne_bytes);
    let expires = (valid != FOR_EVER).then(|| Duration::from_secs(valid.into()));
    let is_ours = attribute(attributes, PROTOCOL) == Some(&[OURS]);
    Some(Assigned { address, prefix, device, expires, is_ours })
}

/// A route's place in the order of preference, and its device, if it is one to `address`.
fn read_route(body: &[u8], address: IpAddr) -> Option<((Reverse<u8>, u32), u32)> {
    let [_, prefix, _, _, table, _, _, kind] = array(body, 0)?;
    let attributes = body.get(12..)?;
    let network =
        attribute(attributes, DESTINATION).map_or(Some(None), |to| address_of(to).map(Some))?;
    // What leads to an address of this host's own is in another table; but one on `lo` has an entry
    // here, too, which leads nowhere.
    if (table, kind) != (MAIN_TABLE, UNICAST) || !contains(network, prefix, address) {
        return None;
    }
    let hops = || attribute(attributes, NEXT_HOPS).and_then(|hops| array(hops, 4));
    let device = attribute(attributes, OUT_OF).and_then(|device| array(device, 0)).or_else(hops)?;
    let priority = attribute(attributes, PRIORITY).and_then(|priority| array(priority, 0));
    let rank = (Reverse(prefix), priority.map_or(0, u32::from_ne_bytes));
    Some((rank, u32::from_ne_bytes(device))).filter(|(_, device)| *device != LOOPBACK)
}

/// Returns true if the first `prefix` bits are those of the network.
fn contains(network: Option<IpAddr>, prefix: u8, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let differing = network.map_or(0, bits) ^ bits(address);
    network.is_none_or(|network| network.is_ipv4() == address.is_ipv4())
        && differing.checked_shr(128 - u32::from(prefix.min(128))).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_has_its_first_bits() {
        for (network, prefix, inside, outside) in [
            ("10.77.0.0", 24, "10.77.0.255", "10.77.1.0"),
            ("10.77.0.128", 25, "10.77.0.128", "10.77.0.127"),
            ("10.77.0.1", 32, "10.77.0.1", "10.77.0.0"),
            ("fd77::", 64, "fd77::ffff:ffff:ffff:ffff", "fd77:0:0:1::"),
            ("fd77::1", 128, "fd77::1", "fd77::"),
            ("0.0.0.0", 0, "255.255.255.255", "::"),
            ("::", 0, "ffff::", "0.0.0.0"),
        ] {
            let network = Some(network.parse().unwrap());
            assert!(contains(network, prefix, inside.parse().unwrap()), "{inside}");
            assert!(!contains(network, prefix, outside.parse().unwrap()), "{outside}");
        }
        assert!(contains(None, 0, "10.77.0.1".parse().unwrap()));
    }
}
