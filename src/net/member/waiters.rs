//! The program's threads that wait for an answer from the supervisor.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::net::rt::lock::Condvar;
use crate::wire::Shortage;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    Denied(Shortage, u64),
    Total(u64),
    /// The instance has left the group.
    Stopped,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    TooMany,
    Late,
}

struct Waiter {
    /// One for each, so that an answer wakes the one who waits for it and nobody else.
    bell: Arc<Condvar>,
    /// Whoever reads the answer itself needs no bell, which would be a system call.
    asleep: bool,
    answer: Option<Answer>,
}

/// By the numbers of their requests.
#[derive(Default)]
pub(super) struct Waiters(BTreeMap<u64, Waiter>);

impl Waiters {
    /// A thread is about to wait on the bell that this gives.
    pub(super) fn begin(&mut self, id: u64, answer: Option<Answer>) -> Arc<Condvar> {
        let bell = Arc::new(Condvar::new());
        self.0.insert(id, Waiter { bell: bell.clone(), asleep: false, answer });
        bell
    }

    /// It needs its bell from now on.
    pub(super) fn fall_asleep(&mut self, id: u64) {
        self.0.get_mut(&id).into_iter().for_each(|waiter| waiter.asleep = true);
    }

    pub(super) fn answer(&mut self, id: u64, answer: Answer) {
        if let Some(waiter) = self.0.get_mut(&id) {
            waiter.answer = Some(answer);
            if waiter.asleep {
                waiter.bell.notify_one();
            }
        }
    }

    pub(super) fn answer_of(&self, id: u64) -> Option<Answer> {
        self.0.get(&id).and_then(|waiter| waiter.answer)
    }

    pub(super) fn is_waiting(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|waiter| waiter.answer.is_none())
    }

    pub(super) fn end(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// The instance has left: nobody waits any longer.
    pub(super) fn stop(&mut self) {
        for waiter in self.0.values_mut() {
            waiter.answer.get_or_insert(Answer::Stopped);
            waiter.bell.notify_one();
        }
    }
}
