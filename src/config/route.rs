//! The limits and times of a routed service, each with its reason.

use std::time::Duration;

/// The most ports and addresses of a service, as pairs: each takes a bit of what a target says, and
/// a chain of the packet filter.
pub(crate) const MAX_SERVICES: usize = 64;

/// The most targets of a router.
pub(crate) const MAX_TARGETS: u32 = 255;

/// The most other routers that a router remembers.
pub(crate) const MAX_ROUTERS: usize = 16;

/// The most connections that a router asks the targets for at a time: as many as the packet filter
/// notes that it does not know.
pub(crate) const MAX_STRANGERS: usize = 4096;

/// How often the same unknown connection is asked for in [`STRANGER_LIFE`]: an answer may have come
/// too early or too late.
pub(crate) const MAX_FINDS: u8 = 3;

/// How long the packet filter knows a connection of which no packet comes. Targets are asked for
/// all they have long before.
pub(crate) const KNOWN: Duration = Duration::from_secs(2 * 60 * 60);

/// The same until its second packet: a flood of first packets must not fill the map.
pub(crate) const FIRST: Duration = Duration::from_secs(15);

/// The most connections that the packet filter knows at once, over each family. One takes 130
/// bytes, over IPv6 164.
pub(crate) const MAX_CONNECTIONS: usize = 262_144;

/// How long the silence of a connection must last that its target no longer has, until it is
/// forgotten: it may have been opened after the target's report, or be a closed one whose last
/// packets are still repeated.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// How long a connection is refused: its client repeats what was not answered in less.
pub(crate) const REFUSAL: Duration = Duration::from_secs(60);

/// The most connections that the packet filter refuses at once: all that a target can have had.
pub(crate) const MAX_REFUSED: usize = MAX_CONNECTIONS;

/// How long the pieces of a packet may come apart, and of how many packets at once.
pub(crate) const PIECES: Duration = Duration::from_secs(10);
pub(crate) const MAX_PIECES: usize = 65_536;

/// How long the packet filter notes an unknown connection.
pub(crate) const STRANGER_LIFE: Duration = Duration::from_secs(5);

/// How long after it has taken the addresses a router asks all targets again: what was opened
/// through another router in the last moment is then known to them.
pub(crate) const SECOND_REPORT: Duration = Duration::from_millis(500);

/// How often a router asks for everything anew: an idle connection that the packet filter has not
/// seen for [`KNOWN`] stays known.
pub(crate) const RESYNC: Duration = Duration::from_secs(30 * 60);

/// How long a target whose agent does not speak gets new connections: its application may be well,
/// and if nobody listens there its host refuses them at once.
pub(crate) const QUIET_GRACE: Duration = Duration::from_secs(10);

/// How long new connections wait for a target before they are refused: an application restarts in
/// less.
pub(crate) const NO_TARGET: Duration = Duration::from_secs(3);

/// How long a router that no longer has the addresses forwards what still comes: switches and hosts
/// keep where an address was for up to a minute.
pub(crate) const PASS_ON: Duration = Duration::from_secs(60);

/// How long a router that leaves does.
pub(crate) const LEAVE_AFTER: Duration = Duration::from_secs(5);

/// How long the old owner keeps the addresses after the new one has announced that it has them: no
/// moment without an owner.
pub(crate) const RELEASE_AFTER: Duration = Duration::from_millis(100);

/// How long the kernel keeps an address that is not renewed, at least: renewed four times as often.
pub(crate) const ADDRESS_LIFE: Duration = Duration::from_secs(2);

/// For how long another router, once seen, may come back: alone for longer, a router keeps the
/// addresses for ever. Its restart then does not end the service.
pub(crate) const COMPANY: Duration = Duration::from_secs(60 * 60);

/// When the addresses are announced after they were taken: a switch that was busy, or had just been
/// switched on, misses the first (MetalLB's issue 2910).
pub(crate) const ANNOUNCE_AFTER: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How often they are announced from then on: switches forget before hosts do.
pub(crate) const ANNOUNCE_EVERY: Duration = Duration::from_secs(60);

/// How often a foreign claim is answered at most.
pub(crate) const DEFEND_EVERY: Duration = Duration::from_secs(1);

/// How often a router looks for unknown connections while there may be many.
pub(crate) const LOOK_OFTEN: Duration = Duration::from_millis(100);

/// How often shares that follow connections or workload are decided anew.
pub(crate) const RESHARE: Duration = Duration::from_secs(1);

/// How long an agent gathers closed connections, and how many, before it tells them.
pub(crate) const GATHER: Duration = Duration::from_millis(100);

/// The most closed connections that wait to be told. Beyond that, a full report is less.
pub(crate) const MAX_CLOSED: usize = 65_536;

/// The most connections of a router to agents and other routers at a time.
pub(crate) const MAX_LINKS: usize = MAX_TARGETS as usize + MAX_ROUTERS + 1;

/// The most bytes that wait to be sent to one process: eight reports of a hundred thousand
/// connections.
pub(crate) const MAX_UNSENT: usize = 8 << 20;

/// So many clients of a dead target are poked at a time, and so often: 10,000 a second, and no more
/// than a switch queues.
pub(crate) const POKES: usize = 100;
pub(crate) const POKE_EVERY: Duration = Duration::from_millis(10);

/// The most clients that wait to be poked: as many as the packet filter knows. Further ones learn
/// of it by their next packet.
pub(crate) const MAX_POKES: usize = 262_144;
