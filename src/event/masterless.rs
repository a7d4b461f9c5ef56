//! What a process of a masterless group is told. Values only.

use std::cmp::Ordering;
use std::fmt;

use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId};

/// A number for each time that a process becomes primary: who stores something for the service
/// keeps the largest token that it has seen, and refuses what comes with a smaller one.
///
/// A larger epoch is the larger token; of two with the same epoch, the one of the smaller
/// identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// Grows with each acquisition.
    pub epoch: u64,
    /// Who became primary.
    pub id: PeerId,
}

impl Token {
    /// The whole as a number that grows with the token: 48 hexadecimal digits, which compare as
    /// texts, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::masterless::{Config, Peer};
    ///
    /// let config = Config::new("my-group");
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/peers.rs"));
    /// let peer = Peer::join(config)?;
    /// let token = peer.events().iter().find_map(|event| event.kind.token());
    /// let token = token.expect("who is alone becomes primary");
    /// assert_eq!(token.fence().len(), 48);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fence(&self) -> String {
        format!("{:016x}{:032x}", self.epoch, !self.id.value())
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Token {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch).then(other.id.cmp(&self.id))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch, self.id)
    }
}

/// Something that happened to a process of a masterless group, and when it knew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// CLOCK_MONOTONIC in nanoseconds, taken when the process knew it; comparable between processes
    /// of one machine.
    pub monotonic_ns: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a process of a masterless group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// Its status has changed.
    Role {
        /// What it was.
        from: Status,
        /// What it is.
        to: Status,
        /// What fences its work, if it is primary now.
        token: Option<Token>,
        /// Why.
        cause: RoleCause,
    },
    /// A better process is to be primary instead of this one: bring the work to an end where it can
    /// go on, then say so.
    PrepareHandover {
        /// Who is to be primary.
        to: PeerId,
        /// What people call that one.
        label: Label,
        /// How long this one waits for that, in milliseconds; then it hands over all the same.
        within_ms: u64,
    },
    /// Another process was primary meanwhile, and this one is: what it has read may have changed.
    /// It acts under a new token.
    EpochBump {
        /// The new token.
        token: Token,
    },
    /// A process has been admitted to the group, or this one has heard of it for the first time.
    Joined {
        /// Who.
        id: PeerId,
        /// What people call it.
        label: Label,
        /// Its service type.
        service: u16,
    },
    /// A process is no longer in the group.
    Left {
        /// Who.
        id: PeerId,
        /// What people call it.
        label: Label,
        /// Its service type.
        service: u16,
        /// Why.
        cause: LeftCause,
    },
    /// A process is probably dead. That is certain only when it has left; until then it may speak
    /// again.
    Suspected {
        /// Who.
        id: PeerId,
        /// What people call it.
        label: Label,
        /// Its service type.
        service: u16,
        /// Why.
        cause: SuspicionCause,
    },
    /// This process is the one to start another.
    Spawn {
        /// Of which service type.
        service: u16,
        /// What the new process is to be given as its origin, so that all others know that it is
        /// the one.
        nonce: u32,
    },
    /// This process stood still.
    Paused {
        /// For how many milliseconds.
        for_ms: u64,
    },
    /// Nothing of what this process says gets out any more, or from the beginning: an interface is
    /// down, there is no route, a filter refuses. It is not admitted, claims nothing, and gives the
    /// role of primary up when its lease is over. Said once, and to a new receiver while it is so.
    CannotSend {
        /// What the system said last, as in [`std::io::Error::from_raw_os_error`]. EDESTADDRREQ:
        /// the names of the others cannot be looked up.
        errno: i32,
    },
    /// What this process says gets out again.
    SendsAgain {
        /// After so many milliseconds.
        after_ms: u64,
    },
    /// The receiver had no room for some events.
    Missed {
        /// How many.
        events: u64,
    },
    /// It has left. Nothing comes after this.
    Stopped,
}

impl EventKind {
    /// The token that counts from this event on, if it is one that brings a token.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        match self {
            EventKind::Role { token, .. } => *token,
            EventKind::EpochBump { token } => Some(*token),
            EventKind::PrepareHandover { .. }
            | EventKind::Joined { .. }
            | EventKind::Left { .. }
            | EventKind::Suspected { .. }
            | EventKind::Spawn { .. }
            | EventKind::Paused { .. }
            | EventKind::CannotSend { .. }
            | EventKind::SendsAgain { .. }
            | EventKind::Missed { .. }
            | EventKind::Stopped => None,
        }
    }
}

macro_rules! causes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $text,)* })
            }
        }
    };
}

causes! {
    /// Why a process's status has changed.
    RoleCause {
        /// It has been started, and asks to be let in.
        Started = "started",
        /// It has listened for long enough.
        Admitted = "admitted",
        /// There was no primary.
        Vacant = "vacant",
        /// The primary is silent.
        Failover = "failover",
        /// The primary is worse, and may be relieved.
        Preempt = "preempt",
        /// Nobody has objected.
        Unopposed = "unopposed",
        /// The last primary has named it.
        Named = "named",
        /// A better one is there.
        Outranked = "outranked",
        /// The primary is alive.
        Refuted = "refuted",
        /// The primary did not yield.
        Unyielding = "unyielding",
        /// It may not be primary any more: by its rank, or because too few of the group are there.
        Barred = "barred",
        /// It has handed over.
        HandedOver = "handed-over",
        /// It has handed over, although its program has not said in time that its work has come to
        /// an end.
        Overdue = "overdue",
        /// Another one is primary, and more processes follow that one, or its token is larger.
        Superseded = "superseded",
        /// Nobody seems to hear it, and another one is primary.
        Unheard = "unheard",
        /// It stood still for too long.
        Paused = "paused",
        /// Too few of the group are there.
        NoQuorum = "no-quorum",
        /// Another process had the same identifier.
        Collision = "collision",
        /// There were more of its service type than there need to be.
        Surplus = "surplus",
        /// It leaves.
        Left = "left",
        /// Nothing of what it says gets out.
        CannotSend = "cannot-send",
    }
}

causes! {
    /// Why a process is no longer in a masterless group.
    LeftCause {
        /// It has said so.
        Left = "left",
        /// It was silent for too long.
        Died = "died",
        /// There was no room for it in the record of this process.
        Forgotten = "forgotten",
    }
}

causes! {
    /// Why a process of a masterless group is probably dead.
    SuspicionCause {
        /// It was not heard for three intervals.
        Silent = "silent",
        /// The kernel says that it has ended, or the program does.
        Ended = "ended",
    }
}
