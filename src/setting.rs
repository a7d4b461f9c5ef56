//! Settings as an instance knows them: a small key/value configuration that all instances share,
//! and that outlives the supervisor.

use std::collections::BTreeMap;

use crate::client::of_program;
use crate::instance::Instance;
use crate::wire::Scope;

impl Instance {
    /// Returns the value of a setting, as this instance knows it. Does not block, and needs no
    /// supervisor.
    ///
    /// [`Client::set`](crate::Client::set) changes a setting.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        if self.shared.presence.is_void() {
            return None;
        }
        self.shared
            .holding
            .settings(|settings| settings.get(Scope::Program, key).map(str::to_owned))
    }

    /// Returns all settings, as this instance knows them. Does not block, and needs no supervisor.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        if self.shared.presence.is_void() {
            return BTreeMap::new();
        }
        self.shared.holding.settings(|settings| of_program(settings.present()))
    }
}
