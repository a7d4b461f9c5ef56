//! An instance in its group: its place, what it holds, and the thread that plays its role.

mod claim;
pub(crate) mod hand_over;
pub(crate) mod holding;
mod lifeline;
pub(crate) mod presence;
pub(crate) mod role;
pub(crate) mod shared;
pub(crate) mod waiters;
