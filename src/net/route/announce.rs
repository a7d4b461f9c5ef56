//! Tells the network which host has an address, and hears who else says so.
//!
//! IPv4 addresses are announced by ARP (RFC 826, 5227), IPv6 addresses by neighbour advertisements
//! (RFC 4861). Both travel as whole frames: the kernel itself announces nothing of an address that
//! it is given.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, SockFilter, Socket, Type};

use super::checksum::checksum;
use crate::net::netlink::octets;
use crate::sys::{Booked, Kind, bind_to_device};

/// The address of a network card.
pub(crate) type Mac = [u8; 6];

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
/// The option that says the hardware address, and its length in units of eight bytes.
const TARGET_LINK: [u8; 2] = [2, 1];

const ALL_HOSTS: Mac = [0xff; 6];
const ALL_HOSTS_V6: (Mac, Ipv6Addr) =
    ([0x33, 0x33, 0, 0, 0, 1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// The length of a frame's head, and in it the place of its kind.
const FRAME: usize = 14;
const KIND: usize = 12;
const SENDER: usize = 6;
/// In a frame with an ARP message: where it says what it is of, and whose addresses.
const ARP_TYPES: usize = FRAME;
const ARP_MAC: usize = FRAME + 8;
const ARP_ADDRESS: usize = FRAME + 14;
/// In a frame with an advertisement.
const NEXT_HEADER: usize = FRAME + 6;
const ICMP: usize = FRAME + 40;
const TARGET: usize = ICMP + 8;
const OPTIONS: usize = ICMP + 24;

/// The first bytes of ARP between Ethernet and IPv4.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// More than a frame that is of interest has.
const LONGEST: usize = 256;

/// How many frames are looked at before the caller has something else to do.
const AT_ONCE: usize = 64;

/// Announces addresses at a device, and hears foreign claims to them there.
pub(crate) struct Announcer {
    mac: Mac,
    addresses: Vec<IpAddr>,
    /// Each family that there is an address of has its own: a socket for all kinds of frames would
    /// see every one that the packet filter forwards.
    v4: Option<Booked<Socket>>,
    v6: Option<Booked<Socket>>,
    either: Booked<OwnedFd>,
}

impl Announcer {
    /// For a device with this number and hardware address. Waits for some milliseconds.
    pub(crate) fn open(device: u32, mac: Mac, addresses: &[IpAddr]) -> io::Result<Self> {
        let either = Booked::make(Kind::Own, || Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?))?;
        let open = |kind, v4: bool| -> io::Result<_> {
            if !addresses.iter().any(|one| one.is_ipv4() == v4) {
                return Ok(None);
            }
            let socket = packet_socket(device, kind, &claims_filter(kind, addresses))?;
            epoll::add(&*either, &*socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            Ok(Some(socket))
        };
        let (v4, v6) = (open(ARP, true)?, open(IPV6, false)?);
        Ok(Announcer { mac, addresses: addresses.to_vec(), v4, v6, either })
    }

    /// Tells all hosts of the network that this one has all of the addresses.
    ///
    /// # Errors
    /// The first one. What could be announced was.
    pub(crate) fn announce(&self) -> io::Result<()> {
        let mut result = Ok(());
        for address in &self.addresses {
            let done = match *address {
                IpAddr::V4(address) => [REQUEST, REPLY]
                    .map(|form| transmit(self.v4.as_ref(), &arp(form, self.mac, address)))
                    .into_iter()
                    .collect(),
                IpAddr::V6(address) => {
                    transmit(self.v6.as_ref(), &advertisement(self.mac, address))
                }
            };
            result = result.and(done);
        }
        result
    }

    /// Announces IPv4 addresses by one form of ARP only.
    #[cfg(test)]
    pub(super) fn announce_form(&self, form: usize) {
        for address in &self.addresses {
            if let IpAddr::V4(address) = *address {
                let frame = arp([REQUEST, REPLY][form], self.mac, address);
                transmit(self.v4.as_ref(), &frame).unwrap();
            }
        }
    }

    /// Returns which of the addresses another host says that it has, and that host's hardware
    /// address; `None` if nobody has said so, or if many frames were of no interest. Does not wait:
    /// its descriptor is readable while there may be more.
    pub(crate) fn next_claim(&mut self) -> io::Result<Option<(IpAddr, Mac)>> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            for _ in 0..AT_ONCE {
                let mut frame = [0; LONGEST];
                let length = match recv(&**socket, &mut frame[..], RecvFlags::DONTWAIT) {
                    Ok((length, _)) => length,
                    Err(Errno::AGAIN) => break,
                    // The device is down: said once, and nothing comes until it is up again.
                    Err(Errno::INTR | Errno::NETDOWN) => continue,
                    Err(error) => return Err(error.into()),
                };
                let foreign = |(address, mac): &(IpAddr, Mac)| {
                    *mac != self.mac && self.addresses.contains(address)
                };
                if let Some(claim) = claim(&frame[..length]).filter(foreign) {
                    return Ok(Some(claim));
                }
            }
        }
        Ok(None)
    }
}

