//! System calls that std and rustix lack: the one room with `unsafe`.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between the process that loaded this library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// 0 in the process that loaded the library, one more in each child forked from there: what was made in another
/// generation belongs to another process.
///
/// Counted from the first [`install`] on; before it nothing was made that could be mistaken.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has the system tell this library of every fork from now on. To be called before anything is made that a child must
/// not use; once is enough.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is a function that lives as long as this library, takes nothing, and does only
        // what a child of a process with several threads may do (see there).
        let error = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if error != 0 {
            log::warn!("forked children cannot be recognised: {}", std::io::Error::from_raw_os_error(error));
        }
    });
}

/// In a forked child, before `fork` returns there: only what is async-signal-safe, for all other threads of the
/// parent are gone, with whatever they had locked.
unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_one_generation_further() {
        install();
        install();
        let ours = generation();
        // SAFETY: the child calls nothing but an atomic load and `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let further = generation().wrapping_sub(ours);
            // SAFETY: ends the child at once, without running anything of the parent's.
            unsafe { libc::_exit(further as i32) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: `status` is a writable integer, and the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 1));
        assert_eq!(generation(), ours);
    }
}
