//! The thread behind an acceptor: goes to the supervisor's desk, and to the next one when that
//! supervisor is gone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::acceptor::{AcceptEnd, Acceptor, TurnCount};
use super::listeners::Listeners;
use super::make::{explain, is_in_use, make};
use crate::config::{DEFAULT_BACKLOG, HANDSHAKE_TIMEOUT};
use crate::error::{AskError, ListenError, printable};
use crate::net::client::ask::Asker;
use crate::net::member::shared::Shared;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads;
use crate::net::transport::handshake;
use crate::net::transport::link::LinkError;
use crate::net::transport::parcel::Parcels;
use crate::net::transport::port::Listening;
use crate::net::transport::rendezvous;
use crate::sys::queue::{Queue, look};
use crate::wire::{
    FromAcceptor, Handshake, Message, Policy, Purpose, Refusal, Report, Terms, ToAcceptor,
};

/// How long the keeper waits before it looks for a desk again that it did not find, or that did not
/// let it in: from the first to the last, doubling.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// Why a visit to a desk ended.
enum Parting {
    /// The desk is gone, after it had given the listener.
    Gone,
    /// It was not found, or was gone before that; perhaps something stood in the way.
    Missed(Option<ListenError>),
    /// This instance does not get the listener.
    Failed(ListenError),
    /// The acceptor has ended.
    Ended,
}

/// Begins to accept at an address: makes the listener, or has it given, until `deadline`.
pub(crate) fn begin(
    whose: (Arc<Shared>, Arc<Asker>),
    address: SocketAddr,
    how: (Terms, u32),
    listeners: &Arc<Listeners>,
    deadline: Instant,
) -> Result<Arc<Acceptor>, ListenError> {
    let io = |source| ListenError::Io { doing: "begin to listen", source };
    let acceptor = Arc::new(Acceptor::new(whose, address, how).map_err(io)?);
    let (kept, listeners) = (acceptor.clone(), Arc::downgrade(listeners));
    let keep = move || {
        keep(&kept);
        // An operator drains an instance. After an election its other listeners may have been
        // under way to the desk when that was told.
        if kept.inside.lock().is_drained_by_desk {
            listeners.upgrade().into_iter().for_each(|listeners| listeners.drain());
        }
    };
    acceptor.threads.spawn(threads::ACCEPTOR, keep).map_err(io)?;
    acceptor.await_listener(deadline).inspect_err(|_| acceptor.finish(AcceptEnd::Drained))?;
    Ok(acceptor)
}

/// Keeps an acceptor at a desk until its end.
fn keep(acceptor: &Acceptor) {
    let mut pause = PAUSES.0;
    while acceptor.ended.is_usable() && !acceptor.has_ended() {
        match visit(acceptor) {
            Parting::Gone => pause = PAUSES.0,
            Parting::Missed(why) => {
                if why.is_some() {
                    acceptor.inside.lock().obstacle = why;
                }
                if acceptor.rest(pause) {
                    return;
                }
                pause = (pause * 2).min(PAUSES.1);
            }
            Parting::Ended => return,
            Parting::Failed(error) => {
                if !acceptor.fail(error) || acceptor.rest(PAUSES.1) {
                    return;
                }
            }
        }
    }
    acceptor.end(AcceptEnd::Stopped);
}

