//! *Primus inter pares*: instances of one program on one machine elect a supervisor.
mod admin;
mod config;
mod error;
mod event;
mod instance;
mod job;
mod net;
mod registry;
mod state;
mod wire;

pub use admin::Admin;
pub use config::{Config, DEFAULT_GROUP, DEFAULT_PORT, MAX_PAYLOAD, default_port};
pub use crossbeam_channel as channel;
pub use error::{AskError, CallError, ConfigError, JoinError, KeyError, PortHolder, StepDownError};
pub use event::{Change, ChangeKind, ContendingCause, Event, EventKind, Role};
pub use instance::Instance;
pub use job::{Job, SupervisorGuard};
pub use registry::{Listing, Registry, Watch};
pub use wire::{ElectionCause, Entry, LeftCause, PROTOCOL_VERSION, Status};
