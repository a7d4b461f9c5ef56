//! `pares join`: be an instance, and tell what happens.

use pares::channel::{never, select};
use pares::{Config, EventKind, Instance};

use crate::events::Line;
use crate::failure::Failure;
use crate::group::{Group, Identity, share};
use crate::output::{Form, note};
use crate::signals;

/// Run an instance until SIGINT or SIGTERM, and print one line per event
///
/// Events: supervisor, subordinate and contending (the role of this instance), settled (all
/// survivors of an election are in the registry again), joined and left (other instances), setting,
/// permit-lost, stalled and resumed (with --hang-timeout), stopped. `pares stop NAME` also ends the
/// instance.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares join --name worker-1 --meta version=2.4
  pares join --resource connections=40
  pares join --json | jq -r .event")]
pub(crate) struct Args {
    #[command(flatten)]
    identity: Identity,

    /// Declare a resource and its limit for all instances together; repeatable
    #[arg(long, value_name = "RESOURCE=LIMIT", value_parser = share)]
    resource: Vec<(String, u64)>,

    /// Print each event as a JSON object: {"event":E,"monotonic_ns":T,…}
    #[arg(long)]
    json: bool,

    /// Also end at the end of standard input, when the process at its other end ends
    #[arg(long)]
    until_eof: bool,
}

pub(crate) fn run(group: &Group, args: Args) -> Result<(), Failure> {
    let form = Form::new(args.json);
    let ends = signals::ends(args.until_eof)?;
    let declare =
        |config: Config, (resource, limit)| config.resource(pares::Resource::new(resource, limit));
    let instance =
        Instance::join(args.resource.into_iter().fold(args.identity.config(group), declare))?;
    let name = instance.name().to_owned();
    let events = instance.events();
    let watch = instance.client().watch()?;
    let mut changes = watch.changes().as_ref().clone();
    let print = |line: Option<Line>| line.map_or(Ok(()), |line| line.print(form));
    loop {
        select! {
            recv(events.as_ref()) -> event => match event {
                Ok(event) => {
                    if let EventKind::Missed { events } = event.kind {
                        note(&format!("missed {events} events: the reader of standard output is \
                                       too slow"));
                    }
                    print(Line::of_instance(&name, &event))?;
                }
                Err(_) => break,
            },
            recv(changes) -> change => match change {
                Ok(change) => print(Line::of_others(&name, &change))?,
                Err(_) => changes = never(),
            },
            recv(ends) -> _ => break,
        }
    }
    drop((changes, watch));
    instance.leave();
    events.try_iter().try_for_each(|event| print(Line::of_instance(&name, &event)))
}
