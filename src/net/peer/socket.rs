//! The one socket of a peer: heartbeats to all others, and from them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Type};

use crate::config::{RECEIVE_BUFFER, Transport};
use crate::error::PeerError;
use crate::sys::{Booked, Kind};

/// The loopback network's broadcast address. Linux hands what is sent there to every socket that is bound to it, and no other
/// machine can send to it.
const ALL_HERE: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

pub(super) struct Socket {
    socket: Booked<UdpSocket>,
    destinations: Vec<SocketAddr>,
}

impl Socket {
    /// `port` is that of the transport on one machine.
    pub(super) fn open(transport: &Transport, port: Option<u16>) -> Result<Self, PeerError> {
        match transport {
            Transport::Local(_) => {
                let address = SocketAddr::from((ALL_HERE, port.unwrap_or_default()));
                let socket = new(address)?;
                // All processes of the machine have the same port.
                socket.set_reuse_address(true).map_err(io("share the port"))?;
                socket.set_broadcast(true).map_err(io("allow broadcasts"))?;
                bound(socket, address, vec![address])
            }
            Transport::Multicast { group: SocketAddr::V4(group), interface } => {
                multicast_v4(*group, interface.as_deref())
            }
            Transport::Multicast { group: SocketAddr::V6(group), interface } => {
                multicast_v6(*group, interface.as_deref())
            }
            Transport::Unicast { bind, peers } => {
                let mut destinations = peers.clone();
                destinations.sort_unstable();
                destinations.dedup();
                bound(new(*bind)?, *bind, destinations)
            }
        }
    }

