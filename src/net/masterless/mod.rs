//! One process of a masterless group: a socket, a clock, a thread. `state/masterless` makes the
//! decisions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::config::masterless::{MAX_WAITING, REOPEN, Transport, WARN_AGAIN, WorkloadSource};
use crate::event::masterless::EventKind;
use crate::net::files::epoch::EpochFile;
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::threads::Threads;
use crate::state::masterless::{Action, Input, Machine, Millis};
use crate::sys::tripwire::{self, Wire};
use crate::sys::{self, signals};
use crate::wire::Tail;
use crate::wire::heartbeat::MAX_DATAGRAM;
use crate::wire::seal::{Foreign, Seal};

use destinations::Destinations;
use launch::Launcher;
use lives::Lives;
use resolver::Resolver;
use socket::Socket;

mod begin;
mod destinations;
mod label;
mod launch;
mod lives;
mod news;
mod resolver;
mod shared;
mod socket;

pub use label::default_label;
pub(crate) use shared::{PeerShared, PeerState, Traffic, Wish};

/// The thread's own state.
pub(crate) struct Deeds {
    shared: Arc<PeerShared>,
    socket: Socket,
    /// Where heartbeats go to each address by itself.
    destinations: Option<(Destinations, Resolver)>,
    seal: Seal,
    lives: Lives,
    /// `None` for an observer.
    epochs: Option<EpochFile>,
    launcher: Option<(Arc<Launcher>, Threads)>,
    workload: Option<WorkloadSource>,
    /// When the workload is next asked for.
    workload_at: Millis,
    /// Everything that had come by then has been taken in, and decisions are made as of then: if
    /// this thread is stopped afterwards, what comes meanwhile does not count as silence.
    heard_until: Millis,
    interval: Millis,
    observes: bool,
    name: String,
    /// The tails of processes to doubt.
    doubts: Vec<Tail>,
    breaches: BTreeMap<Foreign, Instant>,
    /// When an address that cannot be sent to was last logged.
    cannot_send: Option<Instant>,
    /// True if the last heartbeat did not get out.
    failing: bool,
    transport: Transport,
    port: Option<u16>,
    /// When the socket was last made anew.
    opened_at: Option<Instant>,
    no_workload: Option<Instant>,
    wire: Wire,
    /// Kept to be filled again.
    actions: Vec<Action>,
}

impl Deeds {
    /// Runs the thread until the process has left.
    pub(crate) fn run(mut self) {
        let _end = End(self.shared.clone());
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let mut deaf = false;
        loop {
            self.wait(deaf);
            // It works by itself, a few times a second: not into the program's sockets.
            tripwire::look();
            if self.wire.is_cut() {
                log::error!("{}: {}", self.name, sys::TAKEN_AWAY);
                return;
            }
            // What was said before the present moment comes first: a heartbeat that waits here must
            // not be missed.
            deaf = self.hear(&mut buffer);
            for tail in std::mem::take(&mut self.doubts) {
                self.lives.end(tail);
                self.step(Input::Doubt(tail));
            }
            self.look_names_up();
            self.grant_wishes();
            self.keep_time();
            if self.shared.inside.lock().gone {
                return;
            }
        }
    }

    /// Waits for a datagram, the program, the end of another process, or the time.
    fn wait(&mut self, deaf: bool) {
        let now = awake_or_asleep_ms();
        let names_at = self.destinations.as_ref().map_or(Millis::MAX, |(them, _)| them.wake_at());
        let wake_at = self.shared.inside.lock().machine.wake_at().min(names_at);
        let left = Duration::from_millis(if self.doubts.is_empty() {
            wake_at.saturating_sub(now)
        } else {
            0
        });
        let lives: Vec<(Tail, _)> = self.lives.ends().collect();
        let mut waits = Vec::with_capacity(lives.len() + 3);
        waits.extend(lives.iter().map(|(_, end)| PollFd::new(*end, PollFlags::IN)));
        // A socket that gives errors would be ready for ever.
        if !deaf {
            waits.push(PollFd::new(&self.socket, PollFlags::IN));
        }
        if self.shared.waker.wait(&mut waits, Some(left)).is_err() {
            return; // a signal: look again
        }
        let ended = lives.iter().zip(&waits).filter(|(_, wait)| !wait.revents().is_empty());
        let ended: Vec<Tail> = ended.map(|((tail, _), _)| *tail).collect();
        drop(lives);
        self.doubts.extend(ended);
    }

