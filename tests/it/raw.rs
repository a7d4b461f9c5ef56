//! Both ends of the protocol, written from its documented tables alone: bytes made by hand, so that
//! a mistake of the library cannot hide by being made at both ends.
//!
//! Each step of the handshake stands alone, to be left out, repeated, garbled or taken from
//! elsewhere.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use socket2::{Domain, Socket, Type};

/// How long anything that should happen at once may take on a machine that is busy with other
/// things.
pub(crate) const SOON: Duration = Duration::from_millis(1500);

pub(crate) use crate::support::PATIENCE;

/// The purposes of a connection.
pub(crate) const JOIN: u8 = 1;
pub(crate) const ASK: u8 = 2;
pub(crate) const CALL: u8 = 3;

/// The kinds of messages that the tests tell apart.
pub(crate) mod kind {
    pub(crate) const OPENING: u8 = 1;
    pub(crate) const CHALLENGE: u8 = 2;
    pub(crate) const PROOF: u8 = 3;
    pub(crate) const REJECTED: u8 = 4;
    pub(crate) const WELCOME: u8 = 17;
    pub(crate) const ROSTER: u8 = 22;
    pub(crate) const STATE: u8 = 19;
    pub(crate) const LEAVING: u8 = 20;
    pub(crate) const HELLO: u8 = 21;
    pub(crate) const LIST: u8 = 32;
    pub(crate) const LOOK_UP: u8 = 33;
    pub(crate) const WATCH: u8 = 35;
    pub(crate) const LISTING: u8 = 36;
    pub(crate) const MEMBER: u8 = 37;
    pub(crate) const CALL: u8 = 48;
    pub(crate) const ANSWER: u8 = 49;
}

/// Why a server turns a client away.
pub(crate) mod refusal {
    pub(crate) const VERSION: u8 = 1;
    pub(crate) const OTHER_GROUP: u8 = 2;
    pub(crate) const KEY: u8 = 3;
    pub(crate) const NAME_TAKEN: u8 = 4;
    pub(crate) const GROUP_FULL: u8 = 5;
    pub(crate) const BUSY: u8 = 6;
    pub(crate) const MALFORMED: u8 = 7;
    pub(crate) const STEPPING_DOWN: u8 = 8;
}

/// Who proves.
pub(crate) const CLIENT: u8 = 1;
pub(crate) const SERVER: u8 = 2;

pub(crate) const MAGIC: u32 = 0x5041_5245;

/// The most that a frame's body may hold before and after its sender has proved itself.
pub(crate) const STRANGER_LIMIT: u32 = 512;
pub(crate) const LIMIT: u32 = (1 << 20) + 1024;

/// The body of one message, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn of(kind: u8) -> Self {
        Body(vec![kind])
    }
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub(crate) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }
    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }
    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }
    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }
    /// A `str`, which may be none: any bytes.
    pub(crate) fn text(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.u16(text.len() as u16).raw(text)
    }
    pub(crate) fn payload(self, bytes: &[u8]) -> Self {
        self.u32(bytes.len() as u32).raw(bytes)
    }
    pub(crate) fn frame(self) -> Vec<u8> {
        [&(self.0.len() as u32).to_be_bytes()[..], &self.0].concat()
    }
}

/// What a registry entry says.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) id: u64,
    pub(crate) admin_port: u16,
    pub(crate) meta: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) functions: Vec<Vec<u8>>,
}

impl Entry {
    pub(crate) fn named(name: impl AsRef<[u8]>) -> Self {
        Entry {
            name: name.as_ref().into(),
            id: random(),
            admin_port: 9,
            meta: vec![],
            functions: vec![b"ping".to_vec()],
        }
    }

    pub(crate) fn with_meta(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.meta.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    fn put(&self, body: Body) -> Body {
        let body = body
            .text(&self.name)
            .u64(self.id)
            .u32(77)
            .u32(1000)
            .u16(self.admin_port)
            .u64(1_700_000_000_000);
        let body = body.u16(self.meta.len() as u16);
        let body = self.meta.iter().fold(body, |body, (key, value)| body.text(key).text(value));
        let body = body.u16(self.functions.len() as u16);
        self.functions.iter().fold(body, |body, name| body.text(name))
    }

    /// The hello of an instance that says this of itself, has seen `last_term` and holds nothing.
    pub(crate) fn hello(&self, last_term: u64) -> Body {
        let body = self.put(Body::of(kind::HELLO)).u64(last_term).u64(0).u8(0);
        // Neither resources nor permits, requests, tallies, settings.
        (0..5).fold(body, |body, _| body.u16(0))
    }
}

pub(crate) fn call(function: impl AsRef<[u8]>, payload: &[u8]) -> Body {
    Body::of(kind::CALL).text(function).payload(payload)
}

pub(crate) fn look_up(name: impl AsRef<[u8]>) -> Body {
    Body::of(kind::LOOK_UP).text(name)
}

/// The welcome of a supervisor that calls itself `supervisor`.
pub(crate) fn welcome(term: u64, supervisor: impl AsRef<[u8]>) -> Body {
    Body::of(kind::WELCOME).u64(term).text(supervisor).u16(9).u16(9).u8(1).u32(2)
}

pub(crate) fn state(term: u64) -> Body {
    Body::of(kind::STATE).u64(term).u8(1).u32(2)
}

pub(crate) fn rejected(refusal: u8, versions: (u16, u16), detail: impl AsRef<[u8]>) -> Body {
    Body::of(kind::REJECTED).u8(refusal).u16(versions.0).u16(versions.1).text(detail)
}

/// The one message of an instance that leaves.
pub(crate) fn leaving() -> Body {
    Body::of(kind::LEAVING).u8(1)
}

/// What both ends of one connection must agree on; the proofs are made over it.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    pub(crate) purpose: u8,
    pub(crate) versions: (u16, u16),
    pub(crate) version: u16,
    pub(crate) group: Vec<u8>,
    pub(crate) port: u16,
    pub(crate) client_nonce: [u8; 32],
    pub(crate) server_nonce: [u8; 32],
}

