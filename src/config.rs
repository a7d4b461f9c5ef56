//! What a user may choose, checked once, and every limit the library keeps, with its reason. No
//! run-time state.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;

mod directory;
mod peer;
mod place;

pub use directory::StateDirectory;
pub use peer::PeerConfig;
pub(crate) use peer::*;
use place::check_group;
pub use place::{default_address, default_port};

/// The supervisor port of the group `default`, as the patent's text has it.
pub const DEFAULT_PORT: u16 = 30099;

/// The group an instance belongs to unless it says otherwise.
pub const DEFAULT_GROUP: &str = "default";

/// Longest group name in bytes: it is a file name, and part of the first message of a stranger.
pub(crate) const MAX_GROUP: usize = 64;

/// Longest instance name in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// Most key/value pairs of an instance, and their most bytes in all: a registry of the largest
/// group then stays below 64 MiB.
pub(crate) const MAX_META: usize = 32;
/// See [`MAX_META`].
pub(crate) const MAX_META_BYTES: usize = 4096;

/// Most admin functions of an instance, the built-in ones included.
pub(crate) const MAX_FUNCTIONS: usize = 64;

/// Longest name of an admin function in bytes.
pub(crate) const MAX_FUNCTION_NAME: usize = 64;

/// Largest argument and largest result of an admin call in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Most instances in one group: each takes a descriptor and a small thread in the supervisor's
/// process.
pub(crate) const MAX_MEMBERS: usize = 16_384;

/// Most connections at once to one registry port or admin endpoint whose clients have proved that
/// they have the key. Beyond it a client is told to come back later.
pub(crate) const MAX_CLIENTS: usize = 1024;

/// Most connections to one port that are still in the handshake. Beyond it the oldest one makes
/// room (`net/service.rs`), so that whoever fills the port with silent connections delays nobody.
pub(crate) const MAX_PENDING: usize = 1024;

/// How many members the supervisor tells whom the group has (see `state/supervisor.rs`). In a group
/// of up to this size every survivor knows all others; in a larger one at least one survivor does,
/// unless all of these and the supervisor die at once. Each join costs at most so many messages:
/// with 16 of them, 1,000 took a tenth longer to join.
pub(crate) const WITNESSES: usize = 8;

/// From so many members on the witnesses are renewed as the group grows (see
/// `state/supervisor.rs`).
pub(crate) const RENEWED_FROM: usize = WITNESSES + WITNESSES / 2;

/// As good as without end: 34 years. Longer times count as this one, so that no moment is ever too
/// far away to be reckoned with.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// How long a client or server waits for the other side to finish the handshake. A living peer
/// takes well under a millisecond; one that is starved of CPU or stopped takes longer.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an instance waits that has been in the group before: thousands may be served before it.
/// Should the other end die, it learns of that at once, however long it would have waited.
pub(crate) const SURVIVOR_PATIENCE: Duration = Duration::from_secs(10);

/// How long a question that is answered at once waits for its answer, where the caller does not
/// say.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the supervisor waits for a name's holder to turn out dead before it refuses the name to
/// another: a killed process closes its sockets some hundred microseconds after the signal. And how
/// long a member that was cut off waits for its supervisor to turn out dead.
pub(crate) const REAP_WAIT: Duration = Duration::from_millis(50);

/// How long a blocking write to one client may take before that client is cut off. It is the
/// client's own thread that waits, so that nobody else is delayed.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a supervisor that has stepped down leaves the port to others before it contends again.
pub(crate) const ASIDE: Duration = Duration::from_millis(500);

/// Below it the noise of any busy machine would pass for a hang.
pub(crate) const MIN_HANG_TIMEOUT: Duration = Duration::from_millis(100);

/// Above it, and far below, no number of nanoseconds overflows.
pub(crate) const MAX_HANG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// From so many instances on, survivors look whether somebody has the port before they try to take
/// it: to be refused by the kernel costs each of them as much time as there are connections, some
/// nanoseconds for each; a connection that is refused, some ten microseconds. So they are told
/// whenever there are twice as many.
pub(crate) const CROWD: usize = 512;

/// How long a supervisor of so many waits for the next one who comes back. Of thousands, those who
/// found no place in its queue pause for up to two seconds (`net/port.rs`) before they try again.
pub(crate) fn patience(settle_time: Duration, members: usize) -> Duration {
    settle_time.max(Duration::from_micros(300) * u32::try_from(members).unwrap_or(u32::MAX))
}

