//! For systems that report nothing of other processes that this library reads.

use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

pub(crate) fn pids() -> Vec<u32> {
    Vec::new()
}

pub(crate) fn thread_names(_: u32) -> Option<Vec<String>> {
    None
}

pub(crate) fn started(_: u32) -> Option<u64> {
    None
}

/// What a process is at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessState {
    pub(crate) program: String,
    pub(crate) own_pid: u32,
    pub(crate) stopped: bool,
    pub(crate) dumping_core: bool,
    pub(crate) dead: bool,
    pub(crate) ending: bool,
}

pub(crate) fn state(_: u32) -> Option<ProcessState> {
    None
}

/// A thread of another process.
#[derive(Debug)]
pub(crate) struct ThreadLook {
    pub(crate) name: String,
    pub(crate) waits: bool,
    pub(crate) ran: Option<Duration>,
}

pub(crate) fn threads(_: u32) -> Option<Vec<ThreadLook>> {
    None
}

pub(crate) fn usage(_: u32) -> Vec<(usize, usize)> {
    Vec::new()
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) at: SocketAddrV4,
    pub(crate) uid: u32,
    pub(crate) inode: u64,
    pub(crate) queue: u32,
}

impl ListeningSocket {
    pub(crate) fn covers(&self, at: SocketAddrV4) -> bool {
        self.at == at
    }
}

pub(crate) fn listeners() -> Option<Vec<ListeningSocket>> {
    None
}

pub(crate) fn listener_at(_: SocketAddrV4) -> Option<ListeningSocket> {
    None
}

pub(crate) fn listeners_of(_: u32) -> Vec<ListeningSocket> {
    Vec::new()
}

pub(crate) fn sockets_of(_: u32) -> Vec<u64> {
    Vec::new()
}

pub(crate) fn has_socket(_: u32, _: u64) -> bool {
    false
}

pub(crate) fn process_with(_: u64) -> Option<u32> {
    None
}

pub(crate) fn other_end(_: &TcpStream) -> Option<u64> {
    None
}
