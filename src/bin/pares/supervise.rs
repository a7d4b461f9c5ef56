//! A command that is run as long as something is held: nothing of it is left when that is let go.

use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pares::channel::{Receiver, Sender, after, never, select, unbounded};
use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};

use crate::failure::{CANNOT_RUN, FAILED, Failure, LOST, NOT_FOUND, SIGNALLED};
use crate::guard::Guard;
use crate::output::note;

/// Why a command has to end early, and how long it has for that after SIGTERM.
pub(crate) struct Loss {
    pub(crate) why: &'static str,
    pub(crate) kill_after: Duration,
}

/// Runs the command to its end, in a group of its own; gives the exit code. What comes from `lost` is why it has to end
/// early; a second loss may leave it less time. Nothing of the group is left when `held` is dropped, which is what its other end waits for.
pub(crate) fn supervise(
    mut command: Command,
    signals: &Receiver<i32>,
    mut lost: Receiver<Loss>,
    held: Sender<()>,
) -> Result<u8, Failure> {
    // What the command leaves behind becomes our child, so that we can wait until it is gone.
    #[cfg(target_os = "linux")]
    process::set_child_subreaper(Some(process::getpid())).map_err(io::Error::from)?;
    let guard = Guard::start().map_err(|error| Failure::new(FAILED, format!("cannot start the guard: {error}")))?;
    let group = guard.group();
    if io::stdin().is_terminal() {
        // A process outside the terminal's foreground group is stopped when it reads: it would hang.
        command.stdin(Stdio::null());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = match command.process_group(group.as_raw_pid()).spawn() {
        Ok(child) => child,
        Err(error) => {
            end_group(group);
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
            return Err(Failure::new(code, format!("cannot run {program}: {error}")));
        }
    };
    let cmd = Pid::from_child(&child);
    let ended = reap_until(cmd, group)?;
    let mut kill = never();
    let mut early = false;
    let status = loop {
        select! {
            recv(ended) -> status => match status {
                Ok(status) => break status,
                Err(_) => return Err(Failure::new(FAILED, format!("{program} cannot be waited for"))),
            },
            recv(signals) -> signal => if let Some(signal) = signal.ok().and_then(Signal::from_named_raw) {
                send(signal, group, cmd);
            },
            recv(lost) -> loss => {
                let loss = loss.ok().or_else(|| {
                    lost = never(); // whoever says it is gone: that is a loss too, unless it was the last he said
                    (!early).then_some(Loss { why: "nothing is known of the instance", kill_after: Duration::ZERO })
                });
                if let Some(Loss { why, kill_after }) = loss {
                    note(&format!("{why}: ending {program}"));
                    early = true;
                    send(Signal::TERM, group, cmd);
                    send(Signal::CONT, group, cmd);
                    kill = after(kill_after);
                }
            },
            recv(kill) -> _ => send(Signal::KILL, group, cmd),
        }
    };
    end_group(group);
    drop(held);
    Ok(match (early, status.exit_status(), status.terminating_signal()) {
        (true, _, _) => LOST,
        (false, Some(code), _) => code as u8,
        (false, None, Some(signal)) => SIGNALLED + signal as u8,
        (false, None, None) => FAILED,
    })
}

/// Sends a signal to the group, and to the command also if it has left it, as shells with job control do.
fn send(signal: Signal, group: Pid, cmd: Pid) {
    _ = process::kill_process_group(group, signal);
    if process::getpgid(Some(cmd)).is_ok_and(|own| own != group) {
        _ = process::kill_process(cmd, signal);
    }
}

/// Waits for children, one after the other, until it was the command: on a thread of its own.
fn reap_until(cmd: Pid, guard: Pid) -> Result<Receiver<WaitStatus>, Failure> {
    let (sender, receiver) = unbounded();
    let reap = move || {
        loop {
            match process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == cmd => {
                    _ = sender.send(status);
                    return;
                }
                Ok(Some((pid, _))) if pid == guard => {
                    log::warn!("the guard of the process group was killed; only this process watches over it now");
                }
                Ok(_) | Err(Errno::INTR) => {} // an orphan of the command
                Err(_) => return,
            }
        }
    };
    thread::Builder::new().name("reaper".into()).spawn(reap)?;
    Ok(receiver)
}

/// Kills the group and waits until nothing of it is left.
fn end_group(group: Pid) {
    loop {
        // As long as a child of ours is in it, its number is no other group's. (The children's children are ours, or
        // become ours before they are alone.)
        match process::waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                _ = process::kill_process_group(group, Signal::KILL);
                _ = process::waitpgid(group, WaitOptions::empty());
            }
            Err(_) => return,
        }
    }
}
