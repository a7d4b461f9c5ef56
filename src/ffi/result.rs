//! What a function of the C interface says when it returns: a number, a text, and never a panic.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::masterless;
use crate::error::{
    AcceptError, AcquireError, AskError, CallError, ConfigError, JoinError, KeyError, ListenError,
    MessageError, ResourceError, SettingError, StartError, StepDownError, TallyError,
};

macro_rules! codes {
    ($($number:literal $name:ident $c_name:literal),* $(,)?) => {
        /// The numbers of `pares_result`. A number is never given a second meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $($name = $number),*
        }

        /// All of them, with the names they have in C.
        const NAMES: &[(c_int, &CStr)] = &[(0, c"PARES_OK"), $(($number, $c_name)),*];
    };
}

codes! {
    1 NullArgument c"PARES_NULL_ARGUMENT",
    2 NotUtf8 c"PARES_NOT_UTF8",
    3 Invalid c"PARES_INVALID",
    4 BadHandle c"PARES_BAD_HANDLE",
    5 Forked c"PARES_FORKED",
    6 Panic c"PARES_PANIC",
    7 Io c"PARES_IO",
    8 Deadline c"PARES_DEADLINE",
    9 Stopped c"PARES_STOPPED",
    10 Key c"PARES_KEY",
    11 PortHeld c"PARES_PORT_HELD",
    12 OtherGroup c"PARES_OTHER_GROUP",
    13 Version c"PARES_VERSION",
    14 PortForbidden c"PARES_PORT_FORBIDDEN",
    15 NameTaken c"PARES_NAME_TAKEN",
    16 GroupFull c"PARES_GROUP_FULL",
    17 NoSupervisor c"PARES_NO_SUPERVISOR",
    18 SupervisorLost c"PARES_SUPERVISOR_LOST",
    19 Busy c"PARES_BUSY",
    20 NoSuchInstance c"PARES_NO_SUCH_INSTANCE",
    21 NoSuchFunction c"PARES_NO_SUCH_FUNCTION",
    22 FunctionFailed c"PARES_FUNCTION_FAILED",
    23 InstanceLost c"PARES_INSTANCE_LOST",
    24 Exhausted c"PARES_EXHAUSTED",
    25 OverLimit c"PARES_OVER_LIMIT",
    26 UnknownResource c"PARES_UNKNOWN_RESOURCE",
    27 TooMany c"PARES_TOO_MANY",
    28 Changed c"PARES_SETTING_CHANGED",
    29 Behind c"PARES_RECEIVER_BEHIND",
    30 NotSupervisor c"PARES_NOT_SUPERVISOR",
    31 Alone c"PARES_ALONE",
    32 JobRunning c"PARES_JOB_RUNNING",
    33 NotFound c"PARES_NO_SUCH_SETTING",
    34 End c"PARES_END",
    35 InCallback c"PARES_IN_CALLBACK",
    36 NotHere c"PARES_NOT_HERE",
    37 NotPrimary c"PARES_NOT_PRIMARY",
    38 NoSuchPeer c"PARES_NO_SUCH_PEER",
}

/// Why a function did not do what it was asked to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    text: String,
}

impl Failure {
    pub(super) fn new(code: Code, text: impl Display) -> Self {
        Failure { code, text: text.to_string() }
    }
}

pub(super) fn null(what: &str) -> Failure {
    Failure::new(Code::NullArgument, format!("{what} is NULL"))
}

/// Runs what a C function does, and says how it went.
pub(super) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => remember(&failure),
        Err(panic) => remember(&panicked(&*panic)),
    }
}

