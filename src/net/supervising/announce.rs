//! The announcer: the supervisor's thread for everything that must wait, for room in the kernel or
//! for its time.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::server::{Server, ServerState};
use super::subscriber::Listener;
use crate::net::rt::clock;
use crate::net::transport::port::{self, Stream};
use crate::state::supervisor::ServerInput;
use crate::sys::Kind;
use crate::wire::Message;

/// The number of subscribers told under one hold of the lock: requests get their turn in between.
const BATCH: usize = 64;

/// How long a look for a listening process may take. The kernel answers at once, unless the queue
/// there is full, and then the process lives.
const PROBE_TIMEOUT: Duration = Duration::from_millis(10);

impl Server {
    /// Runs the announcer. It sleeps until there is something to tell, until the kernel takes more
    /// for a subscriber that was behind, or until it is time to ask whether missing members live.
    /// While nothing happens, it sleeps for ever.
    pub(crate) fn announce(&self) {
        while !self.is_closed() && self.waker.is_usable() {
            self.sleep();
            self.flush();
            while self.tell_some() {}
            self.probe();
        }
    }

    fn sleep(&self) {
        let inner = self.inner.lock();
        let streams: Vec<Arc<Stream>> = inner
            .blocked
            .iter()
            .filter_map(|listener| inner.subscribers.get(listener))
            .map(|subscriber| subscriber.outbox.stream().clone())
            .collect();
        let wake_at = inner.supervisor.wake_at();
        drop(inner);
        let mut fds: Vec<PollFd<'_>> =
            streams.iter().map(|stream| PollFd::new(&**stream, PollFlags::OUT)).collect();
        _ = self.waker.wait(&mut fds, wake_at.map(|at| at.saturating_sub(clock::now())));
    }

    /// Sends on what the kernel had no room for.
    fn flush(&self) {
        let mut inner = self.inner.lock();
        for listener in std::mem::take(&mut inner.blocked) {
            let Some(subscriber) = inner.subscribers.get_mut(&listener) else { continue };
            if subscriber.flush() {
                inner.behind.insert(listener);
            } else {
                inner.blocked.insert(listener);
            }
        }
    }

    /// Tells some of the subscribers that are behind what is new. Returns false if none is behind
    /// any more.
    fn tell_some(&self) -> bool {
        let mut inner = self.inner.lock();
        for _ in 0..BATCH {
            let Some(listener) = inner.behind.pop_first() else { return false };
            let ServerState { subscribers, supervisor, .. } = &mut *inner;
            let Some(subscriber) = subscribers.get_mut(&listener) else { continue };
            if subscriber.backlog.is_blocked() {
                continue; // looked at again once the kernel has taken it
            }
            let mut messages: Vec<Message> = Vec::new();
            let missing = subscriber.backlog.take_missing();
            if let (true, Listener::Member(conn)) = (missing.roster, listener) {
                messages.push(supervisor.whole_roster(conn));
            }
            if missing.settings {
                messages.extend(supervisor.all_settings().map(Message::from));
            }
            let mut news = Vec::new();
            supervisor.news(&mut subscriber.cursor, &mut news);
            messages.extend(news.into_iter().map(Message::from));
            self.send(&mut inner, listener, messages);
        }
        true
    }

    fn probe(&self) {
        let mut inner = self.inner.lock();
        if inner.supervisor.wake_at().is_some_and(|at| at <= clock::now()) {
            let notices = self.decide(&mut inner, ServerInput::Woken);
            let probes = std::mem::take(&mut inner.probes);
            drop(inner);
            self.give(notices);
            for admin_port in probes {
                if matches!(
                    port::connect(port::here(admin_port), Kind::Peer, PROBE_TIMEOUT),
                    Ok(None)
                ) {
                    let notices =
                        self.decide(&mut self.inner.lock(), ServerInput::Dead { admin_port });
                    self.give(notices);
                }
            }
        }
    }
}
