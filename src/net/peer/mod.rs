//! One process of a masterless group: a socket, a clock, a thread. What is done is decided in `state/group`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest, Sha256};

use super::clock::{self, awake_or_asleep_ms};
use super::hub::Hub;
use super::lock::{Condvar, Mutex};
use super::ready::Ready;
use super::store::EpochFile;
use super::threads::Threads;
use super::waker::Waker;
use super::{files, key};
use crate::config::{DATAGRAMS_AT_ONCE, MAX_WISHES, PeerConfig, SMALL_STACK, Transport, WARN_AGAIN, WorkloadSource};
use crate::error::PeerError;
use crate::event::{PeerEvent, PeerEventKind, RoleCause};
use crate::state::group::{Action, Event, Machine, Millis, Rules};
use crate::sys::{self, Origin, crash, signals};
use crate::wire::heartbeat::{Foreign, MAX_DATAGRAM, Seal};
use crate::wire::proof::Key;
use crate::wire::{PeerId, PeerStatus, Tail};

use launch::Launcher;
use lives::{Files, Lives};
use socket::Socket;

mod launch;
mod lives;
mod socket;

/// The name of the thread that does everything.
pub(crate) const PEER_THREAD: &str = "pares-peer";

/// What a flush throws away at most: more than the kernel keeps for a socket.
const FLUSHED: usize = 16_384;

/// What the program and the thread both see of a peer.
pub(crate) struct Shared {
    pub(crate) group: String,
    /// The identifier with which it began to join, for those who may not look inside.
    pub(crate) first: PeerId,
    // Held for moments: one step of the machine, or to read what that knows. Nothing in it waits.
    inside: Mutex<Inside>,
    /// Rung whenever the status has changed.
    bell: Condvar,
    waker: Waker,
    origin: Origin,
}

pub(crate) struct Inside {
    pub(crate) machine: Machine,
    hub: Hub<PeerEventKind>,
    /// The last change of the status.
    role: PeerEventKind,
    wishes: Vec<Wish>,
    pub(crate) traffic: Traffic,
    pub(crate) gone: bool,
}

/// What the program wants of the thread.
#[derive(Clone, Copy)]
pub(crate) enum Wish {
    HandoverReady,
    Leave,
    Rank(u8),
    Direct(Tail, u8),
    Workload(u16),
    /// It knows that this process has ended.
    Ended(u32),
    /// To leave without a handover.
    Quit,
}

impl Wish {
    /// The later of two that are like this counts.
    fn replaces(&self, before: &Wish) -> bool {
        match (self, before) {
            (Wish::Direct(target, _), Wish::Direct(other, _)) => target == other,
            (Wish::Ended(pid), Wish::Ended(other)) => pid == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

/// What went over the socket, besides what the machine counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) dropped: BTreeMap<Foreign, u64>,
    pub(crate) not_sent: u64,
    pub(crate) not_received: u64,
}

impl Shared {
    /// True in a forked child, where the peer is its parent's, and in a process that is crashing. To be asked before everything else
    /// here, for a lock may be held by a thread that is not in this process.
    pub(crate) fn is_void(&self) -> bool {
        self.origin.is_elsewhere() || crash::is_crashing()
    }

    /// Looks inside, at this moment of the group's clock.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inside, Millis) -> T) -> T {
        let inside = self.inside.lock();
        look(&inside, awake_or_asleep_ms())
    }

    /// Tells the thread what the program wants. Of too many at once the oldest are lost.
    pub(crate) fn wish(&self, wish: Wish) {
        let mut inside = self.inside.lock();
        inside.wishes.retain(|before| !wish.replaces(before));
        if inside.wishes.len() == MAX_WISHES {
            inside.wishes.remove(0);
        }
        inside.wishes.push(wish);
        self.waker.wake();
    }

    pub(crate) fn subscribe(&self, capacity: usize, ready: Option<Arc<Ready>>) -> Receiver<PeerEvent> {
        let mut inside = self.inside.lock();
        let present = inside.present();
        let receiver = inside.hub.subscribe(capacity, ready, present);
        if inside.gone {
            inside.hub.close();
        }
        receiver
    }

    /// Waits until `is_it`, or has left, or the deadline is over; says which.
    pub(crate) fn wait(&self, deadline: Instant, is_it: impl Fn(&Machine) -> bool) -> bool {
        let mut inside = self.inside.lock();
        loop {
            if inside.gone || is_it(&inside.machine) {
                return !inside.gone;
            }
            if self.bell.wait_until(&mut inside, deadline).timed_out() {
                return !inside.gone && is_it(&inside.machine);
            }
        }
    }
}

impl Inside {
    /// What a new receiver is told first.
    fn present(&self) -> Vec<PeerEventKind> {
        let mut role = self.role.clone();
        if let PeerEventKind::Role { token, .. } = &mut role {
            *token = self.machine.token();
        }
        if self.gone { vec![role, PeerEventKind::Stopped] } else { vec![role] }
    }

