//! Errors about permits, tallies, settings and messages.

use std::fmt;

use super::{AskError, ConfigError};

/// Why a permit was not acquired. Nothing is held in any of these cases.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireError {
    /// Too few units are free at the moment, or others have waited longer.
    ///
    /// This is an answer, not a fault: ask for less, or wait.
    Exhausted {
        /// The name of the resource.
        resource: String,
        /// Units asked for.
        wanted: u64,
        /// Units free when the supervisor decided.
        free: u64,
    },
    /// The request is larger than the resource's limit.
    OverLimit {
        /// The name of the resource.
        resource: String,
        /// Units asked for.
        wanted: u64,
        /// The limit.
        limit: u64,
    },
    /// The request is larger than the limit for one holder.
    OverHolderLimit {
        /// The name of the resource.
        resource: String,
        /// Units asked for.
        wanted: u64,
        /// The limit for one holder.
        limit: u64,
    },
    /// No instance has declared the resource ([`Config::resource`](crate::Config::resource)).
    Unknown {
        /// Its name.
        resource: String,
    },
    /// The name of the resource, or the number of units, is not allowed.
    Invalid {
        /// Which of the two, and what is allowed.
        source: ConfigError,
    },
    /// This instance already has as many permits and requests as it may have.
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The permit was not granted in time. The request is withdrawn.
    TimedOut {
        /// The name of the resource.
        resource: String,
    },
    /// This instance has left its group.
    Stopped,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Exhausted { resource, wanted, free } => write!(
                f,
                "{wanted} of `{resource}` are not available now: {free} free, or others have \
                 waited longer"
            ),
            AcquireError::OverLimit { resource, wanted, limit } => {
                write!(f, "{wanted} of `{resource}` exceed its limit of {limit}")
            }
            AcquireError::OverHolderLimit { resource, wanted, limit } => {
                write!(f, "{wanted} of `{resource}` exceed the limit of {limit} for one holder")
            }
            AcquireError::Unknown { resource } => {
                write!(f, "no resource `{resource}`: no instance has declared it")
            }
            AcquireError::Invalid { source } => source.fmt(f),
            AcquireError::TooMany { limit } => {
                write!(f, "this instance has {limit} permits and requests, and may not have more")
            }
            AcquireError::TimedOut { resource } => {
                write!(f, "no permit for `{resource}` in time")
            }
            AcquireError::Stopped => f.write_str(super::STOPPED),
        }
    }
}

impl std::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text is this one's.
        if let AcquireError::Invalid { source } = self { source.source() } else { None }
    }
}

impl From<ConfigError> for AcquireError {
    fn from(source: ConfigError) -> Self {
        AcquireError::Invalid { source }
    }
}

/// Why an instance has no tally of a resource. Nothing is counted.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TallyError {
    /// The name of the resource is not allowed.
    Invalid {
        /// Why not.
        source: ConfigError,
    },
    /// This instance already counts as many resources as it may.
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// This process is a forked child of the process that joined.
    Stopped,
}

impl fmt::Display for TallyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TallyError::Invalid { source } => source.fmt(f),
            TallyError::TooMany { limit } => {
                write!(f, "this instance counts {limit} resources, and may not count more")
            }
            TallyError::Stopped => f.write_str(super::STOPPED),
        }
    }
}

impl std::error::Error for TallyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text is this one's.
        if let TallyError::Invalid { source } = self { source.source() } else { None }
    }
}

impl From<ConfigError> for TallyError {
    fn from(source: ConfigError) -> Self {
        TallyError::Invalid { source }
    }
}

/// Why a resource could not be read or changed. Nothing was changed, except where a variant says
/// otherwise.
#[non_exhaustive]
#[derive(Debug)]
pub enum ResourceError {
    /// No instance has declared or uses the resource.
    Unknown {
        /// Its name.
        resource: String,
    },
    /// The supervisor does not allow it.
    Invalid {
        /// Why not.
        detail: String,
    },
    /// The supervisor could not be asked, or has no such instance.
    ///
    /// With [`AskError::SupervisorLost`] and [`AskError::TimedOut`] the change may have been made.
    Ask {
        /// Why not.
        source: AskError,
    },
}

impl fmt::Display for ResourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceError::Unknown { resource } => {
                write!(f, "no resource `{resource}`")
            }
            ResourceError::Invalid { detail } => f.write_str(detail),
            ResourceError::Ask { source } => source.fmt(f),
        }
    }
}

/// Why a setting was not set. Nothing was changed, except where a variant says otherwise.
#[non_exhaustive]
#[derive(Debug)]
pub enum SettingError {
    /// The present value is not the one that was expected.
    Changed {
        /// Its key.
        key: String,
        /// The present value; `None` if the setting is not set.
        present: Option<String>,
    },
    /// The group has as many settings as it may have.
    Full {
        /// The supervisor's description of the limit.
        detail: String,
    },
    /// The key or the value is not allowed.
    Invalid {
        /// Why not.
        detail: String,
    },
    /// The supervisor could not be asked.
    ///
    /// With [`AskError::SupervisorLost`] and [`AskError::TimedOut`] the setting may have been set.
    Ask {
        /// Why not.
        source: AskError,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingError::Changed { key, present: Some(present) } => {
                write!(f, "the setting `{key}` has changed meanwhile to {present:?}")
            }
            SettingError::Changed { key, present: None } => {
                write!(f, "the setting `{key}` is not set")
            }
            SettingError::Full { detail } => {
                write!(f, "there is no room for the setting: {detail}")
            }
            SettingError::Invalid { detail } => f.write_str(detail),
            SettingError::Ask { source } => source.fmt(f),
        }
    }
}

/// Why a message was not sent.
#[non_exhaustive]
#[derive(Debug)]
pub enum MessageError {
    /// The receiver has too many messages that it has not taken. It misses this message, and learns
    /// that it missed one.
    Behind {
        /// Its unique name.
        name: String,
    },
    /// The topic or the payload is not allowed. Nothing was sent.
    Invalid {
        /// Why not.
        detail: String,
    },
    /// The supervisor could not be asked, or has no such instance.
    ///
    /// With [`AskError::SupervisorLost`] and [`AskError::TimedOut`] the message may have reached
    /// some of its receivers.
    Ask {
        /// Why not.
        source: AskError,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Behind { name } => {
                write!(f, "`{name}` reads its messages too slowly, and misses this one")
            }
            MessageError::Invalid { detail } => f.write_str(detail),
            MessageError::Ask { source } => source.fmt(f),
        }
    }
}

macro_rules! asked {
    ($($error:ident),*) => {$(
        impl std::error::Error for $error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                // Its text is this one's.
                if let $error::Ask { source } = self { source.source() } else { None }
            }
        }

        impl From<AskError> for $error {
            fn from(source: AskError) -> Self {
                $error::Ask { source }
            }
        }
    )*};
}
asked!(ResourceError, SettingError, MessageError);
