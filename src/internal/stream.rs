//! Streams of bytes and handshakes.

use core::net::IpAddr;

use super::{Choices, text};
use crate::wire::frame::{FrameBuffer, MAX_FRAME, MAX_STRANGER_FRAME, put_frame};
use crate::wire::proof::{Key, Meeting, Prover};
use crate::wire::{
    DecodeError, Handshake, MAGIC, Message, PROTOCOL_VERSION, Purpose, common_version,
};

/// Any bytes, in any pieces: never a panic, the same messages however cut, and what decodes encodes
/// back.
///
/// Input: which limit is in force, the number of cuts, the cuts, the stream.
pub fn fuzz_stream(input: &[u8]) {
    let mut choices = Choices(input);
    let max_body = if choices.byte() % 2 == 0 { MAX_FRAME } else { MAX_STRANGER_FRAME };
    let count = choices.below(16);
    let cuts: Vec<usize> = (0..count).map(|_| 1 + choices.below(255)).collect();
    let stream = choices.0;

    let (messages, outcome) = receive(stream, &[stream.len().max(1)], max_body);
    assert_eq!(receive(stream, &cuts, max_body), (messages.clone(), outcome), "cut at {cuts:?}");

    let mut again = Vec::new();
    messages.iter().for_each(|message| put_frame(message, &mut again));
    assert!(stream.starts_with(&again), "decoded, and encoded otherwise");
}

/// What comes out of `stream` if it arrives in pieces of these sizes, over and over.
fn receive(
    stream: &[u8],
    cuts: &[usize],
    max_body: usize,
) -> (Vec<Message>, Result<(), DecodeError>) {
    let mut buffer = FrameBuffer::default();
    let (mut messages, mut rest, mut received) = (Vec::new(), stream, 0);
    for &cut in if cuts.is_empty() { &[1] } else { cuts }.iter().cycle() {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        buffer.push(piece);
        received += piece.len();
        // A length is only a claim: nothing is kept for what has not arrived.
        assert!(
            buffer.capacity() <= 2 * received + 8,
            "{} bytes kept for {received}",
            buffer.capacity()
        );
        loop {
            match buffer.next(max_body) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    (messages, Ok(()))
}

/// Decodes all messages of `stream`, in pieces as a connection reads them, and appends them to
/// `out` encoded again; for the benches.
pub fn recode(stream: &[u8], out: &mut Vec<u8>) {
    let mut buffer = FrameBuffer::default();
    for piece in stream.chunks(4096) {
        buffer.push(piece);
        loop {
            match &buffer.next(MAX_FRAME) {
                Ok(Some(message)) => put_frame(message, out),
                Ok(None) => break,
                Err(error) => panic!("no stream of messages: {error}"),
            }
        }
    }
}

/// A proof is accepted in its own meeting and under its own key, and nowhere else.
///
/// Input: the fields of a meeting, a key, a change, an attacker's proof.
pub fn fuzz_handshake(input: &[u8]) {
    let mut choices = Choices(input);
    let key = Key(choices.array());
    let this = Meeting {
        purpose: [Purpose::Join, Purpose::Ask, Purpose::Call][choices.below(3)],
        version_min: choices.u16(),
        version_max: choices.u16(),
        version: choices.u16(),
        group: text(&mut choices),
        port: choices.u16(),
        client_nonce: choices.array(),
        server_nonce: choices.array(),
        ip: IpAddr::from(choices.array::<4>()),
    };
    let (prover, other_prover) = match choices.below(2) {
        0 => (Prover::Client, Prover::Server),
        _ => (Prover::Server, Prover::Client),
    };
    let proof = this.proof(&key, prover);
    assert!(this.check(&key, prover, &proof));
    assert!(!this.check(&key, other_prover, &proof), "reflected");

    let (mut other, mut other_key) = (this.clone(), key.clone());
    match choices.below(10) {
        0 => other_key = Key(choices.array()),
        1 => other.purpose = [Purpose::Join, Purpose::Ask, Purpose::Call][choices.below(3)],
        2 => other.version_min = choices.u16(),
        3 => other.version_max = choices.u16(),
        4 => other.version = choices.u16(),
        5 => other.group = text(&mut choices),
        6 => other.port = choices.u16(),
        7 => other.client_nonce = choices.array(),
        8 => other.ip = IpAddr::from(choices.array::<16>()),
        _ => other.server_nonce = choices.array(),
    }
    let same = (&other, &other_key) == (&this, &key);
    assert_eq!(other.check(&other_key, prover, &proof), same, "{other:?} for {this:?}");

    let invented = choices.array();
    assert_eq!(this.check(&key, prover, &invented), invented == proof);

    match common_version(this.version_min, this.version_max) {
        Some(version) => assert!((this.version_min..=this.version_max).contains(&version)),
        None => assert!(!(this.version_min..=this.version_max).contains(&PROTOCOL_VERSION)),
    }

    let opening = Message::Handshake(Handshake::Opening {
        magic: MAGIC,
        version_min: this.version_min,
        version_max: this.version_max,
        purpose: this.purpose,
        group: this.group,
        nonce: this.client_nonce,
    });
    let challenge = Message::Handshake(Handshake::Challenge {
        version: this.version,
        nonce: this.server_nonce,
        proof,
    });
    let sent = vec![opening, challenge, Message::Handshake(Handshake::Proof { proof })];
    let mut bytes = Vec::new();
    sent.iter().for_each(|message| put_frame(message, &mut bytes));
    assert_eq!(
        receive(&bytes, &[7], MAX_STRANGER_FRAME),
        (sent, Ok(())),
        "too large for a stranger"
    );
}
