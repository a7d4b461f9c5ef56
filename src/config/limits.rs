//! Every limit that the library keeps for groups with a supervisor, with its reason.

use std::time::Duration;

/// The supervisor port of the group `default`, as the patent's text has it.
pub const DEFAULT_PORT: u16 = 30099;

/// The group an instance belongs to unless it says otherwise.
pub const DEFAULT_GROUP: &str = "default";

/// Longest group name in bytes: it is a file name, and part of the first message of a stranger.
pub(crate) const MAX_GROUP: usize = 64;

/// Longest instance name in bytes.
pub(crate) const MAX_NAME: usize = 128;

/// Most key/value pairs of an instance, and their most bytes in all: a registry of the largest
/// group then stays below 64 MiB.
pub(crate) const MAX_META: usize = 32;
/// See [`MAX_META`].
pub(crate) const MAX_META_BYTES: usize = 4096;

/// Most admin functions of an instance, the built-in ones included.
pub(crate) const MAX_FUNCTIONS: usize = 64;

/// Longest name of an admin function in bytes.
pub(crate) const MAX_FUNCTION_NAME: usize = 64;

/// Largest argument and largest result of an admin call in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Most instances in one group: each takes a descriptor and a small thread in the supervisor's
/// process.
pub(crate) const MAX_MEMBERS: usize = 16_384;

/// Most connections at once to one registry port or admin endpoint whose clients have proved that
/// they have the key. Beyond it a client is told to come back later.
pub(crate) const MAX_CLIENTS: usize = 1024;

/// Most connections to one port that are still in the handshake. Beyond it the oldest one makes
/// room (`net/service.rs`), so that whoever fills the port with silent connections delays nobody.
pub(crate) const MAX_PENDING: usize = 1024;

/// How many members the supervisor tells whom the group has (see `state/supervisor.rs`). In a group
/// of up to this size every survivor knows all others; in a larger one at least one survivor does,
/// unless all of these and the supervisor die at once. Each join costs at most so many messages:
/// with 16 of them, 1,000 took a tenth longer to join.
pub(crate) const WITNESSES: usize = 8;

/// From so many members on the witnesses are renewed as the group grows (see
/// `state/supervisor.rs`).
pub(crate) const RENEWED_FROM: usize = WITNESSES + WITNESSES / 2;

/// As good as without end: 34 years. Longer times count as this one, so that no moment is ever too
/// far away to be reckoned with.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// How long a client or server waits for the other side to finish the handshake. A living peer
/// takes well under a millisecond; one that is starved of CPU or stopped takes longer.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an instance waits that has been in the group before: thousands may be served before it.
/// Should the other end die, it learns of that at once, however long it would have waited.
pub(crate) const SURVIVOR_PATIENCE: Duration = Duration::from_secs(10);

/// How long the supervisor waits for a name's holder to turn out dead before it refuses the name to
/// another: a killed process closes its sockets some hundred microseconds after the signal. And how
/// long a member that was cut off waits for its supervisor to turn out dead.
pub(crate) const REAP_WAIT: Duration = Duration::from_millis(50);

/// How long a blocking write to one client may take before that client is cut off. It is the
/// client's own thread that waits, so that nobody else is delayed.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a supervisor that has stepped down leaves the port to others before it contends again.
pub(crate) const ASIDE: Duration = Duration::from_millis(500);

/// Below it the noise of any busy machine would pass for a hang.
pub(crate) const MIN_HANG_TIMEOUT: Duration = Duration::from_millis(100);

/// Above it, and far below, no number of nanoseconds overflows.
pub(crate) const MAX_HANG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// From so many instances on, survivors look whether somebody has the port before they try to take
/// it: to be refused by the kernel costs each of them as much time as there are connections, some
/// nanoseconds for each; a connection that is refused, some ten microseconds. So they are told
/// whenever there are twice as many.
pub(crate) const CROWD: usize = 512;

/// How long a supervisor of so many waits for the next one who comes back. Of thousands, those who
/// found no place in its queue pause for up to two seconds (`net/port.rs`) before they try again.
pub(crate) fn patience(settle_time: Duration, members: usize) -> Duration {
    settle_time.max(Duration::from_micros(300) * u32::try_from(members).unwrap_or(u32::MAX))
}

