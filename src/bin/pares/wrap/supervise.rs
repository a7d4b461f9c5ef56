//! The guard's work while CMD runs: nothing of it is left when what it needs is let go.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use libc::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};
use pares::channel::{Receiver, Sender, after, bounded, never, select, unbounded};
use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};

use super::guard::{Guard, Heard, ending};
use super::words::Word;
use super::{Ended, anchor, begin, own_program, quoted};
use crate::failure::{CANNOT_RUN, FAILED, Failure, LOST};
use crate::output::note;
use crate::sys;

/// How a command is ended early: by this signal, and, if it does not follow, by SIGKILL.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) signal: i32,
    pub(crate) kill_after: Duration,
}

impl Ending {
    const AT_ONCE: Self = Ending { signal: SIGKILL, kill_after: Duration::ZERO };
}

/// Why a command has to end early, and how.
pub(crate) struct Loss {
    pub(crate) why: &'static str,
    pub(crate) ending: Ending,
}

/// Runs the command to its end, in a group of its own; gives how it ended. What comes from `lost`
/// is why it has to end early; a second loss may leave it less time. Nothing of the group is left
/// when `held` is dropped, which is what its other end waits for. `prepare` sets its environment;
/// `is_held` asks, and may block for seconds, whether what the command needs is still held after
/// this process stood still.
pub(crate) fn supervise(
    guard: &Guard,
    words: &[OsString],
    prepare: impl FnOnce(&mut Command),
    lost: Receiver<Loss>,
    held: Sender<()>,
    is_held: impl Fn() -> bool + Clone + Send + 'static,
) -> Result<Ended, Failure> {
    let program = quoted(&words[0]);
    let cannot =
        |error: io::Error| Failure::new(CANNOT_RUN, format!("cannot run {program}: {error}"));
    let (group, life) = anchor::start().map_err(cannot)?;
    // From here on the front can end the group, too, should this process be killed.
    guard.tell(Word::Ready(group.as_raw_pid()));
    if let Err(ended) = wait_for_go(guard, &lost) {
        end_group(group);
        return ended;
    }
    let cmd = start(guard, group, words, prepare).map_err(|error| {
        end_group(group);
        cannot(error)
    })?;
    let mut job = Job {
        guard,
        group,
        cmd,
        program,
        frozen: false,
        told: false,
        own_continue: false,
        early: false,
        kill: never(),
    };
    let status = job.run(&reap_until(cmd)?, lost, is_held)?;
    end_group(group);
    drop((held, life));
    Ok(match (job.early, status.exit_status(), status.terminating_signal()) {
        (true, _, _) => LOST.into(),
        (false, Some(code), _) => code,
        (false, None, Some(signal)) => -signal,
        (false, None, None) => FAILED.into(),
    })
}

/// Starts the command in the group.
fn start(
    guard: &Guard,
    group: Pid,
    words: &[OsString],
    prepare: impl FnOnce(&mut Command),
) -> io::Result<Pid> {
    let mut command = Command::new(own_program()?);
    command
        .arg0("pares")
        .arg(begin::COMMAND)
        .arg(guard.mask.to_string())
        .arg(guard.front_pid.to_string())
        .args(words);
    prepare(&mut command);
    Ok(Pid::from_child(&command.process_group(group.as_raw_pid()).spawn()?))
}

/// Until the front knows the command. Else how it has ended.
fn wait_for_go(guard: &Guard, lost: &Receiver<Loss>) -> Result<(), Result<Ended, Failure>> {
    loop {
        select! {
            recv(guard.heard) -> heard => match heard {
                Ok(Heard::Go) => return Ok(()),
                heard => ending(heard.ok()).map_err(Err)?,
            },
            // The front stands still, and meanwhile the role or the permit has gone: CMD has not
            // begun.
            recv(lost) -> _ => return Err(Ok(LOST.into())),
        }
    }
}

/// A command while it runs.
struct Job<'a> {
    guard: &'a Guard,
    group: Pid,
    cmd: Pid,
    program: String,
    /// The front has it stand still.
    frozen: bool,
    /// It was said that the command cannot be signalled.
    told: bool,
    /// It was this process that had it go on.
    own_continue: bool,
    /// It has to end before it would.
    early: bool,
    /// When it is killed.
    kill: Receiver<Instant>,
}

