//! The simulated world: its parts, and how it goes on.

use super::*;

pub(super) struct World {
    pub(super) family: Family,
    pub(super) random: Random,
    pub(super) now: Time,
    pub(super) plan: BinaryHeap<Reverse<(Time, u64, What)>>,
    pub(super) planned: u64,
    pub(super) instances: Vec<Instance>,
    pub(super) links: Vec<Link>,
    /// Who is bound, and whether it listens.
    pub(super) port: Option<(Who, bool)>,
    pub(super) store: Store,
    /// Whether a reset loses what the other end has not read.
    pub(super) lossy: bool,
    /// How many names there are.
    pub(super) names: usize,
    /// Of so many names only the first may supervise, and so on.
    pub(super) shy: usize,
    /// Everybody asks whether the others still answer.
    pub(super) watchful: bool,
    /// Instances start under names that living ones have.
    pub(super) namesakes: bool,
    /// So many instances a supervisor admits, itself included.
    pub(super) max_members: usize,
    pub(super) faults: usize,
    /// The highest term of all supervisorships so far.
    pub(super) highest_term: u64,
    /// A supervisor took a term that was there before, as the directory did not have the last one;
    /// nothing is promised about whom it knows.
    pub(super) astray: bool,
    /// The members of the last supervisorships that lived when it ended, without those back since,
    /// and when that was.
    pub(super) survivors: BTreeMap<Who, Time>,
    /// How often somebody's program is yet to do something.
    pub(super) uses: usize,
    pub(super) questions: Vec<Question>,
    /// Of each message of a member the supervisorship that passed it on, and its number there.
    pub(super) published: Vec<Option<(u64, u64)>>,
    pub(super) supervisorships: u64,
    /// The newest settings that were acknowledged, and that somebody alive has.
    pub(super) acknowledged: Settings,
    /// Permits of the living that do not count, see `sharing.rs`.
    pub(super) void: BTreeSet<(Who, u64)>,
    /// The most that may be held of each resource.
    pub(super) ceilings: [u64; RESOURCES.len()],
    /// The highest limit that each had.
    pub(super) most: [u64; RESOURCES.len()],
    pub(super) watching: Watching,
    pub(super) story: bool,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64, family: Family, story: bool) -> Self {
        let mut random = Random(seed);
        let hasty = family == Family::Hasty;
        let names = match random.one_in(64) {
            true => 17 + random.below(24),
            false => 2 + random.below(if hasty { 4 } else { 11 }),
        };
        let store = Store::new(random.one_in(2));
        let (lossy, faults) = (random.one_in(4), 1 + random.below(10));
        let shy = if random.one_in(4) { 1 + random.below(3) } else { 1 };
        let namesakes = random.one_in(if hasty { 16 } else { 8 });
        let max_members = if random.one_in(if hasty { 16 } else { 8 }) {
            2 + random.below(names)
        } else {
            UNLIMITED
        };
        let watchful = !hasty && random.one_in(8);
        let uses = if random.one_in(3) { 0 } else { random.below(60) };
        let mut world = World {
            family,
            random,
            now: Time::ZERO,
            plan: BinaryHeap::new(),
            planned: 0,
            instances: Vec::new(),
            links: Vec::new(),
            port: None,
            store,
            lossy,
            names,
            shy,
            watchful,
            namesakes,
            max_members,
            faults,
            highest_term: 0,
            astray: false,
            survivors: BTreeMap::new(),
            uses,
            questions: Vec::new(),
            published: Vec::new(),
            supervisorships: 0,
            acknowledged: Settings::default(),
            void: BTreeSet::new(),
            ceilings: [0; RESOURCES.len()],
            most: [0; RESOURCES.len()],
            watching: Watching::new(seed),
            story,
            seen: Seen::default(),
        };
        tell!(
            world,
            "{names} names, {shy} of them to one that may supervise, {:?}, lossy {lossy}, {faults} \
             faults, namesakes {namesakes}, at most {max_members}",
            world.store
        );
        for name in 0..names {
            let delay = world.random.time(16);
            world.at(delay, What::Start(name));
        }
        let delay = world.random.time(20);
        world.at(delay, What::Fault);
        world.at(Time::ZERO, What::Use);
        world.watch_soon();
        if world.store.in_trouble {
            world.soon(What::Trouble);
        }
        world
    }

    pub(super) fn run(mut self) -> Seen {
        for _ in 0..200_000 {
            let Some(Reverse((time, _, what))) = self.plan.pop() else {
                self.check_the_end();
                return self.seen;
            };
            self.now = time;
            self.step(what);
            self.check();
        }
        panic!("no end to it");
    }

    pub(super) fn at(&mut self, delay: Time, what: What) {
        self.planned += 1;
        self.plan.push(Reverse((self.now + delay, self.planned, what)));
    }

    pub(super) fn soon(&mut self, what: What) {
        let delay = self.random.time(12);
        self.at(delay, what);
    }

    pub(super) fn step(&mut self, what: What) {
        match what {
            What::Step(who, turn, _)
                if self.instances[who].turn != turn || !self.instances[who].lives() => {}
            What::Step(who, _, _) if self.stalled(who, what) => {}
            What::Step(who, _, step) => self.go_on(who, step),
            What::Read(link, server) => self.read(link, if server { Server } else { Client }, what),
            What::Close(link, server) => {
                self.close(link, if server { Server } else { Client }, false)
            }
            What::ClosePort(who) => self.close_port(who),
            What::Start(name) => self.start(name),
            What::Fault => self.fault(),
            What::Trouble => self.trouble(),
            What::Part(link, server) => self.part(link, if server { Server } else { Client }, what),
            What::Watch => self.watch(),
            What::Use => self.use_it(),
            What::Arrive(id) => self.arrive(id, what),
            What::Answered(id) => self.answered(id, what),
        }
    }

    /// A stalled instance does later what it was about to do.
    pub(super) fn stalled(&mut self, who: Who, what: What) -> bool {
        let until = self.instances[who].stalled_until;
        if until > self.now {
            self.at(until - self.now, what);
        }
        until > self.now
    }

    pub(super) fn go_on(&mut self, who: Who, step: Step) {
        let instance = &mut self.instances[who];
        match step {
            Step::CarryOut => self.carry_out(who),
            Step::Listen => self.claim(who),
            Step::GiveUpJoining => {
                let Doing::Joining(link) = instance.doing else { return };
                self.seen.silent += 1;
                self.close(link, Client, false);
                self.on(who, Outcome::Obstructed(Obstacle::Silent));
            }
            Step::Wake => {
                let wake_at = instance.desk().and_then(|desk| desk.wake_at);
                if wake_at.is_some_and(|time| time <= self.now) {
                    self.decide(who, Input::Woken);
                }
            }
            Step::Announce => self.announce(who),
            Step::Collect => self.collect(who),
            Step::Look { admin_port } => {
                // What no look can tell does not happen here: who was cut off looks in time.
                let lives =
                    self.instances[who_has(admin_port)].lives() || self.instances[who].was_cut;
                self.seen.looked_after_the_living += u64::from(lives);
                self.seen.looked_after_the_dead += u64::from(!lives);
                self.on(who, Outcome::LookedAfter { lives });
            }
            Step::Found { dead_port } => self.decide(who, Input::Dead { admin_port: dead_port }),
        }
    }
}
