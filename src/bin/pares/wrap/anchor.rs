//! The anchor: a process that leads CMD's process group and does nothing else.
//!
//! Its life keeps the group's number from becoming another group's; CMD is no leader, so that it
//! may leave the group by `setsid`, as it could without a wrapper. Should front and guard be killed
//! together, it ends what is left.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_current_process_group};

use super::own_program;
use crate::failure::Failure;

/// The argument that makes a process an anchor.
pub(crate) const COMMAND: &str = "anchor";

/// Starts one. What is given is its life: it ends its group when that is dropped, which the kernel
/// does, too.
pub(super) fn start() -> io::Result<(Pid, ChildStdin)> {
    let mut child = Command::new(own_program()?)
        .arg0("pares")
        .arg(COMMAND)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let life = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((Pid::from_child(&child), life))
}

/// Leads the process group, and kills it at the end of standard input. All signals that could end
/// or stop it first are blocked, as they are in the guard that has started it.
pub(crate) fn stand() -> Result<(), Failure> {
    _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    _ = kill_current_process_group(Signal::KILL);
    Ok(())
}
