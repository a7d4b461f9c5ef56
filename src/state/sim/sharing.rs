//! What simulated instances share, as `net/holding` and the registry port do it: permits, tallies,
//! settings, messages.
//!
//! A permit counts as valid as long as a living instance holds it, except where nothing else can be
//! promised: its revocation is on its way; the connection was cut while both ends lived, or its
//! holder stood still for longer than the settle time, so that the supervisor gave to others what
//! it held. Then it counts again once a settled supervisor has confirmed it.

use super::*;
use crate::config::MAX_MESSAGE;
use crate::state::holdings::Upshot;
use crate::state::permits::Claims;
use crate::state::supervisor::OWN;
use crate::wire::field::Payload;
use crate::wire::{Counted, Declared, Fault, Setting};

pub(super) const RESOURCES: [&str; 4] = ["db", "gpu", "net", "nobodys"];
const KEYS: [&str; 3] = ["a", "b", "c"];

pub(super) type QuestionId = usize;

/// Asked at the registry port.
pub(super) struct Question {
    /// `None`: somebody who is no instance.
    asker: Option<Who>,
    message: Message,
    answer: Option<Vec<Message>>,
    /// Answered, or given up because the supervisor died and it might have been carried out.
    over: bool,
}

/// A listing says how many entries follow, each of another name.
fn check_listing(answer: &[Message]) {
    if let [Message::Listing { count, .. }, entries @ ..] = answer {
        let name = |message: &Message| match message {
            Message::Member { entry } => entry.name.clone(),
            other => panic!("{other:?} in a listing"),
        };
        assert_eq!(entries.iter().map(name).collect::<BTreeSet<_>>().len(), *count as usize);
    }
}

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
    /// Somebody's program does something.
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
                self.say(who, Message::Acquire { wanted });
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
                    self.say(who, Message::Release { id });
                }
            }
            11 | 12 => {
                let units = self.random.below(3) as u64;
                let holdings = &mut self.instances[who].member.holdings;
                assert!(holdings.begin_tally(resource));
                let units = holdings.count(resource, |_| units);
                self.say(
                    who,
                    Message::Count { counted: Counted { resource: resource.into(), units } },
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

    fn question(&mut self, who: Who) {
        let key = String::from(KEYS[self.random.below(KEYS.len())]);
        let value = |random: &mut Random| (!random.one_in(4)).then(|| random.below(3).to_string());
        let hasty = self.family == Family::Hasty && !self.random.one_in(4);
        let resource =
            String::from(RESOURCES[self.random.below(if hasty { 1 } else { RESOURCES.len() })]);
        let name = format!("m{}", self.random.below(self.names));
        let kind = if hasty { 4 + self.random.below(2) } else { self.random.below(14) };
        let message = match kind {
            0..4 => {
                let expected = self.random.one_in(2).then(|| value(&mut self.random));
                Message::Set { key, value: value(&mut self.random), expected }
            }
            4 => Message::SetLimit { resource, limit: 1 + self.random.below(6) as u64 },
            5 => Message::Revoke { resource, holder: name },
            6 => Message::SettingQuery { key: self.random.one_in(2).then_some(key) },
            7 => Message::UsageQuery { resource: self.random.one_in(2).then_some(resource) },
            8 => Message::LookUp { name: if self.random.one_in(3) { "main".into() } else { name } },
            9 => Message::List {},
            _ => {
                let to = self.random.one_in(4).then_some(name);
                // Large ones come in bursts, so that some are missed.
                let (bytes, times) = if self.random.one_in(64) {
                    (MAX_MESSAGE - 8, 1 + self.random.below(24))
                } else {
                    (0, 1)
                };
                for _ in 0..times {
                    let number = self.published.len() as u64;
                    self.published.push(None);
                    let payload = Payload([&number.to_be_bytes()[..], &vec![0; bytes]].concat());
                    let message = Message::Publish {
                        from: "m0".into(),
                        to: to.clone(),
                        topic: "t".into(),
                        payload,
                    };
                    self.ask_anew(None, message);
                }
                return;
            }
        };
        let asker = (!self.random.one_in(4)).then_some(who);
        self.ask_anew(asker, message);
    }

    fn ask_anew(&mut self, asker: Option<Who>, message: Message) {
        self.questions.push(Question { asker, message, answer: None, over: false });
        self.soon(What::Arrive(self.questions.len() - 1));
    }

    /// An instance says something about what it holds.
    fn say(&mut self, who: Who, message: Message) {
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

    pub(super) fn say_to_itself(&mut self, who: Who, message: Message) {
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
    fn take(&mut self, who: Who, message: Message) {
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
            Upshot::Granted(_) => self.seen.granted += 1,
            Upshot::Denied { .. } => self.seen.denied += 1,
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

    /// A question arrives at the registry port of whoever supervises.
    pub(super) fn arrive(&mut self, id: QuestionId, what: What) {
        let Some((who, true)) = self.port else { return self.at(Time::from_millis(50), what) };
        if self.stalled(who, what) {
            return;
        }
        let Some(desk) = self.instances[who].desk() else {
            return self.at(Time::from_millis(50), what);
        };
        let question = self.questions[id].message.clone();
        let (mut actions, mut answer) = (Vec::new(), Vec::new());
        match question.clone() {
            Message::LookUp { name } => {
                self.seen.looked_up += 1;
                desk.supervisor.look_up(&name, &mut answer);
            }
            Message::List {} => {
                self.seen.listed += 1;
                desk.supervisor.list(&mut answer);
            }
            question => answer = desk.supervisor.ask(question, &mut actions),
        }
        check_listing(&answer);
        desk.supervisor.check();
        if let [Message::NotDone { fault: Fault::NotSettled, .. }] = answer[..] {
            assert!(!desk.supervisor.settled() && actions.is_empty());
            self.seen.asked_too_early += 1;
            return desk.pending.push(id);
        }
        let turn = self.instances[who].turn;
        tell!(self, "{} is asked {question:?}: {answer:?}", self.name(who));
        if let (Message::Publish { to, payload, .. }, [Message::Done { .. }]) =
            (&question, &answer[..])
        {
            self.note_published(who, to.as_deref(), payload);
        }
        let conflict = matches!(answer[..], [Message::Conflict { .. }]);
        self.seen.conflict += u64::from(conflict);
        self.carry_through(who, actions);
        if !self.instances[who].lives() || self.instances[who].turn != turn {
            self.seen.died_before_the_answer += 1;
            return self.end_question(id);
        }
        if let [Message::Setting { setting }] = &answer[..] {
            self.acknowledge(who, setting.clone());
        }
        let question = &mut self.questions[id];
        (question.over, question.answer) = (true, Some(answer));
        self.soon(What::Answered(id));
    }

    /// The supervisor was gone before it answered: what does no harm twice is asked again.
    pub(super) fn end_question(&mut self, id: QuestionId) {
        match &self.questions[id].message {
            Message::Publish { .. }
            | Message::Revoke { .. }
            | Message::Set { expected: Some(_), .. } => {
                self.questions[id].over = true;
            }
            _ => self.soon(What::Arrive(id)),
        }
    }

    pub(super) fn answered(&mut self, id: QuestionId, what: What) {
        let Some(who) = self.questions[id].asker else { return };
        if !self.instances[who].lives() || self.stalled(who, what) {
            return;
        }
        let asked_for = matches!(self.questions[id].message, Message::Set { .. });
        if let (true, Some([Message::Setting { setting }])) =
            (asked_for, self.questions[id].answer.as_deref())
        {
            tell!(self, "{} takes what it has set: {setting:?}", self.name(who));
            let setting = setting.clone();
            self.instances[who].member.holdings.merge(setting);
        }
    }

    fn note_published(&mut self, who: Who, to: Option<&str>, payload: &Payload) {
        let turn = self.instances[who].turn;
        let number = u64::from_be_bytes(payload.0[..8].try_into().unwrap());
        let desk = self.instances[who].desk().unwrap();
        desk.published += 1;
        self.published[number as usize] = Some((desk.number, desk.published));
        for (conn, link) in self.links.iter_mut().enumerate() {
            let desk = self.instances[who].desk().unwrap();
            let ours =
                link.owner[1] == who && link.turn == turn && desk.supervisor.is_member(conn as u64);
            let meant = to.is_none_or(|to| self.instances[link.owner[0]].entry.name == to);
            link.meant += u64::from(ours && meant);
        }
    }

    /// The promise: a setting that is acknowledged is with every member, or on its way, and is
    /// newer than any other that was.
    fn acknowledge(&mut self, who: Who, setting: Setting) {
        let turn = self.instances[who].turn;
        for (conn, link) in self.links.iter().enumerate() {
            let intact = link.owner[1] == who && link.turn == turn && link.is_intact();
            let desk = self.instances[who].desk().unwrap();
            if intact && desk.supervisor.is_member(conn as u64) {
                let member = link.owner[0];
                let told = self.instances[member].member.holdings.settings().has(&setting)
                    || link.brings(&setting);
                assert!(
                    told,
                    "{setting:?} was acknowledged, and {} has not heard of it",
                    self.name(member)
                );
            }
        }
        let news = self.acknowledged.merge(setting.clone());
        assert!(news || self.astray, "{setting:?} was acknowledged after one that is newer");
        self.seen.acknowledged += 1;
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
    pub(super) fn note_verdict(&mut self, conn: u64, message: &Message, who: Who) {
        let holder = || if conn == OWN { who } else { self.links[conn as usize].owner[0] };
        match message {
            Message::Granted { id } => _ = self.void.remove(&(holder(), *id)),
            Message::Revoked { id } => _ = self.void.insert((holder(), *id)),
            _ => {}
        }
    }

    /// After each decision: what a member holds is in the supervisor's book, unless it is told
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
                    assert!(told, "{} holds {id}, and it is not in the book", instance.entry.name);
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

    /// In the end: the book of `leader` says what all hold, no more and no less, and nobody waits
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
                Claims { standing: 0, ..holdings.claims() },
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
    fn is_intact(&self) -> bool {
        self.open == [true; 2] && self.reset == [false; 2]
    }

    /// True if the client's end is yet to read this setting, or a newer one of its key.
    fn brings(&self, setting: &Setting) -> bool {
        let newer = |message: &Message| match message {
            Message::Setting { setting: this } => {
                let mut one = Settings::default();
                one.merge(this.clone()) && one.has(setting)
            }
            _ => false,
        };
        self.open[0] && self.inbox[0].iter().any(newer)
    }
}