impl Meeting {
    pub(crate) fn new(purpose: u8, group: &Group, port: u16) -> Self {
        let (client_nonce, server_nonce) = (nonce(), nonce());
        let group = group.name.clone().into_bytes();
        Meeting { purpose, versions: (1, 1), version: 1, group, port, client_nonce, server_nonce }
    }

    pub(crate) fn opening(&self) -> Body {
        let body = Body::of(kind::OPENING)
            .u32(MAGIC)
            .u16(self.versions.0)
            .u16(self.versions.1)
            .u8(self.purpose);
        body.text(&self.group).raw(&self.client_nonce)
    }

    pub(crate) fn proof(&self, key: &[u8; 32], prover: u8) -> [u8; 32] {
        let text = Body(b"pares".to_vec())
            .u8(prover)
            .u8(self.purpose)
            .u16(self.versions.0)
            .u16(self.versions.1);
        let text = text.u16(self.version).text(&self.group).u16(self.port);
        let text = text.raw(&self.client_nonce).raw(&self.server_nonce);
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&text.0);
        mac.finalize().into_bytes().into()
    }

    /// The server's part, as one who has `key` makes it.
    pub(crate) fn challenge(&self, key: &[u8; 32]) -> Body {
        let body = Body::of(kind::CHALLENGE).u16(self.version).raw(&self.server_nonce);
        body.raw(&self.proof(key, SERVER))
    }
}

pub(crate) fn proof(proof: [u8; 32]) -> Body {
    Body::of(kind::PROOF).raw(&proof)
}

/// A group's name and key.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) key: [u8; 32],
    /// Its members have next to no room for what they receive.
    pub(crate) narrow: bool,
}

impl Group {
    /// Connects to `port` and goes as far as the server's proof, which must be right.
    pub(crate) fn open(&self, port: u16, purpose: u8) -> (Peer, Meeting) {
        self.open_as(Meeting::new(purpose, self, port))
    }

    pub(crate) fn open_as(&self, meeting: Meeting) -> (Peer, Meeting) {
        self.try_open(meeting).expect("a challenge")
    }

    /// The same; `None` if turned away.
    pub(crate) fn try_open(&self, mut meeting: Meeting) -> Option<(Peer, Meeting)> {
        let mut peer = Peer::connect_as(meeting.port, self.narrow);
        peer.send(&meeting.opening().frame());
        let challenge = peer.frame()?;
        let proof = take_challenge(&challenge, &mut meeting);
        assert_eq!(proof, meeting.proof(&self.key, SERVER), "the server's proof");
        Some((peer, meeting))
    }

    /// Goes through the whole handshake, with `first` as the first request; the answer is still to
    /// be read.
    pub(crate) fn enter(&self, port: u16, purpose: u8, first: Body) -> Peer {
        let (mut peer, meeting) = self.open(port, purpose);
        self.prove(&mut peer, &meeting, first);
        peer
    }

    /// The second half of the handshake.
    pub(crate) fn prove(&self, peer: &mut Peer, meeting: &Meeting, first: Body) {
        peer.send(&[proof(meeting.proof(&self.key, CLIENT)).frame(), first.frame()].concat());
    }

    /// Joins as `entry`, and is a member from then on.
    pub(crate) fn join(&self, port: u16, entry: &Entry) -> Peer {
        let mut peer = self.enter(port, JOIN, entry.hello(0));
        // A witness may be told of others first, but never before its own welcome.
        assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME);
        peer
    }

    /// The bodies of the registry's answer to the question `question`.
    pub(crate) fn ask(&self, registry_port: u16, question: Body) -> Vec<Vec<u8>> {
        self.enter(registry_port, ASK, question).listing()
    }

    /// The server's side, with the right key: reads the opening, answers, checks the client's
    /// proof; gives its first request.
    pub(crate) fn admit(&self, peer: &mut Peer, port: u16) -> Vec<u8> {
        let mut meeting = take_opening(&peer.frame().expect("an opening"));
        meeting.port = port;
        peer.send(&meeting.challenge(&self.key).frame());
        let answer = peer.frame().expect("a proof");
        assert_eq!(answer, proof(meeting.proof(&self.key, CLIENT)).0, "the client's proof");
        peer.frame().expect("a first request")
    }
}

