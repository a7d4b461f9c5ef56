//! What a process of a masterless group may choose, and the limits that such a group keeps.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::directory::state_directory;
use super::place::default_port;
use crate::error::ConfigError;

mod check;
mod destination;
mod limits;

pub(crate) use destination::{Destination, host_and_port};
pub(crate) use limits::*;

/// How many processes of a service type a group is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The service type.
    pub(crate) service: u16,
    /// With fewer, one is started.
    pub(crate) min: u16,
    /// With more, the youngest standby leaves.
    pub(crate) max: Option<u16>,
}

/// How heartbeats come to all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// All processes of this machine, on this port; without one, the group's.
    Local(Option<u16>),
    Multicast {
        group: SocketAddr,
        interface: Option<String>,
    },
    Unicast {
        bind: SocketAddr,
        peers: Vec<Destination>,
    },
}

/// Called for the present workload.
pub(crate) type WorkloadSource = Arc<dyn Fn() -> u16 + Send + Sync>;

/// What a process of a masterless group is to be: its group, service type, rank, and how heartbeats
/// come to the others.
///
/// A builder; nothing is checked or done until it is given to
/// [`Peer::join`](crate::masterless::Peer::join). What is said here of *all processes* must be the
/// same in all of them: group, key, transport, interval and delay.
///
/// # Examples
///
/// ```
/// use pares::masterless::Config;
///
/// // A worker of service type 7 on a network, that shall be primary only if nobody else can.
/// let address = "239.1.2.3:4000".parse()?;
/// let config = Config::new("web").service(7).rank(200).lan().multicast(address, Some("eth0"));
/// assert_eq!(config.group(), "web");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Config {
    pub(crate) group: String,
    pub(crate) service: u16,
    pub(crate) rank: u8,
    pub(crate) label: Option<String>,
    pub(crate) origin: u32,
    pub(crate) transport: Transport,
    pub(crate) interval: Duration,
    /// `None`: it follows the interval.
    pub(crate) delay: Option<Duration>,
    pub(crate) preempt: bool,
    pub(crate) quorum: usize,
    pub(crate) slow_above: usize,
    pub(crate) max_members: usize,
    pub(crate) needs: Vec<Need>,
    pub(crate) can_start: bool,
    pub(crate) launcher: Vec<OsString>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) also_key_file: Option<PathBuf>,
    pub(crate) events: usize,
    pub(crate) prepare_handover: bool,
    pub(crate) workload: u16,
    pub(crate) workload_source: Option<WorkloadSource>,
    pub(crate) observe: bool,
}

