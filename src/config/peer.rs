//! What a process of a masterless group may choose, and the limits that such a group keeps.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::directory::state_directory;
use super::place::{check_group, default_port};
use crate::error::ConfigError;

mod destination;

pub(crate) use destination::{Destination, host_and_port};

/// Directives that one process remembers to have followed, and that it gives at a time.
pub(crate) const MAX_DIRECTIVES: usize = 16;

/// Service types of which one process tells at a time whom it follows.
pub(crate) const MAX_VIEWED: usize = 16;

/// Other primaries whose claims one counts while it is in conflict with them.
pub(crate) const MAX_RIVALS: usize = 8;

/// Starts that have been made known and not been seen, and dead that still count.
pub(crate) const MAX_PENDING_STARTS: usize = 256;

/// Gone processes whose last heartbeat is remembered, so that it is not taken for new when somebody
/// plays it again.
pub(crate) const MAX_TOMBSTONES: usize = 4096;

/// Most other processes in the record of one.
pub(crate) const MAX_PEERS: usize = 4096;

/// Most addresses that each heartbeat is sent to, one by one. Larger groups use multicast.
pub(crate) const MAX_DESTINATIONS: usize = 256;

/// Most service types whose need one process looks after.
pub(crate) const MAX_NEEDS: usize = 64;

/// Most processes of the own machine whose end the kernel tells: a descriptor each. The others'
/// silence says it, later.
pub(crate) const MAX_LIVES: usize = 256;

/// What a program may want of a peer before the peer's thread has taken it in, which it does at
/// once.
pub(crate) const MAX_WISHES: usize = 1024;

/// Datagrams for which there shall be room while this process does not read. The kernel counts more
/// than the bytes: at most 2,304 for one of ours.
pub(crate) const RECEIVE_BUFFER: usize = 256 * 2304;

/// Datagrams that can wait there at most: the kernel doubles what it is asked for, and counts 768
/// bytes for the smallest. As many are taken before anything is decided, so that nothing has been
/// missed of what came before; a flood delays a heartbeat by no more than these take, a few
/// milliseconds.
pub(crate) const MAX_WAITING: usize = 2 * RECEIVE_BUFFER / 768;

/// Left-over files of dead processes that are looked for at each join, so that a join takes no
/// longer the more there are.
pub(crate) const MAX_SWEPT: usize = 64;

/// Between two warnings about the same breach of the protocol: whoever sends rubbish shall not fill
/// the log.
pub(crate) const WARN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Between two attempts to find a network interface again that is gone.
pub(crate) const REOPEN: Duration = Duration::from_secs(1);

/// A member that was not heard for so long from an address, and for three intervals, is no longer
/// there.
pub(crate) const SILENT_ADDRESS: Duration = Duration::from_secs(5);

/// So long a process that begins to join waits for its peers' names to be looked up.
pub(crate) const FIRST_LOOK_UP: Duration = Duration::from_secs(1);

/// Between two look-ups of a peer's name, after something new. Twice as long after each that finds
/// nothing new.
pub(crate) const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// Between two look-ups of a peer's name, at most: the system's resolver waits longer for a server
/// that does not answer.
pub(crate) const LOOK_UP_AT_LEAST: Duration = Duration::from_secs(30);

/// Below it the timer's own inaccuracy is no longer small.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Above it a death would be noticed after minutes.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// A busy machine runs a process some ten milliseconds late.
const MIN_DELAY: Duration = Duration::from_millis(20);

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
/// A builder; nothing is checked or done until it is given to [`Peer::join`](crate::Peer::join).
/// What is said here of *all processes* must be the same in all of them: group, key, transport,
/// interval and delay.
///
/// # Examples
///
/// ```
/// use pares::PeerConfig;
///
/// // A worker of service type 7 on a network, that shall be primary only if nobody else can.
/// let address = "239.1.2.3:4000".parse()?;
/// let config = PeerConfig::new("web").service(7).rank(200).lan().multicast(address, Some("eth0"));
/// assert_eq!(config.group(), "web");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PeerConfig {
    pub(crate) group: String,
    pub(crate) service: u16,
    pub(crate) rank: u8,
    pub(crate) label: Option<String>,
    pub(crate) origin: u32,
    pub(crate) transport: Transport,
    pub(crate) interval: Duration,
    pub(crate) delay: Duration,
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

