//! Every public error, one type per operation. Each says what happened, to whom, what it did to the
//! state, and what to do.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

mod keep;
mod key;
pub(crate) mod masterless;
mod sharing;

pub use keep::KeepError;
pub use key::KeyError;
pub use sharing::{AcquireError, MessageError, ResourceError, SettingError};

/// A [`Config`](crate::Config) asks for something that cannot be. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl ConfigError {
    pub(crate) fn new(what: &'static str, value: impl ToString, rule: &'static str) -> Self {
        ConfigError { what, value: value.to_string(), rule }
    }

    /// Which setting it is: the name of the method of [`Config`](crate::Config), or the environment
    /// variable that was used for it.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} cannot be used: {}", self.what, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}

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

/// What to raise where the system is at a limit, to be read after the error itself; nothing for
/// other errors.
pub(crate) fn cure(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "; this process has no descriptor left: raise its limit (ulimit -n) or close some"
        }
        Some(Errno::NFILE) => "; the machine has no descriptor left: raise fs.file-max",
        Some(Errno::AGAIN) => {
            "; no thread can be started: raise the limits (ulimit -u, kernel.threads-max, \
             kernel.pid_max, vm.max_map_count, \
             pids.max of the control group)"
        }
        Some(Errno::FBIG) => {
            "; this process may write no file so large: raise the limit (ulimit -f)"
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "; the machine has no port left: widen net.ipv4.ip_local_port_range"
        }
        _ => "",
    }
}

/// `text` from a stranger, fit for a terminal and a log: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Also for a forked child, which cannot tell: it asks nobody.
const STOPPED: &str =
    "this instance has left its group, or this process was forked from the one that joined";

/// A port for people, with its address unless that is 127.0.0.1.
pub(crate) struct Port(pub(crate) SocketAddrV4);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Port(address) = self;
        write!(f, "port {}", address.port())?;
        if *address.ip() == Ipv4Addr::LOCALHOST {
            Ok(())
        } else {
            write!(f, " of {}", address.ip())
        }
    }
}

/// A version range for people.
struct Range((u16, u16));

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range((min, max)) = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min} to {max}") }
    }
}

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
