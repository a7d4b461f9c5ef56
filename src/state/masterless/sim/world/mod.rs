//! The world: true time, the network, its processes, and their measurements.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::config::masterless::Need;
use crate::event::masterless::{EventKind, RoleCause, Token};
use crate::state::masterless::{Action, Entropy, Input, Machine, Millis, Rules};
use crate::state::sim::random::Random;
use crate::wire::PeerId;
use crate::wire::heartbeat::{Heartbeat, Status};

mod network;
mod profile;

pub(super) use profile::*;

/// Clocks and true time begin here: nothing is ever as old as the beginning.
const BEGIN: Millis = 1_000_000;

pub(super) type Who = usize;

/// How a process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its clock goes on.
    Visible,
    /// So does nothing, not even its clock.
    Frozen,
}

pub(super) struct Process {
    pub(super) machine: Machine,
    pub(super) rules: Rules,
    started: Millis,
    /// The clock's rate in millionths, and how much it is behind true time.
    rate: i64,
    behind: Millis,
    pub(super) alive: bool,
    pause: Option<(Pause, Millis)>,
    inbox: VecDeque<Heartbeat>,
    /// Only the youngest wake-up counts.
    wake: u64,
    /// How long the program needs to hand over; never, if `None`.
    pub(super) drain: Option<Millis>,
    /// Its program runs a job while it is primary, which takes as long to end.
    pub(super) works: bool,
    /// Under which it is primary.
    token: Option<Token>,
    /// The job runs.
    pub(super) working: bool,
    pub(super) part: u8,
    pub(super) deaf: bool,
    pub(super) mute: bool,
    /// Nothing that it sends is taken by its own system, which says so. A link that is down is
    /// this, and to be deaf.
    pub(super) refused: bool,
    /// Of a hundred heartbeats so many are not taken.
    pub(super) flaky: u64,
    /// When its last heartbeat went out, by its clock.
    pub(super) got_out: Millis,
    failing: bool,
    pub(super) news: Vec<(Millis, EventKind)>,
    /// After so many more heartbeats it is killed, before the last of them goes out.
    pub(super) dies_after: Option<u32>,
}

impl Process {
    pub(super) fn is_running(&self) -> bool {
        self.alive && self.pause.is_none()
    }

    pub(super) fn is_primary(&self) -> bool {
        self.machine.status() == Status::Primary
    }

    pub(super) fn clock(&self, now: Millis) -> Millis {
        let passed = (now - self.started - self.behind) as i64;
        self.started + (passed + passed * self.rate / 1_000_000) as Millis
    }

    /// The true time at which its clock shows `moment`, or a little later.
    fn when(&self, moment: Millis, now: Millis) -> Millis {
        let left = moment.saturating_sub(self.clock(now)) as i64;
        now + (left - left * self.rate / 1_000_000).max(0) as Millis
    }

    pub(super) fn could_lead(&self) -> bool {
        self.machine.id().rank() < 255 && !self.rules.observe
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Deliver { to: Who, letter: u64 },
    Wake { who: Who, wake: u64 },
    Resume { who: Who },
    Work { who: Who },
    HandOver { who: Who },
    Start { nonce: u32, service: u16, part: u8 },
}

/// Two primaries of one type at once that could hear one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlap {
    pub(super) from: Millis,
    pub(super) to: Millis,
}

/// One process became primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acquisition {
    pub(super) at: Millis,
    pub(super) who: Who,
    pub(super) cause: RoleCause,
    pub(super) token: Token,
}

pub(super) struct World {
    pub(super) now: Millis,
    pub(super) story: bool,
    pub(super) random: Random,
    pub(super) profile: Profile,
    pub(super) processes: Vec<Process>,
    /// Directed links that lose everything.
    pub(super) cut: BTreeSet<(Who, Who)>,
    /// Which of the next heartbeats on their way from one to another are lost: a bit for each, and
    /// how many bits there are.
    pub(super) losses: (u64, u32),
    /// Of a hundred heartbeats so many come twice.
    pub(super) twice: u64,
    /// Whether clocks run apart, by up to a hundredth.
    pub(super) drift: bool,
    /// What comes of an order to start a process.
    pub(super) starts_fail: bool,
    pub(super) need: Vec<Need>,
    queue: BinaryHeap<Reverse<(Millis, u64, What)>>,
    letters: BTreeMap<u64, (Heartbeat, u32)>,
    next: u64,
    /// Something has changed that is measured.
    pub(super) changed: bool,
    pub(super) overlapping: BTreeMap<u16, Millis>,
    pub(super) overlaps: Vec<Overlap>,
    pub(super) headless: BTreeMap<u16, Millis>,
    pub(super) longest_gap: Millis,
    pub(super) acquisitions: Vec<Acquisition>,
    tokens: BTreeSet<(u64, PeerId)>,
    pub(super) starts: Vec<(Millis, u16, u32)>,
    pub(super) sent: u64,
    /// What passes on the network, for those who play it again.
    pub(super) heard: Option<Vec<Heartbeat>>,
    /// When something came from one to another, for those who want to know how long nothing did.
    pub(super) came: Option<BTreeMap<(Who, Who), Vec<Millis>>>,
}