    /// One step, and what the program is told of it.
    fn step(&mut self, now: Millis, event: Event, prepares: bool, actions: &mut Vec<Action>) {
        self.machine.step(now, event, actions);
        let mut at = 0;
        while let Some(action) = actions.get(at) {
            at += 1;
            let Action::Tell(kind) = action else { continue };
            let kind = kind.clone();
            if let PeerEventKind::PrepareHandover { .. } = kind {
                if !prepares {
                    self.machine.step(now, Event::HandoverReady, actions);
                }
            }
            self.tell(kind);
        }
    }

    fn tell(&mut self, kind: PeerEventKind) {
        if let PeerEventKind::Role { .. } = kind {
            self.role = kind.clone();
        }
        self.gone |= kind == PeerEventKind::Stopped;
        self.hub.emit(kind);
    }
}

/// The thread's own: whatever it does.
pub(crate) struct Deeds {
    shared: Arc<Shared>,
    socket: Socket,
    seal: Seal,
    lives: Lives,
    /// Not of one that only looks on.
    epochs: Option<EpochFile>,
    launcher: Option<(Arc<Launcher>, Threads)>,
    workload: Option<WorkloadSource>,
    /// When the workload is to be asked for next.
    workload_at: Millis,
    /// When the socket was last found empty. What is decided is decided as of then: if this thread is stopped afterwards, what
    /// comes meanwhile is not taken for silence.
    heard_until: Millis,
    interval: Millis,
    prepares: bool,
    observes: bool,
    name: String,
    /// Tails that are to be doubted.
    doubts: Vec<Tail>,
    breaches: BTreeMap<Foreign, Instant>,
    cannot_send: Option<Instant>,
    no_workload: Option<Instant>,
    /// Kept to be filled again.
    actions: Vec<Action>,
}

impl Deeds {
    /// Opens everything, and sends the first request to be let in.
    pub(crate) fn begin(config: &PeerConfig) -> Result<(Arc<Shared>, Self), PeerError> {
        config.check()?;
        sys::install();
        let io = |doing| move |source| PeerError::Io { doing, source };
        let directory = config.state_directory()?;
        files::make_directory(&directory)?;
        let group = &config.group;
        let seal = seal(config, &directory)?;
        let observes = config.observe;
        let epoch_path = directory.join(format!("{group}.{}.epoch", config.service));
        let epochs = if observes { None } else { Some(EpochFile::open(epoch_path)?) };
        let lives = Lives::new(Files::open(directory.join(format!("{group}.peers")))?);
        let socket = Socket::open(&config.transport, config.local_port())?;
        let launcher = launcher(config).map_err(io("start the launching thread"))?;
        getrandom::fill(&mut [0; 8]).map_err(std::io::Error::other).map_err(io("read random bytes"))?;

        let rules = rules(config, epochs.as_ref().map_or(0, EpochFile::last));
        let (interval, now) = (rules.interval, awake_or_asleep_ms());
        let mut actions = Vec::new();
        let machine = Machine::new(rules, now, Box::new(chance), &mut actions);
        let joining = PeerStatus::Joining;
        let role = PeerEventKind::Role { from: joining, to: joining, token: None, cause: RoleCause::Started };
        let first = machine.id();
        let inside =
            Inside { machine, hub: Hub::default(), role, wishes: Vec::new(), traffic: Traffic::default(), gone: false };
        let shared = Arc::new(Shared {
            group: group.clone(),
            first,
            inside: Mutex::new(inside),
            bell: Condvar::new(),
            waker: Waker::new().map_err(io("make a waker"))?,
            origin: Origin::here(),
        });
        let mut deeds = Deeds {
            shared: shared.clone(),
            socket,
            seal,
            lives,
            epochs,
            launcher,
            workload: config.workload_source.clone(),
            workload_at: now,
            heard_until: now,
            interval,
            prepares: config.prepare_handover,
            observes,
            name: format!("{group}/{} {}", config.service, first.tail()),
            doubts: Vec::new(),
            breaches: BTreeMap::new(),
            cannot_send: None,
            no_workload: None,
            actions,
        };
        deeds.carry_out(now);
        Ok((shared, deeds))
    }

