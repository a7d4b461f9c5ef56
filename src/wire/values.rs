//! The values in the fields of messages: the enums and records of the table, and their names.

use super::field::{byte_enum, record};

byte_enum! {
    /// The purpose for which a client opened a connection.
    pub(crate) enum Purpose {
        1 Join,
        2 Ask,
        3 Call,
        4 Accept,
        5 Route,
    }
}

byte_enum! {
    /// Why a server turned a client away.
    pub(crate) enum Refusal {
        /// There is no common protocol version.
        1 Version,
        /// The port serves another group.
        2 OtherGroup,
        /// The client's proof does not fit the group's key.
        3 Key,
        /// Another living instance has this name.
        4 NameTaken,
        /// The group has as many members as the limit allows.
        5 GroupFull,
        /// The server has as many connections as the limit allows; the client may try again later.
        6 Busy,
        /// The client broke the protocol.
        7 Malformed,
        /// The supervisor is handing over; its successor will answer.
        8 SteppingDown,
    }
}

record! {
    /// Why and by whom a client was turned away.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Rejection {
        pub(crate) refusal: Refusal,
        /// The lowest version of the protocol that its author speaks, and the highest.
        pub(crate) version_min: u16,
        pub(crate) version_max: u16,
        /// For people.
        pub(crate) detail: String,
    }
}

byte_enum! {
    /// What an end that says goodbye is about to do.
    pub(crate) enum Departure {
        /// It leaves the group.
        1 Leaves,
        /// The supervisor hands over and stays as a subordinate.
        2 StepsDown,
        /// The supervisor cut this member off.
        3 Evicts,
    }
}

byte_enum! {
    /// Why an instance is no longer in the registry.
    #[non_exhaustive]
    pub enum LeftCause {
        /// It said goodbye.
        1 Left,
        /// Its lifeline ended without a goodbye: it exited, crashed or was killed.
        2 Died,
        /// The supervisor cut it off because it broke the protocol.
        3 Evicted,
    }
}

byte_enum! {
    /// Why the last election took place.
    #[non_exhaustive]
    pub enum ElectionCause {
        /// The supervisor was the first instance of the group.
        1 Started,
        /// The previous supervisor died.
        2 Died,
        /// The previous supervisor stepped down.
        3 SteppedDown,
        /// The previous supervisor left the group.
        4 Left,
    }
}

byte_enum! {
    /// How an admin call ended at the instance that was called.
    pub(crate) enum Outcome {
        /// The payload is the function's result.
        1 Done,
        /// The function failed; the payload is its own error text.
        2 Failed,
        /// The instance has no function of this name.
        3 NoSuchFunction,
        /// The function panicked; the payload is the panic's text.
        4 Panicked,
    }
}

byte_enum! {
    /// Why a permit was not granted.
    pub(crate) enum Shortage {
        /// Fewer units are free, or others have waited longer. `units` is the number of free units.
        1 Exhausted,
        /// The request is larger than the resource's limit, `units`.
        2 OverLimit,
        /// The request is larger than the limit for one holder, `units`.
        3 OverHolderLimit,
        /// No instance has declared the resource.
        4 Unknown,
        /// The instance already has `units` permits and requests, the most that it may have.
        5 TooMany,
    }
}

byte_enum! {
    /// The owner of a setting.
    pub(crate) enum Scope {
        /// The program.
        1 Program,
        /// The limit of the resource that the key names, in decimal digits.
        2 Limit,
    }
}

byte_enum! {
    /// Why a request about resources, settings or messages was not carried out. Nothing was
    /// changed.
    pub(crate) enum Fault {
        /// No instance has declared the resource.
        1 NoSuchResource,
        /// No instance has this name.
        2 NoSuchInstance,
        /// The settings already have as many keys or bytes as they may have.
        3 Full,
        /// A name or value is not allowed.
        4 Invalid,
        /// The supervisor does not yet know everything that the survivors of the last election
        /// know.
        5 NotSettled,
        /// The supervisor's system does not let it.
        6 Unable,
    }
}

macro_rules! name_bytes {
    ($enum:ident: $($variant:ident = $text:literal),* $(,)?) => {
        impl $enum {
            /// Returns the word for it in the command's output and in the log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($enum::$variant => $text,)* }
            }
        }
        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        $crate::serial::as_text!($enum);
    };
}
pub(super) use name_bytes;

name_bytes!(LeftCause: Left = "left", Died = "died", Evicted = "evicted");
name_bytes!(ElectionCause: Started = "started", Died = "died", SteppedDown = "stepped-down",
    Left = "left");

record! {
    /// What the registry knows of one instance; each instance describes itself when it registers.
    #[cfg_attr(feature = "serde", derive(serde::Serialize))]
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Entry {
        /// The instance's unique name, its key in the registry.
        pub name: String,
        /// A random number for this one life of the instance. A later instance of the same name has
        /// another number.
        pub id: u64,
        /// The process ID.
        pub pid: u32,
        /// The user ID that the process runs as.
        pub uid: u32,
        /// The port of its admin endpoint on 127.0.0.1: the remote reference.
        #[cfg_attr(feature = "serde", serde(rename = "admin"))]
        pub admin_port: u16,
        /// When it first joined the group, in milliseconds since 1970-01-01 UTC. Elections do not
        /// change it.
        pub joined_ms: u64,
        /// The program's metadata, as keys and values, in the order given.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::map"))]
        pub meta: Vec<(String, String)>,
        /// The admin functions that it answers, in alphabetical order.
        pub functions: Vec<String>,
    }
}

