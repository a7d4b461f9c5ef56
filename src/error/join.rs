//! Why an instance could not take part in its group, and which process stood in its way.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, KeyError, PlaceError, Port, Range, advised, cure};

/// The process that holds a port, as far as the system tells.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortHolder {
    /// The process ID, if this process may see it.
    pub pid: Option<u32>,
    /// The program's name.
    pub program: Option<String>,
    /// The user that owns the port's socket: the name if the system knows one, otherwise the
    /// number.
    pub user: Option<String>,
    /// True if the process is stopped (SIGSTOP, a debugger) and therefore answers nobody.
    pub stopped: bool,
    /// True if the process has crashed and is writing its core dump. Until the dump is written, the
    /// process holds the port and answers nobody.
    pub dumping_core: bool,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            Some(program) => write!(f, "`{program}`")?,
            None => f.write_str("a program that cannot be seen from here")?,
        }
        let mut facts = Vec::new();
        facts.extend(self.pid.map(|pid| format!("pid {pid}")));
        facts.extend(self.user.as_ref().map(|user| format!("user {user}")));
        if self.stopped {
            facts.push("stopped".into());
        }
        if self.dumping_core {
            facts.push("writing its core dump".into());
        }
        if facts.is_empty() { Ok(()) } else { write!(f, " ({})", facts.join(", ")) }
    }
}

/// Why an instance could not take part in its group.
///
/// Nothing is left behind in any of these cases: no thread, no descriptor, no registry entry.
#[non_exhaustive]
#[derive(Debug)]
pub enum JoinError {
    /// The configuration has a value that is not allowed.
    Config {
        /// Which value, and what is allowed.
        source: ConfigError,
    },
    /// The group's key cannot be used.
    Key {
        /// Why not.
        source: KeyError,
    },
    /// Another program than a pares instance holds the supervisor port. Choose another port.
    PortHeld {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// The holder of the port.
        holder: PortHolder,
    },
    /// The supervisor port serves another group. Choose another port for one of the two groups.
    OtherGroup {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// This instance's group.
        ours: String,
        /// The group that has the port.
        theirs: String,
    },
    /// The holder of the supervisor port does not have this group's key.
    KeyMismatch {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// The holder of the port.
        holder: PortHolder,
        /// The file with this instance's key.
        key_file: PathBuf,
    },
    /// The supervisor speaks no protocol version that this instance speaks. Update the older of the
    /// two.
    Version {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// Lowest and highest version of this instance.
        ours: (u16, u16),
        /// Lowest and highest version of the supervisor.
        theirs: (u16, u16),
    },
    /// The system does not allow this user to bind the port (below 1024, or by policy). Choose
    /// another port.
    PortForbidden {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// The loopback interface does not have the group's address, see
    /// [`default_address`](crate::default_address). Bring the interface up with 127.0.0.1/8, or set
    /// a port for the whole group, which is then on 127.0.0.1.
    NotHere {
        /// The supervisor port, and the address it would be on.
        address: SocketAddrV4,
    },
    /// Another living instance has this name. Choose another name, or stop that instance.
    NameTaken {
        /// The name.
        name: String,
        /// The supervisor's description of the holder.
        holder: String,
    },
    /// The group has as many members as its supervisor admits.
    GroupFull {
        /// The supervisor's description of its limit.
        detail: String,
    },
    /// No instance supervised the group until the timeout, and this instance may not, see
    /// [`Config::may_supervise`](crate::Config::may_supervise).
    NoSupervisor {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// No role was known at the end of the join timeout.
    TimedOut {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// How long this instance tried.
        waited: Duration,
        /// The holder of the port, if there is one.
        holder: Option<PortHolder>,
        /// The last obstacle.
        obstacle: String,
    },
    /// The system refused something that this instance needs.
    Io {
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl JoinError {
    /// Returns what happened, without the remedy.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            JoinError::Config { source } => source.to_string(),
            JoinError::Key { source } => source.finding(),
            JoinError::PortHeld { address, holder } => {
                format!("{} is held by {holder}, not by a pares instance", Port(*address))
            }
            JoinError::OtherGroup { address, ours, theirs } => {
                format!("{} serves the group `{theirs}`, not `{ours}`", Port(*address))
            }
            JoinError::KeyMismatch { address, holder, key_file } => format!(
                "{} is held by {holder}, which does not have this group's key of {}",
                Port(*address),
                key_file.display()
            ),
            JoinError::Version { address, ours, theirs } => format!(
                "the supervisor on {} speaks protocol version {}, this instance {}",
                Port(*address),
                Range(*theirs),
                Range(*ours)
            ),
            JoinError::PortForbidden { address } => {
                format!("this user may not bind {}", Port(*address))
            }
            JoinError::NotHere { address } => PlaceError::not_here(*address.ip()),
            JoinError::NameTaken { name, holder } => {
                format!("the name `{name}` belongs to {holder}")
            }
            JoinError::GroupFull { detail } => format!("the group is full: {detail}"),
            JoinError::NoSupervisor { address } => {
                format!(
                    "nobody supervises the group on {}, and this instance may not",
                    Port(*address)
                )
            }
            JoinError::TimedOut { address, waited, holder, obstacle } => {
                let waited = waited.as_secs_f64();
                let holder =
                    holder.as_ref().map(|holder| format!("; the port is held by {holder}"));
                format!(
                    "no role after {waited:.1} s on {}: {obstacle}{}",
                    Port(*address),
                    holder.unwrap_or_default()
                )
            }
            JoinError::Io { doing, source } => format!("cannot {doing}: {source}"),
        }
    }

    /// Returns what to do; empty if there is nothing to say. [`settings`](JoinError::settings)
    /// returns the methods of [`Config`](crate::Config) concerned.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            JoinError::Config { .. } | JoinError::GroupFull { .. } => String::new(),
            JoinError::Key { source } => source.remedy(),
            JoinError::PortHeld { .. } => "choose another port".into(),
            JoinError::OtherGroup { .. } => "choose another port for one of the two".into(),
            JoinError::KeyMismatch { .. } => {
                "if that is this group, run both as one user, with one directory or key file; \
                 otherwise choose another port"
                    .into()
            }
            JoinError::Version { .. } => "update the older of the two".into(),
            JoinError::PortForbidden { .. } => "choose a port from 1024 upwards".into(),
            JoinError::NotHere { address } => PlaceError::bring_up(*address.ip()),
            JoinError::NameTaken { .. } => "choose another name, or stop that instance".into(),
            JoinError::NoSupervisor { .. } => "start an instance that may supervise".into(),
            JoinError::TimedOut { holder: Some(holder), .. } if holder.stopped => {
                let pid = holder.pid.unwrap_or_default();
                format!("continue the holder with `kill -CONT {pid}`, or kill it")
            }
            JoinError::TimedOut { holder: Some(holder), .. } if holder.dumping_core => {
                "the port is free once the core dump is written; kill the holder to free it \
                 sooner, and see Config::release_on_crash"
                    .into()
            }
            JoinError::TimedOut { .. } => String::new(),
            JoinError::Io { source, .. } => cure(source).into(),
        }
    }

