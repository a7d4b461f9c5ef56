//! The handles that C holds: numbers that are never used twice, and what they stand for in this
//! process.
//!
//! A handle is not an address. So one that was freed, is of another type, or is no handle at all,
//! is recognised whatever it is.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::parcel::Parcel;
use super::result::{Code, Failure, c_text};
use crate::sys;

type Object = Arc<dyn Any + Send + Sync>;

/// The table of one process. Those of the processes that it was forked from are never looked into
/// again.
pub(super) struct Table {
    generation: u32,
    /// The first number that this process has given; lower ones are its parent's.
    first: usize,
    // Held for one operation on a map; what is taken out is dropped, or waited for, outside.
    inside: Mutex<Inside>,
    /// Only so that what a forked child leaves behind counts as reachable.
    _parents: *const Table,
}

#[derive(Default)]
struct Inside {
    objects: BTreeMap<usize, Object>,
    parcels: BTreeMap<usize, Parcel>,
}

// SAFETY: what keeps it from being so is a pointer that nobody follows.
unsafe impl Send for Table {}
// SAFETY: the same; all else is a lock and what never changes.
unsafe impl Sync for Table {}

static PRESENT: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

/// The next handle. Odd, unlike every address of an object that a program could take for one.
/// Inherited by forked children, so that a parent's number never comes again.
static NEXT: AtomicUsize = AtomicUsize::new(FIRST);
const FIRST: usize = 0x101;

/// This process's table. No lock is taken to find it, and none that could have been held across a
/// fork.
pub(super) fn table() -> &'static Table {
    #[cfg(not(miri))] // it does not know pthread_atfork
    sys::install();
    let mut present = PRESENT.load(Ordering::Acquire);
    loop {
        // SAFETY: null or a table made below, which is never freed.
        match unsafe { present.as_ref() } {
            Some(table) if table.generation == sys::generation() => return table,
            Some(_) | None => {}
        }
        let table = Table {
            generation: sys::generation(),
            first: NEXT.load(Ordering::Relaxed),
            inside: Mutex::default(),
            _parents: present,
        };
        let new = Box::into_raw(Box::new(table));
        match PRESENT.compare_exchange(present, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => present = new,
            Err(other) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                present = other;
            }
        }
    }
}

impl Table {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nothing has had before and nothing will have again.
    pub(super) fn reserve(&self) -> Result<usize, Failure> {
        let next =
            NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(2));
        next.map_err(|_| {
            Failure::new(Code::TooMany, "all handles that there can be have been used")
        })
    }

    /// Lets a reserved number stand for `object`.
    pub(super) fn put(&self, number: usize, object: Object) {
        self.inside().objects.insert(number, object);
    }

    pub(super) fn add<T: Any + Send + Sync>(&self, object: T) -> Result<usize, Failure> {
        let number = self.reserve()?;
        self.put(number, Arc::new(object));
        Ok(number)
    }

    /// What a handle stands for, if it is of this type.
    pub(super) fn find<T: Any + Send + Sync>(&self, number: usize) -> Result<Arc<T>, Failure> {
        self.check(number)?;
        let found = self.inside().objects.get(&number).cloned();
        found.and_then(|object| object.downcast().ok()).ok_or_else(bad_handle)
    }

    /// The same, and the handle stands for nothing from now on.
    pub(super) fn take<T: Any + Send + Sync>(&self, number: usize) -> Result<Arc<T>, Failure> {
        self.check(number)?;
        let mut inside = self.inside();
        if !inside.objects.get(&number).is_some_and(|object| (**object).is::<T>()) {
            return Err(bad_handle());
        }
        let taken = inside.objects.remove(&number);
        drop(inside);
        taken.and_then(|object| object.downcast().ok()).ok_or_else(bad_handle)
    }

    /// Recognises a parent's handle, before any lock.
    fn check(&self, number: usize) -> Result<(), Failure> {
        if number % 2 == 1 && (FIRST..self.first).contains(&number) {
            let text = "the handle is that of a process that this one was forked from; join anew \
                        in this process";
            return Err(Failure::new(Code::Forked, text));
        }
        Ok(())
    }

    /// Remembers memory that C is given, by its address.
    fn hand_out(&self, address: usize, parcel: Parcel) {
        self.inside().parcels.insert(address, parcel);
    }

    /// Memory that C gives back.
    fn take_back(&self, address: usize) -> Result<Parcel, Failure> {
        let taken = self.inside().parcels.remove(&address);
        taken.ok_or_else(|| {
            // What the parent was given cannot be told from nonsense without the parent's table.
            if self.generation == 0 {
                Failure::new(Code::BadHandle, "this memory was not handed out, or has been freed")
            } else {
                Failure::new(
                    Code::Forked,
                    "this memory was not handed out in this process, or has been freed",
                )
            }
        })
    }
}

impl Parcel {
    /// Hands out the whole, by `root`, the address that C gives back.
    pub(super) fn hand_out<T: Any>(mut self, root: T) -> *const T {
        let root = self.keep(root);
        table().hand_out(root.addr(), self);
        root
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

fn bad_handle() -> Failure {
    Failure::new(Code::BadHandle, "the handle was freed, never existed, or is of another type")
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

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

    #[test]
    fn a_handle_is_its_object_until_it_is_taken_and_never_again() {
        let table = table();
        let number = table.add(7_u32).unwrap();
        assert_eq!(*table.find::<u32>(number).unwrap(), 7);
        assert_eq!(*table.take::<u32>(number).unwrap(), 7);
        let next = table.add(8_u32).unwrap();
        assert!(next > number);
        for _ in 0..2 {
            assert_eq!(table.find::<u32>(number).unwrap_err().code, Code::BadHandle);
            assert_eq!(table.take::<u32>(number).unwrap_err().code, Code::BadHandle);
        }
        table.take::<u32>(next).unwrap();
    }

    #[test]
    fn a_handle_of_another_type_is_recognised_and_stays() {
        let table = table();
        let number = table.add(String::from("text")).unwrap();
        assert_eq!(table.find::<u32>(number).unwrap_err().code, Code::BadHandle);
        assert_eq!(table.take::<u32>(number).unwrap_err().code, Code::BadHandle);
        assert_eq!(*table.take::<String>(number).unwrap(), "text");
    }

    #[test]
    fn what_was_never_a_handle_is_recognised() {
        let local = 0_u64;
        for number in [0, 1, 2, FIRST + 1, usize::MAX, (&raw const local).addr()] {
            assert_eq!(table().find::<u32>(number).unwrap_err().code, Code::BadHandle);
        }
    }

    #[test]
    fn a_parents_handle_is_recognised_without_a_lock() {
        let table =
            Table { generation: 1, first: 0x201, inside: Mutex::default(), _parents: ptr::null() };
        let held = table.inside();
        assert_eq!(table.find::<u32>(0x1ff).unwrap_err().code, Code::Forked);
        assert_eq!(table.take::<u32>(FIRST).unwrap_err().code, Code::Forked);
        drop(held);
        for other in [0x200, 0x201, 0x100, 0] {
            assert_eq!(table.find::<u32>(other).unwrap_err().code, Code::BadHandle);
        }
    }

    #[test]
    fn an_object_is_dropped_outside_of_the_lock() {
        struct Nested(usize);
        impl Drop for Nested {
            fn drop(&mut self) {
                table().take::<u32>(self.0).unwrap();
            }
        }
        let inner = table().add(1_u32).unwrap();
        let outer = table().add(Nested(inner)).unwrap();
        drop(table().take::<Nested>(outer).unwrap());
        assert!(table().find::<u32>(inner).is_err());
    }
}
