//! Settings: small key/value configuration that all instances share, and that outlives the
//! supervisor.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::admin::Admin;
use crate::error::{AskError, SettingError};
use crate::instance::Instance;
use crate::net::rt::clock::deadline;
use crate::wire::{Scope, Setting};

fn pairs<'a>(settings: impl Iterator<Item = &'a Setting>) -> BTreeMap<String, String> {
    let ours = settings.filter(|setting| setting.scope == Scope::Program);
    ours.filter_map(|setting| Some((setting.key.clone(), setting.value.clone()?))).collect()
}

impl Instance {
    /// The value of a setting, as this instance knows it. Does not block, and needs no supervisor.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        if self.shared.presence.is_void() {
            return None;
        }
        self.shared
            .holding
            .settings(|settings| settings.get(Scope::Program, key).map(str::to_owned))
    }

    /// All settings, as this instance knows them. Does not block, and needs no supervisor.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        if self.shared.presence.is_void() {
            return BTreeMap::new();
        }
        self.shared.holding.settings(|settings| pairs(settings.present()))
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
    /// election it is asked again. At most for `timeout`.
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let timeout = Duration::from_secs(2);
    /// let instance = pares::Instance::join(config)?;
    /// instance.set("mode", "fast", timeout)?;
    /// assert_eq!(instance.get("mode").as_deref(), Some("fast"));
    ///
    /// instance.compare_and_set("mode", Some("fast"), "safe", timeout)?;
    /// let late = instance.compare_and_set("mode", Some("fast"), "slow", timeout);
    /// assert!(matches!(late, Err(pares::SettingError::Changed { .. })));
    /// assert_eq!(instance.get("mode").as_deref(), Some("safe"));
    ///
    /// instance.unset("mode", timeout)?;
    /// assert!(instance.settings().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, key: &str, value: &str, timeout: Duration) -> Result<(), SettingError> {
        self.change(key, Some(value), None, timeout)
    }

    /// Sets a setting if it has the value `expected` (`None`: if it is not set).
    ///
    /// See [`set`](Instance::set); if the supervisor dies meanwhile, this is not asked again.
    ///
    /// # Errors
    ///
    /// Any [`SettingError`]; `Changed` says what the value is.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        timeout: Duration,
    ) -> Result<(), SettingError> {
        self.change(key, Some(value), Some(expected), timeout)
    }

    /// Removes a setting, if it is set.
    ///
    /// See [`set`](Instance::set).
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    pub fn unset(&self, key: &str, timeout: Duration) -> Result<(), SettingError> {
        self.change(key, None, None, timeout)
    }

    fn change(
        &self,
        key: &str,
        value: Option<&str>,
        expected: Option<Option<&str>>,
        timeout: Duration,
    ) -> Result<(), SettingError> {
        let setting = self.asker.set(key, value, expected, deadline(timeout))?;
        // It is on its way to this instance too, but whoever sets a value expects to see it at
        // once.
        self.shared.holding.merge(setting);
        Ok(())
    }
}

impl Admin {
    /// The value of a setting; see [`Instance::get`].
    ///
    /// Blocks for one round trip to the supervisor, after an election until all survivors have said
    /// what they know; at most for `timeout`.
    ///
    /// # Errors
    ///
    /// Any [`AskError`].
    pub fn get(&self, key: &str, timeout: Duration) -> Result<Option<String>, AskError> {
        let found = self.asker.settings(Some(key), deadline(timeout))?;
        Ok(found.into_iter().find_map(|setting| setting.value))
    }

    /// All settings; see [`get`](Admin::get).
    ///
    /// # Errors
    ///
    /// Any [`AskError`].
    pub fn settings(&self, timeout: Duration) -> Result<BTreeMap<String, String>, AskError> {
        Ok(pairs(self.asker.settings(None, deadline(timeout))?.iter()))
    }

    /// Sets a setting for all instances; see [`Instance::set`].
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    pub fn set(&self, key: &str, value: &str, timeout: Duration) -> Result<(), SettingError> {
        self.asker.set(key, Some(value), None, deadline(timeout)).map(drop)
    }

    /// Sets a setting if it has the value `expected`; see [`Instance::compare_and_set`].
    ///
    /// # Errors
    ///
    /// Any [`SettingError`].
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        timeout: Duration,
    ) -> Result<(), SettingError> {
        self.asker.set(key, Some(value), Some(expected), deadline(timeout)).map(drop)
    }

    /// Removes a setting; see [`Instance::unset`].
    ///
    /// # Errors
    ///
    /// Any [`SettingError`] but `Changed`.
    pub fn unset(&self, key: &str, timeout: Duration) -> Result<(), SettingError> {
        self.asker.set(key, None, None, deadline(timeout)).map(drop)
    }
}
