//! Signals, as far as std, rustix and signal-hook have no word for them: what is ignored, what is
//! blocked, real-time signals, and dying or stopping by a signal as if nobody had caught it. The
//! command's one room with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::c_int;

/// A set of signals as a number: bit N-1 is signal N.
pub(crate) type Mask = u64;

const SIGNALS: std::ops::RangeInclusive<c_int> = 1..=64;

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) signal: i32,
    /// Some process has sent it; else the kernel has, a terminal's key for instance.
    pub(crate) by_process: bool,
}

/// True if whoever started this process has the signal ignored, as `nohup` does with SIGHUP.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: a sigaction of zeros is a valid one to write over; nothing is changed.
    unsafe {
        let mut present: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut present) == 0
            && present.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives a signal its default effect, in this process.
pub(crate) fn restore_default(signal: i32) {
    // SAFETY: sets no function of ours, so that nothing has to be async-signal-safe.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Blocks these signals in this thread and in those that it starts from now on; gives what was
/// blocked before.
pub(crate) fn block(signals: Mask) -> Mask {
    mask(libc::SIG_BLOCK, signals)
}

/// Blocks these signals in this thread and no other ones.
pub(crate) fn set_blocked(signals: Mask) {
    mask(libc::SIG_SETMASK, signals);
}

fn mask(how: c_int, signals: Mask) -> Mask {
    let (new, mut old) = (set_of(signals), set_of(0));
    // SAFETY: both are initialised sets on this stack.
    unsafe { libc::pthread_sigmask(how, &raw const new, &raw mut old) };
    // SAFETY: an initialised set, and numbers in its range.
    let holds = |signal: c_int| unsafe { libc::sigismember(&raw const old, signal) == 1 };
    SIGNALS.filter(|signal| holds(*signal)).fold(0, |mask, signal| mask | bit(signal))
}

fn set_of(signals: Mask) -> libc::sigset_t {
    // SAFETY: `sigemptyset` initialises it; a number that is no signal is an error that leaves the
    // set as it is.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in SIGNALS.filter(|signal| signals & bit(*signal) != 0) {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

pub(crate) fn bit(signal: i32) -> Mask {
    1 << (signal - 1)
}

/// All signals that reach a process only if it lets them, save those that it has ignored from the
/// start. SIGPIPE is not among them: the runtime ignores it, and it is this process's own writing
/// that brings it about.
pub(crate) fn catchable() -> Mask {
    let all = SIGNALS.filter(|signal| {
        ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, libc::SIGPIPE].contains(signal)
    });
    all.filter(|signal| !is_ignored(*signal)).fold(0, |mask, signal| mask | bit(signal))
}

/// Waits for one of these signals, which must be blocked in all threads.
pub(crate) fn wait_for(signals: Mask) -> io::Result<Arrival> {
    let set = set_of(signals);
    loop {
        // SAFETY: the set is initialised, and the information is written before it is read.
        let (signal, information) = unsafe {
            let mut information: libc::siginfo_t = mem::zeroed();
            (libc::sigwaitinfo(&raw const set, &raw mut information), information)
        };
        if signal > 0 {
            return Ok(Arrival { signal, by_process: information.si_code <= 0 });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sends any signal, real-time ones too, to a process, or to all of a group if the number is
/// negative.
pub(crate) fn send(to: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes and gives numbers.
    if unsafe { libc::kill(to, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a signal its default effect on this process, now: returns if that is to stop it, once it
/// goes on, or if nobody could have it go on again, so that the kernel does not stop it. Leaves no
/// core.
pub(crate) fn suffer(signal: i32) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
    // SAFETY: takes and gives numbers; the limit lives on this stack.
    unsafe {
        if !stops {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::raise(signal); // for this thread, which lets it in next
    }
    mask(libc::SIG_UNBLOCK, bit(signal));
    mask(libc::SIG_BLOCK, bit(signal));
}

/// Takes over a descriptor that this process was given by number when it was started.
///
/// # Errors
///
/// If there is none of this number. Nothing was changed.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes and gives numbers. From here on the descriptor is in nobody's hands but ours:
    // the starter made it for this process alone, and its number is told nobody else.
    unsafe {
        if number <= 2 || libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Has the program that this process becomes have these descriptors from 3 on, whatever it was
/// given there. They have higher numbers.
pub(crate) fn place(numbers: impl Iterator<Item = RawFd>) -> io::Result<()> {
    for (to, from) in (3..).zip(numbers) {
        // SAFETY: takes and gives numbers; this process uses no descriptor from 3 on.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        unsafe { libc::close(from) };
    }
    Ok(())
}

/// Has the programs that are executed from now on inherit a descriptor.
pub(crate) fn hand_down(descriptor: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?)
}
