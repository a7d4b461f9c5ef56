//! Makes the clients of a dead target send something: who waits for the target to speak would
//! otherwise never learn that it is dead.
//!
//! A client's stack answers a segment from nowhere in the connection with an acknowledgement (RFC
//! 9293, 3.10.7.4). The packet filter refuses that, with a reset that the client believes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RawProtocol, SendFlags, SocketFlags, SocketType, sendto, socket_with,
};

use super::checksum::checksum;
use crate::config::route::{MAX_POKES, POKE_EVERY, POKES};
use crate::net::netlink::octets;
use crate::sys::{Booked, Kind};

const TCP: u8 = libc::IPPROTO_TCP as u8;
const ACK: u8 = 0x10;
const HOPS: u8 = 64;

/// Pokes clients, a few at a time.
pub(crate) struct Poker {
    v4: Option<Booked<OwnedFd>>,
    v6: Option<Booked<OwnedFd>>,
    /// Each with its service.
    waiting: VecDeque<(SocketAddr, SocketAddr)>,
    next_at: Option<Instant>,
}

impl Poker {
    /// For services at these addresses.
    pub(crate) fn open(addresses: &[IpAddr]) -> io::Result<Self> {
        let open = |family, v4: bool| {
            let needed = addresses.iter().any(|one| one.is_ipv4() == v4);
            needed.then(|| raw_socket(family)).transpose()
        };
        Ok(Poker {
            v4: open(AddressFamily::INET, true)?,
            v6: open(AddressFamily::INET6, false)?,
            waiting: VecDeque::new(),
            next_at: None,
        })
    }

    /// Has clients of a service poked, by [`Poker::poke`].
    pub(crate) fn add(
        &mut self,
        service: SocketAddr,
        clients: impl IntoIterator<Item = SocketAddr>,
    ) {
        let room = MAX_POKES.saturating_sub(self.waiting.len());
        self.waiting.extend(clients.into_iter().take(room).map(|client| (service, client)));
    }

    /// Pokes nobody of those who wait.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Pokes those whose turn it is, without waiting. Returns when the next ones are due; `None` if
    /// nobody waits.
    pub(crate) fn poke(&mut self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        if let Some(next_at) = self.next_at.filter(|at| now < *at) {
            return Some(next_at);
        }
        let next_at = now + POKE_EVERY;
        self.next_at = Some(next_at);
        for _ in 0..POKES {
            let Some((service, client)) = self.waiting.front() else { break };
            // Another failure is the client's: its next packet is refused as well.
            if let Err(Errno::AGAIN | Errno::NOBUFS) = self.poke_one(*service, *client) {
                break;
            }
            self.waiting.pop_front();
        }
        (!self.waiting.is_empty()).then_some(next_at)
    }

    fn poke_one(&self, service: SocketAddr, client: SocketAddr) -> Result<(), Errno> {
        let socket = if client.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(socket) = socket else { return Ok(()) };
        // Over IPv6 the port stands for the protocol, which the packet has itself.
        let to = SocketAddr::new(client.ip(), 0);
        sendto(&**socket, &segment(service, client), SendFlags::DONTWAIT, &to).map(drop)
    }
}

/// A socket for whole packets.
fn raw_socket(family: AddressFamily) -> io::Result<Booked<OwnedFd>> {
    let whole = RawProtocol::new(libc::IPPROTO_RAW as u32).map(Protocol::from_raw);
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    Booked::make(Kind::Own, || Ok(socket_with(family, kind, flags, whole)?))
}

/// A packet with an acknowledgement of nothing, and no data.
fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&[0; 8]); // the numbers of what it carries and acknowledges
    tcp.extend_from_slice(&[5 << 4, ACK]);
    tcp.extend_from_slice(&[0; 6]); // window, checksum, urgent pointer
    let sum = checksum(from.ip(), to.ip(), TCP, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());

    let length = tcp.len() as u8;
    let mut packet = match to {
        // The kernel fills in the checksum of this header. It may not be cut in pieces.
        SocketAddr::V4(_) => vec![0x45, 0, 0, 20 + length, 0, 0, 0x40, 0, HOPS, TCP, 0, 0],
        SocketAddr::V6(_) => vec![0x60, 0, 0, 0, 0, length, TCP, HOPS],
    };
    packet.extend_from_slice(&octets(from.ip()));
    packet.extend_from_slice(&octets(to.ip()));
    packet.extend_from_slice(&tcp);
    packet
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The checksums were computed independently, by Python.
    #[test]
    fn a_poke_is_an_acknowledgement_of_nothing() {
        for (from, to, packet) in [
            (
                "10.77.0.100:8080",
                "10.77.0.1:50000",
                "4500002800004000400600000a4d00640a4d0001\
                 1f90c350000000000000000050100000b7f50000",
            ),
            (
                "[fd77::100]:8080",
                "[fd77::1]:50000",
                "6000000000140640\
                 fd770000000000000000000000000100fd770000000000000000000000000001\
                 1f90c350000000000000000050100000d1030000",
            ),
        ] {
            assert_eq!(hex(&segment(from.parse().unwrap(), to.parse().unwrap())), packet);
        }
    }

    #[test]
    fn so_many_are_poked_at_a_time_and_no_more() {
        // Without a socket for their family they are poked in vain, but in their order.
        let mut poker = Poker { v4: None, v6: None, waiting: VecDeque::new(), next_at: None };
        let service = "10.77.0.100:8080".parse().unwrap();
        let start = Instant::now();
        assert_eq!(poker.poke(start), None);
        let clients = |count: usize| {
            (0..count).map(|port| SocketAddr::from(([10, 77, 0, 1], port as u16 + 1)))
        };
        poker.add(service, clients(2 * POKES + 1));
        for round in 1..3 {
            let now = start + POKE_EVERY * (round - 1);
            let next = now + POKE_EVERY;
            assert_eq!(poker.poke(now), Some(next));
            assert_eq!(poker.waiting.len(), 2 * POKES + 1 - POKES * round as usize);
            assert_eq!(poker.waiting[0].1.port() as usize, POKES * round as usize + 1);
            assert_eq!(poker.poke(next - Duration::from_nanos(1)), Some(next), "too early");
        }
        assert_eq!(poker.poke(start + POKE_EVERY * 2), None);
        // Those that come now must wait, too: the last were poked in this moment.
        poker.add(service, clients(1));
        assert_eq!(poker.poke(start + POKE_EVERY * 2), Some(start + POKE_EVERY * 3));
        poker.forget();
        assert_eq!(poker.poke(start + POKE_EVERY * 2), None);
        for _ in 0..MAX_POKES / 1000 + 2 {
            poker.add(service, clients(1000));
        }
        assert_eq!(poker.waiting.len(), MAX_POKES);
    }
}
