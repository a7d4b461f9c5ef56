//! What all instances use together: `usage`, `limit`, `revoke`.

use pares::{Holder, Usage};

use crate::failure::Failure;
use crate::group::{Group, Patience};
use crate::output::{Form, json, line, object, rows};

/// List the resources that are shared: limit, units in use, requests waiting, and who has how many
/// units
///
/// In a pipe the fields are: resource, limit (`-` if nobody has declared one), units in use,
/// requests waiting, then one field NAME=UNITS for each holder. In use is what permits hold and
/// tallies count.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares usage connections
  pares usage | cut -f1,3                                    each resource and how much of it is \
  in use
  pares usage --json | jq '.[] | select(.in_use > .limit)'   more in use than there may be")]
pub(crate) struct UsageArgs {
    /// One resource only
    resource: Option<String>,

    #[command(flatten)]
    patience: Patience,

    /// Print an array of {resource,limit,in_use,waiting,holders:[{name,units}]}
    #[arg(long)]
    json: bool,
}

/// Change a resource's limit for all instances, at once and until it is changed again
///
/// It counts instead of what instances have declared, and goes on when the supervisor dies. If more
/// than that is in use, nothing is taken away, and nothing is granted until enough has come back.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares limit connections 20")]
pub(crate) struct LimitArgs {
    /// A resource that an instance has declared or uses
    resource: String,

    /// How many units there may be in all
    #[arg(value_name = "N")]
    limit: u64,

    #[command(flatten)]
    patience: Patience,
}

/// Take all permits for a resource away from an instance, and print how many they were
///
/// Their units are free at once. The instance is told; `pares run --permit` ends its command.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares revoke connections worker-1")]
pub(crate) struct RevokeArgs {
    /// The resource
    resource: String,

    /// An instance's name, or `main` for the supervisor
    holder: String,

    #[command(flatten)]
    patience: Patience,
}

pub(crate) fn usage(group: &Group, args: &UsageArgs) -> Result<(), Failure> {
    let client = group.client()?.with_timeout(args.patience.timeout);
    let resources = match &args.resource {
        Some(resource) => vec![client.usage_of(resource)?],
        None => client.usage()?,
    };
    let form = Form::new(args.json);
    if form == Form::Json {
        return line(&format!(
            "[{}]",
            resources.iter().map(usage_object).collect::<Vec<_>>().join(",\n ")
        ));
    }
    let row = |one: &Usage| {
        let limit = one.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let mut row =
            vec![one.resource.clone(), limit, one.in_use.to_string(), one.waiting.to_string()];
        row.extend(one.holders.iter().map(|one| format!("{}={}", one.name, one.units)));
        row
    };
    let table: Vec<Vec<String>> = resources.iter().map(row).collect();
    rows(form, &["RESOURCE", "LIMIT", "IN USE", "WAITING", "HOLDERS"], &table)
}

/// One resource as a JSON object.
pub(crate) fn usage_object(usage: &Usage) -> String {
    let holder = |one: &Holder| json!({ "name": one.name, "units": one.units });
    object(&vec![
        ("resource", json!(usage.resource)),
        ("limit", json!(usage.limit)),
        ("in_use", json!(usage.in_use)),
        ("waiting", json!(usage.waiting)),
        ("holders", usage.holders.iter().map(holder).collect()),
    ])
}

pub(crate) fn limit(group: &Group, args: &LimitArgs) -> Result<(), Failure> {
    Ok(group.client()?.with_timeout(args.patience.timeout).set_limit(&args.resource, args.limit)?)
}

pub(crate) fn revoke(group: &Group, args: &RevokeArgs) -> Result<(), Failure> {
    let permits =
        group.client()?.with_timeout(args.patience.timeout).revoke(&args.resource, &args.holder)?;
    line(&permits.to_string())
}
