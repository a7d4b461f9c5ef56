//! The program's threads that wait for an answer from the supervisor.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::net::rt::lock::Condvar;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    TooMany,
    Late,
    /// The instance has left the group.
    Stopped,
}

struct Waiter<A> {
    /// Each thread has a bell of its own: an answer then wakes only the thread that waits for it.
    bell: Arc<Condvar>,
    /// A thread that reads the answer itself needs no bell, which would be a system call.
    asleep: bool,
    answer: Option<Result<A, NoAnswer>>,
}

/// Who waits for an `A`, by the numbers of the requests.
pub(super) struct Waiters<A>(BTreeMap<u64, Waiter<A>>);

impl<A: Copy> Waiters<A> {
    pub(super) const fn new() -> Self {
        Waiters(BTreeMap::new())
    }

    /// Registers a thread that is about to wait, and returns its bell.
    pub(super) fn begin(&mut self, id: u64) -> Arc<Condvar> {
        let bell = Arc::new(Condvar::new());
        self.0.insert(id, Waiter { bell: bell.clone(), asleep: false, answer: None });
        bell
    }

    /// Makes the thread need its bell from now on.
    pub(super) fn fall_asleep(&mut self, id: u64) {
        self.0.get_mut(&id).into_iter().for_each(|waiter| waiter.asleep = true);
    }

    pub(super) fn answer(&mut self, id: u64, answer: A) {
        if let Some(waiter) = self.0.get_mut(&id) {
            waiter.answer = Some(Ok(answer));
            if waiter.asleep {
                waiter.bell.notify_one();
            }
        }
    }

    pub(super) fn answer_of(&self, id: u64) -> Option<Result<A, NoAnswer>> {
        self.0.get(&id).and_then(|waiter| waiter.answer)
    }

    pub(super) fn is_waiting(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|waiter| waiter.answer.is_none())
    }

    pub(super) fn end(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Ends all waits, because the instance has left.
    pub(super) fn stop(&mut self) {
        for waiter in self.0.values_mut() {
            waiter.answer.get_or_insert(Err(NoAnswer::Stopped));
            waiter.bell.notify_one();
        }
    }
}
