//! A port that is served: one thread accepts, and one thread serves each connection. No client that
//! is silent, slow or many keeps the others waiting.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::descriptors::{self, Reserve};
use super::handshake::{self, Pass, Unwelcome};
use super::link::{Link, has_input};
use super::port::{self, Listening, Stream};
use super::session::{Idleness, Session};
use crate::config::HANDSHAKE_TIMEOUT;
use crate::error::{Cured, Port};
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::threads::{self, ThreadKind, Threads};
use crate::net::rt::waker::Waker;
use crate::state::ConnId;
use crate::state::admission::{Admission, SILENT_PATIENCE};
use crate::sys;
use crate::wire::{Message, Purpose, Refusal};

/// The purpose of a port, and its limits.
#[derive(Clone, Copy)]
pub(crate) struct ServiceKind {
    /// Of those that serve, one for each connection; its name stands in the log, too.
    pub(crate) thread: ThreadKind,
    pub(crate) purposes: &'static [Purpose],
    /// The most connections at once that have passed the handshake.
    pub(crate) max_clients: usize,
    /// True if the listener's descriptor must stay above those of the connections.
    pub(crate) on_top: bool,
}

struct Client {
    stream: Arc<Stream>,
    idleness: Idleness,
}

pub(crate) struct Service {
    kind: ServiceKind,
    at: SocketAddr,
    pass: Pass,
    waker: Waker,
    // Locked for a few map operations; never across a read or a write.
    admission: Mutex<Admission<Arc<Stream>, Client>>,
    /// Signalled when a handshake has ended while there is no room for more.
    room: Condvar,
    idleness: Idleness,
    /// A thread is making room for the listener to move to.
    making_room: AtomicBool,
    threads: Threads,
}

