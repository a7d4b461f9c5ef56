//! Many short lives of a shared listener: acceptors and desks die, stand still, drain and come back
//! at any point, and messages take their time. The desk is the product's decisions; the sockets,
//! threads and the order of things are this file's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::state::sim::random::Random;
use crate::state::sim::seeds::run_seeds;

const US: Time = Time::from_micros(1);

/// Longer than any messages to and fro, and any word that is on its way already, take here.
const MESSAGES: Time = Time::from_millis(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    /// A thread of an acceptor comes to accept, or comes back from a connection.
    Comes(usize),
    /// The program stops accepting on one thread without a connection: its wait was limited.
    GivesUp(usize),
    ToDesk(ConnId, u64),
    ToAcceptor(ConnId, u64),
    /// The time that the desk waits for.
    Due,
    Freezes(usize),
    Thaws(usize),
    Dies(usize),
    Joins,
    Drains(usize),
    DeskDies,
    Reconnects(usize),
}

impl Event {
    fn is_under_way(self) -> bool {
        matches!(self, Event::ToDesk(..) | Event::ToAcceptor(..) | Event::Reconnects(_))
    }
}

struct Process {
    conn: ConnId,
    terms: Terms,
    inside: u32,
    /// Of this connection to a desk.
    spent: u64,
    in_all: u64,
    taken: u64,
    open: u32,
    is_frozen: bool,
    is_draining: bool,
    is_linked: bool,
    /// What has come to it and is not read: it reads only while a thread is inside.
    unread: VecDeque<u64>,
    /// When its last report arrives: they come in order.
    reported: Time,
}

impl Process {
    fn can_work(&self) -> bool {
        !self.is_frozen && !self.is_draining
    }
}

struct World {
    now: Time,
    events: BTreeSet<(Time, u64, Event)>,
    number: u64,
    random: Random,
    queue: u32,
    arrived: u64,
    processes: BTreeMap<usize, Process>,
    turns: Turns,
    /// What has come to the desk, and is read when it wakes.
    inbox: BTreeMap<ConnId, VecDeque<Report>>,
    sent: BTreeMap<u64, Report>,
    /// How many words, and ways to a desk, have not come to their end.
    under_way: usize,
    next_conn: ConnId,
    policy: Policy,
    /// Since when connections wait, although somebody could accept, and nothing has changed that.
    starving_since: Option<Time>,
    story: Option<Vec<String>>,
}

impl World {
    fn new(seed: u64, tells: bool) -> Self {
        let mut random = Random(seed);
        let policy = [Policy::Even, Policy::Connections, Policy::Standby][random.below(3)];
        let mut world = World {
            now: Time::from_secs(10),
            events: BTreeSet::new(),
            number: 0,
            random,
            queue: 0,
            arrived: 0,
            processes: BTreeMap::new(),
            turns: Turns::default(),
            inbox: BTreeMap::new(),
            sent: BTreeMap::new(),
            under_way: 0,
            next_conn: 1,
            policy,
            starving_since: None,
            story: tells.then(Vec::new),
        };
        for _ in 0..=world.random.below(4) {
            world.join();
        }
        for _ in 0..world.random.below(200) {
            let at = world.random.time(18);
            world.after(at, Event::Arrives);
        }
        for _ in 0..world.random.below(12) {
            let at = world.random.time(18);
            let who = world.random.below(6);
            let event = match world.random.below(7) {
                0 => Event::Freezes(who),
                1 => Event::Dies(who),
                2 => Event::Joins,
                3 => Event::Drains(who),
                4 => Event::DeskDies,
                _ => Event::GivesUp(who),
            };
            world.after(at, event);
        }
        world
    }

    fn after(&mut self, delay: Time, event: Event) {
        self.under_way += usize::from(event.is_under_way());
        self.number += 1;
        self.events.insert((self.now + delay, self.number, event));
    }

    fn soon(&mut self, event: Event) {
        let delay = self.random.time(9) + US;
        self.after(delay, event);
    }

    fn join(&mut self) {
        let who = self.processes.keys().next_back().map_or(0, |last| last + 1);
        let terms = Terms {
            weight: 1 + self.random.below(3) as u16,
            policy: self.policy,
            capacity: 1 + self.random.below(4) as u32,
        };
        let process = Process {
            conn: 0,
            terms,
            inside: 0,
            spent: 0,
            in_all: 0,
            taken: 0,
            open: 0,
            is_frozen: false,
            is_draining: false,
            is_linked: false,
            unread: VecDeque::new(),
            reported: Time::ZERO,
        };
        self.processes.insert(who, process);
        self.soon(Event::Reconnects(who));
        for _ in 0..=self.random.below(3) {
            self.soon(Event::Comes(who));
        }
    }

