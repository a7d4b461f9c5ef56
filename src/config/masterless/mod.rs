//! The choices of a process of a masterless group, and the limits that such a group keeps.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::DEFAULT_EVENTS;
use super::place::{Place, default_port};

mod check;
mod destination;
mod limits;

pub(crate) use destination::{Destination, host_and_port};
pub(crate) use limits::*;

/// The number of processes of a service type that a group should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The service type.
    pub(crate) service: u16,
    /// If there are fewer, the group starts one.
    pub(crate) min: u16,
    /// If there are more, the youngest standby leaves.
    pub(crate) max: Option<u16>,
}

/// How heartbeats reach all other processes.
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

/// A function that returns the present workload.
pub(crate) type WorkloadSource = Arc<dyn Fn() -> u16 + Send + Sync>;

/// The configuration of a process of a masterless group: its group, service type, rank, and how
/// heartbeats reach the others.
///
/// This is a builder. Nothing is checked or done until it is passed to
/// [`Peer::join`](crate::masterless::Peer::join). All processes of a group must have the same group
/// name, key, transport, interval and delay.
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
    pub(crate) place: Place,
    pub(crate) service: u16,
    pub(crate) rank: u8,
    pub(crate) label: Option<String>,
    pub(crate) origin: u32,
    pub(crate) transport: Transport,
    pub(crate) interval: Duration,
    /// `None`: the delay follows the interval.
    pub(crate) delay: Option<Duration>,
    pub(crate) preempt: bool,
    pub(crate) quorum: usize,
    pub(crate) slow_above: usize,
    pub(crate) max_members: usize,
    pub(crate) needs: Vec<Need>,
    pub(crate) can_start: bool,
    pub(crate) launcher: Vec<OsString>,
    pub(crate) also_key_file: Option<PathBuf>,
    pub(crate) events: usize,
    pub(crate) prepare_handover: bool,
    pub(crate) workload: u16,
    pub(crate) workload_source: Option<WorkloadSource>,
    pub(crate) observe: bool,
}

impl Config {
    /// Returns the configuration of a process of `group` on this machine, with all defaults:
    /// service type 0, rank 128, a heartbeat every 200 ms.
    ///
    /// A group's name must have 1 to 64 characters out of `A-Z a-z 0-9 . _ -` and must not begin
    /// with a dot or a dash.
    pub fn new(group: impl Into<String>) -> Self {
        Config {
            place: Place::new(group.into()),
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
            also_key_file: None,
            events: DEFAULT_EVENTS,
            prepare_handover: false,
            workload: 0,
            workload_source: None,
            observe: false,
        }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.place.group
    }

    /// Sets the service type. Each service type of a group has its own primary. Default: 0.
    pub fn service(mut self, service: u16) -> Self {
        self.service = service;
        self
    }

    /// Sets the rank. Of two processes, the one with the smaller rank should be primary; of equal
    /// ranks, the one that was admitted first. A process with rank 255 never becomes primary, but
    /// is a witness of which process is. Default: 128.
    pub fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Sets the process's label, a name for people: its heartbeats carry the label, and the other
    /// processes show it in their records and events. Default: as
    /// [`default_label`](crate::masterless::default_label) makes it, the machine's name up to the
    /// first dot and the program's name, such as `worker-1/scheduler`.
    ///
    /// Any text makes a label, as [`Label::new`](crate::masterless::Label::new) says: at most 32
    /// bytes of it count, and control characters become `?`. With an empty text the process has no
    /// label. Two processes may have the same label.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the number of the start that created this process: the number in
    /// [`EventKind::Spawn`](crate::masterless::EventKind::Spawn), or in `PARES_ORIGIN` if a
    /// [`launcher`](Config::launcher) started it. Default: 0, no process of the group started it.
    pub fn origin(mut self, origin: u32) -> Self {
        self.origin = origin;
        self
    }

    /// Sends heartbeats to all processes of this machine, on this UDP port of the loopback network.
    /// This is the default, with the group's port from [`default_port`].
    ///
    /// Several groups may use one port: each drops the heartbeats of the others.
    pub fn local(mut self, port: u16) -> Self {
        self.transport = Transport::Local(Some(port));
        self
    }

    /// Sends heartbeats to a multicast group, IPv4 or IPv6, and with it to every process on the
    /// local network that has joined it. These heartbeats do not pass routers.
    ///
    /// `interface` is the name of a network interface, or an address of one; without it, the system
    /// chooses. Also choose the times of [`lan`](Config::lan) or [`lossy`](Config::lossy).
    pub fn multicast(mut self, group: SocketAddr, interface: Option<&str>) -> Self {
        self.transport = Transport::Multicast { group, interface: interface.map(Into::into) };
        self
    }

