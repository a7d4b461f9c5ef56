//! Options that every subcommand has, and those of everyone who is an instance.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use log::LevelFilter;
use pares::{Client, Config, PlaceError};

use crate::failure::{Failure, USAGE};
use crate::time::seconds;

/// Which group, and how much to say, as the command line has it.
#[derive(Args)]
pub(crate) struct GroupArgs {
    /// Name of the group [env: PARES_GROUP; default: default]
    #[arg(short, long, global = true)]
    group: Option<String>,

    /// Supervisor port, on 127.0.0.1 [env: PARES_PORT, unless -g is given; default: 30099 for the
    /// group `default`, else a port and an address derived from group and user id]
    #[arg(short, long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// File with the group's key, such as a mounted secret [default: GROUP.key in PARES_DIR, made
    /// at first use]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Log only errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Log more: -v role changes, -vv also members and calls, -vvv also messages
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
}

impl GroupArgs {
    /// What counts of command line and environment: the nearer word. A port in the environment
    /// belongs to the group in the environment, not to another one that the command line names.
    pub(crate) fn resolved(&self) -> Result<Group, Failure> {
        let port = match (self.port, &self.group) {
            (Some(port), _) => Some(port),
            (None, Some(_)) => None,
            (None, None) => {
                variable::<NonZeroU16>("PARES_PORT", "a port number")?.map(NonZeroU16::get)
            }
        };
        let name = match &self.group {
            Some(name) => Some(name.clone()),
            None => variable("PARES_GROUP", "a name")?,
        };
        let name = name.unwrap_or_else(|| pares::DEFAULT_GROUP.to_owned());
        Ok(Group { name, port, key_file: self.key_file.clone() })
    }

    /// Starts the log to standard error.
    ///
    /// The log itself lets everything through; the level is the global one, which the admin
    /// function `log-level` sets.
    pub(crate) fn start_log(&self) {
        env_logger::Builder::new().filter_level(LevelFilter::Trace).init();
        log::set_max_level(match self.verbose {
            _ if self.quiet => LevelFilter::Error,
            0 => LevelFilter::Warn,
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        });
    }
}

/// What a variable of the environment says; an empty one says nothing, as one that a compose file
/// or a unit leaves empty.
///
/// # Errors
///
/// If it says something else than `what`. Others may use the name: a cluster sets NAME_PORT for
/// each of its services.
pub(crate) fn variable<T: FromStr>(name: &str, what: &str) -> Result<Option<T>, Failure> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        let value = value.to_string_lossy();
        Failure::new(
            USAGE,
            format!(
                "the environment variable {name} is {value:?}, which is not {what}: unset it, or \
                 use the option"
            ),
        )
    })
}

/// Which group.
pub(crate) struct Group {
    pub(crate) name: String,
    /// As it was chosen; most groups need none.
    pub(crate) port: Option<u16>,
    key_file: Option<PathBuf>,
}

impl Group {
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(&self.name);
        if let Some(file) = &self.key_file {
            config = config.key_file(file);
        }
        if let Some(port) = self.port { config.port(port) } else { config }
    }

    pub(crate) fn client(&self) -> Result<Client, PlaceError> {
        Client::new(&self.config())
    }
}

/// How the command appears in the registry when it is an instance itself.
#[derive(Args)]
pub(crate) struct Identity {
    /// Unique name of the instance [default: pares-N]
    #[arg(long)]
    name: Option<String>,

    /// Key and value for the instance's registry entry; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,

    /// Time limit for joining
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    timeout: Duration,

    /// Never become supervisor (a group of only such instances has none)
    #[arg(long)]
    never_supervisor: bool,

    /// Report an instance at the other end of a lifeline that has not answered properly for this
    /// long
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    hang_timeout: Option<Duration>,

    /// Kill (SIGKILL) the supervisor's process when it hangs, to let another instance take over
    #[arg(long, requires = "hang_timeout")]
    end_hung_supervisor: bool,
}

impl Identity {
    pub(crate) fn config(self, group: &Group) -> Config {
        let mut config =
            group.config().join_timeout(self.timeout).end_hung_supervisor(self.end_hung_supervisor);
        config = config.may_supervise(!self.never_supervisor);
        if let Some(timeout) = self.hang_timeout {
            config = config.hang_timeout(timeout);
        }
        if let Some(name) = self.name {
            config = config.name(name);
        }
        self.meta.into_iter().fold(config, |config, (key, value)| config.meta(key, value))
    }
}

/// How long the answer of another instance may take.
#[derive(Args)]
pub(crate) struct Patience {
    /// Time limit for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// A resource and how many units of it. A resource's name may have a `=` in it, a number has none.
pub(crate) fn share(text: &str) -> Result<(String, u64), String> {
    let (resource, units) = text.rsplit_once('=').ok_or("expected RESOURCE=NUMBER")?;
    Ok((resource.into(), units.parse().map_err(|_| "expected RESOURCE=NUMBER")?))
}