impl PeerConfig {
    /// A process of `group` on this machine with all defaults: service type 0, rank 128, 200 ms
    /// between two heartbeats.
    ///
    /// A group's name has 1 to 64 characters out of `A-Z a-z 0-9 . _ -` and does not begin with a
    /// dot or a dash.
    pub fn new(group: impl Into<String>) -> Self {
        PeerConfig {
            group: group.into(),
            service: 0,
            rank: 128,
            label: None,
            origin: 0,
            transport: Transport::Local(None),
            interval: Duration::from_millis(200),
            delay: Duration::from_millis(100),
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
    /// [`default_label`](crate::default_label) makes them, such as `worker-1/scheduler`.
    ///
    /// Any text makes a label, as [`Label::new`](crate::Label::new) says: at most 32 bytes of it count, and control
    /// characters become `?`. With an empty text the process has no label. Two processes may have
    /// the same one.
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the number of the start by which this process came to be, as
    /// [`PeerEventKind::Spawn`](crate::PeerEventKind::Spawn) has it, or `PARES_ORIGIN` where a
    /// [`launcher`](PeerConfig::launcher) has started it. Default: 0, started by nobody of the
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
    /// system chooses. Choose [`lan`](PeerConfig::lan) or [`lossy`](PeerConfig::lossy) times too.
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
    /// send](crate::PeerEventKind::CannotSend). That others do not listen does not count.
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

    /// As [`unicast`](PeerConfig::unicast), with peers that are an address or a name, each with a
    /// port: `worker-1:4000`.
    ///
    /// Heartbeats go to all addresses of a name that are of the family of `bind`. Names are looked
    /// up as the system is set up to, each on a thread of its own, so that no heartbeat waits for a
    /// name server: by [`Peer::join`](crate::Peer::join), which waits for up to a second, and goes
    /// on without those that take longer; again when an address of the name falls silent, for
    /// whoever is started anew may have another one; and else after 1 s, 2 s, and so on to every 30
    /// s. What goes wrong is logged once, and tried again for ever. A name that cannot be looked up
    /// any more keeps its addresses.
    ///
    /// A process is not let in before all names were looked up once; nor, if there is nobody else
    /// to send to, while a name server does not answer: it [cannot
    /// send](crate::PeerEventKind::CannotSend), for it cannot know that it is alone. A name that
    /// does not exist is that of a machine that is not started, and keeps nobody out. Look for it
    /// in the log: it may be mistyped.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::PeerConfig;
    ///
    /// // All have one list, with their own name in it.
    /// let all = ["worker-1:4000", "worker-2:4000", "10.0.0.7:4000"];
    /// let config = PeerConfig::new("web").lan().unicast_names("0.0.0.0:4000".parse()?, all);
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

    /// Times for a local network: 500 ms between two heartbeats, 250 ms delay. A dead primary is
    /// replaced after about 1.8 s.
    pub fn lan(self) -> Self {
        self.interval(Duration::from_millis(500)).delay(Duration::from_millis(250))
    }

    /// Times for networks that lose much, and for machines that stand still now and then: 1 s
    /// between two heartbeats, 1 s delay. A dead primary is replaced after about 4.7 s.
    pub fn lossy(self) -> Self {
        self.interval(Duration::from_secs(1)).delay(Duration::from_secs(1))
    }

    /// Sets the time between two heartbeats, 20 ms to 60 s; the same for all processes. Default:
    /// 200 ms.
    ///
    /// Who was not heard for three of these is suspected, and after twice the
    /// [delay](PeerConfig::delay) more taken for dead.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long a heartbeat may be under way, until the other process acts on it: at least 20
    /// ms, at most ten intervals; the same for all processes. Default: 100 ms.
    ///
    /// Never two primaries at once holds as long as this holds.
    /// [`Peer::counters`](crate::Peer::counters) tell what was seen.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
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
    /// If there are fewer, one process that [can](PeerConfig::can_start) starts another; if there
    /// are more for long, the youngest standby leaves by itself. All processes should be told the
    /// same.
    pub fn need(mut self, service: u16, min: u16, max: Option<u16>) -> Self {
        self.needs.push(Need { service, min, max });
        self
    }

    /// Says that this process can start others: its program does so on
    /// [`PeerEventKind::Spawn`](crate::PeerEventKind::Spawn). Default: false.
    pub fn can_start(mut self, can: bool) -> Self {
        self.can_start = can;
        self
    }

    /// Says that this process can start others, and how: by this program with these arguments.
    ///
    /// It finds the group, the service type that it is to be of, and the number it is to give as
    /// its [`origin`](PeerConfig::origin) in `PARES_GROUP`, `PARES_SERVICE` and `PARES_ORIGIN`; and
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
    /// An absolute path. Default: see [`Config::directory`](crate::Config::directory).
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the file with the group's key, the same key for all processes; checked as
    /// [`Config::key_file`](crate::Config::key_file).
    ///
    /// Default: `GROUP.key` in the [directory](PeerConfig::directory), made with random bytes at
    /// first use.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.key_file = Some(key_file.into());
        self
    }

    /// Sets the file with a second key, that this process accepts and does not use.
    ///
    /// So a key is changed without a pause: start all processes anew, one by one, with the new key
    /// here; then with the new one as [`key_file`](PeerConfig::key_file) and the old one here; then
    /// without the old one.
    pub fn also_key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.also_key_file = Some(key_file.into());
        self
    }

