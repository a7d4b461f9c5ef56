//! Messages over a Unix socket, some of which bring a descriptor with them. Never waits.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, recvmsg, sendmsg,
};

use super::link::{AT_ONCE, LinkError};
use super::outbox::push;
use super::port::{Listening, Stream};
use crate::sys::{Booked, Kind};
use crate::wire::Message;
use crate::wire::frame::{FrameBuffer, MAX_STRANGER_FRAME, put_frame};

/// How much is read at once: some dozens of the messages that are exchanged here.
const PIECE: usize = 1024;

/// One end of a connection at the desk.
pub(crate) struct Parcels {
    stream: Arc<Stream>,
    incoming: FrameBuffer,
    /// The descriptors that have come, for the messages that announce them.
    brought: VecDeque<Listening>,
    unsent: Vec<u8>,
}

impl Parcels {
    /// `incoming` is what has been read of the connection already.
    pub(crate) fn new(stream: Arc<Stream>, incoming: FrameBuffer) -> Self {
        Parcels { stream, incoming, brought: VecDeque::new(), unsent: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Returns the next message that has come; `None` if there is none yet.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, LinkError> {
        loop {
            let next = self.incoming.next(MAX_STRANGER_FRAME).map_err(LinkError::Malformed)?;
            if next.is_some() || !self.receive()? {
                return Ok(next);
            }
        }
    }

    /// Returns the descriptor that came with the message that was taken last.
    pub(crate) fn take_brought(&mut self) -> Option<Listening> {
        self.brought.pop_front()
    }

    /// Reads once. Returns false if nothing has come.
    fn receive(&mut self) -> Result<bool, LinkError> {
        if !self.stream.is_usable() {
            return Err(LinkError::Gone { reset: false });
        }
        let mut piece = [0; PIECE];
        let take = || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [io::IoSliceMut::new(&mut piece)];
            let flags = RecvFlags::DONTWAIT | CLOSED_ON_EXEC;
            let read = recvmsg(&**self.stream, &mut into, &mut control, flags)?;
            let brought = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.last(),
                _ => None,
            });
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            if let Some(brought) = &brought {
                rustix::io::fcntl_setfd(brought, rustix::io::FdFlags::CLOEXEC)?;
            }
            Ok((read.bytes, brought.map(TcpListener::from)))
        };
        match Booked::make_some(Kind::Shared, take) {
            Ok((0, _)) => Err(LinkError::Gone { reset: false }),
            Ok((count, brought)) => {
                self.incoming.push(&piece[..count]);
                self.brought.extend(brought);
                // One that announces each is still to be read; no honest end sends more.
                self.brought.truncate(1);
                Ok(true)
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => Ok(false),
                Some(Errno::INTR) => Ok(true),
                _ => Err(error.into()),
            },
        }
    }

    /// Sends what the kernel takes at once, and keeps the rest. If the other end is gone, so is all
    /// of it: whoever reads sees the end. Returns true if nothing is left.
    pub(crate) fn send(&mut self, message: impl Into<Message>) -> bool {
        put_frame(&message.into(), &mut self.unsent);
        self.flush()
    }

    /// Sends on what the kernel had no room for. Returns true if nothing is left.
    pub(crate) fn flush(&mut self) -> bool {
        push(&self.stream, &mut self.unsent);
        self.unsent.is_empty()
    }

    /// Sends a message and a descriptor with it. Returns false if the kernel does not take both at
    /// once: the connection is then of no more use.
    pub(crate) fn send_with(
        &mut self,
        message: impl Into<Message>,
        descriptor: BorrowedFd<'_>,
    ) -> bool {
        if !self.flush() || !self.stream.is_usable() {
            return false;
        }
        let mut frame = Vec::new();
        put_frame(&message.into(), &mut frame);
        let descriptors = [descriptor];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        loop {
            let sent =
                sendmsg(self.stream.as_fd(), &[io::IoSlice::new(&frame)], &mut control, AT_ONCE);
            match sent {
                Ok(count) => return count == frame.len(),
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::{FromAcceptor, ToAcceptor};

    fn pair() -> (Parcels, Parcels) {
        let (one, other) = Booked::pair(Kind::Peer, || {
            let (one, other) = UnixStream::pair()?;
            Ok((OwnedFd::from(one), OwnedFd::from(other)))
        })
        .unwrap();
        let end = |socket: Booked<OwnedFd>| {
            Parcels::new(Arc::new(socket.become_a::<TcpStream>()), FrameBuffer::default())
        };
        (end(one), end(other))
    }

    #[test]
    fn a_descriptor_comes_with_its_message() {
        let (mut one, mut other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(one.send(ToAcceptor::Turns { in_all: 1 }));
        assert!(one.send_with(ToAcceptor::Given {}, listener.as_fd()));
        assert!(one.send(ToAcceptor::Turns { in_all: 2 }));
        assert_eq!(other.next().unwrap(), Some(ToAcceptor::Turns { in_all: 1 }.into()));
        assert_eq!(other.next().unwrap(), Some(ToAcceptor::Given {}.into()));
        let brought = other.take_brought().unwrap();
        assert_eq!(brought.local_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(other.next().unwrap(), Some(ToAcceptor::Turns { in_all: 2 }.into()));
        assert!(other.take_brought().is_none());
        assert_eq!(other.next().unwrap(), None);
    }

    #[test]
    fn descriptors_that_no_message_announces_are_closed() {
        let (mut one, mut other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        for _ in 0..20 {
            assert!(one.send_with(FromAcceptor::NotShown {}, listener.as_fd()));
        }
        while other.next().unwrap().is_some() {}
        drop((one, listener, other));
        TcpStream::connect(at).expect_err("nobody keeps it");
    }

    #[test]
    fn the_end_is_seen_after_everything_that_was_said() {
        let (mut one, mut other) = pair();
        one.send(FromAcceptor::Shown {});
        drop(one);
        assert_eq!(other.next().unwrap(), Some(FromAcceptor::Shown {}.into()));
        assert!(matches!(other.next(), Err(LinkError::Gone { .. })));
    }
}