/// How long after an election, and after the last one who came back, the supervisor first asks
/// whether known members that have not are dead: a living one needs a few milliseconds, so that
/// earlier questions would mostly be superfluous.
pub(crate) const FIRST_PROBE: Duration = Duration::from_millis(20);

/// How often it asks again.
pub(crate) const NEXT_PROBE: Duration = Duration::from_millis(50);

/// After how many it asks at a time. A living one takes the question for a caller, which costs its
/// process a thread: all of thousands at once would hold up those very ones who are on their way.
pub(crate) const PROBES: usize = 32;

/// For how many settle times a group waits, at most, for survivors of whom no supervisor knows,
/// whoever supervises. As long as some come back, others may be on their way: 10,000 need four
/// seconds on two busy cores, eight of the usual settle times. But a group whose supervisors die
/// young must be settled at last: after ten seconds, the time for which a survivor waits for its
/// answer ([`SURVIVOR_PATIENCE`]).
pub(crate) const MAX_UNKNOWN: u32 = 20;

/// Changes of the registry that are kept for watchers who are behind. One who is further behind
/// gets the whole registry anew.
pub(crate) const CHANGE_LOG: usize = 1024;

/// The stack of a thread that serves one connection: decoding, one decision, the log. What is not
/// touched takes no memory. Threads that run functions of the program have the system's usual
/// stack.
pub(crate) const SMALL_STACK: usize = 128 * 1024;

/// Most idle connections to other instances' admin endpoints that an instance keeps for its next
/// call.
pub(crate) const MAX_IDLE_CALLS: usize = 32;

/// Most threads that ask the members of a group at once in a call to all.
pub(crate) const CALL_ALL_THREADS: usize = 32;

/// Longest name of a resource, key of a setting, or topic of a message, in bytes.
pub(crate) const MAX_WORD: usize = 64;

/// Most resources that one instance may declare, and most that it may count under.
pub(crate) const MAX_RESOURCES: usize = 64;

/// Most permits and requests for permits of one instance. With everything else that a hello carries
/// at its largest, it then stays below half of the largest frame.
pub(crate) const MAX_PERMITS: usize = 1024;

/// Most units of one permit, of a tally of one instance, and highest limit. As many instances as
/// there may be with as many permits as they may have then stay below 2^63 units, so that no sum
/// overflows.
pub(crate) const MAX_UNITS: u64 = 1 << 38;

/// Most settings of a group, live limits included, and their most bytes, keys and values together:
/// each hello carries all.
pub(crate) const MAX_SETTINGS: usize = 256;
/// See [`MAX_SETTINGS`].
pub(crate) const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// Longest value of one setting in bytes.
pub(crate) const MAX_SETTING: usize = 16 * 1024;

/// Largest payload of a message to members in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How many bytes of messages may be under way to one member that does not read. Beyond that it
/// misses some, and is told. The kernel keeps more for one who does not read (some 2.5 MiB on
/// Linux), so that there is usually room for what is not a message. Not less, because the
/// supervisor's threads may read late what a member has said to have read: with 256 KiB, one who
/// reads at once missed some of 2,000 messages of 16 KiB sent one right after the other.
pub(crate) const MESSAGE_WINDOW: u32 = 1 << 20;

/// After how many bytes of messages a member says that it has read them.
pub(crate) const TAKEN_STEP: u32 = MESSAGE_WINDOW / 16;

/// Most bytes that are kept for one who does not read, when the kernel keeps no more. What is not
/// asked for (messages, settings) is less than two thirds of this; the rest are answers, of which
/// nobody who reads them has so many.
pub(crate) const MAX_UNSENT: usize = 2 << 20;

/// What a message counts for in [`MESSAGE_WINDOW`]: its bytes on the wire, and what it costs
/// besides.
pub(crate) fn message_size(from: &str, topic: &str, payload: &[u8]) -> u32 {
    (from.len() + topic.len() + payload.len() + 64) as u32
}

/// An admin function: takes the caller's bytes, gives the result or an error text for the caller.
pub(crate) type Handler = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) handler: Handler,
}

