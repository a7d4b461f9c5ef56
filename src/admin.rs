//! Asking and calling without joining: for operators, scripts and the `pares` command. No printing.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use crate::config::Config;
use crate::error::{CallError, PlaceError};
use crate::event::Replies;
use crate::net::client::ask::{Asker, Viewpoint};
use crate::net::files::term::TermFile;
use crate::net::files::{self, key};
use crate::net::procs::obstacle;
use crate::net::rt::clock::deadline;
use crate::net::transport::handshake::Pass;
use crate::registry::Registry;

/// A view of a group from outside: it asks and calls, and is no member.
///
/// Holding it costs nothing; it connects when it asks. It belongs to the process that made it: a
/// forked child makes its own.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use pares::{Admin, Config, Instance};
///
/// let config = Config::new("my-program");
/// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
/// let worker = Instance::join(config.clone().name("worker"))?;
///
/// let admin = Admin::new(&config)?;
/// let timeout = Duration::from_secs(2);
/// assert_eq!(admin.registry().list(timeout)?.entries[0].name, "worker");
/// assert_eq!(admin.call("worker", "ping", b"hello", timeout)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Admin {
    pub(crate) asker: Arc<Asker>,
    registry: Registry,
}

impl Admin {
    /// Prepares to ask the group of `config`; only its group, port, directory and key file matter.
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
        let pass = pass(config)?;
        let viewpoint = Viewpoint::Outside { at, registry_port: AtomicU16::new(0) };
        let asker = Arc::new(Asker::new(pass, viewpoint));
        Ok(Admin { registry: Registry::new(asker.clone()), asker })
    }

    /// The group's registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Calls an admin function of the instance `name` (`main`: the supervisor) and waits for its
    /// result.
    ///
    /// See [`Instance::call`](crate::Instance::call).
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    pub fn call(
        &self,
        name: &str,
        function: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        self.asker.call(name, function, payload, deadline(timeout))
    }

    /// Calls an admin function of all instances, several at once.
    ///
    /// See [`Instance::call_all`](crate::Instance::call_all).
    ///
    /// # Errors
    ///
    /// A [`CallError`] if the instances could not be found out.
    pub fn call_all(
        &self,
        function: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Replies, CallError> {
        self.asker.call_all(function, payload, timeout)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("group", &self.asker.pass.group).finish_non_exhaustive()
    }
}

impl Config {
    /// Whether the group has a key yet, checked as joining does. Makes none.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if the directory or
    /// the key cannot be used. A [`key_file`](Config::key_file) that is missing is such a key.
    pub fn has_key(&self) -> Result<bool, PlaceError> {
        let path = self.key_path()?;
        Ok(if self.key_file.is_some() {
            key::named(&path).map(|_| true)?
        } else {
            key::is_there(&path)?
        })
    }

    /// Checks the group's directory, and what is in it beside the key, as joining does. Makes and
    /// changes nothing; a directory that is missing is made by joining.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if others can
    /// exchange what is in it, or have put something there.
    pub fn check_directory(&self) -> Result<(), PlaceError> {
        let directory = self.locate_state_directory()?.path;
        if directory.exists() {
            files::check_directory(&directory)?;
            files::check_files(&directory, &self.group)?;
        }
        Ok(())
    }

    /// The group's last term, as its directory keeps it; `None` before the first. Sees that the
    /// next one can be kept: where there is no file for it yet, by writing as much as that needs
    /// beside it, and removing it.
    ///
    /// Blocks for the file system. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if terms cannot be
    /// kept there: whoever joins first would get the same error.
    pub fn last_term(&self) -> Result<Option<u64>, PlaceError> {
        let directory = self.locate_state_directory()?.path;
        Ok(if directory.exists() {
            TermFile::probe(&directory.join(format!("{}.term", self.group)))?
        } else {
            None
        })
    }
}

/// The group's name and key.
pub(crate) fn pass(config: &Config) -> Result<Pass, PlaceError> {
    let key_file = config.key_path()?;
    let key =
        if config.key_file.is_some() { key::named(&key_file)? } else { key::made(&key_file)? };
    Ok(Pass { group: config.group.clone(), key, key_file })
}
