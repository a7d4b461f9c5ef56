//! What C gives: strings, bytes, handles, places for results.
//!
//! Values of these types come from C alone, as arguments; this library makes none. So what
//! `pares.h` asks of the caller is all that the `unsafe` here needs, and the functions that take
//! them need none.

use std::any::Any;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::opaque;
use super::result::{Code, Failure, null};
use super::table::table;

/// `const char *`: NULL, or text that ends with a NUL and stays as it is during the call.
#[repr(transparent)]
pub(crate) struct Text(*const c_char);

impl Text {
    pub(super) fn get(&self, what: &str) -> Result<&str, Failure> {
        self.optional(what)?.ok_or_else(|| null(what))
    }

    /// The same, where NULL stands for nothing.
    pub(super) fn optional(&self, what: &str) -> Result<Option<&str>, Failure> {
        let Some(text) = self.c_text() else { return Ok(None) };
        let text = text.to_str();
        text.map(Some).map_err(|_| Failure::new(Code::NotUtf8, format!("{what} is not UTF-8")))
    }

    /// A path may be any bytes.
    pub(super) fn path(&self, what: &str) -> Result<&Path, Failure> {
        let path = self.c_text().ok_or_else(|| null(what))?;
        Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
    }

    fn c_text(&self) -> Option<&CStr> {
        // SAFETY: not NULL, and `pares.h` asks for text that ends with a NUL and stays as it is
        // during the call.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) })
    }
}

/// `const char *const *` with a count beside it: as many texts, which stay as they are during the
/// call. NULL if it is none.
#[repr(transparent)]
pub(crate) struct Texts(*const *const c_char);

impl Texts {
    pub(super) fn list(&self, count: usize, what: &str) -> Result<&[Text], Failure> {
        if count == 0 {
            return Ok(&[]);
        }
        if self.0.is_null() {
            return Err(null(what));
        }
        if count > isize::MAX as usize / size_of::<Text>() {
            return Err(Failure::new(Code::Invalid, format!("{what} cannot be {count} texts")));
        }
        // SAFETY: not NULL, no longer than anything can be, and `pares.h` asks for so many pointers
        // that stay as they are during the call. A `Text` is one of them.
        Ok(unsafe { std::slice::from_raw_parts(self.0.cast(), count) })
    }
}

/// `const void *` with a length beside it: as many bytes, which stay as they are during the call.
/// NULL if it is none.
#[repr(transparent)]
pub(crate) struct Data(*const c_void);

impl Data {
    pub(super) fn bytes(&self, count: usize, what: &str) -> Result<&[u8], Failure> {
        if count == 0 {
            return Ok(&[]);
        }
        if self.0.is_null() {
            return Err(null(what));
        }
        if isize::try_from(count).is_err() {
            return Err(Failure::new(Code::Invalid, format!("{what} cannot have {count} bytes")));
        }
        // SAFETY: not NULL, no longer than anything can be, and `pares.h` asks for so many bytes
        // that stay as they are during the call.
        Ok(unsafe { std::slice::from_raw_parts(self.0.cast(), count) })
    }
}

/// `T *`: a place for a result.
#[repr(transparent)]
pub(crate) struct Slot<T>(*mut T);

/// A place for a result that is not NULL.
pub(super) struct Place<'a, T>(*mut T, PhantomData<&'a T>);

impl<T: Plain> Slot<T> {
    /// Sets the place to zero, which is also NULL, so that whoever does not look at the result
    /// finds nothing there.
    pub(super) fn open(&self, what: &str) -> Result<Place<'_, T>, Failure> {
        self.optional().ok_or_else(|| null(what))
    }

    /// The same for a result that need not be wanted.
    pub(super) fn optional(&self) -> Option<Place<'_, T>> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: not NULL, and `pares.h` asks for a place of this type that can be written. It is
        // a number or pointer (`Plain`), of which zero is one.
        unsafe { self.0.write_bytes(0, 1) };
        Some(Place(self.0, PhantomData))
    }
}

impl<T: Plain> Place<'_, T> {
    pub(super) fn set(self, value: T) {
        // SAFETY: as when it was opened, which was during the same call.
        unsafe { self.0.write(value) };
    }
}

