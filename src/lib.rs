//! *Primus inter pares*, first among equals: several instances of one program run on one machine,
//! find one another, elect one of themselves **supervisor**, keep a **registry** of who is there,
//! call one another, and know of every death at once, without a daemon, a lock file, a heartbeat,
//! or a byte of traffic while nothing happens.
//!
//! ```
//! use std::time::Duration;
//! use pares::{Config, EventKind, Instance};
//!
//! let config = Config::new("my-program");
//! # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
//! let config = config.admin_function("hello", "greets", |who| Ok([b"hello ", who].concat()));
//! let instance = Instance::join(config)?;
//! println!("{} is {}", instance.name(), instance.role());
//!
//! // `main` is the supervisor.
//! let greeting = instance.client().call("main", "hello", b"world", Duration::from_secs(2))?;
//! assert_eq!(greeting, b"hello world");
//!
//! let job = instance.while_supervisor(|guard| {
//!     while !guard.wait(Duration::from_secs(60)) { /* once a minute, on one instance only */ }
//! })?;
//! for event in instance.events() {
//!     match event.kind {
//!         EventKind::Supervisor { term } => println!("now supervisor, term {term}"),
//!         other => println!("{other:?}"),
//!     }
//! #   break;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! All instances of a group try to bind **and listen** on one TCP port of the loopback address, the
//! *supervisor port*. The kernel lets exactly one: that is the election. Each other instance keeps
//! one connection to it, its *lifeline*. When a process dies, however it dies, the kernel closes
//! its connections, and whoever reads at the other end knows within some hundred microseconds. So a
//! registry entry lives exactly as long as its lifeline, and when the supervisor dies, all others
//! try the port again at that moment. Each survivor's first message to the new supervisor carries
//! everything it holds; from these the registry is rebuilt, in a new *term*, and is *settled* once
//! everybody who is known to have survived is back or known dead.
//!
//! Terms grow with every supervisorship. Every instance remembers the last one it has seen, and
//! each supervisor writes its own into `GROUP.term` in the group's directory before it acts: so
//! they also grow when all instances die and the group starts anew.
//!
//! # What instances share
//!
//! The supervisor keeps the book of *permits* ([`Instance::acquire`]): who holds how many units of
//! which resource, who waits, in the order of asking. What an instance holds, it holds itself, too:
//! its hello to a new supervisor carries its permits, its waiting requests with their numbers and
//! the time of asking, its *tallies* and all *settings* it knows. From these the successor rebuilds
//! everything, and grants nothing before it is settled. A setting is acknowledged once it was
//! written to every instance, and what the kernel has taken is read even after the writer's death:
//! so it survives.
//!
//! Who wants to take part proves, without showing it, that it has the group's key, a file that only
//! this user can read.
//!
//! # Forks and crashes
//!
//! A forked child has none of its parent's connections, and may join by itself ([`Instance`]). A
//! process that writes a core dump counts as alive until that is written, unless it gives its
//! connections up first ([`Config::release_on_crash`]).
//!
//! # The threads of an instance
//!
//! Two for each instance (`pares-role`, `pares-endpoint`), three more while it is supervisor, and
//! then one small one for each subordinate; all blocked in the kernel while nothing happens. The
//! table of all threads is in `docs/architecture.md`. None takes a signal of the program's;
//! functions of the program run on them with its mask.
//!
//! # Groups without a supervisor
//!
//! The module [`masterless`] is a second system: its groups need no port and no lifeline, and can
//! span machines. They rely on heartbeats.
//!
//! # The log
//!
//! With the `log` crate: `error`, this instance cannot take part; `warn`, a peer broke the protocol
//! and was cut off, or the system is at a limit; `info`, changes of role, one line each; `debug`,
//! who joins and leaves, elections, calls; `trace`, messages.
//!
//! # Further pages
//!
//! The README names them: programs to start from, every promise with its test, operations, and, in
//! `docs/architecture.md`, the rooms of the code, its threads and invariants.

mod client;
mod config;
mod error;
mod event;
#[cfg(feature = "capi")]
mod ffi;
mod instance;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod internal;
mod job;
pub mod masterless;
mod message;
mod net;
mod permit;
mod setting;
#[cfg(test)]
#[path = "../tests/skipped/note.rs"]
mod skipped;
mod state;
mod sys;
mod tally;
mod wire;

pub use client::{Client, Listing, Watch};
pub use config::{
    Config, DEFAULT_GROUP, DEFAULT_PORT, MAX_MESSAGE, MAX_PAYLOAD, Resource, StateDirectory,
    default_address, default_port,
};
/// The crate whose `select!` can wait for [`Events`] beside other channels.
pub use crossbeam_channel as channel;
pub use error::{
    AcquireError, AskError, CallError, ConfigError, JoinError, KeepError, KeyError, MessageError,
    PlaceError, PortHolder, ResourceError, SettingError, StartError, StepDownError, TallyError,
};
pub use event::{
    Change, ChangeKind, ContendingCause, Event, EventKind, Holder, Reply, Role, StallCause, Usage,
};
pub use instance::Instance;
pub use job::{Job, SupervisorGuard};
pub use net::rt::events::{Events, EventsIter};
pub use permit::Permit;
pub use tally::Tally;
pub use wire::{ElectionCause, Entry, LeftCause, PROTOCOL_VERSION, Status};

/// The programs of the README and of every page, as tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/architecture.md")]
    struct Architecture;
    #[doc = include_str!("../docs/c.md")]
    struct C;
    #[doc = include_str!("../docs/command-line.md")]
    struct CommandLine;
    #[doc = include_str!("../docs/guarantees.md")]
    struct Guarantees;
    #[doc = include_str!("../docs/masterless.md")]
    struct Masterless;
    #[doc = include_str!("../docs/measured.md")]
    struct Measured;
    #[doc = include_str!("../docs/measured-masterless.md")]
    struct MeasuredMasterless;
    #[doc = include_str!("../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../docs/run.md")]
    struct Run;
    #[doc = include_str!("../docs/rust.md")]
    struct Rust;
}
