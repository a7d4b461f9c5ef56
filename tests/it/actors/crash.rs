//! The ways in which a process crashes.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process;

use rustix::process::Pid;

use super::forker::{LIFETIME, live_on};

/// A child that no handler of forks is told of: it keeps everything open.
pub(super) fn raw_clone() -> u32 {
    // SAFETY: a copy of this process, as `fork` makes it; the child only waits, and lives no longer
    // than `LIFETIME`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: a timer of this process alone.
        unsafe { libc::alarm(LIFETIME) };
        live_on();
    }
    u32::try_from(pid).expect("cloned")
}

/// Has this process crash.
pub(super) fn crash(how: &str) {
    match how {
        // SAFETY: none; it is to fault.
        "fault" => unsafe { (8 as *mut u8).write_volatile(1) },
        "abort" => process::abort(),
        "bus" => {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open("empty")
                .expect("a file");
            // SAFETY: none; what is mapped lies behind the file's end.
            unsafe {
                let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
                let mapped =
                    libc::mmap(std::ptr::null_mut(), 4096, read, shared, file.as_raw_fd(), 0);
                println!("{}", mapped.cast::<u8>().read_volatile());
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: none; it is no instruction.
        "illegal" => unsafe { std::arch::asm!("ud2") },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: stops in a debugger, if there is one.
        "trap" => unsafe { std::arch::asm!("int3") },
        "overflow" => println!("{}", deep(&[1; 1000])),
        // SAFETY: sends a signal to this thread.
        signal => _ = unsafe { libc::raise(signal.parse().expect("a signal's number")) },
    }
}

/// Calls itself until the stack is full.
#[allow(unconditional_recursion)]
fn deep(numbers: &[u64]) -> u64 {
    let more = [numbers[0] + 1; 1000];
    deep(std::hint::black_box(&more)) + more[3]
}

/// A child that shares this process's memory, as one of `vfork` and `posix_spawn` does, crashes.
///
/// Not by a fault: for that std has a handler, which takes whoever shares its memory for crashing,
/// too. A thread of the parent that begins or ends in that moment would wait for the end of the
/// process.
pub(super) fn crash_like_vfork() {
    extern "C" fn child(_: *mut libc::c_void) -> i32 {
        // SAFETY: sends a signal to this process.
        unsafe { libc::raise(libc::SIGILL) };
        0
    }
    let mut stack = vec![0_u64; 32 * 1024];
    // SAFETY: the stack is the child's alone; this thread goes on when the child has ended.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(
            child,
            top.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            std::ptr::null_mut(),
        )
    };
    let ended = rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::empty());
    let signal = ended.expect("a child").and_then(|(_, status)| status.terminating_signal());
    assert_eq!(signal, Some(libc::SIGILL));
}

/// A program's own handler of faults: says where the fault was, and goes on as `how` says.
pub(super) fn handle_faults(how: &str) {
    extern "C" fn say_where(info: *const libc::siginfo_t) {
        // SAFETY: what the kernel has given the handler.
        let address = unsafe { (*info).si_addr() } as usize;
        let line = *b"\n@@ handler ?\n";
        let line = line.map(|byte| if byte == b'?' { b'0' + (address % 10) as u8 } else { byte });
        // SAFETY: the array is as long as said.
        unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
    }
    extern "C" fn exits(_: i32, info: *const libc::siginfo_t, _: *const libc::c_void) {
        say_where(info);
        // SAFETY: ends the process.
        unsafe { libc::_exit(42) };
    }
    extern "C" fn takes_its_time(_: i32, info: *const libc::siginfo_t, _: *const libc::c_void) {
        say_where(info);
        live_on();
    }
    let handler = if how == "exits" { exits as *const () } else { takes_its_time as *const () };
    // SAFETY: all zeros is a valid action; the handlers are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()), 0);
    }
}
