//! The simulator: many instances run the real decisions in a world of one port, slow connections
//! and sudden deaths.
//!
//! Everything follows from one seed: no clock, no thread, no order that differs from run to run.
//! After each step the invariants hold; once nothing happens any more, one instance supervises and
//! all others are with it. A seed that fails is printed with the command that tells its story line
//! by line.
//!
//! What the world grants is what the kernel does: what was written is read, even after the writer's
//! death; a process that dies closes its sockets one after the other, in any order, within a few
//! milliseconds; an end that is closed with unread bytes resets the other one, which on some
//! systems loses what that one had not read either.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::Time;
use super::election::{Deed, Election, Report};
use super::hello::Hello;
use super::member::{Heard, Member, Outcome, Word};
use super::obstacle::Obstacle;
use super::registry::test_entry;
use super::settings::Settings;
use super::subordinate::{Roster, Subordinate};
use super::supervisor::{Before, Cursor, ServerAction as Action, ServerInput as Input, Supervisor};
use crate::config::{ASIDE, HANDSHAKE_TIMEOUT, MAX_UNKNOWN, NEXT_PROBE, WITNESSES};
use crate::wire::{Departure, Entry, Message};
use random::Random;
use sharing::{Question, QuestionId, RESOURCES};
use store::Store;
use watching::Watching;

macro_rules! tell {
    ($world:expr, $($text:tt)*) => { if $world.story { println!("{:>12?}  {}", $world.now, format!($($text)*)); } };
}

mod faults;
mod network;
pub(crate) mod random;
mod seeds;
mod sharing;
mod store;
mod supervising;
mod watching;

const SETTLE: Time = Time::from_millis(500);
const UNLIMITED: usize = 1000;
const JOIN_TIMEOUT: Time = Time::from_secs(10);
/// The most that any of these takes: a process to close all its sockets, a message to be read, a
/// probe.
const SLOWEST: Time = Time::from_millis(33);

type Who = usize;
type LinkId = usize;

fn admin_of(who: Who) -> u16 {
    1000 + who as u16
}

fn who_has(admin: u16) -> Who {
    usize::from(admin) - 1000
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client = 0,
    Server = 1,
}
use End::{Client, Server};

/// One connection. Arrays have the client's end first, then the server's.
struct Link {
    owner: [Who; 2],
    /// Whether this end's process still has it open.
    open: [bool; 2],
    /// Whether this end will see a reset in place of an end.
    reset: [bool; 2],
    /// What this end has not read yet.
    inbox: [VecDeque<Message>; 2],
    /// Whether this end's process is about to read.
    reading: [bool; 2],
    /// How slow its reading is, see [`Random::time`].
    delay: usize,
    /// The supervisorship it belongs to.
    turn: u32,
    hello_read: bool,
    /// It was cut, or closed by a supervisor, while both ends lived.
    cut: bool,
    welcomed: bool,
    cursor: Option<Cursor>,
    /// Messages of members that were meant for the client.
    meant: u64,
    /// Those of them that it got or knows that it missed.
    accounted: u64,
}

enum Doing {
    /// Waits for its present deed to come to something.
    Deed(Deed),
    /// Has bound the port and does not listen yet.
    Binding,
    Joining(LinkId),
    Following(LinkId),
    Supervising(Box<Desk>),
    /// Dead, failed or left.
    Gone,
}

/// What only a supervisor has.
struct Desk {
    supervisor: Supervisor,
    claimed_at: Time,
    settled: bool,
    /// Whom it expected from the beginning; `None` if it did not know.
    knew: Option<BTreeSet<u16>>,
    welcomed: BTreeSet<Who>,
    /// When the last survivor was welcomed, and the last one of all; before that, when it claimed
    /// the port.
    came_back_at: Time,
    came_at: Time,
    announcing: bool,
    /// When its timer is set for.
    wake_at: Option<Time>,
    /// The number of this supervisorship, and of the messages that it passed on.
    number: u64,
    published: u64,
    /// For its own instance, which is about to take it if `collecting`.
    own: VecDeque<Message>,
    collecting: bool,
    /// Questions that wait until the group is settled.
    pending: Vec<QuestionId>,
}

struct Instance {
    entry: Entry,
    may_supervise: bool,
    member: Member,
    doing: Doing,
    /// Grows with each event of the election, so that what was planned before is void.
    turn: u32,
    stalled_until: Time,
    stepped_down: Option<Time>,
    /// After so many actions as a supervisor it is killed, in the middle of the others.
    dies_in: Option<usize>,
    died_at: Time,
    /// Its last lifeline was cut while both ends lived.
    was_cut: bool,
    /// Ever: it has been in a registry.
    registered: bool,
    /// Ever: a supervisor has taken it out of the registry, or settled without it.
    was_gone: bool,
    /// Ever: as if the supervisor had died before it welcomed us, of which there is nothing to tell
    /// it.
    cut_while_joining: bool,
    /// Permits given back, and requests withdrawn.
    given_back: BTreeSet<u64>,
    /// Which supervisorship's message it got last, and the number of that.
    last_delivered: Option<(u64, u64)>,
}

