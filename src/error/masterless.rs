//! Why a process could not take part in a masterless group.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::{ConfigError, KeyError, refused};

/// Why a process could not begin to join its masterless group.
///
/// In every case nothing is left behind, and nobody has heard of it. That others are not heard is
/// no error: it is then alone.
#[non_exhaustive]
#[derive(Debug)]
pub enum JoinError {
    /// The configuration asks for something that cannot be.
    Config {
        /// What that is.
        source: ConfigError,
    },
    /// A key cannot be used.
    Key {
        /// Why not.
        source: KeyError,
    },
    /// Another program has the UDP port for itself. Choose another port.
    PortHeld {
        /// The address that was to be bound.
        address: SocketAddr,
    },
    /// The system does not allow this user to bind the port (below 1024, or by policy). Choose
    /// another one.
    PortForbidden {
        /// The address that was to be bound.
        address: SocketAddr,
    },
    /// This machine does not have the address, or the interface.
    NotHere {
        /// The address or the interface's name.
        what: String,
    },
    /// The system refused something this process cannot do without.
    Io {
        /// What was being done.
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
                    "another program has the UDP port of {address} for itself; choose another one \
                     for all of the group"
                )
            }
            JoinError::PortForbidden { address } => write!(
                f,
                "this user may not bind the UDP port of {address}; choose one from 1024 upwards \
                 for all of the group"
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