/// A resource as the program declares it.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) limit: u64,
    pub(crate) per_holder: Option<u64>,
}

/// What an instance is to be: its group, name, port, functions and limits.
///
/// A builder; nothing is checked or done until it is given to
/// [`Instance::join`](crate::Instance::join).
///
/// # Examples
///
/// ```
/// use pares::Config;
///
/// let config = Config::new("web")
///     .name("worker-1")
///     .meta("version", "2.4")
///     .function("reload", "read the configuration again", |_| Ok(b"done".to_vec()));
/// assert_eq!(config.group(), "web");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Config {
    pub(crate) group: String,
    pub(crate) port: Option<u16>,
    pub(crate) name: Option<String>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) functions: Vec<Function>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) join_timeout: Duration,
    pub(crate) may_supervise: bool,
    pub(crate) settle_time: Duration,
    pub(crate) hang_timeout: Option<Duration>,
    pub(crate) end_hung_supervisor: bool,
    pub(crate) events: usize,
    pub(crate) max_members: usize,
    pub(crate) release_on_crash: bool,
}

impl Config {
    /// An instance of `group` with all defaults.
    ///
    /// A group's name has 1 to 64 characters out of `A-Z a-z 0-9 . _ -` and does not begin with a
    /// dot or a dash.
    pub fn new(group: impl Into<String>) -> Self {
        Config {
            group: group.into(),
            port: None,
            name: None,
            directory: None,
            key_file: None,
            meta: Vec::new(),
            functions: Vec::new(),
            resources: Vec::new(),
            join_timeout: Duration::from_secs(10),
            may_supervise: true,
            settle_time: Duration::from_millis(500),
            hang_timeout: None,
            end_hung_supervisor: false,
            events: 1024,
            max_members: MAX_MEMBERS,
            release_on_crash: false,
        }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Sets the supervisor port; all instances of the group must name the same one.
    ///
    /// It is then on 127.0.0.1, whatever the group. Default: [`default_address`] of the group. A
    /// port inside the system's ephemeral range (on Linux 32768 to 60999) works, but any program's
    /// outgoing connection may happen to hold it.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the instance's unique name: 1 to 128 bytes, no white space, no control characters, not
    /// `main`, and not beginning with `@` or `-`.
    ///
    /// Default: the program's name, a dash, and the port of its admin endpoint, which no two living
    /// instances share.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the directory that holds the group's key and its last term, made with mode 0700 where
    /// it is missing: an absolute path. One that other users can write, or that belongs to another
    /// one, is an error.
    ///
    /// Default: `$PARES_DIR`; else `pares` in the first of `$STATE_DIRECTORY` or in
    /// `$XDG_STATE_HOME`; else `.local/state/pares` in `$HOME`, or in this user's home as the user
    /// database has it. Of a variable that is set for more than this library a relative path is
    /// passed over, and of `HOME` another user's directory if this one has its own. Which one it
    /// is, and why, is what [`state_directory`](Config::state_directory) gives.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the file with the group's key: a regular file of 32 bytes, this user's or root's, that
    /// nobody else can write. It may be a symbolic link, and others may read one that belongs to
    /// root, or that its owner too can only read: so keys come that an orchestrator mounts. A file
    /// that is missing is an error, because whoever names one has a key in mind.
    ///
    /// Default: `GROUP.key` in the [directory](Config::directory), for this user only, made with
    /// random bytes at first use.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.key_file = Some(key_file.into());
        self
    }