    /// Sets how many events a receiver holds before it misses some, at least 2. Default: 1024.
    pub fn events(mut self, capacity: usize) -> Self {
        self.events = capacity;
        self
    }

    /// Sets whether this program brings its work to an end before it hands over, and then says so
    /// by [`Peer::handover_ready`](crate::Peer::handover_ready). Default: false, it hands over at
    /// once.
    ///
    /// It has two intervals from
    /// [`PeerEventKind::PrepareHandover`](crate::PeerEventKind::PrepareHandover) on; then it hands
    /// over all the same.
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

    /// Checks everything that can be checked without touching the system.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_group(&self.group)?;
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            return Err(ConfigError::new(
                "interval",
                format!("{:?}", self.interval),
                "20 ms to 60 s",
            ));
        }
        if !(MIN_DELAY..=10 * self.interval).contains(&self.delay) {
            let rule = "at least 20 ms, and at most ten intervals";
            return Err(ConfigError::new("delay", format!("{:?}", self.delay), rule));
        }
        if !(1..=MAX_PEERS).contains(&self.max_members) {
            return Err(ConfigError::new("max_members", self.max_members, "1 to 4096"));
        }
        if self.quorum > self.max_members {
            return Err(ConfigError::new("quorum", self.quorum, "at most as many as max_members"));
        }
        if self.events < 2 {
            return Err(ConfigError::new("events", self.events, "at least 2"));
        }
        if self.launcher.first().is_some_and(|program| program.is_empty()) {
            return Err(ConfigError::new("launcher", "", "a program and its arguments"));
        }
        self.check_needs()?;
        self.check_transport()
    }

    fn check_needs(&self) -> Result<(), ConfigError> {
        let mut services = BTreeSet::new();
        for need in &self.needs {
            if need.max.is_some_and(|max| max < need.min) {
                return Err(ConfigError::new(
                    "need",
                    need.service,
                    "the most are no fewer than the least",
                ));
            }
            if !services.insert(need.service) {
                return Err(ConfigError::new("need", need.service, "once for each service type"));
            }
        }
        if services.len() > MAX_NEEDS {
            return Err(ConfigError::new("need", services.len(), "at most 64 service types"));
        }
        Ok(())
    }

    fn check_transport(&self) -> Result<(), ConfigError> {
        match &self.transport {
            Transport::Local(Some(0)) => {
                Err(ConfigError::new("local", "0", "a port is 1 to 65535"))
            }
            Transport::Local(_) => Ok(()),
            Transport::Multicast { group, .. }
                if !group.ip().is_multicast() || group.port() == 0 =>
            {
                let rule =
                    "a multicast address and a port, such as 239.1.2.3:4000 or [ff02::4d47]:4000";
                Err(ConfigError::new("multicast", group, rule))
            }
            Transport::Multicast { .. } => Ok(()),
            Transport::Unicast { bind, peers } => {
                if peers.is_empty() || peers.len() > MAX_DESTINATIONS {
                    return Err(ConfigError::new(
                        "unicast",
                        format!("{} peers", peers.len()),
                        "1 to 256 peers",
                    ));
                }
                let fault = |peer: &Destination| {
                    peer.fault(*bind).map(|rule| ConfigError::new("unicast", peer, rule))
                };
                if let Some(error) = peers.iter().find_map(fault) {
                    return Err(error);
                }
                if bind.port() == 0 || bind.ip().is_multicast() {
                    let rule = "an address of this machine and the port that the others send to";
                    return Err(ConfigError::new("unicast", bind, rule));
                }
                Ok(())
            }
        }
    }

    /// The UDP port of the transport on one machine.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self.transport {
            Transport::Local(port) => Some(port.unwrap_or_else(|| default_port(&self.group))),
            Transport::Multicast { .. } | Transport::Unicast { .. } => None,
        }
    }

    pub(crate) fn state_directory(&self) -> Result<PathBuf, ConfigError> {
        Ok(state_directory(self.directory.as_deref())?.path)
    }
}

