//! Events of masterless groups as lines.

use pares::masterless::{Event, EventKind, Label, PeerId, Token};

use crate::events::Line;
use crate::output::{Fields, Value, json};

/// One event of a process that has this identifier and label.
pub(crate) fn of(id: PeerId, own: Label, event: &Event) -> Option<Line> {
    let mut line = Line::new(event.monotonic_ns, &event.kind);
    let fields = &mut line.fields;
    match &event.kind {
        EventKind::Role { token, .. } => {
            fields.shift_remove("token");
            fields.insert("id".into(), json!(token.map_or(id, |token| token.id)));
            fields.insert("label".into(), json!(own));
            fields.extend(token.iter().flat_map(of_token));
        }
        EventKind::EpochBump { token } => *fields = of_token(token).into_iter().collect(),
        EventKind::Joined { id, .. }
        | EventKind::Left { id, .. }
        | EventKind::Suspected { id, .. } => insert_tail(fields, *id),
        EventKind::CannotSend { errno } => {
            let reason = std::io::Error::from_raw_os_error(*errno).to_string();
            fields.insert("reason".into(), json!(reason));
        }
        EventKind::PrepareHandover { .. }
        | EventKind::Spawn { .. }
        | EventKind::Paused { .. }
        | EventKind::SendsAgain { .. }
        | EventKind::Missed { .. }
        | EventKind::Stopped => {}
        _ => return None,
    }
    Some(line)
}

pub(crate) fn of_token(token: &Token) -> [(String, Value); 2] {
    [("epoch".into(), json!(token.epoch)), ("fence".into(), json!(token.fence()))]
}

/// The part of an identifier that never changes stands beside the whole.
fn insert_tail(fields: &mut Fields, id: PeerId) {
    fields.shift_insert(1, "tail".into(), json!(id.tail()));
}
