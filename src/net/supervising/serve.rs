//! What a supervisor's threads do with the connections of others: one thread each, for as long as
//! it lives.

use std::time::Instant;

use super::server::Office;
use super::watchdog::{self, Hands, Vigil};
use crate::config::WRITE_TIMEOUT;
use crate::net::rt::complaint::complain;
use crate::net::transport::link::LinkError;
use crate::net::transport::service::Visit;
use crate::state::hello::Hello;
use crate::wire::{Message, Purpose, Refusal};

/// A connection to the supervisor port: a member for as long as it lives, or one question for the
/// status.
pub(crate) fn member(office: &Office, mut visit: Visit) {
    let (conn, stream) = (visit.conn, visit.link.stream().clone());
    match (visit.purpose, visit.first) {
        (Purpose::Ask, Message::StatusQuery {}) => {
            visit.link.close_with(&Message::StatusAnswer { status: office.status() });
        }
        (Purpose::Join, Message::Hello { greeting }) => {
            let name = greeting.entry.name.clone();
            if !office.hello(conn, &stream, Hello::of(*greeting)) {
                return;
            }
            let hands = Hands {
                say: &|message| office.say(conn, message),
                report: &|event| office.report(event),
                end: false,
            };
            let mut vigil = office.hang_timeout().map(|timeout| Vigil::new(name, timeout, &hands));
            loop {
                match watchdog::read(&mut visit.link, &mut vigil, &hands) {
                    Ok(Message::Probe { number, within_ns }) => {
                        office.probed(conn, number, within_ns)
                    }
                    Ok(message) => office.said(conn, message),
                    Err(LinkError::Malformed(error)) => {
                        complain!(
                            Warn,
                            "",
                            "pares-member: cut off a member that broke the protocol: {error}"
                        );
                        office.broke(conn, error.to_string());
                        break;
                    }
                    Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => break,
                }
            }
            office.ended(conn);
        }
        (_, message) => {
            complain!(
                Warn,
                "",
                "pares-member: cut off a peer that broke the protocol: {} as first request",
                message.name()
            );
            visit.link.close_with(&Message::rejected(
                Refusal::Malformed,
                "not a first request of this port",
            ));
        }
    }
}

/// A connection to the registry port: questions and answers, or a watch.
pub(crate) fn asker(office: &Office, mut visit: Visit) {
    let stream = visit.link.stream().clone();
    let mut question = std::mem::replace(&mut visit.first, Message::List {});
    loop {
        if question == (Message::Watch {}) {
            office.watch(visit.conn, &stream);
            // Nothing more is asked on this connection; this thread waits for its end.
            _ = visit.link.read(None);
            office.unwatch(visit.conn);
            return;
        }
        if !question.is_question() {
            complain!(
                Warn,
                "",
                "pares-registry: cut off a peer that broke the protocol: {}",
                question.name()
            );
            visit
                .link
                .close_with(&Message::rejected(Refusal::Malformed, "not a registry question"));
            return;
        }
        let answer = office.answer(&question);
        if visit.link.write(&answer, Instant::now() + WRITE_TIMEOUT).is_err() {
            return;
        }
        visit.idle();
        let next = visit.link.read(None);
        visit.busy();
        match next {
            Ok(message) => question = message,
            Err(LinkError::Malformed(error)) => {
                complain!(
                    Warn,
                    "",
                    "pares-registry: cut off a peer that broke the protocol: {error}"
                );
                visit.link.close_with(&Message::rejected(Refusal::Malformed, error.to_string()));
                return;
            }
            Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => return,
        }
    }
}
