//! What the targets report that they have. It is asked for whenever the table must be made or held
//! to the truth, and taken together when all have answered, or have had the time to.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use super::certainty::Certainty;
use super::{
    Conn, HERE, Millis, RouteNews, RoutePhase, Router, RouterAction, Target, TargetReports, ms,
};
use crate::config::route::RESYNC;
use crate::state::route::strangers::FindAnswer;
use crate::wire::field::Payload;
use crate::wire::route::unpack;
use crate::wire::{FromAgent, Host, RouteToken, Tail, TargetState, ToAgent};

/// The connections of a target, as it has reported them.
type Reported = Vec<(Conn, u8)>;

/// A connection to an agent.
#[derive(Clone, Debug)]
struct AgentLink {
    target: Target,
    /// The number of the newest question, and what has come of the answer.
    asked: u32,
    /// And how many have come, of which some may have closed meanwhile.
    part: Option<(Reported, u32)>,
    /// The number of the newest question that it has answered in full.
    answered: Option<u32>,
}

/// What is asked of the agents.
#[derive(Default)]
pub(super) struct Asking {
    number: u32,
    links: BTreeMap<Tail, AgentLink>,
    /// Whole reports that are not in the table yet.
    whole: BTreeMap<Tail, Reported>,
    /// Since when there is a question that not all have answered, or whose answers are not in the
    /// table.
    since: Option<Millis>,
    /// When all were last asked.
    asked_at: Millis,
    entries: u32,
}

/// What became of a message.
type Taken<T> = Result<T, &'static str>;

impl Asking {
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = Tail> {
        self.links.keys().copied()
    }

    pub(super) fn target(&self, tail: Tail) -> Option<Target> {
        self.links.get(&tail).map(|link| link.target)
    }

    fn ask(&mut self, tail: Tail, now: Millis, out: &mut Vec<RouterAction>) {
        let Some(link) = self.links.get_mut(&tail) else { return };
        (link.asked, link.part) = (self.number, None);
        self.whole.remove(&tail);
        self.since.get_or_insert(now);
        out.push(RouterAction::ToAgent(tail, ToAgent::Report { number: self.number }));
    }

    /// Asks all. Returns the question's number.
    pub(super) fn ask_all(&mut self, now: Millis, out: &mut Vec<RouterAction>) -> u32 {
        self.number = self.number.wrapping_add(1);
        (self.since, self.asked_at) = (Some(now), now);
        let all: Vec<Tail> = self.agents().collect();
        all.into_iter().for_each(|tail| self.ask(tail, now, out));
        self.number
    }

    fn up(&mut self, tail: Tail, target: Target) {
        let link = AgentLink { target, asked: self.number, part: None, answered: None };
        self.links.insert(tail, link);
    }

    pub(super) fn down(&mut self, tail: Tail) {
        self.links.remove(&tail);
        self.whole.remove(&tail);
    }

    fn begin(&mut self, tail: Tail, number: u32) -> Taken<()> {
        let link = self.links.get_mut(&tail).ok_or("it has not said hello")?;
        // The answer to an earlier question is of no use any more.
        if link.asked == number && link.answered != Some(number) {
            link.part = Some((Reported::new(), 0));
        }
        Ok(())
    }

