//! This host's TCP sockets: who listens, which connections there are, and which have just ended.
//!
//! The numbers are those of `include/uapi/linux/sock_diag.h`, `inet_diag.h` and of
//! `include/net/tcp_states.h`. None of it needs a privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::RecvFlags;

use super::{DUMP, Messages, Netlink, array, attribute, messages};

const BY_FAMILY: u16 = 20;

// The groups of notices, a bit each.
const TCP_DESTROY: u32 = 1;
const TCP6_DESTROY: u32 = 1 << 2;

const BYTECODE: u16 = 1;
const ONLY_V6: u16 = 11;

/// Looks at a socket's own address and port.
const SOURCE_CONDITION: u8 = 7;

const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
const LAST_STATE: u8 = 11;

/// Those of a connection that a client has opened, from its first packet on, and until nothing of
/// it is left.
const OF_CONNECTIONS: u32 = ((2 << LAST_STATE) - 2) & !(1 << SYN_SENT | 1 << CLOSE | 1 << LISTEN);

/// The other end of a connection, and the kernel's number of the state it is in.
pub(crate) type ClientEnd = (SocketAddr, u8);

/// A connection that has ended: this host's end, and the other. The end of a listener is told in
/// the same way, with the port 0 of nobody.
pub(crate) type Ended = (SocketAddr, SocketAddr);

/// The kernel's table of TCP sockets.
pub(crate) struct Sockets(Netlink);

impl Sockets {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(Some(rustix::net::netlink::SOCK_DIAG)).map(Sockets)
    }

    /// Returns the connections that clients have to `service`. Those of a listener for both
    /// families are among them.
    pub(crate) fn connections(&mut self, service: SocketAddr) -> io::Result<Vec<ClientEnd>> {
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            if family == libc::AF_INET && service.is_ipv6() {
                continue;
            }
            // A filter by port and address in the kernel: its table may have a million others.
            let dump = self.dump(family, OF_CONNECTIONS, 0, |question| {
                question.attribute(BYTECODE, &condition(service));
            })?;
            found.extend(dump.bodies().filter_map(read).map(|socket| (socket.other, socket.state)));
        }
        Ok(found)
    }

    /// Returns true if a connection to `service` would find a listener.
    pub(crate) fn is_served(&mut self, service: SocketAddr) -> io::Result<bool> {
        let serves = |body: &[u8], socket: &TcpSocket| {
            let for_both = || attribute(&body[MESSAGE..], ONLY_V6) != Some(&[1]);
            let is_any = match socket.own.ip() {
                IpAddr::V4(any) => any.is_unspecified() && service.is_ipv4(),
                IpAddr::V6(any) => any.is_unspecified() && (service.is_ipv6() || for_both()),
            };
            is_any || socket.own.ip() == service.ip()
        };
        for family in [libc::AF_INET, libc::AF_INET6] {
            let dump = self.dump(family, 1 << LISTEN, service.port(), |_| {})?;
            if dump.bodies().any(|body| read(body).is_some_and(|socket| serves(body, &socket))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn dump(
        &mut self,
        family: i32,
        states: u32,
        port: u16,
        more: impl FnOnce(&mut Messages),
    ) -> io::Result<super::Dump> {
        // `inet_diag_req_v2`: family, protocol, extensions, states; the socket's end, of which only
        // the port is set.
        let mut head = [0; 56];
        head[0] = family as u8;
        head[1] = libc::IPPROTO_TCP as u8;
        head[4..8].copy_from_slice(&states.to_ne_bytes());
        head[8..10].copy_from_slice(&port.to_be_bytes());
        let mut question = Messages::default();
        question.message(BY_FAMILY, DUMP, &head, more);
        self.0.dump(&question)
    }
}

/// The kernel's notices of TCP sockets that are gone. A connection that this host has closed first
/// is told of when it begins to wait for late packets.
pub(crate) struct SocketEnds(Netlink);

impl SocketEnds {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open_for(Some(rustix::net::netlink::SOCK_DIAG), TCP_DESTROY | TCP6_DESTROY)
            .map(SocketEnds)
    }

    /// Returns what has ended, if anything has; empty at some notices that say nothing of it.
    ///
    /// # Errors
    /// [`rustix::io::Errno::NOBUFS`] if notices came faster than they were read, and some are lost.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<Ended>>> {
        let Some(datagram) = self.0.receive(RecvFlags::DONTWAIT)? else { return Ok(None) };
        let notices = messages(datagram).filter(|notice| notice.kind == BY_FAMILY);
        Ok(Some(
            notices
                .filter_map(|notice| read(notice.body))
                .map(|socket| (socket.own, socket.other))
                .collect(),
        ))
    }
}

