//! What the supervisor's server answers at the registry port.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::desk::{Desk, DeskFacts};
use super::server::Server;
use crate::config::SURVIVORS_AT_DESK;
use crate::error::Cured;
use crate::net::rt::clock;
use crate::net::rt::complaint::complain;
use crate::wire::{Fault, Listening, Message, Question, Refusal, Response, Sharing};

/// How often to look whether an instance has come to the desk: nothing else tells.
const LOOK: Duration = Duration::from_millis(5);

impl Server {
    /// Answers what may be asked at the registry port, except for a watch; `None` if it may not.
    pub(crate) fn answer(&self, question: &Message) -> Option<Vec<Message>> {
        let mut answer = Vec::new();
        match question {
            Message::Question(Question::List {}) => {
                self.read(|supervisor| supervisor.list(&mut answer))
            }
            Message::Question(Question::LookUp { name }) => {
                self.read(|supervisor| supervisor.look_up(name, &mut answer))
            }
            Message::Question(Question::StatusQuery {}) => {
                let status = self.status();
                return Some(vec![Response::StatusAnswer { status }.into()]);
            }
            Message::Listening(Listening::DeskQuery {}) => answer.push(self.find_desk()),
            Message::Listening(Listening::ListenerQuery {}) => match self.open_desk() {
                Some(desk) => desk.list(&mut answer),
                None => answer.push(Response::Listeners { count: 0 }.into()),
            },
            Message::Listening(Listening::Drain { name }) => answer.push(self.drain(name)),
            Message::Sharing(question) => return Some(self.ask(question)),
            _ => return None,
        }
        Some(answer)
    }

    /// Returns the desk, which is opened if need be; `None` if this supervisorship ends.
    fn desk(&self) -> Option<io::Result<Arc<Desk>>> {
        let mut place = self.desk.lock();
        if self.is_closed() {
            return None;
        }
        if let Some(desk) = &*place {
            return Some(Ok(desk.clone()));
        }
        let facts = DeskFacts {
            pass: self.facts.pass.clone(),
            at: self.facts.at,
            directory: self.facts.directory.clone(),
            supervisor: self.facts.me.name.clone(),
            elected: self.elected,
        };
        let opened = Desk::open(facts);
        *place = opened.as_ref().ok().cloned();
        Some(opened)
    }

    /// Returns the desk if it has been opened.
    fn open_desk(&self) -> Option<Arc<Desk>> {
        self.desk.lock().clone()
    }

    /// Says where the desk is.
    fn find_desk(&self) -> Message {
        match self.desk() {
            Some(Ok(desk)) => Response::DeskAnswer { name: desk.name() }.into(),
            Some(Err(error)) => {
                let me = &self.facts.me.name;
                let detail = Cured(&error).to_string();
                complain!(Warn, me, "{me}: cannot share listeners: {detail}");
                Response::NotDone { fault: Fault::Unable, detail }.into()
            }
            None => stepping_down(),
        }
    }

    /// Has an instance accept no more connections.
    fn drain(&self, name: &str) -> Message {
        // After an election it may be on its way to the registry and to the desk: what it would not
        // be told is worse than a wait, on the asker's own thread.
        let mut until = self.elected + SURVIVORS_AT_DESK;
        loop {
            let count = self.open_desk().map_or(0, |desk| desk.drain(name));
            if count > 0 {
                return Response::Done { count }.into();
            }
            let (is_known, is_settled) = self.read(|supervisor| {
                (supervisor.registry().entry(name).is_some(), supervisor.settled())
            });
            if self.is_closed() {
                return stepping_down();
            }
            let now = clock::now();
            if !is_known && !is_settled {
                until = now + SURVIVORS_AT_DESK; // it comes to the registry first
            } else if now >= until {
                let (fault, detail) = (Fault::NoSuchInstance, name.to_owned());
                return match is_known {
                    true => Response::Done { count }.into(),
                    false => Response::NotDone { fault, detail }.into(),
                };
            }
            thread::sleep(LOOK);
        }
    }

    /// Answers a question about resources, settings or messages, once all who must be told have
    /// been told. May wait until the group is settled.
    fn ask(&self, question: &Sharing) -> Vec<Message> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closing {
                return vec![stepping_down()];
            }
            log::debug!("{}: asked for {}", self.facts.me.name, question.name());
            let mut actions = Vec::new();
            let answer = inner.supervisor.ask(question.clone(), &mut actions);
            if matches!(
                answer[..],
                [Message::Response(Response::NotDone { fault: Fault::NotSettled, .. })]
            ) {
                self.settled.wait(&mut inner);
                continue;
            }
            let notices = self.perform(&mut inner, actions);
            drop(inner);
            self.give(notices);
            return answer;
        }
    }
}

fn stepping_down() -> Message {
    Message::rejected(Refusal::SteppingDown, "another instance takes over")
}
