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
use super::health::Health;
use super::hello::Hello;
use super::member::{Heard, Member, Outcome, Word};
use super::obstacle::Obstacle;
use super::registry::test_entry;
use super::settings::Settings;
use super::subordinate::{Roster, Subordinate};
use super::supervisor::{Before, Cursor, ServerAction as Action, ServerInput as Input, Supervisor};
use crate::config::{ASIDE, HANDSHAKE_TIMEOUT, MAX_UNKNOWN, NEXT_PROBE, WITNESSES};
use crate::wire::{
    self, Control, Departure, Entry, FromHolder, Handshake, Joining, Message, ToHolder,
};
use asking::{Question, QuestionId};
use random::Random;
use sharing::RESOURCES;
use store::Store;
use watching::Watching;
use world::World;

macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.story {
            println!("{:>12?}  {}", $world.now, format!($($text)*));
        }
    };
}

mod asking;
mod crowding;
mod electing;
mod faults;
mod hanging;
mod network;
pub(crate) mod random;
pub(crate) mod seeds;
mod sharing;
mod store;
mod supervising;
mod watching;
mod world;

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

fn who_has(admin_port: u16) -> Who {
    usize::from(admin_port) - 1000
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
    /// What each end makes of the other's answers, where it asks, and since when.
    health: [Option<Health>; 2],
    watched_since: [Time; 2],
    /// When each end last answered that it is well.
    well_at: [Time; 2],
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
    own: VecDeque<ToHolder>,
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
    stalled_since: Time,
    stalled_until: Time,
    /// Its program makes no progress.
    stuck_since: Option<Time>,
    stuck_until: Time,
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
    fn about(message: &ToHolder) -> Option<u64> {
        match message {
            ToHolder::Granted { id } | ToHolder::Denied { id, .. } => Some(*id),
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
    Found { dead_port: u16 },
    Look { admin_port: u16 },
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
    Part(LinkId, bool),
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
                let all = [$((stringify!($what), self.$what)),*];
                all.iter().filter(|seen| seen.1 == 0).map(|seen| seen.0).collect()
            }
        }
    };
}

seen! {
    leaderless term_kept_again term_unkept began_with_an_older_term refused_to_begin
    settled_early waited_on gave_up_on_the_unknown gave_up_on_known_ones inherited_the_unknown
    raised_term killed_amid_actions reset stepped_down found_nobody replaced evicted
    looked_after_the_living looked_after_the_dead nobody_there closed_at_once silent
    more_than_witnesses granted denied revoked withdrawn void confirmed total over_limit
    said_while_joining setting_changed setting_lost
    acknowledged conflict asked_too_early died_before_the_answer missed elected_in_doubt
    silence_noticed no_progress_noticed watcher_held_up
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
