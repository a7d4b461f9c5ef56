//! Events of masterless groups as lines.

use pares::masterless::{Event, EventKind, Label, PeerId, Token};

use crate::events::Line;
use crate::output::{Fields, json};

/// One event of a process that has this identifier and label.
pub(crate) fn of(id: PeerId, own: Label, event: &Event) -> Option<Line> {
    let (word, fields) = match &event.kind {
        EventKind::Role { from, to, token, cause } => {
            let mut fields = vec![
                ("from", json!(from.to_string())),
                ("to", json!(to.to_string())),
                ("cause", json!(cause.to_string())),
                ("id", json!(token.map_or(id, |token| token.id).to_string())),
                ("label", json!(own.as_str())),
            ];
            fields.extend(token.iter().flat_map(of_token));
            ("role", fields)
        }
        EventKind::PrepareHandover { to, label, within_ms } => (
            "prepare-handover",
            vec![
                ("to", json!(to.to_string())),
                ("label", json!(label.as_str())),
                ("within_ms", json!(within_ms)),
            ],
        ),
        EventKind::EpochBump { token } => ("epoch-bump", of_token(token)),
        EventKind::Joined { id, label, service } => ("joined", of_other(*id, *label, *service)),
        EventKind::Left { id, label, service, cause } => {
            ("left", because(*id, *label, *service, &cause.to_string()))
        }
        EventKind::Suspected { id, label, service, cause } => {
            ("suspected", because(*id, *label, *service, &cause.to_string()))
        }
        EventKind::Spawn { service, nonce } => {
            ("spawn", vec![("service", json!(service)), ("nonce", json!(nonce))])
        }
        EventKind::Paused { for_ms } => ("paused", vec![("for_ms", json!(for_ms))]),
        EventKind::CannotSend { errno } => {
            let reason = std::io::Error::from_raw_os_error(*errno).to_string();
            ("cannot-send", vec![("errno", json!(errno)), ("reason", json!(reason))])
        }
        EventKind::SendsAgain { after_ms } => ("sends-again", vec![("after_ms", json!(after_ms))]),
        EventKind::Missed { events } => ("missed", vec![("events", json!(events))]),
        EventKind::Stopped => ("stopped", vec![]),
        _ => return None,
    };
    Some(Line::new(word, event.monotonic_ns, fields))
}

fn of_token(token: &Token) -> Fields {
    vec![("epoch", json!(token.epoch)), ("fence", json!(token.fence()))]
}

fn of_other(id: PeerId, label: Label, service: u16) -> Fields {
    vec![
        ("id", json!(id.to_string())),
        ("tail", json!(id.tail().to_string())),
        ("label", json!(label.as_str())),
        ("service", json!(service)),
    ]
}

fn because(id: PeerId, label: Label, service: u16, cause: &str) -> Fields {
    [of_other(id, label, service), vec![("cause", json!(cause))]].concat()
}
