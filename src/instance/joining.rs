//! How an instance comes to be.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use super::Instance;
use crate::client::{Client, pass};
use crate::config::{Config, Resource};
use crate::error::JoinError;
use crate::event::Role;
use crate::net::client::ask::Viewpoint;
use crate::net::endpoint::{self, About, Endpoint};
use crate::net::files;
use crate::net::files::term::TermFile;
use crate::net::member::holding::Holding;
use crate::net::member::presence::Presence;
use crate::net::member::role;
use crate::net::member::shared::Shared;
use crate::net::procs::{self, obstacle};
use crate::net::rt::clock::{self, unix_ms};
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::port;
use crate::state::election::Election;
use crate::state::member::Member;
use crate::sys;
use crate::wire::{Declared, Entry};

/// Linux lets a program read the data that arrived before a reset: `tcp_recvmsg` looks at the queue
/// before the error. Whether other systems do is not known.
const RESETS_LOSE: bool = cfg!(not(target_os = "linux"));

/// Joins the group, and waits until the instance has a role.
pub(super) fn join(config: Config) -> Result<Instance, JoinError> {
    config.check()?;
    sys::install();
    if config.release_on_crash {
        sys::crash::install();
    }
    let began = Instant::now();
    let instance = begin(&config)?;
    let settled = instance.shared.presence.wait(None, |inside| match inside.role() {
        Role::Supervisor | Role::Subordinate => Some(None),
        Role::Stopped => Some(inside.failed.take()),
        Role::Contending => None,
    });
    match settled.flatten() {
        None => Ok(instance),
        Some(obstacle) => Err({
            let Shared { pass, at, me, .. } = &*instance.shared;
            obstacle::join_error(obstacle, pass, *at, Some(&me.name), began.elapsed())
        }),
    }
}

/// Opens all that an instance has, and begins to contend for a role.
fn begin(config: &Config) -> Result<Instance, JoinError> {
    let io = |doing| move |source| JoinError::Io { doing, source };
    let wire = sys::tripwire::Wire::lay();
    let pass = pass(config)?;
    let at = config.supervisor_address();
    let directory = config.locate_state_directory()?.path;
    let terms = terms(config, &directory, at)?;
    let listener =
        port::listen(port::here(0), sys::Kind::Peer).map_err(io("open the admin endpoint"))?;
    let admin_port = listener.local_addr().map_err(io("open the admin endpoint"))?.port();
    let [id, seed] = draw().map_err(io("read random bytes"))?;
    let program = program();
    let mut me = describe(config, &program, admin_port, id);
    // The functions know the instance, and the instance says which functions it has.
    let late = Arc::new(OnceLock::new());
    let functions = endpoint::functions(&late, About { program }, &config.functions);
    me.functions = functions.keys().cloned().collect();
    let patience = clock::now().saturating_add(config.join_timeout);
    let election = Election::new(seed, patience, config.may_supervise);
    let declared = config.resources.iter().map(declare).collect();
    let member = Member::new(me.clone(), election, declared, config.settle_time, RESETS_LOSE);
    let presence = Arc::new(Presence::new(wire));
    let shared = Arc::new(Shared {
        pass: pass.clone(),
        at,
        directory,
        me,
        terms,
        max_members: config.max_members,
        hang_timeout: config.hang_timeout,
        end_hung_supervisor: config.end_hung_supervisor,
        pulse: Arc::default(),
        holding: Arc::new(Holding::new(member, presence.clone())),
        presence,
    });
    _ = late.set(Arc::downgrade(&shared));
    let losing = Arc::downgrade(&shared);
    let lost = move || losing.upgrade().iter().for_each(|shared| role::lose(shared));
    let endpoint = Endpoint::open(listener, pass.clone(), functions, lost)
        .map_err(io("open the admin endpoint"))?;
    let viewpoint = Viewpoint::Member(shared.clone());
    let instance = Instance {
        events: config.events,
        answer_timeout: config.answer_timeout,
        client: Client::of(pass, viewpoint, config.answer_timeout),
        role: Threads::default(),
        listeners: Arc::default(),
        endpoint: Mutex::new(Some(endpoint)),
        shared: shared.clone(),
    };
    let started = instance.role.spawn(threads::ROLE, move || role::run(&shared));
    started.map_err(io("start the role thread"))?;
    Ok(instance)
}

/// Makes the group's directory, and opens the file of its terms there if this instance may write
/// them.
fn terms(
    config: &Config,
    directory: &Path,
    at: SocketAddrV4,
) -> Result<Option<TermFile>, JoinError> {
    files::make_directory(directory)?;
    obstacle::check_address(at)?;
    if !config.may_supervise {
        return Ok(None);
    }
    Ok(Some(TermFile::open(config.place.term_path(directory), at)?))
}

/// Draws two random numbers.
fn draw() -> io::Result<[u64; 2]> {
    let mut random = [[0; 8]; 2];
    getrandom::fill(random.as_flattened_mut()).map_err(io::Error::other)?;
    Ok(random.map(u64::from_ne_bytes))
}

/// Describes the instance to the registry, but for its functions.
fn describe(config: &Config, program: &str, admin_port: u16, id: u64) -> Entry {
    Entry {
        // The kernel gives the port to nobody else as long as this instance lives.
        name: config.name.clone().unwrap_or_else(|| format!("{program}-{admin_port}")),
        id,
        pid: std::process::id(),
        uid: rustix::process::getuid().as_raw(),
        admin_port,
        joined_ms: unix_ms(SystemTime::now()),
        meta: config.meta.clone(),
        functions: Vec::new(),
    }
}

fn declare(Resource { name, limit, per_holder }: &Resource) -> Declared {
    Declared { resource: name.clone(), limit: *limit, per_holder: *per_holder }
}

/// The program's name, made fit to be part of an instance's name.
fn program() -> String {
    let fit =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = procs::program().chars().map(fit).take(64).collect();
    match name.trim_start_matches('-') {
        "" => "instance".into(),
        name => name.into(),
    }
}