    /// Runs the world to its end, and looks at it after each step.
    fn run(mut self) -> Vec<String> {
        while let Some((at, _, event)) = self.events.pop_first() {
            self.now = at;
            self.under_way -= usize::from(event.is_under_way());
            if let Some(story) = &mut self.story {
                let line = format!("{at:?} {event:?}: {} waiting, {:?}", self.queue, self.turns);
                println!("{line}");
                story.push(line);
            }
            self.check_that_nobody_starves();
            let before = self.queue;
            self.on(event);
            self.note_starving(event, before);
            let known = self.turns.acceptors().map(|one| one.room()).sum::<u64>();
            assert!(self.turns.out() <= known, "{} turns out, room for {known}", self.turns.out());
            if self.is_quiet() {
                self.check_that_nothing_waits();
                self.check_that_all_are_heard();
            }
        }
        let serves = |one: &Process| one.inside > 0 && !one.is_draining;
        if self.processes.values().any(serves) {
            assert_eq!(self.queue, 0, "connections wait for ever");
        }
        let taken: u64 = self.processes.values().map(|one| one.taken).sum();
        assert!(taken + u64::from(self.queue) <= self.arrived);
        self.story.unwrap_or_default()
    }

    /// Nothing is on its way, and nobody is late.
    fn is_quiet(&self) -> bool {
        self.under_way == 0 && self.processes.values().all(|one| one.is_linked && !one.is_frozen)
    }

    /// However many stand still with a turn, one after the other: each costs a lapse, no more.
    fn check_that_nobody_starves(&self) {
        let Some(since) = self.starving_since else { return };
        let frozen = self.processes.values().filter(|one| one.is_frozen).count() as u32;
        let (waited, longest) = (self.now - since, LAPSE * frozen + MESSAGES);
        assert!(waited <= longest, "{} wait for {waited:?}, {frozen} stand still", self.queue);
    }

    fn note_starving(&mut self, event: Event, before: u32) {
        use Event::{Arrives, Due, ToAcceptor, ToDesk};
        let changes = !matches!(event, Arrives | Due | ToAcceptor(..) | ToDesk(..));
        let could = |one: &Process| one.inside > 0 && one.is_linked && one.can_work();
        if self.queue == 0 || !self.processes.values().any(could) {
            self.starving_since = None;
        } else if changes || self.queue < before || self.starving_since.is_none() {
            self.starving_since = Some(self.now);
        }
    }

    fn check_that_nothing_waits(&self) {
        let idle = |one: &&Process| one.inside > 0 && !one.is_draining;
        let idle = self.processes.values().filter(idle).count();
        assert!(self.queue == 0 || idle == 0, "{} wait, {idle} have room", self.queue);
    }

    /// Whoever stood still has its turns again soon after it moves, although others were quicker
    /// all the time and it has nothing of its own to say.
    fn check_that_all_are_heard(&self) {
        for one in self.processes.values().filter(|one| one.inside > 0 && !one.is_draining) {
            let has_spoken = self.inbox.get(&one.conn).is_some_and(|inbox| !inbox.is_empty());
            let known = self.turns.acceptors.get(&one.conn).expect("it is linked");
            assert!(has_spoken || !known.has_lapsed, "{} is forgotten", known.name);
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Arrives => {
                self.arrived += 1;
                self.queue += 1;
                self.wake_desk();
            }
            Event::Comes(who) => {
                let Some(one) = self.processes.get_mut(&who) else { return };
                if one.is_draining {
                    return;
                }
                one.inside += 1;
                self.report(who);
            }
            Event::GivesUp(who) => {
                let Some(one) = self.processes.get_mut(&who) else { return };
                if one.inside > 0 && !one.is_frozen {
                    one.inside -= 1;
                    self.report(who);
                    self.soon(Event::Comes(who));
                }
            }
            Event::ToDesk(conn, number) => {
                let report = self.sent.remove(&number).expect("it was sent");
                if let Some(inbox) = self.inbox.get_mut(&conn) {
                    inbox.push_back(report);
                    if self.turns.is_short() {
                        self.wake_desk();
                    }
                }
            }
            Event::ToAcceptor(conn, in_all) => {
                let to = self.processes.values_mut().find(|one| one.conn == conn);
                to.into_iter().for_each(|one| one.unread.push_back(in_all));
            }
            Event::Due => self.wake_desk(),
            Event::Freezes(who) => {
                // One of them, or all others.
                let (is_one, most) =
                    (self.random.below(2) == 0, LAPSE * self.random.below(6) as u32);
                let all: Vec<usize> = self.processes.keys().copied().collect();
                for stands_still in all.into_iter().filter(|one| (*one == who) == is_one) {
                    let one = self.processes.get_mut(&stands_still).expect("it lives");
                    one.is_frozen = true;
                    let time = self.random.time(18) + most;
                    self.after(time, Event::Thaws(stands_still));
                }
            }
            Event::Thaws(who) => {
                self.processes.get_mut(&who).into_iter().for_each(|one| one.is_frozen = false);
            }
            Event::Dies(who) => {
                if let Some(dead) = self.processes.remove(&who) {
                    self.inbox.remove(&dead.conn);
                    self.turns.leave(dead.conn);
                    self.wake_desk();
                }
            }
            Event::Joins => self.join(),
            Event::Drains(who) => {
                if let Some(one) = self.processes.get_mut(&who) {
                    one.is_draining = true;
                    one.inside = 0;
                    let conn = one.conn;
                    self.turns.drain(conn);
                    self.wake_desk();
                }
            }
            Event::DeskDies => self.replace_desk(),
            Event::Reconnects(who) => self.link(who),
        }
        let working: Vec<usize> = self.processes.keys().copied().collect();
        working.into_iter().for_each(|who| self.work(who));
    }

