//! What all instances use together: `usage`, `limit`, `revoke`.

use pares::Usage;

use crate::failure::Failure;
use crate::group::{Group, Patience};
use crate::output::{Form, array, line, rows};

/// List the shared resources: limit, units in use, waiting requests, and the units of each holder
///
/// The fields in a pipe are resource, limit (`-` if no instance has declared one), units in use,
/// waiting requests, and one NAME=UNITS for each holder. Units in use are those that permits hold
/// and tallies count.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares usage connections
  pares usage | cut -f1,3                                    show the units in use of each resource
  pares usage --json | jq '.[] | select(.in_use > .limit)'   show resources above their limits")]
pub(crate) struct UsageArgs {
    /// Name of a resource [default: all]
    resource: Option<String>,

    #[command(flatten)]
    patience: Patience,

    /// Print a JSON array of {resource,limit,in_use,waiting,holders:[{name,units}]}
    #[arg(long)]
    json: bool,
}

/// Change a resource's limit for all instances, at once and until the next change
///
/// The new limit replaces the one that instances have declared, and survives the supervisor. If
/// more units are in use, their holders keep them, and no request is granted until enough units are
/// free.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares limit connections 20")]
pub(crate) struct LimitArgs {
    /// Name of a resource that an instance has declared or uses
    resource: String,

    /// New limit, in units
    #[arg(value_name = "N")]
    limit: u64,

    #[command(flatten)]
    patience: Patience,
}

/// Take all permits of a resource away from an instance, and print their number
///
/// Their units are free at once. The instance learns of it; `pares run --permit` ends its command.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares revoke connections worker-1")]
pub(crate) struct RevokeArgs {
    /// Name of the resource
    resource: String,

    /// Name of an instance, or `main` for the supervisor
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
        return array(&resources);
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

pub(crate) fn limit(group: &Group, args: &LimitArgs) -> Result<(), Failure> {
    Ok(group.client()?.with_timeout(args.patience.timeout).set_limit(&args.resource, args.limit)?)
}

pub(crate) fn revoke(group: &Group, args: &RevokeArgs) -> Result<(), Failure> {
    let permits =
        group.client()?.with_timeout(args.patience.timeout).revoke(&args.resource, &args.holder)?;
    line(&permits.to_string())
}