/// Finds the desk, gets the listener there, and stays until the desk is gone.
fn visit(acceptor: &Acceptor) -> Parting {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let (shared, address) = (&acceptor.shared, acceptor.address.to_string());
    let desk = match acceptor.asker.desk(deadline) {
        Ok(Ok(desk)) => desk,
        Ok(Err(detail)) => return Parting::Failed(refused(&detail)),
        Err(AskError::Stopped) => {
            acceptor.end(AcceptEnd::Stopped);
            return Parting::Ended;
        }
        Err(source @ AskError::Refused { .. }) => {
            return Parting::Failed(ListenError::Ask { source });
        }
        Err(source) => return Parting::Missed(Some(ListenError::Ask { source })),
    };
    let pause = |time| !acceptor.rest(time);
    let stream = match rendezvous::meet(&shared.directory, desk, deadline, pause) {
        Ok(Some(stream)) => stream,
        Ok(None) => return Parting::Missed(None),
        Err(source) => {
            let is_late = source.kind() == io::ErrorKind::TimedOut;
            let doing = "reach the supervisor by a Unix socket";
            let error = ListenError::Io { doing, source };
            return if is_late { Parting::Missed(Some(error)) } else { Parting::Failed(error) };
        }
    };
    let brought = acceptor.inside.lock().turns.unspent();
    let hello = FromAcceptor::Listens {
        address,
        name: shared.me.name.clone(),
        terms: acceptor.terms,
        unspent: brought,
    };
    let stream = Arc::new(stream);
    let opened =
        handshake::open(stream, &shared.pass, shared.at, Purpose::Accept, hello.into(), deadline);
    let mut parcels = match opened {
        Ok(link) => {
            let (stream, incoming) = link.into_parts();
            Parcels::new(stream, incoming)
        }
        Err(_) => return Parting::Missed(None),
    };
    match acceptor.get_listener(&mut parcels) {
        Ok(given) => acceptor.serve(parcels, brought, given),
        Err(parting) => parting,
    }
}

impl Acceptor {
    /// Waits for the listener.
    fn await_listener(&self, deadline: Instant) -> Result<(), ListenError> {
        let mut inside = self.inside.lock();
        let mut is_late = false;
        loop {
            if let Some(error) = inside.failed.take() {
                return Err(error);
            }
            if inside.socket.is_some() {
                return Ok(());
            }
            if inside.end == Some(AcceptEnd::Stopped) {
                return Err(ListenError::Ask { source: AskError::Stopped });
            }
            if is_late {
                let late = ListenError::TimedOut { address: self.address };
                return Err(inside.obstacle.take().unwrap_or(late));
            }
            is_late = self.change.wait_until(&mut inside, deadline).timed_out();
        }
    }

    /// Waits a moment. Returns true if the acceptor has ended.
    fn rest(&self, time: Duration) -> bool {
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
        _ = self.ended.poll(&mut fds, Some(time));
        !self.ended.is_usable() || self.has_ended()
    }

    /// Notes why there is no listener. Returns false if there never was one: then this is the end.
    fn fail(&self, error: ListenError) -> bool {
        let mut inside = self.inside.lock();
        if inside.socket.is_some() {
            drop(inside);
            let me = &self.shared.me.name;
            complain!(Error, me, "{me}: {error}; trying again");
            return true;
        }
        inside.failed = Some(error);
        drop(inside);
        self.change.notify_all();
        false
    }

