//! The listeners of an instance, which end with it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use super::acceptor::{AcceptEnd, Acceptor};
use crate::config::MAX_LISTENERS;
use crate::error::{ConfigError, ListenError};
use crate::net::rt::lock::Mutex;

#[derive(Default)]
pub(crate) struct Listeners {
    // Locked for a look through the list.
    present: Mutex<Vec<(SocketAddr, State)>>,
}

enum State {
    /// A thread is about to listen there.
    Beginning,
    Accepts(Weak<Acceptor>),
}

impl State {
    fn upgrade(&self) -> Option<Arc<Acceptor>> {
        match self {
            State::Beginning => None,
            State::Accepts(one) => one.upgrade(),
        }
    }

    fn is_present(&self) -> bool {
        matches!(self, State::Beginning) || self.upgrade().is_some_and(|one| !one.has_ended())
    }
}

impl Listeners {
    /// Takes the place of an address, for one that is about to listen there.
    pub(crate) fn take(&self, address: SocketAddr) -> Result<Reserved<'_>, ListenError> {
        let mut present = self.present.lock();
        present.retain(|(_, state)| state.is_present());
        if present.iter().any(|(taken, _)| *taken == address) {
            return Err(ListenError::Already { address });
        }
        if present.len() >= MAX_LISTENERS {
            let rule = format!("at most {MAX_LISTENERS} addresses for one instance");
            return Err(ConfigError::new("address", address, rule).into());
        }
        present.push((address, State::Beginning));
        Ok(Reserved { listeners: self, address, accepts: None })
    }

    /// Has all of them accept no more.
    pub(super) fn drain(&self) {
        let present = self.present.lock();
        let all: Vec<Arc<Acceptor>> = present.iter().filter_map(|(_, one)| one.upgrade()).collect();
        drop(present);
        all.iter().for_each(|one| one.end(AcceptEnd::Drained));
    }

    /// Ends all of them, because the instance leaves, and waits for their threads.
    pub(crate) fn end(&self) {
        let all = std::mem::take(&mut *self.present.lock());
        all.iter()
            .filter_map(|(_, state)| state.upgrade())
            .for_each(|one| one.finish(AcceptEnd::Stopped));
    }
}

/// A place that has been taken. Dropping it gives it back, unless it has been filled.
pub(crate) struct Reserved<'a> {
    listeners: &'a Listeners,
    address: SocketAddr,
    accepts: Option<Weak<Acceptor>>,
}

impl Reserved<'_> {
    pub(crate) fn fill(mut self, acceptor: &Arc<Acceptor>) {
        self.accepts = Some(Arc::downgrade(acceptor));
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut present = self.listeners.present.lock();
        present.retain(|(address, _)| *address != self.address);
        let accepts = self.accepts.take().map(|one| (self.address, State::Accepts(one)));
        present.extend(accepts);
    }
}
