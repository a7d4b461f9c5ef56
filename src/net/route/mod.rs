//! The routed service address: what a host's kernel does for it.

mod addresses;
mod agent;
mod announce;
mod begin;
mod checksum;
pub(crate) mod clean;
mod dialler;
mod filter;
mod inbox;
mod life;
mod links;
mod member;
mod poke;
mod prepare;
pub(crate) mod probe;
pub(crate) mod program;
mod router;

pub(crate) use agent::RunningAgent;
pub(crate) use begin::{AgentPlan, RouterPlan, serve, target};
pub(crate) use router::{RouterStatus, RunningRouter};

#[cfg(test)]
mod tests;
