//! The command line: what is printed, and with which exit code it ends.

use serde_json::Value;

mod asking;
mod demo;
mod doctor;
mod help;
mod joining;
mod refusals;

/// The names of an object's fields, in alphabetical order.
fn fields(object: &Value) -> Vec<&str> {
    let keys = object.as_object().expect("an object").keys();
    let mut names: Vec<&str> = keys.map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[track_caller]
pub(crate) fn has_fields(object: &Value, wanted: &[&str]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!(fields(object), wanted, "{object}");
}
