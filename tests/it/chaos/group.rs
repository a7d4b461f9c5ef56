//! All of the workers: who starts, kills, stops and continues them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::now_ns;
use super::written::{Told, Written};
use crate::actors::{Actor, word};
use crate::random::Random;
use crate::support::{Ground, PATIENCE};

pub(super) struct Worker {
    name: String,
    pub(super) other: Actor,
    /// When it is to go on.
    stopped_until: Option<Instant>,
}

fn key_of(place: usize) -> Option<String> {
    (place % 4 == 0).then(|| format!("k{place}"))
}

pub(super) struct Chaos {
    pub(super) ground: Ground,
    pub(super) random: Random,
    pub(super) workers: Vec<Worker>,
    pub(super) started: u64,
    pub(super) told: Told,
    /// When, and by which process id.
    pub(super) killed: BTreeMap<u32, u64>,
    /// Of which term, and when.
    pub(super) killed_supervisors: Vec<(u64, u64)>,
    /// How often one was stopped, and how often that was the supervisor.
    pub(super) stops: (u64, u64),
}

impl Chaos {
    /// So many processes, all of which have joined.
    pub(super) fn start(processes: usize) -> Self {
        let mut chaos = Chaos {
            ground: Ground::new(),
            random: Random(Random::seed()),
            workers: Vec::new(),
            started: 0,
            told: Told::default(),
            killed: BTreeMap::new(),
            killed_supervisors: Vec::new(),
            stops: (0, 0),
        };
        for at in 0..processes {
            let worker = chaos.start_worker(at);
            chaos.workers.push(worker);
        }
        for worker in &chaos.workers {
            let mut line = String::new();
            while word(&line) != Some("joined") {
                line = worker.other.process.line();
                chaos.told.note(&worker.name, &line);
            }
        }
        chaos
    }

    /// One for this place. Every fourth place has a setting, which is its writer's alone and goes
    /// on to the next one there: a setting of its own for each that ever lived would be more than
    /// there may be.
    pub(super) fn start_worker(&mut self, at: usize) -> Worker {
        let name = format!("w{}", self.started);
        let writes = key_of(at).unwrap_or_default();
        self.started += 1;
        let seed = self.random.below(1 << 40).to_string();
        let more = [("WRITES", writes), ("SEED", seed)];
        let other = Actor::start(&self.ground, "worker", &name, &more);
        Worker { name, other, stopped_until: None }
    }

    pub(super) fn listen(&mut self) {
        for worker in &self.workers {
            for line in worker.other.process.lines().try_iter() {
                self.told.note(&worker.name, &line);
            }
        }
    }

    pub(super) fn go_on(&mut self, all: bool) {
        let now = Instant::now();
        for worker in &mut self.workers {
            if worker.stopped_until.is_some_and(|until| all || until <= now) {
                worker.other.process.signal(Signal::CONT);
                worker.stopped_until = None;
            }
        }
    }

    pub(super) fn supervisor(&self) -> Option<usize> {
        self.workers.iter().position(|worker| worker.name == self.told.supervisor.1)
    }

    /// Kills one, and has another take its place.
    pub(super) fn replace(&mut self, at: usize) {
        let Worker { name, other, .. } = self.workers.remove(at);
        let lines = other.process.lines().clone();
        let time = now_ns();
        self.killed.insert(other.process.pid(), time);
        if name == self.told.supervisor.1 {
            self.killed_supervisors.push((self.told.supervisor.0, time));
        }
        other.process.kill();
        // Also what it said last counts.
        lines.iter().for_each(|line| _ = self.told.note(&name, &line));
        key_of(at)
            .and_then(|key| self.told.written.get_mut(&key))
            .into_iter()
            .for_each(Written::end);
        let new = self.start_worker(at);
        self.workers.insert(at, new);
    }

    /// How long nothing was granted after each death of a supervisor, the shortest first.
    pub(super) fn gaps(&self) -> Vec<Duration> {
        let mut gaps: Vec<Duration> = Vec::new();
        for &(term, killed_ns) in &self.killed_supervisors {
            let later =
                self.told.granted.iter().filter(|(of_term, at)| *of_term > term && *at > killed_ns);
            gaps.extend(later.map(|(_, at)| Duration::from_nanos(at - killed_ns)).min());
        }
        gaps.sort_unstable();
        gaps
    }

    /// Kills or stops one of them: every other time the supervisor.
    pub(super) fn strike(&mut self) {
        self.listen();
        let supervisor = self.supervisor();
        let any = self.random.below(self.workers.len() as u64) as usize;
        let at = if self.random.below(2) == 0 { supervisor.unwrap_or(any) } else { any };
        if self.random.below(10) < 4 {
            self.replace(at);
        } else if self.workers[at].stopped_until.is_none() {
            self.workers[at].other.process.signal(Signal::STOP);
            self.workers[at].stopped_until = Some(Instant::now() + self.random.millis(10, 300));
            self.stops = (self.stops.0 + 1, self.stops.1 + u64::from(Some(at) == supervisor));
        }
    }

    /// Waits until some have been given permits since now: nobody may be kept waiting by deaths
    /// that are over.
    #[track_caller]
    pub(super) fn await_work(&mut self) {
        let (deadline, before) = (Instant::now() + PATIENCE, self.told.permits);
        while self.told.permits < before + 20 {
            assert!(Instant::now() < deadline, "nobody is given a permit");
            thread::sleep(Duration::from_millis(1));
            self.go_on(false);
            self.listen();
        }
    }

    /// Waits for the answer of each that begins with `start`; gives them by name.
    #[track_caller]
    pub(super) fn answers(&mut self, start: &str) -> BTreeMap<String, String> {
        let mut answers = BTreeMap::new();
        for worker in &self.workers {
            let answer = loop {
                let line = worker.other.process.line();
                let words = self.told.note(&worker.name, &line);
                if let Some(rest) =
                    words.and_then(|words| words.strip_prefix(start).map(str::to_owned))
                {
                    break rest;
                }
            };
            answers.insert(worker.name.clone(), answer.trim().to_owned());
        }
        answers
    }

    pub(super) fn order(&mut self, order: &str) {
        self.workers.iter_mut().for_each(|worker| worker.other.order(order));
    }
}
