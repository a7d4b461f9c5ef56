//! `pares run`: a command that runs on one instance of the group only.

use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pares::channel::{Receiver, Sender, after, bounded, never, select, unbounded};
use pares::{Event, Instance, Role};
use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::failure::{BUSY, CANNOT_RUN, DEADLINE, FAILED, Failure, LOST, NO_SUPERVISOR, NOT_FOUND, SIGNALLED};
use crate::group::{Group, Identity, seconds};
use crate::guard::Guard;
use crate::output::note;
use crate::signals;

/// Run a command on one instance only: while this one is supervisor
///
/// Start it on as many places as you like: one of them runs CMD, the others wait, and when that one ends or is killed,
/// another runs it. CMD's end ends `pares run`, with CMD's exit code.
///
/// CMD runs in a process group of its own, of which nothing survives `pares run`, even if that is killed. SIGINT, SIGTERM, SIGHUP,
/// SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to the whole group. If the role ends (`pares step-down`, `pares stop`), the group gets
/// SIGTERM and, if CMD has not ended in time, SIGKILL; only then does another instance become supervisor. Only a process
/// that leaves the group (as daemons do) escapes this. CMD cannot read from the terminal: its standard input is then
/// empty.
///
/// CMD finds its instance in PARES_NAME, PARES_ROLE, PARES_TERM (which grows with each supervisor: a fencing token), PARES_GROUP and
/// PARES_PORT.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares run --when-supervisor -- ./cron-job         start it on every worker: one runs it
  pares run --when-supervisor -n -- ./once || true  not if another has it already

Exit codes, besides CMD's own:
  3 asked to leave before CMD ran   125 supervisorship lost while CMD ran
  75 another is supervisor (-n)     126, 127 CMD not runnable, not found
  124 not supervisor in time (-w)   128+N CMD died by signal N")]
pub(crate) struct Args {
    /// Run CMD while this instance is supervisor
    #[arg(long, required = true)]
    when_supervisor: bool,

    /// Do not wait if another instance is supervisor
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,

    /// Wait at most so many seconds to become supervisor [default: for ever]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,

    /// How many seconds CMD has to end after SIGTERM when the role ends
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    kill_after: Duration,

    #[command(flatten)]
    identity: Identity,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

pub(crate) fn run(group: &Group, args: Args) -> Result<(), Failure> {
    let signals = signals::receive(&PASSED_ON)?;
    let config = args.identity.config(group);
    let port = config.supervisor_port();
    let instance = Instance::join(config)?;
    if args.no_wait && instance.role() != Role::Supervisor {
        return Err(Failure::new(BUSY, "another instance is supervisor"));
    }

    // The job only says when; everything is done on this thread. It holds the role until this thread lets go.
    let (begin, begun) = bounded(0);
    let (lose, lost) = bounded(1);
    let (held, let_go) = bounded::<()>(0);
    let job = instance.while_supervisor(move |guard| {
        if begin.send(guard.term()).is_err() {
            return; // nobody waits for it any more
        }
        while !guard.wait(Duration::MAX) {}
        _ = lose.send(());
        _ = let_go.recv();
    })?;
    let term = wait_for_turn(begun, &signals, &instance.events(), args.wait)?;

    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    command.env("PARES_NAME", instance.name()).env("PARES_ROLE", "supervisor").env("PARES_TERM", term.to_string());
    command.env("PARES_GROUP", instance.group()).env("PARES_PORT", port.to_string());
    let code = supervise(command, &signals, &lost, args.kill_after, held);
    drop(job);
    instance.leave();
    match code? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

/// Waits until this instance is supervisor. Takes `begun`, so that after an error the job finds nobody waiting.
fn wait_for_turn(
    begun: Receiver<u64>,
    signals: &Receiver<i32>,
    events: &Receiver<Event>,
    patience: Option<Duration>,
) -> Result<u64, Failure> {
    let over = patience.map_or_else(never, after);
    let leaving = || Failure::new(NO_SUPERVISOR, "asked to leave before it was supervisor");
    loop {
        select! {
            recv(begun) -> term => return term.map_err(|_| leaving()),
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1 | SIGUSR2) => {} // for a command that does not run yet
                Ok(signal) => return Err(Failure::silent(SIGNALLED + signal as u8)),
                Err(_) => return Err(Failure::new(FAILED, "signals cannot be received")),
            },
            recv(events) -> event => if event.is_err() {
                return Err(leaving());
            },
            recv(over) -> _ => return Err(Failure::new(DEADLINE, "not supervisor in time")),
        }
    }
}

/// Runs the command to its end, in a group of its own; gives the exit code. Nothing of the group is left when `held` is
/// dropped, which is what the job waits for.
fn supervise(
    mut command: Command,
    signals: &Receiver<i32>,
    lost: &Receiver<()>,
    kill_after: Duration,
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
    let mut role_ended = false;
    let status = loop {
        select! {
            recv(ended) -> status => match status {
                Ok(status) => break status,
                Err(_) => return Err(Failure::new(FAILED, format!("{program} cannot be waited for"))),
            },
            recv(signals) -> signal => if let Some(signal) = signal.ok().and_then(Signal::from_named_raw) {
                send(signal, group, cmd);
            },
            recv(lost) -> _ => {
                note(&format!("the role ends: ending {program}"));
                role_ended = true;
                send(Signal::TERM, group, cmd);
                send(Signal::CONT, group, cmd);
                kill = after(kill_after);
            },
            recv(kill) -> _ => send(Signal::KILL, group, cmd),
        }
    };
    end_group(group);
    drop(held);
    Ok(match (role_ended, status.exit_status(), status.terminating_signal()) {
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
