//! Connections: ports, messages over one connection, the handshake, a port that is served.

pub(crate) mod descriptors;
pub(crate) mod handshake;
pub(crate) mod link;
pub(crate) mod outbox;
pub(crate) mod parcel;
pub(crate) mod port;
pub(crate) mod rendezvous;
pub(crate) mod service;
pub(crate) mod session;