    /// Adds a key and value to the instance's registry entry; at most 32, of 4096 bytes in all.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.push((key.into(), value.into()));
        self
    }

    /// Adds an admin function that other instances and operators can call by `name`.
    ///
    /// `handler` takes the caller's bytes (up to 1 MiB) and gives the result (up to 1 MiB) or an
    /// error text for the caller. It runs on a thread of its caller's connection, several at a
    /// time, and may take as long as it wants; the caller has a deadline of its own. If it panics,
    /// the caller gets an error and nothing else happens. Leaving the group waits until the running
    /// ones have returned. It has the signal mask of the thread that joined, and so have threads
    /// and processes that it starts.
    ///
    /// A function of the same name as a built-in one (`ping`, `info`, `functions`, `log-level`,
    /// `stop`) replaces it.
    pub fn function<F>(
        mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        handler: F,
    ) -> Self
    where
        F: Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    {
        self.functions.push(Function {
            name: name.into(),
            help: help.into(),
            handler: Arc::new(handler),
        });
        self
    }

    /// Declares a resource of which all instances together may use `limit` units at most.
    ///
    /// A name has 1 to 64 bytes, no white space, no control characters, and does not begin with a
    /// dash; a limit is 0 to 2^38. All instances should declare the same; where they differ (while
    /// a new version of a program is rolled out), the smallest limit of those that live counts. A
    /// limit set while running ([`Instance::set_limit`](crate::Instance::set_limit)) counts instead
    /// of all of them.
    pub fn resource(self, name: impl Into<String>, limit: u64) -> Self {
        self.declare(name.into(), limit, None)
    }

    /// The same, where one instance may hold at most `per_holder` of the units at a time.
    pub fn resource_per_holder(self, name: impl Into<String>, limit: u64, per_holder: u64) -> Self {
        self.declare(name.into(), limit, Some(per_holder))
    }

    fn declare(mut self, name: String, limit: u64, per_holder: Option<u64>) -> Self {
        self.resources.push(Resource { name, limit, per_holder });
        self
    }

    /// Sets how long [`Instance::join`](crate::Instance::join) may take until a role is known.
    /// Default: 10 s.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout.min(FOR_EVER);
        self
    }

    /// Says whether this instance may become supervisor. Default: true.
    ///
    /// False is for an instance that must not lead: one that often stands still (under a debugger,
    /// on a throttled processor), may end at any moment, or may not write the group's directory. It
    /// takes part in all else, holds permits and settings, and is counted. It never tries the port;
    /// while nobody supervises it asks for a supervisor several times a second.
    ///
    /// **A group of only such instances has no supervisor.** A join then fails with
    /// [`JoinError::NoSupervisor`](crate::JoinError::NoSupervisor) after the [join
    /// timeout](Config::join_timeout). Those who had a role remain
    /// [`Contending`](crate::Role::Contending), log once that nobody supervises, keep the permits
    /// that they have and get no others, until an instance comes that may. A supervisor that steps
    /// down among them is supervisor again half a second later.
    pub fn may_supervise(mut self, may: bool) -> Self {
        self.may_supervise = may;
        self
    }

    /// Sets how long a new supervisor waits, at most, for the next survivor before it calls the
    /// group settled.
    ///
    /// As long as survivors keep coming back, each of them begins this time anew, so that a large
    /// group is not cut short: thousands take longer than that. Where 0.3 ms for each instance is
    /// more, which it is from 1,667 of them on, that counts: some pause before they try again. It
    /// does so too while it does not know who the survivors are, because nobody told it, until one
    /// comes back who does; but then for 20 times this in all, at most.
    ///
    /// Default: 500 ms. A survivor needs a few milliseconds; the rest is for machines under heavy
    /// load.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settle_time = time.min(FOR_EVER);
        self
    }

    /// Has this instance watch for hangs: as subordinate it asks its supervisor four times in
    /// `timeout` whether it lives, as supervisor all subordinates. At least 100 ms. Default: no
    /// watch, and not one wake-up while nothing happens.
    ///
    /// One that gives no good answer for `timeout` (noticed at most a quarter of it later) is
    /// reported by [`EventKind::Stalled`](crate::EventKind::Stalled), with what can be seen of its
    /// process. Time in which this instance was itself not run when it wanted to be does not count.
    /// Any instance answers, also one that does not watch; what it answers is that its library
    /// lives, and its program too if that calls [`Instance::pulse`](crate::Instance::pulse).
    pub fn hang_timeout(mut self, timeout: Duration) -> Self {
        self.hang_timeout = Some(timeout);
        self
    }

    /// Has this instance end its supervisor's process, by SIGKILL, when that is stalled, so that
    /// another takes over; needs a [`hang_timeout`](Config::hang_timeout). Default: false, it is
    /// reported only.
    ///
    /// Never for [`StallCause::Starved`](crate::StallCause::Starved). A core dump that is being
    /// written is cut off. The process is the one that has the other end of this instance's
    /// lifeline open, held by a pidfd while that is looked up: never another one that has got its
    /// number, and never this process itself. Only on Linux, and only where both run as one user or
    /// this one as root.
    pub fn end_hung_supervisor(mut self, end: bool) -> Self {
        self.end_hung_supervisor = end;
        self
    }

    /// Sets how many events a receiver holds before it misses some, at least 2. Default: 1024.
    pub fn events(mut self, capacity: usize) -> Self {
        self.events = capacity;
        self
    }

    /// Sets how many instances this one admits as supervisor, itself included. Default and most:
    /// 16,384.
    pub fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// Has this process give the supervisor port and its connections up in the moment of a crash.
    /// Default: no.
    ///
    /// A process that dumps core keeps everything open until the dump is written (1.3 s for each
    /// GiB), and counts as alive for as long: nobody else becomes supervisor, and its permits are
    /// not free. With this, handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS and
    /// SIGTRAP end all connections of this library first. Then what was installed before is put
    /// back and gets the same signal in the same place: the program's own handler, a crash
    /// reporter's, std's for a stack overflow, or the system's core dump; the exit status is what
    /// it would have been.
    ///
    /// For the whole process, from the first join that asks for it. A handler that the program
    /// installs later comes first, and has to call the one it replaced. Until the kernel stops
    /// them, the process's other threads run on for a moment while there may already be another
    /// supervisor (jobs are told to end; fence what they write by the term). Not for a program that
    /// recovers from such signals: it has lost its connections for good, and every instance in it
    /// is stopped.
    pub fn release_on_crash(mut self, release: bool) -> Self {
        self.release_on_crash = release;
        self
    }

    /// The supervisor port that this configuration stands for.
    #[must_use]
    pub fn supervisor_port(&self) -> u16 {
        self.supervisor_address().port()
    }

    /// The supervisor port with the loopback address it is on.
    #[must_use]
    pub fn supervisor_address(&self) -> SocketAddrV4 {
        let chosen = self.port.map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        chosen.unwrap_or_else(|| default_address(&self.group))
    }

    /// The file that has the group's key, or will have it: as set, or in the group's directory.
    ///
    /// # Errors
    ///
    /// As for [`state_directory`](Config::state_directory), unless a file is set.
    pub fn key_path(&self) -> Result<PathBuf, ConfigError> {
        match &self.key_file {
            Some(path) => Ok(path.clone()),
            None => Ok(self.state_directory()?.path.join(format!("{}.key", self.group))),
        }
    }

    /// The directory of the group's files, and what has said so. Makes nothing.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if the directory that is set, here or by `PARES_DIR`, is a relative path;
    /// or if none is set and this user has no home.
    pub fn state_directory(&self) -> Result<StateDirectory, ConfigError> {
        directory::state_directory(self.directory.as_deref())
    }

    /// Checks everything that can be checked without touching the system.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_group(&self.group)?;
        if self.port == Some(0) {
            return Err(ConfigError::new("port", "0", "a port is 1 to 65535"));
        }
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        check_meta(&self.meta)?;
        for function in &self.functions {
            check_function(&function.name)?;
        }
        if self.functions.len() > MAX_FUNCTIONS - 8 {
            return Err(ConfigError::new(
                "functions",
                self.functions.len(),
                "at most 56 besides the built-in ones",
            ));
        }
        check_resources(
            self.resources.iter().map(|one| (one.name.as_str(), one.limit, one.per_holder)),
        )?;
        if let Some(timeout) = self.hang_timeout {
            if !(MIN_HANG_TIMEOUT..=MAX_HANG_TIMEOUT).contains(&timeout) {
                return Err(ConfigError::new(
                    "hang_timeout",
                    format!("{timeout:?}"),
                    "100 ms to 1 day",
                ));
            }
        }
        if self.end_hung_supervisor && self.hang_timeout.is_none() {
            return Err(ConfigError::new("end_hung_supervisor", "true", "it needs a hang_timeout"));
        }
        if self.events < 2 {
            return Err(ConfigError::new("events", self.events, "at least 2"));
        }
        if !(1..=MAX_MEMBERS).contains(&self.max_members) {
            return Err(ConfigError::new("max_members", self.max_members, "1 to 16384"));
        }
        Ok(())
    }
}

