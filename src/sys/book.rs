//! The book of our descriptors: which numbers are ours at the moment, and what each is for.
//!
//! It is read where nothing may be locked or allocated: in a forked child and in a crash handler.
//! It is therefore a table of bits, in pages that are made as numbers grow and never go away.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The purpose of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A listener of the supervisor port: while it is open, no other instance can be elected.
    Port = 0,
    /// A connection between a supervisor and a subordinate.
    Lifeline = 1,
    /// Any other listener or connection.
    Peer = 2,
    /// A descriptor that no other process sees: wakers, reserves.
    Own = 3,
    /// A file. Opening and closing it may wait (for a server of files), so a fork does not wait for
    /// these.
    File = 4,
    /// A listener that other processes have, too. Whoever shuts it down does so for all: a crash
    /// leaves it alone.
    Shared = 5,
}

const KINDS: [Kind; 6] =
    [Kind::Port, Kind::Lifeline, Kind::Peer, Kind::Own, Kind::File, Kind::Shared];

const BITS: usize = 64;
const WORDS: usize = 64;
/// The number of descriptors on a page.
const SPAN: usize = WORDS * BITS;
/// 16,777,216 descriptors: sixteen times the number that Linux allows a process by default at most.
const PAGES: usize = 4096;

/// For each kind, one bit for each descriptor.
struct Page([[AtomicU64; WORDS]; KINDS.len()]);

static BOOK: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(null_mut()) }; PAGES];

/// Returns the page, if it is there already.
fn page(number: usize) -> Option<&'static Page> {
    let page = BOOK.get(number)?.load(Ordering::Acquire);
    // SAFETY: null, or a page that was made by `made` and never goes away.
    unsafe { page.as_ref() }
}

/// Returns the page, and makes it if need be.
fn made(number: usize) -> Option<&'static Page> {
    let slot = BOOK.get(number)?;
    if page(number).is_none() {
        let new = Box::into_raw(Box::new(Page(
            [const { [const { AtomicU64::new(0) }; WORDS] }; KINDS.len()],
        )));
        if slot.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: just made, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
    page(number)
}

fn place(descriptor: i32) -> Option<(usize, usize, u64)> {
    let descriptor = usize::try_from(descriptor).ok()?;
    Some((descriptor / SPAN, descriptor % SPAN / BITS, 1 << (descriptor % BITS)))
}

/// Returns true if a descriptor is in the book.
pub(super) fn has(descriptor: i32) -> bool {
    let found = place(descriptor).and_then(|(number, word, bit)| Some((page(number)?, word, bit)));
    found.is_some_and(|(page, word, bit)| {
        page.0.iter().any(|kind| kind[word].load(Ordering::Relaxed) & bit != 0)
    })
}

/// Strikes all off, because the program has closed them.
pub(super) fn forget() {
    for page in (0..PAGES).filter_map(page) {
        page.0.iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// Returns which file a number is at the moment; `None` if it is none. Async-signal-safe.
pub(super) fn identity(descriptor: i32) -> Option<u64> {
    let mut about = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: asks about a number, whatever it is; the kernel fills in what it is given if it knows
    // it.
    let about = unsafe {
        if libc::fstat(descriptor, about.as_mut_ptr()) != 0 {
            return None;
        }
        about.assume_init()
    };
    Some((about.st_dev as u64).rotate_left(32) ^ about.st_ino as u64)
}

/// Enters a descriptor that was just made, in the same section.
pub(super) fn enter(descriptor: i32, kind: Kind) -> io::Result<()> {
    let found = place(descriptor).and_then(|(number, word, bit)| Some((made(number)?, word, bit)));
    let Some((page, word, bit)) = found else {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    };
    page.0[kind as usize][word].fetch_or(bit, Ordering::Relaxed);
    Ok(())
}

/// Strikes off a descriptor that is closed next, in the same section: once it is closed, its number
/// may be the program's.
pub(super) fn strike(descriptor: i32, kind: Kind) {
    if let Some((page, word, bit)) =
        place(descriptor).and_then(|(number, word, bit)| Some((page(number)?, word, bit)))
    {
        page.0[kind as usize][word].fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Calls `each` for each descriptor of a kind. Async-signal-safe, if `each` is.
pub(super) fn each(kind: Kind, mut each: impl FnMut(i32)) {
    for number in 0..PAGES {
        let Some(page) = page(number) else { continue };
        for (word, bits) in page.0[kind as usize].iter().enumerate() {
            let mut bits = bits.load(Ordering::Relaxed);
            while bits != 0 {
                let descriptor = number * SPAN + word * BITS + bits.trailing_zeros() as usize;
                each(descriptor as i32);
                bits &= bits - 1;
            }
        }
    }
}

/// Closes every descriptor in the book, and empties it: for a child that has just been forked. It
/// never shuts one down, which would end the parent's connection. Async-signal-safe.
pub(super) fn close_all() {
    for kind in KINDS {
        each(kind, |descriptor| {
            // SAFETY: ours, and of no use in this process; whoever owns it here does not close it,
            // see `Booked`.
            unsafe { libc::close(descriptor) };
            strike(descriptor, kind);
        });
    }
}

/// Returns all descriptors in the book, for tests.
#[cfg(test)]
pub(super) fn all() -> Vec<i32> {
    let mut found = Vec::new();
    KINDS.into_iter().for_each(|kind| each(kind, |descriptor| found.push(descriptor)));
    found.sort_unstable();
    found
}
