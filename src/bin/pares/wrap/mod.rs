//! A command that runs only while something is held: what `pares run` and `pares peer run` have in
//! common.
//!
//! | process | its process group | what it does | what its death or stop means |
//! |---|---|---|---|
//! | front: `pares run` itself | that of the job | what a shell or a service manager sees: takes signals, stops and goes on, hands the terminal over, ends as CMD did | killed: the guard ends CMD, then gives up what it holds; stopped: nothing |
//! | guard: its child | its own | is the instance, holds role or permit; CMD's parent | killed: the front ends CMD; stopped: the front stops CMD until the guard is sure of what it holds |
//! | anchor: the guard's child | leads CMD's | nothing, see [`anchor`] | killed: nothing |
//! | CMD: the guard's child | the anchor's, with all that it starts | the work | its end ends the guard, and that the front |
//!
//! So no signal that stops or kills one of them leaves CMD running on its own: each watches the
//! other, by the end of a pair of sockets and by waiting for its child. And no stop of the job
//! stands in the way of the group: the instance is not in it.

pub(crate) mod anchor;
pub(crate) mod begin;
mod front;
pub(crate) mod guard;
mod supervise;
mod words;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use libc::{SIGINT, SIGQUIT};
use pares::channel::{Receiver, Sender, after, never, select, unbounded};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{self, Pid, WaitOptions, WaitStatus};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::failure::{FAILED, Failure, LOST, SIGNALLED};
use crate::output::note;
use crate::sys::{self, Arrival};
use front::{Deed, Event, Front, Terminal};
pub(crate) use guard::Guard;
pub(crate) use supervise::{Ending, Loss, supervise};
use words::Word;

/// How all has ended: an exit code, or, as a negative number, the signal by which CMD ended.
pub(crate) type Ended = i32;

/// This program, even if its file has been replaced meanwhile.
pub(crate) fn own_program() -> io::Result<std::path::PathBuf> {
    let link = std::path::Path::new("/proc/self/exe");
    if link.exists() { Ok(link.into()) } else { std::env::current_exe() }
}

/// Is the front: starts the guard with the arguments of this process, and returns when all has
/// ended.
///
/// With `or_without` CMD takes the place of this process if the guard cannot be started.
pub(crate) fn run(command: &[OsString], or_without: bool) -> Result<(), Failure> {
    // Whoever ignores it loses the ends of its children; and that is inherited.
    sys::restore_default(libc::SIGCHLD);
    let signals = sys::catchable();
    let mask = sys::block(signals);
    let (guard, words) = match start_guard(mask) {
        Ok(started) => started,
        Err(error) if or_without => {
            note(&format!(
                "cannot start the guard: {error}; running {} without it",
                quoted(&command[0])
            ));
            return Err(begin::become_command(command, mask));
        }
        Err(error) => return Err(Failure::new(FAILED, format!("cannot start the guard: {error}"))),
    };
    // Should the guard be killed, CMD and what that has started become our children, and can be
    // waited for.
    _ = adopt_orphans();
    _ = sd_notify::notify(&[sd_notify::NotifyState::Status("waiting for the role or the permit")]);

    let (tell, news) = unbounded();
    let words_end = words.try_clone()?;
    start("signals", tell.clone(), move |tell| take_signals(signals, &tell))?;
    start("words", tell.clone(), move |tell| take_words(&words_end, &tell))?;
    start("guard", tell, move |tell| watch(guard, &tell))?;
    let tty = open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).ok();
    Deeds {
        guard,
        words,
        tty,
        group: None,
        swallow: None,
        passed_on: Vec::new(),
        program: quoted(&command[0]),
    }
    .serve(&news)
}

/// What children of this process leave behind becomes its children, so that it can wait until that
/// is gone.
fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    process::set_child_subreaper(Some(process::getpid()))?;
    Ok(())
}

fn start_guard(mask: sys::Mask) -> io::Result<(Pid, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = std::os::fd::OwnedFd::from(theirs);
    sys::hand_down(&theirs)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
    let mut command = Command::new(own_program()?);
    command.arg0("pares").arg(guard::COMMAND).arg(number.to_string()).arg(mask.to_string());
    let guard = command.args(std::env::args_os().skip(1)).process_group(0).spawn()?;
    Ok((Pid::from_child(&guard), ours))
}

fn start(
    name: &str,
    tell: Sender<News>,
    run: impl FnOnce(Sender<News>) + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(move || run(tell)).map(drop)
}

enum News {
    Arrived(Arrival),
    Said(Word),
    /// The guard has closed its end.
    Silence,
    Guard(WaitStatus),
}

fn take_signals(signals: sys::Mask, tell: &Sender<News>) {
    while let Ok(arrival) = sys::wait_for(signals) {
        if tell.send(News::Arrived(arrival)).is_err() {
            return;
        }
    }
}

fn take_words(from: &UnixStream, tell: &Sender<News>) {
    while let Ok(Some(word)) = words::hear(from) {
        _ = tell.send(News::Said(word));
    }
    _ = tell.send(News::Silence);
}

