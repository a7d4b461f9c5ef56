//! Tallies: each instance says how much it uses, and the supervisor adds it up.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, MAX_RESOURCES};
use crate::error::{AskError, TallyError};
use crate::instance::Instance;
use crate::net::member::shared::Shared;
use crate::net::member::waiters::NoAnswer;
use crate::net::rt::clock::deadline;

/// This instance's count of a resource. All `Tally` values of one resource in one instance share
/// one count.
///
/// An instance's count ends with the instance. Dropping a `Tally` changes nothing.
#[derive(Clone)]
pub struct Tally {
    shared: Arc<Shared>,
    resource: String,
    answer_timeout: Duration,
}

impl Tally {
    /// Returns the name of the resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Adds `units` to the count (at most 2^38 in all) and returns this instance's new count. Does
    /// not wait for the supervisor, and does not block.
    pub fn add(&self, units: u64) -> u64 {
        self.change(|count| count.saturating_add(units))
    }

    /// Subtracts `units` from the count, down to zero, and returns this instance's new count. Does
    /// not wait for the supervisor, and does not block.
    pub fn sub(&self, units: u64) -> u64 {
        self.change(|count| count.saturating_sub(units))
    }

    /// Returns this instance's own count. Does not block.
    #[must_use]
    pub fn count(&self) -> u64 {
        if self.shared.presence.is_void() { 0 } else { self.shared.holding.counted(&self.resource) }
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) -> u64 {
        let Shared { holding, presence, .. } = &*self.shared;
        if presence.is_void() { 0 } else { holding.count(&self.resource, change) }
    }

    /// Returns the same tally with another timeout: [`total`](Tally::total) waits for at most
    /// `timeout`.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Tally { answer_timeout: timeout, ..self.clone() }
    }

    /// Returns the sum of all instances' counts. It includes everything that this instance counted
    /// before the call.
    ///
    /// Blocks for one round trip to the supervisor; after an election, until all survivors have
    /// said what they count. Blocks for at most the [answer
    /// timeout](crate::Config::answer_timeout).
    ///
    /// # Errors
    ///
    /// [`AskError::TimedOut`], [`AskError::Busy`] and [`AskError::Stopped`].
    pub fn total(&self) -> Result<u64, AskError> {
        let Shared { holding, presence, .. } = &*self.shared;
        if presence.is_void() {
            return Err(AskError::Stopped);
        }
        let total = holding.total(&self.resource, deadline(self.answer_timeout));
        total.map_err(|none| match none {
            NoAnswer::TooMany => AskError::Busy,
            NoAnswer::Late => AskError::TimedOut,
            NoAnswer::Stopped => AskError::Stopped,
        })
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally")
            .field("resource", &self.resource)
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Returns this instance's count of `resource`, for use that needs no permission. The
    /// supervisor adds up the counts of all instances, and the sum counts against the resource's
    /// limit, if there is one.
    ///
    /// A count cannot be refused. If it takes the use above the limit, every instance gets
    /// [`EventKind::OverLimit`](crate::EventKind::OverLimit), and no permit is granted until the
    /// use has fallen. Does not block.
    ///
    /// # Errors
    ///
    /// Any [`TallyError`]. Nothing is counted.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let (one, two) = (pares::Instance::join(config.clone())?, pares::Instance::join(config)?);
    /// one.tally("connections")?.add(3);
    /// let tally = two.tally("connections")?;
    /// assert_eq!(tally.add(2), 2);
    /// # let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    /// # while tally.total()? != 5 {
    /// #     assert!(std::time::Instant::now() < deadline);
    /// # }
    /// assert_eq!(tally.total()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tally(&self, resource: &str) -> Result<Tally, TallyError> {
        config::check_word("resource", resource)?;
        if self.shared.presence.is_void() {
            return Err(TallyError::Stopped);
        }
        if !self.shared.holding.begin_tally(resource) {
            return Err(TallyError::TooMany { limit: MAX_RESOURCES as u64 });
        }
        Ok(Tally {
            shared: self.shared.clone(),
            resource: resource.into(),
            answer_timeout: self.answer_timeout,
        })
    }
}
