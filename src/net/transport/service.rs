//! A port that is served: one thread accepts, one thread attends to each connection, and nobody who
//! is silent, slow or many keeps the others waiting.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::descriptors::{self, Reserve};
use super::handshake::{self, Pass, Unwelcome};
use super::link::{Link, has_input};
use super::port::{self, Listening, Stream};
use crate::config::{HANDSHAKE_TIMEOUT, MAX_PENDING};
use crate::error::{Port, cure};
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::threads::{self, ThreadKind, Threads};
use crate::net::rt::waker::Waker;
use crate::state::ConnId;
use crate::sys;
use crate::wire::{Message, Purpose, Refusal};

/// What a port is for and how much it takes.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Of those that attend, one to each connection; its name stands in the log, too.
    pub(crate) thread: ThreadKind,
    pub(crate) purposes: &'static [Purpose],
    /// Most connections at once that have passed the handshake.
    pub(crate) max_clients: usize,
    /// True if the listener's descriptor shall stay above those of the connections.
    pub(crate) on_top: bool,
}

/// A connection that has passed the handshake.
pub(crate) struct Visit {
    pub(crate) conn: ConnId,
    pub(crate) link: Link,
    pub(crate) purpose: Purpose,
    /// The first request, which came with the proof.
    pub(crate) first: Message,
    idle: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
}

