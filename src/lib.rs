//! x
#![allow(dead_code)]
mod config;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod internal;
mod state;
mod wire;
pub use config::*;
pub use error::*;
pub use wire::*;