    /// The next datagram that is there, and who sent it; `None` if there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        loop {
            match self.socket.recv_from(buffer) {
                Ok(received) => return Ok(Some(received)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends to all; never waits. Gives the number of those to whom it could not be sent, and the last reason.
    pub(super) fn send(&self, datagram: &[u8]) -> Result<(), (u64, io::Error)> {
        let mut failed = None;
        for to in &self.destinations {
            if let Err(error) = self.socket.send_to(datagram, to) {
                failed = Some((failed.map_or(1, |(count, _)| count + 1), error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn io(doing: &'static str) -> impl Fn(io::Error) -> PeerError {
    move |source| PeerError::Io { doing, source }
}

fn new(address: SocketAddr) -> Result<Booked<socket2::Socket>, PeerError> {
    let domain = Domain::for_address(address);
    Booked::make(Kind::Peer, || socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))) // close-on-exec
        .map_err(io("open a socket"))
}

fn bound(
    socket: Booked<socket2::Socket>,
    address: SocketAddr,
    destinations: Vec<SocketAddr>,
) -> Result<Socket, PeerError> {
    // As much as the system allows, if that is less.
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(io("make room for datagrams"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(io("use IPv6 alone"))?;
    }
    socket.bind(&address.into()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => PeerError::PortHeld { address },
        io::ErrorKind::PermissionDenied => PeerError::PortForbidden { address },
        io::ErrorKind::AddrNotAvailable => PeerError::NotHere { what: address.ip().to_string() },
        _ => PeerError::Io { doing: "bind the port", source: error },
    })?;
    socket.set_nonblocking(true).map_err(io("prepare the socket"))?;
    Ok(Socket { socket: socket.become_a(), destinations })
}

fn multicast_v4(group: SocketAddrV4, interface: Option<&str>) -> Result<Socket, PeerError> {
    let socket = new(group.into())?;
    // Several processes of one machine may be in the group.
    socket.set_reuse_address(true).map_err(io("share the port"))?;
    let interface = match interface.map(|name| (name, name.parse::<IpAddr>())) {
        None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
        Some((_, Ok(IpAddr::V4(address)))) => InterfaceIndexOrAddress::Address(address),
        Some((name, Ok(IpAddr::V6(_)))) => return Err(PeerError::NotHere { what: format!("{name} for IPv4") }),
        Some((name, Err(_))) => InterfaceIndexOrAddress::Index(index_of(&socket, name)?),
    };
    let joined = socket.join_multicast_v4_n(group.ip(), &interface);
    joined.map_err(|error| not_here(error, &interface, "join the multicast group"))?;
    let chosen = match &interface {
        InterfaceIndexOrAddress::Address(address) => socket.set_multicast_if_v4(address),
        InterfaceIndexOrAddress::Index(index) => send_through(&socket, *index),
    };
    chosen.map_err(io("choose the interface"))?;
    socket.set_multicast_ttl_v4(1).map_err(io("stay on the local network"))?;
    socket.set_multicast_loop_v4(true).map_err(io("reach this machine's own processes"))?;
    // Bound to the group's address, so that nothing comes in that was sent elsewhere.
    bound(socket, group.into(), vec![group.into()])
}

fn multicast_v6(group: SocketAddrV6, interface: Option<&str>) -> Result<Socket, PeerError> {
    let socket = new(group.into())?;
    socket.set_reuse_address(true).map_err(io("share the port"))?;
    let index = match interface.map(|name| (name, name.parse::<IpAddr>())) {
        None => group.scope_id(),
        Some((_, Ok(IpAddr::V6(address)))) => index_with(address)?,
        Some((name, Ok(IpAddr::V4(_)))) => return Err(PeerError::NotHere { what: format!("{name} for IPv6") }),
        Some((name, Err(_))) => index_of(&socket, name)?,
    };
    let joined = socket.join_multicast_v6(group.ip(), index);
    joined.map_err(|error| not_here(error, &index, "join the multicast group"))?;
    socket.set_multicast_if_v6(index).map_err(io("choose the interface"))?;
    socket.set_multicast_hops_v6(1).map_err(io("stay on the local network"))?;
    socket.set_multicast_loop_v6(true).map_err(io("reach this machine's own processes"))?;
    let address = SocketAddr::V6(SocketAddrV6::new(*group.ip(), group.port(), 0, index));
    bound(socket, address, vec![address])
}

fn not_here(error: io::Error, interface: &impl std::fmt::Debug, doing: &'static str) -> PeerError {
    match Errno::from_io_error(&error) {
        Some(Errno::NODEV | Errno::ADDRNOTAVAIL) => PeerError::NotHere { what: format!("{interface:?} for multicast") },
        _ => PeerError::Io { doing, source: error },
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn index_of(socket: &Booked<socket2::Socket>, name: &str) -> Result<u32, PeerError> {
    rustix::net::netdevice::name_to_index(socket, name).map_err(|_| PeerError::NotHere { what: name.to_owned() })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn index_of(_: &Booked<socket2::Socket>, name: &str) -> Result<u32, PeerError> {
    name.parse().map_err(|_| PeerError::NotHere { what: format!("{name}: give its address or its number") })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn send_through(socket: &Booked<socket2::Socket>, index: u32) -> io::Result<()> {
    let any = Ipv4Addr::UNSPECIFIED;
    Ok(rustix::net::sockopt::set_ip_multicast_if_with_ifindex(socket, &any, &any, index)?)
}

/// Elsewhere an interface's number goes by the name of an address that no interface has.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send_through(socket: &Booked<socket2::Socket>, index: u32) -> io::Result<()> {
    socket.set_multicast_if_v4(&Ipv4Addr::from(index))
}

/// The number of the interface that has an IPv6 address, as the kernel's table of them says.
fn index_with(address: Ipv6Addr) -> Result<u32, PeerError> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    find_index(&table, address).ok_or_else(|| PeerError::NotHere { what: address.to_string() })
}

fn find_index(table: &str, address: Ipv6Addr) -> Option<u32> {
    let wanted = format!("{:032x}", u128::from(address));
    let line = table.lines().find(|line| line.starts_with(&wanted))?;
    u32::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_address_in_the_kernels_table() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe80000000000000021122fffe334455 0a 40 20 80     eth0\n";
        assert_eq!(find_index(table, Ipv6Addr::LOCALHOST), Some(1));
        assert_eq!(find_index(table, "fe80::211:22ff:fe33:4455".parse().unwrap()), Some(10));
        assert_eq!(find_index(table, "fe80::1".parse().unwrap()), None);
    }

    /// Goal: what a whole group says while this process is busy is not lost, as far as it has no more than 256 members.
    #[cfg(target_os = "linux")]
    #[test]
    fn all_processes_of_a_machine_get_everything_and_it_waits_for_them() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let open = || Socket::open(&Transport::Local(Some(port)), Some(port)).unwrap();
        let (one, two) = (open(), open());
        for number in 0..=255 {
            assert!(one.send(&[number; 263]).is_ok());
        }
        let mut buffer = [0; 300];
        for socket in [&one, &two] {
            for number in 0..=255 {
                let received = socket.receive(&mut buffer).unwrap().expect("a datagram");
                assert_eq!((received.0, buffer[0]), (263, number));
            }
            assert!(socket.receive(&mut buffer).unwrap().is_none());
        }
    }
}
