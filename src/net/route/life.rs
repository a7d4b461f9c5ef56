//! Finds out whether hosts live, by connecting to their own addresses.
//!
//! A host whose kernel works answers: with a connection if somebody listens, with a reset if not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::state::route::Target;
use crate::sys::{Booked, Kind};

/// How often a host is called: one packet may be lost, and the kernel repeats it only after a
/// second.
const TRIES: u32 = 3;

/// What is known of a host.
#[derive(Debug)]
pub(crate) enum HostLife {
    Lives,
    /// It did not answer, or could not be reached.
    Silent,
    /// It could not be called. That says nothing of it.
    Uncalled(io::Error),
}

/// Calls hosts, many at a time.
#[derive(Default)]
pub(crate) struct HostCalls {
    calls: Vec<Call>,
}

struct Call {
    target: Target,
    from: IpAddr,
    to: SocketAddr,
    tries: Vec<Booked<Socket>>,
    made: u32,
    next_at: Instant,
    every: Duration,
    /// At least one try has left this host.
    was_sent: bool,
    why_not: Option<io::Error>,
}

impl HostCalls {
    /// Calls a target's host, from an address that stays this host's: the kernel might choose that
    /// of a service. The answer comes `within` that time. A host that is called already is called
    /// anew.
    pub(crate) fn call(
        &mut self,
        target: Target,
        from: IpAddr,
        to: SocketAddr,
        within: Duration,
        now: Instant,
    ) {
        self.calls.retain(|call| call.target != target);
        self.calls.push(Call {
            target,
            from,
            to,
            tries: Vec::new(),
            made: 0,
            next_at: now,
            every: within / TRIES,
            was_sent: false,
            why_not: None,
        });
    }

    /// What to wait for until [`HostCalls::answers`] has something to do.
    pub(crate) fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.calls
            .iter()
            .flat_map(|call| &call.tries)
            .map(|one| PollFd::new(&**one, PollFlags::OUT))
    }

    /// When it has something to do at the latest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.calls.iter().map(|call| call.next_at).min()
    }

    /// Does what is due, and returns what is now known. Does not wait.
    pub(crate) fn answers(&mut self, now: Instant) -> Vec<(Target, HostLife)> {
        let mut answers = Vec::new();
        self.calls.retain_mut(|call| match call.go_on(now) {
            Some(life) => {
                answers.push((call.target, life));
                false
            }
            None => true,
        });
        answers
    }
}

impl Call {
    fn go_on(&mut self, now: Instant) -> Option<HostLife> {
        if self.is_answered() {
            return Some(HostLife::Lives);
        }
        while now >= self.next_at {
            if self.made == TRIES {
                return Some(self.unanswered());
            }
            self.made += 1;
            self.next_at += self.every;
            match connect(self.from, self.to) {
                Ok(socket) => {
                    self.was_sent = true;
                    self.tries.push(socket);
                }
                Err(error) if is_answer(&error) => return Some(HostLife::Lives),
                Err(error) if is_unreachable(&error) => self.was_sent = true,
                Err(error) => self.why_not = Some(error),
            }
        }
        None
    }

    fn is_answered(&mut self) -> bool {
        let mut answered = false;
        self.tries.retain(|socket| match outcome(socket) {
            None => true,
            Some(Ok(())) => {
                answered = true;
                false
            }
            Some(Err(error)) => {
                answered |= is_answer(&error);
                false
            }
        });
        answered
    }

    fn unanswered(&mut self) -> HostLife {
        match self.why_not.take() {
            Some(error) if !self.was_sent => HostLife::Uncalled(error),
            _ => HostLife::Silent,
        }
    }
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Booked<Socket>> {
    let (domain, kind) = (Domain::for_address(to), Type::STREAM.nonblocking());
    let socket = Booked::make(Kind::Peer, || Socket::new(domain, kind, Some(Protocol::TCP)))?;
    // If somebody listens, his program sees a client that is gone at once, and no late packets are
    // waited for.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// What has become of a connection; `None` while nothing has.
fn outcome(socket: &Booked<Socket>) -> Option<io::Result<()>> {
    let mut fds = [PollFd::new(&**socket, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&at_once)) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(socket.take_error().and_then(|error| error.map_or(Ok(()), Err))),
    }
}

fn is_answer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// Returns true if nobody has the address, as far as its neighbours can tell.
fn is_unreachable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::HostUnreachable
}
