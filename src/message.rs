//! Messages to instances, through the supervisor: one order for all.

use std::time::Duration;

use crate::error::MessageError;
use crate::instance::Instance;
use crate::net::rt::clock::deadline;

impl Instance {
    /// Sends a message to all instances, this one included: each gets
    /// [`EventKind::Message`](crate::EventKind::Message). Gives how many it is on its way to.
    ///
    /// All instances get the messages of one supervisorship in the same order. Each gets a message
    /// once at most: one that does not take its messages misses those beyond some 1 MiB, and is
    /// told how many ([`EventKind::Missed`](crate::EventKind::Missed)).
    ///
    /// A topic has 1 to 64 bytes, no white space or control characters, and does not begin with a
    /// dash; a payload has up to 64 KiB ([`MAX_MESSAGE`](crate::MAX_MESSAGE)).
    ///
    /// Blocks for one round trip to the supervisor, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`MessageError::Invalid`] and [`MessageError::Ask`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let (one, two) = (pares::Instance::join(config.clone())?, pares::Instance::join(config)?);
    /// let events = two.events();
    /// assert_eq!(one.broadcast("cache", b"flush", Duration::from_secs(2))?, 2);
    /// let heard = events.iter().find_map(|event| match event.kind {
    ///     pares::EventKind::Message { topic, payload, .. } => Some((topic, payload.to_vec())),
    ///     _ => None,
    /// });
    /// assert_eq!(heard, Some(("cache".to_owned(), b"flush".to_vec())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(
        &self,
        topic: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<u64, MessageError> {
        self.asker.publish(self.name(), None, topic, payload, deadline(timeout))
    }

    /// Sends a message to the instance `name` (`main`: the supervisor).
    ///
    /// See [`broadcast`](Instance::broadcast); when this returns without an error, the message is
    /// on its way.
    ///
    /// # Errors
    ///
    /// Any [`MessageError`].
    pub fn send(
        &self,
        name: &str,
        topic: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(), MessageError> {
        match self.asker.publish(self.name(), Some(name), topic, payload, deadline(timeout))? {
            0 => Err(MessageError::Behind { name: name.into() }),
            _ => Ok(()),
        }
    }
}
