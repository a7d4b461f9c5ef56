//! Getting a role: trying the port, keeping a term, connecting, waiting.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::super::claim::claim;
use super::super::lifeline::Lifeline;
use super::super::presence::{PresenceState, Wait};
use super::Duty;
use crate::config::{CROWD, HANDSHAKE_TIMEOUT, REAP_WAIT, SURVIVOR_PATIENCE};
use crate::net::procs::obstacle;
use crate::net::rt::clock;
use crate::net::transport::handshake::{self, Denied};
use crate::net::transport::link::{Link, LinkError, has_ended};
use crate::net::transport::port::{self, Stream};
use crate::state::member::{Heard, Member, Outcome};
use crate::state::obstacle::Obstacle;
use crate::sys::{self, tripwire};
use crate::wire::{Handshake, Message, Purpose};

/// How long to wait, at most, to see whether a process listens on the port. The kernel answers at
/// once, unless its queue is full.
const KNOCK_TIMEOUT: Duration = Duration::from_millis(1);

impl Duty {
    /// Looks whether the supervisor with this admin endpoint lives, when that is uncertain.
    pub(super) fn look_after(&self, admin_port: u16) -> Outcome {
        Outcome::LookedAfter { lives: lives(admin_port) }
    }

    /// Claims the port, and reads the last term.
    pub(super) fn try_port(&mut self) -> Outcome {
        tripwire::look(); // an instance that nobody can reach must not claim it
        if self.halting() {
            return Outcome::Halted;
        }
        let few =
            |member: &Member| member.known().is_some_and(|known| (known.members as usize) < CROWD);
        if !self.shared.holding.look(few) && self.knock() {
            return Outcome::PortTaken;
        }
        match claim(&self.shared) {
            Ok(claim) => {
                let last = claim.last.clone();
                self.claim = Some(claim);
                Outcome::PortClaimed { last }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Outcome::PortTaken,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Outcome::Obstructed(Obstacle::PortForbidden)
            }
            Err(error) => Outcome::Obstructed(system("become supervisor", &error)),
        }
    }

    /// Returns true if a process listens on the port. The connection is kept for when it is wanted.
    ///
    /// Binding would tell, too. But for that the kernel goes through all connections of the port,
    /// those of the dead supervisor included, one by one under a lock: among thousands of survivors
    /// each would pay for all others. Few survivors are done sooner without it, and a joining
    /// instance usually finds a supervisor there.
    fn knock(&mut self) -> bool {
        match port::connect(self.shared.at, sys::Kind::Lifeline, KNOCK_TIMEOUT) {
            Ok(stream) => self.knocked = stream,
            // So many connect that its queue is full.
            Err(error) => return error.kind() == io::ErrorKind::TimedOut,
        }
        self.knocked.is_some()
    }

    /// Connects. An instance that is told to leave does not wait for a place in the queue.
    fn connect_in_turn(&self, timeout: Duration) -> io::Result<Option<Stream>> {
        let halted = |inside: &mut PresenceState| inside.halting.then_some(());
        let pause = |time| self.shared.presence.wait(Some(Instant::now() + time), halted).is_none();
        port::connect_with(self.shared.at, sys::Kind::Lifeline, timeout, pause)
    }

    /// Keeps the term in which this instance is about to supervise.
    pub(super) fn keep(&self, term: u64) -> Outcome {
        let kept = self.shared.terms().begin(term);
        if let (Ok(()), Some(Err(error))) = (&kept, self.claim.as_ref().map(|claim| &claim.last)) {
            log::warn!(
                "{}: {}; wrote term {term}, which this instance knows",
                self.shared.me.name,
                error.finding()
            );
        }
        Outcome::Kept(kept)
    }

