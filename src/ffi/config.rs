//! `pares_config_*`: what an instance is to be. Checked with each change, so that a mistake is
//! refused where it is made.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::callback::{Callback, FreeUser, Function, User};
use super::given::{Handle, Slot, Text};
use super::result::{Failure, guarded, null};
use super::table::table;
use super::time;
use crate::config::Resource;
use crate::config::{Config, DEFAULT_GROUP};

/// `pares_config`.
pub(crate) struct Plan {
    // Held to change or copy what is in it.
    draft: Mutex<Draft>,
}

struct Draft {
    config: Config,
    /// The functions of `config`, in its order, which there have no handlers yet.
    functions: Vec<Arc<Callback>>,
}

impl Plan {
    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(Config) -> Config) -> Result<(), Failure> {
        self.draft().change(change)
    }

    /// The configuration for the instance whose handle will be `instance`.
    pub(super) fn config(&self, instance: usize) -> Config {
        let draft = self.draft();
        let mut config = draft.config.clone();
        for (function, callback) in config.functions.iter_mut().zip(&draft.functions) {
            let callback = callback.clone();
            function.handler = Arc::new(move |payload| Ok(callback.call(instance, payload)?));
        }
        config
    }
}

impl Draft {
    /// Makes the change if the result is allowed; else nothing is changed.
    fn change(&mut self, change: impl FnOnce(Config) -> Config) -> Result<(), Failure> {
        let changed = change(self.config.clone());
        changed.check()?;
        self.config = changed;
        Ok(())
    }
}

fn change(plan: Handle<Plan>, change: impl FnOnce(Config) -> Config) -> Result<(), Failure> {
    plan.get("config")?.change(change)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_new(group: Text, config_out: Slot<Handle<Plan>>) -> c_int {
    guarded(|| {
        let config_out = config_out.open("config_out")?;
        let config = Config::new(group.optional("group")?.unwrap_or(DEFAULT_GROUP));
        config.check()?;
        let draft = Mutex::new(Draft { config, functions: Vec::new() });
        config_out.set(Handle::of(table().add(Plan { draft })?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_port(config: Handle<Plan>, port: u16) -> c_int {
    guarded(|| change(config, |config| config.port(port)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_name(config: Handle<Plan>, name: Text) -> c_int {
    guarded(|| {
        let name = name.get("name")?;
        change(config, |config| config.name(name))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_directory(config: Handle<Plan>, directory: Text) -> c_int {
    guarded(|| {
        let directory = directory.path("directory")?;
        change(config, |config| config.state_directory(directory))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_key_file(config: Handle<Plan>, key_file: Text) -> c_int {
    guarded(|| {
        let key_file = key_file.path("key_file")?;
        change(config, |config| config.key_file(key_file))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_meta(config: Handle<Plan>, key: Text, value: Text) -> c_int {
    guarded(|| {
        let (key, value) = (key.get("key")?, value.get("value")?);
        change(config, |config| config.meta(key, value))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_join_timeout(config: Handle<Plan>, timeout_ms: u64) -> c_int {
    guarded(|| change(config, |config| config.join_timeout(time(timeout_ms))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_may_supervise(config: Handle<Plan>, may: c_int) -> c_int {
    guarded(|| change(config, |config| config.may_supervise(may != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_settle_time(config: Handle<Plan>, time_ms: u64) -> c_int {
    guarded(|| change(config, |config| config.settle_time(time(time_ms))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_max_members(config: Handle<Plan>, members: usize) -> c_int {
    guarded(|| change(config, |config| config.max_members(members)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_events(config: Handle<Plan>, capacity: usize) -> c_int {
    guarded(|| change(config, |config| config.event_capacity(capacity)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_release_on_crash(
    config: Handle<Plan>,
    release: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.release_on_crash(release != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_hang_timeout(config: Handle<Plan>, timeout_ms: u64) -> c_int {
    guarded(|| change(config, |config| config.hang_timeout(time(timeout_ms))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_end_hung_supervisor(
    config: Handle<Plan>,
    end: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.end_hung_supervisor(end != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_resource(
    config: Handle<Plan>,
    resource: Text,
    limit: u64,
) -> c_int {
    guarded(|| {
        let resource = resource.get("resource")?;
        change(config, |config| config.resource(Resource::new(resource, limit)))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_resource_per_holder(
    config: Handle<Plan>,
    resource: Text,
    limit: u64,
    per_holder: u64,
) -> c_int {
    guarded(|| {
        let resource = resource.get("resource")?;
        change(config, |config| {
            config.resource(Resource::new(resource, limit).per_holder(per_holder))
        })
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_function(
    config: Handle<Plan>,
    name: Text,
    help: Text,
    function: Function,
    user: *mut c_void,
    free_user: FreeUser,
) -> c_int {
    let user = User::new(user, free_user);
    guarded(move || {
        let (name, help) = (name.get("name")?, help.optional("help")?.unwrap_or_default());
        let function = function.ok_or_else(|| null("function"))?;
        let plan = config.get("config")?;
        let callback = Arc::new(Callback { function, user });
        // For both, so that two threads do not exchange their functions.
        let mut draft = plan.draft();
        draft.change(|config| config.admin_function(name, help, |_| Err("not joined".into())))?;
        draft.functions.push(callback);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_config_free(config: Handle<Plan>) -> c_int {
    guarded(|| config.take().map(drop))
}
