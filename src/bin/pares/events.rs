//! Events as lines: what `join` and `monitor` print.

use pares::{Change, ChangeKind, Event, EventKind};

use crate::failure::Failure;
use crate::output::{Fields, Form, escaped, json, line, object, plain};

/// One event to be printed.
pub(crate) struct Line {
    event: &'static str,
    monotonic_ns: u64,
    fields: Fields,
}

impl Line {
    pub(crate) fn new(event: &'static str, monotonic_ns: u64, fields: Fields) -> Line {
        Line { event, monotonic_ns, fields }
    }

    /// What happened to the instance `name`; `None` for what the program itself, not its reader,
    /// must know.
    pub(crate) fn of_instance(name: &str, event: &Event) -> Option<Line> {
        let (word, fields) = match &event.kind {
            EventKind::Supervisor { term } => {
                ("supervisor", vec![("name", json!(name)), ("term", json!(term))])
            }
            EventKind::Subordinate { term, supervisor } => {
                let fields = vec![
                    ("name", json!(name)),
                    ("term", json!(term)),
                    ("supervisor", json!(supervisor)),
                ];
                ("subordinate", fields)
            }
            EventKind::Contending { cause } => {
                ("contending", vec![("cause", json!(cause.to_string()))])
            }
            EventKind::Settled { term, members } => settled(*term, *members),
            EventKind::Setting { key, value } => {
                ("setting", vec![("key", json!(key)), ("value", json!(value))])
            }
            EventKind::PermitLost { resource, units, .. } => {
                ("permit-lost", vec![("resource", json!(resource)), ("units", json!(units))])
            }
            EventKind::OverLimit { resource, in_use, limit } => {
                let fields = vec![
                    ("resource", json!(resource)),
                    ("in-use", json!(in_use)),
                    ("limit", json!(limit)),
                ];
                ("over-limit", fields)
            }
            EventKind::Message { from, topic, payload } => {
                let text = String::from_utf8_lossy(payload);
                (
                    "message",
                    vec![("from", json!(from)), ("topic", json!(topic)), ("payload", json!(text))],
                )
            }
            EventKind::Stalled { name, cause } => {
                ("stalled", vec![("name", json!(name)), ("cause", json!(cause.as_str()))])
            }
            EventKind::Resumed { name } => ("resumed", vec![("name", json!(name))]),
            EventKind::Stopped => ("stopped", vec![]),
            _ => return None,
        };
        Some(Line { event: word, monotonic_ns: event.monotonic_ns, fields })
    }

    /// Somebody else joined or left, as an instance tells it.
    pub(crate) fn of_others(name: &str, change: &Change) -> Option<Line> {
        match &change.kind {
            ChangeKind::Joined(entry) if entry.name != name => Line::of_registry(change),
            ChangeKind::Left { name: other, .. } if other != name => Line::of_registry(change),
            // All else the instance's own events say, and sooner.
            _ => None,
        }
    }

    /// What happened in the registry, as an onlooker tells it.
    pub(crate) fn of_registry(change: &Change) -> Option<Line> {
        let (word, fields) = match &change.kind {
            ChangeKind::Joined(entry) => ("joined", vec![("name", json!(entry.name))]),
            ChangeKind::Left { name, cause } => {
                ("left", vec![("name", json!(name)), ("cause", json!(cause.as_str()))])
            }
            ChangeKind::Supervisor { name, term } => {
                ("supervisor", vec![("name", json!(name)), ("term", json!(term))])
            }
            ChangeKind::Settled { term, members } => settled(*term, *members),
            ChangeKind::Contending => ("contending", vec![("cause", json!("no-supervisor"))]),
            _ => return None,
        };
        Some(Line { event: word, monotonic_ns: change.monotonic_ns, fields })
    }

    pub(crate) fn print(self, form: Form) -> Result<(), Failure> {
        let Line { event, monotonic_ns, mut fields } = self;
        // A removed setting has no value, which is not the same as an empty one. Whatever somebody
        // sets or sends, it is one field of one line.
        let words = |fields: Fields| {
            fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match name
            {
                "value" | "payload" => (name, escaped(&plain(&value))),
                _ => (name, plain(&value)),
            })
        };
        match form {
            // They are not in the contract with those who read JSON.
            Form::Json if matches!(event, "over-limit" | "message") => Ok(()),
            Form::Json => {
                fields
                    .splice(0..0, [("event", json!(event)), ("monotonic_ns", json!(monotonic_ns))]);
                line(&object(&fields))
            }
            Form::Tabs => {
                let words = words(fields).map(|(_, text)| format!("\t{text}"));
                line(&format!("{event}{}", words.collect::<String>()))
            }
            Form::Table => {
                let words = words(fields).map(|(name, text)| format!("  {name} {text}"));
                line(format!("{event:<11}{}", words.collect::<String>()).trim_end())
            }
        }
    }
}

fn settled(term: u64, members: u32) -> (&'static str, Fields) {
    ("settled", vec![("term", json!(term)), ("members", json!(members))])
}
