//! What a program is told: of its own instance ([`Event`]) and of the registry ([`Change`]). Values
//! only.

use std::fmt;
use std::sync::Arc;

use crate::error::CallError;
use crate::wire::{Entry, LeftCause};

pub(crate) mod masterless;

/// Something that happened to an instance, and when it knew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// CLOCK_MONOTONIC in nanoseconds, taken when the instance knew it; comparable between
    /// processes of one machine.
    pub monotonic_ns: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// It is supervisor now.
    Supervisor {
        /// The number of its supervisorship.
        term: u64,
    },
    /// It is a subordinate now.
    Subordinate {
        /// The number of the supervisorship.
        term: u64,
        /// The supervisor's unique name.
        supervisor: String,
    },
    /// It has no role: it has lost one, or cannot get one.
    Contending {
        /// Why.
        cause: ContendingCause,
    },
    /// All known survivors of the last election are in the registry again.
    Settled {
        /// The number of the supervisorship.
        term: u64,
        /// How many instances the registry has.
        members: u32,
    },
    /// A permit of this instance is no longer valid: it was revoked, or this instance stood still
    /// for so long that others were given what it held.
    PermitLost {
        /// The permit's [number](crate::Permit::id).
        permit: u64,
        /// What it was for.
        resource: String,
        /// How much it was.
        units: u64,
    },
    /// More of a resource is in use than there may be, because it is counted without asking
    /// ([`Tally`](crate::Tally)) or its limit has shrunk. Comes once, until the use has fallen to
    /// the limit again.
    OverLimit {
        /// The resource.
        resource: String,
        /// How much is in use.
        in_use: u64,
        /// How much there may be.
        limit: u64,
    },
    /// A setting of the group has changed.
    Setting {
        /// Its key.
        key: String,
        /// Its value, `None` if it was removed.
        value: Option<String>,
    },
    /// A message from an instance of the group, perhaps from this one.
    Message {
        /// The unique name of the instance that sent it.
        from: String,
        /// What it is about.
        topic: String,
        /// What it says.
        payload: Arc<[u8]>,
    },
    /// An instance at the other end of a lifeline lives and does not answer, or its program makes
    /// no progress. Only where [`Config::hang_timeout`](crate::Config::hang_timeout) is set; comes
    /// again when the cause is another.
    Stalled {
        /// Its unique name.
        name: String,
        /// What can be seen of it from outside.
        cause: StallCause,
    },
    /// An instance that was stalled answers again.
    Resumed {
        /// Its unique name.
        name: String,
    },
    /// Somebody asked this instance to leave (the admin function `stop`); it is about to.
    StopAsked,
    /// It has left the group. The last event.
    Stopped,
    /// So many events before this one are missing: this receiver was full, or messages came faster
    /// than this instance took them.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Why an instance has no role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContendingCause {
    /// The supervisor died.
    SupervisorDied,
    /// The supervisor left the group.
    SupervisorLeft,
    /// The supervisor (perhaps this instance itself) stepped down.
    SteppedDown,
    /// The supervisor cut this instance off.
    Evicted,
    /// Something prevents it from taking part; it goes on trying. The text says what, and what to
    /// do.
    Obstructed(String),
}

impl fmt::Display for ContendingCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ContendingCause::SupervisorDied => "supervisor-died",
            ContendingCause::SupervisorLeft => "supervisor-left",
            ContendingCause::SteppedDown => "stepped-down",
            ContendingCause::Evicted => "evicted",
            ContendingCause::Obstructed(text) => text,
        })
    }
}

/// Why an instance counts as stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StallCause {
    /// Its process is stopped: SIGSTOP, or a debugger.
    Stopped,
    /// Its process is dead and writes a core dump.
    DumpingCore,
    /// It does not answer, and waits for a processor: the machine is too busy for it. It is never
    /// ended for that.
    Starved,
    /// It does not answer, for whatever reason.
    Silent,
    /// It answers, and its program has not called [`Instance::pulse`](crate::Instance::pulse) for
    /// the whole timeout.
    NoProgress,
}

impl StallCause {
    /// The word for it in the command's output and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StallCause::Stopped => "stopped",
            StallCause::DumpingCore => "dumping-core",
            StallCause::Starved => "starved",
            StallCause::Silent => "silent",
            StallCause::NoProgress => "no-progress",
        }
    }
}

impl fmt::Display for StallCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an instance is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It holds the supervisor port.
    Supervisor,
    /// It has a lifeline to the supervisor.
    Subordinate,
    /// Neither, for the moment of an election.
    Contending,
    /// It has left the group, for good.
    Stopped,
}

impl Role {
    /// The word for it in the command's output and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Supervisor => "supervisor",
            Role::Subordinate => "subordinate",
            Role::Contending => "contending",
            Role::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A change of the registry, as a [`Watch`](crate::Watch) reports it, and when the watcher knew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// CLOCK_MONOTONIC in nanoseconds, taken when the watcher knew it.
    pub monotonic_ns: u64,
    /// What changed.
    pub kind: ChangeKind,
}

/// What changed in the registry or about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// An instance is in the registry: at the beginning all that are there, then each that comes.
    Joined(Entry),
    /// An instance is no longer in the registry.
    Left {
        /// Its unique name.
        name: String,
        /// Why.
        cause: LeftCause,
    },
    /// Another supervisor keeps the registry now.
    Supervisor {
        /// Its unique name.
        name: String,
        /// The number of its supervisorship.
        term: u64,
    },
    /// All known survivors of the last election are in the registry again.
    Settled {
        /// The number of the supervisorship.
        term: u64,
        /// How many instances the registry has.
        members: u32,
    },
    /// There is no supervisor for the moment; what was reported so far stays true until it is
    /// corrected.
    Contending,
}

/// One resource, as the supervisor sees it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Its name.
    pub resource: String,
    /// How many units there may be in all, `None` if nobody has declared it.
    pub limit: Option<u64>,
    /// How many units are in use: held by permits, and counted by tallies.
    pub in_use: u64,
    /// How many requests are waiting.
    pub waiting: u32,
    /// Who uses how many units, in the order of their names.
    pub holders: Vec<Holder>,
}

/// One instance's part of a resource's use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its unique name.
    pub name: String,
    /// How many units it uses.
    pub units: u64,
}

/// What one instance said to a call to all.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// Its unique name.
    pub name: String,
    /// Its result, or why there is none.
    pub result: Result<Vec<u8>, CallError>,
}
