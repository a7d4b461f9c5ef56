//! The work of a supervisor's threads on the connections of others: one thread each, for as long as
//! the connection lives.

use std::time::Instant;

use super::server::Server;
use super::watchdog::{self, Watchdog};
use crate::config::WRITE_TIMEOUT;
use crate::net::rt::complaint::complain;
use crate::net::transport::link::LinkError;
use crate::net::transport::session::{Session, Turn};
use crate::state::hello::Hello;
use crate::wire::{Control, Joining, Message, Purpose, Question, Response};

/// Serves a connection to the supervisor port: a member for as long as it lives, or one question
/// for the status.
pub(crate) fn member(server: &Server, mut session: Session) {
    let (conn, stream) = (session.conn, session.link.stream().clone());
    let first = std::mem::replace(&mut session.first, Question::List {}.into());
    match (session.purpose, first) {
        (Purpose::Ask, Message::Question(Question::StatusQuery {})) => {
            session.link.close_with(&Response::StatusAnswer { status: server.status() }.into());
        }
        (Purpose::Join, Message::Joining(Joining::Hello { greeting })) => {
            let name = greeting.entry.name.clone();
            if !server.hello(conn, &stream, Hello::of(*greeting)) {
                return;
            }
            let say = |message| server.say(conn, message);
            let report = |event| server.report(event);
            let mut watchdog = server
                .hang_timeout()
                .map(|timeout| Watchdog::new(name, timeout, &say, &report, false));
            loop {
                match watchdog::read(&mut session.link, &mut watchdog) {
                    Ok(Message::Control(Control::Probe { number, within_ns })) => {
                        server.probed(conn, number, within_ns)
                    }
                    Ok(message) => server.said(conn, message),
                    Err(LinkError::Malformed(error)) => {
                        complain!(
                            Warn,
                            "",
                            "pares-member: cut off a member that broke the protocol: {error}"
                        );
                        server.broke(conn, error.to_string());
                        break;
                    }
                    Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => break,
                }
            }
            server.ended(conn);
        }
        (_, first) => {
            let why = format!("{} as first request", first.name());
            session.cut_off(&why, "not a first request of this port");
        }
    }
}

/// Serves a connection to the registry port: questions and answers, or a watch.
pub(crate) fn asker(server: &Server, session: Session) {
    session.serve(|session, question| {
        if let Message::Question(Question::Watch {}) = question {
            server.watch(session.conn, session.link.stream());
            // Nothing more is asked on this connection; this thread waits for its end.
            _ = session.link.read(None);
            server.unwatch(session.conn);
            return Turn::Over;
        }
        let Some(answer) = server.answer(&question) else {
            return Turn::Broke("not a registry question");
        };
        match session.link.write(&answer, Instant::now() + WRITE_TIMEOUT) {
            Ok(()) if !server.is_closed() => Turn::Next,
            _ => Turn::Over,
        }
    });
}
