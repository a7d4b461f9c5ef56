//! Bytes ↔ values. Pure: no socket, no clock, no thread, no lock, no log.
//!
//! A message travels as one frame: a `u32` length of what follows, a `u8` kind, then the fields in
//! the order of this table. Integers are big-endian; `str` is a `u16` byte length and UTF-8;
//! `bytes` is a `u32` length and as many bytes; `[T]` is a `u16` count and as many `T`; `bool` is 0
//! or 1; `byte[32]` is 32 bytes; `(A, B)` is `A`, then `B`; `T?` is `bool`, and `T` if it is 1. A
//! body holds at most 1 MiB + 1 KiB, and at most 512 bytes until its sender has proved that it has
//! the group's key.
//!
//! | kind | message | sent by | fields |
//! |-----:|---------|---------|--------|
//! | 1 | `Opening` | client | `magic: u32`, `version_min: u16`, `version_max: u16`, `purpose: Purpose`, `group: str`, `nonce: byte[32]` |
//! | 2 | `Challenge` | server | `version: u16`, `nonce: byte[32]`, `proof: byte[32]` |
//! | 3 | `Proof` | client | `proof: byte[32]` |
//! | 4 | `Rejected` | server | `rejection: Rejection` |
//! | 17 | `Welcome` | supervisor | `term: u64`, `supervisor: str`, `supervisor_admin_port: u16`, `registry_port: u16`, `settled: bool`, `members: u32` |
//! | 19 | `State` | supervisor | `term: u64`, `settled: bool`, `members: u32` |
//! | 20 | `Leaving` | either | `reason: Departure` |
//! | 21 | `Hello` | subordinate | `greeting: Greeting` |
//! | 22 | `Roster` | supervisor | `anew: bool`, `unknown_since_ns: u64?`, `added: [u16]`, `removed: [u16]` |
//! | 23 | `Probe` | either | `number: u64`, `within_ns: u64` |
//! | 24 | `Alive` | either | `number: u64`, `progress: bool` |
//! | 32 | `List` | asker | |
//! | 33 | `LookUp` | asker | `name: str` |
//! | 34 | `StatusQuery` | asker | |
//! | 35 | `Watch` | asker | |
//! | 36 | `Listing` | supervisor | `term: u64`, `settled: bool`, `supervisor: str`, `count: u32` |
//! | 37 | `Member` | supervisor | `entry: Entry` |
//! | 38 | `Joined` | supervisor | `entry: Entry` |
//! | 39 | `Left` | supervisor | `name: str`, `cause: LeftCause` |
//! | 40 | `StatusAnswer` | supervisor | `status: Status` |
//! | 41 | `DeskQuery` | subordinate | |
//! | 42 | `ListenerQuery` | asker | |
//! | 43 | `DeskAnswer` | supervisor | `name: byte[16]` |
//! | 44 | `Listeners` | supervisor | `count: u32` |
//! | 45 | `Listener` | supervisor | `address: str`, `waiting: u32`, `acceptors: u32` |
//! | 46 | `Acceptor` | supervisor | `acceptor: Acceptor` |
//! | 47 | `Drain` | asker | `name: str` |
//! | 48 | `Call` | caller | `function: str`, `payload: bytes` |
//! | 49 | `Answer` | instance | `outcome: Outcome`, `payload: bytes` |
//! | 64 | `Acquire` | subordinate | `wanted: Wanted` |
//! | 65 | `Release` | subordinate | `id: u64` |
//! | 66 | `Count` | subordinate | `counted: Counted` |
//! | 67 | `Taken` | subordinate | `bytes: u32` |
//! | 68 | `TotalQuery` | subordinate | `id: u64`, `resource: str` |
//! | 72 | `Granted` | supervisor | `id: u64` |
//! | 73 | `Denied` | supervisor | `id: u64`, `shortage: Shortage`, `units: u64` |
//! | 74 | `Revoked` | supervisor | `id: u64` |
//! | 75 | `Setting` | supervisor | `setting: Setting` |
//! | 76 | `Delivery` | supervisor | `from: str`, `topic: str`, `payload: bytes` |
//! | 77 | `Missed` | supervisor | `messages: u64` |
//! | 78 | `OverLimit` | supervisor | `resource: str`, `in_use: u64`, `limit: u64` |
//! | 79 | `Total` | supervisor | `id: u64`, `units: u64` |
//! | 80 | `Listens` | acceptor | `address: str`, `name: str`, `terms: Terms`, `unspent: u64` |
//! | 81 | `Show` | desk | `within_ms: u32` |
//! | 82 | `Shown` | acceptor | |
//! | 83 | `NotShown` | acceptor | |
//! | 84 | `Given` | desk | |
//! | 85 | `Turns` | desk | `in_all: u64` |
//! | 86 | `Took` | acceptor | `report: Report` |
//! | 87 | `Drained` | desk | |
//! | 88 | `Revived` | desk | |
//! | 96 | `UsageQuery` | asker | `resource: str?` |
//! | 97 | `Resources` | supervisor | `count: u32` |
//! | 98 | `Resource` | supervisor | `resource: str`, `limit: u64?`, `in_use: u64`, `counted: u64`, `waiting: u32`, `holders: u32` |
//! | 99 | `Holder` | supervisor | `name: str`, `units: u64` |
//! | 100 | `SetLimit` | asker | `resource: str`, `limit: u64` |
//! | 101 | `Revoke` | asker | `resource: str`, `holder: str` |
//! | 102 | `SettingQuery` | asker | `key: str?` |
//! | 103 | `Settings` | supervisor | `count: u32` |
//! | 104 | `Set` | asker | `key: str`, `value: str?`, `expected: str??` |
//! | 105 | `Publish` | asker | `from: str`, `to: str?`, `topic: str`, `payload: bytes` |
//! | 106 | `Done` | supervisor | `count: u64` |
//! | 107 | `NotDone` | supervisor | `fault: Fault`, `detail: str` |
//! | 108 | `Conflict` | supervisor | `present: str?` |
//! | 128 | `RouteHello` | dialler | `service_type: u16`, `tail: Tail`, `router: RouterNow?`, `name: str`, `host: Host`, `weight: u16` |
//! | 129 | `RouteWelcome` | router | `tail: Tail`, `router: RouterNow`, `name: str`, `host: Host`, `services: [SocketAddr]` |
//! | 130 | `Report` | router | `number: u32` |
//! | 131 | `Serve` | router | `token: RouteToken`, `candidates: [(IpAddr, u16)]?`, `draining: [IpAddr]` |
//! | 132 | `Stale` | agent | `token: RouteToken` |
//! | 133 | `ReportBegin` | agent | `number: u32`, `state: TargetState` |
//! | 134 | `ReportPart` | agent | `number: u32`, `service: u16`, `keys: bytes` |
//! | 135 | `ReportEnd` | agent | `number: u32`, `keys: u32` |
//! | 136 | `TargetNow` | agent | `state: TargetState` |
//! | 137 | `Closed` | agent | `service: u16`, `keys: bytes` |
//! | 138 | `Behind` | agent | |
//! | 139 | `Find` | router | `number: u32`, `service: u16`, `keys: bytes` |
//! | 140 | `Found` | agent | `number: u32`, `service: u16`, `keys: bytes` |
//! | 144 | `Ready` | router | `entries: u32` |
//! | 145 | `Owns` | router | `token: RouteToken` |
//! | 146 | `Settled` | router | `token: RouteToken` |
//!
//! A kind is never given a second meaning. A field is never added to an existing kind: that takes a
//! new kind, or a new [`PROTOCOL_VERSION`]. 16 was a `Hello` that did not say what an instance
//! holds; 18 was a `Roster` that could not say since when it is incomplete.
//!
//! `Rejection` is `refusal: Refusal`, `version_min: u16`, `version_max: u16`, `detail: str`.
//! `Greeting` is `entry: Entry`, `last_term: u64`, `confirmed_term: u64`, `roster: Roster?`,
//! `declared: [Declared]`, `held: [Held]`, `wanted: [Wanted]`, `counted: [Counted]`, `settings:
//! [Setting]`. `Entry` is `name: str`, `id: u64`, `pid: u32`, `uid: u32`, `admin_port: u16`,
//! `joined_ms: u64`, `meta: [(str, str)]`, `functions: [str]`. `Status` is `group: str`, `port:
//! u16`, `supervisor: str`, `supervisor_admin_port: u16`, `registry_port: u16`, `term: u64`,
//! `settled: bool`, `members: u32`, `since_ms: u64`, `cause: ElectionCause`. `Declared` is
//! `resource: str`, `limit: u64`, `per_holder: u64?`. `Held` is `id: u64`, `resource: str`, `units:
//! u64`. `Wanted` is `id: u64`, `resource: str`, `units: u64`, `wait: bool`, `asked_ns: u64`.
//! `Counted` is `resource: str`, `units: u64`. `Setting` is `scope: Scope`, `key: str`, `value:
//! str?`, `term: u64`, `sequence: u64`. `Roster` is `admin_ports: [u16]`, `unknown_since_ns: u64?`.
//! `Terms` is `weight: u16`, `policy: Policy`, `capacity: u32`. `Report` is `spent: u64`, `ready:
//! u32`, `open: u32`, `taken: u64`. `Acceptor` is `name: str`, `policy: Policy`, `weight: u16`,
//! `capacity: u32`, `turns: u64`, `open: u32`, `taken: u64`, `draining: bool`. `RouteToken` is
//! `epoch: u64`, `id: byte[16]`; `Tail` is `byte[11]`. `Host` is `v4: IpAddr?`, `v6: IpAddr?`,
//! `mac: byte[6]`. `RouterNow` is `owns: RouteToken?`. `TargetState` is `listening: u64`, `fit:
//! bool`, `connections: u32`. `IpAddr` is its family, 4 or 6, and its 4 or 16 bytes; `SocketAddr`
//! is an `IpAddr` and `port: u16`. The enums are one byte: [`Purpose`], [`Refusal`], [`Departure`],
//! [`LeftCause`], [`ElectionCause`], [`Outcome`], [`Shortage`], [`Scope`], [`Fault`], [`Policy`].
//!
//! A connection takes these steps: the client sends `Opening`; the server answers `Challenge` with
//! its proof, or `Rejected`; the client checks it and sends `Proof` together with its first
//! request: `Hello` to join (answered by `Welcome`), a registry question, or a `Call`.
//! `tests/golden/messages.txt` has every message in bytes.
//!
//! What an instance holds goes over its lifeline (64 to 79) and ends with it. Members and operators
//! alike ask everything else about resources, settings and messages at the registry port (96 to
//! 108), and there they ask about listeners (41 to 47). 80 to 88 are said at the desk, where
//! instances share listeners; `Shown` and `Given` bring the listener's descriptor with them.
//! `Turns` said again with the same number asks for a `Took`. 128 and more are between the routers
//! and targets of a routed service ([`route`]).