impl AsFd for Announcer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.either.as_fd()
    }
}

fn packet_socket(device: u32, kind: u16, filter: &[FilterStep]) -> io::Result<Booked<Socket>> {
    let filter: Vec<SockFilter> = filter
        .iter()
        .map(|step| SockFilter::new(step.code, step.then, step.otherwise, step.value))
        .collect();
    // Of no kind it receives nothing, before it has its filter.
    let socket = Booked::make(Kind::Own, || Socket::new(Domain::PACKET, Type::RAW, None))?;
    socket.attach_filter(&filter)?;
    bind_to_device(&*socket, device, kind)?;
    Ok(socket)
}

fn transmit(socket: Option<&Booked<Socket>>, frame: &[u8]) -> io::Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    send(&**socket, frame, SendFlags::DONTWAIT)?;
    Ok(())
}

fn head(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// An ARP message that says nothing but its sender's addresses.
fn arp(form: u16, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = head(ALL_HOSTS, mac, ARP);
    frame.extend_from_slice(&ARP_HEAD);
    frame.extend_from_slice(&form.to_be_bytes());
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&address.octets());
    // Linux takes a reply for an announcement only if it is addressed to its sender. For others it
    // keeps an entry that it has just got, for a second (`locktime`).
    frame.extend_from_slice(&if form == REPLY { mac } else { [0; 6] });
    frame.extend_from_slice(&address.octets());
    frame
}

/// An advertisement that nobody has asked for, to override what hosts know.
fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&address.octets());
    message.extend_from_slice(&TARGET_LINK);
    message.extend_from_slice(&mac);
    let (all_macs, all) = ALL_HOSTS_V6;
    let sum = checksum(address.into(), all.into(), ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = head(all_macs, mac, IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&all.octets());
    frame.extend_from_slice(&message);
    frame
}

/// Who says that they have which address.
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    match u16::from_be_bytes(array(frame, KIND)?) {
        ARP if array(frame, ARP_TYPES) == Some(ARP_HEAD) => {
            let address = Ipv4Addr::from(array::<4>(frame, ARP_ADDRESS)?);
            Some((address.into(), array(frame, ARP_MAC)?))
        }
        // One with another hop limit comes from another network, and no host believes it.
        IPV6 if array(frame, NEXT_HEADER) == Some([ICMPV6, 255])
            && array(frame, ICMP) == Some([ADVERTISEMENT, 0]) =>
        {
            let address = Ipv6Addr::from(array::<16>(frame, TARGET)?);
            let option = frame.get(OPTIONS..OPTIONS + 8);
            let mac = option.and_then(|option| option.strip_prefix(&TARGET_LINK));
            let mac = mac.and_then(|mac| mac.try_into().ok()).or_else(|| array(frame, SENDER));
            Some((address.into(), mac?))
        }
        _ => None,
    }
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const IS_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A step of a filter, as the kernel has it (`struct sock_filter`).
#[derive(Clone, Copy)]
struct FilterStep {
    code: u16,
    /// So many steps are left out if the values are equal, and if not.
    then: u8,
    otherwise: u8,
    value: u32,
}