impl Instance {
    fn lives(&self) -> bool {
        !matches!(self.doing, Doing::Gone)
    }

    /// Which of its permits or requests a message decides.
    fn about(message: &Message) -> Option<u64> {
        match message {
            Message::Granted { id } | Message::Denied { id, .. } => Some(*id),
            _ => None,
        }
    }

    fn desk(&mut self) -> Option<&mut Desk> {
        if let Doing::Supervising(desk) = &mut self.doing { Some(desk) } else { None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    CarryOut,
    Listen,
    GiveUpJoining,
    Wake,
    Announce,
    Collect,
    Found { dead_admin: u16 },
    Look { admin: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// An instance goes on, unless it has had another turn since.
    Step(Who, u32, Step),
    Read(LinkId, bool),
    Close(LinkId, bool),
    ClosePort(Who),
    Start(usize),
    Fault,
    Trouble,
    Watch,
    Use,
    Arrive(QuestionId),
    Answered(QuestionId),
}

macro_rules! seen {
    ($($what:ident)*) => {
        /// What happened at all, to know that the world is rich enough.
        #[derive(Debug, Default)]
        struct Seen { $($what: u64,)* }

        impl Seen {
            fn add(&mut self, other: &Seen) {
                $(self.$what += other.$what;)*
            }

            /// What never happened.
            fn missing(&self) -> Vec<&'static str> {
                [$((stringify!($what), self.$what)),*].iter().filter(|seen| seen.1 == 0).map(|seen| seen.0).collect()
            }
        }
    };
}

seen! {
    leaderless term_kept_again term_unkept began_with_an_older_term refused_to_begin
    settled_early waited_on gave_up_on_the_unknown gave_up_on_known_ones inherited_the_unknown raised_term killed_amid_actions reset stepped_down
    found_nobody replaced evicted looked_after_the_living looked_after_the_dead nobody_there closed_at_once silent more_than_witnesses
    granted denied revoked withdrawn void confirmed total over_limit said_while_joining setting_changed setting_lost
    acknowledged conflict asked_too_early died_before_the_answer missed elected_in_doubt
    name_taken refused_a_survivor full looked_up listed
    watch_cut watched_leaving watched_settling watched_election predecessor_told
}

/// What kind of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Anything can happen.
    Plain,
    /// Few instances want the same, its limit goes up and down, connections are cut; supervisors
    /// step down, and their successors die within a millisecond: what in plain worlds is there once
    /// in a million seeds is here much sooner.
    Hasty,
}

struct World {
    family: Family,
    random: Random,
    now: Time,
    plan: BinaryHeap<Reverse<(Time, u64, What)>>,
    planned: u64,
    instances: Vec<Instance>,
    links: Vec<Link>,
    /// Who is bound, and whether it listens.
    port: Option<(Who, bool)>,
    store: Store,
    /// Whether a reset loses what the other end has not read.
    lossy: bool,
    /// How many names there are.
    names: usize,
    /// Of so many names only the first may supervise, and so on.
    shy: usize,
    /// Instances start under names that living ones have.
    namesakes: bool,
    /// So many instances a supervisor admits, itself included.
    max_members: usize,
    faults: usize,
    /// The highest term of all supervisorships so far.
    highest_term: u64,
    /// A supervisor took a term that was there before, as the directory did not have the last one;
    /// nothing is promised about whom it knows.
    astray: bool,
    /// The members of the last supervisorships that lived when it ended, without those back since,
    /// and when that was.
    survivors: BTreeMap<Who, Time>,
    /// How often somebody's program is yet to do something.
    uses: usize,
    questions: Vec<Question>,
    /// Of each message of a member the supervisorship that passed it on, and its number there.
    published: Vec<Option<(u64, u64)>>,
    supervisorships: u64,
    /// The newest settings that were acknowledged, and that somebody alive has.
    acknowledged: Settings,
    /// Permits of the living that do not count, see `sharing.rs`.
    void: BTreeSet<(Who, u64)>,
    /// The most that may be held of each resource.
    ceilings: [u64; RESOURCES.len()],
    /// The highest limit that each had.
    most: [u64; RESOURCES.len()],
    watching: Watching,
    story: bool,
    seen: Seen,
}

impl World {
    fn new(seed: u64, family: Family, story: bool) -> Self {
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

    fn run(mut self) -> Seen {
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

    fn at(&mut self, delay: Time, what: What) {
        self.planned += 1;
        self.plan.push(Reverse((self.now + delay, self.planned, what)));
    }

    fn soon(&mut self, what: What) {
        let delay = self.random.time(12);
        self.at(delay, what);
    }

    fn step(&mut self, what: What) {
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
            What::Watch => self.watch(),
            What::Use => self.use_it(),
            What::Arrive(id) => self.arrive(id, what),
            What::Answered(id) => self.answered(id, what),
        }
    }

    /// A stalled instance does later what it was about to do.
    fn stalled(&mut self, who: Who, what: What) -> bool {
        let until = self.instances[who].stalled_until;
        if until > self.now {
            self.at(until - self.now, what);
        }
        until > self.now
    }

    fn go_on(&mut self, who: Who, step: Step) {
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
            Step::Look { admin } => {
                // What no look can tell does not happen here: who was cut off looks in time.
                let lives = self.instances[who_has(admin)].lives() || self.instances[who].was_cut;
                self.seen.looked_after_the_living += u64::from(lives);
                self.seen.looked_after_the_dead += u64::from(!lives);
                self.on(who, Outcome::LookedAfter { lives });
            }
            Step::Found { dead_admin } => self.decide(who, Input::Dead { admin: dead_admin }),
        }
    }

