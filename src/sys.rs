//! What std and rustix lack of the system: forks, the book of our descriptors, a user's home, host
//! names. The only room with `unsafe` besides `ffi`.
//!
//! A child forked without exec has a copy of every descriptor of its parent. As long as it keeps
//! our sockets open, the parent's death does not end the parent's connections, and the parent's
//! port stays taken. The system therefore tells this library of every fork, and the child closes
//! what is in the [book] before it does anything else.
//!
//! A program may close our descriptors: a [tripwire] notices.
//!
//! This room also keeps the program's [signals] away from the library's threads.
//!
//! The same book tells a crash handler what to give up ([crash]).
//!
//! # What may happen at a fork
//!
//! * Another thread has just made a descriptor and not entered it yet, or has struck it off and not
//!   closed it yet: the fork would miss it. Both therefore happen inside a [`Section`], and a fork
//!   waits until no thread is in one. Nothing in a section waits for anything.
//! * A signal handler of the program forks while its thread is in a section: waiting would take for
//!   ever. Such a fork does not wait, and its child may keep one descriptor.
//! * Another thread has locked something: in the child it stays locked for ever. Everything made
//!   before the fork therefore has another [`Origin`], which is checked before any lock. The locks
//!   are those of std (see `net/lock.rs`), whose sleepers are in no table of the process.
//! * The library is not told of a child made by a raw `clone` system call, or by `vfork`. (`vfork`
//!   and `posix_spawn` exec at once.)
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) mod book;
mod booked;
pub(crate) mod crash;
#[cfg(test)]
pub(crate) mod heap;
mod home;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod packet;
pub(crate) mod queue;
mod resolve;
pub(crate) mod signals;
pub(crate) mod tripwire;

pub(crate) use book::Kind;
pub(crate) use booked::Booked;
pub(crate) use home::home;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use packet::bind_to_device;
pub(crate) use resolve::{Unresolved, resolve};

/// Returns the number of forks between the process that loaded this library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// It is 0 in the process that loaded the library, and grows with each fork from there: what was
/// made in another generation belongs to another process.
///
/// It counts from the first [`install`] on; before that, nothing was made that could be mistaken.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(u32);

impl Origin {
    pub(crate) fn here() -> Self {
        Origin(generation())
    }

    /// Returns true in a child that was forked since: the threads and connections behind it are not
    /// in this process.
    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 != generation()
    }
}

impl Default for Origin {
    fn default() -> Self {
        Origin::here()
    }
}

/// The text for an instance or a peer whose descriptors the program has closed.
pub(crate) const TAKEN_AWAY: &str =
    "the program closed this library's descriptors, and thereby left the group: join again";

/// Has the system tell this library of every fork from now on. Callers must call this before they
/// make anything that a child must not use; once is enough.
pub(crate) fn install() {
    // Not std's Once: a child that is forked while another thread is in it would wait for ever for
    // its end. Two threads that both come first install the handlers twice, which they bear.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the handlers are functions that live as long as this library and take nothing; the
    // one for the child does only what a child of a process with several threads may do (see
    // there).
    let error = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if error != 0 {
        log::warn!("cannot recognise forked children: {}", io::Error::from_raw_os_error(error));
    }
    INSTALLED.store(true, Ordering::Release);
}

/// Held for reading by threads between making a descriptor and entering it, for writing across a
/// fork.
///
/// In a cell, because a child gets a new one: what other threads of its parent had locked would
/// never be unlocked.
struct Gate(UnsafeCell<RwLock<()>>);

// SAFETY: it is only ever read, except by `in_child`, when there is one thread.
unsafe impl Sync for Gate {}

static GATE: Gate = Gate(UnsafeCell::new(RwLock::new(())));

/// The gate, locked from `before` to `in_parent` or `in_child`.
struct Closed(UnsafeCell<Option<RwLockWriteGuard<'static, ()>>>);

// SAFETY: it is touched only by the thread that has the gate locked for writing, see `CLOSED_HERE`.
unsafe impl Sync for Closed {}

static CLOSED: Closed = Closed(UnsafeCell::new(None));

thread_local! {
    /// This thread is in a section, or about to enter one.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// This thread has closed the gate, and is forking.
    static CLOSED_HERE: Cell<bool> = const { Cell::new(false) };
}

fn gate() -> &'static RwLock<()> {
    // SAFETY: valid for ever; replaced only in a child that has no other thread, see `in_child`.
    unsafe { &*GATE.0.get() }
}

/// While it lives, no other thread forks. Hold it only for moments, and never across anything that
/// waits.
pub(crate) struct Section {
    guard: Option<RwLockReadGuard<'static, ()>>,
    origin: Origin,
}

pub(crate) fn section() -> Section {
    install();
    if INSIDE.get() {
        return Section { guard: None, origin: Origin::here() }; // a fork waits for the outer one
    }
    // First: from here on a signal handler that forks must not wait for this thread.
    INSIDE.set(true);
    let guard = gate().read().unwrap_or_else(PoisonError::into_inner);
    Section { guard: Some(guard), origin: Origin::here() }
}

impl Drop for Section {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        if self.origin.is_elsewhere() {
            std::mem::forget(guard); // the child has another gate
        } else {
            drop(guard);
        }
        INSIDE.set(false);
    }
}

extern "C" fn before() {
    // A signal handler forks, inside a section of this very thread; or the handlers are there
    // twice.
    if INSIDE.get() || CLOSED_HERE.get() {
        return;
    }
    tripwire::look(); // what the child closes must be ours
    let guard = gate().write().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: this thread has the gate to itself.
    unsafe { *CLOSED.0.get() = Some(guard) };
    CLOSED_HERE.set(true);
}

extern "C" fn in_parent() {
    if CLOSED_HERE.replace(false) {
        // SAFETY: this thread has the gate to itself until the guard is dropped, which is after it
        // was taken out.
        drop(unsafe { (*CLOSED.0.get()).take() });
    }
}

/// Runs in a forked child, before `fork` returns there. It must only do what is async-signal-safe,
/// because all other threads of the parent are gone, with whatever they had locked.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    book::close_all();
    crash::note_process();
    tripwire::forget();
    CLOSED_HERE.set(false);
    // SAFETY: this is the only thread. The guard is forgotten, for its lock is no more; the lock
    // has nothing that would have to be dropped.
    unsafe {
        std::mem::forget((*CLOSED.0.get()).take());
        std::ptr::write(GATE.0.get(), RwLock::new(()));
    }
}

/// Ends this thread, which a child got from its parent in the middle of the library's work, when
/// the program's function that forked returns to it: the connection it worked for is the parent's.
/// A child without another thread ends with it.
pub(crate) fn end_stray_thread(code: i32) -> ! {
    #[cfg(target_os = "linux")]
    // SAFETY: ends this thread alone, without running anything of the parent's; nothing is on its
    // stack that another thread of this process knows of.
    unsafe {
        libc::syscall(libc::SYS_exit, code);
    }
    // SAFETY: ends the process at once, without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests;
