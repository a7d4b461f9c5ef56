//! What other threads have for the one that decides.

use std::collections::VecDeque;
use std::io;

use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::waker::Waker;

/// As much as comes while the deciding thread does one thing. Whoever brings more waits, and with
/// it the sender at the other end of its connection.
const CAPACITY: usize = 1024;

pub(super) struct Inbox<T> {
    // Held for moments.
    inside: Mutex<InboxState<T>>,
    /// Rung when there is room again, and at the end.
    room: Condvar,
    pub(super) waker: Waker,
}

struct InboxState<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Inbox {
            inside: Mutex::new(InboxState { waiting: VecDeque::new(), is_closed: false }),
            room: Condvar::new(),
            waker: Waker::new()?,
        })
    }

    /// Brings something; waits while there is no room. After the end it is lost.
    pub(super) fn put(&self, item: T) {
        let mut inside = self.inside.lock();
        while inside.waiting.len() >= CAPACITY && !inside.is_closed {
            self.room.wait(&mut inside);
        }
        if !inside.is_closed {
            inside.waiting.push_back(item);
            self.waker.wake();
        }
    }

    /// Returns all that has come.
    pub(super) fn take(&self) -> VecDeque<T> {
        let waiting = std::mem::take(&mut self.inside.lock().waiting);
        self.room.notify_all();
        waiting
    }

    /// Nobody takes anything any more.
    pub(super) fn close(&self) {
        let mut inside = self.inside.lock();
        inside.is_closed = true;
        inside.waiting.clear();
        drop(inside);
        self.room.notify_all();
    }
}
