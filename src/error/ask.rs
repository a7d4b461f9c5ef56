//! Why a question or a call was not answered.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;

use super::{JoinError, Port, STOPPED, in_bytes, refused};

/// Why a question to the supervisor (the registry, the status) was not answered.
///
/// Asking changes nothing, so it is always safe to ask again.
#[non_exhaustive]
#[derive(Debug)]
pub enum AskError {
    /// There is no supervisor at the moment: no instance holds the port, or an election is under
    /// way.
    NoSupervisor {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// The holder of the port cannot be asked: it is another program, or has another group, another
    /// key or another version.
    Refused {
        /// Which of these it is, and what to do.
        source: Box<JoinError>,
    },
    /// The registry has no instance of this name.
    NoSuchInstance {
        /// The name.
        name: String,
    },
    /// The supervisor did not answer in time.
    TimedOut,
    /// The supervisor went away before it answered. Ask again: its successor knows.
    SupervisorLost,
    /// The supervisor serves as many callers as it can. Try again later.
    Busy,
    /// This instance has left its group, or this process is a forked child of the process that made
    /// the instance or [`Client`](crate::Client). A child must make its own.
    Stopped,
    /// The system refused something.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::NoSupervisor { address } => {
                let port = Port(*address);
                write!(
                    f,
                    "no supervisor on {port}: no instance is running, or an election is under way"
                )
            }
            AskError::Refused { source } => source.fmt(f),
            AskError::NoSuchInstance { name } => {
                write!(f, "no instance `{name}`")
            }
            AskError::TimedOut => f.write_str("the supervisor did not answer in time"),
            AskError::SupervisorLost => {
                f.write_str("the supervisor went away before it answered; ask again")
            }
            AskError::Busy => {
                f.write_str("the supervisor serves as many callers as it can; try again later")
            }
            AskError::Stopped => f.write_str(STOPPED),
            AskError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are in this one's.
            AskError::Refused { source } => source.source(),
            AskError::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}

/// Why an admin call returned no result.
#[non_exhaustive]
#[derive(Debug)]
pub enum CallError {
    /// The instance could not be found. Nothing was called.
    Ask {
        /// Why not.
        source: AskError,
    },
    /// The instance has no function of this name. Nothing was called.
    NoSuchFunction {
        /// The instance that was called.
        instance: String,
        /// The function's name.
        function: String,
    },
    /// The payload is larger than [`MAX_PAYLOAD`](crate::MAX_PAYLOAD). Nothing was called.
    PayloadTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size.
        limit: usize,
    },
    /// The function ran and returned an error.
    Failed {
        /// The error's text.
        detail: String,
    },
    /// The function panicked. The instance continues.
    Panicked {
        /// The panic's text.
        detail: String,
    },
    /// No answer came in time. The function may have run, may still run, or may never have started.
    TimedOut,
    /// The instance is gone: it died or left before it answered. The function may have run.
    InstanceLost {
        /// Its unique name.
        name: String,
    },
    /// The instance serves as many callers as it can. Nothing was called; try again later.
    Busy {
        /// Its unique name.
        name: String,
    },
    /// The system refused something. Nothing was called.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Ask { source } => source.fmt(f),
            CallError::NoSuchFunction { instance, function } => {
                write!(f, "`{instance}` has no function `{function}`")
            }
            CallError::PayloadTooLarge { bytes, limit } => {
                write!(
                    f,
                    "the payload has {bytes} bytes, but may have at most {}",
                    in_bytes(*limit)
                )
            }
            CallError::Failed { detail } => write!(f, "the function failed: {detail}"),
            CallError::Panicked { detail } => write!(f, "the function panicked: {detail}"),
            CallError::TimedOut => {
                f.write_str("the instance did not answer in time; the function may have run")
            }
            CallError::InstanceLost { name } => {
                write!(f, "`{name}` went away before it answered; the function may have run")
            }
            CallError::Busy { name } => {
                write!(f, "`{name}` serves as many callers as it can; try again later")
            }
            CallError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Ask { source } => source.source(),
            CallError::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}

impl From<AskError> for CallError {
    fn from(source: AskError) -> Self {
        CallError::Ask { source }
    }
}
