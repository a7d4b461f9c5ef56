//! What the system reports of other processes: which one holds a port, and whether one hangs;
//! and by which name this one was called.

use std::path::{Path, PathBuf};

// The command's doctor reads with it what the library does not.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "nothing.rs")]
#[allow(dead_code)]
pub(crate) mod kernel;
pub(crate) mod obstacle;
pub(crate) mod port_holder;
pub(crate) mod sample;

/// Returns the name by which this program was called.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).or(std::env::current_exe().ok());
    let name = called.as_deref().and_then(Path::file_name).unwrap_or_default();
    name.to_string_lossy().into_owned()
}
