//! What simulated instances share, as `net/member/holding` and the registry port do it: permits,
//! tallies, settings, messages.
//!
//! A permit counts as valid as long as a living instance holds it, except where nothing else can be
//! promised: its revocation is on its way; the connection was cut while both ends lived; or its
//! holder stood still for longer than the settle time, and the supervisor gave what it held to
//! others. It then counts again once a settled supervisor has confirmed it.

use super::*;
use crate::state::holdings::Upshot;
use crate::state::permits::Claims;
use crate::state::supervisor::OWN;
use crate::wire::{Counted, Declared, Setting};

pub(super) const RESOURCES: [&str; 4] = ["db", "gpu", "net", "nobodys"];
pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];

/// What an instance of this number says of the resources.
pub(super) fn declared(who: Who) -> Vec<Declared> {
    let declared = |resource: &str, limit, per_holder| Declared {
        resource: resource.into(),
        limit,
        per_holder,
    };
    let mut all = vec![declared("db", 4, None), declared("gpu", 6, Some(3))];
    match who % 4 {
        0 => all.push(declared("net", 2, None)),
        1 => all.push(declared("net", 3, Some(2))),
        _ => {}
    }
    all
}

impl World {
    /// Some instance's program does something.
    pub(super) fn use_it(&mut self) {
        let Some(left) = self.uses.checked_sub(1) else { return };
        self.uses = left;
        let gap = self.random.time(if left.is_multiple_of(8) { 20 } else { 14 });
        self.at(gap, What::Use);
        let now = self.now;
        let awake: Vec<Who> = (0..self.instances.len())
            .filter(|&who| self.instances[who].lives() && self.instances[who].stalled_until <= now)
            .collect();
        if awake.is_empty() {
            return;
        }
        let who = awake[self.random.below(awake.len())];
        let kinds = if self.family == Family::Hasty && !self.random.one_in(8) { 1 } else { 14 };
        let resource = RESOURCES[self.random.below(kinds) % 4];
        match self.random.below(20) {
            0..7 => {
                let (units, wait) = (1 + self.random.below(4) as u64, !self.random.one_in(4));
                let asked_ns = now.as_nanos() as u64;
                let wanted = self.instances[who]
                    .member
                    .holdings
                    .ask(resource, units, wait, asked_ns)
                    .expect("not so many");
                self.say(who, FromHolder::Acquire { wanted });
            }
            7..11 => {
                let claims = self.instances[who].member.holdings.claims();
                let held = claims.held.iter().map(|held| held.id);
                let ids: Vec<u64> =
                    held.chain(claims.wanted.iter().map(|wanted| wanted.id)).collect();
                if !ids.is_empty() {
                    let id = ids[self.random.below(ids.len())];
                    self.seen.withdrawn +=
                        u64::from(claims.wanted.iter().any(|wanted| wanted.id == id));
                    assert!(self.instances[who].member.holdings.release(id));
                    self.instances[who].given_back.insert(id);
                    self.say(who, FromHolder::Release { id });
                }
            }
            11 | 12 => {
                let units = self.random.below(3) as u64;
                let holdings = &mut self.instances[who].member.holdings;
                assert!(holdings.begin_tally(resource));
                let units = holdings.count(resource, |_| units);
                self.say(
                    who,
                    FromHolder::Count { counted: Counted { resource: resource.into(), units } },
                );
            }
            13 => {
                let (_, query) =
                    self.instances[who].member.holdings.ask_total(resource).expect("not so many");
                self.say(who, query);
            }
            _ => self.question(who),
        }
    }

    /// An instance says something about what it holds.
    fn say(&mut self, who: Who, message: FromHolder) {
        tell!(self, "{} says {message:?}", self.name(who));
        let instance = &mut self.instances[who];
        self.seen.said_while_joining += u64::from(matches!(instance.doing, Doing::Joining(_)));
        match (instance.member.say(message), &instance.doing) {
            (Word::Lifeline(message), Doing::Following(link)) => {
                let link = *link;
                self.send(link, Client, message);
            }
            (Word::Own(message), Doing::Supervising(_)) => self.say_to_itself(who, message),
            (Word::Kept, _) => {}
            (word, _) => panic!("{word:?} goes nowhere"),
        }
    }

