//! What an instance has after it has won an election, before it supervises.

use std::io;
use std::sync::Arc;

use super::shared::Shared;
use crate::config::MAX_CLIENTS;
use crate::error::KeepError;
use crate::net::rt::threads;
use crate::net::rt::waker::Waker;
use crate::net::transport::port::{self, Listening};
use crate::net::transport::service::{Service, ServiceKind};
use crate::state::term::Last;
use crate::sys;
use crate::wire::Purpose;

/// Everything that a supervisor needs of the system, acquired together: no instance is supervisor
/// by halves.
pub(super) struct ClaimedPort {
    pub(super) listener: Listening,
    pub(super) registry: Listening,
    pub(super) registry_port: u16,
    pub(super) members: Arc<Service>,
    pub(super) askers: Arc<Service>,
    /// For the announcer.
    pub(super) waker: Waker,
    /// The directory's record of the previous supervisorship, or why it has none.
    pub(super) last: Result<Last, KeepError>,
}

/// Binds and listens on the group's port, opens the rest, and reads the last term.
pub(super) fn claim(shared: &Shared) -> io::Result<ClaimedPort> {
    let Shared { at, pass, max_members, .. } = shared;
    let listener = port::listen(*at, sys::Kind::Port)?;
    // The election is won. What follows fails only where the system is at its limit.
    let registry = port::listen(port::here(0), sys::Kind::Peer)?;
    let registry_port = registry.local_addr()?.port();
    let max_clients = max_members + MAX_CLIENTS;
    let purposes = &[Purpose::Join, Purpose::Ask];
    let kind = ServiceKind { thread: threads::MEMBER, purposes, max_clients, on_top: true };
    let members = Service::new(kind, *at, pass.clone())?;
    let purposes = &[Purpose::Ask];
    let kind = ServiceKind {
        thread: threads::REGISTRY,
        purposes,
        max_clients: MAX_CLIENTS,
        on_top: false,
    };
    let askers = Service::new(kind, port::here(registry_port), pass.clone())?;
    let waker = Waker::new()?;
    Ok(ClaimedPort {
        listener,
        registry,
        registry_port,
        members,
        askers,
        waker,
        last: shared.terms().read(),
    })
}