impl Visit {
    /// From now on, until [`busy`](Visit::busy), this connection may be closed to make room for
    /// another.
    pub(crate) fn idle(&self) {
        self.idle.store(self.clock.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self) {
        self.idle.store(BUSY, Ordering::Relaxed);
    }
}

/// Not idle since any moment.
const BUSY: u64 = 0;

struct Pending {
    stream: Arc<Stream>,
    since: Instant,
    opened: bool,
}

struct Client {
    stream: Arc<Stream>,
    /// [`BUSY`], or a number that grows with each beginning of idleness.
    idle: Arc<AtomicU64>,
}

#[derive(Default)]
struct Lobby {
    next: ConnId,
    pending: BTreeMap<ConnId, Pending>,
    clients: BTreeMap<ConnId, Client>,
    closed: bool,
}

pub(crate) struct Service {
    kind: Kind,
    at: SocketAddrV4,
    pass: Pass,
    waker: Waker,
    // Locked for a few map operations; never across a read or a write.
    lobby: Mutex<Lobby>,
    /// Signalled when a handshake has ended while the lobby is full.
    room: Condvar,
    clock: Arc<AtomicU64>,
    /// A thread is making room for the listener to move to.
    making_room: AtomicBool,
    threads: Threads,
}

impl Service {
    pub(crate) fn new(kind: Kind, at: SocketAddrV4, pass: Pass) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Service {
            kind,
            at,
            pass,
            waker: Waker::new()?,
            lobby: Mutex::default(),
            room: Condvar::new(),
            clock: Arc::default(),
            making_room: AtomicBool::new(false),
            threads: Threads::default(),
        }))
    }

    /// Has the accepting thread look again whether it is done.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Accepts connections and has each attended to on a thread of its own, until `done` says so
    /// after a [`wake`](Service::wake). Gives the listener back; connections go on until
    /// [`close`](Service::close).
    pub(crate) fn run<F>(
        self: &Arc<Self>,
        mut listener: Listening,
        done: impl Fn() -> bool,
        attend: F,
    ) -> Listening
    where
        F: Fn(Visit) + Clone + Send + 'static,
    {
        let mut reserve = Reserve::new();
        let mut highest = 0;
        let mut trouble = Duration::ZERO;
        let kind = if self.kind.on_top { sys::Kind::Lifeline } else { sys::Kind::Peer };
        while !done() && listener.is_usable() && self.waker.is_usable() {
            listener = self.keep_on_top(listener, highest);
            match port::accept(&listener, kind) {
                Ok(stream) => {
                    trouble = Duration::ZERO;
                    highest = highest.max(stream.as_raw_fd());
                    self.receive(stream, attend.clone());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Some(&listener), None)
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                // The program has closed it.
                Err(_) if listener.check().is_err() => {}
                Err(error) => {
                    // Out of descriptors, as a rule: the one who came is turned away instead of
                    // left waiting, and the thread waits a moment instead of trying again at once
                    // (10 to 100 ms).
                    if trouble.is_zero() {
                        let me = self.named();
                        complain!(Warn, &me, "{me}: cannot accept: {error}{}", cure(&error));
                    }
                    if descriptors::is_out_of_descriptors(&error) {
                        // Not for the sake of one, but of all that are waiting: those who had their
                        // chance go.
                        let mut lobby = self.lobby.lock();
                        while lobby.make_way() {}
                        drop(lobby);
                        reserve.turn_away(&listener);
                    }
                    trouble =
                        (trouble * 2).clamp(Duration::from_millis(10), Duration::from_millis(100));
                    self.wait(None, Some(trouble));
                }
            }
        }
        listener
    }

    /// Moves the listener above the descriptor `highest`, or has room made for that on another
    /// thread.
    fn keep_on_top(self: &Arc<Self>, listener: Listening, highest: i32) -> Listening {
        let wanted = self
            .kind
            .on_top
            .then(|| descriptors::wanted_descriptor(listener.as_raw_fd(), highest))
            .flatten();
        let Some(wanted) = wanted else { return listener };
        if descriptors::has_room(wanted) {
            return descriptors::raise(listener, wanted);
        }
        if !self.making_room.swap(true, Ordering::Relaxed) {
            let service = self.clone();
            // Without a thread for it the failover is a little slower, nothing else.
            _ = self.threads.spawn(threads::ROOM, move || {
                descriptors::make_room(wanted);
                service.making_room.store(false, Ordering::Relaxed);
                service.wake();
            });
        }
        listener
    }

    /// Ends all connections, takes no more, and waits for all attending threads.
    pub(crate) fn close(&self) {
        self.close_clients(Shutdown::Both);
    }

    /// The same, but what is being answered is answered to its end. The attending threads must not
    /// read on then: what has arrived, or arrives meanwhile, can still be read.
    pub(crate) fn close_after_answers(&self) {
        self.close_clients(Shutdown::Read);
    }

    fn close_clients(&self, how: Shutdown) {
        let mut lobby = self.lobby.lock();
        lobby.closed = true;
        lobby.pending.values().for_each(|pending| end(&pending.stream));
        lobby.clients.values().for_each(|client| _ = client.stream.shutdown(how));
        drop(lobby);
        self.threads.join_all();
    }

    fn wait(&self, listener: Option<&Listening>, timeout: Option<Duration>) {
        let mut fds = Vec::with_capacity(3);
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        // An error here (a signal) is a wake-up like any other.
        _ = self.waker.wait(&mut fds, timeout);
    }

    fn receive<F>(self: &Arc<Self>, stream: Stream, attend: F)
    where
        F: Fn(Visit) + Send + 'static,
    {
        // A listener that does not block hands this on to its connections on some systems.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = stream.set_nonblocking(false);
        _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let Some(conn) = self.admit(&stream) else { return };
        let service = self.clone();
        let spawned = self.threads.spawn(self.kind.thread, move || {
            service.meet(conn, stream, attend);
        });
        if let Err(error) = spawned {
            let me = self.named();
            complain!(Warn, &me, "{me}: no thread for a connection: {error}{}", cure(&error));
            self.lobby.lock().pending.remove(&conn);
        }
    }

    /// Makes room for one more handshake: the oldest one goes that has had its chance.
    fn admit(&self, stream: &Arc<Stream>) -> Option<ConnId> {
        let mut lobby = self.lobby.lock();
        while !lobby.closed && lobby.pending.len() >= MAX_PENDING {
            if !lobby.make_way() {
                // All are young. One of them gets through, or grows old, within this time.
                self.room.wait_for(&mut lobby, SILENT_PATIENCE);
            }
        }
        if lobby.closed {
            return None;
        }
        let conn = lobby.next;
        lobby.next += 1;
        lobby
            .pending
            .insert(conn, Pending { stream: stream.clone(), since: Instant::now(), opened: false });
        Some(conn)
    }

    /// The life of one connection, on its own thread.
    fn meet(&self, conn: ConnId, stream: Arc<Stream>, attend: impl Fn(Visit)) {
        let _strikes_off = Departing { service: self, conn };
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let opened = || {
            if let Some(pending) = self.lobby.lock().pending.get_mut(&conn) {
                pending.opened = true;
            }
        };
        let link = Link::to_stranger(stream);
        match handshake::answer(link, &self.pass, self.at, self.kind.purposes, opened, deadline) {
            Ok((link, purpose, first)) => match self.promote(conn, link.stream()) {
                Some(idle) => {
                    attend(Visit { conn, link, purpose, first, idle, clock: self.clock.clone() })
                }
                None => link.close_with(&Message::rejected(Refusal::Busy, "too many connections")),
            },
            Err(Unwelcome::Gone) => {}
            Err(Unwelcome::Broke(why)) => {
                self.complain(&format!("cut off a peer that broke the protocol: {why}"));
            }
        }
    }

    /// The port, for the log.
    fn named(&self) -> String {
        format!("{} {}", self.kind.thread.name, Port(self.at))
    }

    /// Says who was cut off, and why. Whoever comes next with something else is of the same
    /// subject: he could do that for ever.
    fn complain(&self, why: &str) {
        let me = self.named();
        complain!(Warn, &me, "{me}: {why}");
    }

    /// From the handshake to the clients, where the one that has been idle longest makes room if
    /// need be.
    fn promote(&self, conn: ConnId, stream: &Arc<Stream>) -> Option<Arc<AtomicU64>> {
        let mut lobby = self.lobby.lock();
        lobby.pending.remove(&conn)?; // it had to make room itself
        self.room.notify_one();
        if lobby.clients.len() >= self.kind.max_clients {
            let idle = lobby
                .clients
                .iter()
                .map(|(&conn, client)| (client.idle.load(Ordering::Relaxed), conn));
            let (_, longest) = idle.filter(|&(since, _)| since != BUSY).min()?;
            lobby.clients.remove(&longest).iter().for_each(|client| end(&client.stream));
        }
        let idle = Arc::new(AtomicU64::new(BUSY));
        lobby.clients.insert(conn, Client { stream: stream.clone(), idle: idle.clone() });
        Some(idle)
    }
}

