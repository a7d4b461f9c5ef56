//! The first moments of CMD: a process of this program that sets right what only itself can, and
//! becomes CMD.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::quoted;
use crate::failure::{CANNOT_RUN, FAILED, Failure, NOT_FOUND};
use crate::sys;

/// The argument that makes a process the beginning of a command.
pub(crate) const COMMAND: &str = "begin";

/// The variable that says by which numbers this process has listeners, which its command is to have
/// from 3 on.
pub(crate) const HANDED_DOWN: &str = "PARES_HANDED_DOWN";

/// Becomes the command. Arguments: the signals to be blocked in it, the front's process id, the
/// command.
pub(crate) fn begin(arguments: &[OsString]) -> Result<(), Failure> {
    let [mask, front, command @ ..] = arguments else { return Err(foreign()) };
    let mask = mask.to_str().and_then(|mask| mask.parse().ok()).ok_or_else(foreign)?;
    Err(exec(command, mask, Some(front)))
}

/// Becomes the command, without any guard. Returns only if it cannot.
pub(super) fn become_command(command: &[OsString], mask: sys::Mask) -> Failure {
    exec(command, mask, None)
}

fn exec(words: &[OsString], mask: sys::Mask, front: Option<&OsString>) -> Failure {
    let mut command = Command::new(&words[0]);
    // What a service manager means for the front, by its process id, is meant for the command.
    for name in ["LISTEN_PID", "WATCHDOG_PID"] {
        if front.is_some() && std::env::var_os(name).as_ref() == front {
            command.env(name, std::process::id().to_string());
        }
    }
    if let Some(numbers) = std::env::var_os(HANDED_DOWN).filter(|_| front.is_some()) {
        command.env_remove(HANDED_DOWN).env("LISTEN_PID", std::process::id().to_string());
        let numbers = numbers.to_string_lossy();
        if let Err(error) = sys::place(numbers.split(',').filter_map(|one| one.parse().ok())) {
            let error = format!("cannot hand listeners to {}: {error}", quoted(&words[0]));
            return Failure::new(CANNOT_RUN, error);
        }
    }
    sys::set_blocked(mask);
    let error = command.args(&words[1..]).exec();
    // On its way to a program it has its default: nobody may read what follows.
    sys::block(sys::bit(libc::SIGPIPE));
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
    Failure::new(code, format!("cannot run {}: {error}", quoted(&words[0])))
}

fn foreign() -> Failure {
    Failure::new(FAILED, "only `pares run` may use this command")
}