impl Default for Config {
    /// An instance of the group `default`.
    fn default() -> Self {
        Config::new(DEFAULT_GROUP)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("group", &self.group)
            .field("address", &self.supervisor_address())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Names appear in tables, logs and shell commands, so nothing that could garble those.
pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_NAME
        || name.contains(bad)
        || name.starts_with(['@', '-'])
        || name == "main"
    {
        let rule = "an instance's name has 1 to 128 bytes, no white space or control characters, \
                    does not begin with @ or -, and is not `main`";
        return Err(ConfigError::new("name", name, rule));
    }
    Ok(())
}

pub(crate) fn check_meta(meta: &[(String, String)]) -> Result<(), ConfigError> {
    let bytes: usize = meta.iter().map(|(key, value)| key.len() + value.len()).sum();
    let bad_key = |key: &str| {
        key.is_empty() || key.contains(|c: char| c.is_control() || c.is_whitespace() || c == '=')
    };
    if let Some((key, _)) = meta.iter().find(|(key, _)| bad_key(key)) {
        return Err(ConfigError::new(
            "meta",
            key,
            "a key is not empty and has no white space, control characters or `=`",
        ));
    }
    if let Some((_, value)) = meta.iter().find(|(_, value)| value.contains(char::is_control)) {
        return Err(ConfigError::new("meta", value, "a value has no control characters"));
    }
    if meta.len() > MAX_META || bytes > MAX_META_BYTES {
        return Err(ConfigError::new("meta", meta.len(), "at most 32 pairs, of 4096 bytes in all"));
    }
    Ok(())
}

pub(crate) fn check_function(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_FUNCTION_NAME
        || name.contains(bad)
        || name.starts_with('-')
    {
        let rule = "a function's name has 1 to 64 bytes, no white space or control characters, and \
                    does not begin with -";
        return Err(ConfigError::new("function", name, rule));
    }
    Ok(())
}

/// The name of a resource, the key of a setting, the topic of a message.
pub(crate) fn check_word(what: &'static str, word: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if word.is_empty() || word.len() > MAX_WORD || word.contains(bad) || word.starts_with('-') {
        let rule =
            "it has 1 to 64 bytes, no white space or control characters, and does not begin with -";
        return Err(ConfigError::new(what, word, rule));
    }
    Ok(())
}