pub(crate) mod field;
pub(crate) mod frame;
pub(crate) mod heartbeat;
pub(crate) mod label;
pub(crate) mod peer_id;
pub(crate) mod proof;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
pub(crate) mod route;
pub(crate) mod seal;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use field::{Field, Payload, Reader};
pub use label::Label;
pub use peer_id::{PeerId, Tail};
pub(crate) use route::{Host, RouteToken, RouterNow, TargetState};
pub use values::*;

/// The version of the protocol that this code speaks; so far the range that it accepts has only
/// this one.
pub const PROTOCOL_VERSION: u16 = 1;

/// The first four bytes of every first message's body after its kind: "PARE".
pub(crate) const MAGIC: u32 = 0x5041_5245;

/// 32 random bytes, fresh for every connection.
pub(crate) type Nonce = [u8; 32];

/// The random name of a supervisor's desk: nobody who has not been told it finds the desk.
pub(crate) type DeskName = [u8; 16];

/// Why the bytes from the other end are not a message. The connection on which they came is closed;
/// nothing else changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The frame ends before its last field does.
    Truncated,
    /// The frame goes on after its last field.
    TrailingBytes,
    /// The frame is longer than may be sent at this point.
    TooLarge { bytes: usize, limit: usize },
    /// No message has this number.
    UnknownKind(u8),
    /// A field holds a number that means nothing.
    BadValue(&'static str),
    /// A text is not UTF-8.
    NotUtf8,
    /// The frame was changed on its way, or is not the next one of this connection.
    WrongSeal,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecodeError::Truncated => f.write_str("a message that ends too early"),
            DecodeError::TrailingBytes => f.write_str("a message that goes on too long"),
            DecodeError::TooLarge { bytes, limit } => {
                write!(f, "a message of {bytes} bytes where {limit} are allowed")
            }
            DecodeError::UnknownKind(kind) => write!(f, "a message of unknown kind {kind}"),
            DecodeError::BadValue(what) => write!(f, "a message with a meaningless {what}"),
            DecodeError::NotUtf8 => f.write_str("a message with a text that is not UTF-8"),
            DecodeError::WrongSeal => f.write_str("a message that was not sent like this"),
        }
    }
}