    /// The thread: until the process has left.
    pub(crate) fn run(mut self) {
        let _end = End(self.shared.clone());
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let mut deaf = false;
        loop {
            self.wait(deaf);
            // What was said before the present moment comes first: a heartbeat that waits here must not be missed.
            deaf = self.hear(&mut buffer);
            for tail in std::mem::take(&mut self.doubts) {
                self.lives.end(tail);
                self.step(Event::Doubt(tail));
            }
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
        let wake_at = self.shared.inside.lock().machine.wake_at();
        let left = Duration::from_millis(if self.doubts.is_empty() { wake_at.saturating_sub(now) } else { 0 });
        let timeout = Timespec::try_from(left).ok();
        let lives: Vec<(Tail, _)> = self.lives.ends().collect();
        let mut waits = Vec::with_capacity(lives.len() + 2);
        waits.push(PollFd::new(&self.shared.waker, PollFlags::IN));
        // A socket that gives errors would be ready for ever.
        let wanted = if deaf { PollFlags::empty() } else { PollFlags::IN };
        waits.extend(lives.iter().map(|(_, end)| PollFd::new(*end, PollFlags::IN)));
        if !deaf {
            waits.push(PollFd::new(&self.socket, wanted));
        }
        if poll(&mut waits, timeout.as_ref()).is_err() {
            return; // a signal: look again
        }
        if !waits[0].revents().is_empty() {
            self.shared.waker.drain();
        }
        let ended = lives.iter().zip(&waits[1..]).filter(|(_, wait)| !wait.revents().is_empty());
        let ended: Vec<Tail> = ended.map(|((tail, _), _)| *tail).collect();
        drop(lives);
        self.doubts.extend(ended);
    }

    /// Takes what has come. True if the socket gives an error instead.
    fn hear(&mut self, buffer: &mut [u8]) -> bool {
        for _ in 0..DATAGRAMS_AT_ONCE {
            self.heard_until = awake_or_asleep_ms();
            match self.socket.receive(buffer) {
                Ok(Some((length, from))) => match self.seal.open(&buffer[..length]) {
                    Ok(beat) => self.step(Event::Heard(beat)),
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
                Wish::HandoverReady => self.step(Event::HandoverReady),
                Wish::Leave => self.step(Event::Leave),
                Wish::Rank(rank) => self.step(Event::Rank(rank)),
                Wish::Direct(target, rank) => self.step(Event::Direct { target, rank }),
                Wish::Workload(workload) => self.step(Event::Workload(workload)),
                Wish::Ended(pid) => {
                    for tail in self.lives.of_process(pid) {
                        self.lives.end(tail);
                        self.step(Event::Doubt(tail));
                    }
                }
                Wish::Quit => self.quit(),
            }
        }
    }

    fn keep_time(&mut self) {
        let now = self.heard_until;
        if let Some(source) = self.workload.clone().filter(|_| now >= self.workload_at) {
            // Just before a heartbeat is due at the earliest, so that it says what is so now.
            self.workload_at = now + self.interval * 9 / 10;
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| signals::as_program(|| source()))) {
                Ok(workload) => self.step(Event::Workload(workload)),
                Err(_) if is_due(&mut self.no_workload) => {
                    log::warn!("{}: the program's function for the workload panicked", self.name);
                }
                Err(_) => {}
            }
        }
        if now >= self.shared.inside.lock().machine.wake_at() {
            self.step(Event::Tick);
        }
    }

