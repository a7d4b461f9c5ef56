//! A subscriber to changes, and what it has not been told yet.

use std::sync::Arc;

use crate::net::transport::outbox::Outbox;
use crate::net::transport::port::Stream;
use crate::state::ConnId;
use crate::state::backlog::Backlog;
use crate::state::supervisor::Cursor;
use crate::wire::Message;

/// A subscriber to changes: a member on its lifeline, or a watcher on the registry port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listener {
    Member(ConnId),
    Watcher(ConnId),
}

pub(super) struct Subscriber {
    pub(super) outbox: Arc<Outbox>,
    pub(super) cursor: Cursor,
    pub(super) backlog: Backlog,
}

impl Subscriber {
    pub(super) fn new(stream: &Arc<Stream>, cursor: Cursor) -> Self {
        let outbox = Arc::new(Outbox::plain(stream.clone()));
        Subscriber { outbox, cursor, backlog: Backlog::default() }
    }

    /// Puts a message into the outbox, unless it can wait.
    pub(super) fn put(&mut self, message: &Message) {
        log::trace!("-> {}", message.name());
        if !self.backlog.can_wait(message) {
            self.outbox.put_frame(message);
        }
    }

    /// Passes to the kernel what is in the outbox; what it does not take stays. Returns true if all
    /// is gone.
    pub(super) fn flush(&mut self) -> bool {
        let is_gone = self.outbox.flush();
        self.backlog.flushed(is_gone);
        is_gone
    }
}
