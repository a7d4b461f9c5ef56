//! Asks a group and gives it orders, from inside ([`Instance::client`](crate::Instance::client))
//! and from outside ([`Client::new`]). Prints nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use crate::config::{Config, FOR_EVER};
use crate::error::{AskError, CallError, PlaceError, ResourceError, SettingError, StartError};
use crate::event::{Reply, SharedListener, Usage};
use crate::net::client::ask::{Answered, Asker, Viewpoint};
use crate::net::procs::obstacle;
use crate::net::rt::clock::deadline;
use crate::net::transport::handshake::Pass;
use crate::wire::{Scope, Setting, Status};

mod listing;
mod place;
mod watch;

pub use listing::Listing;
pub(crate) use place::pass;
pub use watch::Watch;

/// Asks a group and calls its instances: from outside, as [`Client::new`] makes it, or from inside,
/// as [`Instance::client`](crate::Instance::client) returns it.
///
/// Each question waits for its answer for at most [`Config::answer_timeout`], by default five
/// seconds; [`with_timeout`](Client::with_timeout) sets another time. A call has a timeout of its
/// own, because a function may run for as long as it wants.
///
/// A client from outside is not a member of the group. It costs nothing while it asks nothing, and
/// it keeps the connections of its last questions for the next ones. A client belongs to the
/// process that made it: in a forked child every question returns [`AskError::Stopped`], and the
/// child must make its own client.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use pares::{Client, Config, Instance};
///
/// let config = Config::new("my-program");
/// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
/// let worker = Instance::join(config.clone().name("worker"))?;
///
/// let client = Client::new(&config)?;
/// assert_eq!(client.list()?.entries[0].name, "worker");
/// assert_eq!(client.call("worker", "ping", b"hello", Duration::from_secs(2))?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Client {
    pub(crate) asker: Arc<Asker>,
    timeout: Duration,
}

impl Client {
    /// Makes a client of the group of `config`; only the group, port, directory, key file and
    /// answer timeout matter.
    ///
    /// Reads the group's key, and makes the key if there is none yet. Does not connect.
    ///
    /// # Errors
    ///
    /// Any [`PlaceError`]. Nothing was done.
    pub fn new(config: &Config) -> Result<Self, PlaceError> {
        config.check()?;
        let at = config.supervisor_address();
        obstacle::check_address(at)?;
        let viewpoint = Viewpoint::Outside { at, registry_port: AtomicU16::new(0) };
        Ok(Client::of(pass(config)?, viewpoint, config.answer_timeout))
    }

    pub(crate) fn of(pass: Pass, viewpoint: Viewpoint, timeout: Duration) -> Self {
        Client { asker: Arc::new(Asker::new(pass, viewpoint)), timeout }
    }

