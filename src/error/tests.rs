//! What every error says, from its first line to its last source.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

fn at() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 1, 2, 3), 81)
}

fn io_errors() -> Vec<io::Error> {
    let numbers = [2, 11, 13, 23, 24, 27, 28, 30, 99];
    let mut errors: Vec<io::Error> =
        numbers.iter().map(|number| io::Error::from_raw_os_error(*number)).collect();
    // One with a source of its own.
    errors.push(io::Error::other(keep_errors().remove(0)));
    errors
}

fn config_errors() -> Vec<ConfigError> {
    vec![ConfigError::new("port", 0, "a port is 1 to 65535")]
}

fn keep_errors() -> Vec<KeepError> {
    let full = io::Error::from_raw_os_error(28);
    vec![
        KeepError::system(Path::new("/d/web.term"), "write", &full),
        KeepError::system(Path::new("/d/web.term"), "write", &io::Error::other("odd")),
        KeepError::damaged(Path::new("/d/web.term"), b"x"),
        KeepError::damaged(Path::new("/d/web.term"), b""),
    ]
}

fn key_errors() -> Vec<KeyError> {
    let path = || PathBuf::from("/d/web.key");
    let (problem, remedy) = ("is odd".to_owned(), "remove it".to_owned());
    let mut errors = vec![
        KeyError::Exposed { path: path(), mode: 0o644 },
        KeyError::Foreign { path: path(), owner: 7 },
        KeyError::Malformed { path: path(), problem: problem.clone() },
        KeyError::Linked { path: path() },
        KeyError::Missing { path: path() },
        KeyError::Unsafe {
            path: path(),
            problem: problem.clone(),
            remedy: remedy.clone(),
            elsewhere: true,
        },
        KeyError::Unsafe { path: path(), problem, remedy, elsewhere: false },
    ];
    errors.extend(keep_errors().into_iter().map(|source| KeyError::Unkept { source }));
    let io = |source| KeyError::Io { path: path(), doing: "read the key file", source };
    errors.extend(io_errors().into_iter().map(io));
    for error in &errors {
        // A new variant belongs into the list above.
        match error {
            KeyError::Exposed { .. }
            | KeyError::Foreign { .. }
            | KeyError::Malformed { .. }
            | KeyError::Linked { .. }
            | KeyError::Missing { .. }
            | KeyError::Unsafe { .. }
            | KeyError::Unkept { .. }
            | KeyError::Io { .. } => {}
        }
    }
    errors
}

fn place_errors() -> Vec<PlaceError> {
    let mut errors = vec![
        PlaceError::NotHere { address: at() },
        PlaceError::NotHere { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 81) },
    ];
    errors.extend(config_errors().into_iter().map(PlaceError::from));
    errors.extend(key_errors().into_iter().map(PlaceError::from));
    for error in &errors {
        match error {
            PlaceError::Config { .. } | PlaceError::Key { .. } | PlaceError::NotHere { .. } => {}
        }
    }
    errors
}

fn join_errors() -> Vec<JoinError> {
    let holder = |stopped, dumping_core| PortHolder {
        pid: Some(7),
        program: Some("nc".into()),
        user: Some("ann".into()),
        stopped,
        dumping_core,
    };
    let timed_out = |holder| JoinError::TimedOut {
        address: at(),
        waited: Duration::from_secs(10),
        holder,
        obstacle: "nobody answers".into(),
    };
    let mut errors = vec![
        JoinError::PortHeld { address: at(), holder: holder(false, false) },
        JoinError::PortHeld { address: at(), holder: PortHolder::default() },
        JoinError::OtherGroup { address: at(), ours: "web".into(), theirs: "db".into() },
        JoinError::KeyMismatch {
            address: at(),
            holder: holder(false, false),
            key_file: "/d/web.key".into(),
        },
        JoinError::Version { address: at(), ours: (1, 1), theirs: (2, 3) },
        JoinError::PortForbidden { address: at() },
        JoinError::NameTaken { name: "one".into(), holder: "pid 7".into() },
        JoinError::GroupFull { detail: "it has 16384 instances".into() },
        JoinError::NoSupervisor { address: at() },
        timed_out(None),
        timed_out(Some(holder(false, false))),
        timed_out(Some(holder(true, false))),
        timed_out(Some(holder(false, true))),
    ];
    errors.extend(place_errors().into_iter().map(JoinError::from));
    let io = |source| JoinError::Io { doing: "open the admin endpoint", source };
    errors.extend(io_errors().into_iter().map(io));
    for error in &errors {
        match error {
            JoinError::Config { .. }
            | JoinError::Key { .. }
            | JoinError::PortHeld { .. }
            | JoinError::OtherGroup { .. }
            | JoinError::KeyMismatch { .. }
            | JoinError::Version { .. }
            | JoinError::PortForbidden { .. }
            | JoinError::NotHere { .. }
            | JoinError::NameTaken { .. }
            | JoinError::GroupFull { .. }
            | JoinError::NoSupervisor { .. }
            | JoinError::TimedOut { .. }
            | JoinError::Io { .. } => {}
        }
    }
    errors
}