    /// Sends heartbeats to each of `peers`, at most 256, from the address `bind`. Use this on
    /// networks without multicast.
    ///
    /// `peers` may include this process's own address, so all processes can have one list. If a
    /// process of the group is heard from another address, heartbeats go to that address, too, for
    /// as long as it is heard.
    ///
    /// A heartbeat counts as sent when the system has accepted it for at least one address that is
    /// not this process's own. If the system accepts it for none, this process [cannot
    /// send](crate::masterless::EventKind::CannotSend). Whether the others listen does not matter.
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

    /// Sends heartbeats as [`unicast`](Config::unicast) does, to peers that are an address or a
    /// name, each with a port: `worker-1:4000`.
    ///
    /// Heartbeats go to all addresses of a name that are of the family of `bind`. The system's
    /// resolver looks the names up, each on a thread of its own, so no heartbeat waits for a name
    /// server. [`Peer::join`](crate::masterless::Peer::join) starts the first look-ups, waits for
    /// up to a second, and goes on without the names that take longer. A name is looked up again
    /// when an address of it falls silent, because a restarted process may have another address;
    /// otherwise after 1 s, 2 s, and so on up to every 30 s. A failure is logged once, and the
    /// look-up is repeated for ever. A name that can no longer be looked up keeps its addresses.
    ///
    /// A process is not admitted before each name was looked up once. It is also not admitted while
    /// a name server does not answer and there is no other process to send to: it [cannot
    /// send](crate::masterless::EventKind::CannotSend), and therefore cannot know that it is alone.
    /// A name that does not exist stands for a machine that is not started, and does not delay
    /// admission. The log names it, because it may be mistyped.
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

    /// Sets times for a local network: a heartbeat every 500 ms, and half of that as
    /// [delay](Config::delay). If no heartbeat is lost or late, the others replace a dead primary
    /// within 2.1 s, on average within 1.8 s.
    pub fn lan(mut self) -> Self {
        self.delay = None;
        self.interval(Duration::from_millis(500))
    }

    /// Sets times for networks that lose many packets, and for machines that stand still now and
    /// then: a heartbeat every second, and a [delay](Config::delay) of 1 s. If no heartbeat is lost
    /// or late, the others replace a dead primary within 5.2 s, on average within 4.7 s.
    pub fn lossy(self) -> Self {
        self.interval(Duration::from_secs(1)).delay(Duration::from_secs(1))
    }

    /// Sets the time between two heartbeats, 20 ms to 60 s; the same for all processes. Default:
    /// 200 ms.
    ///
    /// The others suspect a process that they have not heard for three intervals, and count it as
    /// dead after twice the [delay](Config::delay) more. With the defaults, if no heartbeat is lost
    /// or late, they replace a dead primary within 0.85 s, on average within 0.7 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long a heartbeat may take until the other process acts on it: at least 20 ms, at
    /// most ten intervals; the same for all processes. Default: half of the interval.
    ///
    /// While no heartbeat takes longer, there are never two primaries at once.
    /// [`Peer::counters`](crate::masterless::Peer::counters) returns the times that were seen.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Returns the delay that counts.
    pub(crate) fn assumed_delay(&self) -> Duration {
        self.delay.unwrap_or_else(|| (self.interval / 2).max(limits::MIN_DELAY))
    }

    /// Sets whether a process of better rank relieves a living primary. Default: true; it then does
    /// so some intervals after it was admitted, in an orderly handover. With false, this process
    /// neither relieves another nor is relieved.
    pub fn preempt(mut self, preempt: bool) -> Self {
        self.preempt = preempt;
        self
    }

    /// Sets how many processes of the group must be present for one of them to be primary. Set more
    /// than half of them, and at most one part of a divided group has a primary. Default: 0, no
    /// quorum; each part then has a primary.
    pub fn quorum(mut self, processes: usize) -> Self {
        self.quorum = processes;
        self
    }

    /// Sets the group size above which standbys that are far from being primary send less. Default:
    /// 0, never.
    pub fn slow_above(mut self, processes: usize) -> Self {
        self.slow_above = processes;
        self
    }

