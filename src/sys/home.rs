//! Where a user's home is, as the user database has it.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// The largest entry of the user database that is read; an entry of a usual system has a hundred
/// bytes.
const MOST: usize = 1 << 20;

/// The home of this process's effective user; `None` if the user database does not know it.
///
/// `std::env::home_dir` asks it only where HOME is not set at all: an empty or relative one it
/// believes.
pub(crate) fn home() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let mut space = vec![0_u8; 1024];
    loop {
        // SAFETY: a struct of numbers and pointers, for which zeros are valid; it is filled below.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: entry, space and found live across the call, and the length is that of the space.
        let error = unsafe {
            libc::getpwuid_r(user, &mut entry, space.as_mut_ptr().cast(), space.len(), &mut found)
        };
        match error {
            libc::EINTR => {}
            libc::ERANGE if space.len() < MOST => space.resize(space.len() * 4, 0),
            0 if !found.is_null() && !entry.pw_dir.is_null() => {
                // SAFETY: a string with its end, in the space, which is not touched while it is
                // used.
                let home = unsafe { CStr::from_ptr(entry.pw_dir) };
                return Some(PathBuf::from(OsStr::from_bytes(home.to_bytes())));
            }
            _ => return None,
        }
    }
}
