//! `pares_peer_config_*`: what a process of a masterless group is to be. Checked with each change,
//! as `pares_config_*`.

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::DEFAULT_GROUP;
use crate::config::masterless::Config;
use crate::ffi::callback::{FreeUser, Inside, User};
use crate::ffi::given::{Handle, Slot, Text, Texts};
use crate::ffi::result::{Code, Failure, guarded, null};
use crate::ffi::table::table;
use crate::ffi::time;

/// `pares_workload_function`.
pub(crate) type WorkloadFunction = Option<unsafe extern "C" fn(user: *mut c_void) -> u16>;

/// `pares_peer_config`.
pub(crate) struct PeerPlan {
    // Held to change or copy what is in it.
    draft: Mutex<Draft>,
}

struct Draft {
    config: Config,
    workload: Option<Arc<Workload>>,
}

/// The program's function for the workload.
struct Workload {
    function: unsafe extern "C" fn(*mut c_void) -> u16,
    user: User,
}

impl Workload {
    /// Asks for the peer of this number.
    fn ask(&self, peer: usize) -> u16 {
        let _inside = Inside::enter(peer);
        // SAFETY: the program gave the function and the pointer for this.
        unsafe { (self.function)(self.user.pointer) }
    }
}

impl PeerPlan {
    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration for the peer whose handle will be `peer`.
    pub(super) fn config(&self, peer: usize) -> Config {
        let draft = self.draft();
        match draft.workload.clone() {
            Some(workload) => draft.config.clone().workload_from(move || workload.ask(peer)),
            None => draft.config.clone(),
        }
    }
}

/// Makes the change if the result is allowed; else nothing is changed.
fn change(plan: Handle<PeerPlan>, change: impl FnOnce(Config) -> Config) -> Result<(), Failure> {
    let plan = plan.get("config")?;
    let mut draft = plan.draft();
    let changed = change(draft.config.clone());
    changed.check()?;
    draft.config = changed;
    Ok(())
}

