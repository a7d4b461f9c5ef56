//! D-Bus by a client of its own: the crates that block read each message in three pieces, and those
//! that do not are asynchronous underneath. This one writes a message that was put together once
//! with one `write`, and reads what comes with one `read`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use crate::drive::{now, obey, say, timed, until_the_bench_ends};

const BUS: &str = "org.freedesktop.DBus";
const NAME: &str = "org.pares.Bench";

/// Types of messages.
const CALL: u8 = 1;
const REPLY: u8 = 2;
const SIGNAL: u8 = 4;

/// Header fields: their numbers, with the type of the value.
const PATH: (u8, u8) = (1, b'o');
const INTERFACE: (u8, u8) = (2, b's');
const MEMBER: (u8, u8) = (3, b's');
const REPLY_SERIAL: (u8, u8) = (5, b'u');
const DESTINATION: (u8, u8) = (6, b's');
const SENDER: u8 = 7;
const SIGNATURE: (u8, u8) = (8, b'g');

/// Where the serial number stands in a message.
const SERIAL: std::ops::Range<usize> = 8..12;

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A whole message with the serial number 0.
fn message(
    kind: u8,
    fields: &[((u8, u8), &str)],
    reply_to: Option<u32>,
    signature: &str,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend([0; 8]); // the serial number, and the length of the fields
    if let Some(serial) = reply_to {
        bytes.extend([REPLY_SERIAL.0, 1, REPLY_SERIAL.1, 0]);
        bytes.extend(serial.to_le_bytes());
    }
    for ((number, kind), value) in fields {
        pad(&mut bytes, 8);
        bytes.extend([*number, 1, *kind, 0]);
        put_text(&mut bytes, value);
    }
    if !signature.is_empty() {
        pad(&mut bytes, 8);
        bytes.extend([SIGNATURE.0, 1, SIGNATURE.1, 0, signature.len() as u8]);
        bytes.extend(signature.as_bytes());
        bytes.push(0);
    }
    let length = (bytes.len() - 16) as u32;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn call(destination: &str, member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
    let path = if destination == BUS { "/org/freedesktop/DBus" } else { "/" };
    let fields =
        [(PATH, path), (INTERFACE, destination), (MEMBER, member), (DESTINATION, destination)];
    message(CALL, &fields, None, signature, body)
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    texts.iter().for_each(|text| put_text(&mut body, text));
    body
}

/// A message as it lies in the buffer.
struct Received<'a> {
    kind: u8,
    serial: u32,
    reply_to: u32,
    member: &'a [u8],
    sender: &'a [u8],
    body: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

impl<'a> Received<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let (body_length, fields) = (number(bytes, 4), number(bytes, 12));
        let mut message = Received {
            kind: bytes[1],
            serial: number(bytes, 8) as u32,
            reply_to: 0,
            member: &[],
            sender: &[],
            body: &bytes[bytes.len() - body_length..],
        };
        let mut at = 16;
        while at < 16 + fields {
            at = at.next_multiple_of(8);
            let (field, kind) = (bytes[at], bytes[at + 2]);
            at += 4;
            match kind {
                b'u' => {
                    if field == REPLY_SERIAL.0 {
                        message.reply_to = number(bytes, at) as u32;
                    }
                    at += 4;
                }
                b'g' => at += usize::from(bytes[at]) + 2,
                _ => {
                    let length = number(bytes, at);
                    let text = &bytes[at + 4..at + 4 + length];
                    if field == MEMBER.0 {
                        message.member = text;
                    } else if field == SENDER {
                        message.sender = text;
                    }
                    at += 4 + length + 1;
                }
            }
        }
        message
    }
}

struct Bus {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// What is in the buffer, and how much of it has been taken out.
    filled: usize,
    taken: usize,
    serial: u32,
}