impl Config {
    /// A process of `group` on this machine with all defaults: service type 0, rank 128, 200 ms
    /// between two heartbeats.
    ///
    /// A group's name has 1 to 64 characters out of `A-Z a-z 0-9 . _ -` and does not begin with a
    /// dot or a dash.
    pub fn new(group: impl Into<String>) -> Self {
        Config {
            group: group.into(),
            service: 0,
            rank: 128,
            label: None,
            origin: 0,
            transport: Transport::Local(None),
            interval: Duration::from_millis(200),
            delay: None,
            preempt: true,
            quorum: 0,
            slow_above: 0,
            max_members: MAX_PEERS,
            needs: Vec::new(),
            can_start: false,
            launcher: Vec::new(),
            directory: None,
            key_file: None,
            also_key_file: None,
            events: 1024,
            prepare_handover: false,
            workload: 0,
            workload_source: None,
            observe: false,
        }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Sets the service type. Each type of a group has a primary of its own. Default: 0.
    pub fn service(mut self, service: u16) -> Self {
        self.service = service;
        self
    }

    /// Sets the rank: of two processes the one with the smaller rank is to be primary, of equal
    /// ranks the one that was admitted first. With 255 it never becomes primary, but is a witness
    /// of who is. Default: 128.
    pub fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Sets what people call this process: its heartbeats carry it, and the others show it in their
    /// records and events. Default: the machine's name up to the first dot and the program's, as
    /// [`default_label`](crate::masterless::default_label) makes them, such as
    /// `worker-1/scheduler`.
    ///
    /// Any text makes a label, as [`Label::new`](crate::masterless::Label::new) says: at most 32
    /// bytes of it count, and control characters become `?`. With an empty text the process has no
    /// label. Two processes may have the same one.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the number of the start by which this process came to be, as
    /// [`EventKind::Spawn`](crate::masterless::EventKind::Spawn) has it, or `PARES_ORIGIN` where a
    /// [`launcher`](Config::launcher) has started it. Default: 0, started by nobody of the
    /// group.
    pub fn origin(mut self, origin: u32) -> Self {
        self.origin = origin;
        self
    }

    /// Heartbeats go to all processes of this machine, on this UDP port of the loopback network.
    /// The default, with the port that [`default_port`] has for the group.
    ///
    /// Several groups may use one port: each drops what is not its own.
    pub fn local(mut self, port: u16) -> Self {
        self.transport = Transport::Local(Some(port));
        self
    }

    /// Heartbeats go to a multicast group, IPv4 or IPv6, and with it to every process on the local
    /// network that has joined it. They do not pass routers.
    ///
    /// `interface` is the name of a network interface or an address that it has; without one, the
    /// system chooses. Choose [`lan`](Config::lan) or [`lossy`](Config::lossy) times too.
    pub fn multicast(mut self, group: SocketAddr, interface: Option<&str>) -> Self {
        self.transport = Transport::Multicast { group, interface: interface.map(Into::into) };
        self
    }

    /// Heartbeats go to each of `peers`, at most 256, from the address `bind`; for networks without
    /// multicast.
    ///
    /// This process's own address may be among them, so that all processes can have one list.
    /// Whoever of the group is heard from another address is sent to there, too, for as long as it
    /// is heard. A heartbeat has got out when the system has taken it for one address that is not
    /// its own; if that goes for none, this process [cannot
    /// send](crate::masterless::EventKind::CannotSend). That others do not listen does not count.
    pub fn unicast(
        mut self,
        bind: SocketAddr,
        peers: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        self.transport = Transport::Unicast {
            bind,
            peers: peers.into_iter().map(Destination::Address).collect(),
        };
        self
    }

    /// As [`unicast`](Config::unicast), with peers that are an address or a name, each with a
    /// port: `worker-1:4000`.
    ///
    /// Heartbeats go to all addresses of a name that are of the family of `bind`. Names are looked
    /// up as the system is set up to, each on a thread of its own, so that no heartbeat waits for a
    /// name server: by [`Peer::join`](crate::masterless::Peer::join), which waits for up to a
    /// second, and goes on without those that take longer; again when an address of the name falls
    /// silent, for whoever is started anew may have another one; and else after 1 s, 2 s, and so on
    /// to every 30 s. What goes wrong is logged once, and tried again for ever. A name that cannot
    /// be looked up any more keeps its addresses.
    ///
    /// A process is not let in before all names were looked up once; nor, if there is nobody else
    /// to send to, while a name server does not answer: it [cannot
    /// send](crate::masterless::EventKind::CannotSend), for it cannot know that it is alone. A name
    /// that does not exist is that of a machine that is not started, and keeps nobody out. Look for
    /// it in the log: it may be mistyped.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::masterless::Config;
    ///
    /// // All have one list, with their own name in it.
    /// let all = ["worker-1:4000", "worker-2:4000", "10.0.0.7:4000"];
    /// let config = Config::new("web").lan().unicast_names("0.0.0.0:4000".parse()?, all);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn unicast_names<N: Into<String>>(
        mut self,
        bind: SocketAddr,
        peers: impl IntoIterator<Item = N>,
    ) -> Self {
        self.transport =
            Transport::Unicast { bind, peers: peers.into_iter().map(Destination::new).collect() };
        self
    }

    /// Sets times for a local network: 500 ms between two heartbeats, and half of that as
    /// [delay](Config::delay). If no heartbeat is lost or late, the others replace a dead
    /// primary within 2.1 s, on average within 1.8 s.
    pub fn lan(mut self) -> Self {
        self.delay = None;
        self.interval(Duration::from_millis(500))
    }

    /// Sets times for networks that lose much, and for machines that stand still now and then: 1 s
    /// between two heartbeats, 1 s [delay](Config::delay). If no heartbeat is lost or late, the
    /// others replace a dead primary within 5.2 s, on average within 4.7 s.
    pub fn lossy(self) -> Self {
        self.interval(Duration::from_secs(1)).delay(Duration::from_secs(1))
    }

    /// Sets the time between two heartbeats, 20 ms to 60 s; the same for all processes. Default:
    /// 200 ms.
    ///
    /// The others suspect a process that they have not heard for three intervals, and take it for
    /// dead after twice the [delay](Config::delay) more. With the defaults, if no heartbeat is lost
    /// or late, they replace a dead primary within 0.85 s, on average within 0.7 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long a heartbeat may be under way, until the other process acts on it: at least 20
    /// ms, at most ten intervals; the same for all processes. Default: half of the interval.
    ///
    /// Never two primaries at once holds as long as this holds.
    /// [`Peer::counters`](crate::masterless::Peer::counters) tell what was seen.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// The delay that counts.
    pub(crate) fn assumed_delay(&self) -> Duration {
        self.delay.unwrap_or_else(|| (self.interval / 2).max(limits::MIN_DELAY))
    }

    /// Sets whether a process that is better by its rank relieves a living primary. Default: true;
    /// it then does some intervals after it was admitted, in an orderly handover. With false this
    /// process neither relieves another nor is relieved.
    pub fn preempt(mut self, preempt: bool) -> Self {
        self.preempt = preempt;
        self
    }

