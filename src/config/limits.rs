//! Every limit that the library keeps for groups with a supervisor, with its reason.

use std::time::Duration;

/// The supervisor port of the group `default`, as the patent's text has it.
pub const DEFAULT_PORT: u16 = 30099;

/// The group of an instance that names no other.
pub const DEFAULT_GROUP: &str = "default";

/// The longest group name in bytes: it is a file name, and part of the first message of a stranger.
pub(crate) const MAX_GROUP: usize = 64;

/// The longest instance name in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// The most key/value pairs of an instance, and the most bytes of all of them: a registry of the
/// largest group then stays below 64 MiB.
pub(crate) const MAX_META: usize = 32;
/// See [`MAX_META`].
pub(crate) const MAX_META_BYTES: usize = 4096;

/// The most admin functions of an instance, the built-in ones included.
pub(crate) const MAX_FUNCTIONS: usize = 64;

/// The longest name of an admin function in bytes.
pub(crate) const MAX_FUNCTION_NAME: usize = 64;

/// The largest argument and the largest result of an admin call in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The most instances in one group: each takes a descriptor and a small thread in the supervisor's
/// process.
pub(crate) const MAX_MEMBERS: usize = 16_384;

/// The most connections at once to one registry port or admin endpoint whose clients have proved
/// that they have the key. Beyond it a client is told to come back later.
pub(crate) const MAX_CLIENTS: usize = 1024;

/// The most connections to one port that are still in the handshake. Beyond it the oldest one makes
/// room (`net/service.rs`): a stranger who fills the port with silent connections delays nobody.
pub(crate) const MAX_PENDING: usize = 1024;

/// The number of witnesses: members to which the supervisor sends the roster (see
/// `state/supervisor.rs`). In a group of up to this size every survivor knows all others. In a
/// larger one at least one survivor does, unless all witnesses and the supervisor die at once. Each
/// join costs at most this many messages: with 16 of them, 1,000 instances took a tenth longer to
/// join.
pub(crate) const WITNESSES: usize = 8;

/// The number of members from which on the witnesses are renewed as the group grows (see
/// `state/supervisor.rs`).
pub(crate) const RENEWED_FROM: usize = WITNESSES + WITNESSES / 2;

/// As good as without end: 34 years. Longer times count as this one, which keeps every moment
/// within what can be calculated.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// How long a client or server waits for the other end to finish the handshake. A living process
/// takes well under a millisecond; a process that is stopped or short of CPU time takes longer.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an instance waits that has been in the group before: thousands may be served before it.
/// If the other end dies, the instance learns of that at once, whatever this time is.
pub(crate) const SURVIVOR_PATIENCE: Duration = Duration::from_secs(10);

/// How long the supervisor waits for a name's holder to turn out dead before it refuses the name to
/// another instance: a killed process closes its sockets some hundred microseconds after the
/// signal. A member that was cut off waits as long for its supervisor to turn out dead.
pub(crate) const REAP_WAIT: Duration = Duration::from_millis(50);

/// How long a blocking write to one client may take before that client is cut off. Only the
/// client's own thread waits, which delays no other client.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a supervisor that has stepped down leaves the port to others before it contends again.
pub(crate) const ASIDE: Duration = Duration::from_millis(500);

/// The shortest hang timeout. With a shorter one, the noise of any busy machine would pass for a
/// hang.
pub(crate) const MIN_HANG_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest hang timeout. Up to it, and far beyond, no number of nanoseconds overflows.
pub(crate) const MAX_HANG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of instances from which on survivors look whether the port is held before they try to
/// take it. A refusal by the kernel costs each of them some nanoseconds for each connection of the
/// port; a refused connection costs some ten microseconds. The supervisor therefore tells them
/// whenever their number has doubled.
pub(crate) const CROWD: usize = 512;

/// Returns how long a supervisor of `members` instances waits for the next survivor. Of thousands,
/// the survivors that found no place in its queue pause for up to two seconds (`net/port.rs`)
/// before they try again.
pub(crate) fn patience(settle_time: Duration, members: usize) -> Duration {
    settle_time.max(Duration::from_micros(300) * u32::try_from(members).unwrap_or(u32::MAX))
}

/// How long the supervisor waits, after an election and after the last survivor that came back,
/// before it first probes the known members that are missing. A living member needs a few
/// milliseconds, so most earlier probes would be wasted.
pub(crate) const FIRST_PROBE: Duration = Duration::from_millis(20);

/// How often the supervisor repeats these probes.
pub(crate) const NEXT_PROBE: Duration = Duration::from_millis(50);

/// The number of members that the supervisor probes at a time. A living member takes the probe for
/// a call, which costs its process a thread: probing thousands at once would hold up the very
/// survivors that are on their way.
pub(crate) const PROBES: usize = 32;

/// For how many settle times a group waits, at most, for survivors that no supervisor knows of,
/// however many supervisors there are meanwhile. While some come back, others may be on their way:
/// 10,000 need four seconds on two busy cores, eight of the usual settle times. But a group whose
/// supervisors die young must be settled at last: after ten seconds, the time that a survivor waits
/// for its answer ([`SURVIVOR_PATIENCE`]).
pub(crate) const MAX_UNKNOWN: u32 = 20;

