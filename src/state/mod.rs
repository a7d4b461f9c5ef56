//! Decisions. Pure: events and the time come in, what is to be done comes out. No clock, no socket,
//! no thread, no lock, no log; so the same code runs in the product and, thousands of seeds a
//! second, in a simulator.

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
pub(crate) mod settings;
#[cfg(test)]
pub(crate) mod sim;
pub(crate) mod subordinate;
pub(crate) mod supervisor;
pub(crate) mod term;
pub(crate) mod view;

/// A point in time: what has passed since some moment that is the same for all processes of the
/// machine.
pub(crate) type Time = Duration;

/// One connection's number in the supervisor's process, never used twice.
pub(crate) type ConnId = u64;
