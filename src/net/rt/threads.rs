//! Threads that somebody joins: every one of them has a name, an owner, and an end.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::lock::Mutex;
use crate::sys::{Origin, signals};

/// A set of threads that are joined at the latest when their owner joins all.
///
/// Those that have ended are joined when the next one starts, so that a long life with many short
/// threads keeps no more handles than there were threads at once.
#[derive(Default)]
pub(crate) struct Threads {
    // A lock because threads end on their own; held for a few map operations only.
    inner: Arc<Mutex<Inner>>,
    origin: Origin,
}

#[derive(Default)]
struct Inner {
    running: HashMap<u64, JoinHandle<()>>,
    ended: Vec<u64>,
    next: u64,
    origin: Origin,
}

impl Threads {
    pub(crate) fn spawn(
        &self,
        name: &str,
        stack: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        if self.origin.is_elsewhere() {
            return Err(io::Error::other(FORKED));
        }
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        let shared = self.inner.clone();
        let mut builder = thread::Builder::new().name(name.to_owned());
        if stack > 0 {
            builder = builder.stack_size(stack);
        }
        // The new thread's last step takes the lock, so that it cannot have ended before its handle
        // is kept.
        let handle = signals::spawning(|begin| {
            builder.spawn(move || {
                begin.begin();
                run();
                shared.lock().ended.push(number);
            })
        })?;
        inner.running.insert(number, handle);
        let ended = std::mem::take(&mut inner.ended);
        let handles: Vec<_> =
            ended.iter().filter_map(|number| inner.running.remove(number)).collect();
        drop(inner);
        handles.into_iter().for_each(join);
        Ok(())
    }

    /// Waits for all threads to end; the caller has told them to. One of them may call this itself:
    /// it is not waited for.
    pub(crate) fn join_all(&self) {
        if self.origin.is_elsewhere() {
            return; // they run in another process
        }
        let handles: Vec<_> = self.inner.lock().running.drain().map(|(_, handle)| handle).collect();
        handles.into_iter().for_each(join);
    }
}

/// What is said where an error has room for it.
pub(crate) const FORKED: &str =
    "the instance belongs to the process from which this one was forked; join anew here";

impl Drop for Inner {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            // Not even detached: what the system keeps of these threads is not in this process.
            std::mem::forget(std::mem::take(&mut self.running));
        }
    }
}

pub(crate) fn join(handle: JoinHandle<()>) {
    if handle.thread().id() != thread::current().id() {
        // A panic has been printed by the thread itself; what it served was closed when it unwound.
        _ = handle.join();
    }
}
