//! How a router takes the addresses, keeps them and gives them up.
//!
//! The table is whole before the addresses are taken, and they are taken before that is announced.
//! Whoever gives them up goes on forwarding: some hosts learn late where an address is now.

use super::targets::Answer;
use super::{Ends, EndsRole, Millis, RouteNews, RoutePhase, Router, RouterAction, Target, ms};
use crate::config::route::{
    ADDRESS_LIFE, ANNOUNCE_AFTER, ANNOUNCE_EVERY, COMPANY, DEFEND_EVERY, LEAVE_AFTER, PASS_ON,
    RELEASE_AFTER, SECOND_REPORT,
};
use crate::event::masterless::Token;
use crate::wire::heartbeat::Status;
use crate::wire::{BetweenRouters, Host, Tail, ToAgent};

impl Router {
    /// Takes note of this process's status in the group.
    pub(super) fn status(&mut self, to: Status, token: Option<Token>, out: &mut Vec<RouterAction>) {
        match (to, token) {
            (Status::Primary, Some(token)) => self.primary(token, out),
            (Status::ToBecomePrimary, _) => {
                if !self.is_owner() {
                    self.prepare(None, out);
                }
            }
            (Status::Joining | Status::Standby | Status::Primary | Status::Leaving, _) => {
                self.not_primary(out);
            }
        }
    }

    /// Asks all targets what they have, for the table.
    fn prepare(&mut self, token: Option<Token>, out: &mut Vec<RouterAction>) {
        if let RoutePhase::Preparing { since, loaded, .. } = self.phase {
            self.phase = RoutePhase::Preparing { since, loaded, token };
            return;
        }
        self.phase = RoutePhase::Preparing { since: self.now, loaded: false, token };
        self.asking.ask_all(self.now, out);
    }

    fn primary(&mut self, token: Token, out: &mut Vec<RouterAction>) {
        if let RoutePhase::Owner { token: own, asked, told_settled, .. } = self.phase {
            if token > own {
                // Everybody must know that this one is still the owner.
                self.newest = self.newest.max(Some(token));
                self.phase = RoutePhase::Owner { since: self.now, token, asked, told_settled };
                self.tell_all_who_owns(token, out);
                self.announce(out);
            }
            return;
        }
        if self.newest.is_none_or(|newest| token > newest) {
            self.prepare(Some(token), out);
        }
    }

    fn not_primary(&mut self, out: &mut Vec<RouterAction>) {
        match self.phase {
            RoutePhase::Idle | RoutePhase::Former { .. } => {}
            RoutePhase::Preparing { .. } => {
                // What it has loaded would grow old.
                self.phase = RoutePhase::Idle;
                self.forget_table(out);
            }
            RoutePhase::Owner { .. } => self.lose(out),
        }
    }

    /// Hears that somebody owns the addresses under this token, or has.
    pub(super) fn heard_of(&mut self, token: Token, out: &mut Vec<RouterAction>) {
        if self.newest.is_some_and(|newest| token <= newest) {
            return;
        }
        self.newest = Some(token);
        match self.phase {
            RoutePhase::Owner { .. } => {
                self.lose(out);
            }
            RoutePhase::Preparing { token: Some(own), .. } if own < token => {
                self.phase = RoutePhase::Idle;
                self.forget_table(out);
            }
            RoutePhase::Preparing { .. } | RoutePhase::Former { .. } => {}
            RoutePhase::Idle => self.forget_table(out),
        }
        if self.renewed_at.is_some() {
            let owner_has_them = self.now + ms(RELEASE_AFTER);
            self.release_at =
                Some(self.release_at.map_or(owner_has_them, |at| at.min(owner_has_them)));
        }
    }

    /// The owner knows all connections: what a former one knows can only grow old.
    pub(super) fn settled_elsewhere(&mut self, token: Token, out: &mut Vec<RouterAction>) {
        let is_newest = self.newest == Some(token);
        if is_newest && matches!(self.phase, RoutePhase::Former { .. }) && self.owner().is_some() {
            self.phase = RoutePhase::Idle;
            self.forget_table(out);
        }
    }

    /// An idle router passes on, by no table of its own: the owner's is the truth.
    fn forget_table(&mut self, out: &mut Vec<RouterAction>) {
        self.adopted = false;
        out.push(RouterAction::Replace(Vec::new()));
    }

    /// Takes the addresses.
    fn take(&mut self, token: Token, out: &mut Vec<RouterAction>) {
        let before = self.newest.map(|newest| (newest.id.tail(), self.now + ms(PASS_ON)));
        self.stands_in = self.newest.is_some_and(|newest| newest.id.rank() < token.id.rank());
        (self.newest, self.before) = (Some(token), before);
        self.adopted = false;
        self.handing_to = None;
        self.phase = RoutePhase::Owner { since: self.now, token, asked: None, told_settled: false };
        // The table, then the addresses, then all are told.
        self.write(out);
        (self.renewed_at, self.release_at) = (Some(self.now), None);
        out.push(RouterAction::Take { life: self.life() });
        self.announce(out);
        self.tell_all_who_owns(token, out);
        out.push(RouterAction::Tell(RouteNews::Owner { token }));
    }

