//! The routed service address: what a host's kernel does for it.

#![allow(dead_code)] // the router comes next

pub(crate) mod clean;
pub(crate) mod probe;
pub(crate) mod program;

#[cfg(test)]
mod tests;
