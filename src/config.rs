//! The choices of a user, checked once, and every limit that the library keeps, with its reason.
//! Holds no run-time state.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;

mod check;
mod directory;
mod limits;
pub(crate) mod masterless;
mod place;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod route;

pub(crate) use check::*;
pub use directory::StateDirectory;
pub(crate) use limits::*;
pub use limits::{DEFAULT_GROUP, DEFAULT_PORT, MAX_MESSAGE, MAX_PAYLOAD};
pub(crate) use place::{KeyFile, Place};
pub use place::{default_address, default_port};
/// An admin function: takes the caller's bytes and returns the result, or an error text for the
/// caller.
pub(crate) type Handler = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, HandlerError> + Send + Sync>;

/// Why an admin function failed; its text goes to the caller.
pub(crate) type HandlerError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) handler: Handler,
}

/// A resource as a program declares it ([`Config::resource`]): a named thing with a limit, which
/// all instances share.
///
/// # Examples
///
/// ```
/// use pares::{Config, Resource};
///
/// let config = Config::new("web").resource(Resource::new("connections", 40).per_holder(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Resource {
    pub(crate) name: String,
    pub(crate) limit: u64,
    pub(crate) per_holder: Option<u64>,
}

impl Resource {
    /// Declares a resource of which all instances together may use at most `limit` units.
    ///
    /// A name must have 1 to 64 bytes, must not contain white space or control characters, and must
    /// not begin with a dash. A limit may be 0 to 2^38.
    pub fn new(name: impl Into<String>, limit: u64) -> Self {
        Resource { name: name.into(), limit, per_holder: None }
    }

    /// Limits each instance to `units` of the resource at a time.
    pub fn per_holder(mut self, units: u64) -> Self {
        self.per_holder = Some(units);
        self
    }
}

/// The configuration of an instance: its group, name, port, functions and limits.
///
/// This is a builder. Nothing is checked or done until it is passed to
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
///     .admin_function("reload", "read the configuration again", |_| Ok(b"done".to_vec()));
/// assert_eq!(config.group(), "web");
/// ```
#[derive(Clone)]
#[must_use]
pub struct Config {
    pub(crate) place: Place,
    pub(crate) port: Option<u16>,
    pub(crate) name: Option<String>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) functions: Vec<Function>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) join_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) may_supervise: bool,
    pub(crate) settle_time: Duration,
    pub(crate) hang_timeout: Option<Duration>,
    pub(crate) end_hung_supervisor: bool,
    pub(crate) events: usize,
    pub(crate) max_members: usize,
    pub(crate) release_on_crash: bool,
}

impl Config {
    /// Returns the configuration of an instance of `group`, with all defaults.
    ///
    /// A group's name must have 1 to 64 characters out of `A-Z a-z 0-9 . _ -` and must not begin
    /// with a dot or a dash.
    pub fn new(group: impl Into<String>) -> Self {
        Config {
            place: Place::new(group.into()),
            port: None,
            name: None,
            meta: Vec::new(),
            functions: Vec::new(),
            resources: Vec::new(),
            join_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(5),
            may_supervise: true,
            settle_time: Duration::from_millis(500),
            hang_timeout: None,
            end_hung_supervisor: false,
            events: DEFAULT_EVENTS,
            max_members: MAX_MEMBERS,
            release_on_crash: false,
        }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.place.group
    }

