//! Why an address is not routed.

use std::fmt;
use std::io;

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
            RouteError::Io { .. } => "",
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
            RouteError::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}
