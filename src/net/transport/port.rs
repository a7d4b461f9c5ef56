//! The supervisor port: claiming it is the election. Also connects to it without meeting ourselves.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::sys::{Booked, Kind, crash};

/// A connection, or a listener, that no forked child keeps.
pub(crate) type Stream = Booked<TcpStream>;
pub(crate) type Listening = Booked<TcpListener>;

/// Returns a port on 127.0.0.1, where all are but derived supervisor ports. Always by number:
/// 127.0.0.2 and ::1 are other electorates, and a name would have to be resolved.
pub(crate) fn here(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// Returns false if this machine, or this network namespace, does not have the address, or its
/// interface is down. Sends nothing.
pub(crate) fn is_here(address: Ipv4Addr) -> bool {
    let try_it = |socket: Booked<Socket>| {
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        socket.connect(&SocketAddrV4::new(address, 1).into())
    };
    let tried =
        Booked::make(Kind::Own, || Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)))
            .and_then(try_it);
    // Whatever else is wrong will be said by whoever needs it.
    !tried.is_err_and(|error| {
        matches!(
            Errno::from_io_error(&error),
            Some(Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::NETDOWN)
        )
    })
}

/// After a failover all survivors connect at once; one that finds the queue full waits a second for
/// the next attempt of its kernel. The kernel cuts this to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

/// Binds and listens at `at`; port 0 takes a free one.
///
/// Both must succeed: with SO_REUSEADDR two processes can be bound at once, and only one can
/// listen. `AddrInUse` from either means that another process has the port.
pub(crate) fn listen(at: SocketAddrV4, kind: Kind) -> io::Result<Listening> {
    let socket = socket(kind)?;
    let address = at.into();
    if at.port() == 0 {
        // Only afterwards: with it, the kernel looks for a free port in one half of its range
        // first, one by one, and beyond 7,000 instances each would look for milliseconds.
        socket.bind(&address).map_err(|error| match error.kind() {
            // All are taken, not this one: nobody is elected there.
            io::ErrorKind::AddrInUse => Errno::ADDRNOTAVAIL.into(),
            _ => error,
        })?;
    }
    // Without it the port could not be bound for a minute after a failover, as long as connections
    // of the dead supervisor linger. Never SO_REUSEPORT: that allows two listeners.
    socket.set_reuse_address(true)?;
    if at.port() != 0 {
        socket.bind(&address)?;
    }
    socket.listen(BACKLOG)?;
    // The accepting loop waits in `poll`; a client that is gone before `accept` must not make it
    // block there.
    socket.set_nonblocking(true)?;
    Ok(socket.become_a())
}

pub(super) fn socket(kind: Kind) -> io::Result<Booked<Socket>> {
    if crash::is_crashing() {
        // Its threads live for another moment, in which they must not come back with what was just
        // given up.
        return Err(io::Error::other("this process is crashing"));
    }
    // Close-on-exec.
    Booked::make(kind, || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)))
}

/// Accepts the next connection; never waits for one.
pub(crate) fn accept(listener: &Listening, kind: Kind) -> io::Result<Stream> {
    // Not std's, which refuses what is not an IP address.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Booked::make(kind, || Ok(accept_with(listener, SocketFlags::CLOEXEC)?.into()));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    Booked::make(kind, || {
        let stream = rustix::net::accept(listener)?;
        rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
        Ok(stream.into())
    })
}

/// How long an attempt to connect waits for the kernel. The kernel answers at once, unless the
/// queue of connections to accept is full, as it is when thousands come back at once. Then it says
/// nothing, and would itself try again after a second, by which time the listener may long be
/// another one.
const ATTEMPT: Duration = Duration::from_millis(20);

/// An instance that has found no place pauses for as long as it has tried, up to this. Each attempt
/// takes up to 50 microseconds of the processors' time: made six times a second by each of 10,000,
/// on two cores, they left none for the instances that were being served, and the queue stayed
/// full.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connects to `at`. Returns `None` if no process listens there. An error of the kind
/// `ConnectionReset` says that a process listens but accepted the connection only to cut it; one of
/// the kind `TimedOut`, that there was no place in the queue.
pub(crate) fn connect(
    at: SocketAddrV4,
    kind: Kind,
    timeout: Duration,
) -> io::Result<Option<Stream>> {
    // There is nothing else to wait for: the kernel tells nobody that a place is free.
    let pause = |time| {
        thread::sleep(time);
        true
    };
    connect_with(at, kind, timeout, pause)
}

