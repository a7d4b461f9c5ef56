//! This host's TCP sockets: who listens, which connections there are, and which have just ended.
//!
//! The numbers are those of `include/uapi/linux/sock_diag.h`, `inet_diag.h` and of
//! `include/net/tcp_states.h`. None of it needs a privilege.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::RecvFlags;

use super::{DUMP, Messages, Netlink, address_of, array, attribute, family_and_octets, messages};

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
        for family in [libc::AF_INET, libc::AF_INET6] {
            let dump = self.dump(family, 1 << LISTEN, service.port(), |_| {})?;
            let serves = |body: &[u8]| {
                let only_v6 = attribute(&body[MESSAGE..], ONLY_V6) == Some(&[1]);
                read(body).is_some_and(|socket| serves(socket.own.ip(), only_v6, service.ip()))
            };
            if dump.bodies().filter(|body| body.len() >= MESSAGE).any(serves) {
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

    /// Returns what has ended, if anything has; `None` if there is nothing to read.
    ///
    /// # Errors
    /// ENOBUFS if notices came faster than they were read. All up to now are lost: whoever wants to
    /// know looks at the sockets themselves. Later ones are told again.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<Ended>>> {
        let datagram = match self.0.receive(RecvFlags::DONTWAIT) {
            Err(error) if is_overrun(&error) => {
                // Until all that waits has been read, the kernel drops later ones without a word.
                self.empty()?;
                return Err(error);
            }
            received => received?,
        };
        let Some(datagram) = datagram else { return Ok(None) };
        let notices = messages(datagram).filter(|notice| notice.kind == BY_FAMILY);
        Ok(Some(
            notices
                .filter_map(|notice| read(notice.body))
                .map(|socket| (socket.own, socket.other))
                .collect(),
        ))
    }

    fn empty(&mut self) -> io::Result<()> {
        loop {
            match self.0.receive(RecvFlags::DONTWAIT) {
                Ok(None) => return Ok(()),
                Err(error) if !is_overrun(&error) => return Err(error),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }
}

fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

impl AsFd for SocketEnds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Returns true if a listener at `own` takes connections to `address`.
fn serves(own: IpAddr, only_v6: bool, address: IpAddr) -> bool {
    let takes_family = own.is_ipv4() == address.is_ipv4() || own.is_ipv6() && !only_v6;
    own == address || own.is_unspecified() && takes_family
}

/// One condition, which ends the filter: `inet_diag_bc_op`, then `inet_diag_hostcond`.
fn condition(service: SocketAddr) -> Vec<u8> {
    let (family, octets) = family_and_octets(service.ip());
    let length = 4 + 8 + octets.len() as u16;
    let mut code = vec![SOURCE_CONDITION, length as u8];
    // Where a socket that does not fit goes on: beyond the end.
    code.extend_from_slice(&(length + 4).to_ne_bytes());
    code.extend_from_slice(&[family, 8 * octets.len() as u8, 0, 0]);
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
    let length = if i32::from(family) == libc::AF_INET { 4 } else { 16 };
    let end = |port_at, address_at| {
        // A client over IPv4 at a listener for both.
        let address = address_of(body.get(address_at..address_at + length)?)?.to_canonical();
        Some(SocketAddr::new(address, u16::from_be_bytes(array(body, port_at)?)))
    };
    Some(TcpSocket { state, own: end(4, 8)?, other: end(6, 24)? })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
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

    /// A listener at any address, which std makes for both families only.
    fn at_any(only_v6: bool) -> (TcpListener, u16) {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_only_v6(only_v6).unwrap();
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
            let (_other_listener, other) = self::listener(address);
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
        let (_listener, port) = at_any(false);
        let service: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let client = TcpStream::connect(service).unwrap();
        let mut sockets = Sockets::open().unwrap();
        let found = sockets.connections(service).unwrap();
        assert_eq!(found, [(client.local_addr().unwrap(), ESTABLISHED)]);
        assert_eq!(sockets.connections((Ipv6Addr::LOCALHOST, port).into()).unwrap(), []);
    }

    #[test]
    fn a_service_is_served_by_a_listener_at_its_address_or_at_any() {
        let (v4, v6) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST));
        let any_v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let any_v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        for (own, only_v6, serves_v4, serves_v6) in [
            (v4, false, true, false),
            (v6, false, false, true),
            (IpAddr::from([127, 0, 0, 2]), false, false, false),
            (any_v4, false, true, false),
            (any_v6, false, true, true),
            (any_v6, true, false, true),
        ] {
            let found = (serves(own, only_v6, v4), serves(own, only_v6, v6));
            assert_eq!(found, (serves_v4, serves_v6), "{own} {only_v6}");
        }
    }

    #[test]
    fn a_listener_is_found_while_it_is_open() {
        let mut sockets = Sockets::open().unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, service) = listener(address);
            assert!(sockets.is_served(service).unwrap(), "{address}");
            drop(listener);
            // A process that another test is about to start may have a copy.
            let deadline = Instant::now() + PATIENCE;
            while sockets.is_served(service).unwrap() {
                assert!(Instant::now() < deadline, "{address} is still served");
                std::thread::yield_now();
            }
        }
        let mut at = |ip, port| sockets.is_served(SocketAddr::new(ip, port)).unwrap();
        let (v4, v6) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from(Ipv6Addr::LOCALHOST));
        let (_both, port) = at_any(false);
        assert!(at(v4, port) && at(v6, port));
        // Others may listen at the same ports over IPv4, but not at all of them.
        let only_v6: Vec<_> = (0..3).map(|_| at_any(true)).collect();
        assert!(only_v6.iter().all(|(_, port)| at(v6, *port)));
        assert!(only_v6.iter().any(|(_, port)| !at(v4, *port)));
    }

    #[test]
    fn who_is_too_slow_to_read_all_notices_is_told_so_and_hears_later_ones() {
        let mut ends = SocketEnds::open().unwrap();
        let room = |ends: &SocketEnds, bytes| {
            rustix::net::sockopt::set_socket_recv_buffer_size(&*ends.0.socket, bytes).unwrap();
        };
        room(&ends, 1);
        let (listener, service) = listener("127.0.0.1:0");
        let visit = || {
            let client = TcpStream::connect(service).unwrap();
            drop(listener.accept().unwrap());
            client.local_addr().unwrap()
        };
        let deadline = Instant::now() + PATIENCE;
        // The kernel tells of them a little later.
        let lost = loop {
            (0..100).for_each(|_| _ = visit());
            match std::iter::repeat_with(|| ends.next()).find(|next| !matches!(next, Ok(Some(_)))) {
                Some(Err(error)) => break error,
                _ => {
                    assert!(Instant::now() < deadline, "no notice is lost in the least of buffers")
                }
            }
        };
        assert!(is_overrun(&lost), "{lost}");
        room(&ends, 1 << 20);
        let client = visit();
        wait_for(&mut ends, |ended| *ended == (service, client));
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
        let (listener, port) = at_any(false);
        let service: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let client = TcpStream::connect(service).unwrap();
        let end = client.local_addr().unwrap();
        drop(client);
        drop(listener.accept().unwrap());
        wait_for(&mut ends, |ended| *ended == (service, end));
    }
}
