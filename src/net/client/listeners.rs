//! Asks the supervisor about the listeners that instances share.

use std::time::Instant;

use super::ask::Asker;
use super::exchange::{Answers, Unanswered};
use crate::error::AskError;
use crate::event::SharedListener;
use crate::wire::{DeskName, Listening, Message, Response};

impl Asker {
    /// Returns the name of the supervisor's desk, or why it cannot have one.
    pub(crate) fn desk(&self, deadline: Instant) -> Result<Result<DeskName, String>, AskError> {
        self.question(Listening::DeskQuery {}, true, deadline, |answers| match answers.next()? {
            Message::Response(Response::DeskAnswer { name }) => Ok(Ok(name)),
            Message::Response(Response::NotDone { detail, .. }) => Ok(Err(detail)),
            _ => Err(Unanswered::Nonsense),
        })
    }

    /// Returns the listeners that the instances share, with those who accept there.
    pub(crate) fn listeners(&self, deadline: Instant) -> Result<Vec<SharedListener>, AskError> {
        self.question(Listening::ListenerQuery {}, true, deadline, |answers| {
            let Message::Response(Response::Listeners { count }) = answers.next()? else {
                return Err(Unanswered::Nonsense);
            };
            (0..count).map(|_| read_listener(answers)).collect()
        })
    }

    /// Has an instance accept no more connections. Returns at how many listeners it did.
    pub(crate) fn drain(&self, name: &str, deadline: Instant) -> Result<u64, AskError> {
        let question = Listening::Drain { name: name.into() };
        let drained =
            self.question(question, true, deadline, |answers| match answers.next()? {
                Message::Response(Response::Done { count }) => Ok(Some(count)),
                Message::Response(Response::NotDone { .. }) => Ok(None),
                _ => Err(Unanswered::Nonsense),
            })?;
        drained.ok_or_else(|| AskError::NoSuchInstance { name: name.into() })
    }
}

fn read_listener(answers: &mut Answers) -> Result<SharedListener, Unanswered> {
    let Message::Response(Response::Listener { address, waiting, acceptors }) = answers.next()?
    else {
        return Err(Unanswered::Nonsense);
    };
    let acceptor = |answers: &mut Answers| match answers.next()? {
        Message::Response(Response::Acceptor { acceptor }) => Ok(acceptor),
        _ => Err(Unanswered::Nonsense),
    };
    let acceptors: Result<Vec<_>, _> = (0..acceptors).map(|_| acceptor(answers)).collect();
    Ok(SharedListener { address, waiting, acceptors: acceptors? })
}