/// What an instance declares: names, limits, and what one holder may have.
pub(crate) fn check_resources<'a>(
    declared: impl Iterator<Item = (&'a str, u64, Option<u64>)>,
) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (name, limit, per_holder) in declared {
        check_word("resource", name)?;
        if limit > MAX_UNITS || per_holder.is_some_and(|most| most > MAX_UNITS) {
            return Err(ConfigError::new("resource", name, "a limit is 0 to 274877906944 (2^38)"));
        }
        if !names.insert(name) {
            return Err(ConfigError::new("resource", name, "it is declared twice"));
        }
    }
    if names.len() > MAX_RESOURCES {
        return Err(ConfigError::new("resource", names.len(), "at most 64 resources"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(config: Config, what: &str) {
        assert_eq!(config.check().expect_err("accepted").what(), what);
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(Config::default().check(), Ok(()));
        assert_eq!(Config::default().supervisor_port(), 30099);
    }

    #[test]
    fn names_that_would_garble_a_table_a_shell_or_a_path_are_refused() {
        for group in ["", ".hidden", "-x", "a/b", "a b", "ü", &"x".repeat(65)] {
            refused(Config::new(group), "group");
        }
        for name in ["", "main", "@all", "-v", "a b", "a\nb", "a\0", &"x".repeat(129)] {
            refused(Config::default().name(name), "name");
        }
        for function in ["", "a b", "-x", &"f".repeat(65)] {
            refused(Config::default().function(function, "", |_| Ok(vec![])), "function");
        }
        for key in ["", "a=b", "a b"] {
            refused(Config::default().meta(key, "v"), "meta");
        }
        refused(Config::default().meta("k", "a\nb"), "meta");
        refused(Config::default().meta("k", "x".repeat(5000)), "meta");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        refused(Config::default().port(0), "port");
        refused(Config::default().events(1), "events");
        refused(Config::default().max_members(0), "max_members");
        refused(Config::default().max_members(20_000), "max_members");
        refused(Config::default().hang_timeout(Duration::from_millis(99)), "hang_timeout");
        refused(Config::default().hang_timeout(Duration::MAX), "hang_timeout");
        refused(Config::default().end_hung_supervisor(true), "end_hung_supervisor");
    }
}
