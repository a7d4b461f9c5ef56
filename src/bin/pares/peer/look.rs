//! `pares peer ls` and `watch`: a group as one sees it who only looks.

use std::net::SocketAddr;
use std::time::Duration;

use pares::channel::select;
use pares::masterless::{EventKind, Label, Peer, PeerId, PeerInfo, Status, Tail};

use super::lines;
use super::options::{Network, ONLOOKER};
use crate::failure::{Failure, NO_SUPERVISOR};
use crate::group::Group;
use crate::output::{Form, Value, array, fields, plain, rows};
use crate::signals;
use crate::time::milliseconds;

/// List all processes of a masterless group, by priority
///
/// Asks all processes for a heartbeat, and lists those that answer within --wait. The fields in a
/// pipe are tail, label, status, service type, rank, sequence, workload, epoch, age of the last
/// heartbeat in ms, whether the process is suspected, whether it was heard directly, and whence.
/// The exit code is 3 if no process answers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer ls
  pares peer ls --json | jq -r '.[] | select(.status == \"primary\").tail'")]
pub(crate) struct LsArgs {
    #[command(flatten)]
    network: Network,

    /// Show only this service type
    #[arg(long, value_name = "N")]
    service: Option<u16>,

    /// Time to listen; a number alone is in milliseconds [default: one and a half intervals]
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    wait: Option<Duration>,

    /// Print a JSON array of
    /// {id,tail,label,status,service,rank,sequence,workload,epoch,age_ms,suspected,direct,address}
    #[arg(long)]
    json: bool,
}

/// Watch a masterless group from outside until SIGINT or SIGTERM, and print one line per event
///
/// Events: joined (first for all present processes), suspected, left.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  pares peer watch --json | jq -r 'select(.event == \"left\").tail'"
)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    network: Network,

    /// Show only this service type
    #[arg(long, value_name = "N")]
    service: Option<u16>,

    /// Print each event as a JSON object: {"event":E,"monotonic_ns":T,…}
    #[arg(long)]
    json: bool,
}

pub(crate) fn ls(group: &Group, args: &LsArgs) -> Result<(), Failure> {
    let form = Form::new(args.json);
    let peer = Peer::join(args.network.observer(group))?;
    // Nobody knows how many will answer: to listen for so long is all there is to wait for.
    std::thread::sleep(args.wait.unwrap_or(args.network.interval * 3 / 2));
    let peers: Vec<Row> = others(&peer)
        .filter(|one| args.service.is_none_or(|service| one.service == service))
        .map(|one| Row::new(&one))
        .collect();
    drop(peer);
    let nobody = peers.is_empty();
    if form == Form::Json {
        array(&peers)?;
    } else if !nobody {
        // The identifier is its parts, which follow.
        let cell = |value: &Value| if value.is_null() { String::new() } else { plain(value) };
        let row = |one: &Row| fields(one).iter().skip(1).map(|(_, value)| cell(value)).collect();
        let header = [
            "TAIL",
            "LABEL",
            "STATUS",
            "SERVICE",
            "RANK",
            "SEQUENCE",
            "WORKLOAD",
            "EPOCH",
            "AGE",
            "SUSPECTED",
            "DIRECT",
            "ADDRESS",
        ];
        rows(form, &header, &peers.iter().map(row).collect::<Vec<_>>())?;
    }
    if nobody { Err(Failure::new(NO_SUPERVISOR, "no process was heard")) } else { Ok(()) }
}

/// All but those who only look.
pub(super) fn others(peer: &Peer) -> impl Iterator<Item = PeerInfo> {
    peer.peers()
        .into_iter()
        .filter(|one| !(one.own || one.service == ONLOOKER && one.status == Status::Joining))
}

/// What is printed of a process.
#[derive(serde::Serialize)]
struct Row {
    id: PeerId,
    tail: Tail,
    label: Label,
    status: Status,
    service: u16,
    rank: u8,
    sequence: u32,
    workload: u16,
    epoch: u64,
    age_ms: u64,
    suspected: bool,
    direct: bool,
    address: Option<SocketAddr>,
}

impl Row {
    fn new(one: &PeerInfo) -> Self {
        Row {
            id: one.id,
            tail: one.id.tail(),
            label: one.label,
            status: one.status,
            service: one.service,
            rank: one.id.rank(),
            sequence: one.id.sequence(),
            workload: one.workload,
            epoch: one.epoch,
            age_ms: one.age_ms,
            suspected: one.suspected,
            direct: one.direct,
            address: one.address,
        }
    }
}

pub(crate) fn watch(group: &Group, args: &WatchArgs) -> Result<(), Failure> {
    let form = Form::new(args.json);
    let ends = signals::ends(false)?;
    let peer = Peer::join(args.network.observer(group))?;
    let events = peer.events();
    loop {
        select! {
            recv(events.as_ref()) -> event => {
                let Ok(event) = event else { return Ok(()) };
                let about = match event.kind {
                    EventKind::Joined { service, .. }
                    | EventKind::Left { service, .. }
                    | EventKind::Suspected { service, .. } => Some(service),
                    EventKind::Missed { .. } => None,
                    _ => continue, // its own
                };
                if about.is_none() || args.service.is_none() || about == args.service {
                    let told = lines::of(peer.id(), peer.label(), &event);
                    told.map_or(Ok(()), |line| line.print(form))?;
                }
            },
            recv(ends) -> _ => return Ok(()),
        }
    }
}
