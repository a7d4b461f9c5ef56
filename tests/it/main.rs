//! Everything that needs more than one room: real sockets, real processes, hostile peers, the house
//! rules. On Linux: much of it is read from /proc.
#![cfg(target_os = "linux")]

mod actors;
mod address;
mod capi;
mod chaos;
mod cli;
mod counts;
mod crash;
mod database;
mod doctor;
mod doctor_views;
mod face;
mod failover;
mod fencing;
mod fork;
mod handshake;
mod hang;
mod hostile;
mod instance;
mod key_files;
mod limits;
mod listen;
mod netns;
mod never_supervisor;
mod peer;
mod peer_cli;
mod peer_names;
mod pictures;
mod places;
mod polling;
mod random;
mod raw;
mod readme;
mod run;
mod run_listen;
mod serial;
mod sharing;
mod sharing_cli;
mod signals;
#[path = "../skipped/note.rs"]
mod skipped;
mod support;
mod terminal;
mod terms;
mod tidy;
mod wrapper;
