//! One instance as a member of its group: its election, what it knows of the group, what it holds,
//! and the supervisor to which it says so.
//!
//! Strictly alternating, as the [election](super::election) that it carries: [`Member::on`] takes
//! the outcome of the last deed and names the next one. In between come the messages of a
//! supervisor ([`Member::hear`]) and what the program wants to hold ([`Member::holdings`],
//! [`Member::say`]).
//!
//! | link | begins with | what this instance says |
//! |---|---|---|
//! | none | the end of another | is not said: the next hello carries it |
//! | joining | [`Member::hello`] | waits for the welcome |
//! | lifeline | a welcome | goes to the supervisor |
//! | own | [`Member::elected`] | goes to its own office |
//! | over | [`Member::leave`] | is not said |
//!
//! **How a lifeline ended.** A supervisor that gives up its role says so. One that dies says
//! nothing: its connections end, or are reset where it had not read everything. But others can
//! reset a connection, too (an operator with `ss -K`, a firewall). The supervisor then lives on,
//! gives away what this instance held, and welcomes instances that this one does not know: this one
//! must not count as a witness. After an end that leaves this open, the instance therefore
//! [looks](Deed::LookAfter) at once whether that supervisor lives. The look cannot tell one case:
//! the instance was cut off, and the supervisor died before the look.

use super::Time;
use super::election::{Deed, Election, ElectionEvent, Loss, Report, left_cause};
use super::hello::Hello;
use super::holdings::{Holdings, Upshot};
use super::obstacle::Obstacle;
use super::subordinate::Subordinate;
use super::supervisor::{Before, Elected};
use super::term::Last;
use crate::error::KeepError;
use crate::wire::{
    Control, Declared, Departure, Entry, FromHolder, Handshake, Message, News, ToHolder,
};

/// The outcome of the last deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The instance is ready to begin.
    Started,
    /// The instance is bound and listening. Holds what the group's directory says.
    PortClaimed { last: Result<Last, KeepError> },
    /// The new term is kept, or cannot be kept.
    Kept(Result<(), KeepError>),
    /// Another process has the port.
    PortTaken,
    /// Whether the previous supervisor still lives.
    LookedAfter { lives: bool },
    /// No process accepted the connection.
    NobodyThere,
    /// A process accepted the connection and closed it without a valid message.
    ClosedAtOnce,
    /// Something stands in the way.
    Obstructed(Obstacle),
    /// The supervisor's answer to the hello, unless it is a refusal.
    Answered(Message),
    /// The waiting time is over.
    Waited,
    /// The lifeline has ended. `sure` if it was closed, which only a death or a goodbye does; not
    /// if it was reset or given up.
    LifelineEnded { sure: bool },
    /// The supervisorship was given up in this term. The program learned of it before the port was
    /// free.
    SteppedDown { term: u64 },
    /// The program wants to leave.
    Halted,
}

/// The meaning of a message of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // it is handed on at once: a box would cost more than it saves
pub(crate) enum Heard {
    /// Nothing that a thread waits for.
    Quiet,
    /// The group's state has changed: see [`Member::known`].
    State,
    /// Something about what this instance holds, and the answer, if there is one.
    Held(Upshot, Option<FromHolder>),
    /// The supervisor asks whether this instance lives, and whether its program has shown progress
    /// within this time.
    Probed { number: u64, within_ns: u64 },
    /// While joining: the answer to the hello.
    Answer(Message),
    /// The message has no place on a lifeline: the sender is not a supervisor.
    Nonsense,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nowhere, or it waits for the welcome.
    Kept,
    /// To the supervisor, over the lifeline.
    Lifeline(FromHolder),
    /// To this instance's own server.
    Own(FromHolder),
}

#[derive(Debug)]
enum Tie {
    None,
    Joining { unsaid: Vec<FromHolder> },
    Lifeline { goodbye: Option<Loss> },
    Own,
    Over,
}

#[derive(Debug)]
pub(crate) struct Member {
    me: Entry,
    settle_time: Time,
    /// On this system a reset takes away data that had arrived but was not read.
    resets_lose: bool,
    election: Election,
    /// What the program holds and wants, whichever instance of this machine supervises.
    pub(crate) holdings: Holdings,
    link: Tie,
    /// The first messages on a lifeline that has just begun.
    first_words: Vec<FromHolder>,
    /// What it was told by the supervisor that it follows, or followed last.
    known: Option<Subordinate>,
    loss: Loss,
    /// The last supervisor left as the group's last instance, according to its directory.
    vacant: bool,
}

impl Member {
    pub(crate) fn new(
        me: Entry,
        election: Election,
        declared: Vec<Declared>,
        settle_time: Time,
        resets_lose: bool,
    ) -> Self {
        Member {
            me,
            settle_time,
            resets_lose,
            election,
            holdings: Holdings::new(declared),
            link: Tie::None,
            first_words: Vec::new(),
            known: None,
            loss: Loss::Died,
            vacant: false,
        }
    }

