//! Netlink: what the kernel is asked for and told that `std` has no word for.
//!
//! Written here, because no kept crate has all of it: the packet filter's `fwd`, `dynset` and
//! `numgen` expressions and its element updates, and filtered dumps of sockets. The format is in
//! the kernel's `Documentation/userspace-api/netlink/intro.rst`; the numbers are in the headers of
//! `include/uapi/linux` that the constants name.

pub(crate) mod address;
pub(crate) mod diag;
pub(crate) mod nftables;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with, sockopt,
};

use crate::sys::{Booked, Kind};

// netlink.h
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
const KIND_BITS: u16 = 0x3fff;

const HEADER: usize = 16;
const ALIGNMENT: usize = 4;

/// The kernel takes a batch in one datagram; 100,000 connections take 8 MB.
const SEND_BUFFER: usize = 64 << 20;

/// Messages under construction, in the order in which the kernel handles them.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    count: u32,
}

impl Messages {
    /// Appends a message. `head` is the fixed part that its kind of message begins with. Returns
    /// the message's number, by which [`Netlink::tell`] names it.
    fn message(&mut self, kind: u16, flags: u16, head: &[u8], body: impl FnOnce(&mut Self)) -> u32 {
        let (begin, number) = (self.bytes.len(), self.count);
        self.count += 1;
        self.bytes.extend_from_slice(&[0; 4]); // its length, below
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]); // to the kernel
        self.bytes.extend_from_slice(head);
        self.pad();
        body(self);
        let length = u32::try_from(self.bytes.len() - begin).expect("a message is small");
        self.bytes[begin..begin + 4].copy_from_slice(&length.to_ne_bytes());
        number
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.begin_attribute(kind, |inside| inside.bytes.extend_from_slice(value));
    }

    /// A number in network byte order, as the packet filter has them.
    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.begin_attribute(kind, |inside| {
            inside.bytes.extend_from_slice(text.as_bytes());
            inside.bytes.push(0);
        });
    }

    fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.begin_attribute(kind | NESTED, body);
    }

    fn begin_attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]); // its length, below
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        let length = u16::try_from(self.bytes.len() - begin).expect("an attribute is small");
        self.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// A message from the kernel.
struct Incoming<'a> {
    kind: u16,
    flags: u16,
    number: u32,
    body: &'a [u8],
}

/// The messages of a datagram. Bytes that are none end the sequence.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Incoming<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(array(bytes, 0)?) as usize;
        let message = bytes.get(..length)?;
        let body = message.get(HEADER..)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Incoming {
            kind: u16::from_ne_bytes(array(message, 4)?),
            flags: u16::from_ne_bytes(array(message, 6)?),
            number: u32::from_ne_bytes(array(message, 8)?),
            body,
        })
    })
}

/// The attributes in a message or in another attribute. Bytes that are none end the sequence.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(array(bytes, 0)?));
        let value = bytes.get(4..length)?;
        let kind = u16::from_ne_bytes(array(bytes, 2)?) & KIND_BITS;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(its, value)| (its == kind).then_some(value))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// An address as the kernel has it: the number of its family, and its bytes.
fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    (family as u8, octets(address))
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address that has these bytes; `None` if they are too many or too few for any.
pub(crate) fn address_of(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// What the kernel refused: the number of the message, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) number: u32,
    pub(crate) error: io::Error,
}

/// What the kernel answered to [`Netlink::dump`].
#[derive(Default)]
struct Dump(Vec<u8>);

impl Dump {
    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        messages(&self.0).map(|answer| answer.body)
    }
}

/// A connection to one of the kernel's subsystems, in the network namespace of the thread that
/// opened it.
pub(crate) struct Netlink {
    socket: Booked<OwnedFd>,
    /// What was received last.
    buffer: Vec<u8>,
}

impl Netlink {
    /// `None` is the routing subsystem, whose number is 0.
    fn open(subsystem: Option<Protocol>) -> io::Result<Self> {
        Self::open_for(subsystem, 0)
    }

    /// One that also hears the notices of these groups, a bit each.
    fn open_for(subsystem: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let kind = SocketType::RAW;
        let socket = Booked::make(Kind::Own, || Ok(socket_with(family, kind, flags, subsystem)?))?;
        bind(&*socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Netlink { socket, buffer: vec![0; 32 << 10] })
    }