    fn step(&mut self, event: Event) {
        let shared = self.shared.clone();
        let mut inside = shared.inside.lock();
        let now = self.heard_until;
        inside.step(now, event, self.prepares, &mut self.actions);
        let epoch = inside.machine.max_epoch();
        drop(inside);
        self.carry_out(now);
        if let Some(epochs) = self.epochs.as_mut().filter(|epochs| epoch > epochs.last()) {
            epochs.keep(epoch);
        }
    }

    /// Leaves at once. The three goodbyes, usually some milliseconds apart in case one is lost, go out together.
    fn quit(&mut self) {
        let shared = self.shared.clone();
        let mut inside = shared.inside.lock();
        let now = awake_or_asleep_ms();
        inside.machine.leave_at_once(now, &mut self.actions);
        while !self.actions.contains(&Action::Exit) && !inside.gone {
            let next = inside.machine.wake_at();
            inside.machine.step(next, Event::Tick, &mut self.actions);
        }
        let told =
            self.actions.iter().filter_map(|action| if let Action::Tell(kind) = action { Some(kind) } else { None });
        told.cloned().for_each(|kind| inside.tell(kind));
        drop(inside);
        self.carry_out(now);
    }

    /// Does what was decided at `now`. The program has been told already.
    fn carry_out(&mut self, now: Millis) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(beat) => {
                    // A stop between the decision and now has made it untrue.
                    if awake_or_asleep_ms() > now + 2 * self.interval {
                        continue;
                    }
                    if !self.observes {
                        self.lives.be(beat.id.tail());
                    }
                    self.send(&self.seal.close(&beat));
                }
                Action::Flush => self.flush(),
                Action::Tell(kind) => self.heed(&kind),
                Action::Exit => {}
            }
        }
        self.actions = actions;
    }

    fn send(&mut self, datagram: &[u8]) {
        let Err((count, error)) = self.socket.send(datagram) else { return };
        self.shared.inside.lock().traffic.not_sent += count;
        let level = if is_due(&mut self.cannot_send) { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "{}: a heartbeat could not be sent to {count} addresses: {error}", self.name);
    }

    fn flush(&mut self) {
        let mut buffer = [0; 1];
        for _ in 0..FLUSHED {
            if !matches!(self.socket.receive(&mut buffer), Ok(Some(_))) {
                return;
            }
        }
    }

    /// To the log, and what else follows from it.
    fn heed(&mut self, kind: &PeerEventKind) {
        let name = &self.name;
        match kind {
            PeerEventKind::Role { from, to, token, cause } => {
                match token {
                    Some(token) => log::info!("{name}: {from} -> {to} ({cause}), epoch {}", token.epoch),
                    None => log::info!("{name}: {from} -> {to} ({cause})"),
                }
                self.shared.bell.notify_all();
            }
            PeerEventKind::Joined { id, service } => {
                log::debug!("{name}: {id} of service type {service} joined");
                if self.lives.begin(id.tail()) {
                    self.doubts.push(id.tail());
                }
            }
            PeerEventKind::Left { id, service, cause } => {
                log::debug!("{name}: {id} of service type {service} left ({cause})");
                self.lives.forget(id.tail());
            }
            PeerEventKind::Suspected { id, service, cause } => {
                log::debug!("{name}: {id} of service type {service} is suspected ({cause})");
            }
            PeerEventKind::PrepareHandover { to, within_ms } => {
                log::debug!("{name}: to hand over to {to} within {within_ms} ms");
            }
            PeerEventKind::EpochBump { token } => log::info!("{name}: primary on, under epoch {}", token.epoch),
            PeerEventKind::Paused { for_ms } => log::info!("{name}: stood still for {for_ms} ms"),
            PeerEventKind::Spawn { service, nonce } => {
                log::debug!("{name}: to start a process of service type {service}, start {nonce}");
                if let Some((launcher, _)) = &self.launcher {
                    launcher.order(*service, *nonce);
                }
            }
            PeerEventKind::Missed { .. } | PeerEventKind::Stopped => {}
        }
    }

    fn drop_foreign(&mut self, reason: Foreign, from: SocketAddr) {
        *self.shared.inside.lock().traffic.dropped.entry(reason).or_default() += 1;
        let what = match reason {
            Foreign::Group => return, // several groups may share a port
            Foreign::Shape => "is no heartbeat",
            Foreign::Version => "is of another version of the protocol",
            Foreign::Key | Foreign::Tag => "is from somebody who does not have this group's key",
            Foreign::Field => "has a field that means nothing",
        };
        let mut last = self.breaches.get(&reason).copied();
        if is_due(&mut last) {
            log::warn!("{}: a datagram from {from} {what}; dropped, as are more of them", self.name);
        }
        self.breaches.extend(last.map(|last| (reason, last)));
    }
}

