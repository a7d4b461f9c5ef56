//! Keeps the program's signals away from the library's threads.
//!
//! The kernel delivers a signal of a process to any thread that does not block it. A program that
//! takes its signals by `signalfd`, `sigwait` or `ppoll` blocks them in its own threads; a thread
//! of ours that does not block them would end the program, or keep it from waking. Our threads
//! therefore block all signals, from their first instruction on: a thread starts with the mask of
//! the thread that starts it.
//!
//! Functions of the program that our threads run have the program's mask: the threads and processes
//! that they start inherit it, and a child that ignores SIGTERM for ever would be a trap. It is the
//! mask of the thread that joined, or that asked for whatever runs the function.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null;

use super::crash;

/// A set of blocked signals.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

thread_local! {
    /// In a thread of the library, while it does not run a function of the program: the program's
    /// mask.
    static PROGRAM: Cell<Option<Mask>> = const { Cell::new(None) };
}

/// Returns all signals but those that a thread brings upon itself. These belong to the thread, and
/// if blocked they would end the process without a handler (std's for a stack overflow, a
/// sanitizer's, or that of [`crash`]). The C library leaves out the signals that it needs itself.
fn all() -> Mask {
    let mut set = MaybeUninit::uninit();
    // SAFETY: it makes a set of what it is given, and takes signals out of it that there are.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in crash::SIGNALS {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        Mask(set.assume_init())
    }
}

/// Sets this thread's mask, and returns the previous one.
fn set(mask: Mask) -> Mask {
    let mut former = MaybeUninit::uninit();
    // SAFETY: both are sets, and it fails only for an unknown first argument.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask.0, former.as_mut_ptr());
        Mask(former.assume_init())
    }
}

/// Returns this thread's mask.
fn present() -> Mask {
    let mut present = MaybeUninit::uninit();
    // SAFETY: no set to change to; it fills in the present one.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, null(), present.as_mut_ptr());
        Mask(present.assume_init())
    }
}

/// Starts a thread by `spawn`, which takes what the thread must call first.
pub(crate) fn spawning<T>(spawn: impl FnOnce(Begin) -> T) -> T {
    let Some(mask) = PROGRAM.get() else {
        let former = Former(set(all()));
        return spawn(Begin(former.0));
    };
    spawn(Begin(mask)) // everything is blocked here
}

/// The mask to go back to, even if the thread's start panics.
struct Former(Mask);

impl Drop for Former {
    fn drop(&mut self) {
        set(self.0);
    }
}

/// What a thread of the library calls first.
pub(crate) struct Begin(Mask);

impl Begin {
    pub(crate) fn begin(self) {
        PROGRAM.set(Some(self.0));
    }
}

/// Runs a function of the program, with the program's mask.
pub(crate) fn as_program<T>(run: impl FnOnce() -> T) -> T {
    /// Goes back to the library's mask, even after a panic, and whatever the function has made of
    /// its own.
    struct Back(Mask);

    impl Drop for Back {
        fn drop(&mut self) {
            set(all());
            PROGRAM.set(Some(self.0));
        }
    }

    let Some(mask) = PROGRAM.take() else { return run() }; // a thread of the program's
    let _back = Back(mask);
    set(mask);
    run()
}

/// Makes a process that the library starts inherit the program's mask, without this thread ever
/// having it: std's children inherit their parent's.
pub(crate) fn free(command: &mut Command) {
    let mask = PROGRAM.get().unwrap_or_else(present);
    let in_child = move || -> io::Result<()> {
        set(mask);
        Ok(())
    };
    // SAFETY: in the child there is one system call, which may be made there.
    unsafe { command.pre_exec(in_child) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn blocks(signal: i32) -> bool {
        let mask = present();
        // SAFETY: asks whether a set has it.
        unsafe { libc::sigismember(&raw const mask.0, signal) == 1 }
    }

    fn start<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        let handle = spawning(|begin| {
            thread::spawn(move || {
                let first = blocks(libc::SIGTERM);
                begin.begin();
                assert!(first, "from its first instruction on");
                run()
            })
        });
        handle.join().unwrap()
    }

    #[test]
    fn a_thread_of_the_library_blocks_all_signals_but_those_that_it_brings_upon_itself() {
        start(|| {
            for signal in 1..=libc::SIGRTMAX() {
                let own = crash::SIGNALS.contains(&signal);
                let never = [libc::SIGKILL, libc::SIGSTOP].contains(&signal)
                    || (32..libc::SIGRTMIN()).contains(&signal);
                assert_eq!(blocks(signal), !own && !never, "signal {signal}");
            }
        });
        assert!(!blocks(libc::SIGTERM), "whoever has started it is as before");
    }

    #[test]
    fn functions_of_the_program_have_its_mask_whoever_has_started_their_thread() {
        let run = || {
            start(|| {
                let inside = || (blocks(libc::SIGTERM), blocks(libc::SIGUSR1));
                let seen = as_program(|| {
                    (inside(), as_program(inside), thread::spawn(inside).join().unwrap())
                });
                assert!(blocks(libc::SIGTERM) && blocks(libc::SIGUSR1), "afterwards");
                let panicked = std::panic::catch_unwind(|| as_program(|| panic!("on purpose")));
                assert!(panicked.is_err() && blocks(libc::SIGTERM), "after a panic");
                seen
            })
        };
        assert_eq!(run(), ((false, false), (false, false), (false, false)));
        // The program has threads of different masks: the function is of the one that asked for it.
        let mut mask = present();
        // SAFETY: adds a signal that there is to a set.
        unsafe { libc::sigaddset(&raw mut mask.0, libc::SIGUSR1) };
        let _back = Former(set(mask));
        assert_eq!(run(), ((false, true), (false, true), (false, true)));
        assert_eq!(
            start(run),
            ((false, true), (false, true), (false, true)),
            "by a thread of the library's"
        );
    }
}
