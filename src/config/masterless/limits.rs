//! The limits that a masterless group keeps, each with its reason.

use std::time::Duration;

/// Directives that one process remembers to have followed, and that it gives at a time.
pub(crate) const MAX_DIRECTIVES: usize = 16;

/// Service types of which one process tells at a time whom it follows.
pub(crate) const MAX_VIEWED: usize = 16;

/// Other primaries whose claims one counts while it is in conflict with them.
pub(crate) const MAX_RIVALS: usize = 8;

/// Starts that have been made known and not been seen, and dead that still count.
pub(crate) const MAX_PENDING_STARTS: usize = 256;

/// Gone processes whose last heartbeat is remembered, so that it is not taken for new when somebody
/// plays it again.
pub(crate) const MAX_TOMBSTONES: usize = 4096;

/// Most other processes in the record of one.
pub(crate) const MAX_PEERS: usize = 4096;

/// Most addresses that each heartbeat is sent to, one by one. Larger groups use multicast.
pub(crate) const MAX_DESTINATIONS: usize = 256;

/// Most service types whose need one process looks after.
pub(crate) const MAX_NEEDS: usize = 64;

/// Most processes of the own machine whose end the kernel tells: a descriptor each. The others'
/// silence says it, later.
pub(crate) const MAX_LIVES: usize = 256;

/// What a program may want of a peer before the peer's thread has taken it in, which it does at
/// once.
pub(crate) const MAX_WISHES: usize = 1024;

/// Datagrams for which there shall be room while this process does not read. The kernel counts more
/// than the bytes: at most 2,304 for one of ours.
pub(crate) const RECEIVE_BUFFER: usize = 256 * 2304;

/// Datagrams that can wait there at most: the kernel doubles what it is asked for, and counts 768
/// bytes for the smallest. As many are taken before anything is decided, so that nothing has been
/// missed of what came before; a flood delays a heartbeat by no more than these take, a few
/// milliseconds.
pub(crate) const MAX_WAITING: usize = 2 * RECEIVE_BUFFER / 768;

/// Left-over files of dead processes that are looked for at each join, so that a join takes no
/// longer the more there are.
pub(crate) const MAX_SWEPT: usize = 64;

/// Between two warnings about the same breach of the protocol: whoever sends rubbish shall not fill
/// the log.
pub(crate) const WARN_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Between two attempts to find a network interface again that is gone.
pub(crate) const REOPEN: Duration = Duration::from_secs(1);

/// A member that was not heard for so long from an address, and for three intervals, is no longer
/// there.
pub(crate) const SILENT_ADDRESS: Duration = Duration::from_secs(5);

/// So long a process that begins to join waits for its peers' names to be looked up.
pub(crate) const FIRST_LOOK_UP: Duration = Duration::from_secs(1);

/// Between two look-ups of a peer's name, after something new. Twice as long after each that finds
/// nothing new.
pub(crate) const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// Between two look-ups of a peer's name, at most: the system's resolver waits longer for a server
/// that does not answer.
pub(crate) const LOOK_UP_AT_LEAST: Duration = Duration::from_secs(30);

/// Below it the timer's own inaccuracy is no longer small.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Above it a death would be noticed after minutes.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// A busy machine runs a process some ten milliseconds late.
pub(super) const MIN_DELAY: Duration = Duration::from_millis(20);