/// The same for a function that answers yes or no; `unknown` is the answer when neither is known.
pub(super) fn asked(unknown: bool, body: impl FnOnce() -> Result<bool, Failure>) -> c_int {
    let mut answer = unknown;
    guarded(|| {
        answer = body()?;
        Ok(())
    });
    c_int::from(answer)
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    Failure::new(Code::Panic, format!("the library panicked, which is a defect: {text}"))
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps the text for [`last_error`]; gives the number.
fn remember(failure: &Failure) -> c_int {
    let text = c_text(&failure.text);
    // A thread that is ending has none any more, and asks no more.
    _ = LAST.try_with(|last| last.replace(text));
    failure.code as c_int
}

/// The text of this thread's last failure, empty before the first; it lives until the next one.
pub(super) fn last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

pub(super) fn name_of(result: c_int) -> &'static CStr {
    NAMES.iter().find(|(number, _)| *number == result).map_or(c"unknown result", |(_, name)| *name)
}

/// All numbers with their names, for the test that holds the header to them.
#[cfg(test)]
pub(super) fn names() -> &'static [(c_int, &'static CStr)] {
    NAMES
}

/// `text` as C has it: what it cannot have, a NUL, is replaced.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

macro_rules! failures {
    ($($error:ty => |$it:ident| $code:expr),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from($it: $error) -> Self {
                Failure { code: code_of(&$it), text: $it.to_string() }
            }
        }

        impl Coded for $error {
            fn code(&self) -> Code {
                let $it = self;
                $code
            }
        }
    )*};
}

fn key_code(error: &KeyError) -> Code {
    if let KeyError::Unkept { .. } = error { Code::Io } else { Code::Key }
}

trait Coded {
    fn code(&self) -> Code;
}

fn code_of(error: &impl Coded) -> Code {
    error.code()
}