impl Bus {
    fn connect(path: &Path) -> Self {
        let mut stream = UnixStream::connect(path).expect("connect to the bus");
        // EXTERNAL: who we are, the bus knows from the kernel; an empty answer to its question says
        // just that.
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").expect("authenticate");
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") || !line.windows(3).any(|word| word == b"OK ") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("authenticate");
            line.push(byte[0]);
            assert!(!line.ends_with(b"REJECTED"), "the bus does not let us in");
        }
        let mut bus = Bus { stream, buffer: vec![0; 64 * 1024], filled: 0, taken: 0, serial: 0 };
        bus.ask(&mut call(BUS, "Hello", "", &[]));
        bus
    }

    fn send(&mut self, message: &mut [u8]) -> u32 {
        self.serial += 1;
        message[SERIAL].copy_from_slice(&self.serial.to_le_bytes());
        self.stream.write_all(message).expect("write to the bus");
        self.serial
    }

    fn receive(&mut self) -> Received<'_> {
        loop {
            let here = &self.buffer[self.taken..self.filled];
            if here.len() >= 16 {
                let length = (16 + number(here, 12)).next_multiple_of(8) + number(here, 4);
                if here.len() >= length {
                    let at = self.taken;
                    self.taken += length;
                    return Received::read(&self.buffer[at..at + length]);
                }
            }
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
            let count = self.stream.read(&mut self.buffer[self.filled..]).expect(
                "read from the \
                bus",
            );
            assert!(count > 0, "the bus has gone");
            self.filled += count;
        }
    }

    /// Sends a call and waits for its reply; gives how long that one's body was.
    fn ask(&mut self, message: &mut [u8]) -> usize {
        let serial = self.send(message);
        loop {
            let received = self.receive();
            if received.reply_to == serial {
                assert_eq!(received.kind, REPLY, "{}", String::from_utf8_lossy(received.body));
                return received.body.len();
            }
        }
    }

    fn request_name(&mut self) {
        let mut body = texts(&[NAME]);
        pad(&mut body, 4);
        body.extend(0u32.to_le_bytes()); // wait in the queue
        self.ask(&mut call(BUS, "RequestName", "su", &body));
    }
}

/// Waits in the name's queue, says when it has it.
pub(crate) fn queue(path: &Path) -> ! {
    let mut bus = Bus::connect(path);
    let mut body = texts(&[NAME]);
    pad(&mut body, 4);
    body.extend(0u32.to_le_bytes());
    let request = bus.send(&mut call(BUS, "RequestName", "su", &body));
    thread::spawn(move || {
        loop {
            let received = bus.receive();
            let at = now();
            if received.kind == SIGNAL
                && received.member == b"NameAcquired"
                && received.body[4..].starts_with(b"org.")
            {
                say("leader", at, 0);
            } else if received.reply_to == request {
                say("present", at, 0);
            }
        }
    });
    until_the_bench_ends()
}

/// One caller that does what the bench says.
pub(crate) fn caller(path: &Path) -> ! {
    let mut bus = Bus::connect(path);
    let mut owner = call(BUS, "GetNameOwner", "s", &texts(&[NAME]));
    let mut payload = 32u32.to_le_bytes().to_vec();
    payload.extend([1; 32]);
    let mut echo = call(NAME, "Echo", "ay", &payload);
    obey(|word, number| match word {
        "owner" => timed(number, || _ = bus.ask(&mut owner)),
        "call" => timed(number, || assert_eq!(bus.ask(&mut echo), payload.len())),
        other => panic!("{other:?} is no order"),
    })
}

/// Gives back to each caller what it has sent.
pub(crate) fn service(path: &Path) -> ! {
    let mut bus = Bus::connect(path);
    bus.request_name();
    say("ready", now(), 0);
    thread::spawn(move || {
        loop {
            let received = bus.receive();
            if received.kind == CALL {
                let sender = std::str::from_utf8(received.sender).expect("a name");
                let mut reply = message(
                    REPLY,
                    &[(DESTINATION, sender)],
                    Some(received.serial),
                    "ay",
                    received.body,
                );
                bus.send(&mut reply);
            }
        }
    });
    until_the_bench_ends()
}
