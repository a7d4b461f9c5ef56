//! Counts what a thread takes from the heap, in the library's own tests only.
//!
//! It is the allocator of that one test program, so that what a message or a decision takes can be
//! asserted beside the code. By thread, because tests run beside each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) allocations: usize,
    pub(crate) bytes: usize,
}

thread_local! {
    // Neither made at first use nor dropped at the end: both could allocate.
    static TAKEN: Cell<Taken> = const { Cell::new(Taken { allocations: 0, bytes: 0 }) };
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count(bytes: usize) {
    let Taken { allocations, bytes: before } = TAKEN.get();
    TAKEN.set(Taken { allocations: allocations + 1, bytes: before + bytes });
}

// SAFETY: all memory is the system's allocator's, asked for and given back as our caller does it;
// counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What this thread takes from the heap while `run` runs; what it gives back meanwhile is not set
/// off.
pub(crate) fn taken<T>(run: impl FnOnce() -> T) -> (Taken, T) {
    let before = TAKEN.get();
    let result = run();
    let after = TAKEN.get();
    (
        Taken {
            allocations: after.allocations - before.allocations,
            bytes: after.bytes - before.bytes,
        },
        result,
    )
}