    pub(super) fn say_to_itself(&mut self, who: Who, message: FromHolder) {
        self.decide(who, Input::Said { conn: OWN, message });
        self.collect(who);
    }

    /// A lifeline has begun.
    pub(super) fn begin(&mut self, who: Who, link: LinkId) {
        let messages = self.instances[who].member.take_first_words();
        messages.into_iter().for_each(|message| self.send(link, Client, message));
    }

    /// A supervisor's own instance takes what was decided for it.
    pub(super) fn collect(&mut self, who: Who) {
        let Some(desk) = self.instances[who].desk() else { return };
        desk.collecting = false;
        let count = desk.own.len();
        for _ in 0..count {
            let next = self.instances[who].desk().and_then(|desk| desk.own.pop_front());
            next.into_iter().for_each(|message| self.take(who, message));
        }
    }

    /// An instance takes what it says to itself as supervisor.
    fn take(&mut self, who: Who, message: ToHolder) {
        tell!(self, "{} takes {message:?}", self.name(who));
        let about = Instance::about(&message);
        match self.instances[who].member.hear_held(message) {
            Heard::Held(upshot, _) => self.heed(who, about, upshot, None),
            other => panic!("{other:?} of its own"),
        }
    }

    /// What an instance makes of something that was said, perhaps over the lifeline `link`, about
    /// what it holds.
    pub(super) fn heed(
        &mut self,
        who: Who,
        about: Option<u64>,
        upshot: Upshot,
        link: Option<LinkId>,
    ) {
        let instance = &mut self.instances[who];
        match upshot {
            Upshot::Quiet => {
                let withdrawn = about.is_none_or(|id| instance.given_back.contains(&id));
                assert!(withdrawn, "{about:?} was answered twice");
            }
            Upshot::Decided { verdict: Ok(()), .. } => self.seen.granted += 1,
            Upshot::Decided { verdict: Err(_), .. } => self.seen.denied += 1,
            Upshot::Lost(_) => self.seen.revoked += 1,
            Upshot::Changed(_) => self.seen.setting_changed += 1,
            Upshot::Delivered { payload, .. } => {
                let number = u64::from_be_bytes(payload.0[..8].try_into().unwrap());
                let place = self.published[number as usize];
                assert!(place > instance.last_delivered, "message {number} is out of order");
                instance.last_delivered = place;
                link.into_iter().for_each(|link| self.links[link].accounted += 1);
            }
            Upshot::Missed(messages) => {
                self.seen.missed += 1;
                link.into_iter().for_each(|link| self.links[link].accounted += messages);
            }
            Upshot::OverLimit { in_use, limit, .. } => {
                assert!(in_use > limit);
                self.seen.over_limit += 1;
            }
            Upshot::Total { .. } => self.seen.total += 1,
        }
        self.check_use();
    }

    /// What nobody has any more, because all who had it are dead, is not promised any longer.
    pub(super) fn forget_the_lost(&mut self) {
        let known = |setting: &Setting| {
            let with = |instance: &Instance| match &instance.doing {
                Doing::Gone => false,
                Doing::Supervising(desk) => desk.supervisor.settings().has(setting),
                Doing::Deed(_) | Doing::Binding | Doing::Joining(_) | Doing::Following(..) => {
                    instance.member.holdings.settings().has(setting)
                }
            };
            self.instances.iter().any(with)
                || self
                    .links
                    .iter()
                    .any(|link| self.instances[link.owner[0]].lives() && link.brings(setting))
        };
        let (kept, lost): (Vec<Setting>, Vec<Setting>) =
            self.acknowledged.all().cloned().partition(known);
        if !lost.is_empty() {
            tell!(self, "lost with all who had it: {lost:?}");
            self.seen.setting_lost += 1;
            self.acknowledged = Settings::default();
            kept.into_iter().for_each(|setting| assert!(self.acknowledged.merge(setting)));
        }
    }