    fn part(
        &mut self,
        tail: Tail,
        number: u32,
        keys: impl Iterator<Item = (Conn, u8)>,
    ) -> Taken<()> {
        let link = self.links.get_mut(&tail).ok_or("it has not said hello")?;
        if let Some((part, count)) = link.part.as_mut().filter(|_| link.asked == number) {
            for key in keys {
                part.push(key);
                *count += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, tail: Tail, number: u32, keys: u32) -> Taken<()> {
        let link = self.links.get_mut(&tail).ok_or("it has not said hello")?;
        if link.asked != number {
            return Ok(());
        }
        if let Some((part, count)) = link.part.take() {
            if count != keys {
                return Err("its report has lost a part");
            }
            link.answered = Some(number);
            self.whole.insert(tail, part);
        }
        Ok(())
    }

    /// A connection that has closed is in no report that came before.
    fn closed(&mut self, tail: Tail, closed: &[Conn]) {
        let reports = [
            self.links.get_mut(&tail).and_then(|link| link.part.as_mut()).map(|(part, _)| part),
            self.whole.get_mut(&tail),
        ];
        let closed = super::set(closed.iter().copied());
        for report in reports.into_iter().flatten() {
            report.retain(|(conn, _)| !closed.contains(conn));
        }
    }

    fn have_all_answered(&self) -> bool {
        self.links.values().all(|link| link.answered == Some(link.asked))
    }

    /// Returns true if every agent, and each of these, has answered this question or a later one.
    pub(super) fn have_answered(&self, number: u32, mut these: impl Iterator<Item = Tail>) -> bool {
        let has = |link: &AgentLink| {
            // Numbers go on from 0.
            link.answered.is_some_and(|answered| answered.wrapping_sub(number) < u32::MAX / 2)
        };
        self.links.values().all(has) && these.all(|tail| self.links.contains_key(&tail))
    }

    /// Returns the reports that are here, taken together, if it is time.
    fn take(&mut self, now: Millis, patience: Millis) -> Option<TargetReports> {
        let since = self.since?;
        let all = self.have_all_answered();
        if !all && now < since + patience {
            return None;
        }
        if all {
            self.since = None;
        } else if self.whole.is_empty() && now > since + patience {
            return None; // what comes later is taken when it comes
        }
        let mut known: BTreeMap<Conn, (Target, Certainty)> = BTreeMap::new();
        let mut reports = TargetReports::default();
        for (tail, report) in std::mem::take(&mut self.whole) {
            let Some(link) = self.links.get(&tail) else { continue };
            reports.of.push(link.target);
            for (conn, state) in report {
                let certainty = Certainty::of(state);
                let counts = all || certainty > Certainty::Perhaps;
                if counts && known.get(&conn).is_none_or(|(_, known)| certainty > *known) {
                    known.insert(conn, (link.target, certainty));
                }
            }
        }
        self.entries = known.len() as u32;
        for (conn, (target, certainty)) in known {
            reports.push(conn, target, certainty);
        }
        Some(reports)
    }

    pub(super) fn due(&self, patience: Millis) -> Option<Millis> {
        self.since.map(|since| since + patience)
    }
}

impl Router {
    pub(super) fn agent_up(
        &mut self,
        tail: Tail,
        name: String,
        host: Host,
        weight: u16,
        out: &mut Vec<RouterAction>,
    ) {
        let Some((target, moved)) = self.targets.up(tail, &name, host, weight, self.now) else {
            out.push(RouterAction::Tell(RouteNews::TooManyTargets { name }));
            out.push(RouterAction::HangUp(tail, "this router has as many targets as it can"));
            return;
        };
        if moved || self.adopted && target != HERE {
            out.push(RouterAction::Point(target, host));
        }
        out.push(RouterAction::Tell(RouteNews::TargetUp { name, address: host.any() }));
        self.asking.up(tail, target);
        if self.is_owner() {
            self.serve(tail, out);
        }
        // Its connections are those of its host, also of the time before.
        if self.phase != RoutePhase::Idle {
            self.asking.ask(tail, self.now, out);
        }
    }

    pub(super) fn hear_agent(
        &mut self,
        tail: Tail,
        message: FromAgent,
        out: &mut Vec<RouterAction>,
    ) {
        if let Err(fault) = self.take_from_agent(tail, message, out) {
            out.push(RouterAction::HangUp(tail, fault));
            self.down(tail, out);
        }
    }

    fn take_from_agent(
        &mut self,
        tail: Tail,
        message: FromAgent,
        out: &mut Vec<RouterAction>,
    ) -> Taken<()> {
        match message {
            FromAgent::Stale { token } => self.stale(token, out),
            FromAgent::ReportBegin { number, state } => {
                self.targets.state(tail, self.checked(state)?);
                self.asking.begin(tail, number)?;
            }
            FromAgent::ReportPart { number, service, keys } => {
                let keys = self.keys(service, &keys)?;
                let conns =
                    keys.into_iter().map(|(client, state)| (Conn { service, client }, state));
                self.asking.part(tail, number, conns)?;
            }
            FromAgent::ReportEnd { number, keys } => self.asking.end(tail, number, keys)?,
            FromAgent::TargetNow { state } => self.targets.state(tail, self.checked(state)?),
            FromAgent::Closed { service, keys } => {
                let keys = self.keys(service, &keys)?;
                let closed: Vec<Conn> =
                    keys.into_iter().map(|(client, _)| Conn { service, client }).collect();
                self.asking.closed(tail, &closed);
                // An idle router knows none.
                if self.phase != RoutePhase::Idle || self.adopted {
                    out.push(RouterAction::Forget(closed));
                }
            }
            FromAgent::Behind {} => {
                if self.phase != RoutePhase::Idle {
                    self.asking.ask(tail, self.now, out);
                }
            }
            FromAgent::Found { number, service, keys } => {
                let keys = self.keys(service, &keys)?;
                let target = self.asking.target(tail).ok_or("it has not said hello")?;
                self.strangers.answered(number, FindAnswer { tail, target, service, keys });
            }
        }
        Ok(())
    }

    fn stale(&mut self, token: RouteToken, out: &mut Vec<RouterAction>) {
        self.heard_of(token.into(), out);
    }

    /// Only services of ours can have listeners.
    fn checked(&self, state: TargetState) -> Taken<TargetState> {
        let services = self.rules.services.len() as u32;
        let beyond = state.listening.checked_shr(services).unwrap_or_default();
        if beyond == 0 { Ok(state) } else { Err("it names a service that this router has not") }
    }

    fn keys(&self, service: u16, keys: &Payload) -> Taken<Vec<(SocketAddr, u8)>> {
        let service = self.rules.services.get(usize::from(service));
        let service = service.ok_or("it names a service that this router has not")?;
        unpack(keys, *service).map_err(|_| "its keys are none")
    }

    /// Puts what has been reported into the table.
    pub(super) fn end_reports(&mut self, out: &mut Vec<RouterAction>) {
        let is_due = self.now >= self.asking.asked_at + ms(RESYNC);
        if self.is_owner() && is_due {
            self.asking.ask_all(self.now, out);
        }
        let Some(reports) = self.asking.take(self.now, self.rules.interval) else { return };
        match self.phase {
            RoutePhase::Idle => {}
            RoutePhase::Preparing { loaded: false, since, token } => {
                out.push(match self.adopted {
                    // Packets go by that table: what was opened a moment ago is in no report.
                    true => RouterAction::Fill(reports),
                    false => RouterAction::Replace([reports.live, reports.other].concat()),
                });
                self.phase = RoutePhase::Preparing { since, loaded: true, token };
                self.say_ready(out);
            }
            RoutePhase::Preparing { .. } | RoutePhase::Owner { .. } | RoutePhase::Former { .. } => {
                if !reports.of.is_empty() {
                    out.push(RouterAction::Fill(reports));
                }
            }
        }
    }
}
