//! How a process starts to join: what it opens, and its first state.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::launch::Launcher;
use super::lives::{Files, Lives};
use super::shared::{PeerShared, PeerState, Traffic};
use super::socket::Socket;
use super::{Deeds, label, resolver};
use crate::config::masterless::{Config, Transport};
use crate::error::masterless::JoinError;
use crate::event::masterless::{EventKind, RoleCause};
use crate::net::files::epoch::EpochFile;
use crate::net::files::{self, key};
use crate::net::rt::clock::{self, awake_or_asleep_ms};
use crate::net::rt::hub::Hub;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::threads::{LAUNCH, Threads};
use crate::net::rt::waker::Waker;
use crate::state::masterless::{Machine, Millis, Rules};
use crate::sys::tripwire::Wire;
use crate::sys::{self, Origin};
use crate::wire::heartbeat::Status;
use crate::wire::proof::Key;
use crate::wire::seal::Seal;

impl Deeds {
    /// Opens everything, and sends the first request to be admitted.
    pub(crate) fn begin(config: &Config) -> Result<(Arc<PeerShared>, Self), JoinError> {
        config.check()?;
        sys::install();
        let wire = Wire::lay();
        let io = |doing| move |source| JoinError::Io { doing, source };
        let directory = config.place.locate()?.path;
        files::make_directory(&directory)?;
        let group = &config.place.group;
        let seal = seal(config)?;
        let observes = config.observe;
        let epoch_path = directory.join(format!("{group}.{}.epoch", config.service));
        let epochs = if observes { None } else { Some(EpochFile::open(epoch_path)?) };
        let lives = Lives::new(Files::open(directory.join(format!("{group}.peers")))?);
        let waker = Arc::new(Waker::new().map_err(io("make a waker"))?);
        let destinations = match &config.transport {
            Transport::Unicast { bind, peers } => {
                Some(resolver::begin(*bind, peers, config.interval, &waker))
            }
            Transport::Local(_) | Transport::Multicast { .. } => None,
        };
        let socket = Socket::open(&config.transport, config.local_port())?;
        let launcher = launcher(config).map_err(io("start the launching thread"))?;
        getrandom::fill(&mut [0; 8])
            .map_err(std::io::Error::other)
            .map_err(io("read random bytes"))?;

        let rules = rules(config, epochs.as_ref().map_or(0, EpochFile::last));
        let (interval, label, now) = (rules.interval, rules.label, awake_or_asleep_ms());
        let mut actions = Vec::new();
        let machine = Machine::new(rules, now, Box::new(chance), &mut actions);
        let joining = Status::Joining;
        let role =
            EventKind::Role { from: joining, to: joining, token: None, cause: RoleCause::Started };
        let first = machine.id();
        let inside = PeerState {
            machine,
            hub: Hub::default(),
            role,
            outage: None,
            wishes: Vec::new(),
            addresses: BTreeMap::new(),
            traffic: Traffic::default(),
            gone: false,
        };
        let shared = Arc::new(PeerShared {
            group: group.clone(),
            label,
            first,
            inside: Mutex::new(inside),
            bell: Condvar::new(),
            waker,
            origin: Origin::here(),
        });
        let mut deeds = Deeds {
            shared: shared.clone(),
            socket,
            destinations,
            seal,
            lives,
            epochs,
            launcher,
            workload: config.workload_source.clone(),
            workload_at: now,
            heard_until: now,
            interval,
            observes,
            name: format!("{group}/{} {}", config.service, first.tail()),
            doubts: Vec::new(),
            breaches: BTreeMap::new(),
            cannot_send: None,
            failing: false,
            transport: config.transport.clone(),
            port: config.local_port(),
            opened_at: None,
            no_workload: None,
            wire,
            actions,
        };
        deeds.carry_out(&[]);
        Ok((shared, deeds))
    }
}

fn rules(config: &Config, epoch: u64) -> Rules {
    Rules {
        service: config.service,
        rank: config.rank,
        workload: config.workload,
        label: label::of(config),
        origin: config.origin,
        interval: config.interval.as_millis() as Millis,
        delay: config.assumed_delay().as_millis() as Millis,
        preempt: config.preempt,
        prepare_handover: config.prepare_handover,
        quorum: config.quorum,
        slow_above: config.slow_above,
        max_members: config.max_members,
        can_start: config.can_start,
        needs: config.needs.clone(),
        epoch,
        observe: config.observe,
    }
}

fn seal(config: &Config) -> Result<Seal, JoinError> {
    let key = key::of(&config.place.key()?)?;
    let also =
        config.also_key_file.as_deref().map(key::named).transpose()?.filter(|also| *also != key);
    Ok(Seal::new(&config.place.group, (number(&key), key), also.map(|also| (number(&also), also))))
}

/// Returns a key's number in datagrams. It is derived from the key, so nobody has to choose it.
fn number(key: &Key) -> u8 {
    Sha256::digest(key.0)[0]
}

fn launcher(config: &Config) -> std::io::Result<Option<(Arc<Launcher>, Threads)>> {
    if config.launcher.is_empty() {
        return Ok(None);
    }
    let mut environment = vec![("PARES_GROUP", config.place.group.clone().into())];
    if let Some(path) = &config.place.directory {
        environment.push(("PARES_DIR", path.clone().into()));
    }
    // Not the one that is made from the group: an instance of it that is told a port is on
    // 127.0.0.1.
    if let Transport::Local(Some(port)) = config.transport {
        environment.push(("PARES_PORT", port.to_string().into()));
    }
    let launcher = Launcher::new(config.launcher.clone(), environment)?;
    let threads = Threads::default();
    threads.spawn(LAUNCH, {
        let launcher = launcher.clone();
        move || launcher.run()
    })?;
    Ok(Some((launcher, threads)))
}

/// Returns random numbers from the system.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // It has worked before. What is left differs from process to process.
        Err(_) => {
            clock::monotonic_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ u64::from(std::process::id())
        }
    }
}
