//! Functions of the program that the library calls, and what the program gives with them.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use super::given::{Data, Handle, Text};
use super::result::{Code, Failure, guarded};
use super::table::table;
use crate::config::MAX_PAYLOAD;
use crate::error::in_bytes;
use crate::sys::signals;

/// `pares_free_user`.
pub(crate) type FreeUser = Option<unsafe extern "C" fn(*mut c_void)>;

/// `pares_function`.
pub(crate) type Function = Option<
    unsafe extern "C" fn(
        reply: Handle<Reply>,
        payload: *const c_void,
        bytes: usize,
        user: *mut c_void,
    ),
>;

/// What the program wants to find in its callbacks: a pointer of its own, and how it is freed.
pub(super) struct User {
    pub(super) pointer: *mut c_void,
    free: FreeUser,
}

// SAFETY: the pointer is followed by the program's own functions only, and `pares.h` says that
// these may be called by any thread.
unsafe impl Send for User {}
// SAFETY: the same, and that several threads may call them at once.
unsafe impl Sync for User {}

impl User {
    /// To be made before anything can fail: from then on the destructor is called once, whatever
    /// happens.
    pub(super) fn new(pointer: *mut c_void, free: FreeUser) -> Self {
        User { pointer, free }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            let _inside = Inside::enter(ANY);
            // SAFETY: the program gave both for this, and this is the only call.
            signals::as_program(|| unsafe { free(self.pointer) });
        }
    }
}

thread_local! {
    /// The instances whose callbacks this thread is in, as their handles' numbers.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// In a destructor: it may belong to any instance.
const ANY: usize = 0;

/// As long as it lives, this thread is in a callback.
pub(super) struct Inside;

impl Inside {
    pub(super) fn enter(instance: usize) -> Self {
        _ = INSIDE.try_with(|inside| inside.borrow_mut().push(instance));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
    }
}

/// Refuses what would wait for the callback that asks for it.
pub(super) fn not_inside(instance: usize) -> Result<(), Failure> {
    let waits =
        INSIDE.try_with(|inside| inside.borrow().iter().any(|one| *one == instance || *one == ANY));
    if waits.unwrap_or(false) {
        let text =
            "this would wait for the callback that it is called from; let another thread do it";
        return Err(Failure::new(Code::InCallback, text));
    }
    Ok(())
}

/// A handle that C has for the time of one callback.
pub(super) struct Lent<T: Any + Send + Sync> {
    number: usize,
    pub(super) object: Arc<T>,
}

impl<T: Any + Send + Sync> Lent<T> {
    pub(super) fn new(object: T) -> Result<Self, Failure> {
        let object = Arc::new(object);
        let number = table().reserve()?;
        table().put(number, object.clone());
        Ok(Lent { number, object })
    }

    pub(super) fn handle(&self) -> Handle<T> {
        Handle::of(self.number)
    }
}

impl<T: Any + Send + Sync> Drop for Lent<T> {
    fn drop(&mut self) {
        _ = table().take::<T>(self.number);
    }
}

/// An admin function of the program.
pub(super) struct Callback {
    pub(super) function: unsafe extern "C" fn(Handle<Reply>, *const c_void, usize, *mut c_void),
    pub(super) user: User,
}

/// What an admin function says, while it runs.
pub(crate) struct Reply(Mutex<Result<Vec<u8>, String>>);

impl Callback {
    /// Runs the function for the instance of this number.
    pub(super) fn call(&self, instance: usize, payload: &[u8]) -> Result<Vec<u8>, String> {
        let reply = Lent::new(Reply(Mutex::new(Ok(Vec::new()))))
            .map_err(|_| "no handle is left".to_owned())?;
        // Rust's pointer to nothing is no address that C should see.
        let bytes = if payload.is_empty() { c"".as_ptr().cast() } else { payload.as_ptr().cast() };
        {
            let _inside = Inside::enter(instance);
            // SAFETY: the program gave the function and the pointer for this; the payload lives
            // until it returns.
            unsafe { (self.function)(reply.handle(), bytes, payload.len(), self.user.pointer) };
        }
        let object = reply.object.clone();
        drop(reply); // from here on nobody else finds it
        let mut said = object.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *said, Ok(Vec::new()))
    }
}

impl Reply {
    fn say(&self, said: Result<Vec<u8>, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_reply_set(
    reply: Handle<Reply>,
    result: Data,
    bytes: usize,
) -> c_int {
    guarded(|| {
        let result = result.bytes(bytes, "result")?;
        if bytes > MAX_PAYLOAD {
            return Err(Failure::new(
                Code::Invalid,
                format!("a result of {bytes} bytes; at most {} can be sent", in_bytes(MAX_PAYLOAD)),
            ));
        }
        reply.get("reply")?.say(Ok(result.to_vec()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn pares_reply_fail(reply: Handle<Reply>, text: Text) -> c_int {
    guarded(|| {
        let text = text.get("text")?.to_owned();
        reply.get("reply")?.say(Err(text));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    unsafe extern "C" fn count(user: *mut c_void) {
        // SAFETY: these tests give a counter that outlives its user.
        unsafe { &*user.cast::<AtomicU32>() }.fetch_add(1, Ordering::Relaxed);
        assert_eq!(not_inside(7).unwrap_err().code, Code::InCallback);
    }

    unsafe extern "C" fn echo(
        reply: Handle<Reply>,
        payload: *const c_void,
        bytes: usize,
        user: *mut c_void,
    ) {
        // SAFETY: as above.
        unsafe { count(user) };
        assert!(!payload.is_null());
        // SAFETY: the library gives so many bytes, which live until this returns.
        let payload = unsafe { std::slice::from_raw_parts(payload.cast::<u8>(), bytes) };
        reply.get("reply").unwrap().say(match payload {
            b"" => Err("nothing".into()),
            some => Ok(some.to_vec()),
        });
    }

    #[test]
    fn a_function_is_called_and_its_user_freed_once() {
        let calls = AtomicU32::new(0);
        let pointer = (&raw const calls).cast_mut().cast();
        let callback = Callback { function: echo, user: User::new(pointer, Some(count)) };
        assert_eq!(callback.call(7, b"hello"), Ok(b"hello".to_vec()));
        assert_eq!(callback.call(7, b""), Err("nothing".into()));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        drop(callback);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_thread_is_in_a_callback_only_while_it_is() {
        not_inside(7).unwrap();
        let outer = Inside::enter(7);
        let inner = Inside::enter(9);
        assert!(not_inside(7).is_err() && not_inside(9).is_err());
        not_inside(11).unwrap();
        drop(inner);
        not_inside(9).unwrap();
        drop(outer);
        not_inside(7).unwrap();
    }
}
