//! A port under a flood of silent connections, in a world of its own: which are admitted, which
//! make room, and how long honest clients wait.
//!
//! The promise: a client that speaks in time is not sent away while there is a silent one to send
//! away, nor is a busy client; and up to some 50,000 silent connections a second hold up no client
//! for longer than a silent one is tolerated.

use std::collections::{BTreeMap, VecDeque};

use super::random::Random;
use crate::config::MAX_PENDING;
use crate::state::admission::{Admission, OPENED_PATIENCE, SILENT_PATIENCE};
use crate::state::{ConnId, Time};

const STEP: Time = Time::from_micros(250);
const STEPS: u32 = 1_000;

/// A connection in its handshake.
#[derive(Clone, Debug)]
struct Comer {
    came: Time,
    /// When it says its first word, and when the handshake is over; `None` if never.
    speaks: Option<Time>,
    ends: Option<Time>,
}

/// Since when a client has been idle.
type Client = Option<u64>;

struct Port {
    random: Random,
    now: Time,
    admission: Admission<Comer, Client>,
    max_clients: usize,
    /// Those that the kernel has taken and nobody has accepted.
    queue: VecDeque<Comer>,
    handshakes: BTreeMap<ConnId, Comer>,
    /// The longest that one that means it waited to be accepted.
    longest: Time,
    let_in: u64,
    sent_away: u64,
    replaced: u64,
}

impl Port {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let max_clients = 1 + random.below(64);
        Port {
            random,
            now: Time::ZERO,
            admission: Admission::new(max_clients),
            max_clients,
            queue: VecDeque::new(),
            handshakes: BTreeMap::new(),
            longest: Time::ZERO,
            let_in: 0,
            sent_away: 0,
            replaced: 0,
        }
    }

    /// So many silent ones come in each step, and now and then one that means it.
    fn step(&mut self, silent: usize) {
        self.now += STEP;
        let came = self.now;
        let stranger = Comer { came, speaks: None, ends: None };
        self.queue.extend(std::iter::repeat_n(stranger, silent));
        if self.random.one_in(8) {
            let speaks = came + self.random.time(13);
            let ends = Some(speaks + self.random.time(13));
            self.queue.push_back(Comer { came, speaks: Some(speaks), ends });
        }
        self.take_in();
        self.listen();
        assert!(self.admission.pending().count() <= MAX_PENDING);
        assert!(self.admission.clients().count() <= self.max_clients);
    }

    fn take_in(&mut self) {
        while let Some(comer) = self.queue.pop_front() {
            if self.admission.is_full() && !self.make_way() {
                return self.queue.push_front(comer);
            }
            if comer.speaks.is_some() {
                self.longest = self.longest.max(self.now - comer.came);
            }
            let conn = self.admission.begin(self.now, comer.clone());
            if comer.speaks.is_some() {
                self.handshakes.insert(conn, comer);
            }
        }
    }

    fn make_way(&mut self) -> bool {
        let now = self.now;
        let has_spoken = |comer: &Comer| comer.speaks.is_some_and(|speaks| speaks <= now);
        let Some(gone) = self.admission.make_way(now, has_spoken) else { return false };
        let in_time = gone.speaks.is_some_and(|speaks| speaks <= gone.came + SILENT_PATIENCE);
        let patient = now >= gone.came + OPENED_PATIENCE;
        assert!(!in_time || patient, "sent away though it spoke: {gone:?} at {now:?}");
        self.sent_away += 1;
        true
    }

    /// Hears who has spoken, and makes clients of those whose handshake is over.
    fn listen(&mut self) {
        let pending: Vec<(ConnId, Comer)> =
            self.handshakes.iter().map(|(&conn, comer)| (conn, comer.clone())).collect();
        for (conn, comer) in pending {
            if comer.speaks.is_none_or(|speaks| speaks > self.now) {
                continue;
            }
            self.admission.opened(conn);
            if comer.ends.is_none_or(|ends| ends > self.now) {
                continue;
            }
            self.handshakes.remove(&conn);
            let client = self.random.one_in(2).then_some(self.now.as_nanos() as u64);
            match self.admission.promote(conn, client, |since| *since) {
                Ok(None) => self.let_in += 1,
                Ok(Some(replaced)) => {
                    assert!(replaced.is_some(), "a busy client had to make room");
                    (self.let_in, self.replaced) = (self.let_in + 1, self.replaced + 1);
                }
                // All are busy: it is told to come back, and one of them has finished by then.
                Err(_) => self.admission.end(self.random.next() % (conn + 1)),
            }
        }
    }
}

#[test]
fn a_flood_of_silent_connections_keeps_nobody_out_who_means_it() {
    let (mut sent_away, mut replaced) = (0, 0);
    for seed in 0..16 {
        let mut port = Port::new(seed);
        // Up to 48,000 in a second.
        let silent = port.random.below(13);
        (0..STEPS).for_each(|_| port.step(silent));
        assert!(port.longest <= SILENT_PATIENCE, "seed {seed}: waited for {:?}", port.longest);
        assert!(port.let_in > 0, "seed {seed}");
        (sent_away, replaced) = (sent_away + port.sent_away, replaced + port.replaced);
        port.admission.close();
        assert!(port.admission.is_closed());
    }
    assert!(sent_away > 0 && replaced > 0, "the worlds are too poor");
}