/// Connects as well, for a caller that may be called away: between two attempts it must `pause` for
/// this long, and say whether to go on.
pub(crate) fn connect_with(
    at: SocketAddrV4,
    kind: Kind,
    timeout: Duration,
    mut pause: impl FnMut(Duration) -> bool,
) -> io::Result<Option<Stream>> {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed()).max(Duration::from_micros(1));
        match try_connect(at, kind, left.min(ATTEMPT)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && left > ATTEMPT => {
                let tried = began.elapsed();
                if !pause(tried.min(LONGEST_PAUSE).min(timeout.saturating_sub(tried))) {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

fn try_connect(at: SocketAddrV4, kind: Kind, timeout: Duration) -> io::Result<Option<Stream>> {
    // In two steps, for only the first is done at once.
    let socket = socket(kind)?;
    let stream: Stream = match socket.connect_timeout(&SockAddr::from(at), timeout) {
        Ok(()) => socket.become_a(),
        Err(error) if is_gone(&error) && error.kind() != io::ErrorKind::ConnectionReset => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // A connect to a free port inside the kernel's ephemeral range can meet itself: the kernel
    // picks the same number for our end, and a simultaneous open succeeds. We would then be our own
    // supervisor and hold the port against everyone. Two equal ends are therefore "nobody there".
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) if ours == theirs => return Ok(None),
        (Ok(_), Ok(_)) => {}
        // The other end has cut the connection already.
        (Err(_), _) | (_, Err(_)) => return Err(io::ErrorKind::ConnectionReset.into()),
    }
    stream.set_nodelay(true)?; // every message is waited for
    Ok(Some(stream))
}

/// Returns true for every error by which the kernel says that the other end is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | BrokenPipe
            | UnexpectedEof
            | NotConnected
    ) || matches!(Errno::from_io_error(error), Some(Errno::TIMEDOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_can_listen_although_two_can_be_bound() {
        let first = listen(here(0), Kind::Port).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(listen(here(port), Kind::Port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen(here(port), Kind::Port).unwrap();
    }

    #[test]
    fn the_port_is_free_at_once_although_connections_of_the_old_listener_linger() {
        let first = listen(here(0), Kind::Port).unwrap();
        let port = first.local_addr().unwrap().port();
        let client = connect(here(port), Kind::Peer, Duration::from_secs(1)).unwrap().unwrap();
        first.set_nonblocking(false).unwrap();
        let (server, _) = first.accept().unwrap();
        drop((server, first)); // closed by the server's side first: it lingers
        listen(here(port), Kind::Port).unwrap();
        drop(client);
    }

    #[test]
    fn who_finds_the_queue_full_tries_less_and_less_often_until_it_is_called_away() {
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&here(0).into()).unwrap();
        full.listen(0).unwrap();
        let port = full.local_addr().unwrap().as_socket().unwrap().port();
        let mut queue = Vec::new();
        while let Ok(Some(stream)) = try_connect(here(port), Kind::Peer, ATTEMPT) {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue has an end");
        }
        let mut pauses = Vec::new();
        let pause = |time| {
            pauses.push(time);
            thread::sleep(time);
            pauses.len() < 4
        };
        let error =
            connect_with(here(port), Kind::Peer, Duration::from_secs(20), pause).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // As long as it has tried before, that is for twice as long each time.
        assert!(
            pauses.len() == 4
                && pauses[0] >= ATTEMPT / 2
                && pauses.windows(2).all(|two| two[1] >= two[0] * 2),
            "{pauses:?}"
        );
    }

    #[test]
    fn nobody_there_is_an_answer() {
        let port = listen(here(0), Kind::Port).unwrap().local_addr().unwrap().port();
        assert!(connect(here(port), Kind::Peer, Duration::from_secs(1)).unwrap().is_none());
    }

    /// Goal: a port inside the ephemeral range cannot be taken by our own attempts to reach it.
    /// Method: as many connects as it takes the kernel, by measurement, to pick the same port for
    /// our end.
    #[test]
    fn a_connection_to_ourselves_is_nobody() {
        let port = listen(here(0), Kind::Port).unwrap().local_addr().unwrap().port();
        for _ in 0..30_000 {
            assert!(
                connect(here(port), Kind::Peer, Duration::from_secs(1)).unwrap_or(None).is_none()
            );
        }
        listen(here(port), Kind::Port).expect("the port is still free");
    }
}
