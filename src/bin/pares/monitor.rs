//! `pares monitor`: what happens in a group, seen from outside.

use pares::AskError;
use pares::channel::select;

use crate::advice::Told;
use crate::events::Line;
use crate::failure::Failure;
use crate::group::Group;
use crate::output::{Form, note};
use crate::signals;

/// Watch a group from outside until SIGINT or SIGTERM, and print one line per event
///
/// The first lines are the supervisor and all present instances; the following ones are changes.
/// Events: supervisor, settled, joined, left, contending (no supervisor at the moment).
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  pares monitor --json | jq -r 'select(.event == \"left\").name'"
)]
pub(crate) struct Args {
    /// Print each event as a JSON object: {"event":E,"monotonic_ns":T,…}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(group: &Group, args: &Args) -> Result<(), Failure> {
    let form = Form::new(args.json);
    let ends = signals::ends(false)?;
    let client = group.client()?;
    // The watch waits for a supervisor for ever; if somebody else has the port, there will be none.
    match client.status() {
        Err(error @ AskError::Refused { .. }) => return Err(error.into()),
        Err(error) => note(&format!("{}; waiting", error.told())),
        Ok(_) => {}
    }
    let watch = client.watch()?;
    loop {
        select! {
            recv(watch.changes().as_ref()) -> change => match change {
                Ok(change) => Line::of_registry(&change).map_or(Ok(()), |line| line.print(form))?,
                Err(_) => return Ok(()),
            },
            recv(ends) -> _ => return Ok(()),
        }
    }
}
