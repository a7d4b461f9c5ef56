//! An instance at one shared listener: its threads, its turns, and its words to the desk.
//!
//! Turns come over the connection to the desk. The thread that wants to accept reads them itself,
//! one for all of them, so that none has to be woken by another. A thread with a turn waits for a
//! connection and accepts it. Turns outlive the desk that gave them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::poller::Poller;
use super::theirs;
use crate::error::{AcceptError, ListenError};
use crate::event::EventKind;
use crate::net::client::ask::Asker;
use crate::net::member::shared::Shared;
use crate::net::rt::lock::{Condvar, Mutex, MutexGuard};
use crate::net::rt::threads::Threads;
use crate::net::rt::waker::Waker;
use crate::net::transport::link::{LinkError, remaining};
use crate::net::transport::parcel::Parcels;
use crate::net::transport::port::Listening;
use crate::sys::Origin;
use crate::wire::{FromAcceptor, Message, Policy, Report, Terms, ToAcceptor};

/// Why no connection is accepted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptEnd {
    /// The program or an operator has said so.
    Drained,
    /// The instance has left its group.
    Stopped,
}

/// The turns of the present connection to a desk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TurnCount {
    pub(super) in_all: u64,
    pub(super) spent: u64,
}

impl TurnCount {
    pub(super) fn unspent(self) -> u64 {
        self.in_all.saturating_sub(self.spent)
    }
}

#[derive(Default)]
pub(super) struct AcceptorState {
    pub(super) socket: Option<Arc<Listening>>,
    /// Somebody has shut the listener down, and the desk has not revived it yet.
    is_shut: bool,
    /// The connection to the desk, once it has given the listener.
    pub(super) line: Option<Parcels>,
    pub(super) turns: TurnCount,
    /// What the desk was told last.
    pub(super) told: Report,
    pub(super) taken: u64,
    open: u32,
    /// The threads that wait for a connection.
    threads: u32,
    /// Those of them that have a turn each.
    takers: u64,
    /// One of them reads what the desk says.
    has_leader: bool,
    pub(super) end: Option<AcceptEnd>,
    /// It is the desk that has said so.
    pub(super) is_drained_by_desk: bool,
    /// Why the listener could not be had in the first place.
    pub(super) failed: Option<ListenError>,
    /// What stood in the way when the desk was looked for last.
    pub(super) obstacle: Option<ListenError>,
}

pub(crate) struct Acceptor {
    pub(super) shared: Arc<Shared>,
    pub(super) asker: Arc<Asker>,
    pub(super) address: SocketAddr,
    pub(super) terms: Terms,
    pub(super) backlog: u32,
    // Never across anything that waits.
    pub(super) inside: Mutex<AcceptorState>,
    /// Rung for threads that want to accept, and wait on nothing else.
    pub(super) bell: Condvar,
    /// Rung for threads that wait for the beginning, for the end, or until nothing is open.
    pub(super) change: Condvar,
    /// Raised at the end, for good.
    pub(super) ended: Waker,
    /// Made when a program first asks for it.
    pub(super) poller: OnceLock<Poller>,
    /// The program polls.
    polls: AtomicBool,
    pub(super) threads: Threads,
    origin: Origin,
}

impl Acceptor {
    /// Makes one that has no listener yet.
    pub(super) fn new(
        (shared, asker): (Arc<Shared>, Arc<Asker>),
        address: SocketAddr,
        (terms, backlog): (Terms, u32),
    ) -> io::Result<Self> {
        Ok(Acceptor {
            shared,
            asker,
            address,
            terms,
            backlog,
            inside: Mutex::default(),
            bell: Condvar::new(),
            change: Condvar::new(),
            ended: Waker::new()?,
            poller: OnceLock::new(),
            polls: AtomicBool::new(false),
            threads: Threads::default(),
            origin: Origin::here(),
        })
    }

