//! Why a role was not given up, and why a job or watch did not start.

use std::fmt;
use std::io;

use super::{STOPPED, refused};

/// Why an instance did not step down.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDownError {
    /// The instance is not supervisor. Nothing was done.
    NotSupervisor,
    /// The instance is the only one of its group, and no other could take over. It is still
    /// supervisor.
    Alone,
    /// A job of [`while_supervisor`](crate::Instance::while_supervisor) did not end in time. It was
    /// told to end; the instance is still supervisor.
    JobRunning,
    /// The role was given up, but no successor was known in time.
    TimedOut,
}

impl fmt::Display for StepDownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepDownError::NotSupervisor => "this instance is not the supervisor",
            StepDownError::Alone => "no other instance could take over",
            StepDownError::JobRunning => {
                "a job that runs only on the supervisor did not end in time; this instance is \
                 still supervisor"
            }
            StepDownError::TimedOut => {
                "the instance gave up the role, but learned of no successor in time"
            }
        })
    }
}

impl std::error::Error for StepDownError {}

/// Why a job ([`Instance::while_supervisor`](crate::Instance::while_supervisor)) or a
/// [`Watch`](crate::Watch) did not start. Nothing is left behind.
#[non_exhaustive]
#[derive(Debug)]
pub enum StartError {
    /// This instance has left its group, or this process is a forked child of the process that made
    /// the instance or [`Client`](crate::Client). A child must make its own.
    Stopped,
    /// The system refused something, such as a thread.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Stopped => f.write_str(STOPPED),
            StartError::Io { doing, source } => refused(f, doing, source),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Stopped => None,
            // Its text is in this one's.
            StartError::Io { source, .. } => source.source(),
        }
    }
}
