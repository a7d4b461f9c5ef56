//! This process in its masterless group: what routers and agents hear of the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::links::dialled;
use crate::config::masterless::Config;
use crate::error::masterless::JoinError;
use crate::event::masterless::Event;
use crate::net::masterless::{Deeds, PeerShared, Wish};
use crate::net::rt::clock::deadline;
use crate::net::rt::events::Events;
use crate::net::rt::threads::{self, Threads};
use crate::state::masterless::PeerRecord;
use crate::state::route::GroupPeer;
use crate::wire::Tail;

/// So many changes of the group may wait for the thread that decides.
const EVENTS: usize = 4096;

pub(super) struct GroupMember {
    pub(super) shared: Arc<PeerShared>,
    pub(super) events: Events<Event>,
    thread: Threads,
    /// The port of the routers' entrances.
    port: u16,
}

/// Another process of the group.
pub(super) struct OtherMember {
    pub(super) member: GroupPeer,
    /// Where to dial it, if it is a router.
    pub(super) entrance: Option<SocketAddr>,
}

impl GroupMember {
    pub(super) fn join(config: &Config, port: u16) -> Result<Self, JoinError> {
        let (shared, deeds) = Deeds::begin(config)?;
        let events = shared.subscribe(EVENTS);
        let thread = Threads::default();
        let kind = threads::PEER.for_program(config.workload_source.is_some());
        let started = thread.spawn(kind, move || deeds.run());
        started.map_err(|source| JoinError::Io { doing: "start the peer's thread", source })?;
        Ok(GroupMember { shared, events, thread, port })
    }

    pub(super) fn tail(&self) -> Tail {
        self.shared.first.tail()
    }

    /// Returns true if, as far as heartbeats tell, no other process can be primary.
    pub(super) fn lease_ok(&self) -> bool {
        self.shared.look(|inside, now| !inside.gone && inside.machine.lease_ok(now))
    }

    /// Returns all other processes of this service type.
    pub(super) fn others(&self) -> Vec<OtherMember> {
        self.shared.look(|inside, _| {
            let own = inside.machine.service();
            let ours = inside.machine.members().filter(|one| one.service == own);
            let other = |one: &PeerRecord| {
                let member = GroupPeer::from(one);
                let entrance = inside.address(member.tail).filter(|_| member.leads);
                OtherMember { member, entrance: entrance.map(|from| dialled(from, self.port)) }
            };
            ours.map(other).collect()
        })
    }

    pub(super) fn wish(&self, wish: Wish) {
        self.shared.wish(wish);
    }

    /// Leaves, and waits for that until the deadline at most.
    pub(super) fn leave(&self, patience: std::time::Duration) {
        self.wish(Wish::Leave);
        if !self.shared.wait_gone(deadline(patience)) {
            self.quit();
        }
    }

    fn quit(&self) {
        self.wish(Wish::Quit);
        self.thread.join_all();
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.quit();
    }
}

/// Returns the routers to dial among them: all, or of two routers that of the larger tail, whose
/// smaller one dials.
pub(super) fn to_dial(
    others: &[OtherMember],
    own_router: Option<Tail>,
) -> BTreeMap<Tail, SocketAddr> {
    let is_ours = |one: &&OtherMember| own_router.is_none_or(|own| own < one.member.tail);
    others.iter().filter(is_ours).filter_map(|one| Some((one.member.tail, one.entrance?))).collect()
}

/// Returns how long it is until a moment of the group's clock.
pub(super) fn until(at: u64, now: u64) -> std::time::Duration {
    std::time::Duration::from_millis(at.saturating_sub(now))
}

/// The earlier one of two moments.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
