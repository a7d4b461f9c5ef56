//! Connections kept for the next question.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use crate::config::MAX_IDLE_CALLS;
use crate::net::rt::lock::Mutex;
use crate::net::transport::link::Link;

#[derive(Default)]
pub(super) struct Pool {
    // Held to take one out or put one back, never while it is used.
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    at: SocketAddrV4,
    /// The instance at the other end; empty for a registry.
    owner: String,
    link: Link,
}

impl Pool {
    /// Takes a connection that is live, as far as can be known without asking the kernel; for a
    /// question that must not be repeated (`again` is false), as far as the kernel knows.
    pub(super) fn take(&self, at: SocketAddrV4, owner: &str, again: bool) -> Option<Link> {
        loop {
            let mut kept = self.kept.lock();
            let found = kept.iter().rposition(|kept| kept.at == at && kept.owner == owner)?;
            let Kept { link, .. } = kept.remove(found)?;
            drop(kept);
            let is_stale = if again { !link.is_drained() } else { link.is_stale() };
            if !is_stale {
                return Some(link);
            }
        }
    }

    /// Returns the admin port of an instance to which a live connection is kept.
    pub(super) fn port_of(&self, owner: &str) -> Option<u16> {
        let mut kept = self.kept.lock();
        let at = kept.iter().rposition(|kept| kept.owner == owner)?;
        if kept[at].link.is_stale() {
            kept.remove(at);
            return None;
        }
        Some(kept[at].at.port())
    }

    pub(super) fn give(&self, at: SocketAddrV4, owner: &str, link: Link) {
        let mut kept = self.kept.lock();
        if kept.len() == MAX_IDLE_CALLS {
            kept.pop_front();
        }
        kept.push_back(Kept { at, owner: owner.into(), link });
    }
}
