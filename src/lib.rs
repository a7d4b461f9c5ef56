//! x
#![allow(dead_code)]
mod config;
mod error;
mod state;
mod wire;
pub use config::*;
pub use error::*;
pub use wire::*;
