//! Threads with an owner: every one of them has a name, an owner that joins it, and an end.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::lock::Mutex;
use crate::config::SMALL_STACK;
use crate::sys::{self, Origin, signals};

/// A kind of thread: the name that `/proc` shows, and what the thread needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadKind {
    pub(crate) name: &'static str,
    /// In bytes; 0 for the system's usual size.
    stack: usize,
    /// True if it runs the program's own code, which may do what it wants.
    runs_program: bool,
}

/// A thread that runs only this library's code. By these, others tell whether a process hangs.
const fn ours(name: &'static str) -> ThreadKind {
    ThreadKind { name, stack: SMALL_STACK, runs_program: false }
}

/// A thread that runs the program's code, on a stack as large as programs expect.
const fn the_programs(name: &'static str) -> ThreadKind {
    ThreadKind { name, stack: 0, runs_program: true }
}

/// The role thread. Every instance has one: its name tells a stopped instance from another program.
pub(crate) const ROLE: ThreadKind = ours("pares-role");
pub(crate) const ENDPOINT: ThreadKind = ours("pares-endpoint");
pub(crate) const ADMIN: ThreadKind = the_programs("pares-admin");
pub(crate) const MEMBER: ThreadKind = ours("pares-member");
pub(crate) const ANNOUNCE: ThreadKind = ours("pares-announce");
pub(crate) const REGISTRY: ThreadKind = ours("pares-registry");
pub(crate) const DESK: ThreadKind = ours("pares-desk");
pub(crate) const TURNS: ThreadKind = ours("pares-turns");
pub(crate) const ACCEPTOR: ThreadKind = ours("pares-acceptor");
pub(crate) const ROOM: ThreadKind = ours("pares-room");
pub(crate) const FLUSH: ThreadKind = ours("pares-flush");
pub(crate) const WATCH: ThreadKind = ours("pares-watch");
pub(crate) const PEER: ThreadKind = ours("pares-peer");
/// The system's resolver may want more stack than this library does.
pub(crate) const NAME: ThreadKind = ThreadKind { stack: 0, ..ours("pares-name") };
pub(crate) const LAUNCH: ThreadKind = ours("pares-launch");
pub(crate) const JOB: ThreadKind = the_programs("pares-job");
/// Waits for the program's jobs and functions to end.
pub(crate) const LEAVE: ThreadKind = ours("pares-leave");
pub(crate) const CALL_ALL: ThreadKind = ThreadKind { stack: 0, ..ours("pares-call-all") };

/// Decides for a router, and for the agent on a target.
pub(crate) const ROUTE: ThreadKind = ours("pares-route");
pub(crate) const AGENT: ThreadKind = ours("pares-agent");
/// Lets agents and other routers in; reads what one of them says.
pub(crate) const LINKS: ThreadKind = ours("pares-links");
pub(crate) const LINK: ThreadKind = ours("pares-link");

const ALL: [ThreadKind; 22] = [
    ROLE, ENDPOINT, ADMIN, MEMBER, ANNOUNCE, REGISTRY, DESK, TURNS, ACCEPTOR, ROOM, FLUSH, WATCH,
    PEER, NAME, LAUNCH, JOB, CALL_ALL, LEAVE, ROUTE, AGENT, LINKS, LINK,
];

/// Returns true if a thread of this name runs only this library's code.
pub(crate) fn is_ours(name: &str) -> bool {
    ALL.iter().any(|kind| kind.name == name && !kind.runs_program)
}

impl ThreadKind {
    /// Returns true if a thread of this name may run the program's code.
    pub(crate) fn for_program(self, runs_program: bool) -> Self {
        if runs_program { ThreadKind { stack: 0, runs_program, ..self } } else { self }
    }
}

/// A set of threads, which are joined at the latest when their owner joins all.
///
/// Threads that have ended are joined when the next one starts. A long life with many short threads
/// therefore keeps no more handles than there were threads at once.
#[derive(Default)]
pub(crate) struct Threads {
    // A lock because threads end on their own; held for a few map operations only.
    inner: Arc<Mutex<ThreadsState>>,
    origin: Origin,
}

#[derive(Default)]
struct ThreadsState {
    running: HashMap<u64, JoinHandle<()>>,
    ended: Vec<u64>,
    next: u64,
    origin: Origin,
}

impl Threads {
    pub(crate) fn spawn(
        &self,
        kind: ThreadKind,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        if self.origin.is_elsewhere() {
            return Err(io::Error::other(FORKED));
        }
        let mut inner = self.inner.lock();
        let number = inner.next;
        inner.next += 1;
        let shared = self.inner.clone();
        let mut builder = thread::Builder::new().name(kind.name.to_owned());
        if kind.stack > 0 {
            builder = builder.stack_size(kind.stack);
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

    /// Waits for all threads to end; the caller has told them to. A thread of the set may call this
    /// itself, and is not waited for.
    pub(crate) fn join_all(&self) {
        if self.origin.is_elsewhere() {
            return; // they run in another process
        }
        let handles: Vec<_> = self.inner.lock().running.drain().map(|(_, handle)| handle).collect();
        handles.into_iter().for_each(join);
    }
}

/// Starts a thread that nobody joins: it owns what it works on, and ends by itself.
pub(crate) fn detach(kind: ThreadKind, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let started = signals::spawning(|begin| {
        let run = move || {
            begin.begin();
            run();
        };
        thread::Builder::new().name(kind.name.into()).spawn(run)
    });
    started.map(drop)
}

/// Runs the program's code on a thread of this library. Returns false if the code panicked.
///
/// The code may fork: the child is this thread alone, and ends where the code does.
pub(crate) fn run_program(run: impl FnOnce()) -> bool {
    let origin = Origin::here();
    let finished = catch_unwind(AssertUnwindSafe(|| signals::as_program(run))).is_ok();
    if origin.is_elsewhere() {
        sys::end_stray_thread(if finished { 0 } else { 101 });
    }
    finished
}

/// What is said where an error has room for it.
pub(crate) const FORKED: &str =
    "the instance belongs to the process from which this one was forked; join anew here";

impl Drop for ThreadsState {
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