    /// Takes what has come. Returns true if the socket returns an error instead.
    fn hear(&mut self, buffer: &mut [u8]) -> bool {
        self.heard_until = awake_or_asleep_ms();
        for _ in 0..MAX_WAITING {
            match self.socket.receive(buffer) {
                Ok(Some((length, from))) => match self.seal.open(&buffer[..length]) {
                    Ok(beat) => self.step_on(Input::Heard(beat), Some(from)),
                    Err(reason) => self.drop_foreign(reason, from),
                },
                Ok(None) => return false,
                Err(error) => {
                    log::debug!("{}: cannot receive: {error}", self.name);
                    self.shared.inside.lock().traffic.not_received += 1;
                    return true;
                }
            }
        }
        false
    }

    fn grant_wishes(&mut self) {
        let wishes = std::mem::take(&mut self.shared.inside.lock().wishes);
        for wish in wishes {
            match wish {
                Wish::HandoverReady => self.step(Input::HandoverReady),
                Wish::Leave => self.step(Input::Leave),
                Wish::Rank(rank) => self.step(Input::Rank(rank)),
                Wish::Direct(target, rank) => self.step(Input::Direct { target, rank }),
                Wish::Workload(workload) => self.step(Input::Workload(workload)),
                Wish::Ended(pid) => {
                    for tail in self.lives.of_process(pid) {
                        self.lives.end(tail);
                        self.step(Input::Doubt(tail));
                    }
                }
                Wish::Quit => self.quit(),
            }
        }
    }

    fn look_names_up(&mut self) {
        let Some((them, resolver)) = &mut self.destinations else { return };
        let now = awake_or_asleep_ms();
        for (name, answer) in resolver.answers() {
            them.answer(name, answer, now);
        }
        them.questions(now).into_iter().for_each(|question| resolver.ask(question));
    }