impl World {
    pub(super) fn new(seed: u64, profile: Profile) -> Self {
        World {
            now: BEGIN,
            story: std::env::var_os("PARES_SIM_SEED").is_some(),
            random: Random(seed),
            profile,
            processes: Vec::new(),
            cut: BTreeSet::new(),
            losses: (0, 0),
            twice: 0,
            drift: false,
            starts_fail: false,
            need: Vec::new(),
            queue: BinaryHeap::new(),
            letters: BTreeMap::new(),
            next: 0,
            changed: false,
            overlapping: BTreeMap::new(),
            overlaps: Vec::new(),
            headless: BTreeMap::new(),
            longest_gap: 0,
            acquisitions: Vec::new(),
            tokens: BTreeSet::new(),
            starts: Vec::new(),
            sent: 0,
            heard: None,
            came: None,
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules { needs: self.need.clone(), ..self.profile.rules() }
    }

    pub(super) fn start(&mut self, rules: Rules) -> Who {
        let seed = self.random.next();
        self.start_with(rules, seed)
    }

    /// With the same seed, two processes draw the same numbers.
    pub(super) fn start_with(&mut self, rules: Rules, seed: u64) -> Who {
        let mut chance = Random(seed);
        self.start_drawing(rules, Box::new(move || chance.next()))
    }

    /// One that cannot send, not even its first word.
    pub(super) fn start_refused(&mut self, rules: Rules) -> Who {
        let mut chance = Random(self.random.next());
        self.begin(rules, Box::new(move || chance.next()), true)
    }

    pub(super) fn start_drawing(&mut self, rules: Rules, entropy: Entropy) -> Who {
        self.begin(rules, entropy, false)
    }

    fn begin(&mut self, rules: Rules, entropy: Entropy, refused: bool) -> Who {
        let who = self.processes.len();
        let rate = if self.drift { self.random.below(20_001) as i64 - 10_000 } else { 0 };
        let mut out = Vec::new();
        let machine = Machine::new(rules.clone(), self.now, entropy, &mut out);
        tell!(
            self,
            "{who} starts as {} of type {}, rank {}",
            machine.id().tail(),
            rules.service,
            rules.rank
        );
        self.processes.push(Process {
            machine,
            rules,
            started: self.now,
            rate,
            behind: 0,
            alive: true,
            pause: None,
            inbox: VecDeque::new(),
            wake: 0,
            drain: Some(0),
            works: false,
            token: None,
            working: false,
            part: 0,
            deaf: false,
            mute: false,
            refused,
            flaky: 0,
            got_out: self.now,
            failing: false,
            news: Vec::new(),
            dies_after: None,
        });
        self.carry_out(who, self.now, out);
        who
    }

    fn later(&mut self, at: Millis, what: What) {
        self.next += 1;
        self.queue.push(Reverse((at, self.next, what)));
    }

    pub(super) fn run_for(&mut self, time: Millis) {
        self.run_until(self.now + time);
    }

    pub(super) fn run_until(&mut self, end: Millis) {
        while let Some(Reverse((at, _, what))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            self.happen(what);
        }
        self.now = end;
        self.measure();
    }

    /// Runs until `done`, or for `most`. Also says whether it was done.
    pub(super) fn run_while(
        &mut self,
        most: Millis,
        mut going: impl FnMut(&World) -> bool,
    ) -> bool {
        let end = self.now + most;
        while going(self) {
            let Some(Reverse((at, _, what))) = self.queue.peek().copied() else { return false };
            if at > end {
                self.now = end;
                return false;
            }
            self.queue.pop();
            self.now = at;
            self.happen(what);
        }
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Deliver { to, letter } => {
                let beat = self.open(letter);
                let process = &mut self.processes[to];
                if !process.alive {
                    return;
                }
                process.inbox.push_back(beat);
                if process.pause.is_none() {
                    self.read(to);
                }
            }
            What::Wake { who, wake } => {
                let process = &self.processes[who];
                if process.is_running() && process.wake == wake {
                    self.step(who, Input::Tick);
                }
            }
            What::Resume { who } => self.resume(who),
            What::HandOver { who } => {
                if self.processes[who].is_running() {
                    self.end_job(who);
                    self.step(who, Input::HandoverReady);
                }
            }
            What::Work { who } => self.begin_job(who),
            What::Start { nonce, service, part } => {
                let rules = Rules { service, origin: nonce, can_start: true, ..self.rules() };
                let who = self.start(rules);
                self.processes[who].part = part;
            }
        }
        self.measure();
    }

    fn open(&mut self, letter: u64) -> Heartbeat {
        let (beat, copies) = self.letters.get_mut(&letter).expect("a letter that was sent");
        let beat = *beat;
        *copies -= 1;
        if *copies == 0 {
            self.letters.remove(&letter);
        }
        beat
    }

    fn read(&mut self, who: Who) {
        while let Some(beat) = self.processes[who].inbox.pop_front() {
            if !self.processes[who].alive {
                return;
            }
            self.step(who, Input::Heard(beat));
        }
        let process = &self.processes[who];
        if process.alive && process.clock(self.now) >= process.machine.wake_at() {
            self.step(who, Input::Tick);
        }
    }

