//! Why an address is not routed.

use std::fmt;
use std::io;
use std::net::IpAddr;

use super::masterless::JoinError;
use super::{Cured, advised};

/// Why the library cannot route addresses on this host.
#[non_exhaustive]
#[derive(Debug)]
pub enum RouteError {
    /// This user may not change the host's network.
    NotAllowed,
    /// The kernel lacks something that routing takes.
    Lacking {
        /// What, and the kernel's words.
        parts: Vec<(&'static str, io::Error)>,
    },
    /// The network device cannot be used.
    UnfitDevice {
        /// Its name.
        device: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another process routes these addresses on this host.
    Held {
        /// The process, as far as the kernel tells.
        pid: Option<u32>,
    },
    /// A network device of this host has one of the addresses, and no router has given it to that
    /// device. Nothing was changed.
    Configured {
        /// The address.
        address: IpAddr,
        /// The device that has it.
        device: String,
    },
    /// This host is not prepared as a target, and the library was told to change nothing.
    Unprepared {
        /// What is missing, each with its device: `10.0.0.100 on lo`, `arp_ignore=1 on eth0`.
        missing: Vec<String>,
    },
    /// No network device of this host leads to an address. Nothing was changed.
    Unreached {
        /// The address.
        address: IpAddr,
    },
    /// This process could not join the group.
    Join(JoinError),
    /// A router cannot let targets and other routers in at its port.
    Entrance {
        /// The TCP port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration cannot work.
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// The router has ended.
    Ended,
    /// The system refused something.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl RouteError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied => RouteError::NotAllowed,
            _ => RouteError::Io { doing, source },
        }
    }
}

impl RouteError {
    /// Returns what happened, without the remedy.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            RouteError::NotAllowed => "this user may not change the network of this host".into(),
            RouteError::Lacking { parts } => {
                let words: Vec<String> =
                    parts.iter().map(|(part, error)| format!("{part}: {error}")).collect();
                format!("this kernel cannot route; it lacks {}", words.join(", "))
            }
            RouteError::UnfitDevice { device, why } => {
                format!("the network device `{device}` {why}")
            }
            RouteError::Held { pid } => {
                let who = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                format!("another process on this host{who} routes these addresses")
            }
            RouteError::Configured { address, device } => {
                format!("{address} is configured on {device}")
            }
            RouteError::Unprepared { missing } => {
                format!("this host is not prepared as a target; it lacks {}", missing.join(", "))
            }
            RouteError::Unreached { address } => {
                format!("no network device of this host leads to {address}")
            }
            RouteError::Join(error) => error.to_string(),
            RouteError::Entrance { port, source } => {
                format!("cannot let targets in at TCP port {port}: {}", Cured(source))
            }
            RouteError::Invalid { what } => what.clone(),
            RouteError::Ended => "the router has ended".into(),
            RouteError::Io { doing, source } => format!("cannot {doing}: {}", Cured(source)),
        }
    }

    /// Returns what to do; empty if there is nothing to say.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            RouteError::NotAllowed => {
                "give the program CAP_NET_ADMIN and CAP_NET_RAW, or run it as root"
            }
            RouteError::Lacking { .. } => "load the kernel's module, or run a kernel that has it",
            RouteError::UnfitDevice { .. } => {
                "name one that `ip link` shows as up and as link/ether"
            }
            RouteError::Held { .. } => "stop that process first",
            RouteError::Configured { .. } => "remove it there",
            RouteError::Unprepared { .. } => "add that to the configuration of this host",
            RouteError::Unreached { .. } => "name the device",
            RouteError::Entrance { .. } => {
                "free the port, or have all routers and targets of the group use another one"
            }
            RouteError::Join(_)
            | RouteError::Invalid { .. }
            | RouteError::Ended
            | RouteError::Io { .. } => "",
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.finding(), self.remedy(), &[])
    }
}

impl std::error::Error for RouteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RouteError::Io { source, .. } | RouteError::Entrance { source, .. } => source.source(),
            RouteError::Join(error) => error.source(),
            _ => None,
        }
    }
}
