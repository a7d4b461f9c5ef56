//! How an instance shares a listener.

use std::net::SocketAddr;

use crate::config::{DEFAULT_BACKLOG, DEFAULT_CAPACITY};
use crate::error::ConfigError;
use crate::wire::{Policy, Terms};

/// How an instance accepts connections at a listener that it shares with others
/// ([`Instance::listen`](crate::Instance::listen)).
///
/// # Examples
///
/// ```
/// use pares::{Listen, Policy};
///
/// let listen = Listen::new().weight(2).policy(Policy::Connections);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Listen {
    pub(crate) terms: Terms,
    pub(crate) backlog: u32,
}

impl Listen {
    /// Returns the defaults: weight 1, even shares.
    pub fn new() -> Self {
        let terms = Terms { weight: 1, policy: Policy::default(), capacity: DEFAULT_CAPACITY };
        Listen { terms, backlog: DEFAULT_BACKLOG }
    }

    /// Sets this instance's weight, 1 to 65,535: an instance of weight 2 gets twice as many
    /// connections as one of weight 1.
    pub fn weight(mut self, weight: u16) -> Self {
        self.terms.weight = weight;
        self
    }

    /// Sets who accepts the next connection. All instances that share a listener should name the
    /// same policy. If they do not, that of the one that began to listen last counts for all but
    /// those that accept [freely](Policy::Free).
    pub fn policy(mut self, policy: Policy) -> Self {
        self.terms.policy = policy;
        self
    }

    /// Sets how many turns this instance has at once at most, 1 or more (default 16). A program
    /// that polls ([`Listener::descriptor`](crate::Listener::descriptor)) may have so many turns;
    /// another one has as many as threads wait in `accept`, if these are fewer.
    pub fn capacity(mut self, turns: u32) -> Self {
        self.terms.capacity = turns;
        self
    }

    /// Sets how many connections may wait to be accepted (default 4096), for the case that this
    /// instance is the one that makes the listener. The system may have a lower limit
    /// (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Checks everything that can be checked without touching the system.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), ConfigError> {
        const MOST: u32 = i32::MAX as u32;
        if address.port() == 0 {
            let why = "a port that all instances know: 0 would be another one after each restart";
            return Err(ConfigError::new("address", address, why));
        }
        let Terms { weight, capacity, .. } = self.terms;
        if weight == 0 {
            return Err(ConfigError::new("weight", weight, format!("1 to {}", u16::MAX)));
        }
        if capacity == 0 {
            return Err(ConfigError::new("capacity", capacity, "1 or more"));
        }
        if !(1..=MOST).contains(&self.backlog) {
            let rule = format!("1 to {MOST}");
            return Err(ConfigError::new("backlog", self.backlog, rule));
        }
        Ok(())
    }
}

impl Default for Listen {
    fn default() -> Self {
        Listen::new()
    }
}
