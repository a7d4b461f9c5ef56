//! Decides what follows when this process's heartbeats do not get out: its interface is down, it
//! has no route, or a filter refuses them.
//!
//! Such a process must not lead: nobody can object to a claim that nobody has heard, and others
//! take a silent primary for dead. One heartbeat that could not be sent means little, and is soon
//! tried again. After a whole interval, the process counts as cut off: it then claims nothing and
//! is not admitted, until it can be heard again and has listened for a while. A primary stays
//! primary for as long as its lease, which counts from the last heartbeat that got out. A primary
//! that has not yet been able to say that it is one stays primary for no longer than a heartbeat
//! may take.

use super::{Action, Machine, Millis};
use crate::event::masterless::{EventKind, RoleCause};
use crate::wire::heartbeat::Status;

/// A row of heartbeats that could not be sent.
#[derive(Clone, Copy)]
pub(super) struct Outage {
    since: Millis,
    /// It has lasted so long that this process counts as cut off.
    is_told: bool,
}

impl Machine {
    /// Notes that the last heartbeat could not be sent to any address.
    pub(super) fn not_sent(&mut self, errno: i32, out: &mut Vec<Action>) {
        let interval = self.rules.interval;
        let mut outage = self.sending.outage.unwrap_or(Outage { since: self.now, is_told: false });
        let long = self.now >= outage.since + interval;
        if long && !outage.is_told {
            outage.is_told = true;
            out.push(Action::Tell(EventKind::CannotSend { errno }));
        }
        self.sending.fail(outage, self.now, interval / 4);
        self.needs.take_back();
        if !long {
            return;
        }
        // What it has heard meanwhile, if anything, were no answers to what it has said.
        self.relisten_until = self.now + 2 * interval;
        match self.status {
            Status::Joining => self.collect_until = self.now + 3 * interval,
            Status::ToBecomePrimary => self.stand_by(RoleCause::CannotSend, out),
            Status::Standby | Status::Primary | Status::Leaving => {}
        }
    }

    /// Notes that the last heartbeat got out, after others had not.
    pub(super) fn sent_again(&mut self, out: &mut Vec<Action>) {
        let Some(outage) = self.sending.recover() else { return };
        // Only now others begin to hear of it.
        self.claim.begin_anew(self.now);
        if outage.is_told {
            let after_ms = self.now.saturating_sub(outage.since);
            out.push(Action::Tell(EventKind::SendsAgain { after_ms }));
        }
    }

    /// Returns true if the last heartbeat could not be sent.
    pub(super) fn is_failing(&self) -> bool {
        self.sending.outage.is_some()
    }
}