    /// Sets how many other processes this process keeps in its record; of more, it keeps those that
    /// matter to it. Default and maximum: 4096.
    pub fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// Makes the group keep at least `min` and at most `max` processes of a service type.
    ///
    /// If there are fewer, one process that [can start others](Config::can_start) starts another.
    /// If there are more for long, the youngest standby leaves by itself. All processes should have
    /// the same needs.
    pub fn need(mut self, service: u16, min: u16, max: Option<u16>) -> Self {
        self.needs.push(Need { service, min, max });
        self
    }

    /// Sets whether this process can start others: its program does so on
    /// [`EventKind::Spawn`](crate::masterless::EventKind::Spawn). Default: false.
    pub fn can_start(mut self, can: bool) -> Self {
        self.can_start = can;
        self
    }

    /// Lets this process start others by running this program with these arguments.
    ///
    /// The new process finds its group, its service type and its [`origin`](Config::origin) in
    /// `PARES_GROUP`, `PARES_SERVICE` and `PARES_ORIGIN`. If the directory or the port is set here,
    /// it finds them in `PARES_DIR` and `PARES_PORT`. It lives on when this process ends. As long
    /// as this process takes part, it notices the end of the new process, and logs a failure.
    pub fn launcher<A: Into<OsString>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.launcher = command.into_iter().map(Into::into).collect();
        self.can_start = true;
        self
    }

    /// Sets the directory that holds the group's key and its last epochs. A missing directory is
    /// made, with mode 0700.
    ///
    /// The path must be absolute. Default: see
    /// [`Config::state_directory`](crate::Config::state_directory).
    pub fn state_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.place.directory = Some(directory.into());
        self
    }

    /// Sets the file with the group's key, the same key for all processes. It is checked as
    /// [`Config::key_file`](crate::Config::key_file) is.
    ///
    /// Default: `GROUP.key` in the [directory](Config::state_directory), made with random bytes at
    /// first use.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.place.key_file = Some(key_file.into());
        self
    }

    /// Sets the file with a second key, which this process accepts but does not use.
    ///
    /// This lets you change a key without a pause. Restart all processes one by one, three times:
    /// first with the new key here; then with the new key as [`key_file`](Config::key_file) and the
    /// old key here; then without the old key.
    pub fn also_key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.also_key_file = Some(key_file.into());
        self
    }

    /// Sets how many events a receiver holds before it misses some, at least 2. Default: 1024.
    pub fn event_capacity(mut self, capacity: usize) -> Self {
        self.events = capacity;
        self
    }

    /// Sets whether this program finishes its work before it hands over, and then calls
    /// [`Peer::handover_ready`](crate::masterless::Peer::handover_ready). Default: false, it hands
    /// over at once.
    ///
    /// The program has two intervals from
    /// [`EventKind::PrepareHandover`](crate::masterless::EventKind::PrepareHandover) on; after
    /// that, the process hands over anyway.
    pub fn prepare_handover(mut self, prepares: bool) -> Self {
        self.prepare_handover = prepares;
        self
    }

    /// Sets how much this process has to do, in any measure that the whole group shares. Default:
    /// 0.
    pub fn workload(mut self, workload: u16) -> Self {
        self.workload = workload;
        self
    }

    /// Sets a function that returns the workload; it is called once in each interval.
    ///
    /// The function runs on the thread that sends the heartbeats, and these wait until it returns.
    /// It should return a number that is known already. If it panics, the last number counts.
    pub fn workload_from(mut self, workload: impl Fn() -> u16 + Send + Sync + 'static) -> Self {
        self.workload_source = Some(Arc::new(workload));
        self
    }

    /// Makes this process an observer: it asks which processes are there, listens, and is never
    /// admitted. Its status is always `joining`. Default: false.
    pub fn observe(mut self, observe: bool) -> Self {
        self.observe = observe;
        self
    }

    /// Returns the UDP port of the transport on one machine.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self.transport {
            Transport::Local(port) => Some(port.unwrap_or_else(|| default_port(&self.place.group))),
            Transport::Multicast { .. } | Transport::Unicast { .. } => None,
        }
    }
}

impl Default for Config {
    /// Returns the configuration of a process of the group `default`.
    fn default() -> Self {
        Config::new(super::DEFAULT_GROUP)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("group", &self.place.group)
            .field("service", &self.service)
            .field("rank", &self.rank)
            .field("label", &self.label)
            .field("transport", &self.transport)
            .field("interval", &self.interval)
            .field("delay", &self.assumed_delay())
            .finish_non_exhaustive()
    }
}
