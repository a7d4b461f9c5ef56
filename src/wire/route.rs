//! Between the routers and targets of a routed service: their values, the keys of connections, and
//! the seal of each frame.
//!
//! A connection to a router begins as every connection, with a handshake. That proves who is at the
//! other end when it begins. This connection leaves the machine, where others can write into it, so
//! each later frame's body ends with a tag: HMAC-SHA256 (RFC 2104) over `direction: u8`, `frame
//! number: u64` and the body before it, its first 16 bytes. The key is HMAC-SHA256 under the
//! group's key over `"pares route frames"` and the nonces of the client and the server. Nothing is
//! encrypted.
//!
//! Keys of connections are packed: the client's 4 or 16 bytes, its port in 2, and in 1 the number
//! that the kernel has for the connection's state. The service says which family they are of.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::field::{Field, Payload, Reader, record};
use super::frame::put_frame_with;
use super::proof::{Key, Prover};
use super::{DecodeError, Message, Nonce, PeerId};

/// The most keys in one message: 57 KiB, over IPv6 152 KiB.
pub(crate) const MAX_KEYS: usize = 8192;

impl Field for IpAddr {
    const LEAST: usize = 5;
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            IpAddr::V4(address) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.push(6);
                out.extend_from_slice(&address.octets());
            }
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(reader)? {
            4 => <[u8; 4]>::take(reader).map(IpAddr::from),
            6 => <[u8; 16]>::take(reader).map(IpAddr::from),
            _ => Err(DecodeError::BadValue("family")),
        }
    }
}

impl Field for SocketAddr {
    const LEAST: usize = IpAddr::LEAST + 2;
    fn put(&self, out: &mut Vec<u8>) {
        self.ip().put(out);
        self.port().put(out);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(SocketAddr::new(Field::take(reader)?, Field::take(reader)?))
    }
}

record! {
    /// The token under which a router owns a service's addresses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RouteToken {
        pub(crate) epoch: u64,
        pub(crate) id: PeerId,
    }
}

record! {
    /// Where a router sends packets for this host.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Host {
        pub(crate) v4: Option<IpAddr>,
        pub(crate) v6: Option<IpAddr>,
        pub(crate) mac: [u8; 6],
    }
}

impl Host {
    /// Returns its address of the family of `like`.
    pub(crate) fn like(&self, like: IpAddr) -> Option<IpAddr> {
        if like.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// Returns one of its addresses, for people.
    pub(crate) fn any(&self) -> IpAddr {
        self.v4.or(self.v6).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.like(address) == Some(address)
    }

    /// Returns true if both are the same host: they share an address.
    pub(crate) fn is(&self, other: &Host) -> bool {
        let same = |one: Option<IpAddr>, other| one.is_some() && one == other;
        same(self.v4, other.v4) || same(self.v6, other.v6)
    }
}

record! {
    /// What a router says of itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RouterNow {
        /// It owns the addresses.
        pub(crate) owns: Option<RouteToken>,
    }
}

record! {
    /// What a target says of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct TargetState {
        /// A bit for each service of the router, in its order, that has a listener here.
        pub(crate) listening: u64,
        /// It takes new connections.
        pub(crate) fit: bool,
        pub(crate) connections: u32,
    }
}

/// What a packet names a connection by, to one service: the client.
pub(crate) type Keys = Vec<(SocketAddr, u8)>;

pub(crate) fn pack(keys: &[(SocketAddr, u8)]) -> Payload {
    let mut bytes = Vec::with_capacity(keys.len() * 19);
    for (client, state) in keys {
        match client.ip() {
            IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
        }
        bytes.extend_from_slice(&client.port().to_be_bytes());
        bytes.push(*state);
    }
    Payload(bytes)
}

/// Reads the keys of a service's connections.
pub(crate) fn unpack(keys: &Payload, service: SocketAddr) -> Result<Keys, DecodeError> {
    let width = if service.is_ipv4() { 4 } else { 16 };
    let mut reader = Reader::new(&keys.0);
    let count = keys.0.len() / (width + 3);
    if count > MAX_KEYS {
        return Err(DecodeError::BadValue("count of keys"));
    }
    let read = (0..count)
        .map(|_| {
            let address = match width {
                4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::take(&mut reader)?)),
                _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::take(&mut reader)?)),
            };
            Ok((SocketAddr::new(address, Field::take(&mut reader)?), u8::take(&mut reader)?))
        })
        .collect::<Result<Keys, DecodeError>>()?;
    reader.finish()?;
    Ok(read)
}

const TAG: usize = 16;

/// Seals the frames of one direction of one connection, or opens them.
#[derive(Clone)]
pub(crate) struct FrameSeal {
    keyed: Hmac<Sha256>,
    sender: Prover,
    frames: u64,
}