    /// Answers the desk until it gives the listener.
    fn get_listener(&self, parcels: &mut Parcels) -> Result<Listening, Parting> {
        let stream = parcels.stream().clone();
        // The listener is another's, who may yet bring it.
        let mut in_use: Option<(Instant, io::Error)> = None;
        loop {
            let message = match parcels.next() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    let left =
                        |(until, _): &(Instant, _)| until.saturating_duration_since(Instant::now());
                    let left = in_use.as_ref().map(left);
                    if let (Some(Duration::ZERO), Some((_, error))) = (left, &mut in_use) {
                        let error = std::mem::replace(error, io::ErrorKind::Other.into());
                        return Err(Parting::Failed(explain(self.address, error)));
                    }
                    _ = self.await_one(&*stream, PollFlags::IN, left);
                    if self.has_ended() {
                        return Err(Parting::Ended);
                    }
                    continue;
                }
                Err(_) => return Err(Parting::Missed(None)),
            };
            match message {
                Message::ToAcceptor(ToAcceptor::Given {}) => {
                    return parcels.take_brought().ok_or(Parting::Missed(None));
                }
                Message::ToAcceptor(ToAcceptor::Show { within_ms }) => match self.produce() {
                    Ok(socket) => {
                        if !parcels.send_with(FromAcceptor::Shown {}, socket.as_fd()) {
                            return Err(Parting::Missed(None));
                        }
                    }
                    Err(error) if is_in_use(&error) => {
                        let within = Duration::from_millis(within_ms.into());
                        in_use = Some((Instant::now() + within, error));
                        parcels.send(FromAcceptor::NotShown {});
                    }
                    Err(error) => return Err(Parting::Failed(explain(self.address, error))),
                },
                Message::Handshake(Handshake::Rejected { rejection }) => {
                    let error = refused(&rejection.detail);
                    return Err(match rejection.refusal {
                        Refusal::SteppingDown => Parting::Missed(None),
                        Refusal::Busy => Parting::Missed(Some(error)),
                        _ => Parting::Failed(error),
                    });
                }
                _ => return Err(Parting::Missed(None)),
            }
        }
    }

    /// Returns the listener to be shown: this instance's copy, or one that it makes.
    fn produce(&self) -> io::Result<Arc<Listening>> {
        let present = self.inside.lock().socket.clone();
        if let Some(socket) = present {
            if !matches!(look(socket.as_fd()), Ok(Queue::Shut)) {
                return Ok(socket);
            }
            rustix::net::listen(&*socket, DEFAULT_BACKLOG as i32)?;
            return Ok(socket);
        }
        make(self.address, self.backlog).map(Arc::new)
    }

    /// Lets the program's threads accept, and waits until the desk is gone.
    fn serve(&self, parcels: Parcels, brought: u64, given: Listening) -> Parting {
        let stream = parcels.stream().clone();
        let mut inside = self.inside.lock();
        if inside.end.is_some() {
            return Parting::Ended;
        }
        self.adopt(&mut inside, given);
        // Some of what was brought may have been used since it was said.
        let spent = brought.saturating_sub(inside.turns.unspent());
        inside.turns = TurnCount { in_all: brought, spent };
        inside.told = Report::default();
        inside.line = Some(parcels);
        self.poller.get().into_iter().for_each(|poller| poller.line(&stream));
        self.report(&mut inside);
        self.arm(&inside);
        drop(inside);
        self.bell.notify_all();
        self.change.notify_all();
        let listens = self.terms.policy == Policy::Free;
        loop {
            // What the desk says is read by the threads that accept; those that accept freely have
            // no need of it.
            let flags = if listens { PollFlags::IN } else { hang_up() };
            let waited = self.await_one(&*stream, flags, None);
            if self.has_ended() {
                return Parting::Ended;
            }
            let mut inside = self.inside.lock();
            if listens {
                self.listen_to_desk(&mut inside);
            }
            let is_over = match waited {
                Ok(flags) => !listens && flags.intersects(hang_up() | PollFlags::HUP),
                Err(_) => true,
            };
            if is_over {
                // What it said last is still taken.
                self.listen_to_desk(&mut inside);
                inside.line = None;
            }
            if inside.line.is_none() {
                self.arm(&inside);
                drop(inside);
                self.bell.notify_all();
                return Parting::Gone;
            }
        }
    }

    /// Waits for one descriptor, or for the end of the acceptor. Returns what the first is ready
    /// for.
    fn await_one(
        &self,
        what: impl AsFd,
        flags: PollFlags,
        timeout: Option<Duration>,
    ) -> Result<PollFlags, LinkError> {
        let mut fds = Vec::with_capacity(3);
        fds.push(PollFd::from_borrowed_fd(what.as_fd(), flags));
        fds.push(PollFd::new(&self.ended, PollFlags::IN));
        let waited = self.ended.poll(&mut fds, timeout);
        if !self.ended.is_usable() {
            return Err(LinkError::Gone { reset: false });
        }
        match waited {
            Ok(()) | Err(rustix::io::Errno::INTR) => Ok(fds[0].revents()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

fn refused(detail: &str) -> ListenError {
    ListenError::Refused { detail: printable(detail) }
}

/// What tells the end of a connection without what came before it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn hang_up() -> PollFlags {
    PollFlags::RDHUP
}

/// Elsewhere only the end of both directions is told apart.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn hang_up() -> PollFlags {
    PollFlags::HUP
}
