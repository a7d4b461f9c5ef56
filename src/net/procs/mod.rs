//! What the system reports of other processes: which one holds a port, and whether one hangs.

// The command's doctor reads with it what the library does not.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "nothing.rs")]
#[allow(dead_code)]
pub(crate) mod kernel;
pub(crate) mod obstacle;
pub(crate) mod port_holder;
pub(crate) mod sample;
