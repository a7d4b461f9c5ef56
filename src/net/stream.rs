//! Writing to a connection without ever waiting for whoever reads it.

use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// Gives the kernel as much of `unsent` as it takes at once; what it takes is gone from there. If the other end is gone,
/// so is all of it: whoever reads from the connection sees the end and does what is to be done.
pub(crate) fn push(stream: &TcpStream, unsent: &mut Vec<u8>) {
    let mut rest = &unsent[..];
    while !rest.is_empty() {
        match send(stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
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