record! {
    /// The state of a group, as its supervisor sees it.
    #[cfg_attr(feature = "serde", derive(serde::Serialize))]
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Status {
        /// The group's name.
        pub group: String,
        /// The supervisor port.
        pub port: u16,
        /// The supervisor's unique name.
        pub supervisor: String,
        /// The port of the supervisor's admin endpoint on 127.0.0.1.
        #[cfg_attr(feature = "serde", serde(rename = "supervisor_admin"))]
        pub supervisor_admin_port: u16,
        /// The port on which the supervisor answers questions about the registry.
        pub registry_port: u16,
        /// The number of this supervisorship.
        pub term: u64,
        /// True if every known survivor of the last election has registered again or is known dead.
        pub settled: bool,
        /// The number of instances in the registry, the supervisor included.
        pub members: u32,
        /// When the supervisor was elected, in milliseconds since 1970-01-01 UTC.
        pub since_ms: u64,
        /// Why it was elected.
        pub cause: ElectionCause,
    }
}

record! {
    /// What an instance says of a resource when it registers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Declared {
        pub(crate) resource: String,
        pub(crate) limit: u64,
        /// The most that one holder may have.
        pub(crate) per_holder: Option<u64>,
    }
}

record! {
    /// A permit as its holder knows it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Held {
        /// The number of the request that it was granted to. The holder never uses this number
        /// again.
        pub(crate) id: u64,
        pub(crate) resource: String,
        pub(crate) units: u64,
    }
}

record! {
    /// A request for a permit.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Wanted {
        pub(crate) id: u64,
        pub(crate) resource: String,
        pub(crate) units: u64,
        /// False if the request must be denied when it cannot be granted.
        pub(crate) wait: bool,
        /// When the request was made: CLOCK_MONOTONIC in nanoseconds, the same for all processes of
        /// a machine. The longest wait is therefore served first, even across elections.
        pub(crate) asked_ns: u64,
    }
}

record! {
    /// What a witness knows of its group when its supervisor dies.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Roster {
        /// The admin endpoints of its instances, without the supervisor's.
        pub(crate) admin_ports: Vec<u16>,
        /// `None` if these are all. Otherwise there may be others: since then (CLOCK_MONOTONIC in
        /// nanoseconds) no supervisor has known all survivors of an election.
        pub(crate) unknown_since_ns: Option<u64>,
    }
}

record! {
    /// The use of a resource that one instance reports.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Counted {
        pub(crate) resource: String,
        pub(crate) units: u64,
    }
}

record! {
    /// The newest value of one key; `None` if it was removed. Of two settings, the one with the
    /// higher term counts, then the one with the higher sequence.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Setting {
        pub(crate) scope: Scope,
        pub(crate) key: String,
        pub(crate) value: Option<String>,
        pub(crate) term: u64,
        pub(crate) sequence: u64,
    }
}

record! {
    /// Everything that a joining instance says: who it is, what it knows of the group, and what it
    /// holds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Greeting {
        pub(crate) entry: Entry,
        pub(crate) last_term: u64,
        pub(crate) confirmed_term: u64,
        pub(crate) roster: Option<Roster>,
        pub(crate) declared: Vec<Declared>,
        pub(crate) held: Vec<Held>,
        pub(crate) wanted: Vec<Wanted>,
        pub(crate) counted: Vec<Counted>,
        pub(crate) settings: Vec<Setting>,
    }
}

byte_enum! {
    /// Which of the instances that share a listener accepts the next connection.
    #[derive(Default)]
    #[non_exhaustive]
    pub enum Policy {
        /// Each in proportion to its weight.
        #[default]
        1 Even,
        /// The one with the fewest open connections for its weight. A connection counts until its
        /// [`Connection`](crate::Connection) is dropped.
        2 Connections,
        /// The one of the highest weight; another one only while that has no room. Of several, the
        /// one that has listened longest.
        3 Standby,
        /// The quickest instance accepts, and nobody gives turns. Most connections then go to few
        /// instances.
        4 Free,
    }
}

name_bytes!(Policy: Even = "even", Connections = "connections", Standby = "standby", Free = "free");

record! {
    /// How an instance shares a listener.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Terms {
        /// At least 1.
        pub(crate) weight: u16,
        pub(crate) policy: Policy,
        /// The most turns that it has at once.
        pub(crate) capacity: u32,
    }
}

record! {
    /// What an acceptor says of itself. Every report is whole: the newest is enough.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Report {
        /// The number of turns that it has used, of those that it was given over this connection or
        /// brought to it.
        pub(crate) spent: u64,
        /// The number of connections that it could accept at this moment.
        pub(crate) ready: u32,
        /// The number of accepted connections that are still open.
        pub(crate) open: u32,
        /// The number of connections that it has accepted since it began to listen.
        pub(crate) taken: u64,
    }
}

record! {
    /// One instance that accepts at a shared listener, as the supervisor sees it.
    #[cfg_attr(feature = "serde", derive(serde::Serialize))]
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Acceptor {
        /// The instance's unique name.
        pub name: String,
        /// The policy that it asked for. Unless it is [`Free`](Policy::Free), that of the instance
        /// that began to listen last counts for all.
        pub policy: Policy,
        /// Its weight.
        pub weight: u16,
        /// The most turns that it may have at once.
        pub capacity: u32,
        /// The turns that it has and has not used yet.
        pub turns: u64,
        /// Its open connections, of those that it accepted here.
        pub open: u32,
        /// The connections that it has accepted since it began to listen.
        pub taken: u64,
        /// True if it gets no more turns, and will end.
        pub draining: bool,
    }
}
