//! Why a group's place cannot be used: its address, its directory, its key.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{ConfigError, KeyError, advised};

/// The place of the group cannot be used: its address, its directory, or its key. Nothing was done.
#[non_exhaustive]
#[derive(Debug)]
pub enum PlaceError {
    /// The configuration has a value that is not allowed.
    Config {
        /// Which value, and what is allowed.
        source: ConfigError,
    },
    /// The group's key, or its directory, cannot be used.
    Key {
        /// Why not.
        source: KeyError,
    },
    /// The loopback interface does not have the group's address, see
    /// [`default_address`](crate::default_address). Bring the interface up with 127.0.0.1/8, or set
    /// a port for the whole group, which is then on 127.0.0.1.
    NotHere {
        /// The supervisor port, and the address it would be on.
        address: SocketAddrV4,
    },
}

impl PlaceError {
    /// Returns what happened, without the remedy.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            PlaceError::Config { source } => source.to_string(),
            PlaceError::Key { source } => source.finding(),
            PlaceError::NotHere { address } => PlaceError::not_here(*address.ip()),
        }
    }

    /// Returns what to do; empty if there is nothing to say.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            PlaceError::Config { .. } => String::new(),
            PlaceError::Key { source } => source.remedy(),
            PlaceError::NotHere { address } => PlaceError::bring_up(*address.ip()),
        }
    }

    /// Returns the methods of [`Config`](crate::Config) that the [remedy](PlaceError::remedy) is
    /// about.
    #[must_use]
    pub fn settings(&self) -> &'static [&'static str] {
        match self {
            PlaceError::Config { .. } => &[],
            PlaceError::Key { source } => source.settings(),
            PlaceError::NotHere { address } => PlaceError::elsewhere(*address.ip()),
        }
    }

    pub(super) fn not_here(ip: Ipv4Addr) -> String {
        format!(
            "this machine, or network namespace, does not have {ip}, or its loopback interface is \
             down"
        )
    }

    pub(super) fn bring_up(ip: Ipv4Addr) -> String {
        let bring_up = "bring the interface up with 127.0.0.1/8 (ip address add 127.0.0.1/8 dev \
                        lo; ip link set lo up)";
        match ip {
            Ipv4Addr::LOCALHOST => bring_up.into(),
            _ => format!("{bring_up}, or set a port, which is then on 127.0.0.1"),
        }
    }

    pub(super) fn elsewhere(ip: Ipv4Addr) -> &'static [&'static str] {
        if ip == Ipv4Addr::LOCALHOST { &[] } else { &["port"] }
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.finding(), &self.remedy(), self.settings())
    }
}

impl std::error::Error for PlaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PlaceError::Config { source } => source.source(),
            PlaceError::Key { source } => source.source(),
            PlaceError::NotHere { .. } => None,
        }
    }
}

impl From<ConfigError> for PlaceError {
    fn from(source: ConfigError) -> Self {
        PlaceError::Config { source }
    }
}

impl From<KeyError> for PlaceError {
    fn from(source: KeyError) -> Self {
        PlaceError::Key { source }
    }
}
