//! Questions to a group and orders to it, from inside
//! ([`Instance::client`](crate::Instance::client)) and from outside ([`Client::new`]). No printing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use crate::config::{Config, FOR_EVER};
use crate::error::{AskError, CallError, PlaceError, ResourceError, SettingError, StartError};
use crate::event::{Reply, Usage};
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

/// What asks a group, and calls its instances: from outside as [`Client::new`] makes it, from
/// inside as [`Instance::client`](crate::Instance::client) returns it.
///
/// Each question waits for its answer for [`Config::answer_timeout`], five seconds unless set
/// otherwise; [`with_timeout`](Client::with_timeout) sets another time for one question. A call
/// has a timeout of its own, because a function may run for as long as it wants.
///
/// A client from outside is no member of the group. It costs nothing while it does not ask, and
/// keeps the connections of its last questions for the next ones. A client belongs to the process
/// that made it: in a forked child every question returns [`AskError::Stopped`], and the child
/// makes its own.
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
    /// Prepares to ask the group of `config`; only its group, port, directory, key file and answer
    /// timeout matter.
    ///
    /// Reads the group's key, and makes it if there is none yet. Connects to nothing.
    ///
    /// # Errors
    ///
    /// Any [`PlaceError`]; nothing was done.
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

    /// The same client, whose questions wait for `timeout` at most.
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

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.asker.pass.group
    }

    /// Lists all instances.
    ///
    /// Blocks for one round trip to the supervisor (none if this instance is supervisor); asked by
    /// an instance during an election, it waits for the new supervisor.
    ///
    /// # Errors
    ///
    /// Any [`AskError`]; asking changes nothing.
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
    /// The listing has exactly this entry. Blocks like [`list`](Client::list).
    ///
    /// # Errors
    ///
    /// [`AskError::NoSuchInstance`] if there is none of this name. As long as the registry is not
    /// settled, it may still come back. Else any [`AskError`].
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

    /// Asks for the state of the group: who is supervisor since when, in which term, and why.
    ///
    /// Blocks like [`list`](Client::list).
    ///
    /// # Errors
    ///
    /// Any [`AskError`]; asking changes nothing.
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

    /// Begins to watch the registry: first all instances that are there come as
    /// [`Joined`](crate::ChangeKind::Joined), then every change.
    ///
    /// Does not block. The watch goes on across elections, and reports an instance as gone only if
    /// it is: not because a new supervisor has not heard of it yet. A program that reads slowly
    /// delays nobody; it may miss an instance that came and went meanwhile.
    ///
    /// # Errors
    ///
    /// Any [`StartError`]; nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone().name("first"))?;
    /// let watch = first.client().watch()?;
    /// let second = pares::Instance::join(config.name("second"))?;
    /// let came = watch.changes().iter().any(|change| match change.kind {
    ///     pares::ChangeKind::Joined(entry) => entry.name == "second",
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
    /// `payload` and result are bytes of the function's own making, up to 1 MiB each. The call goes
    /// directly to the instance.
    ///
    /// Blocks for a look-up and a round trip (for the latter alone from the second call to the same
    /// instance), and for as long as the function runs; at most for `timeout`.
    ///
    /// # Errors
    ///
    /// Any [`CallError`]; its variants say whether the function may have run.
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

    /// Calls an admin function of all instances, the caller's own included, several at once; the
    /// results come by name.
    ///
    /// Blocks until all have answered; `timeout` is for finding them out, and for each one anew.
    ///
    /// # Errors
    ///
    /// A [`CallError`] if the instances could not be found out; else each has a result or an error
    /// of its own.
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

    /// Who uses how much of which resource; all resources in the order of their names.
    ///
    /// Blocks for one round trip to the supervisor; after an election until all survivors have
    /// said what they hold.
    ///
    /// # Errors
    ///
    /// [`ResourceError::Ask`].
    pub fn usage(&self) -> Result<Vec<Usage>, ResourceError> {
        self.asker.usage(None, deadline(self.timeout))
    }

    /// Who uses how much of one resource; see [`usage`](Client::usage).
    ///
    /// # Errors
    ///
    /// [`ResourceError::Unknown`] and [`ResourceError::Ask`].
    pub fn usage_of(&self, resource: &str) -> Result<Usage, ResourceError> {
        let found = self.asker.usage(Some(resource), deadline(self.timeout))?;
        let unknown = || ResourceError::Unknown { resource: resource.into() };
        found.into_iter().next().ok_or_else(unknown)
    }

    /// Changes a resource's limit, for all instances and until it is changed again; what was
    /// declared counts no more. It survives the supervisor, as a setting does.
    ///
    /// Below what is in use nothing is taken away; nothing is granted until the use has fallen.
    /// Requests larger than the new limit are refused.
    ///
    /// Blocks until all connected instances have been told.
    ///
    /// # Errors
    ///
    /// Any [`ResourceError`].
    pub fn set_limit(&self, resource: &str, limit: u64) -> Result<(), ResourceError> {
        self.asker.set_limit(resource, limit, deadline(self.timeout))
    }

    /// Takes all permits of `resource` away from the instance `holder` (`main`: the supervisor);
    /// returns how many they were.
    ///
    /// The holder gets an event, and its permits are no longer valid; their units are free at
    /// once. It is not made to stop using what the permits were for.
    ///
    /// Blocks for one round trip.
    ///
    /// # Errors
    ///
    /// Any [`ResourceError`].
    pub fn revoke(&self, resource: &str, holder: &str) -> Result<u64, ResourceError> {
        self.asker.revoke(resource, holder, deadline(self.timeout))
    }

    /// Asks the supervisor for the value of a setting; `None` if it is not set.
    ///
    /// An instance knows all settings itself, and answers without asking
    /// ([`Instance::get`](crate::Instance::get)). Blocks for one round trip; after an election
    /// until all survivors have said what they know.
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
    /// When this returns, every instance that was connected has the value, or will read it before
    /// anything else: it survives as long as one of them does. Each instance gets
    /// [`EventKind::Setting`](crate::EventKind::Setting). Settings live as long as the group has an
    /// instance.
    ///
    /// A key has 1 to 64 bytes, no white space or control characters, and does not begin with a
    /// dash; a value is any text up to 16 KiB; at most 256 settings, of 64 KiB in all.
    ///
    /// Blocks for one round trip, and as long as it takes to write to all instances; across an
    /// election it is asked again.
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

    /// Sets a setting if it has the value `expected` (`None`: if it is not set).
    ///
    /// See [`set`](Client::set); if the supervisor dies meanwhile, this is not asked again.
    ///
    /// # Errors
    ///
    /// Any [`SettingError`]; `Changed` says what the value is.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
    ) -> Result<(), SettingError> {
        self.change(key, Some(value), Some(expected))
    }

    /// Removes a setting, if it is set; see [`set`](Client::set).
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

/// The program's settings among all that the group has.
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
