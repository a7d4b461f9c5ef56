//! One connection as messages: blocking, with deadlines, and closed in a way that delivers the last
//! message.

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::port::{Stream, is_gone};
use crate::sys::Booked;
use crate::wire::frame::{FrameBuffer, MAX_FRAME, MAX_STRANGER_FRAME, put_frame};
use crate::wire::proof::{Key, Meeting, Prover};
use crate::wire::route::FrameSeal;
use crate::wire::{DecodeError, Message};

/// Why no message came, or could not be sent. The connection is of no further use.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The other end is gone; `reset` if it did not even close.
    Gone { reset: bool },
    /// The deadline passed.
    Late,
    /// What came is no message.
    Malformed(DecodeError),
    /// The system refused.
    Io(io::Error),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if !is_gone(&error) => {
                LinkError::Late
            }
            kind if is_gone(&error) => {
                LinkError::Gone { reset: kind == io::ErrorKind::ConnectionReset }
            }
            _ => LinkError::Io(error),
        }
    }
}

/// How long a reader waits in `recv`, which takes one system call but does not wake if the program
/// closes the connection under it. After that it waits as all endless waits do, which takes one
/// call more.
const UNWATCHED: Duration = Duration::from_millis(200);

/// How much is read at once: more than most messages have. It lies on the stack of a thread that
/// has little else there, and there are thousands of them.
const PIECE: usize = 512;

/// The same where more is known to come: of a large message, or of many.
const LARGE_PIECE: usize = 16 << 10;

/// Without waiting, and without SIGPIPE if the other end is gone. Apple's systems have no such flag
/// but SO_NOSIGPIPE, which `socket2` sets on all sockets that it makes, and which accepted sockets
/// inherit from their listener.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const AT_ONCE: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
#[cfg(target_vendor = "apple")]
pub(crate) const AT_ONCE: SendFlags = SendFlags::DONTWAIT;

pub(crate) struct Link {
    /// Shared with threads that may have to end the connection under a blocked reader. A second
    /// descriptor would be too much: a supervisor of thousands needs one for each as it is.
    stream: Arc<Stream>,
    buffer: FrameBuffer,
    max_body: usize,
    /// The last read filled its piece: usually there is more.
    is_behind: bool,
    /// The socket's read timeout. Setting it is a system call, so a timeout that is close enough
    /// stays.
    timeout: Option<Duration>,
    /// Of a connection that leaves the machine: what closes its frames, and what opens them.
    seals: Option<Box<Seals>>,
}

struct Seals {
    outgoing: FrameSeal,
    incoming: FrameSeal,
}

impl Link {
    /// Makes a link to an end that has not proved anything yet: only small messages are read.
    pub(crate) fn to_stranger(stream: Arc<Stream>) -> Self {
        Link {
            stream,
            buffer: FrameBuffer::default(),
            max_body: MAX_STRANGER_FRAME,
            is_behind: false,
            timeout: None,
            seals: None,
        }
    }

    /// Notes that the other end has proved that it has the key.
    pub(crate) fn trust(&mut self) {
        self.max_body = MAX_FRAME;
    }

    /// From now on, each frame is sealed. `own` is this end.
    pub(crate) fn seal(&mut self, key: &Key, meeting: &Meeting, own: Prover) {
        let of = |sender| FrameSeal::new(key, &meeting.client_nonce, &meeting.server_nonce, sender);
        let (client, server) = (of(Prover::Client), of(Prover::Server));
        self.seals = Some(Box::new(match own {
            Prover::Client => Seals { outgoing: client, incoming: server },
            Prover::Server => Seals { outgoing: server, incoming: client },
        }));
    }

