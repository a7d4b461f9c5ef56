//! Messages to instances, through the supervisor, in one order for all.

use std::time::Instant;

use crate::error::MessageError;
use crate::instance::Instance;
use crate::net::rt::clock::deadline;

impl Instance {
    /// Sends a message to all instances, this one included. Each gets
    /// [`EventKind::Message`](crate::EventKind::Message). Returns the number of instances to which
    /// the message is on its way.
    ///
    /// All instances receive the messages of one supervisorship in the same order, each message at
    /// most once. An instance that does not take its messages misses those beyond some 1 MiB, and
    /// learns how many it missed ([`EventKind::Missed`](crate::EventKind::Missed)).
    ///
    /// Every message has a sender. Only an instance can therefore send one.
    ///
    /// A topic must have 1 to 64 bytes, must not contain white space or control characters, and
    /// must not begin with a dash. A payload may have up to 64 KiB
    /// ([`MAX_MESSAGE`](crate::MAX_MESSAGE)).
    ///
    /// Blocks for one round trip to the supervisor, at most for the [answer
    /// timeout](crate::Config::answer_timeout).
    ///
    /// # Errors
    ///
    /// [`MessageError::Invalid`] and [`MessageError::Ask`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let (one, two) = (pares::Instance::join(config.clone())?, pares::Instance::join(config)?);
    /// let events = two.events();
    /// assert_eq!(one.broadcast("cache", b"flush")?, 2);
    /// let heard = events.iter().find_map(|event| match event.kind {
    ///     pares::EventKind::Message { topic, payload, .. } => Some((topic, payload.to_vec())),
    ///     _ => None,
    /// });
    /// assert_eq!(heard, Some(("cache".to_owned(), b"flush".to_vec())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broadcast(&self, topic: &str, payload: &[u8]) -> Result<u64, MessageError> {
        self.broadcast_until(topic, payload, deadline(self.answer_timeout))
    }

    /// Sends a message to the instance `name` (`main`: the supervisor).
    ///
    /// See [`broadcast`](Instance::broadcast). When this returns without an error, the message is
    /// on its way.
    ///
    /// # Errors
    ///
    /// Any [`MessageError`].
    pub fn send(&self, name: &str, topic: &str, payload: &[u8]) -> Result<(), MessageError> {
        self.send_until(name, topic, payload, deadline(self.answer_timeout))
    }

    pub(crate) fn broadcast_until(
        &self,
        topic: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<u64, MessageError> {
        self.client.asker.publish(self.name(), None, topic, payload, deadline)
    }

    pub(crate) fn send_until(
        &self,
        name: &str,
        topic: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<(), MessageError> {
        match self.client.asker.publish(self.name(), Some(name), topic, payload, deadline)? {
            0 => Err(MessageError::Behind { name: name.into() }),
            _ => Ok(()),
        }
    }
}
