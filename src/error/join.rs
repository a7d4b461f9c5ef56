//! Why an instance could not take part in its group, and who stood in its way.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, KeyError, Port, Range, cure};

/// Who holds a port, as far as the system tells.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortHolder {
    /// The holder's process, where we may see it.
    pub pid: Option<u32>,
    /// The program's name.
    pub program: Option<String>,
    /// The user the port's socket belongs to: a name where the system knows one, else the number.
    pub user: Option<String>,
    /// True if the process is stopped (SIGSTOP, a debugger) and so answers nobody.
    pub stopped: bool,
    /// True if the process has crashed and is writing its core dump: until that is written it holds
    /// the port, and answers nobody.
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
/// In every case nothing is left behind: no thread, no descriptor, no registry entry.
#[non_exhaustive]
#[derive(Debug)]
pub enum JoinError {
    /// The configuration asks for something that cannot be.
    Config(ConfigError),
    /// The group's key cannot be used.
    Key(KeyError),
    /// The supervisor port is held by something that is not a pares instance. Choose another port.
    PortHeld {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// Who holds it.
        holder: PortHolder,
    },
    /// The supervisor port serves another group. Choose another port for one of the two.
    OtherGroup {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// This instance's group.
        ours: String,
        /// The group that has the port.
        theirs: String,
    },
    /// Whoever holds the supervisor port does not have this group's key.
    KeyMismatch {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// Who holds it.
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
    /// another one.
    PortForbidden {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// The loopback interface does not have the group's address, see
    /// [`default_address`](crate::default_address). Bring it up as 127.0.0.1/8, or set a port for
    /// all of the group, which is then on 127.0.0.1.
    NotHere {
        /// The supervisor port, and the address it would be on.
        address: SocketAddrV4,
    },
    /// Another living instance has this name. Choose another name, or stop that instance.
    NameTaken {
        /// The name.
        name: String,
        /// What the supervisor said of the holder.
        holder: String,
    },
    /// The group has as many members as its supervisor admits.
    GroupFull {
        /// What the supervisor said.
        detail: String,
    },
    /// Nobody supervised the group in all the time, and this instance may not, see
    /// [`Config::may_supervise`](crate::Config::may_supervise).
    NoSupervisor {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
    },
    /// No role was known when the time was over.
    Deadline {
        /// The supervisor port, and the address it is on.
        address: SocketAddrV4,
        /// How long this instance tried.
        waited: Duration,
        /// Who holds the port, if anybody.
        holder: Option<PortHolder>,
        /// What stood in the way last.
        obstacle: String,
    },
    /// The system refused something this instance cannot do without.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Config(error) => error.fmt(f),
            JoinError::Key(error) => error.fmt(f),
            JoinError::PortHeld { address, holder } => write!(
                f,
                "{} is held by {holder}, not by a pares instance; choose another with --port or \
                 PARES_PORT",
                Port(*address)
            ),
            JoinError::OtherGroup { address, ours, theirs } => write!(
                f,
                "{} serves the group `{theirs}`, not `{ours}`; choose another with --port or \
                 PARES_PORT",
                Port(*address)
            ),
            JoinError::KeyMismatch { address, holder, key_file } => write!(
                f,
                "{} is held by {holder}, which does not have this group's key of {}; if it is this \
                 group, run as \
                 the same user, with the same directory (PARES_DIR; `pares doctor` says which and \
                 why) or key file \
                 (--key-file); else choose another port with --port or PARES_PORT",
                Port(*address),
                key_file.display()
            ),
            JoinError::Version { address, ours, theirs } => write!(
                f,
                "the supervisor on {} speaks protocol version {}, this instance {}; update the \
                 older one",
                Port(*address),
                Range(*theirs),
                Range(*ours)
            ),
            JoinError::PortForbidden { address } => {
                let port = Port(*address);
                write!(
                    f,
                    "this user may not bind {port}; choose one from 1024 upwards with --port or \
                     PARES_PORT"
                )
            }
            JoinError::NotHere { address } => {
                let ip = address.ip();
                write!(
                    f,
                    "this machine, or network namespace, does not have {ip}, or its loopback \
                     interface is down: bring that up \
                     with its usual 127.0.0.1/8 (ip address add 127.0.0.1/8 dev lo; ip link set lo \
                     up)"
                )?;
                if *ip == Ipv4Addr::LOCALHOST {
                    return Ok(());
                }
                f.write_str(
                    "; or set a port with --port or PARES_PORT: the group is then on 127.0.0.1",
                )
            }
            JoinError::NameTaken { name, holder } => {
                write!(
                    f,
                    "the name `{name}` belongs to {holder}; choose another with --name, or stop \
                     that one"
                )
            }
            JoinError::GroupFull { detail } => write!(f, "the group is full: {detail}"),
            JoinError::NoSupervisor { address } => write!(
                f,
                "nobody supervises the group on {}, and this instance may not (--never-supervisor, \
                 Config::may_supervise): start one that may",
                Port(*address)
            ),
            JoinError::Deadline { address, waited, holder, obstacle } => {
                write!(
                    f,
                    "no role after {:.1} s on {}: {obstacle}",
                    waited.as_secs_f64(),
                    Port(*address)
                )?;
                match holder {
                    Some(holder) if holder.stopped => {
                        let pid = holder.pid.unwrap_or_default();
                        write!(
                            f,
                            "; the port is held by {holder}: continue it with `kill -CONT {pid}`, \
                             or kill it"
                        )
                    }
                    Some(holder) if holder.dumping_core => write!(
                        f,
                        "; the port is held by {holder}: it is free when that is written; kill it \
                         to have it sooner, and see \
                         Config::release_on_crash"
                    ),
                    Some(holder) => write!(f, "; the port is held by {holder}"),
                    None => Ok(()),
                }
            }
            JoinError::Io { doing, source } => {
                write!(f, "cannot {doing}: {source}{}", cure(source))
            }
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::Config(error) => Some(error),
            JoinError::Key(error) => Some(error),
            JoinError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ConfigError> for JoinError {
    fn from(error: ConfigError) -> Self {
        JoinError::Config(error)
    }
}

impl From<KeyError> for JoinError {
    fn from(error: KeyError) -> Self {
        JoinError::Key(error)
    }
}