    /// Connects, proves itself, says hello and reads the welcome.
    pub(super) fn connect(&mut self) -> Outcome {
        let shared = self.shared.clone();
        let deadline = shared.holding.look(Member::deadline);
        let left = deadline.map(|deadline| deadline.saturating_sub(clock::now()));
        let timeout = match left {
            Some(left) => HANDSHAKE_TIMEOUT.min(left).max(Duration::from_millis(1)),
            None => SURVIVOR_PATIENCE,
        };
        let deadline = Instant::now() + timeout;
        // By then it has proved to be a supervisor: one that is busy with thousands of others, or
        // starved, or stopped, is waited for like one that has welcomed us. To begin anew would
        // only add to its work, and let it see us die meanwhile.
        let welcome_deadline = left.map(|left| Instant::now() + left.max(timeout));
        let connected = match self.knocked.take() {
            Some(stream) => Ok(Some(stream)),
            None => self.connect_in_turn(timeout),
        };
        let stream = match connected {
            _ if self.halting() => return Outcome::Halted,
            Ok(Some(stream)) => Arc::new(stream),
            Ok(None) => return Outcome::NobodyThere,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Outcome::Obstructed(obstacle::silence(shared.at));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Outcome::ClosedAtOnce;
            }
            Err(error) => return Outcome::Obstructed(system("connect to the supervisor", &error)),
        };
        if !self.wait_on(Wait::Stream(stream.clone())) {
            return Outcome::Halted;
        }
        let hello = shared.holding.hello().into_message();
        let opened =
            handshake::open(stream, &shared.pass, shared.at, Purpose::Join, hello, deadline);
        let result = opened.and_then(|mut link| {
            loop {
                let answer = link.read(welcome_deadline).map_err(|error| match error {
                    LinkError::Gone { .. } => Denied::ClosedAtOnce,
                    LinkError::Late => Denied::Obstructed(Obstacle::Silent),
                    LinkError::Malformed(_) => Denied::Obstructed(Obstacle::NotPares),
                    LinkError::Io(error) => Denied::Obstructed(system("join", &error)),
                })?;
                if let Heard::Answer(answer) = shared.holding.hear(answer) {
                    return Ok((link, answer));
                }
            }
        });
        let halting = !self.wait_on(Wait::Bell);
        let outcome = self.joined(halting, result);
        if !matches!(outcome, Outcome::Answered(_)) {
            shared.holding.lost();
        }
        outcome
    }

    fn joined(&mut self, halting: bool, result: Result<(Link, Message), Denied>) -> Outcome {
        match result {
            _ if halting => Outcome::Halted,
            Ok((_, Message::Handshake(Handshake::Rejected { rejection }))) => {
                Outcome::Obstructed(Obstacle::refused(&rejection))
            }
            Ok((link, answer)) => {
                self.lifeline = Some(Arc::new(Lifeline::new(link)));
                Outcome::Answered(answer)
            }
            Err(Denied::ClosedAtOnce) => Outcome::ClosedAtOnce,
            Err(Denied::Late) => Outcome::Obstructed(obstacle::silence(self.shared.at)),
            Err(Denied::Obstructed(obstacle)) => Outcome::Obstructed(obstacle),
        }
    }

    pub(super) fn wait(&mut self, time: Duration) -> Outcome {
        self.claim = None; // others may have the port meanwhile
        let halted = self
            .shared
            .presence
            .wait(Some(Instant::now() + time), |inside| inside.halting.then_some(()));
        if halted.is_some() { Outcome::Halted } else { Outcome::Waited }
    }
}

/// Returns whether the process with this admin endpoint lives. A dying process closes it within
/// milliseconds of its other connections, so one that still answers is watched for a while.
fn lives(admin_port: u16) -> bool {
    match port::connect(port::here(admin_port), sys::Kind::Peer, REAP_WAIT) {
        Ok(None) => false,
        Ok(Some(stream)) => !has_ended(&stream, REAP_WAIT),
        Err(error) => !port::is_gone(&error),
    }
}

fn system(doing: &'static str, error: &io::Error) -> Obstacle {
    Obstacle::System { doing, errno: Errno::from_io_error(error).map_or(0, Errno::raw_os_error) }
}