    /// Returns what closes the frames from now on, if anything does. Whoever takes it is the one
    /// that writes.
    pub(super) fn outgoing_seal(&self) -> Option<FrameSeal> {
        self.seals.as_ref().map(|seals| seals.outgoing.clone())
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Returns the connection, and what has been read of it and not taken.
    pub(crate) fn into_parts(self) -> (Arc<Stream>, FrameBuffer) {
        (self.stream, self.buffer)
    }

    /// Waits for the next message, without a deadline for as long as the connection lives.
    pub(crate) fn read(&mut self, deadline: Option<Instant>) -> Result<Message, LinkError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            // Anew before each piece: a peer that sends byte by byte gets no more time for it.
            let left = match deadline.map(remaining).transpose() {
                Ok(left) => left.unwrap_or(Duration::MAX),
                // Who was run too late to read in time may still find that the other end has
                // answered in time.
                Err(late) => return self.read_now()?.ok_or(late),
            };
            self.wait_at_most(left.min(UNWATCHED))?;
            // If nothing came, the time is up, or was shorter than need be: the deadline says
            // which.
            if !self.receive(RecvFlags::empty())? && left > UNWATCHED {
                await_ready(&self.stream, PollFlags::IN, deadline)?;
            }
        }
    }

    /// Returns the next message, if it has come: never waits.
    pub(crate) fn read_now(&mut self) -> Result<Option<Message>, LinkError> {
        let mut has_read = false;
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if has_read && !self.is_behind || !self.receive(RecvFlags::DONTWAIT)? {
                return Ok(None);
            }
            has_read = true;
        }
    }

    /// Reads once. Returns false if nothing came in time.
    fn receive(&mut self, flags: RecvFlags) -> Result<bool, LinkError> {
        let more = if self.is_behind { LARGE_PIECE } else { self.buffer.lacking() };
        // Of a stranger never more than one of its messages.
        match more.min(LARGE_PIECE).min(self.max_body) {
            ..=PIECE => self.receive_into(&mut [0; PIECE], flags),
            more => self.receive_into(&mut vec![0; more], flags),
        }
    }

    fn receive_into(&mut self, piece: &mut [u8], flags: RecvFlags) -> Result<bool, LinkError> {
        usable(&self.stream)?;
        match recv(&**self.stream, &mut *piece, flags) {
            Ok((_, 0)) => Err(LinkError::Gone { reset: false }),
            Ok((_, count)) => {
                self.is_behind = count == piece.len();
                self.buffer.push(&piece[..count]);
                Ok(true)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true), // a signal of the program's: whoever reads tries again
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn buffered(&mut self) -> Result<Option<Message>, LinkError> {
        let message = match &mut self.seals {
            None => self.buffer.next(self.max_body),
            Some(seals) => match self.buffer.next_body(self.max_body) {
                Ok(body) => body.map(|body| seals.incoming.open(body)).transpose(),
                Err(error) => Err(error),
            },
        };
        let message = message.map_err(LinkError::Malformed)?;
        message.iter().for_each(|message| log::trace!("<- {}", message.name()));
        Ok(message)
    }

    /// Returns true if everything that was read has been taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Limits how long a read waits. A timeout of about that length, left by the last question, is
    /// as good: a shorter one leads to another look at the deadline, and the kernel's clock for
    /// these ticks in milliseconds anyway.
    fn wait_at_most(&mut self, left: Duration) -> io::Result<()> {
        let is_near = |present| present >= left / 2 && present <= left + left / 256;
        if !self.timeout.is_some_and(is_near) {
            usable(&self.stream)?;
            self.stream.set_read_timeout(Some(left))?;
            self.timeout = Some(left);
        }
        Ok(())
    }

    /// Sends the messages with one write, and waits until `deadline` at most for an end that does
    /// not read.
    pub(crate) fn write(
        &mut self,
        messages: &[Message],
        deadline: Instant,
    ) -> Result<(), LinkError> {
        let mut bytes = Vec::with_capacity(256);
        for message in messages {
            log::trace!("-> {}", message.name());
            match &mut self.seals {
                None => put_frame(message, &mut bytes),
                Some(seals) => seals.outgoing.put_frame(message, &mut bytes),
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            usable(&self.stream)?;
            // The kernel has room, as a rule: then there is nothing to wait for, and no timeout to
            // be set.
            match send(&**self.stream, rest, AT_ONCE) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => await_ready(&self.stream, PollFlags::OUT, Some(deadline))?,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Returns true if the other end has closed, or has said something unasked: the connection must
    /// not be used again.
    pub(crate) fn is_stale(&self) -> bool {
        !self.buffer.is_empty() || !self.stream.is_usable() || has_input(&self.stream)
    }

    /// Sends a last message and closes in a way that delivers it.
    ///
    /// A socket closed with unread bytes resets the connection, and the reset can overtake the
    /// message. What the other end sends is therefore read away first, for a moment and up to a
    /// size.
    pub(crate) fn close_with(mut self, message: &Message) {
        let deadline = Instant::now() + Duration::from_millis(200);
        if self.write(std::slice::from_ref(message), deadline).is_err() {
            return;
        }
        _ = self.stream.shutdown(Shutdown::Write);
        let mut piece = [0; PIECE];
        for _ in 0..64 {
            let Ok(left) = remaining(deadline) else { return };
            _ = self.stream.set_read_timeout(Some(left));
            if matches!((&**self.stream).read(&mut piece), Ok(0) | Err(_)) {
                return;
            }
        }
    }
}

/// A source of messages.
pub(crate) trait Source {
    /// Waits for the next message, without a deadline for as long as the connection lives.
    fn read(&mut self, deadline: Option<Instant>) -> Result<Message, LinkError>;
    /// Returns true if something has come that is not read yet.
    fn is_stale(&self) -> bool;
    fn stream(&self) -> &Arc<Stream>;
}

impl Source for Link {
    fn read(&mut self, deadline: Option<Instant>) -> Result<Message, LinkError> {
        self.read(deadline)
    }

    fn is_stale(&self) -> bool {
        self.is_stale()
    }

    fn stream(&self) -> &Arc<Stream> {
        self.stream()
    }
}

/// Returns an error once the program is known to have closed the connection.
fn usable(stream: &Stream) -> io::Result<()> {
    if stream.is_usable() { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
}

/// Waits until the kernel takes more, or has something, or the connection has ended: the next
/// attempt tells which.
pub(crate) fn await_ready<T: AsRawFd + AsFd>(
    what: &Booked<T>,
    flags: PollFlags,
    deadline: Option<Instant>,
) -> Result<(), LinkError> {
    let timeout = deadline.map(remaining).transpose()?;
    let mut fds = Vec::with_capacity(2);
    fds.push(PollFd::new(what, flags));
    match what.poll(&mut fds, timeout) {
        Ok(()) if !what.is_usable() => Err(LinkError::Gone { reset: false }),
        Ok(()) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ }
}

/// Returns the time left until `deadline`; never zero, which would mean "no timeout" to the socket.
pub(crate) fn remaining(deadline: Instant) -> Result<Duration, LinkError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(LinkError::Late) } else { Ok(left.max(Duration::from_micros(1))) }
}

/// Waits up to `wait` for the other end to close. Returns true if it has. Unread bytes before the
/// end do not hide it.
pub(crate) fn has_ended(stream: &TcpStream, wait: Duration) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = PollFlags::RDHUP;
    // Elsewhere the end of the stream shows as readable; a look at the bytes tells it from a
    // message.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let interest = PollFlags::IN;
    let mut fds = [PollFd::new(stream, interest)];
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) => return false,
            Ok(_) => break,
            Err(Errno::INTR) => {} // a signal of the program's: the wait goes on
            Err(_) => return false,
        }
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
            || matches!(stream.peek(&mut [0]), Ok(0))
    }
}

/// Returns true if a read would not wait: there are bytes, or the end.
pub(crate) fn has_input(stream: &TcpStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap_or(0) > 0
}
