//! Events as lines: what `join` and `monitor` print.

use pares::{Change, ChangeKind, Event, EventKind};
use serde::Serialize;

use crate::advice::Told;
use crate::failure::Failure;
use crate::output::{self, Fields, Form, escaped, json, line, object, plain};

/// One event to be printed: as the library serializes it, with the fields that the command adds,
/// and in its words.
#[derive(Serialize)]
pub(crate) struct Line {
    event: String,
    monotonic_ns: u64,
    #[serde(flatten)]
    pub(crate) fields: Fields,
}

impl Line {
    pub(crate) fn new(monotonic_ns: u64, kind: &impl Serialize) -> Line {
        let mut fields = output::fields(kind);
        let event = fields.shift_remove("event").as_ref().map(plain).unwrap_or_default();
        Line { event, monotonic_ns, fields }
    }

    /// What happened to the instance `name`; `None` for what the program itself, not its reader,
    /// must know.
    pub(crate) fn of_instance(name: &str, event: &Event) -> Option<Line> {
        let mut line = Line::new(event.monotonic_ns, &event.kind);
        let fields = &mut line.fields;
        match &event.kind {
            EventKind::Supervisor { .. } | EventKind::Subordinate { .. } => {
                fields.shift_insert(0, "name".into(), json!(name));
            }
            EventKind::Contending { cause } => {
                fields.insert("cause".into(), json!(cause.told()));
            }
            EventKind::PermitLost { .. } => _ = fields.shift_remove("permit"),
            EventKind::OverLimit { resource, in_use, limit } => {
                *fields = output::fields(&json!({
                    "resource": resource, "in-use": in_use, "limit": limit
                }));
            }
            EventKind::Message { payload, .. } => {
                fields.insert("payload".into(), json!(String::from_utf8_lossy(payload)));
            }
            EventKind::Settled { .. }
            | EventKind::Setting { .. }
            | EventKind::Stalled { .. }
            | EventKind::Resumed { .. }
            | EventKind::ListenerRevived { .. }
            | EventKind::Stopped => {}
            _ => return None,
        }
        Some(line)
    }

    /// Somebody else joined or left, as an instance tells it.
    pub(crate) fn of_others(name: &str, change: &Change) -> Option<Line> {
        match &change.kind {
            ChangeKind::Joined { entry } if entry.name != name => Line::of_registry(change),
            ChangeKind::Left { name: other, .. } if other != name => Line::of_registry(change),
            // All else the instance's own events say, and sooner.
            _ => None,
        }
    }

    /// What happened in the registry, as an onlooker tells it.
    pub(crate) fn of_registry(change: &Change) -> Option<Line> {
        let mut line = Line::new(change.monotonic_ns, &change.kind);
        match &change.kind {
            ChangeKind::Joined { entry } => {
                line.fields = output::fields(&json!({ "name": entry.name }))
            }
            ChangeKind::Contending => {
                line.fields.insert("cause".into(), json!("no-supervisor"));
            }
            ChangeKind::Left { .. }
            | ChangeKind::Supervisor { .. }
            | ChangeKind::Settled { .. } => {}
            _ => return None,
        }
        Some(line)
    }

    pub(crate) fn print(self, form: Form) -> Result<(), Failure> {
        // A removed setting has no value, which is not the same as an empty one. Whatever somebody
        // sets or sends, it is one field of one line.
        let words = self.fields.iter().filter(|(_, value)| !value.is_null()).map(
            |(name, value)| match name.as_str() {
                "value" | "payload" => (name, escaped(&plain(value))),
                _ => (name, plain(value)),
            },
        );
        let event = &self.event;
        match form {
            // They are not in the contract with those who read JSON.
            Form::Json if matches!(event.as_str(), "over-limit" | "message") => Ok(()),
            Form::Json => object(&self),
            Form::Tabs => {
                let words = words.map(|(_, text)| format!("\t{text}"));
                line(&format!("{event}{}", words.collect::<String>()))
            }
            Form::Table => {
                let words = words.map(|(name, text)| format!("  {name} {text}"));
                line(format!("{event:<11}{}", words.collect::<String>()).trim_end())
            }
        }
    }
}