fn address(text: &str, what: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| {
        let rule = "an address with a port, such as 10.0.0.7:4000 or [fe80::7%2]:4000";
        Failure::new(Code::Invalid, format!("{what} {text:?} cannot be used: {rule}"))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_new(
    group: Text,
    config_out: Slot<Handle<PeerPlan>>,
) -> c_int {
    guarded(|| {
        let config_out = config_out.open("config_out")?;
        let config = Config::new(group.optional("group")?.unwrap_or(DEFAULT_GROUP));
        config.check()?;
        let draft = Mutex::new(Draft { config, workload: None });
        config_out.set(Handle::of(table().add(PeerPlan { draft })?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_service(
    config: Handle<PeerPlan>,
    service: u16,
) -> c_int {
    guarded(|| change(config, |config| config.service(service)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_rank(config: Handle<PeerPlan>, rank: u8) -> c_int {
    guarded(|| change(config, |config| config.rank(rank)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_label(config: Handle<PeerPlan>, label: Text) -> c_int {
    guarded(|| {
        let label = label.get("label")?;
        change(config, |config| config.label(label))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_origin(config: Handle<PeerPlan>, origin: u32) -> c_int {
    guarded(|| change(config, |config| config.origin(origin)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_local(config: Handle<PeerPlan>, port: u16) -> c_int {
    guarded(|| change(config, |config| config.local(port)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_multicast(
    config: Handle<PeerPlan>,
    group: Text,
    interface: Text,
) -> c_int {
    guarded(|| {
        let group = address(group.get("group")?, "group")?;
        let interface = interface.optional("interface")?;
        change(config, |config| config.multicast(group, interface))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_unicast(
    config: Handle<PeerPlan>,
    bind: Text,
    peers: Texts,
    peer_count: usize,
) -> c_int {
    guarded(|| {
        let bind = address(bind.get("bind")?, "bind")?;
        let peers = peers.list(peer_count, "peers")?.iter().map(|peer| peer.get("a peer"));
        let peers = peers.collect::<Result<Vec<_>, _>>()?;
        change(config, |config| config.unicast_names(bind, peers))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_lan(config: Handle<PeerPlan>) -> c_int {
    guarded(|| change(config, Config::lan))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_lossy(config: Handle<PeerPlan>) -> c_int {
    guarded(|| change(config, Config::lossy))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_interval(
    config: Handle<PeerPlan>,
    interval_ms: u64,
) -> c_int {
    guarded(|| change(config, |config| config.interval(time(interval_ms))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_delay(config: Handle<PeerPlan>, delay_ms: u64) -> c_int {
    guarded(|| change(config, |config| config.delay(time(delay_ms))))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_preempt(
    config: Handle<PeerPlan>,
    preempt: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.preempt(preempt != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_quorum(
    config: Handle<PeerPlan>,
    processes: usize,
) -> c_int {
    guarded(|| change(config, |config| config.quorum(processes)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_slow_above(
    config: Handle<PeerPlan>,
    processes: usize,
) -> c_int {
    guarded(|| change(config, |config| config.slow_above(processes)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_max_members(
    config: Handle<PeerPlan>,
    members: usize,
) -> c_int {
    guarded(|| change(config, |config| config.max_members(members)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_need(
    config: Handle<PeerPlan>,
    service: u16,
    min: u16,
    max: u16,
) -> c_int {
    let max = (max != u16::MAX).then_some(max);
    guarded(|| change(config, |config| config.need(service, min, max)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_can_start(
    config: Handle<PeerPlan>,
    can: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.can_start(can != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_launcher(
    config: Handle<PeerPlan>,
    words: Texts,
    word_count: usize,
) -> c_int {
    guarded(|| {
        let words = words.list(word_count, "words")?.iter().map(|word| word.path("a word"));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.is_empty() {
            return Err(Failure::new(
                Code::Invalid,
                "a launcher is a program and its arguments, not nothing",
            ));
        }
        change(config, |config| config.launcher(words))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_directory(
    config: Handle<PeerPlan>,
    directory: Text,
) -> c_int {
    guarded(|| {
        let directory = directory.path("directory")?;
        change(config, |config| config.state_directory(directory))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_key_file(
    config: Handle<PeerPlan>,
    key_file: Text,
) -> c_int {
    guarded(|| {
        let key_file = key_file.path("key_file")?;
        change(config, |config| config.key_file(key_file))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_also_key_file(
    config: Handle<PeerPlan>,
    also_key_file: Text,
) -> c_int {
    guarded(|| {
        let also_key_file = also_key_file.path("also_key_file")?;
        change(config, |config| config.also_key_file(also_key_file))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_events(
    config: Handle<PeerPlan>,
    capacity: usize,
) -> c_int {
    guarded(|| change(config, |config| config.event_capacity(capacity)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_prepare_handover(
    config: Handle<PeerPlan>,
    prepares: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.prepare_handover(prepares != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_workload(
    config: Handle<PeerPlan>,
    workload: u16,
) -> c_int {
    guarded(|| change(config, |config| config.workload(workload)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_workload_from(
    config: Handle<PeerPlan>,
    workload: WorkloadFunction,
    user: *mut c_void,
    free_user: FreeUser,
) -> c_int {
    let user = User::new(user, free_user);
    guarded(move || {
        let function = workload.ok_or_else(|| null("workload"))?;
        let plan = config.get("config")?;
        let before = plan.draft().workload.replace(Arc::new(Workload { function, user }));
        drop(before); // outside of the lock: its destructor is the program's
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_observe(
    config: Handle<PeerPlan>,
    observe: c_int,
) -> c_int {
    guarded(|| change(config, |config| config.observe(observe != 0)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_peer_config_free(config: Handle<PeerPlan>) -> c_int {
    guarded(|| config.take().map(drop))
}
