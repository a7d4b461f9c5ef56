//! One request and its answer, over a connection that is kept or made for it.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddrV4};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::pool::Pool;
use crate::net::procs::obstacle::silence;
use crate::net::rt::lock::Mutex;
use crate::net::transport::handshake::{self, Denied, Pass};
use crate::net::transport::link::{Link, LinkError};
use crate::net::transport::port::{self, Stream};
use crate::state::obstacle::Obstacle;
use crate::sys::Kind;
use crate::wire::{Handshake, Message, Purpose};

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    Nobody,
    /// The other end was gone before it answered; it is safe to ask again.
    Lost,
    /// The other end was gone before it answered, and may have done what it was asked to.
    Unsure,
    Late,
    Denied(Obstacle),
    Nonsense,
    /// The instance that asks has left its group.
    Stopped,
    Io(io::Error),
}

/// Every connection that is in use or kept. A thread that waits for an answer can then be called
/// away.
#[derive(Default)]
pub(super) struct Exchanges {
    pub(super) pool: Pool,
    // Held to add or to end some, never while one is used.
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    open: Vec<Weak<Stream>>,
    stopped: bool,
}

impl Exchanges {
    /// Ends what is under way and lets nothing start.
    pub(super) fn stop(&self) {
        let mut connections = self.connections.lock();
        connections.stopped = true;
        for stream in connections.open.drain(..).filter_map(|stream| stream.upgrade()) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.connections.lock().stopped
    }

    /// Notes a connection, which can then be ended.
    fn begin(&self, stream: &Arc<Stream>) -> Result<(), Unanswered> {
        let mut connections = self.connections.lock();
        if connections.stopped {
            return Err(Unanswered::Stopped);
        }
        connections.open.retain(|stream| stream.strong_count() > 0);
        connections.open.push(Arc::downgrade(stream));
        Ok(())
    }

    /// Sends a request to a port and reads the first message of the answer.
    ///
    /// `owner` names whose port it is, for the pool. A kept connection that turns out dead is
    /// replaced if `again` says that the request may be sent twice.
    pub(super) fn ask(
        &self,
        pass: &Pass,
        (at, owner): (SocketAddrV4, &str),
        (purpose, request): (Purpose, Message),
        deadline: Instant,
        again: bool,
    ) -> Result<(Link, Message), Unanswered> {
        if let Some(mut link) = self.pool.take(at, owner, again) {
            let answer = link
                .write(std::slice::from_ref(&request), deadline)
                .and_then(|()| link.read(Some(deadline)));
            match answer {
                Ok(message) => return Ok((link, message)),
                Err(LinkError::Gone { .. }) if again => {}
                Err(error) => return Err(unanswered(error)),
            }
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        if timeout.is_zero() {
            return Err(Unanswered::Late);
        }
        let stream = match port::connect(at, Kind::Peer, timeout) {
            Ok(Some(stream)) => Arc::new(stream),
            Ok(None) => return Err(Unanswered::Nobody),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Unanswered::Denied(silence(at)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Unanswered::Lost);
            }
            Err(error) => return Err(Unanswered::Io(error)),
        };
        self.begin(&stream)?;
        let mut link =
            handshake::open(stream, pass, at, purpose, request, deadline).map_err(|denied| {
                match denied {
                    Denied::ClosedAtOnce => Unanswered::Lost,
                    Denied::Late => Unanswered::Denied(silence(at)),
                    Denied::Obstructed(obstacle) => Unanswered::Denied(obstacle),
                }
            })?;
        let answer = link.read(Some(deadline)).map_err(unanswered)?;
        Ok((link, answer))
    }
}

/// An answer of several messages: at hand, or still to be read.
pub(super) struct Answers {
    pub(super) at_hand: VecDeque<Message>,
    pub(super) link: Option<(SocketAddrV4, Link)>,
    pub(super) deadline: Instant,
}

impl Answers {
    pub(super) fn next(&mut self) -> Result<Message, Unanswered> {
        let message = match (self.at_hand.pop_front(), &mut self.link) {
            (Some(message), _) => message,
            (None, Some((_, link))) => link.read(Some(self.deadline)).map_err(unanswered)?,
            (None, None) => return Err(Unanswered::Nonsense),
        };
        match message {
            Message::Handshake(Handshake::Rejected { rejection }) => {
                Err(Unanswered::Denied(Obstacle::refused(&rejection)))
            }
            message => Ok(message),
        }
    }
}

fn unanswered(error: LinkError) -> Unanswered {
    match error {
        LinkError::Gone { .. } => Unanswered::Lost,
        LinkError::Late => Unanswered::Late,
        LinkError::Malformed(_) => Unanswered::Nonsense,
        LinkError::Io(error) => Unanswered::Io(error),
    }
}
