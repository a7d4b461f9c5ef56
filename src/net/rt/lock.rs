//! Locks: those of std, without poisoning.
//!
//! A forked child starts with everything locked that its parent's threads had locked. It locks
//! nothing of an old instance (see `sys`), but may join by itself. No lock here may therefore
//! depend on a table of the whole process, which a thread that is not in the child may have been
//! using. parking_lot's locks do; std's are a word each.

use std::ops::{Deref, DerefMut};
use std::sync::{self, PoisonError, TryLockError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// A held lock. Empty only while a condition is waited for.
pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

/// True if a wait ended because its time was over.
pub(crate) struct Waited(bool);

impl<T> Mutex<T> {
    pub(crate) const fn new(inside: T) -> Self {
        Mutex(sync::Mutex::new(inside))
    }

    /// A thread that panicked under the lock has been logged, and what the lock protects is whole
    /// between two statements.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Returns `None` if it is locked.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(held) => Some(MutexGuard(Some(held))),
            Err(TryLockError::Poisoned(held)) => Some(MutexGuard(Some(held.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held")
    }
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Condvar(sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.0 =
            guard.0.take().map(|held| self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> Waited {
        let mut late = false;
        guard.0 = guard.0.take().map(|held| {
            let (held, timeout) =
                self.0.wait_timeout(held, time).unwrap_or_else(PoisonError::into_inner);
            late = timeout.timed_out();
            held
        });
        Waited(late)
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> Waited {
        self.wait_for(guard, deadline.saturating_duration_since(Instant::now()))
    }
}

impl Waited {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}
