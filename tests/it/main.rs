//! Everything that needs more than one room: real sockets, real processes, hostile peers, the house rules.

#[cfg(target_os = "linux")]
mod hostile;
mod instance;
#[cfg(target_os = "linux")]
mod raw;
mod readme;
mod tidy;
