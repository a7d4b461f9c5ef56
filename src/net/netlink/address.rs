//! This host's network devices and their addresses.
//!
//! The numbers are those of `include/uapi/linux/if_link.h`, `if_addr.h` and `rtnetlink.h`.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{ACK, DUMP, Messages, Netlink, address_of, array, attribute, family_and_octets};

const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;

const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

const NAME: u16 = 3;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const CACHE_INFO: u16 = 6;
const FLAGS: u16 = 8;

const NO_DUPLICATE_DETECTION: u32 = 0x02;
const FOR_EVER: u32 = u32::MAX;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    /// Has neighbours with hardware addresses.
    pub(crate) is_ethernet: bool,
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
            let life = [seconds, seconds, 0, 0].map(u32::to_ne_bytes);
            message.attribute(CACHE_INFO, life.as_flattened());
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
    let name = attribute(body.get(16..)?, NAME)?.strip_suffix(b"\0")?;
    Some(Device {
        number,
        name: String::from_utf8_lossy(name).into_owned(),
        is_up: flags & libc::IFF_UP as u32 != 0,
        is_ethernet: kind == libc::ARPHRD_ETHER,
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
    Some(Assigned { address, prefix, device, expires })
}
