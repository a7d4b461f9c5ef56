//! Permits: units of a machine-wide resource, held while their holder lives and wants them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, MAX_UNITS};
use crate::error::{AcquireError, ConfigError};
use crate::instance::Instance;
use crate::net::member::shared::Shared;
use crate::net::member::waiters::NoAnswer;
use crate::net::rt::clock::deadline;
use crate::state::holdings::Denial;
use crate::wire::Shortage;

/// Units of a resource, counted once for the whole machine. Dropping a permit gives them back.
///
/// The units also come back when this process ends, however it ends, as soon as the kernel has
/// closed its connections. A permit outlives the supervisor: the next supervisor learns of it from
/// this instance, and grants nothing before it has.
///
/// A permit can be taken away, for one of two reasons. An operator revokes it
/// ([`Client::revoke`](crate::Client::revoke)). Or this process stood still (SIGSTOP, a suspended
/// debugger) across a supervisor's death for longer than the settle time, and others were given
/// what it held. [`EventKind::PermitLost`](crate::EventKind::PermitLost) then says so, and
/// [`is_valid`](Permit::is_valid) returns false.
#[must_use = "dropping a permit gives its units back"]
pub struct Permit {
    shared: Arc<Shared>,
    id: u64,
    resource: String,
    units: u64,
}

impl Permit {
    /// Returns the permit's number, which no other permit of this instance ever has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the name of the resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Returns the number of units.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Returns false once the permit was taken away or this instance has left its group. Does not
    /// block.
    ///
    /// It also returns false while others may have been given what this instance holds. That is so
    /// after this instance was without a supervisor for longer than the settle time, or was cut off
    /// by a living supervisor, until a settled supervisor has confirmed the permit. The election of
    /// this instance itself confirms nothing.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.shared.presence.is_over() && self.shared.holding.is_valid(self.id)
    }

    /// Returns the units to the resource, as dropping does. Does not block.
    pub fn release(self) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.shared.presence.is_void() {
            std::mem::forget(self.shared.clone()); // held by the parent, which has its own of this
            return;
        }
        self.shared.holding.release(self.id);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit")
            .field("resource", &self.resource)
            .field("units", &self.units)
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Acquires `units` of `resource`, and waits for them for as long as it takes.
    ///
    /// Requests are served in the order of asking, whatever their size, even across elections.
    /// `units` is in the unit in which the resource was declared
    /// ([`Config::resource`](crate::Config::resource)), and must be at least 1.
    ///
    /// Blocks until the permit is granted. This takes one round trip if enough units are free and
    /// no request waits. While a new supervisor gathers the survivors, nothing is granted: this
    /// takes some milliseconds, and at most the [settle time](crate::Config::settle_time) after the
    /// last survivor came back.
    ///
    /// # Errors
    ///
    /// Any [`AcquireError`] but `Exhausted` and `TimedOut`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let config = config.resource(pares::Resource::new("connections", 10));
    /// let instance = pares::Instance::join(config)?;
    /// let permit = instance.acquire("connections", 2)?;
    /// assert_eq!((permit.units(), permit.is_valid()), (2, true));
    /// drop(permit); // two others may connect
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, resource: &str, units: u64) -> Result<Permit, AcquireError> {
        self.permit(resource, units, true, None)
    }

    /// Acquires `units` of `resource` if they are free now.
    ///
    /// Does not overtake waiting requests. Blocks for one round trip to the supervisor, at most for
    /// the [answer timeout](crate::Config::answer_timeout).
    ///
    /// # Errors
    ///
    /// Any [`AcquireError`]; `Exhausted` if too few units are free, or other requests wait for
    /// them.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::AcquireError;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.resource(pares::Resource::new("scanner", 1)))?;
    /// let permit = instance.try_acquire("scanner", 1)?;
    ///
    /// // A second one finds nothing free, until the first is dropped.
    /// let refused = instance.try_acquire("scanner", 1).unwrap_err();
    /// assert!(matches!(refused, AcquireError::Exhausted { wanted: 1, free: 0, .. }));
    /// drop(permit);
    /// assert!(instance.try_acquire("scanner", 1).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_acquire(&self, resource: &str, units: u64) -> Result<Permit, AcquireError> {
        self.permit(resource, units, false, Some(deadline(self.answer_timeout)))
    }

    /// Acquires `units` of `resource`, and waits for them for at most `timeout`.
    ///
    /// See [`acquire`](Instance::acquire).
    ///
    /// # Errors
    ///
    /// Any [`AcquireError`] but `Exhausted`. After `TimedOut` the request is withdrawn.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.resource(pares::Resource::new("scanner", 1)))?;
    /// let permit = instance.acquire_timeout("scanner", 1, Duration::from_secs(1))?;
    /// let late = instance.acquire_timeout("scanner", 1, Duration::from_millis(10));
    /// assert!(matches!(late, Err(pares::AcquireError::TimedOut { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire_timeout(
        &self,
        resource: &str,
        units: u64,
        timeout: Duration,
    ) -> Result<Permit, AcquireError> {
        self.permit(resource, units, true, Some(deadline(timeout)))
    }

    fn permit(
        &self,
        resource: &str,
        units: u64,
        wait: bool,
        deadline: Option<Instant>,
    ) -> Result<Permit, AcquireError> {
        config::check_word("resource", resource)?;
        if !(1..=MAX_UNITS).contains(&units) {
            return Err(ConfigError::new("units", units, format!("1 to {MAX_UNITS}")).into());
        }
        let shared = self.shared.clone();
        if shared.presence.is_over() {
            return Err(AcquireError::Stopped);
        }
        let answer = shared.holding.acquire((resource, units), wait, deadline);
        let (resource, wanted) = (resource.to_owned(), units);
        Err(match answer {
            Ok((id, Ok(()))) => return Ok(Permit { shared, id, resource, units }),
            Ok((_, Err(Denial { shortage, units }))) => match shortage {
                Shortage::Exhausted => AcquireError::Exhausted { resource, wanted, free: units },
                Shortage::OverLimit => AcquireError::OverLimit { resource, wanted, limit: units },
                Shortage::OverHolderLimit => {
                    AcquireError::OverHolderLimit { resource, wanted, limit: units }
                }
                Shortage::Unknown => AcquireError::Unknown { resource },
                Shortage::TooMany => AcquireError::TooMany { limit: units },
            },
            Err(NoAnswer::TooMany) => AcquireError::TooMany { limit: config::MAX_PERMITS as u64 },
            Err(NoAnswer::Late) => AcquireError::TimedOut { resource },
            Err(NoAnswer::Stopped) => AcquireError::Stopped,
        })
    }
}