/// Number, name and fields of a message, with their types.
#[cfg(test)]
type Row = (u8, &'static str, &'static [(&'static str, &'static str)]);

/// The table of messages, written once: the types, both directions of the code and the rows that
/// the documentation is checked against come from it. A reader takes messages of the groups that
/// have a place there, and nothing else.
macro_rules! messages {
    ($($(#[$doc:meta])* $group:ident {
        $($number:literal $name:ident { $($field:ident: $type:ty),* $(,)? })*
    })*) => {
        /// One message between two ends of a connection; the table is in the module's
        /// documentation.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Message { $($group($group),)* }

        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub(crate) enum $group { $($name { $($field: $type),* },)* }

            impl $group {
                pub(crate) fn name(&self) -> &'static str {
                    match self { $($group::$name { .. } => stringify!($name),)* }
                }
            }

            impl From<$group> for Message {
                fn from(message: $group) -> Self {
                    Message::$group(message)
                }
            }
        )*

        impl Message {
            /// Appends the kind and the fields to `out`.
            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($(Message::$group($group::$name { $($field),* }) => {
                        out.push($number);
                        $($field.put(out);)*
                    })*)*
                }
            }

            /// Reads the body of one frame: a kind and exactly its fields.
            pub(crate) fn decode(body: &[u8]) -> Result<Message, DecodeError> {
                let mut reader = Reader::new(body);
                match u8::take(&mut reader)? {
                    // Made where it is returned: to move a message costs as much as to read it.
                    $($($number => {
                        $(let $field = Field::take(&mut reader)?;)*
                        reader.finish()?;
                        Ok(Message::$group($group::$name { $($field),* }))
                    })*)*
                    kind => Err(DecodeError::UnknownKind(kind)),
                }
            }

            /// Returns the message's name, for the log.
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Message::$group(message) => message.name(),)* }
            }

            /// Number, name and fields of every message, to hold the documentation to.
            #[cfg(test)]
            const TABLE: &'static [Row] =
                &[$($((
                    $number,
                    stringify!($name),
                    &[$((stringify!($field), stringify!($type))),*],
                )),*),*];
        }
    };
}

