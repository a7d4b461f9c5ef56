//! Questions to the registry: `ls`, `status`, `is-supervisor`, `is-up`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use pares::{AskError, ChangeKind, Client, ElectionCause, Entry, Listing, Role, Status};
use serde::Serialize;

use crate::failure::{Failure, NO_SUCH, NO_SUPERVISOR};
use crate::group::Group;
use crate::output::{self, Fields, Form, Value, ago, array, note, object, plain, rows};

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
        return array(&instances(listing));
    }
    if !listing.settled {
        note("the registry is not settled: survivors of the last election may be missing");
    }
    let row = |entry: &Entry| {
        let joined =
            if form == Form::Table { ago(entry.joined_ms) } else { entry.joined_ms.to_string() };
        let role = listing.role(&entry.name).to_string();
        let (pid, uid, admin) =
            (entry.pid.to_string(), entry.uid.to_string(), entry.admin_port.to_string());
        let mut row = vec![entry.name.clone(), role, pid, uid, admin, joined];
        row.extend(entry.meta.iter().map(|(key, value)| format!("{key}={value}")));
        row
    };
    let entries: Vec<Vec<String>> = listing.entries.iter().map(row).collect();
    rows(form, &["NAME", "ROLE", "PID", "UID", "ADMIN", "JOINED", "META"], &entries)
}

/// What is printed of one instance.
#[derive(Serialize)]
pub(crate) struct Instance<'a> {
    name: &'a str,
    role: Role,
    pid: u32,
    uid: u32,
    admin: u16,
    term: u64,
    joined_ms: u64,
    /// By key; of equal keys the last one counts.
    meta: BTreeMap<&'a str, &'a str>,
    functions: &'a [String],
    main: bool,
}

impl<'a> Instance<'a> {
    fn new(listing: &Listing, entry: &'a Entry) -> Self {
        Instance {
            name: &entry.name,
            role: listing.role(&entry.name),
            pid: entry.pid,
            uid: entry.uid,
            admin: entry.admin_port,
            term: listing.term,
            joined_ms: entry.joined_ms,
            meta: entry.meta.iter().map(|(key, value)| (&**key, &**value)).collect(),
            functions: &entry.functions,
            main: entry.name == listing.supervisor,
        }
    }
}

/// All instances, as they are printed.
pub(crate) fn instances(listing: &Listing) -> Vec<Instance<'_>> {
    listing.entries.iter().map(|entry| Instance::new(listing, entry)).collect()
}

/// What is printed of a group.
#[derive(Serialize)]
struct GroupStatus<'a> {
    group: &'a str,
    port: u16,
    supervisor: &'a str,
    term: u64,
    settled: bool,
    members: u32,
    registry_port: u16,
    supervisor_admin: u16,
    since_ms: u64,
    cause: ElectionCause,
    address: SocketAddrV4,
}

impl<'a> GroupStatus<'a> {
    fn new(status: &'a Status, address: SocketAddrV4) -> Self {
        GroupStatus {
            group: &status.group,
            port: status.port,
            supervisor: &status.supervisor,
            term: status.term,
            settled: status.settled,
            members: status.members,
            registry_port: status.registry_port,
            supervisor_admin: status.supervisor_admin_port,
            since_ms: status.since_ms,
            cause: status.cause,
            address,
        }
    }
}

pub(crate) fn status(group: &Group, args: &StatusArgs) -> Result<(), Failure> {
    let client = group.client()?;
    let fields: Fields = match &args.name {
        Some(name) => {
            let listing = look_up(&client, name)?;
            instances(&listing).iter().flat_map(output::fields).collect()
        }
        None => {
            let status = client.status()?;
            output::fields(&GroupStatus::new(&status, group.config().supervisor_address()))
        }
    };
    let form = Form::new(args.json);
    if form == Form::Json {
        return object(&fields);
    }
    let row =
        |(name, value): (&String, &Value)| match (form, name.strip_suffix("_ms"), value.as_u64()) {
            (Form::Table, Some(name), Some(moment)) => {
                vec![name.to_owned(), format!("{} ago", ago(moment))]
            }
            _ => vec![name.clone(), plain(value)],
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
