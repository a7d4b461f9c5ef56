//! Starts other processes with a configured command, on a thread of its own, because an exec may
//! wait for a disk.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::lives::end_of;
use crate::config::masterless::MAX_PENDING_STARTS;
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::Mutex;
use crate::net::rt::waker::Waker;
use crate::sys::{Booked, signals};

/// What to run, and what to pass besides service type and origin.
pub(super) struct Launcher {
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, OsString)>,
    // Held to put a start in or to take one out.
    orders: Mutex<Orders>,
    waker: Waker,
}

#[derive(Default)]
struct Orders {
    starts: VecDeque<(u16, u32)>,
    ended: bool,
}

/// A started process, until it has ended.
struct Started {
    child: Child,
    service: u16,
    end: Option<Booked<OwnedFd>>,
}

/// How often the end of a process is looked for where the kernel does not report it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Launcher {
    pub(super) fn new(
        command: Vec<OsString>,
        environment: Vec<(&'static str, OsString)>,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Launcher {
            command,
            environment,
            orders: Mutex::default(),
            waker: Waker::new()?,
        }))
    }

    /// Asks for another process. Does not wait for it.
    pub(super) fn order(&self, service: u16, nonce: u32) {
        let mut orders = self.orders.lock();
        if orders.starts.len() < MAX_PENDING_STARTS {
            orders.starts.push_back((service, nonce));
            self.waker.wake();
        }
    }

    /// Ends the thread; the processes that it started live on.
    pub(super) fn end(&self) {
        self.orders.lock().ended = true;
        self.waker.wake();
    }

    /// Runs the thread.
    pub(super) fn run(&self) {
        let mut running: Vec<Started> = Vec::new();
        loop {
            let blind = running.iter().any(|started| started.end.is_none());
            let ends = running.iter().filter_map(|started| started.end.as_ref());
            let mut waits: Vec<PollFd<'_>> =
                ends.map(|end| PollFd::new(end, PollFlags::IN)).collect();
            _ = self.waker.wait(&mut waits, blind.then_some(LOOK_AGAIN));
            if !self.waker.is_usable() {
                return; // the program has closed it: nobody can call this thread any more
            }
            running.retain_mut(Started::is_running);
            loop {
                let mut orders = self.orders.lock();
                if orders.ended {
                    return;
                }
                let Some((service, nonce)) = orders.starts.pop_front() else { break };
                drop(orders);
                running.extend(self.start(service, nonce));
            }
        }
    }

    fn start(&self, service: u16, nonce: u32) -> Option<Started> {
        let (program, arguments) = self.command.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("PARES_SERVICE", service.to_string()).env("PARES_ORIGIN", nonce.to_string());
        signals::free(&mut command);
        // Whoever reads or feeds this process's streams does not mean the new one.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // In a program that ignores SIGCHLD the kernel reaps a child that could not become what it
        // was to be, and std then panics, as it did not see that.
        let spawned = catch_unwind(AssertUnwindSafe(|| command.spawn()))
            .unwrap_or_else(|_| Err(io::Error::other("it cannot be executed")));
        match spawned {
            Ok(child) => {
                log::info!(
                    "started process {} for service type {service}, start {nonce}",
                    child.id()
                );
                let end = end_of(child.id()).ok().flatten();
                Some(Started { child, service, end })
            }
            Err(error) => {
                let subject = service.to_string();
                complain!(
                    Error,
                    &subject,
                    "cannot start {} for service type {service}: {error}",
                    program.to_string_lossy()
                );
                None
            }
        }
    }
}

impl Started {
    /// Reaps the process if it has ended.
    fn is_running(&mut self) -> bool {
        let (pid, service) = (self.child.id(), self.service);
        match self.child.try_wait() {
            Ok(None) => return true,
            Ok(Some(status)) if status.success() => {
                log::debug!("process {pid} of service type {service} has ended")
            }
            Ok(Some(status)) => {
                complain!(
                    Warn,
                    &service.to_string(),
                    "process {pid}, started for service type {service}, failed: {status}"
                );
            }
            Err(error) => log::warn!("cannot wait for process {pid}: {error}"),
        }
        false
    }
}
