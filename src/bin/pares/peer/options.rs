//! Options of those who take part in a masterless group, and of those who only look.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pares::masterless::{Config, default_label};

use crate::failure::Failure;
use crate::group::{Group, variable};
use crate::time::milliseconds;

/// How heartbeats go; the same for all processes of a group.
#[derive(clap::Args)]
pub(crate) struct Network {
    /// Time between two heartbeats; a number alone is in milliseconds
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = milliseconds)]
    pub(crate) interval: Duration,

    /// Longest time until a heartbeat is acted on; a number alone is in milliseconds [default: half
    /// the interval]
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    delay: Option<Duration>,

    /// Send heartbeats to a multicast group, IPv4 or IPv6
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "peer")]
    multicast: Option<SocketAddr>,

    /// Network interface for --multicast: its name, or one of its addresses
    #[arg(long, value_name = "NAME", requires = "multicast")]
    interface: Option<String>,

    /// Receive heartbeats at this address, and send them to each --peer
    #[arg(long, value_name = "ADDR:PORT", requires = "peer")]
    bind: Option<SocketAddr>,

    /// Address, or name with all its addresses, to send heartbeats to; repeatable
    ///
    /// One of them may be this process's own address. Names are looked up repeatedly: a name may be
    /// unknown at first, and its addresses may change. If no name server answers and there is no
    /// other peer to send to, this process is not admitted.
    #[arg(long, value_name = "ADDR:PORT|NAME:PORT", requires = "bind")]
    peer: Vec<String>,

    /// File with a second key, accepted while the group changes its key
    #[arg(long, value_name = "FILE")]
    also_key: Option<PathBuf>,
}

impl Network {
    pub(crate) fn config(&self, group: &Group) -> Config {
        let mut config = Config::new(&group.name).interval(self.interval);
        if let Some(delay) = self.delay {
            config = config.delay(delay);
        }
        if let Some(port) = group.port {
            config = config.local(port);
        }
        if let Some(file) = group.key_file() {
            config = config.key_file(file);
        }
        if let Some(address) = self.multicast {
            config = config.multicast(address, self.interface.as_deref());
        }
        if let Some(bind) = self.bind {
            config = config.unicast_names(bind, &self.peer);
        }
        if let Some(file) = &self.also_key {
            config = config.also_key_file(file);
        }
        config
    }

    /// One that asks who is there, and is never let in.
    pub(crate) fn observer(&self, group: &Group) -> Config {
        self.config(group).service(ONLOOKER).rank(255).observe(true)
    }
}

/// The service type of those who only look: another one than that of processes with something to
/// do.
pub(crate) const ONLOOKER: u16 = u16::MAX;

/// What a process is that takes part.
#[derive(clap::Args)]
pub(crate) struct Member {
    #[command(flatten)]
    pub(crate) network: Network,

    /// Service type; each has its own primary [env: PARES_SERVICE; default: 0]
    #[arg(long, value_name = "N")]
    service: Option<u16>,

    /// Rank: the smallest becomes primary, among equal ones the oldest process; 255 never does
    #[arg(long, value_name = "N", default_value = "128")]
    rank: u8,

    /// Name of this process for people, cut to 32 bytes [env: PARES_LABEL; default: the names of
    /// the machine and of the program]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// Workload of this process, in any unit that the group shares
    #[arg(long, value_name = "N", default_value = "0")]
    workload: u16,

    /// Neither relieve a living primary of larger rank nor be relieved
    #[arg(long)]
    no_preempt: bool,

    /// Number of processes that a primary must see, itself included: more than half of the group
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    quorum: usize,

    /// Number of the start that created this process [env: PARES_ORIGIN]
    #[arg(long, value_name = "N")]
    origin: Option<u32>,
}

impl Member {
    /// `program` is what it is called by, if not by this command's own name.
    pub(crate) fn config(&self, group: &Group, program: Option<&str>) -> Result<Config, Failure> {
        let origin = match self.origin {
            Some(origin) => origin,
            None => variable("PARES_ORIGIN", "the number of a start")?.unwrap_or(0),
        };
        let config = self
            .network
            .config(group)
            .service(self.service()?)
            .rank(self.rank)
            .workload(self.workload);
        let label = match &self.label {
            Some(label) => Some(label.clone()),
            None => variable("PARES_LABEL", "a text in UTF-8")?
                .or_else(|| program.map(|program| default_label(program).to_string())),
        };
        let config = label.iter().fold(config, |config, label| config.label(label));
        Ok(config.preempt(!self.no_preempt).quorum(self.quorum).origin(origin))
    }

    pub(crate) fn service(&self) -> Result<u16, Failure> {
        match self.service {
            Some(service) => Ok(service),
            None => Ok(variable("PARES_SERVICE", "a service type")?.unwrap_or(0)),
        }
    }
}
