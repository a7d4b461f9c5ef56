//! Follows the registry from supervisor to supervisor, on a thread of its own.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{Asker, Awaited, Located, Viewpoint, await_registry};
use crate::config::HANDSHAKE_TIMEOUT;
use crate::error::StartError;
use crate::event::{Change, ChangeKind};
use crate::net::rt::clock::monotonic_ns;
use crate::net::rt::events::{Events, Teller, events};
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::handshake;
use crate::net::transport::port::{self, Stream};
use crate::state::view::View;
use crate::sys::Kind;
use crate::sys::tripwire::Wire;
use crate::wire::{Message, Purpose, Question};

pub(crate) struct Watcher {
    shared: Arc<WatchShared>,
    thread: Threads,
}

struct WatchShared {
    asker: Arc<Asker>,
    // Locked for moments, never across a read.
    state: Mutex<WatchState>,
    stopped: Condvar,
    /// A watcher from outside waits without end, too.
    _wire: Wire,
}

#[derive(Default)]
struct WatchState {
    stopping: bool,
    /// The connection that is being read, so that it can be ended.
    stream: Option<Arc<Stream>>,
}

/// The number of changes that may wait for the program. When it is reached, the watcher waits, its
/// connection fills, and the supervisor keeps the newest state for it instead of the changes:
/// nothing is lost but steps in between.
const CAPACITY: usize = 256;

/// How long a watcher from outside waits before it looks again for a supervisor (an instance is
/// told of one), and how long any watcher waits before it retries a registry port that has just
/// failed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Watcher {
    pub(crate) fn start(asker: Arc<Asker>) -> Result<(Self, Events<Change>), StartError> {
        asker.present().map_err(|_| StartError::Stopped)?;
        let (changes, receiver) = events(CAPACITY);
        let _wire = Wire::lay();
        let shared = Arc::new(WatchShared {
            asker,
            state: Mutex::default(),
            stopped: Condvar::new(),
            _wire,
        });
        let thread = Threads::default();
        let run = {
            let shared = shared.clone();
            move || shared.run(&changes)
        };
        let started = thread.spawn(threads::WATCH, run);
        started.map_err(|source| StartError::Io { doing: "start the watching thread", source })?;
        Ok((Watcher { shared, thread }, receiver))
    }
}

impl Drop for Watcher {
    /// Ends the thread. The receiver must be gone or be drained, because the thread may wait for
    /// room in it.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        state.stream.iter().for_each(|stream| _ = stream.shutdown(Shutdown::Both));
        drop(state);
        self.shared.stopped.notify_all();
        if let Viewpoint::Member(member) = &self.shared.asker.viewpoint {
            member.presence.change(|_| {}); // it may wait there for a role
        }
        self.thread.join_all();
    }
}

impl WatchShared {
    fn run(&self, changes: &Teller<Change>) {
        let mut view = View::default();
        let mut avoid = 0;
        loop {
            let Some(registry_port) = self.locate(avoid) else { return };
            if !self.follow(registry_port, &mut view, changes) {
                return;
            }
            let mut news = Vec::new();
            view.lost(&mut news);
            if !give(changes, news) {
                return;
            }
            avoid = registry_port;
        }
    }

    fn stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Waits until there is a supervisor. Returns `None` if the watch is to end. The registry port
    /// `avoid` has just failed: another one is taken at once, the same one only after a pause. (It
    /// may be too busy, or its connection was cut.)
    fn locate(&self, avoid: u16) -> Option<u16> {
        match &self.asker.viewpoint {
            Viewpoint::Member(member) => {
                let located = |deadline, avoid| {
                    let elsewhere = |located: &Located| located.port() != avoid;
                    await_registry(member, deadline, elsewhere, || self.stopping())
                };
                let awaited = match located(Some(Instant::now() + LOOK_AGAIN), avoid) {
                    Awaited::Late => located(None, 0),
                    awaited => awaited,
                };
                match awaited {
                    Awaited::Found(located) => Some(located.port()),
                    Awaited::Stopped | Awaited::Late => None,
                }
            }
            Viewpoint::Outside { .. } => {
                let mut paused = false;
                loop {
                    let found = self.asker.locate(avoid, Instant::now() + HANDSHAKE_TIMEOUT);
                    let mut state = self.state.lock();
                    if state.stopping {
                        return None;
                    }
                    match found {
                        Ok(Located::At(port)) if port != avoid || paused => return Some(port),
                        Ok(Located::At(_) | Located::Here(_)) | Err(_) => {}
                    }
                    self.stopped.wait_for(&mut state, LOOK_AGAIN);
                    if state.stopping {
                        return None;
                    }
                    paused = true;
                }
            }
        }
    }

    /// Reads what one supervisor tells until it is gone. Returns false if the watch is to end.
    fn follow(&self, registry_port: u16, view: &mut View, changes: &Teller<Change>) -> bool {
        let Ok(Some(stream)) =
            port::connect(port::here(registry_port), Kind::Peer, HANDSHAKE_TIMEOUT)
        else {
            return !self.stopping();
        };
        let stream = Arc::new(stream);
        let mut state = self.state.lock();
        if state.stopping {
            return false;
        }
        state.stream = Some(stream.clone());
        drop(state);
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let opened = handshake::open(
            stream,
            &self.asker.pass,
            port::here(registry_port),
            Purpose::Ask,
            Question::Watch {}.into(),
            deadline,
        );
        if let Ok(mut link) = opened {
            while let Ok(Message::News(news)) = link.read(None) {
                let mut kinds = Vec::new();
                if !view.on(news, &mut kinds) {
                    break;
                }
                if !give(changes, kinds) {
                    return false;
                }
            }
        }
        !self.stopping()
    }
}

/// Waits for room. Returns false if there is no receiver any more.
fn give(changes: &Teller<Change>, news: Vec<ChangeKind>) -> bool {
    news.into_iter().all(|kind| changes.tell(Change { monotonic_ns: monotonic_ns(), kind }))
}