fn ask_errors() -> Vec<AskError> {
    let mut errors = vec![
        AskError::NoSupervisor { address: at() },
        AskError::NoSuchInstance { name: "one".into() },
        AskError::TimedOut,
        AskError::SupervisorLost,
        AskError::Busy,
        AskError::Stopped,
    ];
    let refused = |error| AskError::Refused { source: Box::new(error) };
    errors.extend(join_errors().into_iter().map(refused));
    let io = |source| AskError::Io { doing: "ask the supervisor", source };
    errors.extend(io_errors().into_iter().map(io));
    for error in &errors {
        match error {
            AskError::NoSupervisor { .. }
            | AskError::Refused { .. }
            | AskError::NoSuchInstance { .. }
            | AskError::TimedOut
            | AskError::SupervisorLost
            | AskError::Busy
            | AskError::Stopped
            | AskError::Io { .. } => {}
        }
    }
    errors
}

fn call_errors() -> Vec<CallError> {
    let mut errors = vec![
        CallError::NoSuchFunction { instance: "one".into(), function: "fly".into() },
        CallError::PayloadTooLarge { bytes: 1 << 21, limit: 1 << 20 },
        CallError::Failed { detail: "no wings".into() },
        CallError::Panicked { detail: "no wings".into() },
        CallError::TimedOut,
        CallError::InstanceLost { name: "one".into() },
        CallError::Busy { name: "one".into() },
    ];
    errors.extend(ask_errors().into_iter().map(CallError::from));
    let io = |source| CallError::Io { doing: "call the instance", source };
    errors.extend(io_errors().into_iter().map(io));
    for error in &errors {
        match error {
            CallError::Ask { .. }
            | CallError::NoSuchFunction { .. }
            | CallError::PayloadTooLarge { .. }
            | CallError::Failed { .. }
            | CallError::Panicked { .. }
            | CallError::TimedOut
            | CallError::InstanceLost { .. }
            | CallError::Busy { .. }
            | CallError::Io { .. } => {}
        }
    }
    errors
}

fn acquire_errors() -> Vec<AcquireError> {
    let resource = || "db".to_owned();
    let mut errors = vec![
        AcquireError::Exhausted { resource: resource(), wanted: 3, free: 1 },
        AcquireError::OverLimit { resource: resource(), wanted: 3, limit: 2 },
        AcquireError::OverHolderLimit { resource: resource(), wanted: 3, limit: 2 },
        AcquireError::Unknown { resource: resource() },
        AcquireError::TooMany { limit: 1024 },
        AcquireError::TimedOut { resource: resource() },
        AcquireError::Stopped,
    ];
    errors.extend(config_errors().into_iter().map(AcquireError::from));
    for error in &errors {
        match error {
            AcquireError::Exhausted { .. }
            | AcquireError::OverLimit { .. }
            | AcquireError::OverHolderLimit { .. }
            | AcquireError::Unknown { .. }
            | AcquireError::Invalid { .. }
            | AcquireError::TooMany { .. }
            | AcquireError::TimedOut { .. }
            | AcquireError::Stopped => {}
        }
    }
    errors
}

fn tally_errors() -> Vec<TallyError> {
    let mut errors = vec![TallyError::TooMany { limit: 64 }, TallyError::Stopped];
    errors.extend(config_errors().into_iter().map(TallyError::from));
    for error in &errors {
        match error {
            TallyError::Invalid { .. } | TallyError::TooMany { .. } | TallyError::Stopped => {}
        }
    }
    errors
}

fn resource_errors() -> Vec<ResourceError> {
    let mut errors = vec![
        ResourceError::Unknown { resource: "db".into() },
        ResourceError::Invalid { detail: "a limit is 0 to 9".into() },
    ];
    errors.extend(ask_errors().into_iter().map(ResourceError::from));
    for error in &errors {
        match error {
            ResourceError::Unknown { .. }
            | ResourceError::Invalid { .. }
            | ResourceError::Ask { .. } => {}
        }
    }
    errors
}

