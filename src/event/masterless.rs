//! What a process of a masterless group learns. Values only.

use std::cmp::Ordering;
use std::fmt;

use crate::serial::as_text;
use crate::wire::heartbeat::Status;
use crate::wire::{Label, PeerId};

/// A fencing token: a number for each time that a process becomes primary. A store that the primary
/// writes to keeps the largest token that it has seen, and refuses smaller ones.
///
/// The token with the larger epoch is the larger one; of two with the same epoch, the one of the
/// older process. The rank does not count: a primary keeps its token when its rank changes.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Token {
    /// The epoch, which grows with each acquisition.
    pub epoch: u64,
    /// The process that became primary.
    pub id: PeerId,
}

impl Token {
    /// Returns the whole token as a text that grows with the token: 48 hexadecimal digits, whose
    /// order as texts is their order as numbers.
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
    /// let token = token.expect("a process that is alone becomes primary");
    /// assert_eq!(token.fence().len(), 48);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fence(&self) -> String {
        format!("{:016x}{:032x}", self.epoch, !self.id.seniority())
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Token {}

impl std::hash::Hash for Token {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.epoch, self.id.seniority()).hash(state);
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Token {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch).then(other.id.seniority().cmp(&self.id.seniority()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch, self.id)
    }
}

/// Something that happened to a process of a masterless group, and when the process knew of it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When the process knew of it: CLOCK_MONOTONIC in nanoseconds, comparable between the
    /// processes of one machine.
    pub monotonic_ns: u64,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

/// What happened to a process of a masterless group.
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "event", rename_all = "kebab-case")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The status of the process has changed.
    Role {
        /// The old status.
        from: Status,
        /// The new status.
        to: Status,
        /// The token that fences its work, if it is primary now.
        token: Option<Token>,
        /// Why the status has changed.
        cause: RoleCause,
    },
    /// A better process is to become primary instead of this one. The program should bring its work
    /// to a point where the other can go on, and then say so.
    PrepareHandover {
        /// The process that is to become primary.
        to: PeerId,
        /// Its label.
        label: Label,
        /// How long this process waits for the program, in milliseconds. After that it hands over
        /// anyway.
        within_ms: u64,
    },
    /// Another process was primary meanwhile, and this process is primary again, under a new token.
    /// What it has read may have changed.
    EpochBump {
        /// The new token.
        token: Token,
    },
    /// A process has been admitted to the group, or this process has heard of it for the first
    /// time.
    Joined {
        /// Its identifier.
        id: PeerId,
        /// Its label.
        label: Label,
        /// Its service type.
        service: u16,
    },
    /// A process is no longer in the group.
    Left {
        /// Its identifier.
        id: PeerId,
        /// Its label.
        label: Label,
        /// Its service type.
        service: u16,
        /// Why it is no longer there.
        cause: LeftCause,
    },
    /// A process is probably dead. This is certain only once it has left; until then it may be
    /// heard again.
    Suspected {
        /// Its identifier.
        id: PeerId,
        /// Its label.
        label: Label,
        /// Its service type.
        service: u16,
        /// Why it is suspected.
        cause: SuspicionCause,
    },
    /// This process is the one that must start another.
    Spawn {
        /// The service type of the new process.
        service: u16,
        /// The number to pass to the new process as its origin, by which all others recognise it.
        nonce: u32,
    },
    /// This process stood still.
    Paused {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Nothing that this process sends gets out, from now on or from the beginning: an interface is
    /// down, there is no route, or a filter refuses it. The process is not admitted, claims
    /// nothing, and gives up the role of primary when its lease is over. This event comes once, and
    /// to each new receiver while it holds.
    CannotSend {
        /// The system's last error number, as in [`std::io::Error::from_raw_os_error`].
        /// EDESTADDRREQ means that the names of the others cannot be looked up.
        errno: i32,
    },
    /// What this process sends gets out again.
    SendsAgain {
        /// After how many milliseconds.
        after_ms: u64,
    },
    /// The receiver had no room for some events.
    Missed {
        /// The number of missing events.
        events: u64,
    },
    /// The process has left. This is the last event.
    Stopped,
}

impl EventKind {
    /// Returns the token that counts from this event on, if the event brings one.
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

        as_text!($name);
    };
}

causes! {
    /// Why a process's status has changed.
    RoleCause {
        /// It was started, and asks to be admitted.
        Started = "started",
        /// It has listened for long enough.
        Admitted = "admitted",
        /// The group had no primary.
        Vacant = "vacant",
        /// The primary is silent.
        Failover = "failover",
        /// The primary has a lower priority, and may be relieved.
        Preempt = "preempt",
        /// No process has objected.
        Unopposed = "unopposed",
        /// The previous primary has named it.
        Named = "named",
        /// A process of higher priority is present.
        Outranked = "outranked",
        /// The primary is alive.
        Refuted = "refuted",
        /// The primary did not yield.
        Unyielding = "unyielding",
        /// It may no longer be primary: because of its rank, or because too few processes of the
        /// group are present.
        Barred = "barred",
        /// It has handed over.
        HandedOver = "handed-over",
        /// It has handed over, although its program did not report in time that its work was
        /// finished.
        Overdue = "overdue",
        /// Another process is primary, and has more followers or the larger token.
        Superseded = "superseded",
        /// No process seems to hear it, and another process is primary.
        Unheard = "unheard",
        /// It stood still for too long.
        Paused = "paused",
        /// Too few processes of the group are present.
        NoQuorum = "no-quorum",
        /// Another process had the same identifier.
        Collision = "collision",
        /// The group had more processes of its service type than it needs.
        Surplus = "surplus",
        /// It leaves.
        Left = "left",
        /// Nothing that it sends gets out.
        CannotSend = "cannot-send",
    }
}

causes! {
    /// Why a process is no longer in a masterless group.
    LeftCause {
        /// It said so.
        Left = "left",
        /// It was silent for too long.
        Died = "died",
        /// The record of this process had no room for it.
        Forgotten = "forgotten",
    }
}

causes! {
    /// Why a process of a masterless group is probably dead.
    SuspicionCause {
        /// It has not been heard for three intervals.
        Silent = "silent",
        /// The kernel, or the program, reports that it has ended.
        Ended = "ended",
    }
}