/// What can be a result: numbers and pointers, of which all bits zero is one.
pub(super) trait Plain: Copy {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for usize {}
impl<T> Plain for *const T {}
impl<T> Plain for Handle<T> {}

/// A pointer to something opaque in C; here a number that stands for a `T` of this process.
#[repr(transparent)]
pub(crate) struct Handle<T>(*mut c_void, PhantomData<fn(T) -> T>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> Handle<T> {
    pub(super) fn of(number: usize) -> Self {
        Handle(opaque(number), PhantomData)
    }

    pub(super) fn number(self) -> usize {
        self.0.addr()
    }
}

impl<T: Any + Send + Sync> Handle<T> {
    pub(super) fn get(self, what: &str) -> Result<Arc<T>, Failure> {
        if self.0.is_null() { Err(null(what)) } else { table().find(self.number()) }
    }

    /// The same, where NULL stands for nothing.
    pub(super) fn optional(self) -> Result<Option<Arc<T>>, Failure> {
        if self.0.is_null() { Ok(None) } else { table().find(self.number()).map(Some) }
    }

    /// What a handle that is freed by this stood for; nothing for NULL.
    pub(super) fn take(self) -> Result<Option<Arc<T>>, Failure> {
        if self.0.is_null() { Ok(None) } else { table().take(self.number()).map(Some) }
    }
}

/// `void *`: some address, which is not followed.
#[repr(transparent)]
pub(crate) struct Address(*mut c_void);

impl Address {
    pub(super) fn number(&self) -> usize {
        self.0.addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_checked() {
        assert_eq!(Text(c"text".as_ptr()).get("x").unwrap(), "text");
        assert_eq!(Text(std::ptr::null()).get("x").unwrap_err(), null("x"));
        assert_eq!(Text(std::ptr::null()).optional("x").unwrap(), None);
        let latin = c"\xfc";
        assert_eq!(Text(latin.as_ptr()).get("x").unwrap_err().code, Code::NotUtf8);
        assert_eq!(Text(latin.as_ptr()).path("x").unwrap().as_os_str().as_bytes(), b"\xfc");
    }

    #[test]
    fn bytes_are_checked() {
        let bytes = [1_u8, 2, 3];
        assert_eq!(Data(bytes.as_ptr().cast()).bytes(2, "x").unwrap(), [1, 2]);
        assert_eq!(Data(std::ptr::null()).bytes(0, "x").unwrap(), []);
        assert_eq!(Data(std::ptr::null()).bytes(1, "x").unwrap_err().code, Code::NullArgument);
        assert_eq!(
            Data(bytes.as_ptr().cast()).bytes(usize::MAX, "x").unwrap_err().code,
            Code::Invalid
        );
    }

    #[test]
    fn lists_of_texts_are_checked() {
        let texts = [c"one".as_ptr(), std::ptr::null()];
        let given = Texts(texts.as_ptr());
        let list = given.list(2, "x").unwrap();
        assert_eq!(list[0].get("x").unwrap(), "one");
        assert_eq!(list[1].get("x").unwrap_err(), null("x"));
        assert!(Texts(std::ptr::null()).list(0, "x").unwrap().is_empty());
        assert_eq!(Texts(std::ptr::null()).list(1, "x").err().unwrap().code, Code::NullArgument);
        assert_eq!(given.list(usize::MAX, "x").err().unwrap().code, Code::Invalid);
    }

    #[test]
    fn a_place_is_zero_until_it_is_set() {
        let mut number = 7_u64;
        let slot = Slot(&raw mut number);
        _ = slot.open("x").unwrap();
        assert_eq!(number, 0);
        let slot = Slot(&raw mut number);
        slot.open("x").unwrap().set(9);
        assert_eq!(number, 9);
        assert!(Slot::<u64>(std::ptr::null_mut()).open("x").is_err());
        assert!(Slot::<u64>(std::ptr::null_mut()).optional().is_none());
    }

    #[test]
    fn a_handle_goes_to_c_and_back() {
        let handle = Handle::<u32>::of(table().add(5_u32).unwrap());
        assert_eq!(*handle.get("x").unwrap(), 5);
        assert_eq!(*handle.take().unwrap().unwrap(), 5);
        assert_eq!(handle.take().unwrap_err().code, Code::BadHandle);
        assert_eq!(Handle::<u32>::of(0).get("x").unwrap_err().code, Code::NullArgument);
        assert!(Handle::<u32>::of(0).take().unwrap().is_none());
    }
}
