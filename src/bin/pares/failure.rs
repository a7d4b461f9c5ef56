//! Why a command ends with another exit code than 0. The codes are a contract with scripts.

use std::io;
use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};

use pares::{
    AcquireError, AskError, CallError, ConfigError, JoinError, KeyError, ListenError, PlaceError,
    ResourceError, SettingError, StartError, masterless,
};

#[cfg(any(target_os = "linux", target_os = "android"))]
use pares::route::RouteError;

use crate::advice::Told;

/// It was tried and went wrong.
pub(crate) const FAILED: u8 = 1;
/// The arguments ask for something that cannot be.
pub(crate) const USAGE: u8 = 2;
/// There is no supervisor, or it is another instance.
pub(crate) const NO_SUPERVISOR: u8 = 3;
/// No instance, function, resource or setting of this name.
pub(crate) const NO_SUCH: u8 = 4;
/// The port is held by another program or group.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Somebody else has it, or as many as may.
pub(crate) const BUSY: u8 = 75;
/// The key or the system does not allow it.
pub(crate) const NOT_AUTHORISED: u8 = 77;
/// It was not known in time.
pub(crate) const DEADLINE: u8 = 124;
/// The supervisorship or the permit ended while the command ran.
pub(crate) const LOST: u8 = 125;
/// The command is there and cannot be run.
pub(crate) const CANNOT_RUN: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;
/// Plus the number of the signal that ended it.
pub(crate) const SIGNALLED: u8 = 128;

/// An exit code other than 0 and what to say about it; nothing to say is an answer too.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    /// By which signal this process, or the command it ran, has ended.
    pub(crate) signal: Option<i32>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), signal: None }
    }

    /// The exit code says it all.
    pub(crate) fn silent(code: u8) -> Self {
        Failure::new(code, "")
    }

    /// A signal has ended what was done.
    pub(crate) fn by_signal(signal: i32) -> Self {
        Failure { signal: Some(signal), ..Failure::silent(SIGNALLED.saturating_add(signal as u8)) }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        Failure::new(join_code(&error), error.told())
    }
}

impl From<masterless::JoinError> for Failure {
    fn from(error: masterless::JoinError) -> Self {
        let code = match &error {
            masterless::JoinError::Config { .. } => USAGE,
            masterless::JoinError::PortHeld { .. } => UNAVAILABLE,
            masterless::JoinError::Key { source: error } => key_code(error),
            masterless::JoinError::PortForbidden { .. } => NOT_AUTHORISED,
            _ => FAILED,
        };
        Failure::new(code, error.told())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        JoinError::from(error).into()
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        JoinError::from(error).into()
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Failure::new(FAILED, error.told())
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        Failure::new(ask_code(&error), error.told())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Failure::new(call_code(&error), error.told())
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let code = match &error {
            ListenError::Invalid { .. } | ListenError::Already { .. } => USAGE,
            ListenError::InUse { .. } => UNAVAILABLE,
            ListenError::Forbidden { .. } => NOT_AUTHORISED,
            ListenError::Ask { source } => ask_code(source),
            ListenError::TimedOut { .. } => DEADLINE,
            _ => FAILED,
        };
        Failure::new(code, error.told())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let code = match &error {
            RouteError::NotAllowed => NOT_AUTHORISED,
            RouteError::Held { .. } | RouteError::Configured { .. } => UNAVAILABLE,
            RouteError::Invalid { .. } => USAGE,
            _ => FAILED,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        Failure::new(acquire_code(&error), error.told())
    }
}

impl From<ResourceError> for Failure {
    fn from(error: ResourceError) -> Self {
        let code = match &error {
            ResourceError::Unknown { .. } => NO_SUCH,
            ResourceError::Invalid { .. } => USAGE,
            ResourceError::Ask { source: error } => ask_code(error),
            _ => FAILED,
        };
        Failure::new(code, error.told())
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        let code = match &error {
            SettingError::Invalid { .. } => USAGE,
            SettingError::Ask { source: error } => ask_code(error),
            _ => FAILED,
        };
        Failure::new(code, error.told())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Whoever reads the output has seen enough, as `head` does: that is no failure.
            io::ErrorKind::BrokenPipe => Failure::silent(0),
            _ => Failure::new(FAILED, error.to_string()),
        }
    }
}

fn join_code(error: &JoinError) -> u8 {
    match error {
        JoinError::Config { .. } => USAGE,
        JoinError::PortHeld { .. } | JoinError::OtherGroup { .. } | JoinError::NotHere { .. } => {
            UNAVAILABLE
        }
        JoinError::Key { source: error } => key_code(error),
        JoinError::KeyMismatch { .. } | JoinError::PortForbidden { .. } => NOT_AUTHORISED,
        JoinError::GroupFull { .. } => BUSY,
        JoinError::NoSupervisor { .. } => NO_SUPERVISOR,
        JoinError::TimedOut { .. } => DEADLINE,
        _ => FAILED,
    }
}

fn key_code(error: &KeyError) -> u8 {
    match error {
        // Nobody forbids it: there is no room, or a file is damaged.
        KeyError::Unkept { source: error }
            if !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) =>
        {
            FAILED
        }
        _ => NOT_AUTHORISED,
    }
}

fn ask_code(error: &AskError) -> u8 {
    match error {
        AskError::NoSupervisor { .. } | AskError::SupervisorLost => NO_SUPERVISOR,
        AskError::Refused { source: error } => join_code(error),
        AskError::NoSuchInstance { .. } => NO_SUCH,
        AskError::TimedOut => DEADLINE,
        AskError::Busy => BUSY,
        _ => FAILED,
    }
}

fn call_code(error: &CallError) -> u8 {
    match error {
        CallError::Ask { source: error } => ask_code(error),
        CallError::NoSuchFunction { .. } => NO_SUCH,
        CallError::Busy { .. } => BUSY,
        CallError::TimedOut => DEADLINE,
        CallError::PayloadTooLarge { .. } => USAGE,
        _ => FAILED,
    }
}

fn acquire_code(error: &AcquireError) -> u8 {
    match error {
        // Also more than the limit: it can be raised, so that trying again later is worth while.
        AcquireError::Exhausted { .. }
        | AcquireError::OverLimit { .. }
        | AcquireError::OverHolderLimit { .. }
        | AcquireError::TooMany { .. } => BUSY,
        AcquireError::Unknown { .. } => NO_SUCH,
        AcquireError::Invalid { .. } => USAGE,
        AcquireError::TimedOut { .. } => DEADLINE,
        AcquireError::Stopped => NO_SUPERVISOR,
        _ => FAILED,
    }
}
