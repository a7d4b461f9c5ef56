//! The group's settings: `get`, `set`, `settings`.

use crate::failure::{Failure, NO_SUCH};
use crate::group::{Group, Patience};
use crate::output::{Form, escaped, json, line, object, rows};

/// Print the value of a setting
///
/// The value as it is, and a line end. The exit code is 4 if it is not set.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  level=$(pares get log-level) || level=info")]
pub(crate) struct GetArgs {
    /// The setting's key
    key: String,

    #[command(flatten)]
    patience: Patience,

    /// Print {key,value}
    #[arg(long)]
    json: bool,
}

/// Set a setting for all instances, or remove it
///
/// When this is done, every connected instance has the value, and it goes on when the supervisor
/// dies. Settings live as long as the group has an instance. With --if and --if-unset, one of
/// several who try it at once succeeds; the others end with 1 and are told the value.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares set log-level debug
  pares set schema 8 --if 7              only if it still is 7
  pares set leader \"$HOSTNAME\" --if-unset
  pares set offset -- -5                 a value that begins with a dash
  pares set log-level --unset")]
pub(crate) struct SetArgs {
    /// The setting's key: no white space, not beginning with a dash
    key: String,

    /// Any text up to 16 KiB
    #[arg(required_unless_present = "unset")]
    value: Option<String>,

    /// Only if the setting has this value
    #[arg(long = "if", value_name = "VALUE", allow_hyphen_values = true)]
    expected: Option<String>,

    /// Only if it is not set
    #[arg(long, conflicts_with = "expected")]
    if_unset: bool,

    /// Remove the setting
    #[arg(long, conflicts_with_all = ["value", "expected", "if_unset"])]
    unset: bool,

    #[command(flatten)]
    patience: Patience,
}

/// List all settings
///
/// In a pipe the fields are key and value. In a value a backslash is `\\`, a line end `\n`, a tab
/// `\t`, a carriage return `\r`, and any other control character its bytes in octal, such as
/// `\0033`: `printf %b` makes the value of it again. JSON has it as it is.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares settings --json | jq 'from_entries'")]
pub(crate) struct SettingsArgs {
    #[command(flatten)]
    patience: Patience,

    /// Print an array of {key,value}
    #[arg(long)]
    json: bool,
}

pub(crate) fn get(group: &Group, args: &GetArgs) -> Result<(), Failure> {
    let found = group.client()?.with_timeout(args.patience.timeout).get(&args.key)?;
    let value = found
        .ok_or_else(|| Failure::new(NO_SUCH, format!("the setting `{}` is not set", args.key)))?;
    if args.json { line(&pair(&args.key, &value)) } else { line(&value) }
}

pub(crate) fn set(group: &Group, args: &SetArgs) -> Result<(), Failure> {
    let SetArgs { key, value, expected, if_unset, patience, .. } = args;
    let client = group.client()?.with_timeout(patience.timeout);
    match (value, expected) {
        (None, _) => client.unset(key)?,
        (Some(value), None) if !if_unset => client.set(key, value)?,
        (Some(value), expected) => client.compare_and_set(key, expected.as_deref(), value)?,
    }
    Ok(())
}

pub(crate) fn settings(group: &Group, args: &SettingsArgs) -> Result<(), Failure> {
    let settings = group.client()?.with_timeout(args.patience.timeout).settings()?;
    let form = Form::new(args.json);
    if form == Form::Json {
        let pairs: Vec<String> = settings.iter().map(|(key, value)| pair(key, value)).collect();
        return line(&format!("[{}]", pairs.join(",\n ")));
    }
    let table: Vec<Vec<String>> =
        settings.into_iter().map(|(key, value)| vec![key, escaped(&value)]).collect();
    rows(form, &["KEY", "VALUE"], &table)
}

fn pair(key: &str, value: &str) -> String {
    object(&vec![("key", json!(key)), ("value", json!(value))])
}
