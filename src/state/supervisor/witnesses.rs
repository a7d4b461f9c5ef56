//! The witnesses: the members that are told of every instance. Those that survive know every
//! survivor.

use super::*;
use crate::state::subordinate::{NO_WITNESS, in_nanoseconds};

impl Supervisor {
    /// Returns every instance that is here or may come back, besides ourselves.
    pub(super) fn roster(&self) -> Vec<u16> {
        let expected = self.settling.iter().flat_map(|settling| &settling.expected);
        self.admitted.values().map(|member| member.admin_port).chain(expected.copied()).collect()
    }

    pub(super) fn tell_witnesses(
        &self,
        anew: bool,
        added: &[u16],
        removed: &[u16],
        actions: &mut Vec<ServerAction>,
    ) {
        for &conn in &self.witnesses {
            actions.push(ServerAction::Send {
                conn,
                message: self.roster_message(anew, added, removed),
            });
        }
    }

    /// Returns what a member must know that was left behind: everything, or that it is a witness no
    /// longer.
    pub(crate) fn whole_roster(&self, conn: ConnId) -> Message {
        if self.witnesses.contains(&conn) {
            self.roster_message(true, &self.roster(), &[])
        } else {
            no_witness()
        }
    }

    fn roster_message(&self, anew: bool, added: &[u16], removed: &[u16]) -> Message {
        let unknown_since = self.settling.as_ref().and_then(|settling| settling.unknown_since);
        let unknown_since_ns = unknown_since.map(in_nanoseconds);
        Message::Control(Control::Roster {
            anew,
            unknown_since_ns,
            added: added.into(),
            removed: removed.into(),
        })
    }

    /// Fills up the witnesses from the members, the newest first.
    ///
    /// The kernel closes the connections of a killed process from the last one down. The newest
    /// members therefore learn of the death first, and one of them is elected: it should know which
    /// instances to expect, or learn it soon. One that does not must tell its own witnesses of
    /// every instance that comes, one by one.
    pub(super) fn appoint_witness(&mut self, actions: &mut Vec<ServerAction>) {
        let renews = self.settled() && self.admitted.len() >= self.renew_at;
        if self.witnesses.len() >= WITNESSES && !renews {
            return;
        }
        if let Some(&conn) = self.admitted.keys().rev().find(|conn| !self.witnesses.contains(conn))
        {
            self.appoint(conn, actions);
        }
        if renews {
            self.dismiss_first(actions);
            self.renew_at = self.next_renewal();
        }
    }

    /// Makes the newest members witnesses, after a failover: until now the first to come have been
    /// told.
    pub(super) fn renew_witnesses(&mut self, actions: &mut Vec<ServerAction>) {
        if self.admitted.len() < RENEWED_FROM {
            return;
        }
        let last: Vec<ConnId> = self.admitted.keys().rev().take(WITNESSES).copied().collect();
        // The last of all is told last, and stays longest.
        for conn in last.into_iter().rev() {
            if !self.witnesses.contains(&conn) {
                self.appoint(conn, actions);
                self.dismiss_first(actions);
            }
        }
        self.renew_at = self.next_renewal();
    }

    /// Sends a whole roster each time the group has grown by a certain part: as the group grows,
    /// this costs 128 bytes in all for each member.
    fn next_renewal(&self) -> usize {
        self.admitted.len() + self.admitted.len().div_ceil(64)
    }

    fn appoint(&mut self, conn: ConnId, actions: &mut Vec<ServerAction>) {
        self.witnesses.push(conn);
        actions.push(ServerAction::Send {
            conn,
            message: self.roster_message(true, &self.roster(), &[]),
        });
    }

    /// Replaces a witness only after the new one has been told all: we may die in between.
    fn dismiss_first(&mut self, actions: &mut Vec<ServerAction>) {
        if self.witnesses.len() > WITNESSES {
            let conn = self.witnesses.remove(0);
            actions.push(ServerAction::Send { conn, message: no_witness() });
        }
    }
}

/// Takes back from a witness all that it was told.
pub(super) fn no_witness() -> Message {
    Message::Control(Control::Roster {
        anew: true,
        unknown_since_ns: Some(NO_WITNESS),
        added: vec![],
        removed: vec![],
    })
}
