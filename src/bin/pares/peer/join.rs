//! `pares peer join`: be a process of a masterless group, and tell what happens.

use std::thread;

use pares::channel::{never, select};
use pares::masterless::{EventKind, Peer};

use super::lines;
use super::options::Member;
use crate::failure::Failure;
use crate::group::Group;
use crate::output::{Form, note};
use crate::signals;

/// Take part until SIGINT or SIGTERM, and print one line per event; then hand over and leave
///
/// Events: role (from, to, cause, identifier, label; of a primary also epoch and fence),
/// prepare-handover, epoch-bump, joined, left and suspected (other processes), spawn, paused,
/// cannot-send (this process can send no heartbeats: it is not admitted, and primary at most until
/// its lease ends), sends-again, missed, stopped. A status is joining, standby, to-become-primary,
/// primary or leaving.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer join --service 7 --rank 10
  pares peer join --need 7=2:4 --launch './worker'       keep two to four workers running
  pares peer join --json | jq -r 'select(.event == \"role\").to'")]
pub(crate) struct Args {
    #[command(flatten)]
    member: Member,

    /// Number of processes of a service type that the group needs; repeatable
    #[arg(long, value_name = "SERVICE=MIN[:MAX]", value_parser = need)]
    need: Vec<(u16, u16, Option<u16>)>,

    /// Shell command that starts a missing process
    #[arg(long, value_name = "CMD")]
    launch: Option<String>,

    /// Print each event as a JSON object: {"event":E,"monotonic_ns":T,…}
    #[arg(long)]
    json: bool,
}

fn need(text: &str) -> Result<(u16, u16, Option<u16>), String> {
    let parse = || {
        let (service, numbers) = text.split_once('=')?;
        let (min, max) =
            numbers.split_once(':').map_or((numbers, None), |(min, max)| (min, Some(max)));
        let max = max.map(str::parse).transpose().ok()?;
        Some((service.parse().ok()?, min.parse().ok()?, max))
    };
    parse().ok_or_else(|| "expected SERVICE=MIN or SERVICE=MIN:MAX".into())
}

pub(crate) fn run(group: &Group, args: Args) -> Result<(), Failure> {
    let form = Form::new(args.json);
    let mut ends = signals::ends(false)?;
    let mut config = args.member.config(group, None)?;
    for (service, min, max) in args.need {
        config = config.need(service, min, max);
    }
    if let Some(command) = args.launch {
        config = config.launcher(["sh", "-c", &command]);
    }
    let peer = Peer::join(config)?;
    let events = peer.events();
    let (mut id, label) = (peer.id(), peer.label());
    // Taken when it is to leave, which is on a thread of its own: what happens until it has left is
    // told meanwhile.
    let mut peer = Some(peer);
    let mut leaving = None;
    loop {
        select! {
            recv(events.as_ref()) -> event => match event {
                Ok(event) => {
                    id = peer.as_ref().map_or(id, Peer::id);
                    if let EventKind::Missed { events } = event.kind {
                        note(&format!("missed {events} events: the reader of standard output is \
                                       too slow"));
                    }
                    lines::of(id, label, &event).map_or(Ok(()), |line| line.print(form))?;
                }
                Err(_) => break,
            },
            recv(ends) -> _ => {
                ends = never();
                if let Some(peer) = peer.take() {
                    let thread = thread::Builder::new().name("leave".into());
                    leaving = Some(thread.spawn(move || peer.leave())?);
                }
            },
        }
    }
    if let Some(leaving) = leaving {
        _ = leaving.join();
    }
    Ok(())
}