    /// Sets the supervisor port. All instances of the group must name the same port.
    ///
    /// The port is then on 127.0.0.1, whatever the group. Default: [`default_address`] of the
    /// group. A port inside the system's ephemeral range (on Linux 32768 to 60999) works, but an
    /// outgoing connection of any program may happen to hold it.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the instance's unique name: 1 to 128 bytes, without white space or control characters,
    /// not `main`, and not beginning with `@` or `-`.
    ///
    /// Default: the program's name, a dash, and the port of the instance's admin endpoint. No two
    /// living instances share this port.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the directory that holds the group's key and its last term, as an absolute path. A
    /// missing directory is made, with mode 0700. A directory that other users can write, or that
    /// belongs to another user, is an error.
    ///
    /// Default: `$PARES_DIR`; otherwise `pares` in `$STATE_DIRECTORY` (in its first directory) or
    /// in `$XDG_STATE_HOME`; otherwise `.local/state/pares` in `$HOME`, or in this user's home
    /// according to the user database. A relative path is an error in `PARES_DIR`, and passed over
    /// in the other variables, because these are set for more than this library. `HOME` is also
    /// passed over if it is another user's directory and this user has a home.
    /// [`locate_state_directory`](Config::locate_state_directory) returns the directory chosen, and
    /// why.
    pub fn state_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.place.directory = Some(directory.into());
        self
    }

    /// Sets the file with the group's key: a regular file of 32 bytes that belongs to this user or
    /// to root, and that nobody else can write. It may be a symbolic link. Other users may read it
    /// if it belongs to root, or if even its owner can only read it: orchestrators mount keys in
    /// this way. A missing file is an error, because a program that names a file has a key in mind.
    ///
    /// Default: `GROUP.key` in the [state directory](Config::state_directory), for this user only,
    /// made with random bytes at first use.
    pub fn key_file(mut self, key_file: impl Into<PathBuf>) -> Self {
        self.place.key_file = Some(key_file.into());
        self
    }

    /// Adds a key and value to the instance's registry entry. An instance may have at most 32, of
    /// 4096 bytes in all.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.push((key.into(), value.into()));
        self
    }

    /// Adds an admin function that other instances and operators can call by `name`.
    ///
    /// `handler` takes the caller's bytes (up to 1 MiB) and returns the result (up to 1 MiB) or an
    /// error, whose text the caller gets. Both `?` and `Err("no paper".into())` work in it. It runs
    /// on a thread of its caller's connection, several at a time, and may take as long as it wants;
    /// the caller has a deadline of its own. If it panics, the caller gets an error, and nothing
    /// else happens. Leaving the group waits until the running functions have returned. The
    /// handler, and the threads and processes that it starts, have the signal mask of the thread
    /// that joined.
    ///
    /// A function with the name of a built-in function (`ping`, `info`, `functions`, `log-level`,
    /// `stop`) replaces it.
    pub fn admin_function<F>(
        mut self,
        name: impl Into<String>,
        help: impl Into<String>,
        handler: F,
    ) -> Self
    where
        F: Fn(&[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        self.functions.push(Function {
            name: name.into(),
            help: help.into(),
            handler: Arc::new(handler),
        });
        self
    }

    /// Declares a resource.
    ///
    /// All instances should declare the same. Where they differ (while a new version of a program
    /// is rolled out), the smallest limit of the living instances counts. A limit that is set at
    /// run time ([`Client::set_limit`](crate::Client::set_limit)) overrides all of them.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Sets how long [`Instance::join`](crate::Instance::join) may take until a role is known.
    /// Default: 10 s.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout.min(FOR_EVER);
        self
    }

    /// Sets how long a question to the supervisor waits for its answer, unless the caller sets
    /// another time ([`Client::with_timeout`](crate::Client::with_timeout)). Default: 5 s.
    ///
    /// An answer takes some ten microseconds. After an election it takes until the group is
    /// settled: usually at most the [settle time](Config::settle_time), 500 ms.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout.min(FOR_EVER);
        self
    }

    /// Sets whether this instance may become supervisor. Default: true.
    ///
    /// Set false for an instance that must not lead, because it often stands still (under a
    /// debugger, on a throttled processor), may end at any moment, or may not write the group's
    /// directory. Such an instance takes part in everything else: it holds permits and settings,
    /// and is counted. It never tries the port. While the group has no supervisor, it looks for one
    /// several times a second.
    ///
    /// **A group of only such instances has no supervisor.** A join then fails with
    /// [`JoinError::NoSupervisor`](crate::JoinError::NoSupervisor) after the [join
    /// timeout](Config::join_timeout). Instances that had a role remain
    /// [`Contending`](crate::Role::Contending) and log once that the group has no supervisor. They
    /// keep their permits and get no others until an instance comes that may supervise. A
    /// supervisor that steps down among such instances is supervisor again half a second later.
    pub fn may_supervise(mut self, may: bool) -> Self {
        self.may_supervise = may;
        self
    }

    /// Sets how long a new supervisor waits, at most, for the next survivor before it calls the
    /// group settled.
    ///
    /// Each survivor that comes back starts this time anew, because the thousands of a large group
    /// take longer than that to come back. From 1,667 instances on, 0.3 ms for each instance is
    /// more than the default; the longer of the two then counts, because some instances pause
    /// before they try again.
    ///
    /// A supervisor that does not know the survivors, because no instance told it, also starts the
    /// time anew for each. This ends when an instance comes back that does know, and after 20 times
    /// the settle time in all at the latest.
    ///
    /// Default: 500 ms. A survivor needs a few milliseconds; the rest is for machines under heavy
    /// load.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settle_time = time.min(FOR_EVER);
        self
    }

    /// Lets this instance watch for hangs. As subordinate it probes its supervisor four times in
    /// `timeout`; as supervisor it probes all subordinates. At least 100 ms. Default: no watch, and
    /// no wake-up while nothing happens.
    ///
    /// If an instance gives no good answer for `timeout` (noticed at most a quarter of it later),
    /// [`EventKind::Stalled`](crate::EventKind::Stalled) reports it, with the likely cause. Time
    /// during which the system did not run this instance does not count. Every instance answers,
    /// even if it does not watch. An answer shows that the instance's library lives; it also shows
    /// that its program lives, if the program calls [`Instance::pulse`](crate::Instance::pulse).
    pub fn hang_timeout(mut self, timeout: Duration) -> Self {
        self.hang_timeout = Some(timeout);
        self
    }

    /// Lets this instance kill its supervisor's process with SIGKILL when the supervisor is
    /// stalled. Another instance then takes over. Needs a [`hang_timeout`](Config::hang_timeout).
    /// Default: false, the hang is only reported.
    ///
    /// The supervisor is never killed for [`StallCause::Starved`](crate::StallCause::Starved). A
    /// core dump that is being written is cut off. The process killed is the one that has the other
    /// end of this instance's lifeline open; a pidfd holds it during the look-up. It is therefore
    /// never another process that has got its number, and never this process itself. Works only on
    /// Linux, and only where both processes run as one user, or this one as root.
    pub fn end_hung_supervisor(mut self, end: bool) -> Self {
        self.end_hung_supervisor = end;
        self
    }

    /// Sets how many events a receiver holds before it misses some, at least 2. Default: 1024.
    pub fn event_capacity(mut self, capacity: usize) -> Self {
        self.events = capacity;
        self
    }

    /// Sets how many instances this instance admits as supervisor, itself included. Default and
    /// maximum: 16,384.
    pub fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// Lets this process give up the supervisor port and its connections at the moment of a crash.
    /// Default: no.
    ///
    /// A process that dumps core keeps everything open until the dump is written (1.3 s for each
    /// GiB), and counts as alive for that time: no other instance becomes supervisor, and its
    /// permits are not free. With this setting, handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE,
    /// SIGABRT, SIGSYS and SIGTRAP first end all connections of this library. Each then restores
    /// what was installed before, which gets the same signal in the same place: the program's own
    /// handler, a crash reporter's, the standard library's for a stack overflow, or the system's
    /// core dump. The exit status does not change.
    ///
    /// The setting holds for the whole process, from the first join that asks for it. A handler
    /// that the program installs later runs first, and must call the handler that it replaced.
    /// Until the kernel stops them, the process's other threads run on for a moment, while there
    /// may already be another supervisor: jobs are told to end, and must fence what they write by
    /// the term. Do not use this setting in a program that recovers from such signals: its
    /// connections are lost for good, and every instance in it is stopped.
    pub fn release_on_crash(mut self, release: bool) -> Self {
        self.release_on_crash = release;
        self
    }

    /// Returns the supervisor port of this configuration.
    #[must_use]
    pub fn supervisor_port(&self) -> u16 {
        self.supervisor_address().port()
    }

    /// Returns the supervisor port with its loopback address.
    #[must_use]
    pub fn supervisor_address(&self) -> SocketAddrV4 {
        let chosen = self.port.map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        chosen.unwrap_or_else(|| default_address(&self.place.group))
    }

    /// Returns the path of the group's key file, which may not exist yet: as set, or in the group's
    /// directory.
    ///
    /// # Errors
    ///
    /// As for [`locate_state_directory`](Config::locate_state_directory), unless a key file is set.
    pub fn key_path(&self) -> Result<PathBuf, ConfigError> {
        self.place.key().map(KeyFile::into_path)
    }

    /// Returns the directory of the group's files, and what determined it. Makes nothing.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if the directory that is set, here or by `PARES_DIR`, is a relative path,
    /// or if none is set and this user has no home.
    pub fn locate_state_directory(&self) -> Result<StateDirectory, ConfigError> {
        self.place.locate()
    }
}

impl Default for Config {
    /// Returns the configuration of an instance of the group `default`.
    fn default() -> Self {
        Config::new(DEFAULT_GROUP)
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("group", &self.place.group)
            .field("address", &self.supervisor_address())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