    fn start(&mut self, name: usize) {
        let may_supervise = name % self.shy == 0;
        let name = format!("m{name}");
        if !self.namesakes && self.has_living(&name) {
            return;
        }
        let who = self.instances.len();
        let seed = self.random.next();
        let entry = test_entry(&name, who as u64 + 1, admin_of(who));
        let election = Election::new(seed, self.now + JOIN_TIMEOUT, may_supervise);
        self.instances.push(Instance {
            member: Member::new(
                entry.clone(),
                election,
                sharing::declared(who),
                SETTLE,
                self.lossy,
            ),
            entry,
            may_supervise,
            doing: Doing::Deed(Deed::Stop),
            turn: 0,
            stalled_until: Time::ZERO,
            stepped_down: None,
            dies_in: None,
            died_at: Time::ZERO,
            was_cut: false,
            registered: false,
            was_gone: false,
            cut_while_joining: false,
            given_back: BTreeSet::new(),
            last_delivered: None,
        });
        tell!(self, "{} starts, admin {}", self.name(who), admin_of(who));
        self.on(who, Outcome::Started);
    }

    /// True if an instance of this name lives.
    fn has_living(&self, name: &str) -> bool {
        self.instances.iter().any(|one| one.lives() && one.entry.name == name)
    }

    fn name(&self, who: Who) -> String {
        format!("{}#{who}", self.instances[who].entry.name)
    }

    /// The last deed of `who` came to `outcome`.
    fn on(&mut self, who: Who, outcome: Outcome) {
        let instance = &mut self.instances[who];
        let (report, deed) = instance.member.on(self.now, outcome.clone());
        instance.turn += 1;
        self.seen.leaderless +=
            u64::from(report == Some(Report::Obstructed(Obstacle::NoSupervisor)));
        tell!(self, "{} {outcome:?} -> {deed:?} {report:?}", self.name(who));
        let instance = &mut self.instances[who];
        let step = What::Step(who, instance.turn, Step::CarryOut);
        if !matches!(deed, Deed::Keep { .. } | Deed::Supervise { .. })
            && matches!(instance.doing, Doing::Binding)
        {
            self.close_port(who);
        }
        match &deed {
            Deed::Keep { term } => return self.keep(who, *term),
            Deed::Supervise { term, .. } => return self.supervise(who, *term),
            Deed::Follow => {
                return assert!(matches!(self.instances[who].doing, Doing::Following(..)));
            }
            Deed::Wait(time) => {
                let time = *time;
                self.at(time, step);
            }
            Deed::LookAfter { admin } => {
                let (look, turn) = (Step::Look { admin: *admin }, self.instances[who].turn);
                self.soon(What::Step(who, turn, look));
            }
            Deed::TryPort | Deed::Connect => self.soon(step),
            Deed::Fail(obstacle) => {
                let expected = match obstacle {
                    Obstacle::Busy | Obstacle::Silent => true,
                    Obstacle::NoSupervisor => !self.instances[who].may_supervise,
                    Obstacle::Unkept(_) => !self.store.is_well(),
                    Obstacle::NameTaken(_) => {
                        self.seen.name_taken += 1;
                        self.namesakes
                    }
                    Obstacle::GroupFull(_) => {
                        self.seen.full += 1;
                        self.max_members < UNLIMITED
                    }
                    _ => false,
                };
                assert!(expected, "{} failed: {obstacle:?}", self.name(who));
                return self.be_gone(who);
            }
            Deed::Stop => return self.be_gone(who),
        }
        self.instances[who].doing = Doing::Deed(deed);
    }