impl AsFd for SocketEnds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// One condition, which ends the filter: `inet_diag_bc_op`, then `inet_diag_hostcond`.
fn condition(service: SocketAddr) -> Vec<u8> {
    let (family, octets) = match service.ip() {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let length = 4 + 8 + octets.len() as u16;
    let mut code = vec![SOURCE_CONDITION, length as u8];
    // Where a socket that does not fit goes on: beyond the end.
    code.extend_from_slice(&(length + 4).to_ne_bytes());
    code.extend_from_slice(&[family as u8, 8 * octets.len() as u8, 0, 0]);
    code.extend_from_slice(&i32::from(service.port()).to_ne_bytes());
    code.extend_from_slice(&octets);
    code
}

/// The length of an `inet_diag_msg`.
const MESSAGE: usize = 72;

struct TcpSocket {
    state: u8,
    own: SocketAddr,
    other: SocketAddr,
}

fn read(body: &[u8]) -> Option<TcpSocket> {
    let [family, state] = array(body.get(..MESSAGE)?, 0)?;
    let end = |port_at, address_at| {
        let address = match i32::from(family) {
            libc::AF_INET => IpAddr::from(Ipv4Addr::from(array::<4>(body, address_at)?)),
            // A client over IPv4 at a listener for both.
            libc::AF_INET6 => Ipv6Addr::from(array::<16>(body, address_at)?).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(address, u16::from_be_bytes(array(body, port_at)?)))
    };
    Some(TcpSocket { state, own: end(4, 8)?, other: end(6, 24)? })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    const ESTABLISHED: u8 = 1;
    const PATIENCE: Duration = Duration::from_secs(300);

    fn listener(address: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let service = listener.local_addr().unwrap();
        (listener, service)
    }

    /// A socket for both families, which std does not make.
    fn for_both() -> (TcpListener, u16) {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_only_v6(false).unwrap();
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
        socket.bind(&any.into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from(socket);
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn a_service_has_the_connections_of_its_clients_and_no_others() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, service) = listener(address);
            let (_other_listener, other) = super::tests::listener(address);
            let clients: Vec<TcpStream> =
                (0..3).map(|_| TcpStream::connect(service).unwrap()).collect();
            let _other = TcpStream::connect(other).unwrap();
            // Whether the program has accepted it or not, it is one.
            let _accepted = listener.accept().unwrap();
            let mut found = Sockets::open().unwrap().connections(service).unwrap();
            found.sort();
            let mut expected: Vec<ClientEnd> =
                clients.iter().map(|client| (client.local_addr().unwrap(), ESTABLISHED)).collect();
            expected.sort();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn clients_over_ipv4_of_a_listener_for_both_families_are_found() {
        let (_listener, port) = for_both();
        let service: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let client = TcpStream::connect(service).unwrap();
        let mut sockets = Sockets::open().unwrap();
        let found = sockets.connections(service).unwrap();
        assert_eq!(found, [(client.local_addr().unwrap(), ESTABLISHED)]);
        assert_eq!(sockets.connections((Ipv6Addr::LOCALHOST, port).into()).unwrap(), []);
    }

    #[test]
    fn a_service_is_served_by_a_listener_at_its_address_or_at_any() {
        let mut sockets = Sockets::open().unwrap();
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let mut at = |ip, port| sockets.is_served(SocketAddr::new(ip, port)).unwrap();
        let served = |at: &mut dyn FnMut(IpAddr, u16) -> bool, port| (at(v4, port), at(v6, port));

        let (one, service) = listener("127.0.0.1:0");
        assert_eq!(served(&mut at, service.port()), (true, false));
        assert!(!at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), service.port()), "another address");
        drop(one);
        assert_eq!(served(&mut at, service.port()), (false, false));

        let (_any, service) = listener("0.0.0.0:0");
        assert_eq!(served(&mut at, service.port()), (true, false));
        let (_both, port) = for_both();
        assert_eq!(served(&mut at, port), (true, true));
        let only_v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let only_v6 = only_v6.unwrap();
        only_v6.set_only_v6(true).unwrap();
        let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
        only_v6.bind(&any.into()).unwrap();
        only_v6.listen(16).unwrap();
        let port = TcpListener::from(only_v6.try_clone().unwrap()).local_addr().unwrap().port();
        assert_eq!(served(&mut at, port), (false, true));
    }

    /// Waits until the kernel has said that this socket is gone.
    fn wait_for(ends: &mut SocketEnds, is_it: impl Fn(&Ended) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(ended) = ends.next().unwrap() {
                if ended.iter().any(&is_it) {
                    return;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no notice of its end");
            let timeout = rustix::time::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: 0 };
            poll(&mut [PollFd::new(&*ends, PollFlags::IN)], Some(&timeout)).unwrap();
        }
    }

    #[test]
    fn the_end_of_a_connection_and_of_a_listener_is_told() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut ends = SocketEnds::open().unwrap();
            let (listener, service) = listener(address);
            let client = TcpStream::connect(service).unwrap();
            let end = client.local_addr().unwrap();
            let (accepted, _) = listener.accept().unwrap();
            drop(accepted); // first: it waits for late packets now
            drop(client);
            wait_for(&mut ends, |ended| *ended == (service, end));
            drop(listener);
            wait_for(&mut ends, |(own, other)| *own == service && other.port() == 0);
        }
    }

    #[test]
    fn a_client_over_ipv4_that_leaves_a_listener_for_both_is_told_as_such() {
        let mut ends = SocketEnds::open().unwrap();
        let (listener, port) = for_both();
        let service: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let client = TcpStream::connect(service).unwrap();
        let end = client.local_addr().unwrap();
        drop(client);
        drop(listener.accept().unwrap());
        wait_for(&mut ends, |ended| *ended == (service, end));
    }
}
