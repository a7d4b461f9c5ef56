//! Questions to the registry: `ls`, `status`, `is-supervisor`, `is-up`.

use std::time::{Duration, Instant};

use pares::{AskError, ChangeKind, Client, Entry, Listing};

use crate::failure::{Failure, NO_SUCH, NO_SUPERVISOR};
use crate::group::Group;
use crate::output::{Fields, Form, ago, json, line, note, object, plain, rows};

/// How long a question may take. The answer usually takes less than a millisecond.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// List all instances
///
/// The fields in a pipe are name, role, pid, uid, admin port, time of joining in ms since 1970, and
/// one KEY=VALUE for each key in the instance's registry entry.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares ls | cut -f1,3                                     show names and process ids
  pares ls --json | jq -r '.[] | select(.main).name'       show the supervisor's name")]
pub(crate) struct LsArgs {
    /// Print a JSON array of {name,role,pid,uid,admin,term,joined_ms,meta,functions,main}
    #[arg(long)]
    json: bool,
}

/// Show the supervisor, its term, and the time and cause of its election; or one instance's entry
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares status
  pares status main           show the supervisor's registry entry
  pares status --json | jq .term")]
pub(crate) struct StatusArgs {
    /// Name of an instance, or `main` for the supervisor
    name: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tell by the exit code whether an instance is supervisor: 0 yes, 3 no, or no supervisor
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares is-supervisor \"$HOSTNAME-1\" && rotate-logs")]
pub(crate) struct IsSupervisorArgs {
    /// Name of the instance
    name: String,
}

/// Tell by the exit code whether an instance is up: 0 yes, 4 no, 3 no supervisor
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares is-up worker-1 || systemctl restart worker-1")]
pub(crate) struct IsUpArgs {
    /// Name of an instance, or `main` for the supervisor
    name: String,
}

pub(crate) fn ls(group: &Group, args: &LsArgs) -> Result<(), Failure> {
    let listing = group.client()?.list()?;
    print(&listing, Form::new(args.json))
}

/// Prints a registry as `ls` does.
pub(crate) fn print(listing: &Listing, form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return line(&array(listing, ",\n "));
    }
    if !listing.settled {
        note("the registry is not settled: survivors of the last election may be missing");
    }
    let row = |entry: &Entry| {
        let joined =
            if form == Form::Table { ago(entry.joined_ms) } else { entry.joined_ms.to_string() };
        let role = listing.role(&entry.name).to_string();
        let (pid, uid, admin) =
            (entry.pid.to_string(), entry.uid.to_string(), entry.admin.to_string());
        let mut row = vec![entry.name.clone(), role, pid, uid, admin, joined];
        row.extend(entry.meta.iter().map(|(key, value)| format!("{key}={value}")));
        row
    };
    let entries: Vec<Vec<String>> = listing.entries.iter().map(row).collect();
    rows(form, &["NAME", "ROLE", "PID", "UID", "ADMIN", "JOINED", "META"], &entries)
}

/// All instances as a JSON array.
pub(crate) fn array(listing: &Listing, separator: &str) -> String {
    let entries: Vec<String> =
        listing.entries.iter().map(|entry| object(&fields(listing, entry))).collect();
    format!("[{}]", entries.join(separator))
}

fn fields(listing: &Listing, entry: &Entry) -> Fields {
    let meta: serde_json::Map<_, _> =
        entry.meta.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    vec![
        ("name", json!(entry.name)),
        ("role", json!(listing.role(&entry.name).as_str())),
        ("pid", json!(entry.pid)),
        ("uid", json!(entry.uid)),
        ("admin", json!(entry.admin)),
        ("term", json!(listing.term)),
        ("joined_ms", json!(entry.joined_ms)),
        ("meta", meta.into()),
        ("functions", json!(entry.functions)),
        ("main", json!(entry.name == listing.supervisor)),
    ]
}

pub(crate) fn status(group: &Group, args: &StatusArgs) -> Result<(), Failure> {
    let client = group.client()?;
    let fields = match &args.name {
        Some(name) => {
            let listing = look_up(&client, name)?;
            listing.entries.iter().flat_map(|entry| fields(&listing, entry)).collect()
        }
        None => {
            let status = client.status()?;
            vec![
                ("group", json!(status.group)),
                ("port", json!(status.port)),
                ("supervisor", json!(status.supervisor)),
                ("term", json!(status.term)),
                ("settled", json!(status.settled)),
                ("members", json!(status.members)),
                ("registry_port", json!(status.registry_port)),
                ("supervisor_admin", json!(status.supervisor_admin)),
                ("since_ms", json!(status.since_ms)),
                ("cause", json!(status.cause.as_str())),
                ("address", json!(group.config().supervisor_address().to_string())),
            ]
        }
    };
    let form = Form::new(args.json);
    if form == Form::Json {
        return line(&object(&fields));
    }
    let row = |(name, value): &(&str, serde_json::Value)| match (
        form,
        name.strip_suffix("_ms"),
        value.as_u64(),
    ) {
        (Form::Table, Some(name), Some(moment)) => {
            vec![name.to_owned(), format!("{} ago", ago(moment))]
        }
        _ => vec![(*name).to_owned(), plain(value)],
    };
    rows(form, &["WHAT", "VALUE"], &fields.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn is_supervisor(group: &Group, args: &IsSupervisorArgs) -> Result<(), Failure> {
    let supervisor = match group.client()?.status() {
        Ok(status) => status.supervisor,
        Err(error) => return Err(silenced(error.into())),
    };
    if args.name == supervisor || args.name == "main" {
        Ok(())
    } else {
        Err(Failure::silent(NO_SUPERVISOR))
    }
}

pub(crate) fn is_up(group: &Group, args: &IsUpArgs) -> Result<(), Failure> {
    look_up(&group.client()?, &args.name).map(drop).map_err(silenced)
}

/// An answer needs no words; a failure to get one does.
fn silenced(failure: Failure) -> Failure {
    if matches!(failure.code, NO_SUPERVISOR | NO_SUCH) {
        Failure::silent(failure.code)
    } else {
        failure
    }
}

/// Looks up an instance; one that is missing while survivors of an election are still coming back
/// is waited for.
fn look_up(client: &Client, name: &str) -> Result<Listing, Failure> {
    match client.look_up(name) {
        Err(AskError::NoSuchInstance { .. }) => {}
        answer => return Ok(answer?),
    }
    let deadline = Instant::now() + ASK_TIMEOUT;
    let watch = client.watch()?;
    while let Ok(change) = watch.changes().recv_deadline(deadline) {
        if matches!(change.kind, ChangeKind::Settled { .. }) {
            break;
        }
    }
    Ok(client.look_up(name)?)
}