/// The number of registry changes that are kept for slow watchers. A watcher that is further behind
/// gets the whole registry anew.
pub(crate) const CHANGE_LOG: usize = 1024;

/// The stack of a thread that serves one connection: decoding, one decision, the log. Untouched
/// pages take no memory. Threads that run functions of the program have the system's usual stack.
pub(crate) const SMALL_STACK: usize = 128 * 1024;

/// The most idle connections to other instances' admin endpoints that an instance keeps for its
/// next call.
pub(crate) const MAX_IDLE_CALLS: usize = 32;

/// The most threads that one call to all instances uses at once.
pub(crate) const CALL_ALL_THREADS: usize = 32;

/// The longest name of a resource, key of a setting, or topic of a message, in bytes.
pub(crate) const MAX_WORD: usize = 64;

/// The most resources that one instance may declare, and the most that it may count.
pub(crate) const MAX_RESOURCES: usize = 64;

/// The most permits and requests for permits of one instance. With everything else that a hello
/// carries at its largest, the hello then stays below half of the largest frame.
pub(crate) const MAX_PERMITS: usize = 1024;

/// The most units of one permit or of one instance's tally, and the highest limit. The largest
/// group with the most permits then stays below 2^63 units, and no sum overflows.
pub(crate) const MAX_UNITS: u64 = 1 << 38;

/// The most settings of a group, limits set at run time included, and the most bytes of all keys
/// and values together: each hello carries all settings.
pub(crate) const MAX_SETTINGS: usize = 256;
/// See [`MAX_SETTINGS`].
pub(crate) const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// The longest value of one setting in bytes.
pub(crate) const MAX_SETTING: usize = 16 * 1024;

/// The largest payload of a message to instances in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The bytes of messages that may be under way to one member that does not read. Beyond that the
/// member misses some, and learns how many. The kernel keeps more for a member that does not read
/// (some 2.5 MiB on Linux), which usually leaves room for everything that is not a message. A
/// smaller window loses too much, because the supervisor's threads may be late to read how much a
/// member has taken: with 256 KiB, a member that reads at once missed some of 2,000 messages of 16
/// KiB sent in one go.
pub(crate) const MESSAGE_WINDOW: u32 = 1 << 20;

/// After how many bytes of messages a member reports that it has taken them.
pub(crate) const TAKEN_STEP: u32 = MESSAGE_WINDOW / 16;

/// The most bytes kept for a member that does not read, once the kernel keeps no more. Messages and
/// settings, which a member does not ask for, are less than two thirds of this. The rest is for
/// answers, of which no member that reads them has so many.
pub(crate) const MAX_UNSENT: usize = 2 << 20;

/// The connections that may wait at a shared listener, unless the program sets another number; the
/// kernel cuts it to `net.core.somaxconn` (4096 by default).
pub(crate) const DEFAULT_BACKLOG: u32 = 4096;

/// The most turns that an acceptor has at once, unless the program sets another number: a program
/// that polls accepts up to so many connections at a time, and the others need not wait for it.
pub(crate) const DEFAULT_CAPACITY: u32 = 16;

/// The most addresses that one instance listens on, and that the instances of a group share: each
/// takes a descriptor in every process.
pub(crate) const MAX_LISTENERS: usize = 64;

/// The longest address that is told at the desk: "[", an IPv6 address with its scope, "]:", a port.
pub(crate) const MAX_ADDRESS: usize = 64;

/// How long an acceptor may leave a turn unused while connections wait, before others get its
/// turns. A process that is run at all needs well under a millisecond; on a busy machine, tens.
pub(crate) const LAPSE: Duration = Duration::from_millis(100);

/// The number of turns that an acceptor may catch up on after it had no room. A pause then neither
/// costs it its share nor gives it all connections for a while.
pub(crate) const MAX_LAG: u32 = 16;

/// How long a supervisor keeps a listener at which nobody accepts: a restart takes less. Clients
/// wait meanwhile, and are then refused.
pub(crate) const LONELY: Duration = Duration::from_secs(5);

/// How long the desk waits for an instance that it has asked for a listener, before it asks the
/// next one: the first may stand still.
pub(crate) const SHOW_WAIT: Duration = Duration::from_millis(500);

/// How long after an election survivors may still be on their way to the new desk with a listener:
/// as long, an address in use may be theirs.
pub(crate) const SURVIVORS_AT_DESK: Duration = Duration::from_secs(1);

/// Events that a receiver holds, unless the program sets another number.
pub(crate) const DEFAULT_EVENTS: usize = 1024;

/// With less, the news that events were missed would take the only place.
pub(crate) const MIN_EVENTS: usize = 2;

/// Returns how much of [`MESSAGE_WINDOW`] a message takes: its bytes on the wire, and its overhead.
pub(crate) fn message_size(from: &str, topic: &str, payload: &[u8]) -> u32 {
    (from.len() + topic.len() + payload.len() + 64) as u32
}
