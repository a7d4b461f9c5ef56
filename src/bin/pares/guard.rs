//! The guard: a process that lives in the process group of a command and kills it when `pares run` is gone.
//!
//! `pares run` can be killed without being asked; its command must not outlive it, for another instance begins the
//! same work at once. So before the command there is a guard. It leads the process group into which the command is born,
//! and blocks in a read of a pipe whose other end only `pares run` has: the kernel closes that, however it dies.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Pid, Signal, kill_current_process_group};
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
};
use signal_hook::flag;

use crate::failure::Failure;

/// The argument that makes a process a guard.
pub(crate) const COMMAND: &str = "guard";

/// A living guard and, through it, a process group whose number cannot become another's.
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts the guard, and waits until nothing but SIGKILL and SIGSTOP can touch it.
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(own_program()?)
            .arg0("pares")
            .arg(COMMAND)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut ready = [0];
        child.stdout.take().expect("piped").read_exact(&mut ready)?;
        Ok(Guard { child })
    }

    /// The process group, which is also the guard's process id.
    pub(crate) fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// This program, even if its file has been replaced meanwhile.
pub(crate) fn own_program() -> io::Result<std::path::PathBuf> {
    let link = std::path::Path::new("/proc/self/exe");
    if link.exists() { Ok(link.into()) } else { std::env::current_exe() }
}

/// Leads the process group, and kills it at the end of standard input.
pub(crate) fn stand() -> Result<(), Failure> {
    // Caught, not ignored: what goes to the whole group must not end or stop the guard.
    let caught = Arc::new(AtomicBool::new(false));
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2] {
        flag::register(signal, caught.clone())?;
    }
    io::stdout().write_all(b"!")?;
    io::stdout().flush()?;
    _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    _ = kill_current_process_group(Signal::KILL);
    Ok(())
}
