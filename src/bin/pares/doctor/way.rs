//! Whether a connection to a port of the loopback interface gets through: one is made, and closed
//! at once.

use std::io::ErrorKind;
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use super::process::queue;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is made; or the port is free, or its holder too busy.
    Clear,
    /// It is refused, though somebody listens.
    Rejected,
    /// Nothing comes back, though there is room in the queue of connections.
    Dropped,
    /// The loopback interface is down.
    Down,
}

/// How long the kernel has to take a connection, which it does within microseconds.
const PATIENCE: Duration = Duration::from_millis(300);

/// A queue with so few connections is not full, as that of a hung process is in the end.
const FEW: u32 = 8;

/// Tries it.
pub(super) fn way_to(at: SocketAddrV4) -> Way {
    match TcpStream::connect_timeout(&at.into(), PATIENCE).map_err(|error| error.kind()) {
        Err(ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown) => Way::Down,
        // Looked at afterwards: by now the one who held the port may be gone.
        Err(ErrorKind::ConnectionRefused) if queue(at).is_some() => Way::Rejected,
        Err(ErrorKind::TimedOut) if queue(at).is_none_or(|waiting| waiting < FEW) => Way::Dropped,
        _ => Way::Clear,
    }
}
