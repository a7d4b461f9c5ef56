//! The registry's changes, one after the other.

use std::sync::Arc;

use crate::error::StartError;
use crate::event::Change;
use crate::net::client::ask::Asker;
use crate::net::client::watch::Watcher;
use crate::net::rt::events::Events;
use crate::sys::Origin;

/// The registry's changes, from the start of the watch until it is dropped. It continues from one
/// supervisor to the next.
///
/// Dropping a watch ends its thread and its connection.
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    changes: Option<Events<Change>>,
    origin: Origin,
    watcher: Option<Watcher>,
}

impl Watch {
    pub(super) fn start(asker: Arc<Asker>) -> Result<Self, StartError> {
        let (watcher, changes) = Watcher::start(asker)?;
        Ok(Watch { changes: Some(changes), origin: Origin::here(), watcher: Some(watcher) })
    }

    /// Returns the changes. They end when the watching instance has left its group.
    #[must_use]
    pub fn changes(&self) -> &Events<Change> {
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