/// Reads a challenge: completes the meeting, gives the server's proof.
pub(crate) fn take_challenge(body: &[u8], meeting: &mut Meeting) -> [u8; 32] {
    assert_eq!((body[0], body.len()), (kind::CHALLENGE, 1 + 2 + 32 + 32), "{body:?}");
    meeting.version = u16::from_be_bytes([body[1], body[2]]);
    meeting.server_nonce = body[3..35].try_into().unwrap();
    body[35..].try_into().unwrap()
}

/// Reads an opening as a server; the port is the caller's.
pub(crate) fn take_opening(body: &[u8]) -> Meeting {
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    assert_eq!(body[..5], Body::of(kind::OPENING).u32(MAGIC).0);
    let group = usize::from(number(10));
    assert_eq!(body.len(), 12 + group + 32);
    Meeting {
        versions: (number(5), number(7)),
        version: 1,
        purpose: body[9],
        group: body[12..12 + group].into(),
        port: 0,
        client_nonce: body[12 + group..].try_into().unwrap(),
        server_nonce: nonce(),
    }
}

/// One end of a connection, with a deadline on everything.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// How long each wait may take.
    pub(crate) within: Duration,
}

impl Peer {
    pub(crate) fn connect(port: u16) -> Self {
        Peer::connect_as(port, false)
    }

    /// `narrow`: with a small buffer for what it receives. Made small later, it would be smaller
    /// than the window that the other end knows: the kernel then drops what comes, with the
    /// acknowledgements in it, and both ends may wait for minutes.
    fn connect_as(port: u16, narrow: bool) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if narrow {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let at = SocketAddr::from(([127, 0, 0, 1], port)).into();
        let connected = socket.connect_timeout(&at, PATIENCE);
        connected.unwrap_or_else(|error| panic!("connect to {port}: {error}"));
        Peer::on(socket.into())
    }

    /// The server's end of the next connection to `listener`.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        Peer::on(listener.accept().unwrap().0)
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        _ = stream.set_nodelay(true); // a Unix socket has no such thing
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { stream, within: PATIENCE }
    }

    /// Sends all bytes; false if the other end has cut the connection, as it may.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.stream.write_all(bytes);
        if let Err(error) = &sent {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "nobody reads, and nobody cuts it");
        }
        sent.is_ok()
    }

    /// The body of the next frame; `None` at the end.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + self.within;
        let length = self.exactly(4, deadline)?;
        let length = u32::from_be_bytes(length.try_into().unwrap());
        assert!((1..=LIMIT).contains(&length), "a frame of {length} bytes");
        Some(self.exactly(length as usize, deadline).expect("a whole frame"))
    }

    fn exactly(&mut self, count: usize, deadline: Instant) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut have = 0;
        while have < count {
            match self.read(&mut bytes[have..], deadline) {
                0 if have == 0 => return None,
                0 => panic!("the connection ended within a frame: {:?}", &bytes[..have]),
                more => have += more,
            }
        }
        Some(bytes)
    }

    /// Some bytes; 0 at the end, however the other end brought it about.
    fn read(&mut self, bytes: &mut [u8], deadline: Instant) -> usize {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came within {:?}", self.within);
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(bytes) {
                Ok(count) => return count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return 0,
                    _ => panic!("{error}"),
                },
            }
        }
    }

    /// The bodies of all frames until the other end closes the connection, which it must do soon
    /// and between two frames.
    pub(crate) fn rest(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.frame()).collect()
    }

    /// A whole listing: its head and as many members as that says.
    pub(crate) fn listing(&mut self) -> Vec<Vec<u8>> {
        let head = self.frame().expect("a listing");
        assert_eq!(head[0], kind::LISTING, "{head:?}");
        let count = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap());
        let mut listing = vec![head];
        for _ in 0..count {
            let member = self.frame().expect("a member");
            assert_eq!(member[0], kind::MEMBER);
            listing.push(member);
        }
        listing
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Random numbers that nobody can foresee.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_ne_bytes(bytes)
}

pub(crate) fn nonce() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A port that nobody holds at the moment, below the range out of which the system serves
/// connections, and that this process has not been given before.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = 21_000 + (random() % 8_000) as u16;
        let new = GIVEN.lock().unwrap().insert(port);
        if new && is_free(([127, 0, 0, 1], port)) {
            return port;
        }
    }
}

/// Whether nobody listens at an address.
pub(crate) fn is_free(at: impl Into<SocketAddr>) -> bool {
    bound(at.into()).is_some()
}

/// A port of which the system gives to outgoing connections, too.
pub(crate) fn ephemeral_port() -> u16 {
    let socket = bound(([127, 0, 0, 1], 0).into()).expect("a port");
    socket.local_addr().unwrap().as_socket().expect("a port").port()
}

/// A socket that never listens: a process that another test starts at this moment has a copy of it
/// until it becomes its program, and a listening one would keep the port for so long.
fn bound(at: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&at.into()).is_ok().then_some(socket)
}
