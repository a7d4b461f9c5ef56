//! The one socket of a peer, which sends heartbeats to all others and receives theirs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Type};

use crate::config::masterless::{RECEIVE_BUFFER, Transport};
use crate::error::masterless::JoinError;
use crate::sys::{Booked, Kind};

/// The loopback network's broadcast address. Linux delivers a datagram for it to every socket that
/// is bound to it, and no other machine can send to it.
const ALL_HERE: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

pub(super) struct Socket {
    socket: Booked<UdpSocket>,
    bound: SocketAddr,
    destinations: Vec<Target>,
}

struct Target {
    address: SocketAddr,
    /// The address is this socket's own: a datagram for it reaches only this process.
    own: bool,
}

/// What has come of a datagram.
pub(super) struct Sent {
    /// Another process may get it.
    pub(super) got_out: bool,
    /// To how many addresses it could not be sent, and the last reason.
    pub(super) failed: Option<(u64, io::Error)>,
}

impl Socket {
    /// `port` is the port of the transport on one machine.
    pub(super) fn open(transport: &Transport, port: Option<u16>) -> Result<Self, JoinError> {
        match transport {
            Transport::Local(_) => {
                let address = SocketAddr::from((ALL_HERE, port.unwrap_or_default()));
                let socket = new(address)?;
                // All processes of the machine have the same port.
                socket.set_reuse_address(true).map_err(io("share the port"))?;
                socket.set_broadcast(true).map_err(io("allow broadcasts"))?;
                stay_on_loopback(&socket);
                bound(socket, address, vec![address])
            }
            Transport::Multicast { group: SocketAddr::V4(group), interface } => {
                multicast_v4(*group, interface.as_deref())
            }
            Transport::Multicast { group: SocketAddr::V6(group), interface } => {
                multicast_v6(*group, interface.as_deref())
            }
            Transport::Unicast { bind, .. } => {
                let socket = new(*bind)?;
                if bind.ip().is_loopback() {
                    stay_on_loopback(&socket);
                }
                bound(socket, *bind, Vec::new()) // they are still to be looked up
            }
        }
    }

    /// Returns the next datagram that is there, and its sender; `None` if there is none.
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

    /// Sets all addresses from now on.
    pub(super) fn send_all_to(&mut self, addresses: Vec<SocketAddr>) {
        let own = |to| is_own(to, self.bound);
        self.destinations =
            addresses.into_iter().map(|to| Target { address: to, own: own(to) }).collect();
    }

    /// Returns true if an address belongs to another process than this one.
    pub(super) fn has_others(&self) -> bool {
        self.destinations.iter().any(|to| !to.own)
    }

    /// Sends to all addresses; never waits.
    ///
    /// A heartbeat has got out if it could be sent to one other address: one process then knows
    /// that this one lives, and can say so to others. If all addresses counted, one host that is
    /// switched off would cost a healthy primary its role.
    pub(super) fn send(&self, datagram: &[u8]) -> Sent {
        let mut sent = Sent { got_out: false, failed: None };
        for to in &self.destinations {
            match self.send_to(datagram, to.address) {
                Ok(()) => sent.got_out |= !to.own,
                Err(error) => {
                    // This one does not listen, and answers so: what this process says gets there.
                    sent.got_out |= !to.own && is_of_the_other(&error);
                    sent.failed = Some((sent.failed.map_or(1, |(count, _)| count + 1), error));
                }
            }
        }
        // With no other to send to there is nobody who could lead as well.
        sent.got_out |= sent.failed.is_none() && !self.has_others();
        sent
    }

    fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        loop {
            match self.socket.send_to(datagram, to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent.map(drop),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn io(doing: &'static str) -> impl Fn(io::Error) -> JoinError {
    move |source| JoinError::Io { doing, source }
}

fn new(address: SocketAddr) -> Result<Booked<socket2::Socket>, JoinError> {
    let domain = Domain::for_address(address);
    // Close-on-exec.
    Booked::make(Kind::Peer, || socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)))
        .map_err(io("open a socket"))
}

fn bound(
    socket: Booked<socket2::Socket>,
    address: SocketAddr,
    destinations: Vec<SocketAddr>,
) -> Result<Socket, JoinError> {
    // As much as the system allows, if that is less.
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(io("make room for datagrams"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(io("use IPv6 alone"))?;
    }
    socket.bind(&address.into()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => JoinError::PortHeld { address },
        io::ErrorKind::PermissionDenied => JoinError::PortForbidden { address },
        io::ErrorKind::AddrNotAvailable => JoinError::NotHere { what: address.ip().to_string() },
        _ => JoinError::Io { doing: "bind the port", source: error },
    })?;
    socket.set_nonblocking(true).map_err(io("prepare the socket"))?;
    let mut socket = Socket { socket: socket.become_a(), bound: address, destinations: Vec::new() };
    socket.send_all_to(destinations);
    Ok(socket)
}

/// When the loopback interface goes down, Linux keeps its routes: it accepts what is sent, and
/// loses it. Only for a socket that belongs to the interface does it report that the network is
/// down. (Before Linux 5.7 only root may bind to the interface; there this stays as it was.)
#[cfg(any(target_os = "linux", target_os = "android"))]
fn stay_on_loopback(socket: &Booked<socket2::Socket>) {
    if let Err(error) = socket.bind_device(Some(b"lo")) {
        log::debug!("cannot watch the loopback interface: {error}");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn stay_on_loopback(_: &Booked<socket2::Socket>) {}

/// Returns the error for a process that sends nothing, because no name server could say yet where
/// any other process is.
pub(super) const NOBODY_KNOWN: Errno = Errno::DESTADDRREQ;

/// Returns true if a datagram for `to` comes only to a socket that is bound to `bound`, or to none:
/// many machines have their own name for an address of the loopback network.
fn is_own(to: SocketAddr, bound: SocketAddr) -> bool {
    let multiple = to.ip().is_multicast() || to.ip() == ALL_HERE;
    let here = || UdpSocket::bind(SocketAddr::new(to.ip(), 0)).is_ok();
    let same = || to.ip() == bound.ip() || to.ip().is_loopback() && !bound.ip().is_loopback();
    !multiple && to.port() == bound.port() && (bound.ip().is_unspecified() && here() || same())
}

/// Returns true for an error that says something about the other machine, and not about this one.
fn is_of_the_other(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::HOSTDOWN) => true,
        // Where Linux is silent, BSD systems say so of a neighbour that does not answer.
        Some(Errno::HOSTUNREACH) => !cfg!(target_os = "linux"),
        Some(_) | None => false,
    }
}

/// Returns true if the interface, its address or its routes may be gone: a new socket could then
/// help.
pub(super) fn is_gone(errno: i32) -> bool {
    let errno = Errno::from_raw_os_error(errno);
    matches!(
        errno,
        Errno::NODEV
            | Errno::NXIO
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::ADDRNOTAVAIL
            | Errno::INVAL
    )
}

/// Explains why nothing can be sent, and what helps.
pub(super) fn why_not_sent(errno: i32, transport: &Transport) -> String {
    let error = io::Error::from_raw_os_error(errno);
    let cure = match (Errno::from_raw_os_error(errno), transport) {
        (
            Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::INVAL,
            Transport::Local(_),
        ) => {
            ": the loopback interface is down or has no 127.0.0.1; bring it up (`ip link set lo \
             up`)"
        }
        (Errno::NETUNREACH | Errno::NETDOWN | Errno::NODEV, _) => {
            ": the network interface is down or gone, or there is no route"
        }
        (NOBODY_KNOWN, _) => ": the names of the other peers cannot be looked up",
        (Errno::PERM | Errno::ACCESS, _) => ": a packet filter of this machine refuses it",
        (Errno::INVAL | Errno::ADDRNOTAVAIL, Transport::Unicast { .. }) => {
            ": this machine no longer has the address that it sends from"
        }
        _ => "",
    };
    format!("{error}{cure}")
}

fn multicast_v4(group: SocketAddrV4, name: Option<&str>) -> Result<Socket, JoinError> {
    let socket = new(group.into())?;
    // Several processes of one machine may be in the group.
    socket.set_reuse_address(true).map_err(io("share the port"))?;
    let interface = match name.map(|name| (name, name.parse::<IpAddr>())) {
        None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
        Some((_, Ok(IpAddr::V4(address)))) => InterfaceIndexOrAddress::Address(address),
        Some((name, Ok(IpAddr::V6(_)))) => {
            return Err(JoinError::NotHere { what: format!("{name} for IPv4") });
        }
        Some((name, Err(_))) => InterfaceIndexOrAddress::Index(index_of(&socket, name)?),
    };
    let joined = socket.join_multicast_v4_n(group.ip(), &interface);
    joined.map_err(|error| not_here(error, name, group.into()))?;
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

fn multicast_v6(group: SocketAddrV6, name: Option<&str>) -> Result<Socket, JoinError> {
    let socket = new(group.into())?;
    socket.set_reuse_address(true).map_err(io("share the port"))?;
    let index = match name.map(|name| (name, name.parse::<IpAddr>())) {
        None => group.scope_id(),
        Some((_, Ok(IpAddr::V6(address)))) => index_with(address)?,
        Some((name, Ok(IpAddr::V4(_)))) => {
            return Err(JoinError::NotHere { what: format!("{name} for IPv6") });
        }
        Some((name, Err(_))) => index_of(&socket, name)?,
    };
    let joined = socket.join_multicast_v6(group.ip(), index);
    joined.map_err(|error| not_here(error, name, group.into()))?;
    socket.set_multicast_if_v6(index).map_err(io("choose the interface"))?;
    socket.set_multicast_hops_v6(1).map_err(io("stay on the local network"))?;
    socket.set_multicast_loop_v6(true).map_err(io("reach this machine's own processes"))?;
    let address = SocketAddr::V6(SocketAddrV6::new(*group.ip(), group.port(), 0, index));
    bound(socket, address, vec![address])
}

fn not_here(error: io::Error, interface: Option<&str>, group: SocketAddr) -> JoinError {
    let what = match interface {
        Some(name) => format!("{name} that is up and can do multicast"),
        None => format!("for multicast to {group}: name one, or add a route to it"),
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::NETUNREACH) => JoinError::NotHere { what },
        _ => JoinError::Io { doing: "join the multicast group", source: error },
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn index_of(socket: &Booked<socket2::Socket>, name: &str) -> Result<u32, JoinError> {
    rustix::net::netdevice::name_to_index(socket, name)
        .map_err(|_| JoinError::NotHere { what: name.to_owned() })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn index_of(_: &Booked<socket2::Socket>, name: &str) -> Result<u32, JoinError> {
    name.parse()
        .map_err(|_| JoinError::NotHere { what: format!("{name}: give its address or its number") })
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

/// Returns the number of the interface that has an IPv6 address, according to the kernel's table.
fn index_with(address: Ipv6Addr) -> Result<u32, JoinError> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    find_index(&table, address).ok_or_else(|| JoinError::NotHere { what: address.to_string() })
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

    /// Goal: what a whole group says while this process is busy is not lost, as far as it has no
    /// more than 256 members.
    #[cfg(target_os = "linux")]
    #[test]
    fn all_processes_of_a_machine_get_everything_and_it_waits_for_them() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let open = || Socket::open(&Transport::Local(Some(port)), Some(port)).unwrap();
        let (one, two) = (open(), open());
        for number in 0..=255 {
            let sent = one.send(&[number; 263]);
            assert!(sent.got_out && sent.failed.is_none());
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
