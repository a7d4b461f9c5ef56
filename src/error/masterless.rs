//! Why a process could not take part in a masterless group.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::{ConfigError, KeyError, refused};

/// Why a process could not start to join its masterless group.
///
/// Nothing is left behind in any of these cases, and no other process has heard of this one.
/// Hearing no other process is not an error: this process is then alone.
#[non_exhaustive]
#[derive(Debug)]
pub enum JoinError {
    /// The configuration has a value that is not allowed.
    Config {
        /// Which value, and what is allowed.
        source: ConfigError,
    },
    /// A key cannot be used.
    Key {
        /// Why not.
        source: KeyError,
    },
    /// Another program has exclusive use of the UDP port. Choose another port.
    PortHeld {
        /// The address that was to be bound.
        address: SocketAddr,
    },
    /// The system does not allow this user to bind the port (below 1024, or by policy). Choose
    /// another port.
    PortForbidden {
        /// The address that was to be bound.
        address: SocketAddr,
    },
    /// This machine does not have the address, or the interface.
    NotHere {
        /// The address, or the interface's name.
        what: String,
    },
    /// The system refused something that this process needs.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Config { source } => source.fmt(f),
            JoinError::Key { source } => source.fmt(f),
            JoinError::PortHeld { address } => {
                write!(
                    f,
                    "another program has exclusive use of the UDP port of {address}; choose \
                     another port for the whole group"
                )
            }
            JoinError::PortForbidden { address } => write!(
                f,
                "this user may not bind the UDP port of {address}; choose a port from 1024 \
                 upwards for the whole group"
            ),
            JoinError::NotHere { what } => {
                write!(f, "this machine has no network interface or address {what}")
            }
            JoinError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are in this one's.
            JoinError::Config { source } => source.source(),
            JoinError::Key { source } => source.source(),
            JoinError::Io { source, .. } => source.source(),
            JoinError::PortHeld { .. }
            | JoinError::PortForbidden { .. }
            | JoinError::NotHere { .. } => None,
        }
    }
}

impl From<ConfigError> for JoinError {
    fn from(source: ConfigError) -> Self {
        JoinError::Config { source }
    }
}

impl From<KeyError> for JoinError {
    fn from(source: KeyError) -> Self {
        JoinError::Key { source }
    }
}