    /// Returns the methods of [`Config`](crate::Config) that the [remedy](JoinError::remedy) is
    /// about.
    ///
    /// Use it in a program that has options of its own for these settings, and names them instead.
    #[must_use]
    pub fn settings(&self) -> &'static [&'static str] {
        match self {
            JoinError::Key { source } => source.settings(),
            JoinError::PortHeld { .. }
            | JoinError::OtherGroup { .. }
            | JoinError::PortForbidden { .. } => &["port"],
            JoinError::KeyMismatch { .. } => &["state_directory", "key_file", "port"],
            JoinError::NotHere { address } => PlaceError::elsewhere(*address.ip()),
            JoinError::NameTaken { .. } => &["name"],
            JoinError::NoSupervisor { .. } => &["may_supervise"],
            JoinError::Config { .. }
            | JoinError::Version { .. }
            | JoinError::GroupFull { .. }
            | JoinError::TimedOut { .. }
            | JoinError::Io { .. } => &[],
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.finding(), &self.remedy(), self.settings())
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are in this one's.
            JoinError::Config { source } => source.source(),
            JoinError::Key { source } => source.source(),
            JoinError::Io { source, .. } => source.source(),
            JoinError::PortHeld { .. }
            | JoinError::OtherGroup { .. }
            | JoinError::KeyMismatch { .. }
            | JoinError::Version { .. }
            | JoinError::PortForbidden { .. }
            | JoinError::NotHere { .. }
            | JoinError::NameTaken { .. }
            | JoinError::GroupFull { .. }
            | JoinError::NoSupervisor { .. }
            | JoinError::TimedOut { .. } => None,
        }
    }
}

impl From<ConfigError> for JoinError {
    fn from(source: ConfigError) -> Self {
        JoinError::Config { source }
    }
}

impl From<KeyError> for JoinError {
    fn from(source: KeyError) -> Self {
        JoinError::Key { source }
    }
}

impl From<PlaceError> for JoinError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Config { source } => JoinError::Config { source },
            PlaceError::Key { source } => JoinError::Key { source },
            PlaceError::NotHere { address } => JoinError::NotHere { address },
        }
    }
}
