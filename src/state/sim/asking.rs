//! Questions at the registry port of the simulated world, by instances and by others.

use super::sharing::{KEYS, RESOURCES};
use super::*;
use crate::config::MAX_MESSAGE;
use crate::wire::field::Payload;
use crate::wire::{Fault, News, Response, Setting, Sharing};

pub(super) type QuestionId = usize;

/// Asked at the registry port.
pub(super) struct Question {
    /// `None`: somebody who is no instance.
    asker: Option<Who>,
    message: Message,
    answer: Option<Vec<Message>>,
    /// Answered, or given up because the supervisor died and it might have been carried out.
    pub(super) over: bool,
}

/// A listing says how many entries follow, each of another name.
fn check_listing(answer: &[News]) {
    if let [News::Listing { count, .. }, entries @ ..] = answer {
        let name = |news: &News| match news {
            News::Member { entry } => entry.name.clone(),
            other => panic!("{other:?} in a listing"),
        };
        assert_eq!(entries.iter().map(name).collect::<BTreeSet<_>>().len(), *count as usize);
    }
}

impl World {
    pub(super) fn question(&mut self, who: Who) {
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
                Message::Sharing(Sharing::Set { key, value: value(&mut self.random), expected })
            }
            4 => Message::Sharing(Sharing::SetLimit {
                resource,
                limit: 1 + self.random.below(6) as u64,
            }),
            5 => Message::Sharing(Sharing::Revoke { resource, holder: name }),
            6 => Message::Sharing(Sharing::SettingQuery {
                key: self.random.one_in(2).then_some(key),
            }),
            7 => Message::Sharing(Sharing::UsageQuery {
                resource: self.random.one_in(2).then_some(resource),
            }),
            8 => Message::Question(wire::Question::LookUp {
                name: if self.random.one_in(3) { "main".into() } else { name },
            }),
            9 => Message::Question(wire::Question::List {}),
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
                    let message = Message::Sharing(Sharing::Publish {
                        from: "m0".into(),
                        to: to.clone(),
                        topic: "t".into(),
                        payload,
                    });
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
        let (mut actions, mut answer, mut news) = (Vec::new(), Vec::new(), Vec::new());
        match question.clone() {
            Message::Question(wire::Question::LookUp { name }) => {
                self.seen.looked_up += 1;
                desk.supervisor.look_up(&name, &mut news);
            }
            Message::Question(wire::Question::List {}) => {
                self.seen.listed += 1;
                desk.supervisor.list(&mut news);
            }
            Message::Sharing(question) => answer = desk.supervisor.ask(question, &mut actions),
            other => panic!("{other:?} is no question"),
        }
        check_listing(&news);
        answer.extend(news.into_iter().map(Message::from));
        desk.supervisor.check();
        if let [Message::Response(Response::NotDone { fault: Fault::NotSettled, .. })] = answer[..]
        {
            assert!(!desk.supervisor.settled() && actions.is_empty());
            self.seen.asked_too_early += 1;
            return desk.pending.push(id);
        }
        let turn = self.instances[who].turn;
        tell!(self, "{} is asked {question:?}: {answer:?}", self.name(who));
        if let (
            Message::Sharing(Sharing::Publish { to, payload, .. }),
            [Message::Response(Response::Done { .. })],
        ) = (&question, &answer[..])
        {
            self.note_published(who, to.as_deref(), payload);
        }
        let conflict = matches!(answer[..], [Message::Response(Response::Conflict { .. })]);
        self.seen.conflict += u64::from(conflict);
        self.carry_through(who, actions);
        if !self.instances[who].lives() || self.instances[who].turn != turn {
            self.seen.died_before_the_answer += 1;
            return self.end_question(id);
        }
        if let [Message::ToHolder(ToHolder::Setting { setting })] = &answer[..] {
            self.acknowledge(who, setting.clone());
        }
        let question = &mut self.questions[id];
        (question.over, question.answer) = (true, Some(answer));
        self.soon(What::Answered(id));
    }

    /// The supervisor was gone before it answered: what does no harm twice is asked again.
    pub(super) fn end_question(&mut self, id: QuestionId) {
        match &self.questions[id].message {
            Message::Sharing(Sharing::Publish { .. })
            | Message::Sharing(Sharing::Revoke { .. })
            | Message::Sharing(Sharing::Set { expected: Some(_), .. }) => {
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
        let asked_for = matches!(self.questions[id].message, Message::Sharing(Sharing::Set { .. }));
        if let (true, Some([Message::ToHolder(ToHolder::Setting { setting })])) =
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
}