    /// Takes the outcome of the last deed. Returns the next deed, and what the program must learn
    /// before.
    pub(crate) fn on(&mut self, now: Time, outcome: Outcome) -> (Option<Report>, Deed) {
        let event = match outcome {
            Outcome::Started => ElectionEvent::Started,
            Outcome::PortClaimed { last } => {
                self.vacant = last.as_ref().is_ok_and(|last| last.vacant);
                let seen = self.holdings.settings().newest_term();
                ElectionEvent::PortClaimed { last: last.map(|last| last.term), seen }
            }
            Outcome::Kept(kept) => ElectionEvent::Kept(kept),
            Outcome::PortTaken => ElectionEvent::PortTaken,
            Outcome::LookedAfter { lives } => {
                if self.resets_lose {
                    // It may have told us of others, or that what we hold is theirs.
                    self.known.iter_mut().for_each(Subordinate::forget_roster);
                    self.holdings.cut_off();
                }
                self.lost(if lives { Loss::Evicted } else { Loss::Died })
            }
            Outcome::NobodyThere => ElectionEvent::NobodyThere,
            Outcome::ClosedAtOnce => {
                self.unlink(now);
                ElectionEvent::ClosedAtOnce
            }
            Outcome::Obstructed(obstacle) => {
                self.unlink(now);
                ElectionEvent::Obstructed(obstacle)
            }
            Outcome::Answered(answer) => self.answered(now, answer),
            Outcome::Waited => ElectionEvent::Waited,
            Outcome::LifelineEnded { sure } => {
                let goodbye = self.goodbye();
                self.unlink(now);
                match (goodbye, self.known.as_ref()) {
                    (Some(goodbye), _) => self.lost(goodbye),
                    (None, Some(known)) if !sure => {
                        let admin_port = known.supervisor_admin_port;
                        return (None, Deed::LookAfter { admin_port });
                    }
                    (None, _) => self.lost(Loss::Died),
                }
            }
            Outcome::SteppedDown { term } => {
                self.unlink(now);
                ElectionEvent::SteppedDown { term }
            }
            Outcome::Halted => {
                self.unlink(now);
                ElectionEvent::Halted
            }
        };
        self.election.on(now, event)
    }

    fn goodbye(&self) -> Option<Loss> {
        if let Tie::Lifeline { goodbye } = self.link { goodbye } else { None }
    }

    fn lost(&mut self, loss: Loss) -> ElectionEvent {
        self.loss = loss;
        self.known.iter_mut().for_each(|known| known.lost(loss));
        if loss == Loss::Evicted {
            self.holdings.cut_off();
        }
        ElectionEvent::LinkLost(loss)
    }

    /// Notes that there is no supervisor any more, or that this instance is none. From here on
    /// nothing is sent.
    pub(crate) fn unlink(&mut self, now: Time) {
        match self.link {
            Tie::None | Tie::Over => {}
            Tie::Joining { .. } | Tie::Lifeline { .. } | Tie::Own => {
                self.link = Tie::None;
                self.holdings.end(now.saturating_add(self.settle_time));
            }
        }
    }

    /// Makes the one message from which a supervisor rebuilds what it knows of this instance. Later
    /// messages wait for the welcome.
    pub(crate) fn hello(&mut self) -> Hello {
        self.link = Tie::Joining { unsaid: Vec::new() };
        self.holdings.join();
        Hello {
            entry: self.me.clone(),
            last_term: self.election.last_term(),
            roster: self.known.as_ref().and_then(|known| known.roster.clone()),
            claims: self.holdings.claims(),
            settings: self.holdings.settings().all().cloned().collect(),
        }
    }

    fn answered(&mut self, now: Time, answer: Message) -> ElectionEvent {
        let Some(known) = Subordinate::welcomed(answer) else {
            // It has the key and yet does not speak our protocol.
            self.unlink(now);
            return ElectionEvent::Obstructed(Obstacle::NotPares);
        };
        let term = known.term;
        let link = std::mem::replace(&mut self.link, Tie::Lifeline { goodbye: None });
        self.first_words = if let Tie::Joining { unsaid } = link { unsaid } else { Vec::new() };
        self.first_words.extend(self.holdings.begin(now, term, known.settled));
        self.known = Some(known);
        ElectionEvent::Welcomed { term }
    }

    /// Takes the first messages for the lifeline that has begun.
    pub(crate) fn take_first_words(&mut self) -> Vec<FromHolder> {
        std::mem::take(&mut self.first_words)
    }

