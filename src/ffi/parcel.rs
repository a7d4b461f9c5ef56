//! Memory that C is given: read there, and given back with `pares_free`.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::ptr;

use super::result::c_text;

/// Pieces of memory that belong together and stay where they are until all are freed together.
#[derive(Default)]
pub(super) struct Parcel {
    // Not boxes: moving a box ends the right of others to read through their pointers.
    pieces: Vec<*mut dyn Any>,
}

// SAFETY: the pieces are owned, and hold numbers, text, and pointers to other pieces of the same
// parcel.
unsafe impl Send for Parcel {}

impl Parcel {
    /// Keeps a value at an address of its own.
    pub(super) fn keep<T: Any>(&mut self, value: T) -> *mut T {
        let piece = Box::into_raw(Box::new(value));
        self.pieces.push(piece);
        piece
    }

    /// Text without its length: a NUL in it is replaced.
    pub(super) fn text(&mut self, text: &str) -> *const c_char {
        self.bytes(c_text(text).into_bytes()).cast()
    }

    /// Bytes with a NUL after them, so that text may be read without its length.
    pub(super) fn bytes(&mut self, mut bytes: Vec<u8>) -> *const c_void {
        bytes.push(0);
        self.list(bytes).cast()
    }

    /// Several of something; NULL if it is none.
    pub(super) fn list<T: Any>(&mut self, list: Vec<T>) -> *const T {
        if list.is_empty() {
            return ptr::null();
        }
        let list = self.keep(list);
        // SAFETY: just made, and not changed or moved before the parcel is dropped.
        unsafe { (*list).as_ptr() }
    }

    pub(super) fn texts<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> *const *const c_char {
        let list = texts.into_iter().map(|text| self.text(text)).collect();
        self.list(list)
    }

    /// A struct that others point to.
    pub(super) fn one<T: Any>(&mut self, value: T) -> *const T {
        self.keep(value)
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        for piece in self.pieces.drain(..) {
            // SAFETY: made from a box in `keep`, and given up here only.
            drop(unsafe { Box::from_raw(piece) });
        }
    }
}