    /// Sets how many processes of the group must be there for one to be primary: more than half of
    /// them, so that of a divided group only one part has a primary. Default: 0, no such rule: then
    /// each part has one.
    pub fn quorum(mut self, processes: usize) -> Self {
        self.quorum = processes;
        self
    }

    /// In groups larger than this, standbys that are far from being primary say less. Default: 0,
    /// never.
    pub fn slow_above(mut self, processes: usize) -> Self {
        self.slow_above = processes;
        self
    }

    /// Sets how many others this process keeps in its record; of more it keeps those that matter to
    /// it. Default and most: 4096.
    pub fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// The group is to have at least `min` processes of a service type, and at most `max`.
    ///
    /// If there are fewer, one process that [can](Config::can_start) starts another; if there
    /// are more for long, the youngest standby leaves by itself. All processes should be told the
    /// same.
    pub fn need(mut self, service: u16, min: u16, max: Option<u16>) -> Self {
        self.needs.push(Need { service, min, max });
        self
    }

    /// Says that this process can start others: its program does so on
    /// [`EventKind::Spawn`](crate::masterless::EventKind::Spawn). Default: false.
    pub fn can_start(mut self, can: bool) -> Self {
        self.can_start = can;
        self
    }

    /// Says that this process can start others, and how: by this program with these arguments.
    ///
    /// It finds the group, the service type that it is to be of, and the number it is to give as
    /// its [`origin`](Config::origin) in `PARES_GROUP`, `PARES_SERVICE` and `PARES_ORIGIN`; and
    /// in `PARES_DIR` and `PARES_PORT` what is set here of the two. It lives on when this process
    /// ends; its end is noticed, and logged if it is a failure, as long as this process takes part.
    pub fn launcher<A: Into<OsString>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.launcher = command.into_iter().map(Into::into).collect();
        self.can_start = true;
        self
    }

    /// Sets the directory that holds the group's key and its last epochs, made with mode 0700 where
    /// it is missing.
    ///
    /// An absolute path. Default: see [`Config::state_directory`](crate::Config::state_directory).
    pub fn state_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the file with the group's key, the same key for all processes; checked as
    /// [`Config::key_file`](crate::Config::key_file).
    ///
    /// Default: `GROUP.key` in the [directory](Config::state_directory), made with random bytes at
    /// first use.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.key_file = Some(key_file.into());
        self
    }

    /// Sets the file with a second key, that this process accepts and does not use.
    ///
    /// So a key is changed without a pause: start all processes anew, one by one, with the new key
    /// here; then with the new one as [`key_file`](Config::key_file) and the old one here; then
    /// without the old one.
    pub fn also_key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.also_key_file = Some(key_file.into());
        self
    }

    /// Sets how many events a receiver holds before it misses some, at least 2. Default: 1024.
    pub fn event_capacity(mut self, capacity: usize) -> Self {
        self.events = capacity;
        self
    }

    /// Sets whether this program brings its work to an end before it hands over, and then says so
    /// by [`Peer::handover_ready`](crate::masterless::Peer::handover_ready). Default: false, it
    /// hands over at once.
    ///
    /// It has two intervals from
    /// [`EventKind::PrepareHandover`](crate::masterless::EventKind::PrepareHandover) on; then it
    /// hands over all the same.
    pub fn prepare_handover(mut self, prepares: bool) -> Self {
        self.prepare_handover = prepares;
        self
    }

    /// Sets how much this process has to do, by any measure that all of the group share. Default:
    /// 0.
    pub fn workload(mut self, workload: u16) -> Self {
        self.workload = workload;
        self
    }

    /// Has `workload` asked for the workload, once in each interval.
    ///
    /// It is called on the thread that sends the heartbeats, which do not go on before it returns:
    /// it should give a number that is there already. If it panics, the last one counts.
    pub fn workload_from(mut self, workload: impl Fn() -> u16 + Send + Sync + 'static) -> Self {
        self.workload_source = Some(Arc::new(workload));
        self
    }

    /// Has this process only look on: it asks who is there, listens, and is never admitted. Its
    /// status is always `joining`. Default: false.
    pub fn observe(mut self, observe: bool) -> Self {
        self.observe = observe;
        self
    }

    /// The UDP port of the transport on one machine.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self.transport {
            Transport::Local(port) => Some(port.unwrap_or_else(|| default_port(&self.group))),
            Transport::Multicast { .. } | Transport::Unicast { .. } => None,
        }
    }

    pub(crate) fn locate_state_directory(&self) -> Result<PathBuf, ConfigError> {
        Ok(state_directory(self.directory.as_deref())?.path)
    }
}

impl Default for Config {
    /// A process of the group `default`.
    fn default() -> Self {
        Config::new(super::DEFAULT_GROUP)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("group", &self.group)
            .field("service", &self.service)
            .field("rank", &self.rank)
            .field("label", &self.label)
            .field("transport", &self.transport)
            .field("interval", &self.interval)
            .field("delay", &self.assumed_delay())
            .finish_non_exhaustive()
    }
}