    fn keep_time(&mut self) {
        let now = self.heard_until;
        if let Some(source) = self.workload.clone().filter(|_| now >= self.workload_at) {
            // Just before a heartbeat is due at the earliest, so that it says what is so now.
            self.workload_at = now + self.interval * 9 / 10;
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                signals::as_program(|| source())
            })) {
                Ok(workload) => self.step(Input::Workload(workload)),
                Err(_) if is_due(&mut self.no_workload) => {
                    log::warn!("{}: the program's function for the workload panicked", self.name);
                }
                Err(_) => {}
            }
        }
        if now >= self.shared.inside.lock().machine.wake_at() {
            self.step(Input::Tick);
        }
    }

    fn step(&mut self, input: Input) {
        self.step_on(input, None);
    }

    /// Its origin counts only if it is new and from another process: not for a copy of an earlier
    /// heartbeat.
    fn step_on(&mut self, input: Input, from: Option<SocketAddr>) {
        let shared = self.shared.clone();
        let mut inside = shared.inside.lock();
        let now = self.heard_until;
        let before = inside.machine.counts().heard;
        let sender = match &input {
            Input::Heard(beat) => Some(beat.id.tail()),
            _ => None,
        };
        let place = |machine: &Machine| (machine.status(), machine.mandate());
        let place_before = place(&inside.machine);
        let news = inside.step(now, input, &mut self.actions);
        if place(&inside.machine) != place_before {
            shared.bell.notify_all();
        }
        let epoch = inside.machine.max_epoch();
        let from = from.filter(|_| inside.machine.counts().heard > before);
        if let (Some(from), Some(sender)) = (from, sender) {
            inside.came_from(sender, from);
        }
        drop(inside);
        if let (Some((them, _)), Some(from)) = (&mut self.destinations, from) {
            them.heard(from, now);
        }
        self.carry_out(&news);
        if let Some(epochs) = self.epochs.as_mut().filter(|epochs| epoch > epochs.last()) {
            epochs.keep(epoch);
        }
    }

    /// Leaves at once. The three goodbyes, usually some milliseconds apart in case one is lost, go
    /// out together.
    fn quit(&mut self) {
        let shared = self.shared.clone();
        let mut inside = shared.inside.lock();
        let now = awake_or_asleep_ms();
        inside.machine.leave_at_once(now, &mut self.actions);
        while !self.actions.contains(&Action::Exit) && !inside.gone {
            let next = inside.machine.wake_at();
            inside.machine.step(next, Input::Tick, &mut self.actions);
        }
        let news = inside.tell_all(&mut self.actions);
        drop(inside);
        self.carry_out(&news);
    }

    /// Carries out what was decided. The program knows of it already.
    fn carry_out(&mut self, news: &[EventKind]) {
        let sent = self.do_all();
        // After what was said of it: if this process dies now, the others know.
        news.iter().for_each(|kind| self.heed(kind));
        // Each failure is news, and the first success after one.
        match sent {
            Some(Err(errno)) => {
                self.failing = true;
                if socket::is_gone(errno) && is_due_after(&mut self.opened_at, REOPEN) {
                    self.open_anew();
                }
                self.step(Input::NotSent { errno });
            }
            Some(Ok(())) if std::mem::take(&mut self.failing) => self.step(Input::Sent),
            Some(Ok(())) | None => {}
        }
    }

    /// Reports what came of the last heartbeat, if one was sent.
    fn do_all(&mut self) -> Option<Result<(), i32>> {
        let mut sent = None;
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send { until, .. } if awake_or_asleep_ms() > until => {
                    sent = Some(Err(Errno::TIMEDOUT.raw_os_error()));
                }
                Action::Send { beat, .. } => {
                    if !self.observes {
                        self.lives.be(beat.id.tail());
                    }
                    sent = Some(self.send(&self.seal.close(&beat)));
                }
                Action::Flush => self.flush(),
                Action::Tell(_) | Action::Exit => {}
            }
        }
        self.actions = actions;
        sent
    }

    /// Returns an error if it got out to nobody: the system's reason.
    fn send(&mut self, datagram: &[u8]) -> Result<(), i32> {
        if let Some((them, _)) = &mut self.destinations {
            if let Some(addresses) = them.changed() {
                self.socket.send_all_to(addresses);
            }
            if !them.are_known(self.socket.has_others()) {
                return Err(socket::NOBODY_KNOWN.raw_os_error());
            }
        }
        let sent = self.socket.send(datagram);
        let Some((count, error)) = sent.failed else { return Ok(()) };
        self.shared.inside.lock().traffic.not_sent += count;
        // That nothing gets out is told by itself, when it is certain.
        let warns = sent.got_out && is_due(&mut self.cannot_send);
        let level = if warns { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "{}: a heartbeat could not be sent to {count} addresses: {error}",
            self.name
        );
        if sent.got_out { Ok(()) } else { Err(error.raw_os_error().unwrap_or_default()) }
    }

    /// The socket may know nothing of an interface that was down or gone and has come back: neither
    /// its number, nor the groups joined there, nor that the address it is bound to is one for all.
    /// A socket for a list of peers has its port for itself, and needs none of it.
    fn open_anew(&mut self) {
        if let Transport::Unicast { .. } = self.transport {
            return;
        }
        match Socket::open(&self.transport, self.port) {
            Ok(socket) => self.socket = socket,
            Err(error) => log::debug!("{}: cannot open a new socket: {error}", self.name),
        }
    }

    fn flush(&mut self) {
        let mut buffer = [0; 1];
        for _ in 0..MAX_WAITING {
            if !matches!(self.socket.receive(&mut buffer), Ok(Some(_))) {
                return;
            }
        }
    }
}

/// Returns true if something is to be logged again, and counts it as logged.
fn is_due(last: &mut Option<Instant>) -> bool {
    is_due_after(last, WARN_AGAIN)
}

fn is_due_after(last: &mut Option<Instant>, pause: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= pause);
    if due {
        *last = Some(Instant::now());
    }
    due
}

impl Drop for Deeds {
    fn drop(&mut self) {
        if let Some((launcher, threads)) = &self.launcher {
            launcher.end();
            threads.join_all();
        }
    }
}

/// Ends the thread, however the end comes: nothing waits for it any more.
struct End(Arc<PeerShared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut inside = self.0.inside.lock();
        if !inside.gone {
            inside.tell(EventKind::Stopped);
            inside.gone = true; // whatever has ended the thread: it leads no more
        }
        inside.hub.close();
        drop(inside);
        self.0.bell.notify_all();
    }
}
