//! What a subordinate knows of its group, from what its supervisor told it.
//!
//! Invariant: `roster` is `Some` only for a witness. Everybody whom this supervisor has welcomed,
//! or was still waiting for and knew, is on it (the supervisor writes to the witnesses before it
//! welcomes). That holds to its death, not beyond the moment in which it cuts us off: see
//! [`Subordinate::lost`].

use std::collections::BTreeSet;

use super::Time;
use super::election::Loss;
use crate::config::check_name;
use crate::wire::{self, Departure, Message, kinds};

/// Who is in a group besides its supervisor, by the ports of their admin endpoints: these no two
/// living instances share, and an instance keeps its own for life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) admins: BTreeSet<u16>,
    /// `None` if these are all. Else there may be others, of whom no supervisor has known since
    /// then. Whoever supervises waits for them for a certain time from that moment on, and no
    /// longer.
    pub(crate) unknown_since: Option<Time>,
}

impl Roster {
    pub(super) fn into_record(self) -> wire::Roster {
        wire::Roster {
            admins: self.admins.into_iter().collect(),
            unknown_since_ns: self.unknown_since.map(in_nanoseconds),
        }
    }

    pub(super) fn from_record(record: wire::Roster) -> Self {
        Roster {
            admins: record.admins.into_iter().collect(),
            unknown_since: record.unknown_since_ns.map(Time::from_nanos),
        }
    }
}

/// A roster of nobody that is incomplete since the end of time tells a witness that it is none any
/// more. To one who does not know this number it means the same: that anybody may have survived.
pub(super) const NO_WITNESS: u64 = u64::MAX;

