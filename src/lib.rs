//! *Primus inter pares*, first among equals: the instances of one program on one machine find one
//! another, elect one of themselves **supervisor**, keep a **registry** of all instances, call one
//! another, and learn of every death at once. They need no daemon, no lock file and no heartbeat,
//! and send no byte while nothing happens.
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
//! *supervisor port*. The kernel lets exactly one of them succeed: that is the election. Each other
//! instance keeps one connection to the supervisor, its *lifeline*. When a process dies, however it
//! dies, the kernel closes its connections, and the other end knows within some hundred
//! microseconds. A registry entry therefore lives exactly as long as its lifeline, and when the
//! supervisor dies, all others try the port again at that moment.
//!
//! Each survivor's first message to the new supervisor carries everything that the survivor holds.
//! From these messages the new supervisor rebuilds the registry, in a new *term*. The registry is
//! *settled* once every known survivor is back or known dead.
//!
//! Terms grow with every supervisorship, even when all instances die and the group starts anew.
//! Every instance remembers the last term that it has seen, and each supervisor writes its own term
//! into `GROUP.term` in the group's directory before it acts.
//!
//! # What instances share
//!
//! The supervisor keeps the ledger of *permits* ([`Instance::acquire`]): which instance holds how
//! many units of which resource, and which requests wait, in the order of asking. Each instance
//! also keeps a record of what it holds. Its hello to a new supervisor carries its permits, its
//! waiting requests with their numbers and times, its *tallies*, and all *settings* that it knows.
//! From these the new supervisor rebuilds the ledger, and it grants nothing before it is settled.
//!
//! A setting is acknowledged once it has been written to every instance. It survives the
//! supervisor, because an instance reads what the kernel has accepted even after the writer's
//! death.
//!
//! An instance that wants to take part must prove that it has the group's key, without showing it.
//! The key is a file that only this user can read.
//!
//! Instances can also share a listening socket ([`Instance::listen`]), whose waiting connections
//! survive the death of any instance.
//!
//! # Forks and crashes
//!
//! A forked child has none of its parent's connections, and may join by itself ([`Instance`]). A
//! process that dumps core counts as alive until the dump is written, unless it gives up its
//! connections first ([`Config::release_on_crash`]).
//!
//! # The threads of an instance
//!
//! Each instance has two threads (`pares-role`, `pares-endpoint`), three more while it is
//! supervisor, and then one small thread for each subordinate. All of them block in the kernel
//! while nothing happens. `docs/architecture.md` has a table of all threads. None of them takes a
//! signal of the program; functions of the program that run on them have the program's signal mask.
//!
//! # Groups without a supervisor
//!
//! The module [`masterless`] is a second system: its groups need no port and no lifeline, and can
//! span machines. They rely on heartbeats.
//!
//! # The log
//!
//! The library logs through the `log` crate, at these levels:
//!
//! - `error`: this instance cannot take part;
//! - `warn`: the other end broke the protocol and was cut off, or the system is at a limit;
//! - `info`: changes of role, one line each;
//! - `debug`: instances that join and leave, elections, calls;
//! - `trace`: messages.
//!
//! # Further pages
//!
//! The README lists them: programs to start from, every promise with its test, operations, and, in
//! `docs/architecture.md`, the rooms of the code, its threads and its invariants.

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
mod listener;
pub mod masterless;
mod message;
mod net;
mod permit;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod route;
mod serial;
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
    AcceptError, AcquireError, AskError, CallError, ConfigError, JoinError, KeepError, KeyError,
    ListenError, MessageError, PlaceError, PortHolder, ResourceError, SettingError, StartError,
    StepDownError, TallyError,
};
pub use event::{
    Change, ChangeKind, ContendingCause, Event, EventKind, Holder, Reply, Role, SharedListener,
    StallCause, Usage,
};
pub use instance::Instance;
pub use job::{Job, SupervisorGuard};
pub use listener::{Connection, Connections, Listen, Listener};
pub use net::rt::events::{Events, EventsIter};
pub use permit::Permit;
pub use tally::Tally;
pub use wire::{Acceptor, ElectionCause, Entry, LeftCause, PROTOCOL_VERSION, Policy, Status};

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
    #[doc = include_str!("../docs/listener.md")]
    struct Listener;
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
    #[doc = include_str!("../docs/service-address.md")]
    struct ServiceAddress;
}