impl Service {
    pub(crate) fn new(
        kind: ServiceKind,
        at: impl Into<SocketAddr>,
        pass: Pass,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Service {
            kind,
            at: at.into(),
            pass,
            waker: Waker::new()?,
            admission: Mutex::new(Admission::new(kind.max_clients)),
            room: Condvar::new(),
            idleness: Idleness::default(),
            making_room: AtomicBool::new(false),
            threads: Threads::default(),
        }))
    }

    /// Makes the accepting thread look again whether it is done.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Accepts connections and serves each on a thread of its own, until `done` returns true after
    /// a [`wake`](Service::wake). Returns the listener; connections go on until
    /// [`close`](Service::close).
    pub(crate) fn run<F>(
        self: &Arc<Self>,
        mut listener: Listening,
        done: impl Fn() -> bool,
        serve: F,
    ) -> Listening
    where
        F: Fn(Session) + Clone + Send + 'static,
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
                    self.receive(stream, serve.clone());
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
                        complain!(Warn, &me, "{me}: cannot accept: {}", Cured(&error));
                    }
                    if descriptors::is_out_of_descriptors(&error) {
                        // Not for the sake of one, but of all that are waiting: those who had their
                        // chance go.
                        let mut admission = self.admission.lock();
                        while make_way(&mut admission) {}
                        drop(admission);
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
            let started = self.threads.spawn(threads::ROOM, move || {
                descriptors::make_room(wanted);
                service.making_room.store(false, Ordering::Relaxed);
                service.wake();
            });
            if started.is_err() {
                // Until the next connection the failover is a little slower, nothing else.
                self.making_room.store(false, Ordering::Relaxed);
            }
        }
        listener
    }

    /// Ends all connections, accepts no more, and waits for all serving threads.
    pub(crate) fn close(&self) {
        self.close_clients(Shutdown::Both);
    }

    /// Does the same, but lets answers that are under way be finished. The serving threads must not
    /// read on then: what has arrived, or arrives meanwhile, can still be read.
    pub(crate) fn close_after_answers(&self) {
        self.close_clients(Shutdown::Read);
    }

    fn close_clients(&self, how: Shutdown) {
        let mut admission = self.admission.lock();
        admission.close();
        admission.pending().for_each(|stream| end(stream));
        admission.clients().for_each(|client| _ = client.stream.shutdown(how));
        drop(admission);
        self.threads.join_all();
    }

    fn wait(&self, listener: Option<&Listening>, timeout: Option<Duration>) {
        let mut fds = Vec::with_capacity(3);
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        // An error here (a signal) is a wake-up like any other.
        _ = self.waker.wait(&mut fds, timeout);
    }

    fn receive<F>(self: &Arc<Self>, stream: Stream, serve: F)
    where
        F: Fn(Session) + Send + 'static,
    {
        // A listener that does not block hands this on to its connections on some systems.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = stream.set_nonblocking(false);
        _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let Some(conn) = self.admit(&stream) else { return };
        let service = self.clone();
        let spawned = self.threads.spawn(self.kind.thread, move || {
            service.meet(conn, stream, serve);
        });
        if let Err(error) = spawned {
            let me = self.named();
            let why = Cured(&error);
            complain!(Warn, &me, "{me}: cannot start a thread for a connection: {why}");
            self.admission.lock().end(conn);
        }
    }

    /// Makes room for one more handshake: the oldest one that has had its chance goes.
    fn admit(&self, stream: &Arc<Stream>) -> Option<ConnId> {
        let mut admission = self.admission.lock();
        while !admission.is_closed() && admission.is_full() {
            if !make_way(&mut admission) {
                // All are young. One of them gets through, or grows old, within this time.
                self.room.wait_for(&mut admission, SILENT_PATIENCE);
            }
        }
        if admission.is_closed() {
            return None;
        }
        Some(admission.begin(clock::now(), stream.clone()))
    }

    /// The life of one connection, on its own thread.
    fn meet(&self, conn: ConnId, stream: Arc<Stream>, serve: impl Fn(Session)) {
        let _strikes_off = Departing { service: self, conn };
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let opened = || self.admission.lock().opened(conn);
        let link = Link::to_stranger(stream);
        let at = self.address(link.stream());
        match handshake::answer(link, &self.pass, at, self.kind.purposes, opened, deadline) {
            Ok((link, purpose, first)) => match self.promote(conn, link.stream()) {
                Some(idleness) => {
                    let name = self.kind.thread.name;
                    serve(Session { name, conn, link, purpose, first, idleness })
                }
                None => link.close_with(&Message::rejected(Refusal::Busy, "too many connections")),
            },
            Err(Unwelcome::Gone) => {}
            Err(Unwelcome::Broke(why)) => {
                self.complain(&format!("cut off a client that broke the protocol: {why}"));
            }
        }
    }

    /// Returns the address at which a client has come: of a port on all addresses, its own.
    fn address(&self, stream: &Stream) -> SocketAddr {
        let is_any = self.at.ip().is_unspecified();
        let own = if is_any { stream.local_addr().ok() } else { None };
        let own = own.map(|own| SocketAddr::new(own.ip().to_canonical(), own.port()));
        own.unwrap_or(self.at)
    }

    /// The port, for the log.
    fn named(&self) -> String {
        format!("{} {}", self.kind.thread.name, Port(self.at))
    }

    /// Logs which client was cut off, and why. Other clients that come next with another fault are
    /// of the same subject: a stranger could go on like that for ever.
    fn complain(&self, why: &str) {
        let me = self.named();
        complain!(Warn, &me, "{me}: {why}");
    }

    /// Makes a connection a client after its handshake. The client that has been idle longest makes
    /// room if need be.
    fn promote(&self, conn: ConnId, stream: &Arc<Stream>) -> Option<Idleness> {
        let idleness = self.idleness.of_another();
        let client = Client { stream: stream.clone(), idleness: idleness.clone() };
        let mut admission = self.admission.lock();
        let promoted = admission.promote(conn, client, |client| client.idleness.since());
        self.room.notify_one();
        promoted.ok()?.iter().for_each(|replaced| end(&replaced.stream));
        Some(idleness)
    }
}

/// Strikes a connection off the lists when its thread is done with it, even if the thread panics:
/// the lists hold the stream, and what they hold stays open.
struct Departing<'a> {
    service: &'a Service,
    conn: ConnId,
}

impl Drop for Departing<'_> {
    fn drop(&mut self) {
        self.service.admission.lock().end(self.conn);
        self.service.room.notify_one();
    }
}

/// Ends the least promising handshake. Returns false if there is none.
fn make_way(admission: &mut Admission<Arc<Stream>, Client>) -> bool {
    let stream = admission.make_way(clock::now(), |stream| has_input(stream));
    stream.iter().for_each(|stream| end(stream));
    stream.is_some()
}

/// Ends a connection under a thread that waits on it.
fn end(stream: &Stream) {
    _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Question;
    use crate::wire::proof::Key;
    use std::thread;

    #[test]
    fn a_connection_whose_thread_panics_is_closed() {
        let listener = port::listen(port::here(0), sys::Kind::Peer).unwrap();
        let at = port::here(listener.local_addr().unwrap().port());
        let pass = Pass { group: "web".into(), key: Key([7; 32]), key_file: "web.key".into() };
        let kind = ServiceKind {
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
        let mut link =
            handshake::open(stream, &pass, at, Purpose::Ask, Question::List {}.into(), deadline)
                .expect("the handshake");
        let end = link.read(Some(deadline)).unwrap_err();
        assert!(matches!(end, crate::net::transport::link::LinkError::Gone { .. }), "{end:?}");
        done.store(true, Ordering::Release);
        service.wake();
        serving.join().unwrap();
        service.close();
        assert!(service.admission.lock().clients().next().is_none());
    }
}