    /// Takes a message that came over the lifeline, or in answer to the hello.
    pub(crate) fn hear(&mut self, message: Message) -> Heard {
        match (&mut self.link, message) {
            // What others have been given meanwhile comes before the welcome.
            (Tie::Joining { .. }, Message::ToHolder(message @ ToHolder::Revoked { .. })) => {
                self.hear_held(message)
            }
            (Tie::Joining { .. }, message) => Heard::Answer(message),
            (Tie::Lifeline { goodbye }, message) => {
                let Some(known) = &mut self.known else { return Heard::Nonsense };
                match message {
                    Message::Control(Control::Roster {
                        anew,
                        unknown_since_ns,
                        added,
                        removed,
                    }) => {
                        known.on_roster(anew, unknown_since_ns, added, &removed);
                        Heard::Quiet
                    }
                    Message::Control(Control::Leaving { reason }) => {
                        known.on_goodbye(reason);
                        *goodbye = Some(match reason {
                            Departure::Leaves => Loss::Left,
                            Departure::StepsDown => Loss::SteppedDown,
                            Departure::Evicts => Loss::Evicted,
                        });
                        Heard::Quiet
                    }
                    Message::Control(Control::Probe { number, within_ns }) => {
                        Heard::Probed { number, within_ns }
                    }
                    // An answer that nobody waits for any more.
                    Message::Control(Control::Alive { .. }) => Heard::Quiet,
                    Message::News(News::State { term, settled, members }) => {
                        known.on_state(term, settled, members);
                        self.election.saw_term(term);
                        self.holdings.on_state(term, settled);
                        Heard::State
                    }
                    Message::ToHolder(message) => self.hear_held(message),
                    Message::Handshake(Handshake::Rejected { .. }) => {
                        *goodbye = Some(Loss::Evicted);
                        Heard::Quiet
                    }
                    Message::Handshake(_)
                    | Message::Joining(_)
                    | Message::News(_)
                    | Message::Question(_)
                    | Message::Calling(_)
                    | Message::Listening(_)
                    | Message::FromHolder(_)
                    | Message::FromAcceptor(_)
                    | Message::ToAcceptor(_)
                    | Message::Sharing(_)
                    | Message::Response(_)
                    | Message::Introduction(_)
                    | Message::ToAgent(_)
                    | Message::FromAgent(_)
                    | Message::BetweenRouters(_) => Heard::Nonsense,
                }
            }
            (Tie::None | Tie::Own | Tie::Over, _) => Heard::Nonsense,
        }
    }

    /// Takes a message about what this instance holds, whichever thread reads it.
    pub(crate) fn hear_held(&mut self, message: ToHolder) -> Heard {
        let mut answer = None;
        let upshot = self.holdings.on(message, &mut answer);
        Heard::Held(upshot, answer)
    }

    /// Decides where a message about what this instance holds goes.
    pub(crate) fn say(&mut self, message: FromHolder) -> Word {
        match &mut self.link {
            Tie::None | Tie::Over => Word::Kept,
            Tie::Joining { unsaid } => {
                unsaid.push(message);
                Word::Kept
            }
            Tie::Lifeline { .. } => Word::Lifeline(message),
            Tie::Own => Word::Own(message),
        }
    }

    /// Returns true if what this instance says is heard, or will be with the welcome.
    pub(crate) fn is_linked(&self) -> bool {
        match self.link {
            Tie::Joining { .. } | Tie::Lifeline { .. } | Tie::Own => true,
            Tie::None | Tie::Over => false,
        }
    }

    /// Makes this instance supervise from now on, in `term`. Returns all that it brings along.
    pub(crate) fn elected(&mut self, term: u64, registry_port: u16, max_members: usize) -> Elected {
        self.link = Tie::Own;
        let known = self.known.take();
        let before = Before::of(known.clone(), term, self.vacant);
        // One that stepped down lives on, and so may one that cut us off, or was cut off from us.
        let gone = known.filter(|known| {
            known.term.checked_add(1) == Some(term) && matches!(self.loss, Loss::Died | Loss::Left)
        });
        Elected {
            me: self.me.clone(),
            term,
            registry_port,
            before,
            predecessor: gone.map(|known| (known.supervisor, left_cause(self.loss))),
            claims: self.holdings.claims(),
            settings: self.holdings.settings().clone(),
            settle_time: self.settle_time,
            max_members,
        }
    }

    /// Notes that its own server is open. Returns the first messages for it.
    pub(crate) fn opened(&mut self, now: Time, term: u64, settled: bool) -> Vec<FromHolder> {
        self.election.saw_term(term);
        self.holdings.begin(now, term, settled)
    }

    /// Takes the news of its own supervisorship: a raised term, or that the group is settled. News
    /// of an earlier one changes nothing.
    pub(crate) fn on_own_state(&mut self, term: u64, settled: bool) {
        if let (Tie::Own, true) = (&self.link, term >= self.election.last_term()) {
            self.election.saw_term(term);
            self.holdings.on_state(term, settled);
        }
    }

    /// Leaves for good: nothing is sent any more.
    pub(crate) fn leave(&mut self) {
        self.link = Tie::Over;
    }

    pub(crate) fn has_left(&self) -> bool {
        matches!(self.link, Tie::Over)
    }

    /// What it was told by the supervisor that it follows, or followed last.
    pub(crate) fn known(&self) -> Option<&Subordinate> {
        self.known.as_ref()
    }

    /// Returns the highest term that this instance has seen.
    #[cfg(test)]
    pub(crate) fn last_term(&self) -> u64 {
        self.election.last_term()
    }

    /// Returns the time by which the present deed must have an outcome, if there is one.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.election.deadline()
    }
}

#[cfg(test)]
mod tests;
