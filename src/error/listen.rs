//! Why an instance does not share a listener, and why it accepted no connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::{AskError, ConfigError, PortHolder, STOPPED, advised, refused};

/// Why an instance cannot accept connections at an address
/// ([`Instance::listen`](crate::Instance::listen)). Nothing is left behind.
#[non_exhaustive]
#[derive(Debug)]
pub enum ListenError {
    /// The address, or one of the values of [`Listen`](crate::Listen), is not allowed.
    Invalid {
        /// Which, and what is allowed.
        source: ConfigError,
    },
    /// This instance listens at the address already. Use that [`Listener`](crate::Listener), or
    /// drop it first.
    Already {
        /// The address.
        address: SocketAddr,
    },
    /// Another program listens at the address, or at all addresses of the machine on this port.
    InUse {
        /// The address.
        address: SocketAddr,
        /// The holder of the port.
        holder: PortHolder,
    },
    /// The system does not allow this user to listen at the port (below 1024, or by policy).
    Forbidden {
        /// The address.
        address: SocketAddr,
    },
    /// This machine, or this network namespace, does not have the address.
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// The supervisor did not let this instance share the listener, or its system did not let it.
    Refused {
        /// The supervisor's words.
        detail: String,
    },
    /// The supervisor could not be asked.
    Ask {
        /// Why not.
        source: AskError,
    },
    /// The listener was not shared in time.
    TimedOut {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused something.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Invalid { source } => source.fmt(f),
            ListenError::Already { address } => {
                write!(f, "this instance listens at {address} already")
            }
            ListenError::InUse { address, holder } => advised(
                f,
                &format!("cannot listen at {address}: {holder} has it"),
                "stop that program or choose another port",
                &[],
            ),
            ListenError::Forbidden { address } => advised(
                f,
                &format!("this user may not listen at {address}"),
                "choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE",
                &[],
            ),
            ListenError::NotHere { address } => advised(
                f,
                &format!("this machine does not have the address {}", address.ip()),
                "name one of its own, or 0.0.0.0 or [::] for all",
                &[],
            ),
            ListenError::Refused { detail } => {
                write!(f, "the supervisor does not share the listener: {detail}")
            }
            ListenError::Ask { source } => source.fmt(f),
            ListenError::TimedOut { address } => {
                write!(f, "the listener at {address} was not shared in time; try again")
            }
            ListenError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are in this one's.
            ListenError::Invalid { source } => source.source(),
            ListenError::Ask { source } => source.source(),
            ListenError::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}

impl From<ConfigError> for ListenError {
    fn from(source: ConfigError) -> Self {
        ListenError::Invalid { source }
    }
}

impl From<AskError> for ListenError {
    fn from(source: AskError) -> Self {
        ListenError::Ask { source }
    }
}

/// Why no connection was accepted ([`Listener::accept`](crate::Listener::accept)).
#[non_exhaustive]
#[derive(Debug)]
pub enum AcceptError {
    /// No connection came in time.
    TimedOut,
    /// This instance accepts no more at this listener: the program or an operator has said so. What
    /// it has accepted goes on.
    Drained,
    /// This instance has left its group, or this process is a forked child of the one that joined.
    Stopped,
    /// The system refused something. The connection, if there was one, still waits, and another
    /// instance may accept it.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::TimedOut => f.write_str("no connection came in time"),
            AcceptError::Drained => {
                f.write_str("this instance accepts no more connections at this listener")
            }
            AcceptError::Stopped => f.write_str(STOPPED),
            AcceptError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text is in this one's.
        if let AcceptError::Io { source, .. } = self { source.source() } else { None }
    }
}
