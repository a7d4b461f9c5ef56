//! The registry's changes, one after the other.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use crate::error::StartError;
use crate::event::Change;
use crate::net::client::ask::Asker;
use crate::net::client::watch::Watcher;
use crate::sys::Origin;

/// The registry's changes, from when it was begun until it is dropped; it goes on from one
/// supervisor to the next.
///
/// Dropping it ends its thread and connection.
pub struct Watch {
    changes: Option<Receiver<Change>>,
    /// Has ended; for a forked child, in which nobody sends.
    ended: Receiver<Change>,
    origin: Origin,
    watcher: Option<Watcher>,
}

impl Watch {
    pub(super) fn start(asker: Arc<Asker>) -> Result<Self, StartError> {
        let (watcher, changes) = Watcher::start(asker)?;
        let (_, ended) = bounded(0);
        Ok(Watch { changes: Some(changes), ended, origin: Origin::here(), watcher: Some(watcher) })
    }

    /// The changes. The channel ends when the watching instance has left its group.
    #[must_use]
    pub fn changes(&self) -> &Receiver<Change> {
        if self.origin.is_elsewhere() {
            return &self.ended;
        }
        self.changes.as_ref().expect("taken only by drop")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            // The thread, and whatever it has locked, is the parent's.
            std::mem::forget((self.changes.take(), self.watcher.take()));
            return;
        }
        // First the receiver: the thread may be waiting for room in it.
        self.changes = None;
        self.watcher = None;
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