impl FrameSeal {
    /// For the frames of `sender` on the connection that began with these nonces.
    pub(crate) fn new(key: &Key, client: &Nonce, server: &Nonce, sender: Prover) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
        let mut derived = keyed(&key.0);
        derived.update(b"pares route frames");
        derived.update(client);
        derived.update(server);
        FrameSeal { keyed: keyed(&derived.finalize().into_bytes()), sender, frames: 0 }
    }

    /// Appends `message` to `out` as one frame with its tag.
    pub(crate) fn put_frame(&mut self, message: &Message, out: &mut Vec<u8>) {
        put_frame_with(out, |out| {
            let start = out.len();
            message.put(out);
            let tag = self.next(&out[start..]).finalize().into_bytes();
            out.extend_from_slice(&tag[..TAG]);
        });
    }

    /// Reads the body of the next frame.
    pub(crate) fn open(&mut self, body: &[u8]) -> Result<Message, DecodeError> {
        let (content, tag) = body.split_last_chunk::<TAG>().ok_or(DecodeError::Truncated)?;
        let expected = self.next(content);
        expected.verify_truncated_left(tag).map_err(|_| DecodeError::WrongSeal)?;
        Message::decode(content)
    }

    fn next(&mut self, content: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(&[self.sender as u8]);
        mac.update(&self.frames.to_be_bytes());
        mac.update(content);
        self.frames += 1;
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameBuffer, MAX_FRAME};
    use super::super::{FromAgent, ToAgent};
    use super::*;

    const KEY: Key = Key([7; 32]);

    fn seal(sender: Prover) -> FrameSeal {
        FrameSeal::new(&KEY, &[1; 32], &[2; 32], sender)
    }

    fn body(message: &Message, seal: &mut FrameSeal) -> Vec<u8> {
        let mut stream = Vec::new();
        seal.put_frame(message, &mut stream);
        let mut frames = FrameBuffer::default();
        frames.push(&stream);
        frames.next_body(MAX_FRAME).unwrap().unwrap().to_vec()
    }

    #[test]
    fn frames_open_in_their_order_and_only_at_the_other_end_of_their_connection() {
        let messages = [1, 2].map(|number| Message::from(ToAgent::Report { number }));
        let mut sender = seal(Prover::Server);
        let bodies = messages.each_ref().map(|message| body(message, &mut sender));

        let mut receiver = seal(Prover::Server);
        assert_eq!(receiver.open(&bodies[0]), Ok(messages[0].clone()));
        assert_eq!(receiver.open(&bodies[1]), Ok(messages[1].clone()));

        let wrong = Err(DecodeError::WrongSeal);
        assert_eq!(receiver.open(&bodies[1]), wrong, "repeated");
        assert_eq!(seal(Prover::Server).open(&bodies[1]), wrong, "one is missing before it");
        assert_eq!(seal(Prover::Client).open(&bodies[0]), wrong, "the other direction");
        for (key, client, server) in [(Key([8; 32]), 1, 2), (KEY, 3, 2), (KEY, 1, 3), (KEY, 2, 1)] {
            let mut other = FrameSeal::new(&key, &[client; 32], &[server; 32], Prover::Server);
            assert_eq!(other.open(&bodies[0]), wrong, "another connection");
        }
    }

    #[test]
    fn a_frame_that_was_cut_or_changed_anywhere_does_not_open() {
        let keys = pack(&[("10.0.0.9:4711".parse().unwrap(), 1)]);
        let message = FromAgent::Closed { service: 0, keys }.into();
        let body = body(&message, &mut seal(Prover::Client));
        for end in 0..body.len() {
            assert!(seal(Prover::Client).open(&body[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..8 * body.len() {
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                seal(Prover::Client).open(&changed),
                Err(DecodeError::WrongSeal),
                "bit {bit}"
            );
        }
    }

    /// This value was computed independently, with Python's `hmac` module.
    #[test]
    fn the_tag_is_the_documented_one() {
        let body = body(&ToAgent::Report { number: 5 }.into(), &mut seal(Prover::Server));
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "82000000055b46df86486bcc536647af764fec69b3");
    }

    #[test]
    fn packed_keys_come_back_and_nothing_else_does() {
        for (service, client) in
            [("10.0.0.100:80", "10.0.0.9:4711"), ("[fd00::100]:80", "[fd00::9]:4711")]
        {
            let service: SocketAddr = service.parse().unwrap();
            let client: SocketAddr = client.parse().unwrap();
            let keys = vec![(client, 1), (SocketAddr::new(client.ip(), 9), 6)];
            let packed = pack(&keys);
            assert_eq!(unpack(&packed, service), Ok(keys));
            for end in 0..packed.0.len() {
                let cut = Payload(packed.0[..end].to_vec());
                let whole = packed.0.len() / 2;
                assert_eq!(unpack(&cut, service).is_ok(), end % whole == 0, "cut at {end}");
            }
        }
        let service = "10.0.0.100:80".parse().unwrap();
        let many = Payload(vec![0; 7 * (MAX_KEYS + 1)]);
        assert_eq!(unpack(&many, service), Err(DecodeError::BadValue("count of keys")));
    }
}
