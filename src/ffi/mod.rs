//! The C interface: the headers in `include` are the contract, these rooms only check, convert and
//! guard.
//!
//! | room | what it is |
//! |---|---|
//! | `result` | the numbers of the results; the last error's text; the wall that no panic passes |
//! | `table` | the handles that C holds, as numbers that are never used twice |
//! | `number` | the enums that C knows by number, with their constants and words |
//! | `given` | what C gives: strings, bytes, handles, places for results. All trust in the caller is here |
//! | `parcel` | memory that C is given, until it gives it back |
//! | `callback` | functions of the program that the library calls: admin functions, jobs, destructors |
//! | `subscription` | events, waited for or polled |
//! | `config`, `instance`, `events`, `registry`, `sharing`, `settings`, `listener`, `peer` | the functions of the headers, in their order |
//!
//! After a fork the child starts with an empty table. Every handle that is older is recognised by
//! its number, before any lock is touched: whoever held that lock is not in this process.
#![allow(unsafe_code)]

mod callback;
mod config;
mod events;
mod given;
mod instance;
mod listener;
mod number;
mod parcel;
mod peer;
mod registry;
mod result;
mod settings;
mod sharing;
mod subscription;
mod table;

#[cfg(test)]
mod header;

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use given::Address;
use result::{guarded, last_error, name_of};

/// The version of the interface; see `PARES_ABI_VERSION` in `pares.h`.
const ABI_VERSION: u32 = 1;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_abi_version() -> u32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_result_name(result: c_int) -> *const c_char {
    name_of(result).as_ptr()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_last_error() -> *const c_char {
    last_error()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_free(memory: Address) -> c_int {
    guarded(|| table::take_back(memory.number()))
}

/// A time as C gives it; the largest number, `PARES_FOR_EVER`, is as long as any.
fn time(ms: u64) -> Duration {
    if ms == u64::MAX { Duration::MAX } else { Duration::from_millis(ms) }
}

/// A pointer that C is to take for a handle, and nobody for an address.
fn opaque(number: usize) -> *mut c_void {
    std::ptr::without_provenance_mut(number)
}
