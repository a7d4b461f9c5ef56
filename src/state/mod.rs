//! Decisions. This room is pure: events and the time come in, and actions come out. It has no
//! clock, socket, thread, lock or log, and therefore the same code runs in the product and,
//! thousands of seeds a second, in a simulator.

use std::time::Duration;

pub(crate) mod admission;
pub(crate) mod backlog;
pub(crate) mod election;
pub(crate) mod health;
pub(crate) mod hello;
pub(crate) mod holdings;
pub(crate) mod masterless;
pub(crate) mod member;
pub(crate) mod obstacle;
pub(crate) mod permits;
pub(crate) mod registry;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod route;
pub(crate) mod settings;
#[cfg(test)]
pub(crate) mod sim;
pub(crate) mod subordinate;
pub(crate) mod supervisor;
pub(crate) mod term;
pub(crate) mod turns;
pub(crate) mod view;

/// A point in time: the time since a moment that is the same for all processes of the machine.
pub(crate) type Time = Duration;

/// The number of a connection in the supervisor's process, never used twice.
pub(crate) type ConnId = u64;