/// Enough for 584 years since the machine was started.
pub(super) fn in_nanoseconds(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subordinate {
    pub(crate) term: u64,
    pub(crate) supervisor: String,
    pub(crate) supervisor_admin: u16,
    pub(crate) registry_port: u16,
    pub(crate) settled: bool,
    pub(crate) members: u32,
    pub(crate) roster: Option<Roster>,
}

/// What a message from the supervisor meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // it is handed on at once: a box would cost more than it saves
pub(crate) enum News {
    /// Nothing that the program would want to know.
    Quiet,
    /// The group's state is another.
    State,
    /// Something about what this instance holds; see [`Holdings`](super::holdings::Holdings).
    Held(Message),
    /// The supervisor asks whether this instance lives, and its program has shown so within this
    /// time.
    Probed { number: u64, within_ns: u64 },
    /// The supervisor is about to close the lifeline, for this reason.
    Goodbye(Departure),
    /// The message has no place on a lifeline: this is no supervisor.
    Nonsense,
}

impl Subordinate {
    /// Reads a welcome, `None` if `message` is none, or one of a supervisor whose name would garble
    /// a log.
    pub(crate) fn welcomed(message: Message) -> Option<Self> {
        let Message::Welcome {
            term,
            supervisor,
            supervisor_admin,
            registry_port,
            settled,
            members,
        } = message
        else {
            return None;
        };
        check_name(&supervisor).ok()?;
        Some(Subordinate {
            term,
            supervisor,
            supervisor_admin,
            registry_port,
            settled,
            members,
            roster: None,
        })
    }

    pub(crate) fn on(&mut self, message: Message) -> News {
        match message {
            Message::Roster { unknown_since_ns: Some(NO_WITNESS), .. } => {
                self.roster = None;
                News::Quiet
            }
            Message::Roster { anew, unknown_since_ns, added, removed } => {
                let roster = self.roster.get_or_insert_default();
                if anew {
                    roster.admins.clear();
                }
                roster.admins.extend(added);
                removed.iter().for_each(|admin| _ = roster.admins.remove(admin));
                roster.unknown_since = unknown_since_ns.map(Time::from_nanos);
                News::Quiet
            }
            Message::State { term, settled, members } => {
                (self.term, self.settled, self.members) = (term, settled, members);
                News::State
            }
            Message::Leaving { reason } => {
                if let (Departure::StepsDown, Some(roster)) = (reason, &mut self.roster) {
                    // It comes back as a subordinate: its successor must wait for it like for all
                    // others.
                    roster.admins.insert(self.supervisor_admin);
                }
                News::Goodbye(reason)
            }
            Message::Probe { number, within_ns } => News::Probed { number, within_ns },
            Message::Alive { .. } => News::Quiet, // an answer that nobody waits for any more
            held @ kinds!(what_is_held) => News::Held(held),
            kinds!(handshake)
            | kinds!(from_subordinate)
            | kinds!(of_the_registry)
            | kinds!(questions)
            | kinds!(answers)
            | kinds!(calls)
            | Message::Welcome { .. } => News::Nonsense,
        }
    }

    /// It is a witness no more.
    pub(crate) fn forget_roster(&mut self) {
        self.roster = None;
    }

    /// The lifeline ended. Cut off while the supervisor lives, we are no witness any more: it may
    /// have welcomed others since, and what we know must not pass for the last word when it dies
    /// and we succeed it.
    pub(crate) fn lost(&mut self, loss: Loss) {
        match loss {
            Loss::Evicted => self.forget_roster(),
            Loss::Died | Loss::SteppedDown | Loss::Left => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subordinate() -> Subordinate {
        Subordinate::welcomed(Message::Welcome {
            term: 1,
            supervisor: "s".into(),
            supervisor_admin: 9,
            registry_port: 10,
            settled: false,
            members: 1,
        })
        .unwrap()
    }

    fn roster(anew: bool, added: &[u16], removed: &[u16]) -> Message {
        Message::Roster {
            anew,
            unknown_since_ns: None,
            added: added.into(),
            removed: removed.into(),
        }
    }

    #[test]
    fn a_roster_follows_what_the_supervisor_tells() {
        let mut this = subordinate();
        assert_eq!(this.on(roster(true, &[1, 2], &[])), News::Quiet);
        assert_eq!(this.on(roster(false, &[3], &[1])), News::Quiet);
        assert_eq!(this.roster.as_ref().unwrap().admins, [2, 3].into());
        this.on(roster(true, &[4], &[]));
        assert_eq!(this.roster.as_ref().unwrap().admins, [4].into());
    }

    #[test]
    fn who_is_a_witness_no_more_forgets_what_it_was_told() {
        let mut this = subordinate();
        this.on(roster(true, &[1, 2], &[]));
        let over = Message::Roster {
            anew: true,
            unknown_since_ns: Some(NO_WITNESS),
            added: vec![],
            removed: vec![],
        };
        assert_eq!(this.on(over), News::Quiet);
        assert_eq!(this.roster, None);
    }

    #[test]
    fn a_supervisor_that_steps_down_is_expected_back_and_one_that_leaves_is_not() {
        for (reason, expected) in [(Departure::StepsDown, &[1, 9][..]), (Departure::Leaves, &[1])] {
            let mut this = subordinate();
            this.on(roster(true, &[1], &[]));
            assert_eq!(this.on(Message::Leaving { reason }), News::Goodbye(reason));
            assert_eq!(this.roster.unwrap().admins, expected.iter().copied().collect());
        }
    }

    #[test]
    fn who_was_cut_off_is_a_witness_no_more() {
        for (loss, witness) in
            [(Loss::Died, true), (Loss::SteppedDown, true), (Loss::Evicted, false)]
        {
            let mut this = subordinate();
            this.on(roster(true, &[1], &[]));
            this.lost(loss);
            assert_eq!(this.roster.is_some(), witness, "{loss:?}");
        }
    }

    #[test]
    fn a_welcome_whose_name_would_garble_a_log_is_none() {
        let (supervisor, supervisor_admin, registry_port) = ("\x1b[2J".into(), 9, 10);
        let welcome = Message::Welcome {
            term: 1,
            supervisor,
            supervisor_admin,
            registry_port,
            settled: true,
            members: 1,
        };
        assert_eq!(Subordinate::welcomed(welcome), None);
    }

    #[test]
    fn a_message_of_the_other_role_is_nonsense() {
        assert_eq!(subordinate().on(Message::Watch {}), News::Nonsense);
    }
}
