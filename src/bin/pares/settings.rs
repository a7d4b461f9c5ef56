//! The group's settings: `get`, `set`, `settings`.

use crate::failure::{Failure, NO_SUCH};
use crate::group::{Group, Patience};
use crate::output::{Form, array, escaped, line, object, rows};

/// Print the value of a setting
///
/// Prints the value unchanged, and a line end. If the setting is not set, the exit code is 4.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  level=$(pares get log-level) || level=info")]
pub(crate) struct GetArgs {
    /// Key of the setting
    key: String,

    #[command(flatten)]
    patience: Patience,

    /// Print the JSON object {key,value}
    #[arg(long)]
    json: bool,
}

/// Set a setting for all instances, or remove it
///
/// When the command returns, every connected instance has the value. It survives the supervisor,
/// and lives as long as the group has an instance. With --if or --if-unset, exactly one of several
/// simultaneous attempts succeeds; the others exit with 1 and print the value.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares set log-level debug
  pares set schema 8 --if 7              only if it is still 7
  pares set leader \"$HOSTNAME\" --if-unset
  pares set offset -- -5                 a value that begins with a dash
  pares set log-level --unset")]
pub(crate) struct SetArgs {
    /// Key of the setting: no white space, not beginning with a dash
    key: String,

    /// New value: any text up to 16 KiB
    #[arg(required_unless_present = "unset")]
    value: Option<String>,

    /// Set it only if its present value is VALUE
    #[arg(long = "if", value_name = "VALUE", allow_hyphen_values = true)]
    expected: Option<String>,

    /// Set it only if it is not set
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
/// The fields in a pipe are key and value. In a value a backslash is printed as `\\`, a line end as
/// `\n`, a tab as `\t`, a carriage return as `\r`, and any other control character as its bytes in
/// octal, such as `\0033`: `printf %b` restores the value. JSON has its own escapes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares settings --json | jq 'from_entries'")]
pub(crate) struct SettingsArgs {
    #[command(flatten)]
    patience: Patience,

    /// Print a JSON array of {key,value}
    #[arg(long)]
    json: bool,
}

pub(crate) fn get(group: &Group, args: &GetArgs) -> Result<(), Failure> {
    let found = group.client()?.with_timeout(args.patience.timeout).get(&args.key)?;
    let value = found
        .ok_or_else(|| Failure::new(NO_SUCH, format!("the setting `{}` is not set", args.key)))?;
    if args.json { object(&Pair { key: &args.key, value: &value }) } else { line(&value) }
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
        let pairs: Vec<Pair<'_>> =
            settings.iter().map(|(key, value)| Pair { key, value }).collect();
        return array(&pairs);
    }
    let table: Vec<Vec<String>> =
        settings.into_iter().map(|(key, value)| vec![key, escaped(&value)]).collect();
    rows(form, &["KEY", "VALUE"], &table)
}

/// A setting as JSON.
#[derive(serde::Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
}
