//! From a receiver of a peer's events to one that can be polled.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded};

use crate::config::SMALL_STACK;
use crate::event::PeerEvent;
use crate::ffi::subscription::Pollable;
use crate::net::ready::Ready;
use crate::net::threads::Threads;

/// The present status, and perhaps that the peer has left: what a new receiver holds at once. More waits where it comes from.
const AT_HAND: usize = 2;

/// A thread that hands events on, until they end or this is dropped.
pub(super) struct Relay {
    close: Option<Sender<()>>,
    thread: Threads,
}

impl Relay {
    pub(super) fn begin(from: Receiver<PeerEvent>) -> io::Result<(Pollable<PeerEvent>, Self)> {
        let ready = Arc::new(Ready::default());
        let (to, receiver) = bounded(AT_HAND);
        let (close, open) = bounded(0);
        // What is there already need not wait for the thread.
        from.try_iter().take(AT_HAND).for_each(|event| _ = to.try_send(event));
        let thread = Threads::default();
        let passing = Passing { from, to: Some(to), ready: ready.clone(), open };
        thread.spawn("pares-relay", SMALL_STACK, move || passing.run())?;
        Ok(((receiver, ready), Relay { close: Some(close), thread }))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.close = None;
        self.thread.join_all();
    }
}

struct Passing {
    from: Receiver<PeerEvent>,
    /// `None` at the end.
    to: Option<Sender<PeerEvent>>,
    ready: Arc<Ready>,
    /// Ends when nobody wants the events any more.
    open: Receiver<()>,
}

impl Passing {
    fn run(self) {
        while let Some(event) = self.take() {
            if !self.pass(event) {
                return;
            }
        }
    }

    fn take(&self) -> Option<PeerEvent> {
        loop {
            match self.from.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let mut either = Select::new();
            let from = either.recv(&self.from);
            either.recv(&self.open);
            if either.ready() != from {
                return None;
            }
        }
    }

    /// False if nobody wants it.
    fn pass(&self, mut event: PeerEvent) -> bool {
        let Some(to) = &self.to else { return false };
        loop {
            match self.ready.put(|| to.try_send(event)) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => event = back,
            }
            // Meanwhile the peer counts what finds no room.
            let mut either = Select::new();
            let room = either.send(to);
            either.recv(&self.open);
            if either.ready() != room {
                return false;
            }
        }
    }
}

impl Drop for Passing {
    /// The end is something to be taken, too.
    fn drop(&mut self) {
        let to = self.to.take();
        self.ready.end(|| drop(to));
    }
}