    /// The connection on which this instance is a member, as far as `who`, who supervises, knows.
    fn member(&self, who: Who, desk: &Desk, other: Who) -> Option<u64> {
        match self.instances[other].doing {
            Doing::Supervising(_) => Some(OWN),
            Doing::Joining(link) | Doing::Following(link) => {
                let Link { owner, turn, .. } = self.links[link];
                let ours = owner[1] == who && turn == self.instances[who].turn;
                Some(link as u64).filter(|&conn| ours && desk.supervisor.is_member(conn))
            }
            Doing::Deed(_) | Doing::Binding | Doing::Gone => None,
        }
    }

    /// Carries out what `who` decided, and holds it to the promises about what is shared.
    pub(super) fn carry_through(&mut self, who: Who, actions: Vec<Action>) {
        let before = self.ceilings;
        self.note_shared(who);
        self.act(who, actions);
        if self.instances[who].desk().is_none() {
            // It died amid all this. What it told nobody to give back stands; whom it told nothing
            // else was given nothing.
            self.ceilings
                .iter_mut()
                .zip(before)
                .for_each(|(ceiling, before)| *ceiling = before.max(*ceiling));
        }
        self.check_shared(who);
    }

    /// With each decision, before any of it is told: what the supervisor may give to others from
    /// now on; and the promise that nothing is granted above a limit. What was granted before it
    /// shrank stands.
    fn note_shared(&mut self, who: Who) {
        let Doing::Supervising(desk) = &self.instances[who].doing else { return };
        if !desk.supervisor.settled() {
            return;
        }
        for (other, instance) in
            self.instances.iter().enumerate().filter(|(_, instance)| instance.lives())
        {
            let held = instance.member.holdings.held().map(|held| held.id);
            if let Some(conn) = self.member(who, desk, other) {
                let known = held.filter(|&id| desk.supervisor.knows(conn, id));
                self.seen.confirmed +=
                    known.map(|id| u64::from(self.void.remove(&(other, id)))).sum::<u64>();
            } else {
                self.seen.void +=
                    held.map(|id| u64::from(self.void.insert((other, id)))).sum::<u64>();
                // They may be granted already, and not yet known to be.
                self.void.extend(
                    instance
                        .member
                        .holdings
                        .claims()
                        .wanted
                        .iter()
                        .map(|wanted| (other, wanted.id)),
                );
            }
        }
        for (resource, (ceiling, most)) in
            RESOURCES.iter().zip(self.ceilings.iter_mut().zip(&mut self.most))
        {
            let Some(usage) = desk.supervisor.book_usage(resource) else { continue };
            let held = usage.in_use - usage.counted;
            // While nobody declares it, it has no limit that could be passed; and nothing of it is
            // granted.
            let limit = usage.limit.unwrap_or(held);
            // What was void can come back if nobody else has it, also over a limit that has shrunk
            // meanwhile.
            *most = limit.max(*most);
            assert!(
                held <= (*most).max(*ceiling),
                "{held} of {resource}, of which there are {limit}"
            );
            *ceiling = limit.max(held);
        }
    }

    /// A permit is valid, or void, from the moment in which its holder is told so, whenever that
    /// reads it.
    pub(super) fn note_verdict(&mut self, conn: u64, message: &ToHolder, who: Who) {
        let holder = || if conn == OWN { who } else { self.links[conn as usize].owner[0] };
        match message {
            ToHolder::Granted { id } => _ = self.void.remove(&(holder(), *id)),
            ToHolder::Revoked { id } => _ = self.void.insert((holder(), *id)),
            _ => {}
        }
    }

    /// After each decision: what a member holds is in the supervisor's ledger, unless it is told
    /// otherwise.
    fn check_shared(&self, who: Who) {
        let Doing::Supervising(desk) = &self.instances[who].doing else { return };
        for (other, instance) in
            self.instances.iter().enumerate().filter(|(_, instance)| instance.lives())
        {
            if instance.member.holdings.held().next().is_none() {
                continue;
            }
            let Some(conn) = self.member(who, desk, other) else { continue };
            for id in instance.member.holdings.held().map(|held| held.id) {
                if !desk.supervisor.knows(conn, id) {
                    let told =
                        self.void.contains(&(other, id)) || !self.links[conn as usize].is_intact();
                    assert!(
                        told,
                        "{} holds {id}, and it is not in the ledger",
                        instance.entry.name
                    );
                }
            }
        }
        self.check_use();
    }

