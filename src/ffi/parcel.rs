//! Memory that C is given: read there, and given back with `pares_free`.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::ptr;

use super::result::{Failure, c_text};
use super::table::table;

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
    fn keep<T: Any>(&mut self, value: T) -> *mut T {
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

    /// Hands out the whole, by `root`, the address that C gives back.
    pub(super) fn hand_out<T: Any>(mut self, root: T) -> *const T {
        let root = self.keep(root);
        table().hand_out(root.addr(), self);
        root
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

/// Text as a parcel of its own.
pub(super) fn hand_out_text(text: &str) -> *const c_char {
    hand_out_bytes(c_text(text).into_bytes()).cast()
}

/// Bytes as a parcel of their own, with a NUL after them.
pub(super) fn hand_out_bytes(bytes: Vec<u8>) -> *const c_void {
    let mut parcel = Parcel::default();
    let bytes = parcel.bytes(bytes);
    table().hand_out(bytes.addr(), parcel);
    bytes
}

/// Frees what was handed out at this address; nothing at NULL.
pub(super) fn take_back(address: usize) -> Result<(), Failure> {
    if address != 0 {
        drop(table().take_back(address)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::super::result::Code;
    use super::*;

    struct Outer {
        names: *const *const c_char,
        value: *const c_void,
    }

    #[test]
    fn what_is_handed_out_can_be_read_until_it_is_given_back_once() {
        let mut parcel = Parcel::default();
        let names = parcel.texts(["one", "t\0wo"]);
        let value = parcel.bytes(b"a\0b".to_vec());
        assert!(parcel.texts([]).is_null());
        let outer = parcel.hand_out(Outer { names, value });
        // SAFETY: all of it lives until it is given back.
        unsafe {
            assert_eq!(CStr::from_ptr(*(*outer).names), c"one");
            assert_eq!(CStr::from_ptr(*(*outer).names.add(1)), c"t\u{fffd}wo");
            assert_eq!(std::slice::from_raw_parts((*outer).value.cast::<u8>(), 4), b"a\0b\0");
        }
        assert_eq!(take_back(names.addr()).unwrap_err().code, Code::BadHandle);
        take_back(outer.addr()).unwrap();
        assert_eq!(take_back(outer.addr()).unwrap_err().code, Code::BadHandle);
        take_back(0).unwrap();
    }

    #[test]
    fn a_text_is_a_parcel_of_its_own() {
        let text = hand_out_text("");
        // SAFETY: it lives until it is given back.
        assert_eq!(unsafe { CStr::from_ptr(text) }, c"");
        take_back(text.addr()).unwrap();
    }
}