    /// The supervisor dies, and another instance opens a desk.
    fn replace_desk(&mut self) {
        self.turns = Turns::default();
        self.inbox.clear();
        let survivors: Vec<usize> = self.processes.keys().copied().collect();
        for who in survivors {
            self.processes.get_mut(&who).into_iter().for_each(|one| one.is_linked = false);
            self.soon(Event::Reconnects(who));
        }
    }

    fn link(&mut self, who: usize) {
        let conn = self.next_conn;
        let Some(one) = self.processes.get_mut(&who).filter(|one| !one.is_linked) else { return };
        self.next_conn += 1;
        one.unread.clear();
        (one.in_all, one.spent) = (one.in_all - one.spent, 0);
        (one.conn, one.is_linked) = (conn, true);
        let (terms, unspent, is_draining) = (one.terms, one.in_all, one.is_draining);
        self.turns.enter(conn, who.to_string(), terms, unspent);
        if is_draining {
            self.turns.drain(conn);
        }
        self.inbox.insert(conn, VecDeque::new());
        self.report(who);
    }

    fn report(&mut self, who: usize) {
        let delay = self.random.time(8) + US;
        let one = self.processes.get_mut(&who).expect("it lives");
        if !one.is_linked {
            return;
        }
        one.reported = (self.now + delay).max(one.reported + US);
        let report =
            Report { spent: one.spent, ready: one.inside, open: one.open, taken: one.taken };
        let (conn, number, delay) = (one.conn, self.number, one.reported - self.now);
        self.number += 1;
        self.sent.insert(number, report);
        self.after(delay, Event::ToDesk(conn, number));
    }

    /// What the desk's thread does whenever it wakes.
    fn wake_desk(&mut self) {
        self.turns.look(self.queue);
        if self.turns.is_short() {
            for (conn, inbox) in &mut self.inbox {
                for report in inbox.drain(..) {
                    assert!(self.turns.report(*conn, report), "an honest report is refused");
                }
            }
        }
        let in_all = |turns: &Turns| turns.acceptors().map(|one| one.given).sum::<u64>();
        let before = in_all(&self.turns);
        let given = self.turns.deal(self.now);
        let (out, most) = (self.turns.out(), u64::from(self.queue) + 1);
        let gave_one = in_all(&self.turns) > before;
        assert!(!gave_one || out <= most, "{out} turns out after one was given");
        for Given { to, in_all } in given {
            self.soon(Event::ToAcceptor(to, in_all));
        }
        if let Some(at) = self.turns.wake_at() {
            self.after(at.saturating_sub(self.now), Event::Due);
        }
    }

    /// What an acceptor's threads do: read what the desk said, and accept if they may.
    fn work(&mut self, who: usize) {
        loop {
            let one = self.processes.get_mut(&who).expect("it lives");
            if !one.can_work() || one.inside == 0 {
                return;
            }
            let mut is_asked = false;
            for in_all in one.unread.drain(..) {
                is_asked |= in_all <= one.in_all;
                one.in_all = one.in_all.max(in_all);
            }
            if is_asked {
                self.report(who);
            }
            let one = self.processes.get_mut(&who).expect("it lives");
            if one.spent >= one.in_all || self.queue == 0 {
                return;
            }
            one.spent += 1;
            one.taken += 1;
            one.open += 1;
            one.inside -= 1;
            self.queue -= 1;
            self.report(who);
            let busy = self.random.time(14);
            self.after(busy, Event::Comes(who));
        }
    }
}

/// Goal: whatever dies, stands still or gives up, and whenever, no connection waits while an
/// acceptor has room, and no more turns are out than there may be. Method: thousands of worlds;
/// 2,000 seeds, or as many as `PARES_SIM_SEEDS` says.
#[test]
fn no_connection_waits_while_an_acceptor_has_room_whatever_dies() {
    run_seeds(2_000, "while_an_acceptor_has_room", |seed, tells| {
        World::new(seed, tells).run();
    });
}