/// Lets through, of all frames of a kind, those that may be a claim to one of these addresses: any
/// other would wake the process.
fn claims_filter(kind: u16, addresses: &[IpAddr]) -> Vec<FilterStep> {
    let (conditions, at, v4): (&[(usize, u8)], _, _) = match kind {
        ARP => (&[], ARP_ADDRESS, true),
        _ => (&[(NEXT_HEADER, ICMPV6), (ICMP, ADVERTISEMENT)], TARGET, false),
    };
    let step = |code, value| FilterStep { code, then: 0, otherwise: 0, value: value as u32 };
    let (refuse, accept) = (step(RETURN, 0), step(RETURN, LONGEST));
    let mut filter = Vec::new();
    for &(at, value) in conditions {
        filter.push(step(LOAD_BYTE, at));
        filter.push(FilterStep { code: IS_EQUAL, then: 1, otherwise: 0, value: value.into() });
        filter.push(refuse);
    }
    for address in addresses.iter().filter(|one| one.is_ipv4() == v4) {
        let octets = octets(*address);
        for from in (0..octets.len()).step_by(4) {
            // On to the next address: beyond the two for each word that follows, and `accept`.
            let rest = (octets.len() - 4 - from) / 2 + 1;
            let word = u32::from_be_bytes(array(&octets, from).expect("whole words"));
            filter.push(step(LOAD_WORD, at + from));
            filter.push(FilterStep { code: IS_EQUAL, otherwise: rest as u8, value: word, then: 0 });
        }
        filter.push(accept);
    }
    filter.push(refuse);
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 0x0a];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_announcement_over_ipv4_has_both_forms() {
        let address = Ipv4Addr::new(10, 77, 0, 100);
        assert_eq!(
            hex(&arp(REQUEST, MAC, address)),
            "ffffffffffff02000000000a0806\
             000108000604000102000000000a0a4d00640000000000000a4d0064"
        );
        assert_eq!(
            hex(&arp(REPLY, MAC, address)),
            "ffffffffffff02000000000a0806\
             000108000604000202000000000a0a4d006402000000000a0a4d0064"
        );
    }

    /// The checksum was computed independently: the words of the pseudo-header and the message, by
    /// Python.
    #[test]
    fn an_announcement_over_ipv6_overrides_and_comes_from_this_network() {
        let frame = advertisement(MAC, "fd77::100".parse().unwrap());
        assert_eq!(
            hex(&frame),
            "33330000000102000000000a86dd\
             6000000000203aff\
             fd770000000000000000000000000100\
             ff020000000000000000000000000001\
             880057a620000000fd770000000000000000000000000100\
             020102000000000a"
        );
    }

    #[test]
    fn what_is_announced_is_a_claim_and_nothing_else_is() {
        let (v4, v6) = (Ipv4Addr::new(10, 77, 0, 100), "fd77::100".parse::<Ipv6Addr>().unwrap());
        for (frame, address) in [
            (arp(REQUEST, MAC, v4), IpAddr::from(v4)),
            (arp(REPLY, MAC, v4), v4.into()),
            (advertisement(MAC, v6), v6.into()),
        ] {
            assert_eq!(claim(&frame), Some((address, MAC)));
            let needed = if address.is_ipv4() { ARP_ADDRESS + 4 } else { TARGET + 16 };
            for end in 0..frame.len() {
                assert_eq!(claim(&frame[..end]).is_some(), end >= needed, "cut at {end}");
            }
        }
        let mut routed = advertisement(MAC, v6);
        routed[FRAME + 7] = 254; // its hop limit
        assert_eq!(claim(&routed), None);
        let mut solicited = advertisement(MAC, v6);
        solicited[ICMP] = 135;
        assert_eq!(claim(&solicited), None);
        let mut without_option = advertisement(MAC, v6);
        without_option.truncate(OPTIONS);
        assert_eq!(claim(&without_option), Some((v6.into(), MAC)));
    }

    /// What the kernel does with a filter.
    fn passes(filter: &[FilterStep], frame: &[u8]) -> bool {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let FilterStep { code, then, otherwise, value } = filter[at];
            let place = value as usize;
            at += 1;
            match code {
                LOAD_BYTE => loaded = frame[place].into(),
                LOAD_WORD => loaded = u32::from_be_bytes(array(frame, place).unwrap()),
                IS_EQUAL => at += usize::from(if loaded == value { then } else { otherwise }),
                RETURN => return value > 0,
                _ => panic!("no step that a filter has: {code}"),
            }
        }
    }

    #[test]
    fn only_claims_to_the_addresses_pass_the_filter() {
        let v4 = |last| Ipv4Addr::new(10, 77, 0, last);
        let v6 = |last| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last);
        let ours: Vec<IpAddr> =
            vec![v4(100).into(), v6(0x100).into(), v4(101).into(), v6(0x101).into()];
        for last in 98..104 {
            let is_ours = last == 100 || last == 101;
            let filter = claims_filter(ARP, &ours);
            assert_eq!(passes(&filter, &arp(REPLY, MAC, v4(last as u8))), is_ours, "{last}");
            let filter = claims_filter(IPV6, &ours);
            let last = last + 0x100 - 100;
            let mut frame = advertisement(MAC, v6(last));
            assert_eq!(passes(&filter, &frame), is_ours, "{last}");
            frame[ICMP] = 135; // asks for it
            assert!(!passes(&filter, &frame), "{last}");
        }
    }
}
