//! Asks the supervisor about what the instances share: resources, settings, messages.

use std::time::Instant;

use super::ask::Asker;
use super::exchange::{Answers, Unanswered};
use crate::error::{AskError, MessageError, ResourceError, SettingError};
use crate::event::{Holder, Usage};
use crate::wire::field::Payload;
use crate::wire::{Fault, Message, Response, Setting, Sharing, ToHolder};

/// The supervisor's answer to a request that changes something.
enum Changed {
    Done(u64),
    Stored(Setting),
    Conflict(Option<String>),
    NotDone(Fault, String),
}

fn outcome(answers: &mut Answers) -> Result<Changed, Unanswered> {
    Ok(match answers.next()? {
        Message::Response(Response::Done { count }) => Changed::Done(count),
        Message::ToHolder(ToHolder::Setting { setting }) => Changed::Stored(setting),
        Message::Response(Response::Conflict { present }) => Changed::Conflict(present),
        Message::Response(Response::NotDone { fault, detail }) => Changed::NotDone(fault, detail),
        _ => return Err(Unanswered::Nonsense),
    })
}

impl Asker {
    /// Returns one resource as it is, or all.
    pub(crate) fn usage(
        &self,
        resource: Option<&str>,
        deadline: Instant,
    ) -> Result<Vec<Usage>, ResourceError> {
        let question = Sharing::UsageQuery { resource: resource.map(str::to_owned) };
        let answer =
            self.question(question, true, deadline, |answers| match answers.next()? {
                Message::Response(Response::Resources { count }) => {
                    let usages: Result<Vec<Usage>, Unanswered> =
                        (0..count).map(|_| read_usage(answers)).collect();
                    Ok(Ok(usages?))
                }
                Message::Response(Response::NotDone { fault, detail }) => Ok(Err((fault, detail))),
                _ => Err(Unanswered::Nonsense),
            })?;
        answer.map_err(|(fault, detail)| resource_error(fault, detail))
    }

    /// Sets a limit; a repeated request sets the same.
    pub(crate) fn set_limit(
        &self,
        resource: &str,
        limit: u64,
        deadline: Instant,
    ) -> Result<(), ResourceError> {
        let question = Sharing::SetLimit { resource: resource.into(), limit };
        match self.question(question, true, deadline, outcome)? {
            Changed::NotDone(fault, detail) => Err(resource_error(fault, detail)),
            Changed::Done(_) | Changed::Stored(_) | Changed::Conflict(_) => Ok(()),
        }
    }

    /// Takes a holder's permits away. Returns how many there were. A repeated request could take
    /// permits that were granted since.
    pub(crate) fn revoke(
        &self,
        resource: &str,
        holder: &str,
        deadline: Instant,
    ) -> Result<u64, ResourceError> {
        let question = Sharing::Revoke { resource: resource.into(), holder: holder.into() };
        match self.question(question, false, deadline, outcome)? {
            Changed::Done(count) => Ok(count),
            Changed::NotDone(fault, detail) => Err(resource_error(fault, detail)),
            Changed::Stored(_) | Changed::Conflict(_) => Err(AskError::SupervisorLost.into()),
        }
    }

    /// Returns one setting, or all.
    pub(crate) fn settings(
        &self,
        key: Option<&str>,
        deadline: Instant,
    ) -> Result<Vec<Setting>, AskError> {
        let question = Sharing::SettingQuery { key: key.map(str::to_owned) };
        self.question(question, true, deadline, |answers| {
            let Message::Response(Response::Settings { count }) = answers.next()? else {
                return Err(Unanswered::Nonsense);
            };
            let setting = |answers: &mut Answers| match answers.next()? {
                Message::ToHolder(ToHolder::Setting { setting }) => Ok(setting),
                _ => Err(Unanswered::Nonsense),
            };
            (0..count).map(|_| setting(answers)).collect()
        })
    }

    /// Sets or removes a setting; without a condition the request may be repeated.
    pub(crate) fn set(
        &self,
        key: &str,
        value: Option<&str>,
        expected: Option<Option<&str>>,
        deadline: Instant,
    ) -> Result<Setting, SettingError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let question =
            Sharing::Set { key: key.into(), value: owned(value), expected: expected.map(owned) };
        match self.question(question, expected.is_none(), deadline, outcome)? {
            Changed::Stored(setting) => Ok(setting),
            Changed::Conflict(present) => Err(SettingError::Changed { key: key.into(), present }),
            Changed::NotDone(Fault::Full, detail) => Err(SettingError::Full { detail }),
            Changed::NotDone(_, detail) => Err(SettingError::Invalid { detail }),
            Changed::Done(_) => Err(AskError::SupervisorLost.into()),
        }
    }

    /// Has a message passed on. Returns the number of instances to which it is on its way.
    pub(crate) fn publish(
        &self,
        from: &str,
        to: Option<&str>,
        topic: &str,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<u64, MessageError> {
        let payload = Payload(payload.to_vec());
        let question = Sharing::Publish {
            from: from.into(),
            to: to.map(str::to_owned),
            topic: topic.into(),
            payload,
        };
        match self.question(question, false, deadline, outcome)? {
            Changed::Done(count) => Ok(count),
            Changed::NotDone(Fault::NoSuchInstance, name) => {
                Err(AskError::NoSuchInstance { name }.into())
            }
            Changed::NotDone(_, detail) => Err(MessageError::Invalid { detail }),
            Changed::Stored(_) | Changed::Conflict(_) => Err(AskError::SupervisorLost.into()),
        }
    }
}

fn read_usage(answers: &mut Answers) -> Result<Usage, Unanswered> {
    let Message::Response(Response::Resource { resource, limit, in_use, waiting, holders, .. }) =
        answers.next()?
    else {
        return Err(Unanswered::Nonsense);
    };
    let holder = |answers: &mut Answers| match answers.next()? {
        Message::Response(Response::Holder { name, units }) => Ok(Holder { name, units }),
        _ => Err(Unanswered::Nonsense),
    };
    let holders: Result<Vec<Holder>, Unanswered> = (0..holders).map(|_| holder(answers)).collect();
    Ok(Usage { resource, limit, in_use, waiting, holders: holders? })
}

fn resource_error(fault: Fault, detail: String) -> ResourceError {
    match fault {
        Fault::NoSuchResource => ResourceError::Unknown { resource: detail },
        Fault::NoSuchInstance => AskError::NoSuchInstance { name: detail }.into(),
        Fault::Full | Fault::Invalid | Fault::NotSettled | Fault::Unable => {
            ResourceError::Invalid { detail }
        }
    }
}
