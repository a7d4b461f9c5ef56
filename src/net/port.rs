//! The supervisor port: claiming it is the election. And connecting to it without meeting ourselves.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Every address of pares is on the one literal loopback address: 127.0.0.2 and ::1 are other electorates, and a name
/// would have to be resolved.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// After a failover all survivors connect at once; who finds the queue full waits a second for the next
/// attempt of its kernel. The kernel cuts this to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

/// A listening descriptor begins here at least, above what a usual program has open.
const LISTENER_FD: i32 = 256;

/// Binds and listens on `port` of the loopback address; port 0 takes one that is free.
///
/// Both must succeed: with SO_REUSEADDR two processes can be bound at once, and only one can listen.
/// `AddrInUse` from either means that another one has the port.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?; // close-on-exec
    // Without it the port could not be bound for a minute after a failover, as long as connections of the dead
    // supervisor linger. Never SO_REUSEPORT: that allows two listeners.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(ADDRESS, port).into())?;
    socket.listen(BACKLOG)?;
    // The accepting loop waits in `poll`; a client that is gone before `accept` must not make it block there.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Moves the listener to a descriptor above `other`, where it is not there already.
///
/// The kernel closes a dying process's descriptors from the highest down. With the listener on top, the port is
/// free before the first survivor learns of the death; else each of the first hundreds finds it still taken
/// (measured: 64 instances 0.55 ms instead of 1.9 ms until there is a new supervisor).
pub(crate) fn raise(listener: TcpListener, other: i32) -> TcpListener {
    let present = listener.as_raw_fd();
    if present > other && present >= LISTENER_FD {
        return listener;
    }
    // Doubling, so that many connections cost few moves.
    let wanted = (other + 1).max(LISTENER_FD).saturating_mul(2).min(highest_descriptor());
    if wanted <= present {
        return listener;
    }
    match rustix::io::fcntl_dupfd_cloexec(&listener, wanted) {
        Ok(raised) => TcpListener::from(raised),
        // No room up there: the failover is a little slower, nothing else.
        Err(_) => listener,
    }
}

fn highest_descriptor() -> i32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    i32::try_from(limit.saturating_sub(1)).unwrap_or(i32::MAX)
}

/// Connects to `port`; `None` if nobody is there.
pub(crate) fn connect(port: u16, timeout: Duration) -> io::Result<Option<TcpStream>> {
    let address = SocketAddr::from((ADDRESS, port));
    let stream = match TcpStream::connect_timeout(&address, timeout) {
        Ok(stream) => stream,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // A connect to a free port inside the kernel's ephemeral range can meet itself: the kernel picks the same
    // number for our end, and a simultaneous open succeeds. We would then be our own supervisor and hold the port
    // against everyone. Two equal ends are therefore "nobody there".
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) if ours != theirs => {}
        _ => return Ok(None),
    }
    stream.set_nodelay(true)?; // every message is waited for
    Ok(Some(stream))
}

/// True for everything by which the kernel says that the other end is no more.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | NotConnected
    ) || matches!(Errno::from_io_error(error), Some(Errno::TIMEDOUT))
}

/// True if this process or this machine has no descriptor left.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A descriptor kept in reserve: with it a connection can still be taken, and closed, when there is no other one
/// left. Otherwise `accept` would fail at once again and again, and its caller spin.
pub(crate) struct Reserve(Option<OwnedFd>);

impl Reserve {
    pub(crate) fn new() -> Self {
        // Any descriptor will do: this one takes no more than an unbound socket.
        Reserve(Socket::new(Domain::IPV4, Type::STREAM, None).ok().map(OwnedFd::from))
    }

    /// Takes one connection off the queue with the reserve, and closes it: its client is told at once.
    pub(crate) fn turn_away(&mut self, listener: &TcpListener) {
        self.0 = None;
        drop(listener.accept());
        *self = Reserve::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_can_listen_although_two_can_be_bound() {
        let first = listen(0).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(listen(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen(port).unwrap();
    }

    #[test]
    fn the_port_is_free_at_once_although_connections_of_the_old_listener_linger() {
        let first = listen(0).unwrap();
        let port = first.local_addr().unwrap().port();
        let client = connect(port, Duration::from_secs(1)).unwrap().unwrap();
        first.set_nonblocking(false).unwrap();
        let (server, _) = first.accept().unwrap();
        drop((server, first)); // closed by the server's side first: it lingers
        listen(port).unwrap();
        drop(client);
    }

    #[test]
    fn nobody_there_is_an_answer() {
        let port = listen(0).unwrap().local_addr().unwrap().port();
        assert!(connect(port, Duration::from_secs(1)).unwrap().is_none());
    }

    #[test]
    fn a_raised_listener_is_above_all_others_and_still_listens() {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let raised = raise(listener, 40);
        assert!(raised.as_raw_fd() >= LISTENER_FD);
        let same = raised.as_raw_fd();
        let raised = raise(raised, same - 1);
        assert_eq!(raised.as_raw_fd(), same, "moved without need");
        let raised = raise(raised, same + 1);
        assert!(raised.as_raw_fd() > same + 1);
        assert!(connect(port, Duration::from_secs(1)).unwrap().is_some());
    }

    /// Goal: a port inside the ephemeral range cannot be taken by our own attempts to reach it.
    /// Method: as many connects as it takes the kernel, by measurement, to pick the same port for our end.
    #[test]
    fn a_connection_to_ourselves_is_nobody() {
        let port = listen(0).unwrap().local_addr().unwrap().port();
        for _ in 0..30_000 {
            assert!(connect(port, Duration::from_secs(1)).unwrap_or(None).is_none());
        }
        listen(port).expect("the port is still free");
    }
}
