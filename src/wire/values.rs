//! What the fields of messages hold: the enums and records of the table, and what they are called.

use super::field::{byte_enum, record};

byte_enum! {
    /// What a client opened a connection for.
    pub(crate) enum Purpose {
        1 Join,
        2 Ask,
        3 Call,
    }
}

byte_enum! {
    /// Why a server turned a client away.
    pub(crate) enum Refusal {
        /// No common protocol version.
        1 Version,
        /// The port serves another group.
        2 OtherGroup,
        /// The client's proof does not fit the group's key.
        3 Key,
        /// Another living instance has this name.
        4 NameTaken,
        /// As many members as the limit allows.
        5 GroupFull,
        /// As many connections as the limit allows; trying again later can help.
        6 Busy,
        /// The client broke the protocol.
        7 Malformed,
        /// The supervisor is handing over; its successor will answer.
        8 SteppingDown,
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
        /// The supervisor was the first one there.
        1 Started,
        /// The supervisor before it died.
        2 Died,
        /// The supervisor before it stepped down.
        3 SteppedDown,
        /// The supervisor before it left the group.
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
        /// Fewer units are free, or others have waited longer; `units`: how many are free.
        1 Exhausted,
        /// The request is larger than the resource's limit, which is `units`.
        2 OverLimit,
        /// The request is larger than what one holder may have, which is `units`.
        3 OverHolderLimit,
        /// Nobody has declared the resource.
        4 Unknown,
        /// The instance has as many permits and requests as it may have, which is `units`.
        5 TooMany,
    }
}

byte_enum! {
    /// What a setting is for.
    pub(crate) enum Scope {
        /// The program's own.
        1 Program,
        /// The limit of the resource that the key names, in decimal digits.
        2 Limit,
    }
}

byte_enum! {
    /// Why a request about resources, settings or messages was not carried out. Nothing was
    /// changed.
    pub(crate) enum Fault {
        /// Nobody has declared the resource.
        1 NoSuchResource,
        /// No instance has this name.
        2 NoSuchInstance,
        /// The settings have as many keys, or bytes, as they may have.
        3 Full,
        /// A name or value is not allowed.
        4 Invalid,
        /// What the survivors of the last election know is not all known here yet.
        5 NotSettled,
    }
}

macro_rules! name_bytes {
    ($enum:ident: $($variant:ident = $text:literal),* $(,)?) => {
        impl $enum {
            /// The word for it in the command's output and in the log.
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
    };
}
pub(super) use name_bytes;

name_bytes!(LeftCause: Left = "left", Died = "died", Evicted = "evicted");
name_bytes!(ElectionCause: Started = "started", Died = "died", SteppedDown = "stepped-down",
    Left = "left");

record! {
    /// What the registry knows of one instance; each instance says it of itself when it registers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Entry {
        /// The instance's unique name, its key in the registry.
        pub name: String,
        /// A random number of this one life of the instance, which tells it from a later one of the
        /// same name.
        pub id: u64,
        /// Its process.
        pub pid: u32,
        /// The user it runs as.
        pub uid: u32,
        /// The port of its admin endpoint on 127.0.0.1: the remote reference.
        pub admin: u16,
        /// When it first joined the group, in milliseconds since 1970-01-01 UTC; kept across
        /// elections.
        pub joined_ms: u64,
        /// What the program said of itself, as key and value, in the order given.
        pub meta: Vec<(String, String)>,
        /// The admin functions it answers, in alphabetical order.
        pub functions: Vec<String>,
    }
}

record! {
    /// The state of a group, as its supervisor sees it.
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
        pub supervisor_admin: u16,
        /// The port on which the supervisor answers questions about the registry.
        pub registry_port: u16,
        /// The number of this supervisorship.
        pub term: u64,
        /// True if all known survivors of the last election have registered again or are known
        /// dead.
        pub settled: bool,
        /// How many instances the registry has, the supervisor included.
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
        /// The number of the request that it was granted to; its holder never uses it again.
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
        /// False: it is to be denied if it cannot be granted.
        pub(crate) wait: bool,
        /// When it was made: CLOCK_MONOTONIC in nanoseconds, the same for all processes of a
        /// machine, so that whoever has waited longest is served first also across elections.
        pub(crate) asked_ns: u64,
    }
}

record! {
    /// What a witness knows of its group when its supervisor dies.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Roster {
        /// Who is in it besides the supervisor, by admin endpoint.
        pub(crate) admins: Vec<u16>,
        /// `None` if these are all. Else there may be others: since then (CLOCK_MONOTONIC in
        /// nanoseconds) no supervisor has known all survivors of an election.
        pub(crate) unknown_since_ns: Option<u64>,
    }
}

record! {
    /// What one instance says that it uses of a resource.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Counted {
        pub(crate) resource: String,
        pub(crate) units: u64,
    }
}

record! {
    /// The newest value of one key, `None` if it was removed. Of two, the one with the higher term,
    /// then sequence, counts.
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
    /// Everything that one who joins says: what it is, what it knows of the group, and what it
    /// holds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Greeting {
        pub(crate) entry: Entry,
        pub(crate) last_term: u64,
        pub(crate) standing: u64,
        pub(crate) roster: Option<Roster>,
        pub(crate) declared: Vec<Declared>,
        pub(crate) held: Vec<Held>,
        pub(crate) wanted: Vec<Wanted>,
        pub(crate) counted: Vec<Counted>,
        pub(crate) settings: Vec<Setting>,
    }
}