    pub(super) fn step(&mut self, who: Who, event: Input) {
        let process = &self.processes[who];
        if let (Input::Leave, true, Some(drain)) = (&event, process.working, process.drain) {
            self.later(self.now + drain, What::HandOver { who });
        }
        self.step_at(who, self.now, event);
    }

    fn step_at(&mut self, who: Who, moment: Millis, event: Input) {
        let mut out = Vec::new();
        let looks = matches!(event, Input::Tick);
        let process = &mut self.processes[who];
        process.machine.step(process.clock(moment), event, &mut out);
        process.machine.check();
        let token = process.machine.token();
        let before = std::mem::replace(&mut process.token, token);
        assert!(token.is_none() || token >= before, "the token of {who} became smaller");
        self.carry_out(who, moment, out);
        self.check_lease(who, moment, looks);
    }

    fn carry_out(&mut self, who: Who, moment: Millis, actions: Vec<Action>) {
        let mut taken = None;
        let mut said = Vec::new();
        for action in actions {
            match action {
                Action::Send { beat, until } => {
                    said.extend(
                        beat.starts.iter().filter(|start| start.started).map(|start| start.nonce),
                    );
                    if let Some(left) = &mut self.processes[who].dies_after {
                        if *left == 0 {
                            self.kill(who);
                            return;
                        }
                        *left -= 1;
                    }
                    taken = Some(self.takes(who, moment, until));
                    if taken == Some(true) {
                        self.send(who, beat);
                    }
                }
                Action::Flush => self.processes[who].inbox.clear(),
                Action::Tell(kind) => {
                    if let EventKind::Spawn { nonce, .. } = &kind {
                        assert!(said.contains(nonce), "what it starts is not known if it dies now");
                    }
                    self.told(who, kind);
                }
                Action::Exit => {
                    tell!(self, "{who} has left");
                    self.processes[who].alive = false;
                    self.changed = true;
                    return;
                }
            }
        }
        let failed = std::mem::replace(&mut self.processes[who].failing, taken == Some(false));
        match taken {
            Some(false) => return self.step_at(who, moment, Input::NotSent { errno: 101 }),
            Some(true) if failed => return self.step_at(who, moment, Input::Sent),
            Some(true) => {}
            None => self.processes[who].failing = failed,
        }
        let process = &mut self.processes[who];
        process.wake += 1;
        let (wake, at) =
            (process.wake, process.when(process.machine.wake_at(), self.now).max(self.now + 1));
        self.later(at, What::Wake { who, wake });
    }

    pub(super) fn begin_job(&mut self, who: Who) {
        let now = self.now;
        let process = &mut self.processes[who];
        if !process.is_running() || !process.works || process.working || !process.is_primary() {
            return;
        }
        let clock = process.clock(now);
        process.working = process.machine.begin_job(clock).is_some();
        if !process.working {
            self.later(now + H / 8, What::Work { who });
        }
    }

    fn end_job(&mut self, who: Who) {
        let process = &mut self.processes[who];
        if std::mem::take(&mut process.working) {
            process.machine.end_job();
            // One that was told to end, for a handover that then fails, begins again.
            self.later(self.now + H / 2, What::Work { who });
        }
    }

    fn told(&mut self, who: Who, kind: EventKind) {
        tell!(self, "{who}: {kind:?}");
        let process = &self.processes[who];
        match &kind {
            EventKind::Role { to: Status::Primary, .. } => {
                self.later(self.now + 1, What::Work { who });
            }
            EventKind::Role { cause, .. } if process.working => {
                assert_ne!(*cause, RoleCause::HandedOver, "{who} handed over while its job ran");
                let drain = process.drain.unwrap_or(2 * H);
                self.later(self.now + drain, What::HandOver { who });
            }
            _ => {}
        }
        self.changed |= matches!(kind, EventKind::Role { .. });
        match &kind {
            EventKind::Role { to: Status::Primary, cause, token: Some(token), .. } => {
                assert!(self.tokens.insert((token.epoch, token.id)), "{token} was issued before");
                let acquisition = Acquisition { at: self.now, who, cause: *cause, token: *token };
                self.acquisitions.push(acquisition);
            }
            EventKind::EpochBump { token } => {
                assert!(self.tokens.insert((token.epoch, token.id)), "{token} was issued before");
            }
            EventKind::PrepareHandover { .. } => {
                if let Some(drain) = self.processes[who].drain {
                    self.later(self.now + drain, What::HandOver { who });
                }
            }
            EventKind::Spawn { service, nonce } => {
                self.starts.push((self.now, *service, *nonce));
                if !self.starts_fail {
                    let part = self.processes[who].part;
                    self.later(
                        self.now + H / 2,
                        What::Start { nonce: *nonce, service: *service, part },
                    );
                }
            }
            _ => {}
        }
        self.check_suspected(who, &kind);
        let now = self.now;
        self.processes[who].news.push((now, kind));
    }
}