/// How long after an election, and after the last one who came back, the supervisor first asks
/// whether known members that have not are dead: a living one needs a few milliseconds, so that
/// earlier questions would mostly be superfluous.
pub(crate) const FIRST_PROBE: Duration = Duration::from_millis(20);

/// How often it asks again.
pub(crate) const NEXT_PROBE: Duration = Duration::from_millis(50);

/// After how many it asks at a time. A living one takes the question for a caller, which costs its
/// process a thread: all of thousands at once would hold up those very ones who are on their way.
pub(crate) const PROBES: usize = 32;

/// For how many settle times a group waits, at most, for survivors of whom no supervisor knows,
/// whoever supervises. As long as some come back, others may be on their way: 10,000 need four
/// seconds on two busy cores, eight of the usual settle times. But a group whose supervisors die
/// young must be settled at last: after ten seconds, the time for which a survivor waits for its
/// answer ([`SURVIVOR_PATIENCE`]).
pub(crate) const MAX_UNKNOWN: u32 = 20;

/// Changes of the registry that are kept for watchers who are behind. One who is further behind
/// gets the whole registry anew.
pub(crate) const CHANGE_LOG: usize = 1024;

/// The stack of a thread that serves one connection: decoding, one decision, the log. What is not
/// touched takes no memory. Threads that run functions of the program have the system's usual
/// stack.
pub(crate) const SMALL_STACK: usize = 128 * 1024;

/// Most idle connections to other instances' admin endpoints that an instance keeps for its next
/// call.
pub(crate) const MAX_IDLE_CALLS: usize = 32;

/// Most threads that ask the members of a group at once in a call to all.
pub(crate) const CALL_ALL_THREADS: usize = 32;

/// Longest name of a resource, key of a setting, or topic of a message, in bytes.
pub(crate) const MAX_WORD: usize = 64;

/// Most resources that one instance may declare, and most that it may count under.
pub(crate) const MAX_RESOURCES: usize = 64;

/// Most permits and requests for permits of one instance. With everything else that a hello carries
/// at its largest, it then stays below half of the largest frame.
pub(crate) const MAX_PERMITS: usize = 1024;

/// Most units of one permit, of a tally of one instance, and highest limit. As many instances as
/// there may be with as many permits as they may have then stay below 2^63 units, so that no sum
/// overflows.
pub(crate) const MAX_UNITS: u64 = 1 << 38;

/// Most settings of a group, live limits included, and their most bytes, keys and values together:
/// each hello carries all.
pub(crate) const MAX_SETTINGS: usize = 256;
/// See [`MAX_SETTINGS`].
pub(crate) const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// Longest value of one setting in bytes.
pub(crate) const MAX_SETTING: usize = 16 * 1024;

/// Largest payload of a message to members in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How many bytes of messages may be under way to one member that does not read. Beyond that it
/// misses some, and is told. The kernel keeps more for one who does not read (some 2.5 MiB on
/// Linux), so that there is usually room for what is not a message. Not less, because the
/// supervisor's threads may read late what a member has said to have read: with 256 KiB, one who
/// reads at once missed some of 2,000 messages of 16 KiB sent one right after the other.
pub(crate) const MESSAGE_WINDOW: u32 = 1 << 20;

/// After how many bytes of messages a member says that it has read them.
pub(crate) const TAKEN_STEP: u32 = MESSAGE_WINDOW / 16;

/// Most bytes that are kept for one who does not read, when the kernel keeps no more. What is not
/// asked for (messages, settings) is less than two thirds of this; the rest are answers, of which
/// nobody who reads them has so many.
pub(crate) const MAX_UNSENT: usize = 2 << 20;

/// What a message counts for in [`MESSAGE_WINDOW`]: its bytes on the wire, and what it costs
/// besides.
pub(crate) fn message_size(from: &str, topic: &str, payload: &[u8]) -> u32 {
    (from.len() + topic.len() + payload.len() + 64) as u32
}
