//! Writes to a connection without ever waiting for its reader.

use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::send;

use super::link::{AT_ONCE, Link};
use super::port::Stream;
use crate::net::rt::lock::Mutex;
use crate::wire::Message;
use crate::wire::frame::put_frame;
use crate::wire::route::FrameSeal;

/// The messages on their way to one connection. A thread that puts something in flushes it, then or
/// later: the first thread that flushes sends all of it, in the order in which it was put.
pub(crate) struct Outbox {
    stream: Arc<Stream>,
    // Its own lock, so that sending needs no other. Held for a send that does not wait, and with it
    // for whatever the kernel does to deliver.
    unsent: Mutex<Unsent>,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    seal: Option<FrameSeal>,
}

impl Outbox {
    /// For a connection that does not leave the machine.
    pub(crate) fn plain(stream: Arc<Stream>) -> Self {
        Outbox::new(stream, None)
    }

    fn new(stream: Arc<Stream>, seal: Option<FrameSeal>) -> Self {
        Outbox { stream, unsent: Mutex::new(Unsent { bytes: Vec::new(), seal }) }
    }

    /// For all further messages of a connection.
    #[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
    pub(crate) fn of(link: &Link) -> Self {
        Outbox::new(link.stream().clone(), link.outgoing_seal())
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub(crate) fn put(&self, bytes: &[u8]) {
        self.unsent.lock().bytes.extend_from_slice(bytes);
    }

    pub(crate) fn put_frame(&self, message: &Message) {
        let Unsent { bytes, seal } = &mut *self.unsent.lock();
        match seal {
            None => put_frame(message, bytes),
            Some(seal) => seal.put_frame(message, bytes),
        }
    }

    /// Passes to the kernel what it takes at once. Returns false if something is left.
    pub(crate) fn flush(&self) -> bool {
        let mut unsent = self.unsent.lock();
        push(&self.stream, &mut unsent.bytes);
        unsent.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.unsent.lock().bytes.len()
    }

    pub(crate) fn clear(&self) {
        self.unsent.lock().bytes.clear();
    }
}

/// Passes to the kernel as much of `unsent` as it takes at once, and removes that. If the other end
/// is gone, so is all of it: the thread that reads from the connection sees the end and does what
/// is to be done.
pub(crate) fn push(stream: &Stream, unsent: &mut Vec<u8>) {
    let mut rest = &unsent[..];
    if !stream.is_usable() {
        rest = &[];
    }
    while !rest.is_empty() {
        match send(&**stream, rest, AT_ONCE) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_) => rest = &[],
        }
    }
    let sent = unsent.len() - rest.len();
    unsent.drain(..sent);
    if unsent.is_empty() {
        // What was large once must not stay.
        unsent.shrink_to(256);
    }
}
