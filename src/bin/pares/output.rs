//! Standard output: data only, as a table, tab-separated or JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
pub(crate) use serde_json::{Value, json};

use crate::failure::Failure;

/// How data is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: a header, columns in line.
    Table,
    /// For `cut` and `while read`: no header, the fields separated by tabs.
    Tabs,
    /// For programs.
    Json,
}

impl Form {
    pub(crate) fn new(json: bool) -> Self {
        if json {
            Form::Json
        } else if io::stdout().is_terminal() {
            Form::Table
        } else {
            Form::Tabs
        }
    }
}

/// The fields of a value, in its own order.
pub(crate) type Fields = serde_json::Map<String, Value>;

pub(crate) fn fields(value: &impl Serialize) -> Fields {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("{other:?} is no object"),
    }
}

/// Writes a value as one line of JSON.
pub(crate) fn object(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(io::Error::from)?)
}

/// Writes values as an array, each on a line of its own.
pub(crate) fn array(values: &[impl Serialize]) -> Result<(), Failure> {
    let lines: Result<Vec<String>, _> = values.iter().map(serde_json::to_string).collect();
    line(&format!("[{}]", lines.map_err(io::Error::from)?.join(",\n ")))
}

/// A value as plain text.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text without control characters, so that it is one field of one line; `printf %b` undoes it.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_control() => {
                c.encode_utf8(&mut [0; 4])
                    .bytes()
                    .for_each(|byte| _ = write!(escaped, "\\0{byte:03o}"));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Tells the person at the terminal something that is not data.
pub(crate) fn note(text: &str) {
    if log::max_level() >= log::LevelFilter::Warn {
        message(text);
    }
}

/// Writes a message to standard error. Where that cannot be written, on a full disk or into a pipe
/// that nobody reads, nothing else changes: the exit code is the contract.
pub(crate) fn message(text: &str) {
    _ = io::stderr().lock().write_all(format!("pares: {text}\n").as_bytes());
}

/// Writes one line and flushes it, so that whoever reads a pipe sees it at once.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())?;
    Ok(out.flush()?)
}

/// Writes rows of cells; the header is for people only.
pub(crate) fn rows(form: Form, header: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut text = String::new();
    if form == Form::Table {
        let column = |at: usize| {
            rows.iter().filter_map(move |row| row.get(at)).map(|cell| cell.chars().count())
        };
        let widths: Vec<usize> = (0..header.len())
            .map(|at| column(at).max().unwrap_or(0).max(header[at].len()))
            .collect();
        let (bold, normal) = if colour() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let put = |cells: &[String]| {
            let cells: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(at, cell)| {
                    format!("{cell:<width$}", width = widths.get(at).copied().unwrap_or(0))
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        let header: Vec<String> = header.iter().map(ToString::to_string).collect();
        _ = writeln!(text, "{bold}{}{normal}", put(&header));
        rows.iter().for_each(|row| _ = writeln!(text, "{}", put(row)));
    } else {
        rows.iter().for_each(|row| _ = writeln!(text, "{}", row.join("\t")));
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Colour is bold headers, and only where nobody objects: <https://no-color.org>.
fn colour() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// How long ago a moment was, for people.
pub(crate) fn ago(unix_ms: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    match SystemTime::now().duration_since(then).unwrap_or_default().as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6_000 => format!("{} min", seconds / 60),
        seconds @ 6_000..200_000 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