    /// Returns true in a forked child.
    pub(crate) fn is_void(&self) -> bool {
        self.origin.is_elsewhere()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more. Threads that wait for a connection return.
    pub(crate) fn end(&self, end: AcceptEnd) {
        if self.is_void() {
            return;
        }
        let mut inside = self.inside.lock();
        inside.end.get_or_insert(end);
        // The desk sees the end of the connection, and gives the turns to others.
        inside.line = None;
        drop(inside);
        self.wake_all();
    }

    /// Wakes all threads that wait here, at the end.
    fn wake_all(&self) {
        self.ended.wake();
        self.bell.notify_all();
        self.change.notify_all();
    }

    /// Accepts no more, and waits for the thread behind it.
    pub(crate) fn finish(&self, end: AcceptEnd) {
        self.end(end);
        self.threads.join_all();
        if let Some(socket) = self.inside.lock().socket.take() {
            self.poller.get().into_iter().for_each(|poller| poller.leave(&socket));
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.is_void() || self.inside.lock().end.is_some()
    }

    /// Waits for the end. Returns false if it has not come by the deadline.
    pub(crate) fn await_end(&self, deadline: Instant) -> bool {
        if self.is_void() {
            return true;
        }
        let mut inside = self.inside.lock();
        while inside.end.is_none() {
            if self.change.wait_until(&mut inside, deadline).timed_out() {
                return inside.end.is_some();
            }
        }
        true
    }

    /// Returns another descriptor of the listener, which is the program's.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        if self.is_void() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let socket = self.inside.lock().socket.clone();
        let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
        theirs::copy(&socket)
    }

    /// Returns how many of the accepted connections are open.
    pub(crate) fn open(&self) -> u32 {
        if self.is_void() { 0 } else { self.inside.lock().open }
    }

    /// Waits until none is. Returns false if one still is at the deadline.
    pub(crate) fn await_closed(&self, deadline: Instant) -> bool {
        if self.is_void() {
            return true;
        }
        let mut inside = self.inside.lock();
        while inside.open > 0 {
            if self.change.wait_until(&mut inside, deadline).timed_out() {
                return inside.open == 0;
            }
        }
        true
    }

    /// Notes that an accepted connection is closed.
    pub(crate) fn closed(&self) {
        if self.is_void() {
            return;
        }
        let mut inside = self.inside.lock();
        inside.open = inside.open.saturating_sub(1); // C may say it too often
        if self.terms.policy == Policy::Connections {
            self.report(&mut inside);
        }
        if inside.open == 0 {
            self.change.notify_all();
        }
    }

    /// Returns a descriptor that is readable when a connection can be accepted, or at the end.
    pub(crate) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        if self.is_void() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut inside = self.inside.lock();
        let poller = match self.poller.get() {
            Some(poller) => poller,
            None => {
                let made = Poller::new(&self.ended)?;
                inside.line.iter().for_each(|line| made.line(line.stream()));
                self.poller.get_or_init(|| made)
            }
        };
        self.polls.store(true, Ordering::Relaxed);
        self.report(&mut inside);
        self.arm(&inside);
        Ok(poller.descriptor())
    }

    /// Accepts the next connection in turn; without a deadline, waits for ever.
    pub(crate) fn accept(
        &self,
        deadline: Option<Instant>,
    ) -> Result<(TcpStream, SocketAddr), AcceptError> {
        if self.is_void() {
            return Err(AcceptError::Stopped);
        }
        let mut inside = self.inside.lock();
        inside.threads += 1;
        let mut is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let accepted = loop {
            self.report(&mut inside);
            // A turn may have come while nobody was here to read it.
            let needs_turn = self.terms.policy != Policy::Free && inside.turns.unspent() == 0;
            if is_late || needs_turn || self.polls.load(Ordering::Relaxed) {
                self.listen_to_desk(&mut inside);
            }
            match inside.end {
                Some(AcceptEnd::Drained) => break Err(AcceptError::Drained),
                Some(AcceptEnd::Stopped) => break Err(AcceptError::Stopped),
                None => {}
            }
            match self.attempt(&mut inside) {
                Err(AcceptError::TimedOut) if !is_late => {}
                accepted => break accepted,
            }
            (inside, is_late) = self.wait(inside, deadline);
        };
        inside.threads -= 1;
        self.report(&mut inside);
        self.arm(&inside);
        drop(inside);
        // Another thread may have to read what the desk says, or to use a turn.
        self.bell.notify_one();
        accepted
    }

    /// Accepts a connection that is there, if this instance may. `TimedOut` says that there is
    /// none, or that it may not.
    fn attempt(
        &self,
        inside: &mut MutexGuard<'_, AcceptorState>,
    ) -> Result<(TcpStream, SocketAddr), AcceptError> {
        loop {
            let Some(socket) = inside.socket.clone().filter(|_| self.may_take(inside)) else {
                return Err(AcceptError::TimedOut);
            };
            keep_from_blocking(&socket);
            match theirs::accept(&socket) {
                Ok((stream, peer)) => {
                    if self.terms.policy != Policy::Free {
                        inside.turns.spent += 1;
                    }
                    inside.taken += 1;
                    inside.open += 1;
                    return Ok((stream, peer));
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Err(AcceptError::TimedOut),
                    Some(Errno::INTR | Errno::CONNABORTED) => {}
                    Some(Errno::INVAL) => inside.is_shut = true,
                    _ => {
                        // The connection is for one that can: this turn is over.
                        if self.terms.policy != Policy::Free {
                            inside.turns.spent += 1;
                        }
                        return Err(AcceptError::Io { doing: "accept", source: error });
                    }
                },
            }
        }
    }

    /// Returns true if a thread without a turn may take one.
    fn may_take(&self, inside: &AcceptorState) -> bool {
        !inside.is_shut
            && inside.end.is_none()
            && (self.terms.policy == Policy::Free || inside.turns.unspent() > inside.takers)
    }

