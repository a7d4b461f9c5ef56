//! The process's table of descriptors: room in it, the listener on top of it, and one in reserve.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use socket2::Socket;

use super::port::{Listening, accept, socket};
use crate::sys::{self, Booked, Kind};

/// A listening descriptor has at least this number, above what a usual program has open.
const LISTENER_FD: i32 = 256;

/// The descriptor up to which this process's table is known to have room, below the generation that
/// this is about: the table belongs to the process, and a forked child's is smaller.
static ROOM: AtomicU64 = AtomicU64::new(0);

/// Returns the descriptor to which a listener at `present` should move, above `other` and usual
/// files, if it should.
///
/// The kernel closes a dying process's descriptors from the highest down. With the listener on top,
/// the port is free before the first survivor learns of the death; otherwise each of the first
/// hundreds finds it still taken (measured: 64 instances have a new supervisor after 0.55 ms
/// instead of 1.9 ms).
pub(crate) fn wanted_descriptor(present: i32, other: i32) -> Option<i32> {
    if present > other.max(LISTENER_FD - 1) {
        return None;
    }
    // Doubling, so that many connections cost few moves.
    let wanted = LISTENER_FD.max(other.saturating_mul(2)).min(highest_descriptor());
    (wanted > present).then_some(wanted)
}

/// Moves the listener to `wanted` or above, if there is room in the table; see [`make_room`].
pub(crate) fn raise(listener: Listening, wanted: i32) -> Listening {
    if !listener.is_usable() {
        return listener;
    }
    match Booked::make(listener.kind(), || Ok(rustix::io::fcntl_dupfd_cloexec(&listener, wanted)?))
    {
        Ok(raised) => raised.become_a(),
        // The process is at its limit: the failover is a little slower, nothing else.
        Err(_) => listener,
    }
}

/// The descriptor up to which a thread of this process has made room, or is about to.
static ASKED_FOR: AtomicU64 = AtomicU64::new(0);

/// Returns the descriptor for which the caller must [`make_room`], so there is room for `wanted`;
/// `None` if there is, or if another thread sees to it: a process may have many instances, and all
/// learn of a large group at once. The steps double, so a group that grows one by one costs few of
/// them.
pub(crate) fn wants_room(wanted: i32) -> Option<i32> {
    if has_room(wanted) {
        return None;
    }
    let wanted = wanted
        .unsigned_abs()
        .next_power_of_two()
        .try_into()
        .unwrap_or(i32::MAX)
        .min(highest_descriptor());
    (ASKED_FOR.fetch_max(room_for(wanted), Ordering::Relaxed) < room_for(wanted)).then_some(wanted)
}

pub(crate) fn has_room(wanted: i32) -> bool {
    ROOM.load(Ordering::Relaxed) >= room_for(wanted)
}

/// Grows with the generation, then with the number: what was known in the parent is less than
/// anything known here.
fn room_for(wanted: i32) -> u64 {
    u64::from(sys::generation()) << 32 | u64::from(wanted.unsigned_abs())
}

/// Makes the kernel enlarge this process's table of descriptors for `wanted`.
///
/// Blocks for some ten milliseconds: while several threads use the table, the kernel waits for all
/// processors before it replaces it. No thread that others wait for must therefore do this, and it
/// is best done ahead of need: in the middle of a failover it would make the recovery of eight
/// instances take 20 ms instead of 1 ms (measured).
pub(crate) fn make_room(wanted: i32) {
    // In this order: the limit may be below what is wanted at least (256 is the usual one on
    // macOS).
    let wanted = wanted.max(LISTENER_FD).min(highest_descriptor());
    if !has_room(wanted) {
        if let Ok(any) = socket(Kind::Own) {
            // (A fork has to wait for this, once for each doubling.)
            drop(Booked::make(Kind::Own, || Ok(rustix::io::fcntl_dupfd_cloexec(&any, wanted)?)));
        }
        ROOM.fetch_max(room_for(wanted), Ordering::Relaxed);
    }
}

fn highest_descriptor() -> i32 {
    let limit =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    i32::try_from(limit.saturating_sub(1)).unwrap_or(i32::MAX)
}

/// Returns true if this process or this machine has no descriptor left.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The most connections turned away at once. Between two such rounds, the accepting thread looks
/// whether there are descriptors again, even in a flood.
const TURNED_AWAY: usize = 256;

/// A descriptor in reserve: with it a connection can still be accepted, and closed, when no other
/// is left. Otherwise `accept` would fail at once again and again, and its caller would spin.
pub(crate) struct Reserve(Option<Booked<Socket>>);

impl Reserve {
    pub(crate) fn new() -> Self {
        // Any descriptor will do: this one takes no more than an unbound socket.
        Reserve(socket(Kind::Own).ok())
    }

    /// Accepts connections with the reserve, one after the other, and closes them: their clients
    /// learn of it at once, instead of one for each pause of the accepting thread.
    pub(crate) fn turn_away(&mut self, listener: &Listening) {
        self.0 = None;
        for _ in 0..TURNED_AWAY {
            if accept(listener, Kind::Peer).is_err() {
                break;
            }
        }
        *self = Reserve::new();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::port::{connect, here, listen};
    use super::*;

    #[test]
    fn a_raised_listener_is_above_all_others_and_still_listens() {
        use std::os::fd::AsRawFd;
        let listener = listen(here(0), Kind::Port).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wanted = wanted_descriptor(listener.as_raw_fd(), 40).expect("below usual files");
        make_room(wanted);
        assert!(has_room(wanted));
        let listener = raise(listener, wanted);
        let there = listener.as_raw_fd();
        assert!(there >= LISTENER_FD);
        assert_eq!(wanted_descriptor(there, there - 1), None, "moved without need");
        assert!(wanted_descriptor(there, there).expect("no longer on top") > there);
        assert!(connect(here(port), Kind::Peer, Duration::from_secs(1)).unwrap().is_some());
    }
}
