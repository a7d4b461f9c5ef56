//! Why a role was not given up.

use std::fmt;

/// Why an instance did not step down.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDownError {
    /// It is not supervisor. Nothing was done.
    NotSupervisor,
    /// It is the only instance, so that nobody could take over. It is still supervisor.
    Alone,
    /// A job of [`while_supervisor`](crate::Instance::while_supervisor) did not end in time. It has
    /// been told to; the instance is still supervisor.
    JobRunning,
    /// The role was given up, but no successor was known when the time was over.
    Deadline,
}

impl fmt::Display for StepDownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepDownError::NotSupervisor => "this instance is not supervisor",
            StepDownError::Alone => "there is no other instance that could take over",
            StepDownError::JobRunning => {
                "a job that runs only on the supervisor did not end in time; still supervisor"
            }
            StepDownError::Deadline => "the role was given up, but no successor was known in time",
        })
    }
}

impl std::error::Error for StepDownError {}
