//! Gives up the port and the connections at the moment of a crash, before the core dump.
//!
//! A process that dumps core keeps its descriptors open until the dump is written, and its group
//! counts it as alive meanwhile. These handlers end its connections first, and then let happen what
//! would have happened without them.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::book::{self, Kind};

/// The signals that end a process with a core dump because of what it has done itself.
pub(super) const SIGNALS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// What was installed for each before.
struct Former(UnsafeCell<[MaybeUninit<libc::sigaction>; SIGNALS.len()]>);

// SAFETY: each is written once, before the handler that reads it is installed.
unsafe impl Sync for Former {}

static FORMER: Former = Former(UnsafeCell::new([MaybeUninit::uninit(); SIGNALS.len()]));

/// The process whose descriptors are in the book. A child of `vfork` has the same memory, and
/// copies of them.
static PROCESS: AtomicI32 = AtomicI32::new(0);

static CRASHING: AtomicBool = AtomicBool::new(false);

/// True from the moment at which this process has given up its connections: it takes part in
/// nothing any more.
pub(crate) fn is_crashing() -> bool {
    CRASHING.load(Ordering::Relaxed)
}

/// Installs the handlers; once is enough.
pub(crate) fn install() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if BEGUN.swap(true, Ordering::AcqRel) {
        return; // not even waited for another thread that is at it: see `sys::install`
    }
    note_process();
    for (at, signal) in SIGNALS.into_iter().enumerate() {
        if let Err(error) = install_one(at, signal) {
            log::warn!("cannot catch crashes by signal {signal}: {error}");
        }
    }
}

/// Async-signal-safe, because a forked child calls it, too.
pub(super) fn note_process() {
    // SAFETY: asks for a number.
    PROCESS.store(unsafe { libc::getpid() }, Ordering::Relaxed);
}

fn install_one(at: usize, signal: i32) -> std::io::Result<()> {
    let checked =
        |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: `FORMER` has a place for it that nobody reads yet, since the handler is installed
    // after it; the action is all zeros, which is valid, but for what is set here; and the handler
    // is async-signal-safe.
    unsafe {
        let former = (*FORMER.0.get())[at].as_mut_ptr();
        checked(libc::sigaction(signal, null_mut(), former))?;
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_crash as *const () as libc::sighandler_t;
        // On the thread's other stack, where it has one (std's threads do): the usual one may be
        // what overflowed.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        checked(libc::sigaction(signal, &raw const action, null_mut()))
    }
}

/// Only what is async-signal-safe: the thread may have been anywhere.
extern "C" fn on_crash(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: asks for a number.
    let here = unsafe { libc::getpid() } == PROCESS.load(Ordering::Relaxed);
    let former = SIGNALS.iter().position(|one| *one == signal);
    // SAFETY: `info` is what the kernel gave this handler.
    let code = unsafe { (*info).si_code };
    if here
        && !(former.is_some_and(is_handled) && is_only_sent(signal, code))
        && !CRASHING.swap(true, Ordering::Relaxed)
    {
        release();
    }
    // SAFETY: it was written before this handler was installed for the signal. What was installed
    // before is put back, and the same signal, with all that the kernel said of it, is sent again
    // to this thread: it comes when this handler returns, in the very place of the crash. So a
    // handler of the program's, std's for a stack overflow, or the kernel's core dump sees what it
    // would have seen without this one.
    unsafe {
        if let Some(at) = former {
            libc::sigaction(signal, (*FORMER.0.get())[at].as_ptr(), null_mut());
        }
        again(signal, info);
    }
}

/// Somebody has sent a signal that otherwise reports a fault. A handler, if there is one, may well
/// let the process live: std's does, once.
fn is_only_sent(signal: i32, code: i32) -> bool {
    code <= 0 && matches!(signal, libc::SIGSEGV | libc::SIGBUS)
}

/// Returns true if a handler was installed before, and not the system's default or nothing.
fn is_handled(at: usize) -> bool {
    // SAFETY: written before the handler that asks was installed.
    let handler = unsafe { (*FORMER.0.get())[at].assume_init_ref().sa_sigaction };
    handler != libc::SIG_DFL && handler != libc::SIG_IGN
}

#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn again(signal: i32, info: *mut libc::siginfo_t) {
    // SAFETY: `info` is what the kernel gave this handler.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid);
        if libc::syscall(libc::SYS_rt_tgsigqueueinfo, libc::getpid(), thread, signal, info) != 0 {
            libc::raise(signal); // forbidden by a filter of system calls
        }
    }
}

/// A fault happens again by itself when the handler returns; a signal that was sent does not.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn again(signal: i32, _info: *mut libc::siginfo_t) {
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(signal) };
}

/// First the supervisor port, which is then free before the first survivor learns of the end; then
/// the lifelines; then the rest.
///
/// Shuts them down, without closing them: the other threads run on for a moment, and a free number
/// could become a file of the program, into which one of our threads then writes.
fn release() {
    for kind in [Kind::Port, Kind::Lifeline, Kind::Peer] {
        book::each(kind, |descriptor| {
            // SAFETY: the numbers in the book are open sockets of ours.
            unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
            // Only Linux takes a listener that is shut down for closed.
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            if kind == Kind::Port {
                // SAFETY: as above; nothing else is ever written to a listener's number.
                unsafe { libc::close(descriptor) };
            }
        });
    }
}