    /// Waits for what this thread needs next: a connection, a turn, or the end. Also returns true
    /// if the deadline has passed.
    fn wait<'a>(
        &'a self,
        mut inside: MutexGuard<'a, AcceptorState>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, AcceptorState>, bool) {
        let taken = inside.socket.clone().filter(|_| self.may_take(&inside));
        let is_led = inside.has_leader || self.terms.policy == Policy::Free;
        let led = inside.line.as_ref().filter(|_| !is_led).map(|line| line.stream().clone());
        let Ok(timeout) = deadline.map(remaining).transpose() else { return (inside, true) };
        if taken.is_none() && led.is_none() {
            let is_late = match timeout {
                None => {
                    self.bell.wait(&mut inside);
                    false
                }
                Some(timeout) => self.bell.wait_for(&mut inside, timeout).timed_out(),
            };
            return (inside, is_late);
        }
        inside.takers += u64::from(taken.is_some());
        inside.has_leader |= led.is_some();
        drop(inside);
        let mut fds = Vec::with_capacity(4);
        fds.extend(led.as_deref().map(|stream| PollFd::new(stream, PollFlags::IN)));
        fds.extend(taken.as_deref().map(|socket| PollFd::new(socket, PollFlags::IN)));
        fds.push(PollFd::new(&self.ended, PollFlags::IN));
        // An error here (a signal) is a wake-up like any other.
        _ = self.ended.poll(&mut fds, timeout);
        let has_words = led.is_some() && !fds[0].revents().is_empty();
        let mut inside = self.inside.lock();
        inside.takers -= u64::from(taken.is_some());
        if led.is_some() {
            inside.has_leader = false;
        }
        if has_words {
            self.listen_to_desk(&mut inside);
        }
        (inside, deadline.is_some_and(|deadline| deadline <= Instant::now()))
    }

    /// Takes what the desk says.
    pub(super) fn listen_to_desk(&self, inside: &mut MutexGuard<'_, AcceptorState>) {
        let before = inside.turns.unspent();
        loop {
            let Some(line) = &mut inside.line else { return };
            match line.next() {
                Ok(Some(Message::ToAcceptor(ToAcceptor::Turns { in_all }))) => {
                    if in_all <= inside.turns.in_all {
                        inside.told = Report::default(); // the desk asks for a report
                    }
                    inside.turns.in_all = inside.turns.in_all.max(in_all);
                }
                Ok(Some(Message::ToAcceptor(ToAcceptor::Drained {}))) => {
                    inside.end.get_or_insert(AcceptEnd::Drained);
                    inside.is_drained_by_desk = true;
                    inside.line = None;
                    self.wake_all();
                }
                Ok(Some(Message::ToAcceptor(ToAcceptor::Revived {}))) => {
                    inside.is_shut = false;
                    let address = self.address.to_string();
                    self.shared.presence.emit(EventKind::ListenerRevived { address });
                    self.bell.notify_all();
                }
                Ok(None) => break,
                // The keeper sees the end, too, and goes to the next desk.
                Ok(Some(_)) | Err(LinkError::Malformed(_)) => {
                    _ = line.stream().shutdown(std::net::Shutdown::Both);
                    inside.line = None;
                }
                Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => {
                    inside.line = None;
                }
            }
        }
        if inside.turns.unspent() > before + 1 {
            self.bell.notify_all(); // more than this thread will use
        }
    }

    /// Tells the desk what has changed. What it cannot take now it learns with the next change:
    /// the newest is enough.
    pub(super) fn report(&self, inside: &mut MutexGuard<'_, AcceptorState>) {
        let polls = self.polls.load(Ordering::Relaxed);
        let ready = inside.threads.max(if polls { self.terms.capacity } else { 0 });
        let report = Report {
            spent: inside.turns.spent,
            ready: if inside.is_shut { 0 } else { ready },
            open: inside.open,
            taken: inside.taken,
        };
        let inside = &mut **inside;
        let Some(line) = &mut inside.line else { return };
        if report != inside.told && line.flush() {
            line.send(FromAcceptor::Took { report });
            inside.told = report;
        }
    }

    /// Has the program's poll follow the listener while this instance may accept.
    pub(super) fn arm(&self, inside: &MutexGuard<'_, AcceptorState>) {
        if let (Some(poller), Some(socket)) = (self.poller.get(), &inside.socket) {
            poller.arm(socket, self.may_take(inside));
        }
    }

    /// Takes the listener that the desk gives. If it is another one than before, threads that wait
    /// at that one wake: it belongs to nobody any more.
    pub(super) fn adopt(&self, inside: &mut MutexGuard<'_, AcceptorState>, given: Listening) {
        inside.is_shut = false;
        let before = inside.socket.as_ref();
        if before.is_some_and(|before| before.identity() == given.identity()) {
            return;
        }
        if let Some(before) = inside.socket.replace(Arc::new(given)) {
            self.poller.get().into_iter().for_each(|poller| poller.leave(&before));
            _ = rustix::net::shutdown(&*before, rustix::net::Shutdown::Both);
        }
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("address", &self.address).finish_non_exhaustive()
    }
}

/// O_NONBLOCK belongs to all who share a listener. A thread that finds another quicker must not
/// block; programs that only accept by themselves may want to.
fn keep_from_blocking(socket: &Listening) {
    let is_set = fcntl_getfl(socket).map(|flags| flags.contains(OFlags::NONBLOCK));
    if !is_set.unwrap_or(true) {
        _ = socket.set_nonblocking(true);
    }
}
