//! What to do about an error, in the command's words. The library names the methods of its
//! configuration; who types a command needs its options, variables and other commands instead.

use pares::{
    AcquireError, AskError, CallError, ConfigError, ContendingCause, JoinError, KeyError,
    ListenError, PlaceError, ResourceError, SettingError, StartError, StepDownError, masterless,
};

/// An error as the command tells it.
pub(crate) trait Told {
    fn told(&self) -> String;
}

/// What to do, with the options for the settings that it is about; empty if there is nothing.
pub(crate) fn with_options(remedy: &str, settings: &[&str]) -> String {
    let options: Vec<&str> = settings.iter().filter_map(|setting| option(setting)).collect();
    if remedy.is_empty() || options.is_empty() {
        return remedy.to_owned();
    }
    format!("{remedy} ({})", options.join("; "))
}

/// How the command sets what a method of the configuration sets.
fn option(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "port" => "--port or PARES_PORT",
        "name" => "--name",
        "key_file" => "--key-file",
        "state_directory" => "PARES_DIR; see `pares doctor`",
        "may_supervise" => "without --never-supervisor",
        _ => return None,
    })
}

fn advised(finding: String, remedy: &str, settings: &[&str]) -> String {
    match with_options(remedy, settings) {
        remedy if remedy.is_empty() => finding,
        remedy => format!("{finding}; {remedy}"),
    }
}

macro_rules! with_remedy {
    ($($error:ident),*) => {$(
        impl Told for $error {
            fn told(&self) -> String {
                advised(self.finding(), &self.remedy(), self.settings())
            }
        }
    )*};
}
with_remedy!(JoinError, KeyError, PlaceError);

macro_rules! as_they_are {
    ($($error:ident),*) => {$(
        impl Told for $error {
            fn told(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
as_they_are!(ConfigError, ListenError, StartError, StepDownError);

/// An event that says what is in the way is read by the same people as an error.
impl Told for ContendingCause {
    fn told(&self) -> String {
        match self {
            ContendingCause::Obstructed { finding, remedy, settings } => {
                advised(finding.clone(), remedy, settings)
            }
            cause => cause.to_string(),
        }
    }
}

impl Told for masterless::JoinError {
    fn told(&self) -> String {
        match self {
            masterless::JoinError::Key { source } => source.told(),
            error => error.to_string(),
        }
    }
}

impl Told for AskError {
    fn told(&self) -> String {
        match self {
            AskError::Refused { source } => source.told(),
            AskError::NoSuchInstance { .. } => format!("{self}; `pares ls` lists the instances"),
            AskError::TimedOut => format!("{self}; `pares doctor` shows the cause"),
            error => error.to_string(),
        }
    }
}

impl Told for CallError {
    fn told(&self) -> String {
        match self {
            CallError::Ask { source } => source.told(),
            CallError::NoSuchFunction { instance, .. } => {
                format!("{self}; `pares functions {instance}` lists its functions")
            }
            error => error.to_string(),
        }
    }
}

impl Told for AcquireError {
    fn told(&self) -> String {
        match self {
            AcquireError::Exhausted { resource, .. } | AcquireError::TimedOut { resource } => {
                format!("{self}; `pares usage {resource}` lists the holders")
            }
            AcquireError::OverLimit { .. } => format!("{self}; raise it with `pares limit`"),
            error => error.to_string(),
        }
    }
}

impl Told for ResourceError {
    fn told(&self) -> String {
        match self {
            ResourceError::Ask { source } => source.told(),
            ResourceError::Unknown { .. } => format!("{self}; `pares usage` lists the resources"),
            error => error.to_string(),
        }
    }
}

impl Told for SettingError {
    fn told(&self) -> String {
        match self {
            SettingError::Ask { source } => source.told(),
            error => error.to_string(),
        }
    }
}
