//! What a process of a masterless group may choose, and the limits that such a group keeps.

/// Directives that one process remembers to have followed, and that it gives at a time.
pub(crate) const MAX_DIRECTIVES: usize = 16;

/// Service types of which one process tells at a time whom it follows.
pub(crate) const MAX_VIEWED: usize = 16;

/// Other primaries whose claims one counts while it is in conflict with them.
pub(crate) const MAX_RIVALS: usize = 8;

/// Starts that have been made known and not been seen, and dead that still count.
pub(crate) const MAX_PENDING_STARTS: usize = 256;

/// Gone processes whose last heartbeat is remembered, so that it is not taken for new when somebody plays it again.
pub(crate) const MAX_TOMBSTONES: usize = 4096;

/// How many processes of a service type a group is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The service type.
    pub service: u16,
    /// With fewer, one is started.
    pub min: u16,
    /// With more, the youngest standby leaves.
    pub max: Option<u16>,
}
