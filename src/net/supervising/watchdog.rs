//! Reads from a lifeline, watches whether its other end still answers where that is wanted, and
//! ends the process at that end.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{EventKind, StallCause};
use crate::net::procs::kernel;
use crate::net::procs::sample::ProcessSample;
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::net::transport::link::{LinkError, Source};
use crate::state::health::{Health, Overdue};
use crate::wire::{Control, Message};

/// The program's own sign of life.
#[derive(Default)]
pub(crate) struct Pulse {
    /// When the program gave the last one (CLOCK_MONOTONIC in nanoseconds); 0 if it never does.
    last_ns: AtomicU64,
}

impl Pulse {
    pub(crate) fn beat(&self) {
        self.last_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
    }

    /// The answer to a [`Control::Probe`]: a program that never gave a sign of life is not expected
    /// to.
    pub(crate) fn answer(&self, number: u64, within_ns: u64) -> Control {
        let last_ns = self.last_ns.load(Ordering::Relaxed);
        let progress = last_ns == 0 || clock::monotonic_ns().saturating_sub(last_ns) <= within_ns;
        Control::Alive { number, progress }
    }
}

/// Watches over the other end of one lifeline.
pub(crate) struct Watchdog<'a> {
    name: String,
    timeout: Duration,
    /// Says something over the lifeline, without waiting.
    say: &'a dyn Fn(Control),
    report: &'a dyn Fn(EventKind),
    /// True if the process of a stalled end is to be ended.
    end: bool,
    health: Health,
    /// The cause that was reported.
    reported: Option<StallCause>,
    /// The sample of its process at the end of the last part, if it was overdue then, and the cause
    /// found.
    seen: Option<(Option<ProcessSample>, StallCause)>,
}

/// What one read may take beyond the end of a part, so that what has arrived is read before it is
/// judged.
const MOMENT: Duration = Duration::from_millis(1);

impl<'a> Watchdog<'a> {
    /// Starts with a probe of the instance `name`.
    pub(crate) fn new(
        name: String,
        timeout: Duration,
        say: &'a dyn Fn(Control),
        report: &'a dyn Fn(EventKind),
        end: bool,
    ) -> Self {
        let watchdog = Watchdog {
            name,
            timeout,
            say,
            report,
            end,
            health: Health::new(timeout, clock::now()),
            reported: None,
            seen: None,
        };
        watchdog.ask(0);
        watchdog
    }

    fn ask(&self, number: u64) {
        (self.say)(Control::Probe { number, within_ns: self.timeout.as_nanos() as u64 });
    }

    fn on_time(&mut self, link: &impl Source) {
        let step = self.health.on_time(clock::now());
        match step.overdue {
            Some(overdue) => self.on_overdue(overdue, link),
            None => self.seen = None,
        }
        // Last: whoever has just been asked wants to be run, and would look starved.
        if let Some(number) = step.ask {
            self.ask(number);
        }
    }

    fn on_overdue(&mut self, overdue: Overdue, link: &impl Source) {
        let look = kernel::other_end(link.stream())
            .and_then(kernel::process_with)
            .and_then(ProcessSample::at);
        if overdue == Overdue::Silent && link.is_stale() {
            // It has answered meanwhile: whoever sleeps after that does not hang.
            return;
        }
        let silence = match overdue {
            Overdue::Silent => StallCause::Silent,
            Overdue::NoProgress => StallCause::NoProgress,
        };
        let before = self.seen.take();
        let look_before = before.as_ref().and_then(|(look, _)| look.as_ref());
        let cause = look.as_ref().map_or(silence, |look| look.cause(look_before, silence));
        let seen_twice = before.is_some_and(|(_, before)| before == cause);
        self.seen = Some((look, cause));
        // One that hangs on a busy machine may look starved in between: that is no news.
        if self.reported != Some(cause) && (self.reported.is_none() || cause != StallCause::Starved)
        {
            self.reported = Some(cause);
            complain!(
                Warn,
                &self.name,
                "`{}` has not answered properly for {:?}: {cause}",
                self.name,
                self.timeout
            );
            (self.report)(EventKind::Stalled { name: self.name.clone(), cause });
        }
        let sure = match cause {
            StallCause::Stopped | StallCause::DumpingCore => true,
            // Threads are looked at one after the other: one that runs only in between is not seen
            // to.
            StallCause::Silent | StallCause::NoProgress => seen_twice,
            StallCause::Starved => false,
        };
        if self.end && sure {
            match end_other(link.stream()) {
                Ok(pid) => complain!(
                    Warn,
                    &self.name,
                    "killed `{}` (pid {pid}), which was stalled: {cause}",
                    self.name
                ),
                Err(error) => complain!(
                    Warn,
                    &self.name,
                    "cannot kill `{}`, which is stalled: {error}",
                    self.name
                ),
            }
        }
    }

    fn on_answer(&mut self, number: u64, progress: bool) {
        if self.health.on_answer(number, progress) && self.reported.take().is_some() {
            complain!(Warn, &self.name, "`{}` answers again", self.name);
            (self.report)(EventKind::Resumed { name: self.name.clone() });
        }
    }
}

/// Waits for the next message that is not about health, for as long as the connection lives.
/// Without a watchdog, which is the usual case, it is one read and no timer.
pub(crate) fn read(
    link: &mut impl Source,
    watchdog: &mut Option<Watchdog<'_>>,
) -> Result<Message, LinkError> {
    loop {
        let deadline = match watchdog {
            None => None,
            Some(watchdog) => {
                if clock::now() >= watchdog.health.due() && !link.is_stale() {
                    watchdog.on_time(link);
                }
                Some(
                    Instant::now() + watchdog.health.due().saturating_sub(clock::now()).max(MOMENT),
                )
            }
        };
        match link.read(deadline) {
            Ok(Message::Control(Control::Alive { number, progress })) => {
                watchdog.iter_mut().for_each(|watchdog| watchdog.on_answer(number, progress));
            }
            Err(LinkError::Late) if watchdog.is_some() => {}
            other => return other,
        }
    }
}

/// Ends the process at the other end. Returns its number.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn end_other(stream: &TcpStream) -> std::io::Result<u32> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    let unknown = || {
        std::io::Error::new(std::io::ErrorKind::NotFound, "its process cannot be seen from here")
    };
    let inode = kernel::other_end(stream).ok_or_else(unknown)?;
    let pid = kernel::process_with(inode).ok_or_else(unknown)?;
    if pid == std::process::id() {
        // Another instance of this program here: whoever runs this does not hang.
        return Err(std::io::Error::other("it is in this very process"));
    }
    let process = pidfd_open(
        i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(unknown)?,
        PidfdFlags::empty(),
    )?;
    // Looked at again, now that the number cannot be given to another: it could have been, in
    // between.
    if !kernel::has_socket(pid, inode) {
        return Err(unknown());
    }
    pidfd_send_signal(&process, Signal::KILL)?;
    Ok(pid)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn end_other(_: &TcpStream) -> std::io::Result<u32> {
    // By its number alone it could be another process by then.
    Err(std::io::ErrorKind::Unsupported.into())
}
