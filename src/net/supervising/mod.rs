//! A supervisor at work: its decisions behind one lock, and its threads, one for each lifeline.

mod announce;
mod answer;
pub(crate) mod desk;
pub(crate) mod serve;
pub(crate) mod server;
mod subscriber;
pub(crate) mod watchdog;