    fn carry_out(&mut self, who: Who) {
        let Doing::Deed(deed) = &self.instances[who].doing else { panic!("no deed to carry out") };
        match (deed, self.port) {
            (Deed::TryPort, None) => {
                self.port = Some((who, false));
                self.instances[who].doing = Doing::Binding;
                let turn = self.instances[who].turn;
                self.soon(What::Step(who, turn, Step::Listen));
            }
            (Deed::TryPort, Some(_)) => self.on(who, Outcome::PortTaken),
            (Deed::Connect, None | Some((_, false))) => {
                self.seen.nobody_there += 1;
                self.on(who, Outcome::NobodyThere);
            }
            (Deed::Connect, Some((server, true))) => self.connect(who, server),
            (Deed::Wait(_), _) => self.on(who, Outcome::Waited),
            (
                Deed::Keep { .. }
                | Deed::LookAfter { .. }
                | Deed::Supervise { .. }
                | Deed::Follow
                | Deed::Fail(_)
                | Deed::Stop,
                _,
            ) => {
                panic!("not carried out in a step")
            }
        }
    }

    fn connect(&mut self, who: Who, server: Who) {
        let link = self.links.len();
        let delay = if self.random.one_in(8) { 15 } else { 10 };
        self.links.push(Link {
            owner: [who, server],
            open: [true; 2],
            reset: [false; 2],
            inbox: [VecDeque::new(), VecDeque::new()],
            reading: [false; 2],
            delay,
            turn: self.instances[server].turn,
            hello_read: false,
            cut: false,
            welcomed: false,
            cursor: None,
            meant: 0,
            accounted: 0,
        });
        let instance = &mut self.instances[who];
        instance.doing = Doing::Joining(link);
        let step = What::Step(who, instance.turn, Step::GiveUpJoining);
        let hello = instance.member.hello();
        self.at(HANDSHAKE_TIMEOUT, step);
        self.send(link, Client, hello.into_message());
    }

    /// Bound and listening: the port is this instance's, and with it the group.
    fn claim(&mut self, who: Who) {
        self.port = Some((who, true));
        let last = self.store.read();
        self.on(who, Outcome::PortClaimed { last });
    }

    /// Its term is kept: it begins.
    fn supervise(&mut self, who: Who, term: u64) {
        self.note_term(term);
        let instance = &mut self.instances[who];
        if let Some(time) = instance.stepped_down.take() {
            assert!(self.now >= time + ASIDE, "stepped down and did not leave the port to others");
        }
        let elected = instance.member.elected(term, 1, self.max_members);
        let before = &elected.before;
        self.seen.found_nobody += u64::from(*before == Before::Nobody && term > 1);
        let inherited = matches!(before, Before::These(Roster { unknown_since: Some(_), .. }));
        self.seen.inherited_the_unknown += u64::from(inherited);
        tell!(
            self,
            "{} claims the port, before: {before:?}, survivors {:?}",
            self.name(who),
            self.survivors
        );
        let knew = match before {
            Before::These(Roster { admins, unknown_since: None }) => {
                Some(admins - &[elected.me.admin].into())
            }
            Before::These(_) | Before::Unknown | Before::Nobody => None,
        };
        let mut actions = Vec::new();
        let supervisor = Supervisor::new(elected, self.now, &mut actions);
        if self.family == Family::Hasty && self.faults > 0 && self.random.one_in(3) {
            self.instances[who].dies_in = Some(self.random.below(12));
        }
        self.survivors.remove(&who);
        self.supervisorships += 1;
        self.instances[who].doing = Doing::Supervising(Box::new(Desk {
            supervisor,
            claimed_at: self.now,
            settled: false,
            knew,
            welcomed: BTreeSet::new(),
            came_back_at: self.now,
            came_at: self.now,
            announcing: false,
            wake_at: None,
            number: self.supervisorships,
            published: 0,
            own: VecDeque::new(),
            collecting: false,
            pending: Vec::new(),
        }));
        let there = self.registered(who);
        self.note_there(&there);
        self.carry_through(who, actions);
        self.collect(who);
        let turn = self.instances[who].turn;
        let Some((term, settled)) = self.instances[who]
            .desk()
            .map(|desk| (desk.supervisor.term(), desk.supervisor.settled()))
        else {
            return;
        };
        let again = self.instances[who].member.opened(self.now, term, settled);
        self.check_own(who);
        for message in again {
            if self.instances[who].turn == turn && self.instances[who].lives() {
                self.say_to_itself(who, message);
            }
        }
    }
}