/// Strikes a connection off the lists when its thread is done with it, also if that panics: the
/// lists hold the stream, and what they hold stays open.
struct Departing<'a> {
    service: &'a Service,
    conn: ConnId,
}

impl Drop for Departing<'_> {
    fn drop(&mut self) {
        let mut lobby = self.service.lobby.lock();
        lobby.pending.remove(&self.conn);
        lobby.clients.remove(&self.conn);
        drop(lobby);
        self.service.room.notify_one();
    }
}

/// How long a full lobby bears a connection that has not said a valid word. A client of ours speaks
/// as soon as it is connected; with this, whoever opens silent connections has to open 50,000 a
/// second to keep the lobby full.
const SILENT_PATIENCE: Duration = Duration::from_millis(20);

/// How long a full lobby bears one that has: it may be one of thousands that came at once after a
/// failover.
const OPENED_PATIENCE: Duration = Duration::from_millis(500);

impl Lobby {
    /// Ends the most hopeless handshake; false if there is none.
    fn make_way(&mut self) -> bool {
        let Some(conn) = self.most_hopeless(Instant::now()) else { return false };
        self.pending.remove(&conn).iter().for_each(|pending| end(&pending.stream));
        true
    }

    /// The connection to end for the sake of another: the oldest silent one, else the oldest one,
    /// if old enough.
    fn most_hopeless(&mut self, now: Instant) -> Option<ConnId> {
        // One that has spoken, and whose thread has not been run yet, is not silent.
        let mut silent = self.pending.values_mut().filter(|pending| !pending.opened);
        while let Some(oldest) =
            silent.next().filter(|oldest| now.duration_since(oldest.since) >= SILENT_PATIENCE)
        {
            oldest.opened = has_input(&oldest.stream);
            if !oldest.opened {
                break;
            }
        }
        let older = |patience: Duration, opened: bool| {
            let mut of_kind =
                self.pending.iter().filter(move |(_, pending)| pending.opened == opened);
            let (&conn, oldest) = of_kind.next()?;
            (now.duration_since(oldest.since) >= patience).then_some(conn)
        };
        older(SILENT_PATIENCE, false).or_else(|| older(OPENED_PATIENCE, true))
    }
}

/// Ends a connection under whoever waits on it.
fn end(stream: &Stream) {
    _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proof::Key;
    use std::thread;

    #[test]
    fn a_connection_whose_thread_panics_is_closed() {
        let listener = port::listen(port::here(0), sys::Kind::Peer).unwrap();
        let at = port::here(listener.local_addr().unwrap().port());
        let pass = Pass { group: "web".into(), key: Key([7; 32]), key_file: "web.key".into() };
        let kind = Kind {
            thread: threads::REGISTRY,
            purposes: &[Purpose::Ask],
            max_clients: 1,
            on_top: false,
        };
        let service = Service::new(kind, at, pass.clone()).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let serving = {
            let (service, done) = (service.clone(), done.clone());
            thread::spawn(move || {
                drop(service.run(
                    listener,
                    || done.load(Ordering::Acquire),
                    |_| panic!("on purpose"),
                ))
            })
        };
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let stream =
            Arc::new(port::connect(at, sys::Kind::Peer, HANDSHAKE_TIMEOUT).unwrap().unwrap());
        let mut link = handshake::open(stream, &pass, at, Purpose::Ask, Message::List {}, deadline)
            .expect("the handshake");
        let end = link.read(Some(deadline)).unwrap_err();
        assert!(matches!(end, crate::net::transport::link::LinkError::Gone { .. }), "{end:?}");
        done.store(true, Ordering::Release);
        service.wake();
        serving.join().unwrap();
        service.close();
        assert!(service.lobby.lock().clients.is_empty());
    }
}
