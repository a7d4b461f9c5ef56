//! Reads where a user's home is from the user database.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

/// The largest entry of the user database that is read; an entry of a usual system has a hundred
/// bytes.
const MOST: usize = 1 << 20;

/// Returns the home of this process's effective user; `None` if the user database does not know the
/// user.
///
/// `std::env::home_dir` reads the database only where HOME is not set at all: it believes an empty
/// or relative HOME.
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