    /// Tells the kernel all of it in one datagram. When this returns, the kernel has handled it.
    /// Returns the messages that it has refused.
    fn tell(&mut self, messages: &Messages) -> io::Result<Vec<Refused>> {
        let sent = match send(&*self.socket, &messages.bytes, SendFlags::empty()) {
            Err(rustix::io::Errno::MSGSIZE | rustix::io::Errno::NOBUFS) => {
                sockopt::set_socket_send_buffer_size_force(&*self.socket, SEND_BUFFER)?;
                send(&*self.socket, &messages.bytes, SendFlags::empty())?
            }
            sent => sent?,
        };
        debug_assert_eq!(sent, messages.bytes.len(), "a datagram is sent whole");
        let mut refused = Vec::new();
        while let Some(datagram) = self.receive(RecvFlags::DONTWAIT)? {
            refused.extend(self::messages(datagram).filter_map(|answer| refusal(&answer)));
        }
        Ok(refused)
    }

    /// Asks for all there is of what the one message says. Returns the bodies of the answers, as of
    /// one moment: what changed meanwhile is asked for anew.
    fn dump(&mut self, question: &Messages) -> io::Result<Dump> {
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            if let Some(dump) = self.try_dump(question)? {
                return Ok(dump);
            }
        }
        Err(io::Error::other("what the kernel was asked for never stands still"))
    }

    /// Returns `None` if something changed meanwhile.
    fn try_dump(&mut self, question: &Messages) -> io::Result<Option<Dump>> {
        send(&*self.socket, &question.bytes, SendFlags::empty())?;
        let (mut dump, mut interrupted) = (Dump::default(), false);
        loop {
            let datagram = self.receive(RecvFlags::empty())?.unwrap_or_default();
            for answer in messages(datagram) {
                interrupted |= answer.flags & DUMP_INTERRUPTED != 0;
                match answer.kind {
                    DONE => return Ok((!interrupted).then_some(dump)),
                    ERROR => return Err(refusal(&answer).map_or_else(ended, |one| one.error)),
                    _ => {}
                }
            }
            dump.0.extend_from_slice(datagram);
        }
    }

    /// Receives one datagram; `None` if there is none and `flags` say not to wait.
    fn receive(&mut self, flags: RecvFlags) -> io::Result<Option<&[u8]>> {
        let whole = RecvFlags::PEEK | RecvFlags::TRUNC | flags;
        let length = loop {
            match recv(&*self.socket, &mut [0u8; 0][..], whole) {
                Ok((_, length)) => break length,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let (length, _) = recv(&*self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)?;
        Ok(Some(&self.buffer[..length]))
    }
}

fn ended() -> io::Error {
    io::Error::other("the kernel ended its answer without a word")
}

/// What an answer refuses. An error with the number 0 is an acknowledgement.
fn refusal(answer: &Incoming<'_>) -> Option<Refused> {
    let error = i32::from_ne_bytes(array(answer.body, 0)?);
    let refused = answer.kind == ERROR && error != 0;
    refused.then(|| Refused {
        number: answer.number,
        error: io::Error::from_raw_os_error(error.wrapping_neg()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut written = Messages::default();
        written.message(7, ACK, &[1, 2, 3], |message| {
            message.text(1, "name");
            message.nest(2, |inside| inside.number(3, 0x0102_0304));
        });
        written.message(8, 0, &[], |_| {});
        assert_eq!(written.bytes.len() % ALIGNMENT, 0);
        let read: Vec<Incoming<'_>> = messages(&written.bytes).collect();
        assert_eq!(
            read.iter().map(|one| (one.kind, one.number)).collect::<Vec<_>>(),
            [(7, 0), (8, 1)]
        );
        assert_eq!(read[0].flags, ACK | REQUEST);
        let body = &read[0].body[4..];
        assert_eq!(attribute(body, 1), Some(&b"name\0"[..]));
        let inside = attribute(body, 2).unwrap();
        assert_eq!(attributes(inside).collect::<Vec<_>>(), [(3, &[1, 2, 3, 4][..])]);
    }

    #[test]
    fn bytes_that_are_no_message_end_the_sequence() {
        let mut written = Messages::default();
        written.message(7, 0, &[0; 4], |message| message.nest(2, |inside| inside.number(3, 4)));
        let bytes = written.bytes;
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0, "{end}");
            assert!(attributes(&bytes[..end]).count() <= end / 4);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                for message in messages(&wrong) {
                    attributes(message.body).for_each(|(_, value)| {
                        attributes(value).for_each(drop);
                    });
                }
            }
        }
    }
}
