//! How an instance comes to be.

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
    let wire = sys::tripwire::Wire::lay();
    let began = Instant::now();
    let pass = pass(&config)?;
    let io = |doing| move |source| JoinError::Io { doing, source };
    let directory = config.locate_state_directory()?.path;
    files::make_directory(&directory)?;
    let at = config.supervisor_address();
    obstacle::check_address(at)?;
    let terms = match config.may_supervise {
        true => Some(TermFile::open(directory.join(format!("{}.term", config.place.group)), at)?),
        false => None,
    };

    let listener =
        port::listen(port::here(0), sys::Kind::Peer).map_err(io("open the admin endpoint"))?;
    let admin_port = listener.local_addr().map_err(io("open the admin endpoint"))?.port();
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(std::io::Error::other).map_err(io("read random bytes"))?;
    let (id, seed) = random.split_at(8);
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("half of 16 bytes"));
    let program = program();
    let mut me = Entry {
        // The kernel gives the port to nobody else as long as this instance lives.
        name: config.name.clone().unwrap_or_else(|| format!("{program}-{admin_port}")),
        id: number(id),
        pid: std::process::id(),
        uid: rustix::process::getuid().as_raw(),
        admin_port,
        joined_ms: unix_ms(SystemTime::now()),
        meta: config.meta.clone(),
        functions: Vec::new(),
    };
    // The functions know the instance, and the instance says which functions it has.
    let late = Arc::new(OnceLock::new());
    let functions = endpoint::functions(&late, About { program }, &config.functions);
    me.functions = functions.keys().cloned().collect();
    let declare = |one: &Resource| Declared {
        resource: one.name.clone(),
        limit: one.limit,
        per_holder: one.per_holder,
    };
    let declared = config.resources.iter().map(declare).collect();
    let election = Election::new(
        number(seed),
        clock::now().saturating_add(config.join_timeout),
        config.may_supervise,
    );
    let member = Member::new(me.clone(), election, declared, config.settle_time, RESETS_LOSE);
    let presence = Arc::new(Presence::new(wire));
    let shared = Arc::new(Shared {
        pass: pass.clone(),
        at,
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
        endpoint: Mutex::new(Some(endpoint)),
        shared: shared.clone(),
    };
    let started = instance.role.spawn(threads::ROLE, move || role::run(&shared));
    started.map_err(io("start the role thread"))?;

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
