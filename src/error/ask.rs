//! Why a question or a call was not answered.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;

use super::{JoinError, Port, STOPPED, cure};

/// Why a question to the supervisor (the registry, the status) was not answered.
///
/// Asking changes nothing, so it is safe to ask again in every case.
#[non_exhaustive]
#[derive(Debug)]
pub enum AskError {
    /// There is no supervisor at the moment: nobody holds the port, or an election is under way.
    NoSupervisor {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// The port is held by somebody who cannot be asked: another program, another group, another
    /// key or version.
    Refused(Box<JoinError>),
    /// The registry has no instance of this name.
    NoSuchInstance(String),
    /// The answer did not come in time.
    Deadline,
    /// The supervisor went away before it answered. Ask again: its successor knows.
    SupervisorLost,
    /// The supervisor has as many askers as it serves. Try again later.
    Busy,
    /// This instance has left its group, or this process is a forked child of the one that made it
    /// (or the [`Admin`](crate::Admin)); a child makes its own.
    Stopped,
    /// The system refused something.
    Io {
        /// What was being done.
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
            AskError::Refused(error) => error.fmt(f),
            AskError::NoSuchInstance(name) => {
                write!(f, "no instance `{name}`; `pares ls` shows who is there")
            }
            AskError::Deadline => f.write_str(
                "the supervisor did not answer in time; `pares doctor` says what holds it up",
            ),
            AskError::SupervisorLost => {
                f.write_str("the supervisor went away before it answered; ask again")
            }
            AskError::Busy => {
                f.write_str("the supervisor serves as many askers as it can; try again later")
            }
            AskError::Stopped => f.write_str(STOPPED),
            AskError::Io { doing, source } => write!(f, "cannot {doing}: {source}{}", cure(source)),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AskError::Refused(error) => Some(error),
            AskError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why an admin call gave no result.
#[non_exhaustive]
#[derive(Debug)]
pub enum CallError {
    /// The instance could not be found out. Nothing was called.
    Ask(AskError),
    /// The instance has no function of this name. Nothing was called.
    NoSuchFunction {
        /// Who was called.
        instance: String,
        /// For what.
        function: String,
    },
    /// The payload is larger than 1 MiB. Nothing was called.
    PayloadTooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The function ran and gave this error.
    Failed(String),
    /// The function panicked, with this text. The instance goes on.
    Panicked(String),
    /// The answer did not come in time. The function may have run, may still run, or may never have
    /// begun.
    Deadline,
    /// The instance is gone: it died or left before it answered. The function may have run.
    InstanceLost(String),
    /// The instance serves as many callers as it can. Nothing was called; try again later.
    Busy(String),
    /// The system refused something. Nothing was called.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Ask(error) => error.fmt(f),
            CallError::NoSuchFunction { instance, function } => {
                write!(
                    f,
                    "`{instance}` has no function `{function}`; `pares functions {instance}` shows \
                     what it has"
                )
            }
            CallError::PayloadTooLarge { bytes } => {
                write!(f, "a payload of {bytes} bytes; at most 1 MiB can be sent")
            }
            CallError::Failed(text) => write!(f, "the function failed: {text}"),
            CallError::Panicked(text) => write!(f, "the function panicked: {text}"),
            CallError::Deadline => f.write_str("no answer in time; the function may have run"),
            CallError::InstanceLost(name) => {
                write!(f, "`{name}` went away before it answered; the function may have run")
            }
            CallError::Busy(name) => {
                write!(f, "`{name}` serves as many callers as it can; try again later")
            }
            CallError::Io { doing, source } => {
                write!(f, "cannot {doing}: {source}{}", cure(source))
            }
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Ask(error) => Some(error),
            CallError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<AskError> for CallError {
    fn from(error: AskError) -> Self {
        CallError::Ask(error)
    }
}