    fn lose(&mut self, out: &mut Vec<RouterAction>) {
        let renewed_at = self.renewed_at.unwrap_or(self.now);
        self.release_at = Some((renewed_at + ms(ADDRESS_LIFE)).max(self.now));
        (self.phase, self.lost_at) = (RoutePhase::Former { since: self.now }, Some(self.now));
        self.handing_to = None;
        out.push(RouterAction::Tell(RouteNews::Former));
    }

    fn tell_all_who_owns(&mut self, token: Token, out: &mut Vec<RouterAction>) {
        self.serve_all(out);
        let owns = BetweenRouters::Owns { token: token.into() };
        self.to_routers(owns, out);
    }

    fn to_routers(&self, message: BetweenRouters, out: &mut Vec<RouterAction>) {
        let linked = self.others.iter().filter(|(_, other)| other.linked);
        out.extend(linked.map(|(tail, _)| RouterAction::ToRouter(*tail, message.clone())));
    }

    pub(super) fn say_ready(&self, out: &mut Vec<RouterAction>) {
        self.to_routers(BetweenRouters::Ready { entries: self.asking.entries() }, out);
    }

    pub(super) fn serve_all(&mut self, out: &mut Vec<RouterAction>) {
        let agents: Vec<Tail> = self.asking.agents().collect();
        agents.into_iter().for_each(|tail| self.serve(tail, out));
    }

    /// Tells an agent whom it serves.
    pub(super) fn serve(&self, tail: Tail, out: &mut Vec<RouterAction>) {
        let RoutePhase::Owner { token, .. } = self.phase else { return };
        let candidates = self.rules.candidates.clone();
        let draining = self.targets.draining();
        let serve = ToAgent::Serve { token: token.into(), candidates, draining };
        out.push(RouterAction::ToAgent(tail, serve));
    }

    /// How long the kernel keeps the addresses. For ever if this router is alone: its restart must
    /// not end the service.
    fn life(&self) -> Option<Millis> {
        self.has_company().then(|| ms(ADDRESS_LIFE).max(self.rules.dead))
    }

    fn announce(&mut self, out: &mut Vec<RouterAction>) {
        self.announced = (1, self.now);
        out.push(RouterAction::Announce);
    }

    pub(super) fn claimed(&mut self, out: &mut Vec<RouterAction>) {
        let is_time = self.defended_at.is_none_or(|at| self.now >= at + ms(DEFEND_EVERY));
        if self.is_owner() && self.lease && is_time {
            self.defended_at = Some(self.now);
            out.push(RouterAction::Tell(RouteNews::Claimed));
            self.announce(out);
        }
    }

    fn next_announcement(&self) -> Millis {
        let (times, since) = self.announced;
        let after = match ANNOUNCE_AFTER.get(times) {
            Some(after) => ms(*after),
            None => {
                let rest = (times - ANNOUNCE_AFTER.len() + 1) as Millis;
                ms(ANNOUNCE_AFTER[ANNOUNCE_AFTER.len() - 1]) + rest * ms(ANNOUNCE_EVERY)
            }
        };
        since + after
    }

    fn next_renewal(&self) -> Option<Millis> {
        Some(self.renewed_at? + ms(ADDRESS_LIFE) / 4)
    }

    /// Gives up the addresses, when it is time.
    fn release(&mut self, out: &mut Vec<RouterAction>) {
        if self.release_at.is_some_and(|at| self.now >= at) {
            (self.renewed_at, self.release_at) = (None, None);
            out.push(RouterAction::Release);
        }
    }

    /// What follows from the time while this router has the addresses, is about to, or had them.
    pub(super) fn go_on_owning(&mut self, out: &mut Vec<RouterAction>) {
        self.release(out);
        self.leave(out);
        match self.phase {
            RoutePhase::Idle | RoutePhase::Preparing { token: None, .. } => {}
            RoutePhase::Preparing { loaded, since, token: Some(token) } => {
                // A target that says nothing must not hold up all others.
                let is_time = loaded || self.now >= since + 2 * self.rules.interval;
                if is_time && self.lease {
                    self.take(token, out);
                }
            }
            RoutePhase::Owner { since, token, asked, told_settled } => {
                self.keep(out);
                if asked.is_none() && self.now >= since + ms(SECOND_REPORT) {
                    let asked = Some(self.asking.ask_all(self.now, out));
                    self.phase = RoutePhase::Owner { since, token, asked, told_settled };
                } else if !told_settled && self.is_settled() {
                    self.phase = RoutePhase::Owner { since, token, asked, told_settled: true };
                    self.before = None;
                    self.to_routers(BetweenRouters::Settled { token: token.into() }, out);
                    out.push(RouterAction::Tell(RouteNews::Settled));
                }
                self.before = self.before.filter(|(_, until)| self.now < *until);
                let ready = |to| self.others.get(&to).is_some_and(|other| other.ready);
                if self.handing_to.is_some_and(ready) {
                    self.handing_to = None;
                    out.push(RouterAction::HandoverReady);
                }
            }
            RoutePhase::Former { since } => {
                if self.now >= since + ms(PASS_ON) && self.owner().is_some() {
                    self.phase = RoutePhase::Idle;
                    self.forget_table(out);
                }
            }
        }
    }