impl Default for PeerConfig {
    /// A process of the group `default`.
    fn default() -> Self {
        PeerConfig::new(super::DEFAULT_GROUP)
    }
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConfig")
            .field("group", &self.group)
            .field("service", &self.service)
            .field("rank", &self.rank)
            .field("label", &self.label)
            .field("transport", &self.transport)
            .field("interval", &self.interval)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(config: PeerConfig, what: &str) {
        assert_eq!(config.check().expect_err("accepted").what(), what);
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_defaults_and_the_presets_are_accepted() {
        let default = PeerConfig::default;
        for config in [default(), default().lan(), default().lossy(), default().launcher(["true"])]
        {
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(default().multicast(address("[ff02::1]:1"), None).check(), Ok(()));
        assert_eq!(
            default().unicast(address("0.0.0.0:1"), [address("10.0.0.1:1")]).check(),
            Ok(())
        );
        assert_eq!(default().local_port(), Some(30099));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_setting() {
        let default = PeerConfig::default;
        let ms = Duration::from_millis;
        refused(PeerConfig::new("a/b"), "group");
        refused(default().interval(ms(19)), "interval");
        refused(default().interval(ms(60_001)), "interval");
        refused(default().delay(ms(19)), "delay");
        refused(default().delay(ms(2001)), "delay");
        refused(default().max_members(0), "max_members");
        refused(default().max_members(4097), "max_members");
        refused(default().quorum(5000), "quorum");
        refused(default().events(1), "events");
        refused(default().launcher([""]), "launcher");
        refused(default().need(1, 2, Some(1)), "need");
        refused(default().need(1, 1, None).need(1, 2, None), "need");
        refused((0..65).fold(default(), |config, service| config.need(service, 1, None)), "need");
        refused(default().local(0), "local");
        refused(default().multicast(address("10.0.0.1:1"), None), "multicast");
        refused(default().multicast(address("239.0.0.1:0"), None), "multicast");
        refused(default().unicast(address("0.0.0.0:1"), []), "unicast");
        refused(default().unicast(address("0.0.0.0:0"), [address("10.0.0.1:1")]), "unicast");
        refused(default().unicast(address("0.0.0.0:1"), [address("[::1]:1")]), "unicast");
        refused(default().unicast(address("0.0.0.0:1"), [address("10.0.0.1:0")]), "unicast");
        let many = (1..=257).map(|port| SocketAddr::new(address("10.0.0.1:1").ip(), port));
        refused(default().unicast(address("0.0.0.0:1"), many), "unicast");
        refused(default().unicast_names(address("0.0.0.0:1"), ["one"]), "unicast");
        assert_eq!(
            default().unicast_names(address("0.0.0.0:1"), ["one:1", "10.0.0.1:1"]).check(),
            Ok(())
        );
    }
}
