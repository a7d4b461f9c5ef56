//! What a program learns of its own instance ([`Event`]) and of the registry ([`Change`]). Values
//! only.

use std::fmt;
use std::sync::Arc;

use crate::error::{CallError, advised};
use crate::serial::as_text;
use crate::wire::{Acceptor, Entry, LeftCause};

pub(crate) mod masterless;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod route;

as_text!(ContendingCause, StallCause, Role);

/// Something that happened to an instance, and when the instance knew of it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When the instance knew of it: CLOCK_MONOTONIC in nanoseconds, comparable between the
    /// processes of one machine.
    pub monotonic_ns: u64,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

/// What happened to an instance.
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "event", rename_all = "kebab-case")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The instance has become supervisor.
    Supervisor {
        /// The number of its supervisorship.
        term: u64,
    },
    /// The instance has become a subordinate.
    Subordinate {
        /// The number of the supervisorship.
        term: u64,
        /// The supervisor's unique name.
        supervisor: String,
    },
    /// The instance has no role: it lost its role, or cannot get one.
    Contending {
        /// Why it has no role.
        cause: ContendingCause,
    },
    /// All known survivors of the last election are back in the registry.
    Settled {
        /// The number of the supervisorship.
        term: u64,
        /// The number of instances in the registry.
        members: u32,
    },
    /// A permit of this instance is no longer valid: it was revoked, or this instance stood still
    /// for so long that others were given what it held.
    PermitLost {
        /// The permit's [number](crate::Permit::id).
        permit: u64,
        /// The name of the resource.
        resource: String,
        /// The number of units.
        units: u64,
    },
    /// The use of a resource exceeds its limit, because the use is counted without asking
    /// ([`Tally`](crate::Tally)) or the limit was lowered. This event comes once; it can come again
    /// after the use has fallen to the limit.
    OverLimit {
        /// The name of the resource.
        resource: String,
        /// The number of units in use.
        in_use: u64,
        /// The resource's limit.
        limit: u64,
    },
    /// A setting of the group has changed.
    Setting {
        /// Its key.
        key: String,
        /// Its value; `None` if the setting was removed.
        value: Option<String>,
    },
    /// A message from an instance of the group, possibly from this one.
    Message {
        /// The unique name of the instance that sent it.
        from: String,
        /// The topic of the message.
        topic: String,
        /// The content of the message.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::bytes"))]
        payload: Arc<[u8]>,
    },
    /// An instance at the other end of a lifeline lives but does not answer, or its program makes
    /// no progress. This event comes only where
    /// [`Config::hang_timeout`](crate::Config::hang_timeout) is set, and comes again when the cause
    /// changes.
    Stalled {
        /// Its unique name.
        name: String,
        /// The likely cause, as far as it can be seen from outside.
        cause: StallCause,
    },
    /// A stalled instance answers again.
    Resumed {
        /// Its unique name.
        name: String,
    },
    /// A process has shut down a listener that this instance shares with others
    /// ([`Instance::listen`](crate::Instance::listen)). It listens again; the connections that
    /// waited in it are lost.
    ListenerRevived {
        /// Its address and port.
        address: String,
    },
    /// A caller asked this instance to leave (the admin function `stop`). It is about to leave.
    StopAsked,
    /// The instance has left the group. This is the last event.
    Stopped,
    /// Some events before this one are missing: this receiver was full, or messages came faster
    /// than this instance took them.
    Missed {
        /// The number of missing events.
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
    /// An obstacle keeps the instance from taking part; it keeps trying. The text says what the
    /// obstacle is, and what to do.
    Obstructed {
        /// What prevents it.
        finding: String,
        /// What to do; empty if there is nothing to say.
        remedy: String,
        /// The methods of [`Config`](crate::Config) that the remedy is about.
        settings: &'static [&'static str],
    },
}

impl fmt::Display for ContendingCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            ContendingCause::SupervisorDied => "supervisor-died",
            ContendingCause::SupervisorLeft => "supervisor-left",
            ContendingCause::SteppedDown => "stepped-down",
            ContendingCause::Evicted => "evicted",
            ContendingCause::Obstructed { finding, remedy, settings } => {
                return advised(f, finding, remedy, settings);
            }
        };
        f.pad(word)
    }
}

/// Why an instance counts as stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StallCause {
    /// Its process is stopped by SIGSTOP or a debugger.
    Stopped,
    /// Its process is dead and writes a core dump.
    DumpingCore,
    /// It does not answer, and waits for a processor: the machine is too busy. It is never ended
    /// for this cause.
    Starved,
    /// It does not answer, and the reason is not known.
    Silent,
    /// It answers, but its program has not called [`Instance::pulse`](crate::Instance::pulse) for
    /// the whole timeout.
    NoProgress,
}

impl StallCause {
    /// Returns the word for it in the command's output and in the log.
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

/// The role of an instance at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The instance holds the supervisor port.
    Supervisor,
    /// The instance has a lifeline to the supervisor.
    Subordinate,
    /// The instance has neither, for the duration of an election.
    Contending,
    /// The instance has left the group for good.
    Stopped,
}

impl Role {
    /// Returns the word for it in the command's output and in the log.
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

/// A change of the registry, as a [`Watch`](crate::Watch) reports it, and when the watcher knew of
/// it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When the watcher knew of it: CLOCK_MONOTONIC in nanoseconds.
    pub monotonic_ns: u64,
    /// What changed.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: ChangeKind,
}

/// What changed in the registry or about it.
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "event", rename_all = "kebab-case")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// An instance is in the registry. At the start of a watch this reports each present instance,
    /// then each new one.
    Joined {
        /// What the registry knows of the instance.
        entry: Entry,
    },
    /// An instance is no longer in the registry.
    Left {
        /// Its unique name.
        name: String,
        /// Why it is no longer there.
        cause: LeftCause,
    },
    /// Another supervisor keeps the registry now.
    Supervisor {
        /// Its unique name.
        name: String,
        /// The number of its supervisorship.
        term: u64,
    },
    /// All known survivors of the last election are back in the registry.
    Settled {
        /// The number of the supervisorship.
        term: u64,
        /// The number of instances in the registry.
        members: u32,
    },
    /// There is no supervisor at the moment. What was reported so far stays true until it is
    /// corrected.
    Contending,
}

/// One resource, as the supervisor sees it at one moment.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Its name.
    pub resource: String,
    /// The limit in units; `None` if no instance has declared the resource.
    pub limit: Option<u64>,
    /// The number of units in use: held by permits, and counted by tallies.
    pub in_use: u64,
    /// The number of waiting requests.
    pub waiting: u32,
    /// The instances that use it, in the order of their names.
    pub holders: Vec<Holder>,
}

/// One instance's share of a resource's use.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its unique name.
    pub name: String,
    /// The number of units it uses.
    pub units: u64,
}

/// A listener that instances share ([`Instance::listen`](crate::Instance::listen)), as the
/// supervisor sees it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedListener {
    /// Its address and port.
    pub address: String,
    /// The connections that wait to be accepted.
    pub waiting: u32,
    /// The instances that accept there, in the order in which they came.
    pub acceptors: Vec<Acceptor>,
}

/// One instance's reply to a call of all instances.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reply {
    /// Its unique name.
    pub name: String,
    /// Its result, or why it has none.
    pub result: Result<Vec<u8>, CallError>,
}
