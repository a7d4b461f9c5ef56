//! The limits that a masterless group keeps, each with its reason.

use std::time::Duration;

/// The most directives that one process remembers to have followed, and the most that it gives at a
/// time.
pub(crate) const MAX_DIRECTIVES: usize = 16;

/// The most service types for which one heartbeat tells the primary that the process follows.
pub(crate) const MAX_VIEWED: usize = 16;

/// The most other primaries whose claims a primary counts while it is in conflict with them.
pub(crate) const MAX_RIVALS: usize = 8;

/// The most announced starts of processes not yet seen, and the most dead processes that still
/// count.
pub(crate) const MAX_PENDING_STARTS: usize = 256;

/// The most gone processes whose last heartbeat is remembered. A replay of that heartbeat is then
/// recognised.
pub(crate) const MAX_TOMBSTONES: usize = 4096;

/// The most other processes in the record of one process.
pub(crate) const MAX_PEERS: usize = 4096;

/// The most addresses that each heartbeat is sent to, one by one. Larger groups use multicast.
pub(crate) const MAX_DESTINATIONS: usize = 256;

/// The most service types that one process keeps at their size.
pub(crate) const MAX_NEEDS: usize = 64;

/// The most processes of this machine whose end the kernel reports: each takes a descriptor. The
/// end of any other shows by its silence, later.
pub(crate) const MAX_LIVES: usize = 256;

/// The most requests of a program that wait for the peer's thread, which takes them at once.
pub(crate) const MAX_WISHES: usize = 1024;

/// The space for datagrams that come while this process does not read. The kernel counts more than
/// the bytes: at most 2,304 for one datagram of ours.
pub(crate) const RECEIVE_BUFFER: usize = 256 * 2304;

/// The most datagrams that can wait in that space: the kernel doubles the size that it is asked
/// for, and counts 768 bytes for the smallest datagram. The peer takes this many before it decides
/// anything, and therefore has missed nothing of what came before. A flood delays a heartbeat by no
/// more than these take, a few milliseconds.
pub(crate) const MAX_WAITING: usize = 2 * RECEIVE_BUFFER / 768;

/// The most left-over files of dead processes that a join looks at. A join then takes no longer the
/// more there are.
pub(crate) const MAX_SWEPT: usize = 64;

/// The time between two warnings about the same breach of the protocol: a sender of rubbish must
/// not fill the log.
pub(crate) const WARN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// The time between two attempts to find a network interface that is gone.
pub(crate) const REOPEN: Duration = Duration::from_secs(1);

/// A member that has not been heard from an address for this time, and for three intervals, is no
/// longer there.
pub(crate) const SILENT_ADDRESS: Duration = Duration::from_secs(5);

/// How long a joining process waits for the look-up of its peers' names.
pub(crate) const FIRST_LOOK_UP: Duration = Duration::from_secs(1);

/// The time between two look-ups of a peer's name, after one that found something new. It doubles
/// with each look-up that finds nothing new.
pub(crate) const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// The longest time between two look-ups of a peer's name: the system's resolver waits longer for a
/// server that does not answer.
pub(crate) const LOOK_UP_AT_LEAST: Duration = Duration::from_secs(30);

/// The shortest interval. With a shorter one, the timer's own inaccuracy would no longer be small.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// The longest interval. With a longer one, a death would be noticed after minutes.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest delay: a busy machine runs a process some ten milliseconds late.
pub(super) const MIN_DELAY: Duration = Duration::from_millis(20);

/// The longest delay, in intervals: with a longer one, no timeout that follows would be of use.
pub(super) const MAX_DELAY: u32 = 10;