messages! {
    /// Before two ends trust each other. A refusal also comes later, as the last word.
    Handshake {
        1 Opening {
            magic: u32, version_min: u16, version_max: u16, purpose: Purpose, group: String,
            nonce: Nonce,
        }
        2 Challenge { version: u16, nonce: Nonce, proof: Nonce }
        3 Proof { proof: Nonce }
        4 Rejected { rejection: Rejection }
    }
    /// The first words on a lifeline.
    Joining {
        17 Welcome {
            term: u64, supervisor: String, supervisor_admin_port: u16, registry_port: u16,
            settled: bool, members: u32,
        }
        21 Hello { greeting: Box<Greeting> }
    }
    /// About the lifeline itself, and what its end will mean.
    Control {
        20 Leaving { reason: Departure }
        22 Roster {
            anew: bool, unknown_since_ns: Option<u64>, added: Vec<u16>, removed: Vec<u16>,
        }
        23 Probe { number: u64, within_ns: u64 }
        24 Alive { number: u64, progress: bool }
    }
    /// What the supervisor tells of the group: its state to members and watchers, who is in it to
    /// watchers and to whoever asks.
    News {
        19 State { term: u64, settled: bool, members: u32 }
        36 Listing { term: u64, settled: bool, supervisor: String, count: u32 }
        37 Member { entry: Arc<Entry> }
        38 Joined { entry: Arc<Entry> }
        39 Left { name: String, cause: LeftCause }
    }
    /// What is asked at a registry port about the group.
    Question {
        32 List {}
        33 LookUp { name: String }
        34 StatusQuery {}
        35 Watch {}
    }
    /// What is asked at a registry port about the listeners that instances share.
    Listening {
        41 DeskQuery {}
        42 ListenerQuery {}
        47 Drain { name: String }
    }
    /// Between a caller and an instance.
    Calling {
        48 Call { function: String, payload: Payload }
        49 Answer { outcome: Outcome, payload: Payload }
    }
    /// What an instance says about what it holds, and wants to.
    FromHolder {
        64 Acquire { wanted: Wanted }
        65 Release { id: u64 }
        66 Count { counted: Counted }
        67 Taken { bytes: u32 }
        68 TotalQuery { id: u64, resource: String }
    }
    /// What the supervisor says to an instance about what it holds.
    ToHolder {
        72 Granted { id: u64 }
        73 Denied { id: u64, shortage: Shortage, units: u64 }
        74 Revoked { id: u64 }
        75 Setting { setting: Setting }
        76 Delivery { from: String, topic: String, payload: Payload }
        77 Missed { messages: u64 }
        78 OverLimit { resource: String, in_use: u64, limit: u64 }
        79 Total { id: u64, units: u64 }
    }
    /// What an acceptor says at the desk, one listener on one connection.
    FromAcceptor {
        80 Listens { address: String, name: String, terms: Terms, unspent: u64 }
        82 Shown {}
        83 NotShown {}
        86 Took { report: Report }
    }
    /// What the desk says to an acceptor.
    ToAcceptor {
        81 Show { within_ms: u32 }
        84 Given {}
        85 Turns { in_all: u64 }
        87 Drained {}
        88 Revived {}
    }
    /// What is asked at a registry port about what the instances share: resources, settings and
    /// messages.
    Sharing {
        96 UsageQuery { resource: Option<String> }
        100 SetLimit { resource: String, limit: u64 }
        101 Revoke { resource: String, holder: String }
        102 SettingQuery { key: Option<String> }
        104 Set { key: String, value: Option<String>, expected: Option<Option<String>> }
        105 Publish { from: String, to: Option<String>, topic: String, payload: Payload }
    }
    /// The answers at a registry port that are said nowhere else.
    Response {
        40 StatusAnswer { status: Status }
        43 DeskAnswer { name: DeskName }
        44 Listeners { count: u32 }
        45 Listener { address: String, waiting: u32, acceptors: u32 }
        46 Acceptor { acceptor: Acceptor }
        97 Resources { count: u32 }
        98 Resource {
            resource: String, limit: Option<u64>, in_use: u64, counted: u64, waiting: u32,
            holders: u32,
        }
        99 Holder { name: String, units: u64 }
        103 Settings { count: u32 }
        106 Done { count: u64 }
        107 NotDone { fault: Fault, detail: String }
        108 Conflict { present: Option<String> }
    }
    /// The first words between a router, and another router or an agent.
    Introduction {
        128 RouteHello {
            service_type: u16, tail: Tail, router: Option<Box<RouterNow>>, name: String,
            host: Box<Host>, weight: u16,
        }
        129 RouteWelcome {
            tail: Tail, router: Box<RouterNow>, name: String, host: Box<Host>,
            services: Vec<SocketAddr>,
        }
    }
    /// What a router says to the agent on a target.
    ToAgent {
        130 Report { number: u32 }
        131 Serve {
            token: RouteToken, candidates: Option<Vec<(IpAddr, u16)>>, draining: Vec<IpAddr>,
        }
        139 Find { number: u32, service: u16, keys: Payload }
    }
    /// What an agent says to a router of its target.
    FromAgent {
        132 Stale { token: RouteToken }
        133 ReportBegin { number: u32, state: TargetState }
        134 ReportPart { number: u32, service: u16, keys: Payload }
        135 ReportEnd { number: u32, keys: u32 }
        136 TargetNow { state: TargetState }
        137 Closed { service: u16, keys: Payload }
        138 Behind {}
        140 Found { number: u32, service: u16, keys: Payload }
    }
    /// What two routers say to each other.
    BetweenRouters {
        144 Ready { entries: u32 }
        145 Owns { token: RouteToken }
        146 Settled { token: RouteToken }
    }
}

impl Message {
    /// Returns a refusal with this code's version range, ready to send.
    pub(crate) fn rejected(refusal: Refusal, detail: impl Into<String>) -> Message {
        let (version_min, version_max) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
        let detail = detail.into();
        let rejection = Rejection { refusal, version_min, version_max, detail };
        Message::Handshake(Handshake::Rejected { rejection })
    }
}

/// Returns the highest version that both ends speak; `None` if there is no such version.
pub(crate) fn common_version(theirs_min: u16, theirs_max: u16) -> Option<u16> {
    (theirs_min..=theirs_max).contains(&PROTOCOL_VERSION).then_some(PROTOCOL_VERSION)
}
