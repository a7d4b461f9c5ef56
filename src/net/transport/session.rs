//! A connection that has passed the handshake, and serving it request by request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::link::{Link, LinkError};
use crate::net::rt::complaint::complain;
use crate::state::ConnId;
use crate::wire::{Message, Purpose, Question, Refusal};

/// A connection that has passed the handshake.
pub(crate) struct Session {
    /// The name of its port, for the log.
    pub(crate) name: &'static str,
    pub(crate) conn: ConnId,
    pub(crate) link: Link,
    pub(crate) purpose: Purpose,
    /// The first request, which came with the proof.
    pub(crate) first: Message,
    pub(super) idleness: Idleness,
}

/// The result of a request.
pub(crate) enum Turn {
    /// It has been answered; the next one may come.
    Next,
    /// Nothing more is to be read from this connection.
    Over,
    /// This port does not know the request: the other end is told so, and cut off.
    Broke(&'static str),
}

impl Session {
    /// Serves one request after the other, until the other end or `respond` ends that. Between two
    /// requests this connection may be closed to make room for another.
    pub(crate) fn serve(mut self, mut respond: impl FnMut(&mut Session, Message) -> Turn) {
        let mut request = std::mem::replace(&mut self.first, Question::List {}.into());
        loop {
            let asked = self.idleness.now();
            let name = request.name();
            match respond(&mut self, request) {
                Turn::Next => {}
                Turn::Over => return,
                Turn::Broke(detail) => return self.cut_off(name, detail),
            }
            self.idleness.begin(asked);
            let next = self.link.read(None);
            self.idleness.end();
            match next {
                Ok(message) => request = message,
                Err(LinkError::Malformed(error)) => {
                    let error = error.to_string();
                    return self.cut_off(&error, &error);
                }
                Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => return,
            }
        }
    }

    /// Tells the other end that it broke the protocol: `why` goes to the log and `detail` to that
    /// end.
    pub(crate) fn cut_off(self, why: &str, detail: &str) {
        let name = self.name;
        complain!(Warn, name, "{name}: cut off a client that broke the protocol: {why}");
        self.link.close_with(&Message::rejected(Refusal::Malformed, detail));
    }
}

/// Whether a connection is idle, and when its last request came, in the order of all requests to a
/// port. It is not the end of the answer that counts: which of two threads gets there first is a
/// matter of the machine's load.
#[derive(Clone, Default)]
pub(super) struct Idleness {
    /// [`BUSY`], or the number of its last request.
    since: Arc<AtomicU64>,
    /// The number of the last request; one for all connections of a port.
    clock: Arc<AtomicU64>,
}

/// No number of a request.
const BUSY: u64 = 0;

impl Idleness {
    /// That of a new connection to the same port.
    pub(super) fn of_another(&self) -> Self {
        Idleness { since: Arc::default(), clock: self.clock.clone() }
    }

    /// The number of a request that has just come.
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The request with this number has been answered.
    fn begin(&self, asked: u64) {
        self.since.store(asked, Ordering::Relaxed);
    }

    fn end(&self) {
        self.since.store(BUSY, Ordering::Relaxed);
    }

    /// `None` while it is busy.
    pub(super) fn since(&self) -> Option<u64> {
        Some(self.since.load(Ordering::Relaxed)).filter(|&since| since != BUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_first_has_been_idle_longer_even_if_its_answer_ended_last() {
        let port = Idleness::default();
        let (first, second) = (port.of_another(), port.of_another());
        let (of_first, of_second) = (first.now(), second.now());
        second.begin(of_second);
        assert_eq!(first.since(), None, "it is still being answered");
        first.begin(of_first);
        assert!(first.since() < second.since());
    }
}