impl Job<'_> {
    /// Passes on what reaches the command, until it has ended.
    fn run(
        &mut self,
        children: &Receiver<WaitStatus>,
        mut lost: Receiver<Loss>,
        is_held: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Result<WaitStatus, Failure> {
        let (answer, answers) = bounded(1);
        loop {
            select! {
                recv(children) -> status => match status {
                    Ok(status) if status.exited() || status.signaled() => return Ok(status),
                    Ok(status) => self.on_change(status),
                    Err(_) => {
                        let what = format!("{} cannot be waited for", self.program);
                        return Err(Failure::new(FAILED, what));
                    }
                },
                recv(self.guard.heard) -> heard => match heard {
                    Ok(Heard::Signal(signal)) => self.send(signal),
                    Ok(Heard::Go) => {}
                    Ok(Heard::Frozen) => {
                        self.frozen = true;
                        let (answer, is_held) = (answer.clone(), is_held.clone());
                        let ask = move || _ = answer.try_send(is_held());
                        thread::Builder::new().name("ask".into()).spawn(ask)?;
                    }
                    Ok(Heard::Gone) | Err(_) => {
                        self.early = true;
                        self.send(SIGKILL);
                    }
                },
                recv(answers) -> sure => self.on_answer(sure == Ok(true)),
                recv(lost) -> loss => match loss {
                    Ok(Loss { why, ending }) => self.lose(why, ending),
                    Err(_) => {
                        // Whoever says it is gone: that is a loss too, unless it was the last he
                        // said.
                        lost = never();
                        if !self.early {
                            self.lose("the state of the instance is unknown", Ending::AT_ONCE);
                        }
                    }
                },
                recv(self.kill) -> _ => self.send(SIGKILL),
            }
        }
    }

    /// The front runs again: what the command needs is held still, or is not.
    fn on_answer(&mut self, is_held: bool) {
        if is_held {
            self.frozen = false;
            self.guard.tell(Word::Sure);
        } else {
            let why = "the role or the permit was lost while this process was suspended";
            self.lose(why, Ending::AT_ONCE);
        }
    }

    fn lose(&mut self, why: &str, Ending { signal, kill_after }: Ending) {
        self.early = true;
        // One that was frozen must not run another moment: somebody else may be at work.
        let kill_after = if self.frozen { Duration::ZERO } else { kill_after };
        note(&format!("{why}: ending {}", self.program));
        if kill_after > Duration::ZERO {
            self.send(signal);
        }
        self.kill = after(kill_after);
    }

    /// Sends a signal to the group, and to the command also if it has left it, as shells with job
    /// control do.
    fn send(&mut self, signal: i32) {
        let (cmd, group) = (self.cmd.as_raw_pid(), -self.group.as_raw_pid());
        self.own_continue |= signal == SIGCONT;
        if [SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal) {
            // The front stops the others once this one has stopped. A child that stops first may
            // keep it from that: a shell waits, deaf, until a child of its `vfork` has become
            // another program. And for a server some of these mean a worker more or less, for its
            // workers nothing.
            _ = sys::send(cmd, signal);
            return;
        }
        _ = sys::send(group, signal);
        if process::getpgid(Some(self.cmd)).is_ok_and(|own| own != self.group) {
            _ = sys::send(cmd, signal);
        }
        let ends = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL].contains(&signal);
        if ends
            && !self.told
            && sys::send(cmd, 0).is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
        {
            self.told = true;
            note(&format!(
                "{} (process {cmd}) runs as another user, so that this one may not end it: it goes \
                 on until it ends by \
                 itself",
                self.program
            ));
        }
        // One that stands still would never hear of it.
        if ends && signal != SIGKILL && !self.frozen {
            self.own_continue = true;
            _ = sys::send(group, SIGCONT);
        }
    }

    fn on_change(&mut self, status: WaitStatus) {
        if let Some(signal) = status.stopping_signal() {
            self.own_continue = false;
            self.guard.tell(Word::Stopped(signal));
        } else if status.continued() {
            self.guard.tell(Word::Continued);
            if !self.own_continue && !self.frozen {
                // Somebody has had the command alone go on; the job must not look as if it stood
                // still.
                _ = sys::send(self.guard.front_pid, SIGCONT);
            }
        }
    }
}

/// Waits for children, one after the other, until it was the command: on a thread of its own.
fn reap_until(cmd: Pid) -> Result<Receiver<WaitStatus>, Failure> {
    let (sender, receiver) = unbounded();
    let reap = move || {
        loop {
            match process::wait(WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
                Ok(Some((pid, status))) if pid == cmd => {
                    _ = sender.send(status);
                    if status.exited() || status.signaled() {
                        return;
                    }
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
pub(super) fn end_group(group: Pid) {
    loop {
        // As long as a child of ours is in it, its number is no other group's. (The children's
        // children are ours, or become ours before they are alone.)
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
