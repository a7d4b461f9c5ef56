//! The guard: the process that holds the role or the permit, and is CMD's parent.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libc::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};
use pares::channel::{Receiver, Sender, bounded, select, unbounded};

use super::words::{self, Word};
use super::{Ended, adopt_orphans, in_future};
use crate::failure::{FAILED, Failure, NO_SUPERVISOR};
use crate::sys;

/// The argument that makes a process a guard.
pub(crate) const COMMAND: &str = "guard";

/// What comes to the guard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    /// For CMD.
    Signal(i32),
    /// CMD may begin.
    Go,
    /// The front has CMD stand still.
    Frozen,
    /// The front was killed.
    Gone,
}

/// What a guard needs besides its command line.
pub(crate) struct Guard {
    front: Arc<UnixStream>,
    pub(crate) heard: Receiver<Heard>,
    /// The signals that were blocked when `pares run` began, as they are to be for CMD.
    pub(super) mask: sys::Mask,
    /// The front's process id.
    pub(super) front_pid: i32,
}

impl Guard {
    /// Arguments: the descriptor of the pair, the signals to be blocked in CMD.
    pub(crate) fn new(arguments: &[OsString]) -> Result<Self, Failure> {
        let number =
            |at: usize| arguments.get(at).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let (Some(descriptor), Some(mask)) = (number(0), number(1)) else {
            return Err(Failure::new(FAILED, "only `pares run` may use this command"));
        };
        let signals = sys::catchable();
        sys::block(signals);
        adopt_orphans()?;
        let front = Arc::new(UnixStream::from(sys::adopt(descriptor as i32)?));
        let (tell, heard) = unbounded();
        {
            let (front, tell) = (front.clone(), tell.clone());
            spawn("front", move || listen(&front, &tell))?;
        }
        spawn("signals", move || take_signals(signals, &tell))?;
        let front_pid = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
        Ok(Guard { front, heard, mask, front_pid })
    }

    pub(super) fn tell(&self, word: Word) {
        words::tell(&self.front, word);
    }

    /// CMD may go on for so long without another word.
    pub(crate) fn lease(&self) -> impl Fn(Duration) + Clone + Send + use<> {
        let front = self.front.clone();
        move |left| words::tell(&front, Word::Lease(in_future(left)))
    }

    /// How it all ended, as the last word.
    pub(crate) fn ended(&self, how: Ended) {
        self.tell(Word::Ended(how));
    }

    /// Does something that takes its time, unless a signal comes before it is done: then it is
    /// abandoned, which the end of this process is expected to follow.
    pub(crate) fn unless_ended<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (tell, done) = bounded(1);
        spawn("work", move || _ = tell.send(work()))?;
        loop {
            select! {
                recv(done) -> done => return done.map_err(|_| Failure::silent(FAILED)),
                recv(self.heard) -> heard => ending(heard.ok())?,
            }
        }
    }

    /// Waits for what `turn` brings, until somebody wants this process to end or to leave, or
    /// `over` comes. Takes `turn`, so that after an error whoever brings it finds nobody waiting.
    pub(crate) fn wait_for_turn<T, L>(
        &self,
        turn: Receiver<T>,
        left: &Receiver<L>,
        over: &Receiver<Instant>,
        late: &'static str,
    ) -> Result<T, Failure> {
        let leaving = || Failure::new(NO_SUPERVISOR, "asked to leave before CMD ran");
        loop {
            select! {
                recv(turn) -> turn => return turn.map_err(|_| leaving()),
                recv(self.heard) -> heard => ending(heard.ok())?,
                recv(left) -> _ => return Err(leaving()),
                recv(over) -> _ => return Err(Failure::new(crate::failure::DEADLINE, late)),
            }
        }
    }
}

/// An error if one that waits has to end because of what it heard. Other signals are for a command
/// that does not run yet.
pub(crate) fn ending(heard: Option<Heard>) -> Result<(), Failure> {
    match heard {
        Some(Heard::Signal(signal)) if [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(&signal) => {
            Err(Failure::by_signal(signal))
        }
        Some(Heard::Signal(_) | Heard::Go | Heard::Frozen) => Ok(()),
        Some(Heard::Gone) | None => Err(Failure::silent(FAILED)),
    }
}

fn listen(front: &UnixStream, tell: &Sender<Heard>) {
    while let Ok(Some(word)) = words::hear(front) {
        let heard = match word {
            Word::Signal(signal) => Heard::Signal(signal),
            Word::Go => Heard::Go,
            Word::Frozen => Heard::Frozen,
            // The guard's own words.
            Word::Ready(_)
            | Word::Stopped(_)
            | Word::Continued
            | Word::Sure
            | Word::Lease(_)
            | Word::Ended(_) => {
                continue;
            }
        };
        _ = tell.send(heard);
    }
    _ = tell.send(Heard::Gone);
}

/// Signals to the guard itself: its process id is the one in the registry, so that people and tools
/// use it. Those of job control are the front's.
fn take_signals(signals: sys::Mask, tell: &Sender<Heard>) {
    while let Ok(arrival) = sys::wait_for(signals) {
        let steers = [SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU].contains(&arrival.signal);
        if arrival.by_process && !steers {
            _ = tell.send(Heard::Signal(arrival.signal));
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}
