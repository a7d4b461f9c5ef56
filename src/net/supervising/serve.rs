//! What a supervisor's threads do with the connections of others: one thread each, for as long as
//! it lives.

use std::time::Instant;

use super::server::Office;
use super::watchdog::{self, Hands, Vigil};
use crate::config::WRITE_TIMEOUT;
use crate::net::rt::complaint::complain;
use crate::net::transport::link::LinkError;
use crate::net::transport::session::{Session, Turn};
use crate::state::hello::Hello;
use crate::wire::{Message, Purpose};

/// A connection to the supervisor port: a member for as long as it lives, or one question for the
/// status.
pub(crate) fn member(office: &Office, mut session: Session) {
    let (conn, stream) = (session.conn, session.link.stream().clone());
    let first = std::mem::replace(&mut session.first, Message::List {});
    match (session.purpose, first) {
        (Purpose::Ask, Message::StatusQuery {}) => {
            session.link.close_with(&Message::StatusAnswer { status: office.status() });
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
                match watchdog::read(&mut session.link, &mut vigil, &hands) {
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
        (_, first) => {
            let why = format!("{} as first request", first.name());
            session.cut_off(&why, "not a first request of this port");
        }
    }
}

/// A connection to the registry port: questions and answers, or a watch.
pub(crate) fn asker(office: &Office, session: Session) {
    session.serve(|session, question| {
        if question == (Message::Watch {}) {
            office.watch(session.conn, session.link.stream());
            // Nothing more is asked on this connection; this thread waits for its end.
            _ = session.link.read(None);
            office.unwatch(session.conn);
            return Turn::Over;
        }
        if !question.is_question() {
            return Turn::Broke("not a registry question");
        }
        let answer = office.answer(&question);
        match session.link.write(&answer, Instant::now() + WRITE_TIMEOUT) {
            Ok(()) => Turn::Next,
            Err(_) => Turn::Over,
        }
    });
}
