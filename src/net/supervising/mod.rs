//! A supervisor at work: its decisions behind one lock, and its threads, one for each lifeline.

pub(crate) mod serve;
pub(crate) mod server;
pub(crate) mod watchdog;