fn watch(guard: Pid, tell: &Sender<News>) {
    loop {
        match process::waitpid(Some(guard), WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
            Ok(Some((_, status))) => {
                let ended = status.exited() || status.signaled();
                _ = tell.send(News::Guard(status));
                if ended {
                    return;
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The front's hands.
struct Deeds {
    guard: Pid,
    words: UnixStream,
    tty: Option<std::os::fd::OwnedFd>,
    /// CMD's process group, once there is one.
    group: Option<Pid>,
    /// A signal that this process has sent to its own group, and is about to get itself.
    swallow: Option<i32>,
    /// Signals that have come to this process, so that it may end by them.
    passed_on: Vec<i32>,
    program: String,
}

impl Deeds {
    fn serve(mut self, news: &Receiver<News>) -> Result<(), Failure> {
        let mut front = Front::default();
        let mut lease = never();
        let (mut ended, mut silent, mut gone) = (None, false, false);
        while !(silent && gone) {
            let event = select! {
                recv(news) -> news => match news {
                    Ok(News::Arrived(arrival)) => self.arrived(arrival),
                    Ok(News::Said(word)) => {
                        match word {
                            Word::Ready(group) => self.group = Pid::from_raw(group),
                            Word::Lease(until) => lease = after(left_until(until)),
                            Word::Ended(how) => ended = Some(how),
                            _ => {}
                        }
                        Some(Event::Heard(word))
                    }
                    Ok(News::Guard(status)) if status.stopped() => Some(Event::GuardStopped),
                    Ok(News::Guard(status)) => {
                        gone |= !status.continued();
                        None
                    }
                    Ok(News::Silence) | Err(_) => {
                        silent = true;
                        None
                    }
                },
                recv(lease) -> _ => {
                    lease = never();
                    Some(Event::LeaseOver)
                }
            };
            if let Some(event) = event {
                let terminal = self.terminal();
                front.on(event, terminal).into_iter().for_each(|deed| self.perform(deed));
            }
        }
        self.end(ended)
    }

    fn arrived(&mut self, Arrival { signal, by_process }: Arrival) -> Option<Event> {
        let own = [libc::SIGXFSZ, libc::SIGXCPU].contains(&signal) && !by_process;
        if own || self.swallow.take_if(|expected| *expected == signal).is_some() {
            return None;
        }
        if signal == libc::SIGCONT {
            self.swallow = None; // the kernel has dropped it
        }
        if !self.passed_on.contains(&signal) {
            self.passed_on.push(signal);
        }
        Some(Event::Signal(signal))
    }

    fn terminal(&self) -> Terminal {
        match self.tty.as_ref().map(tcgetpgrp) {
            None | Some(Err(_)) => Terminal::None,
            Some(Ok(group)) if group == process::getpgrp() => Terminal::Front,
            Some(Ok(group)) if Some(group) == self.group => Terminal::Command,
            Some(Ok(_)) => Terminal::Other,
        }
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Tell(word) => words::tell(&self.words, word),
            Deed::Send(signal) => {
                _ = self.group.map(|group| sys::send(-group.as_raw_pid(), signal))
            }
            Deed::WakeGuard => _ = sys::send(self.guard.as_raw_pid(), libc::SIGCONT),
            Deed::GiveTerminal => self.give_terminal_to(self.group),
            Deed::TakeTerminal => self.give_terminal_to(Some(process::getpgrp())),
            Deed::Stop(signal) => sys::suffer(signal),
            Deed::StopJob(signal) => {
                self.swallow = Some(signal);
                _ = sys::send(0, signal);
                sys::suffer(signal);
            }
            Deed::SayReady => {
                let running = format!("running {}", self.program);
                _ = sd_notify::notify(&[
                    sd_notify::NotifyState::Ready,
                    sd_notify::NotifyState::Status(&running),
                ]);
            }
        }
    }

    /// SIGTTOU is blocked, so that this works from the background, too.
    fn give_terminal_to(&self, group: Option<Pid>) {
        if let (Some(tty), Some(group)) = (&self.tty, group) {
            _ = tcsetpgrp(tty, group);
        }
    }

    /// Ends as all has ended: for a shell that runs a loop, death by SIGINT is not the same as exit
    /// code 130; nor is it for a service manager that has sent SIGTERM.
    fn end(self, ended: Option<Ended>) -> Result<(), Failure> {
        let had_terminal = self.terminal() == Terminal::Command;
        let Some(ended) = ended else {
            return Err(self.without_guard());
        };
        if had_terminal {
            self.give_terminal_to(Some(process::getpgrp()));
        }
        match ended {
            0 => Ok(()),
            1.. => Err(Failure::silent(u8::try_from(ended).unwrap_or(FAILED))),
            _ => {
                let signal = -ended;
                if signal == SIGINT || self.passed_on.contains(&signal) {
                    if had_terminal && [SIGINT, SIGQUIT].contains(&signal) {
                        // As the key would have, had CMD been in this group.
                        _ = sys::send(0, signal);
                    }
                    sys::suffer(signal);
                }
                Err(Failure::silent(SIGNALLED.saturating_add(signal as u8)))
            }
        }
    }

    /// Somebody has killed the guard, so that what it held is another's by now: ends CMD at once.
    fn without_guard(&self) -> Failure {
        if let Some(group) = self.group {
            supervise::end_group(group);
            if self.terminal() == Terminal::Command {
                self.give_terminal_to(Some(process::getpgrp()));
            }
        }
        let code = if self.group.is_some() { LOST } else { FAILED };
        Failure::new(
            code,
            format!("process {}, which guarded {}, was killed", self.guard, self.program),
        )
    }
}

fn left_until(moment: i64) -> Duration {
    Duration::from_nanos(u64::try_from(moment - monotonic()).unwrap_or(0))
}

/// Nanoseconds of a clock that front and guard have in common.
fn monotonic() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A moment that far ahead, for the front.
pub(crate) fn in_future(left: Duration) -> i64 {
    monotonic() + i64::try_from(left.as_nanos()).unwrap_or(i64::MAX / 2)
}

/// A program's name in a message: quoted if it would be mistaken for the message's own words.
pub(crate) fn quoted(program: &OsStr) -> String {
    let name = program.to_string_lossy();
    let plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain { name.into_owned() } else { format!("{name:?}") }
}

/// When a wait that is to take so long is over; never, if it is not limited.
pub(crate) fn over_after(wait: Option<Duration>) -> Receiver<Instant> {
    wait.map_or_else(never, after)
}