    /// Keeps the addresses, while the lease lasts.
    fn keep(&mut self, out: &mut Vec<RouterAction>) {
        if !self.lease {
            return;
        }
        if self.next_renewal().is_some_and(|at| self.now >= at) {
            self.renewed_at = Some(self.now);
            out.push(RouterAction::Take { life: self.life() });
        }
        if self.now >= self.next_announcement() {
            self.announced.0 += 1;
            out.push(RouterAction::Announce);
        }
    }

    /// Ends, if it is to: a former owner forwards for a while what still comes.
    fn leave(&mut self, out: &mut Vec<RouterAction>) {
        let has_passed_on = self.lost_at.is_none_or(|at| self.now >= at + ms(LEAVE_AFTER));
        if self.leaving && !self.is_owner() && has_passed_on {
            self.gone = true;
            out.push(RouterAction::Exit);
        }
    }

    pub(super) fn owning_due(&self) -> Option<Millis> {
        let due = match self.phase {
            RoutePhase::Idle | RoutePhase::Preparing { token: None, .. } => [None; 4],
            RoutePhase::Preparing { since, .. } => {
                [Some(since + 2 * self.rules.interval), None, None, None]
            }
            RoutePhase::Owner { since, .. } => [
                self.next_renewal(),
                Some(self.next_announcement()),
                Some(since + ms(SECOND_REPORT)),
                self.before.map(|(_, until)| until),
            ],
            RoutePhase::Former { since } => [Some(since + ms(PASS_ON)), None, None, None],
        };
        let leave_at = self.lost_at.filter(|_| self.leaving).map(|at| at + ms(LEAVE_AFTER));
        due.into_iter()
            .chain([self.release_at, leave_at])
            .flatten()
            .filter(|due| *due > self.now)
            .min()
    }

    /// Returns the router that owns the addresses, as far as this one knows, if it is another.
    pub(super) fn owner(&self) -> Option<Host> {
        let newest = self.newest.filter(|_| !self.is_owner())?;
        self.others.get(&newest.id.tail()).map(|other| other.host)
    }

    pub(super) fn ends(&self, refuse_new: bool) -> Ends {
        let is_target = self.targets.is_here();
        match self.phase {
            RoutePhase::Owner { .. } => {
                let before = self.before.and_then(|(tail, _)| self.others.get(&tail));
                let pass = before.map(|one| one.host);
                Ends { role: EndsRole::Owner { refuse_new }, is_target, pass }
            }
            RoutePhase::Idle | RoutePhase::Preparing { .. } | RoutePhase::Former { .. } => {
                Ends { role: EndsRole::Other, is_target, pass: self.owner() }
            }
        }
    }

    /// Returns true if nobody speaks to this router, although there was another router not long
    /// ago: that one may have the addresses, and the targets may live. Then nobody is refused.
    pub(super) fn may_be_cut_off(&self) -> bool {
        let is_linked =
            self.asking.agents().next().is_some() || self.others.values().any(|other| other.linked);
        !is_linked && self.has_company()
    }

    /// Returns true if another router was there not long ago.
    fn has_company(&self) -> bool {
        self.company_at.is_some_and(|at| self.now < at + ms(COMPANY))
    }

    /// Has the hosts of quiet targets asked whether they live.
    pub(super) fn probe_quiet(&mut self, out: &mut Vec<RouterAction>) {
        let quiet = self
            .targets
            .due_probes(self.now, self.rules.dead, |tail| self.members.contains_key(&tail));
        out.extend(quiet.into_iter().map(|(target, host)| RouterAction::Probe { target, host }));
    }

    pub(super) fn probed(&mut self, target: Target, alive: bool, out: &mut Vec<RouterAction>) {
        match self.targets.probed(target, alive, self.may_be_cut_off(), self.now) {
            Answer::Open => {}
            Answer::AskAgain(host) => {
                out.push(RouterAction::Hold(target));
                out.push(RouterAction::Probe { target, host });
            }
            Answer::Lives(host) => out.push(RouterAction::Point(target, host)),
            Answer::Dead => {
                let (name, address) = self.targets.named(target);
                out.push(RouterAction::Tell(RouteNews::TargetDead { name, address }));
                out.push(RouterAction::Cut { target, refuse: self.is_owner() && self.lease });
            }
        }
    }
}