    /// Returns the same client with another timeout: its questions wait for at most `timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// let listing = instance.client().with_timeout(Duration::from_millis(200)).list()?;
    /// assert!(listing.settled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Client { asker: self.asker.clone(), timeout: timeout.min(FOR_EVER) }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.asker.pass.group
    }

    /// Lists all instances.
    ///
    /// Blocks for one round trip to the supervisor, or not at all if this instance is the
    /// supervisor. An instance that asks during an election waits for the new supervisor.
    ///
    /// # Errors
    ///
    /// Any [`AskError`]. Asking changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// let listing = instance.client().list()?;
    /// assert_eq!(listing.entries.len(), 1);
    /// assert_eq!(listing.supervisor, "first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self) -> Result<Listing, AskError> {
        self.asker.list(deadline(self.timeout)).map(Listing::from)
    }

    /// Looks up one instance by its unique name; `main` is the supervisor, whatever its name.
    ///
    /// The listing holds exactly this entry. Blocks like [`list`](Client::list).
    ///
    /// # Errors
    ///
    /// [`AskError::NoSuchInstance`] if no instance has this name; while the registry is not
    /// settled, such an instance may still come back. Otherwise any [`AskError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first").meta("version", "2.4"))?;
    /// let found = instance.client().look_up("main")?;
    /// let entry = &found.entries[0];
    /// println!("{} (pid {}) has {:?}", entry.name, entry.pid, entry.meta);
    /// assert!(instance.client().look_up("nobody").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look_up(&self, name: &str) -> Result<Listing, AskError> {
        self.asker.look_up(name, deadline(self.timeout)).map(Listing::from)
    }

    /// Returns the state of the group: which instance is supervisor, since when, in which term, and
    /// why.
    ///
    /// Blocks like [`list`](Client::list).
    ///
    /// # Errors
    ///
    /// Any [`AskError`]. Asking changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// let status = instance.client().status()?;
    /// println!("{} supervises in term {}: {}", status.supervisor, status.term, status.cause);
    /// assert_eq!(status.members, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self) -> Result<Status, AskError> {
        self.asker.status(deadline(self.timeout))
    }

    /// Starts to watch the registry: reports all present instances as
    /// [`Joined`](crate::ChangeKind::Joined), then every change.
    ///
    /// Does not block. The watch continues across elections. It reports an instance as gone only if
    /// the instance is gone, not because a new supervisor has not heard of it yet. A program that
    /// reads slowly delays nobody, but may miss an instance that came and went meanwhile.
    ///
    /// # Errors
    ///
    /// Any [`StartError`]. Nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone().name("first"))?;
    /// let watch = first.client().watch()?;
    /// let second = pares::Instance::join(config.name("second"))?;
    /// let came = watch.changes().iter().any(|change| match change.kind {
    ///     pares::ChangeKind::Joined { entry } => entry.name == "second",
    ///     _ => false,
    /// });
    /// assert!(came);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> Result<Watch, StartError> {
        Watch::start(self.asker.clone())
    }

    /// Calls an admin function of the instance `name` (`main`: the supervisor) and waits for its
    /// result.
    ///
    /// The function defines the bytes of `payload` and of its result, up to 1 MiB each. The call
    /// goes directly to the instance.
    ///
    /// Blocks for a look-up and a round trip, and for as long as the function runs, but for at most
    /// `timeout`. From the second call to the same instance on, the look-up is not needed.
    ///
    /// # Errors
    ///
    /// Any [`CallError`]. Its variants say whether the function may have run.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// use std::time::Duration;
    ///
    /// let double = |number: &[u8]| Ok([number, number].concat());
    /// let worker = config.clone().name("worker");
    /// let worker = worker.admin_function("double", "says it twice", double);
    /// let worker = pares::Instance::join(worker)?;
    ///
    /// let client = pares::Client::new(&config)?;
    /// assert_eq!(client.call("worker", "double", b"ab", Duration::from_secs(2))?, b"abab");
    /// let unknown = client.call("worker", "treble", b"ab", Duration::from_secs(2));
    /// assert!(matches!(unknown, Err(pares::CallError::NoSuchFunction { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call(
        &self,
        name: &str,
        function: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        self.asker.call(name, function, payload, deadline(timeout))
    }

    /// Calls an admin function of all instances, several at once, the caller's own instance
    /// included. Returns the replies in the order of the instances' names.
    ///
    /// Blocks until all instances have answered. `timeout` limits the search for the instances, and
    /// then each call anew.
    ///
    /// # Errors
    ///
    /// A [`CallError`] if the instances could not be found. Otherwise each reply holds a result or
    /// an error of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let one = pares::Instance::join(config.clone().name("one"))?;
    /// let two = pares::Instance::join(config.name("two"))?;
    /// let timeout = std::time::Duration::from_secs(2);
    /// for reply in one.client().call_all("ping", b"hello", timeout)? {
    ///     println!("{} answers {:?}", reply.name, reply.result?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call_all(
        &self,
        function: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Vec<Reply>, CallError> {
        self.asker.call_all(function, payload, timeout)
    }

    /// Returns the use of all resources, in the order of their names: how much is in use, and by
    /// which instances.
    ///
    /// Blocks for one round trip to the supervisor; after an election, until all survivors have
    /// said what they hold.
    ///
    /// # Errors
    ///
    /// [`ResourceError::Ask`].
    pub fn usage(&self) -> Result<Vec<Usage>, ResourceError> {
        self.asker.usage(None, deadline(self.timeout))
    }

    /// Returns the use of one resource; see [`usage`](Client::usage).
    ///
    /// # Errors
    ///
    /// [`ResourceError::Unknown`] and [`ResourceError::Ask`].
    pub fn usage_of(&self, resource: &str) -> Result<Usage, ResourceError> {
        let found = self.asker.usage(Some(resource), deadline(self.timeout))?;
        let unknown = || ResourceError::Unknown { resource: resource.into() };
        found.into_iter().next().ok_or_else(unknown)
    }

    /// Returns the listeners that instances share ([`Instance::listen`](crate::Instance::listen)),
    /// with the instances that accept there.
    ///
    /// Blocks for one round trip to the supervisor.
    ///
    /// # Errors
    ///
    /// Any [`AskError`].
    pub fn listeners(&self) -> Result<Vec<SharedListener>, AskError> {
        self.asker.listeners(deadline(self.timeout))
    }

    /// Has an instance accept no more connections at the listeners that it shares: others accept
    /// them. What it has accepted goes on. Returns at how many listeners it accepted.
    ///
    /// Blocks for one round trip to the supervisor; after an election also until the instance has
    /// come to the new one, as a rule for milliseconds, or, if it does not come, until the group is
    /// settled and for a second. An instance accepts again when it listens anew.
    ///
    /// # Errors
    ///
    /// Any [`AskError`], `NoSuchInstance` among them.
    pub fn drain(&self, name: &str) -> Result<u64, AskError> {
        self.asker.drain(name, deadline(self.timeout))
    }

    /// Changes a resource's limit for all instances, until it is changed again. The declared limit
    /// no longer counts. Like a setting, the new limit survives the supervisor.
    ///
    /// If more than the new limit is in use, nothing is taken away, and nothing is granted until
    /// the use has fallen. Requests larger than the new limit are refused.
    ///
    /// Blocks until all connected instances know the new limit.
    ///
    /// # Errors
    ///
    /// Any [`ResourceError`].
    pub fn set_limit(&self, resource: &str, limit: u64) -> Result<(), ResourceError> {
        self.asker.set_limit(resource, limit, deadline(self.timeout))
    }

    /// Takes all permits of `resource` away from the instance `holder` (`main`: the supervisor).
    /// Returns the number of permits taken.
    ///
    /// The holder gets an event. Its permits are no longer valid, and their units are free at once.
    /// The library does not stop the holder from using what the permits were for.
    ///
    /// Blocks for one round trip.
    ///
    /// # Errors
    ///
    /// Any [`ResourceError`].
    pub fn revoke(&self, resource: &str, holder: &str) -> Result<u64, ResourceError> {
        self.asker.revoke(resource, holder, deadline(self.timeout))
    }

    /// Asks the supervisor for the value of a setting. Returns `None` if it is not set.
    ///
    /// An instance knows all settings and answers without asking: see
    /// [`Instance::get`](crate::Instance::get). Blocks for one round trip; after an election, until
    /// all survivors have said what they know.
    ///
    /// # Errors
    ///
    /// Any [`AskError`].
    pub fn get(&self, key: &str) -> Result<Option<String>, AskError> {
        let found = self.asker.settings(Some(key), deadline(self.timeout))?;
        Ok(found.into_iter().find_map(|setting| setting.value))
    }

    /// Asks the supervisor for all settings; see [`get`](Client::get).
    ///
    /// # Errors
    ///
    /// Any [`AskError`].
    pub fn settings(&self) -> Result<BTreeMap<String, String>, AskError> {
        Ok(of_program(self.asker.settings(None, deadline(self.timeout))?.iter()))
    }

    /// Sets a setting for all instances.
    ///
    /// When this returns, every instance that was connected has the value, or reads it before
    /// anything else. The value therefore survives as long as one of these instances does. Each
    /// instance gets [`EventKind::Setting`](crate::EventKind::Setting). Settings live as long as
    /// the group has an instance.
    ///
    /// A key must have 1 to 64 bytes, must not contain white space or control characters, and must
    /// not begin with a dash. A value may be any text of up to 16 KiB. A group may have at most 256
    /// settings, of 64 KiB in all.
    ///
    /// Blocks for one round trip, and for as long as it takes to write to all instances. If an
    /// election comes between, the request is repeated.
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// let client = instance.client();
    /// client.set("mode", "fast")?;
    /// assert_eq!(instance.get("mode").as_deref(), Some("fast"));
    ///
    /// client.compare_and_set("mode", Some("fast"), "safe")?;
    /// let late = client.compare_and_set("mode", Some("fast"), "slow");
    /// assert!(matches!(late, Err(pares::SettingError::Changed { .. })));
    /// assert_eq!(instance.get("mode").as_deref(), Some("safe"));
    ///
    /// client.unset("mode")?;
    /// assert!(instance.settings().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, key: &str, value: &str) -> Result<(), SettingError> {
        self.change(key, Some(value), None)
    }

    /// Sets a setting if its present value is `expected` (`None`: if it is not set).
    ///
    /// See [`set`](Client::set). If the supervisor dies meanwhile, the request is not repeated.
    ///
    /// # Errors
    ///
    /// Any [`SettingError`]; `Changed` holds the present value.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
    ) -> Result<(), SettingError> {
        self.change(key, Some(value), Some(expected))
    }

    /// Removes a setting if it is set; see [`set`](Client::set).
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    pub fn unset(&self, key: &str) -> Result<(), SettingError> {
        self.change(key, None, None)
    }

    fn change(
        &self,
        key: &str,
        value: Option<&str>,
        expected: Option<Option<&str>>,
    ) -> Result<(), SettingError> {
        let setting = self.asker.set(key, value, expected, deadline(self.timeout))?;
        if let Viewpoint::Member(shared) = &self.asker.viewpoint {
            // It is on its way to this instance too, but whoever sets a value expects to see it at
            // once.
            shared.holding.merge(setting);
        }
        Ok(())
    }
}

/// Selects the program's own settings among all settings of the group.
pub(crate) fn of_program<'a>(
    settings: impl Iterator<Item = &'a Setting>,
) -> BTreeMap<String, String> {
    let ours = settings.filter(|setting| setting.scope == Scope::Program);
    ours.filter_map(|setting| Some((setting.key.clone(), setting.value.clone()?))).collect()
}

impl From<Answered> for Listing {
    fn from(Answered { term, settled, supervisor, entries }: Answered) -> Self {
        Listing { term, settled, supervisor, entries }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("group", &self.asker.pass.group)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
