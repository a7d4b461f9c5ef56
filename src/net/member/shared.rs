//! An instance as all its threads know it.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::holding::Holding;
use super::presence::Presence;
use crate::net::files::term::TermFile;
use crate::net::supervising::watchdog::Pulse;
use crate::net::transport::handshake::Pass;
use crate::wire::Entry;

/// Everything about an instance that stays the same, and its presence, which does not.
pub(crate) struct Shared {
    pub(crate) pass: Pass,
    /// The supervisor port.
    pub(crate) at: SocketAddrV4,
    /// The group's directory.
    pub(crate) directory: PathBuf,
    pub(crate) me: Entry,
    /// `None` if this instance may not supervise.
    pub(crate) terms: Option<TermFile>,
    pub(crate) max_members: usize,
    pub(crate) hang_timeout: Option<Duration>,
    pub(crate) end_hung_supervisor: bool,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) holding: Arc<Holding>,
    pub(crate) presence: Arc<Presence>,
}

impl Shared {
    /// Returns the terms, for a thread that has the port or is about to try it.
    pub(super) fn terms(&self) -> &TermFile {
        self.terms.as_ref().expect("an instance that may not supervise does not try the port")
    }
}