/// Whether something is to be said again, which it then is.
fn is_due(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= WARN_AGAIN);
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

/// The end of the thread, however it comes: nobody waits for it any more.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut inside = self.0.inside.lock();
        if !inside.gone {
            inside.tell(PeerEventKind::Stopped);
        }
        inside.hub.close();
        drop(inside);
        self.0.bell.notify_all();
    }
}

fn rules(config: &PeerConfig, epoch: u64) -> Rules {
    Rules {
        service: config.service,
        rank: config.rank,
        workload: config.workload,
        origin: config.origin,
        interval: config.interval.as_millis() as Millis,
        delay: config.delay.as_millis() as Millis,
        preempt: config.preempt,
        quorum: config.quorum,
        slow_above: config.slow_above,
        max_members: config.max_members,
        can_start: config.can_start,
        needs: config.needs.clone(),
        epoch,
        observe: config.observe,
    }
}

fn seal(config: &PeerConfig, directory: &std::path::Path) -> Result<Seal, PeerError> {
    let key = match &config.key_file {
        Some(path) => key::named(path)?,
        None => key::made(&directory.join(format!("{}.key", config.group)))?,
    };
    let also = config.also_key_file.as_deref().map(key::named).transpose()?.filter(|also| *also != key);
    Ok(Seal::new(&config.group, (number(&key), key), also.map(|also| (number(&also), also))))
}

/// What a key is called in a datagram: made from the key, so that nobody has to choose it.
fn number(key: &Key) -> u8 {
    Sha256::digest(key.0)[0]
}

fn launcher(config: &PeerConfig) -> std::io::Result<Option<(Arc<Launcher>, Threads)>> {
    if config.launcher.is_empty() {
        return Ok(None);
    }
    let mut environment = vec![("PARES_GROUP", config.group.clone().into())];
    environment.extend(config.directory.iter().map(|path| ("PARES_DIR", path.clone().into_os_string())));
    // Not the one that is made from the group: an instance of it that is told a port is on 127.0.0.1.
    if let Transport::Local(Some(port)) = config.transport {
        environment.push(("PARES_PORT", port.to_string().into()));
    }
    let launcher = Launcher::new(config.launcher.clone(), environment)?;
    let threads = Threads::default();
    threads.spawn("pares-launch", SMALL_STACK, {
        let launcher = launcher.clone();
        move || launcher.run()
    })?;
    Ok(Some((launcher, threads)))
}

/// Random numbers from the system.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // It has worked before. What is left differs from process to process.
        Err(_) => clock::monotonic_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id()),
    }
}