failures! {
    ConfigError => |_error| Code::Invalid,
    JoinError => |error| match error {
        JoinError::Config { source: error } => error.code(),
        JoinError::Key { source: error } => key_code(error),
        JoinError::PortHeld { .. } | JoinError::KeyMismatch { .. } => Code::PortHeld,
        JoinError::OtherGroup { .. } => Code::OtherGroup,
        JoinError::Version { .. } => Code::Version,
        JoinError::PortForbidden { .. } => Code::PortForbidden,
        JoinError::NotHere { .. } => Code::NotHere,
        JoinError::NameTaken { .. } => Code::NameTaken,
        JoinError::GroupFull { .. } => Code::GroupFull,
        JoinError::NoSupervisor { .. } => Code::NoSupervisor,
        JoinError::TimedOut { .. } => Code::Deadline,
        JoinError::Io { .. } => Code::Io,
    },
    AskError => |error| match error {
        AskError::NoSupervisor { .. } => Code::NoSupervisor,
        AskError::Refused { source: error } => error.code(),
        AskError::NoSuchInstance { .. } => Code::NoSuchInstance,
        AskError::TimedOut => Code::Deadline,
        AskError::SupervisorLost => Code::SupervisorLost,
        AskError::Busy => Code::Busy,
        AskError::Stopped => Code::Stopped,
        AskError::Io { .. } => Code::Io,
    },
    CallError => |error| match error {
        CallError::Ask { source: error } => error.code(),
        CallError::NoSuchFunction { .. } => Code::NoSuchFunction,
        CallError::PayloadTooLarge { .. } => Code::Invalid,
        CallError::Failed { .. } | CallError::Panicked { .. } => Code::FunctionFailed,
        CallError::TimedOut => Code::Deadline,
        CallError::InstanceLost { .. } => Code::InstanceLost,
        CallError::Busy { .. } => Code::Busy,
        CallError::Io { .. } => Code::Io,
    },
    AcquireError => |error| match error {
        AcquireError::Exhausted { .. } => Code::Exhausted,
        AcquireError::OverLimit { .. } | AcquireError::OverHolderLimit { .. } => Code::OverLimit,
        AcquireError::Unknown { .. } => Code::UnknownResource,
        AcquireError::Invalid { source: error } => error.code(),
        AcquireError::TooMany { .. } => Code::TooMany,
        AcquireError::TimedOut { .. } => Code::Deadline,
        AcquireError::Stopped => Code::Stopped,
    },
    ListenError => |error| match error {
        ListenError::Invalid { source: error } => error.code(),
        ListenError::Already { .. } => Code::Invalid,
        ListenError::InUse { .. } => Code::PortHeld,
        ListenError::Forbidden { .. } => Code::PortForbidden,
        ListenError::NotHere { .. } => Code::NotHere,
        ListenError::Refused { .. } => Code::TooMany,
        ListenError::Ask { source: error } => error.code(),
        ListenError::TimedOut { .. } => Code::Deadline,
        ListenError::Io { .. } => Code::Io,
    },
    AcceptError => |error| match error {
        AcceptError::TimedOut => Code::Deadline,
        AcceptError::Drained => Code::End,
        AcceptError::Stopped => Code::Stopped,
        AcceptError::Io { .. } => Code::Io,
    },
    ResourceError => |error| match error {
        ResourceError::Unknown { .. } => Code::UnknownResource,
        ResourceError::Invalid { .. } => Code::Invalid,
        ResourceError::Ask { source: error } => error.code(),
    },
    SettingError => |error| match error {
        SettingError::Changed { .. } => Code::Changed,
        SettingError::Full { .. } => Code::TooMany,
        SettingError::Invalid { .. } => Code::Invalid,
        SettingError::Ask { source: error } => error.code(),
    },
    MessageError => |error| match error {
        MessageError::Behind { .. } => Code::Behind,
        MessageError::Invalid { .. } => Code::Invalid,
        MessageError::Ask { source: error } => error.code(),
    },
    TallyError => |error| match error {
        TallyError::Invalid { source } => source.code(),
        TallyError::TooMany { .. } => Code::TooMany,
        TallyError::Stopped => Code::Stopped,
    },
    StartError => |error| match error {
        StartError::Stopped => Code::Stopped,
        StartError::Io { .. } => Code::Io,
    },
    masterless::JoinError => |error| match error {
        masterless::JoinError::Config { source: error } => error.code(),
        masterless::JoinError::Key { source: error } => key_code(error),
        masterless::JoinError::PortHeld { .. } => Code::PortHeld,
        masterless::JoinError::PortForbidden { .. } => Code::PortForbidden,
        masterless::JoinError::NotHere { .. } => Code::NotHere,
        masterless::JoinError::Io { .. } => Code::Io,
    },
    StepDownError => |error| match error {
        StepDownError::NotSupervisor => Code::NotSupervisor,
        StepDownError::Alone => Code::Alone,
        StepDownError::JobRunning => Code::JobRunning,
        StepDownError::TimedOut => Code::Deadline,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the text lives until the next failure of this thread, and is copied before.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_ends_at_the_wall() {
        assert_eq!(guarded(|| panic!("by {}", "intention")), Code::Panic as c_int);
        assert!(last().ends_with("by intention"), "{}", last());
        assert_eq!(asked(true, || panic!()), 1);
        assert_eq!(asked(false, || panic!()), 0);
    }

    #[test]
    fn each_thread_has_its_own_last_error_and_keeps_it_over_successes() {
        assert_eq!(last(), "");
        assert_eq!(guarded(|| Err(Failure::new(Code::Invalid, "a\0b"))), 3);
        assert_eq!(guarded(|| Ok(())), 0);
        assert_eq!(last(), "a\u{fffd}b");
        let other = std::thread::Builder::new().name("test-other".into()).spawn(last).unwrap();
        assert_eq!(other.join().unwrap(), "");
    }

    #[test]
    fn every_number_has_one_name() {
        for (at, (number, name)) in NAMES.iter().enumerate() {
            assert_eq!(*number, at as c_int, "{name:?}");
            assert_eq!(name_of(*number), *name);
        }
        assert_eq!(name_of(-1), c"unknown result");
        assert_eq!(name_of(c_int::MAX), c"unknown result");
    }
}