    fn check_use(&self) {
        let mut units = [0; RESOURCES.len()];
        let sure =
            |instance: &Instance| instance.lives() && instance.member.holdings.is_certain(self.now);
        for (who, instance) in
            self.instances.iter().enumerate().filter(|(_, instance)| sure(instance))
        {
            for held in
                instance.member.holdings.held().filter(|held| !self.void.contains(&(who, held.id)))
            {
                let at = RESOURCES
                    .iter()
                    .position(|resource| *resource == held.resource)
                    .expect("one of these");
                units[at] += held.units;
            }
        }
        let within = units.iter().zip(&self.ceilings).all(|(units, ceiling)| units <= ceiling);
        assert!(within, "held are {units:?} of {RESOURCES:?}, there may be {:?}", self.ceilings);
    }

    /// The promise: who elects itself is no surer of what it holds than it was before, if others
    /// may have been given it.
    pub(super) fn check_own(&mut self, who: Who) {
        let Instance { member, stalled_until, cut_while_joining, .. } = &self.instances[who];
        let holdings = &member.holdings;
        let void = holdings.held().any(|held| self.void.contains(&(who, held.id)));
        self.seen.elected_in_doubt += u64::from(void);
        let sure = holdings.is_certain(self.now)
            && !cut_while_joining
            && *stalled_until == Time::ZERO
            && !self.astray;
        assert!(!void || !sure, "{} is sure of what others may have been given", self.name(who));
    }

    /// In the end: the ledger of `leader` says what all hold, no more and no less, and nobody waits
    /// for an answer.
    pub(super) fn check_shared_at_the_end(&self, leader: Who) {
        let Doing::Supervising(desk) = &self.instances[leader].doing else { return };
        let supervisor = &desk.supervisor;
        assert!(desk.own.is_empty() && desk.pending.is_empty());
        assert!(
            self.questions.iter().all(|question| question.over),
            "a question without an answer"
        );
        let known: Vec<&Setting> = supervisor.settings().present().collect();
        let mut totals = [0; RESOURCES.len()];
        for instance in self.instances.iter().filter(|instance| instance.lives()) {
            let Instance { member: Member { holdings, .. }, entry, .. } = instance;
            let conn = if let Doing::Following(link) = instance.doing { link as u64 } else { OWN };
            assert_eq!(
                supervisor.claims_of(conn),
                Claims { confirmed_term: 0, ..holdings.claims() },
                "what {} holds",
                entry.name
            );
            assert!(holdings.is_certain(self.now), "{} is not sure of what it holds", entry.name);
            assert_eq!(holdings.unanswered(), 0, "{} asked for totals", entry.name);
            let settings: Vec<&Setting> = holdings.settings().present().collect();
            // Where a term was used twice, what was set in the one passes for known to the
            // supervisor of the other.
            assert!(
                settings == known || self.astray,
                "{} has {settings:?}, others {known:?}",
                entry.name
            );
            if conn != OWN {
                let Link { meant, accounted, .. } = self.links[conn as usize];
                assert_eq!(accounted, meant, "messages to {}", entry.name);
            }
            for (total, resource) in totals.iter_mut().zip(RESOURCES) {
                *total += holdings.counted(resource);
            }
        }
        for (resource, total) in RESOURCES.iter().zip(totals) {
            let counted = supervisor.book_usage(resource).map_or(0, |usage| usage.counted);
            assert_eq!(counted, total, "counted of {resource}");
        }
        for setting in self.acknowledged.all() {
            // A reset can lose what a setting's last witness had not read yet.
            assert!(
                supervisor.settings().has(setting) || self.lossy,
                "{setting:?} was acknowledged, and is lost"
            );
        }
    }
}

impl Link {
    pub(super) fn is_intact(&self) -> bool {
        self.open == [true; 2] && self.reset == [false; 2]
    }

    /// True if the client's end is yet to read this setting, or a newer one of its key.
    pub(super) fn brings(&self, setting: &Setting) -> bool {
        let newer = |message: &Message| match message {
            Message::ToHolder(ToHolder::Setting { setting: this }) => {
                let mut one = Settings::default();
                one.merge(this.clone()) && one.has(setting)
            }
            _ => false,
        };
        self.open[0] && self.inbox[0].iter().any(newer)
    }
}