fn setting_errors() -> Vec<SettingError> {
    let mut errors = vec![
        SettingError::Changed { key: "mode".into(), present: Some("fast".into()) },
        SettingError::Changed { key: "mode".into(), present: None },
        SettingError::Full { detail: "at most 256 settings".into() },
        SettingError::Invalid { detail: "a value of 9 bytes".into() },
    ];
    errors.extend(ask_errors().into_iter().map(SettingError::from));
    for error in &errors {
        match error {
            SettingError::Changed { .. }
            | SettingError::Full { .. }
            | SettingError::Invalid { .. }
            | SettingError::Ask { .. } => {}
        }
    }
    errors
}

fn message_errors() -> Vec<MessageError> {
    let mut errors = vec![
        MessageError::Behind { name: "one".into() },
        MessageError::Invalid { detail: "a payload of 9 bytes".into() },
    ];
    errors.extend(ask_errors().into_iter().map(MessageError::from));
    for error in &errors {
        match error {
            MessageError::Behind { .. }
            | MessageError::Invalid { .. }
            | MessageError::Ask { .. } => {}
        }
    }
    errors
}

fn peer_errors() -> Vec<masterless::JoinError> {
    let mut errors = vec![
        masterless::JoinError::PortHeld { address: at().into() },
        masterless::JoinError::PortForbidden { address: at().into() },
        masterless::JoinError::NotHere { what: "eth7".into() },
    ];
    errors.extend(config_errors().into_iter().map(masterless::JoinError::from));
    errors.extend(key_errors().into_iter().map(masterless::JoinError::from));
    let io = |source| masterless::JoinError::Io { doing: "open a socket", source };
    errors.extend(io_errors().into_iter().map(io));
    for error in &errors {
        match error {
            masterless::JoinError::Config { .. }
            | masterless::JoinError::Key { .. }
            | masterless::JoinError::PortHeld { .. }
            | masterless::JoinError::PortForbidden { .. }
            | masterless::JoinError::NotHere { .. }
            | masterless::JoinError::Io { .. } => {}
        }
    }
    errors
}

fn step_down_errors() -> Vec<StepDownError> {
    let errors = vec![
        StepDownError::NotSupervisor,
        StepDownError::Alone,
        StepDownError::JobRunning,
        StepDownError::TimedOut,
    ];
    for error in &errors {
        match error {
            StepDownError::NotSupervisor
            | StepDownError::Alone
            | StepDownError::JobRunning
            | StepDownError::TimedOut => {}
        }
    }
    errors
}

fn start_errors() -> Vec<StartError> {
    let io = |source| StartError::Io { doing: "start the job's thread", source };
    let mut errors: Vec<StartError> = io_errors().into_iter().map(io).collect();
    errors.push(StartError::Stopped);
    for error in &errors {
        match error {
            StartError::Stopped | StartError::Io { .. } => {}
        }
    }
    errors
}

/// Every public error, in every variant.
fn all() -> Vec<Box<dyn Error + Send + Sync>> {
    fn boxed<E: Error + Send + Sync + 'static>(
        errors: Vec<E>,
    ) -> impl Iterator<Item = Box<dyn Error + Send + Sync>> {
        errors.into_iter().map(|error| error.into())
    }
    boxed(config_errors())
        .chain(boxed(keep_errors()))
        .chain(boxed(key_errors()))
        .chain(boxed(place_errors()))
        .chain(boxed(join_errors()))
        .chain(boxed(ask_errors()))
        .chain(boxed(call_errors()))
        .chain(boxed(acquire_errors()))
        .chain(boxed(tally_errors()))
        .chain(boxed(resource_errors()))
        .chain(boxed(setting_errors()))
        .chain(boxed(message_errors()))
        .chain(boxed(peer_errors()))
        .chain(boxed(step_down_errors()))
        .chain(boxed(start_errors()))
        .collect()
}

#[test]
fn no_text_comes_twice_in_the_chain_of_any_error() {
    for error in all() {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(source) = next {
            let text = source.to_string();
            assert!(!texts.iter().any(|one| one.contains(&text)), "{texts:?} and {text:?}");
            texts.push(text);
            next = source.source();
        }
    }
}

#[test]
fn every_error_is_one_line_and_names_methods_instead_of_options_and_variables() {
    for error in all() {
        let text = error.to_string();
        let forbidden = ["--", "PARES_", "`pares ", "\n", "  ", "()", "; ;"];
        assert_eq!(forbidden.iter().find(|word| text.contains(**word)), None, "{text}");
        assert!(!text.ends_with([';', ' ', '.']), "{text:?}");
    }
}

#[test]
fn an_error_names_only_methods_that_the_configuration_has() {
    let text = include_str!("../config.rs");
    for error in all() {
        for method in error.to_string().split("Config::").skip(1) {
            let name: String =
                method.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(text.contains(&format!("pub fn {name}(mut self")), "no method {name}: {error}");
        }
    }
}
