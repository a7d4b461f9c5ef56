//! What a subordinate knows of its group: what its supervisor told it.
//!
//! Invariant: `roster` is `Some` only for a witness. It holds every instance that this supervisor
//! has welcomed, or was still waiting for and knew (the supervisor writes to the witnesses before
//! it welcomes). That is true until the supervisor's death, but not beyond the moment at which it
//! cuts us off: see [`Subordinate::lost`].

use std::collections::BTreeSet;

use super::Time;
use super::election::Loss;
use crate::config::check_name;
use crate::wire::{self, Departure, Joining, Message};

/// The instances of a group besides its supervisor, by the ports of their admin endpoints: no two
/// living instances share one, and an instance keeps its own for life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) admin_ports: BTreeSet<u16>,
    /// `None` if these are all. Otherwise there may be others, which no supervisor has known since
    /// then. The supervisor waits for them for a certain time from that moment on, and no longer.
    pub(crate) unknown_since: Option<Time>,
}

impl Roster {
    pub(super) fn into_record(self) -> wire::Roster {
        wire::Roster {
            admin_ports: self.admin_ports.into_iter().collect(),
            unknown_since_ns: self.unknown_since.map(in_nanoseconds),
        }
    }

    pub(super) fn from_record(record: wire::Roster) -> Self {
        Roster {
            admin_ports: record.admin_ports.into_iter().collect(),
            unknown_since: record.unknown_since_ns.map(Time::from_nanos),
        }
    }
}

/// A roster without instances that is incomplete since the end of time tells a witness that it is
/// one no longer. It means the same to an instance that does not know this number: any instance may
/// have survived.
pub(super) const NO_WITNESS: u64 = u64::MAX;

/// Enough for 584 years since the machine was started.
pub(super) fn in_nanoseconds(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subordinate {
    pub(crate) term: u64,
    pub(crate) supervisor: String,
    pub(crate) supervisor_admin_port: u16,
    pub(crate) registry_port: u16,
    pub(crate) settled: bool,
    pub(crate) members: u32,
    pub(crate) roster: Option<Roster>,
}

impl Subordinate {
    /// Reads a welcome. Returns `None` if `message` is none, or if the supervisor's name would
    /// garble a log.
    pub(crate) fn welcomed(message: Message) -> Option<Self> {
        let Message::Joining(Joining::Welcome {
            term,
            supervisor,
            supervisor_admin_port,
            registry_port,
            settled,
            members,
        }) = message
        else {
            return None;
        };
        check_name(&supervisor).ok()?;
        Some(Subordinate {
            term,
            supervisor,
            supervisor_admin_port,
            registry_port,
            settled,
            members,
            roster: None,
        })
    }

    /// Takes the new state of the group.
    pub(crate) fn on_state(&mut self, term: u64, settled: bool, members: u32) {
        (self.term, self.settled, self.members) = (term, settled, members);
    }

    /// Takes the roster, as a witness.
    pub(crate) fn on_roster(
        &mut self,
        anew: bool,
        unknown_since_ns: Option<u64>,
        added: Vec<u16>,
        removed: &[u16],
    ) {
        if unknown_since_ns == Some(NO_WITNESS) {
            return self.forget_roster();
        }
        let roster = self.roster.get_or_insert_default();
        if anew {
            roster.admin_ports.clear();
        }
        roster.admin_ports.extend(added);
        removed.iter().for_each(|admin_port| _ = roster.admin_ports.remove(admin_port));
        roster.unknown_since = unknown_since_ns.map(Time::from_nanos);
    }

    /// The supervisor is about to close the lifeline, for this reason.
    pub(crate) fn on_goodbye(&mut self, reason: Departure) {
        if let (Departure::StepsDown, Some(roster)) = (reason, &mut self.roster) {
            // It comes back as a subordinate: its successor must wait for it like for all others.
            roster.admin_ports.insert(self.supervisor_admin_port);
        }
    }

    /// Stops being a witness.
    pub(crate) fn forget_roster(&mut self) {
        self.roster = None;
    }

    /// Notes the end of the lifeline. If we were cut off while the supervisor lives, we are a
    /// witness no longer: it may have welcomed others since, and what we know must not count as
    /// complete when it dies and we succeed it.
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
        Subordinate::welcomed(Message::Joining(Joining::Welcome {
            term: 1,
            supervisor: "s".into(),
            supervisor_admin_port: 9,
            registry_port: 10,
            settled: false,
            members: 1,
        }))
        .unwrap()
    }

    #[test]
    fn a_roster_follows_what_the_supervisor_tells() {
        let mut this = subordinate();
        this.on_roster(true, None, vec![1, 2], &[]);
        this.on_roster(false, None, vec![3], &[1]);
        assert_eq!(this.roster.as_ref().unwrap().admin_ports, [2, 3].into());
        this.on_roster(true, None, vec![4], &[]);
        assert_eq!(this.roster.as_ref().unwrap().admin_ports, [4].into());
    }

    #[test]
    fn who_is_a_witness_no_more_forgets_what_it_was_told() {
        let mut this = subordinate();
        this.on_roster(true, None, vec![1, 2], &[]);
        this.on_roster(true, Some(NO_WITNESS), vec![], &[]);
        assert_eq!(this.roster, None);
    }

    #[test]
    fn a_supervisor_that_steps_down_is_expected_back_and_one_that_leaves_is_not() {
        for (reason, expected) in [(Departure::StepsDown, &[1, 9][..]), (Departure::Leaves, &[1])] {
            let mut this = subordinate();
            this.on_roster(true, None, vec![1], &[]);
            this.on_goodbye(reason);
            assert_eq!(this.roster.unwrap().admin_ports, expected.iter().copied().collect());
        }
    }

    #[test]
    fn who_was_cut_off_is_a_witness_no_more() {
        for (loss, witness) in
            [(Loss::Died, true), (Loss::SteppedDown, true), (Loss::Evicted, false)]
        {
            let mut this = subordinate();
            this.on_roster(true, None, vec![1], &[]);
            this.lost(loss);
            assert_eq!(this.roster.is_some(), witness, "{loss:?}");
        }
    }

    #[test]
    fn a_welcome_whose_name_would_garble_a_log_is_none() {
        let (supervisor, supervisor_admin_port, registry_port) = ("\x1b[2J".into(), 9, 10);
        let welcome = Message::Joining(Joining::Welcome {
            term: 1,
            supervisor,
            supervisor_admin_port,
            registry_port,
            settled: true,
            members: 1,
        });
        assert_eq!(Subordinate::welcomed(welcome), None);
    }
}
