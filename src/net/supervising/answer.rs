//! What the supervisor's server answers at the registry port.

use super::server::Server;
use crate::wire::{Fault, Message, Question, Refusal, Response, Sharing};

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
            Message::Sharing(question) => return Some(self.ask(question)),
            _ => return None,
        }
        Some(answer)
    }

    /// Answers a question about resources, settings or messages, once all who must be told have
    /// been told. May wait until the group is settled.
    fn ask(&self, question: &Sharing) -> Vec<Message> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closing {
                return vec![Message::rejected(
                    Refusal::SteppingDown,
                    "another instance takes over",
                )];
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
