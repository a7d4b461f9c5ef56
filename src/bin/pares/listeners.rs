//! The listeners that instances share: `listeners`, `drain`.

use pares::{Acceptor, SharedListener};

use crate::failure::Failure;
use crate::group::{Group, Patience};
use crate::output::{Form, array, line, rows};

/// List the shared listeners, with the instances that accept connections there
///
/// The fields in a pipe are the listener's address, the connections that wait there, and for one
/// instance: name, policy, weight, turns that it has and has not used, open connections,
/// connections accepted, and `draining` or `-`. There is one line for each instance. The command of
/// `pares run --listen` accepts by itself, and nobody counts its connections. A listener at which
/// nobody accepts has `-` in these fields, and is closed after five seconds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares listeners
  pares listeners | cut -f1,2 | uniq                   show how many connections wait where
  pares listeners --json | jq '.[].acceptors[].name'   show who accepts")]
pub(crate) struct ListenersArgs {
    #[command(flatten)]
    patience: Patience,

    /// Print a JSON array of {address,waiting,acceptors:[{name,policy,weight,capacity,turns,open,
    /// taken,draining}]}
    #[arg(long)]
    json: bool,
}

/// Have an instance accept no more connections, and print at how many listeners it accepted
///
/// The other instances accept them. Connections that the instance has accepted go on. `pares run
/// --listen` ends its command, which gets SIGTERM first. To restart instances one by one without
/// losing a connection, drain each, wait for its end, and start it again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares drain web-1")]
pub(crate) struct DrainArgs {
    /// Name of an instance
    name: String,

    #[command(flatten)]
    patience: Patience,
}

pub(crate) fn listeners(group: &Group, args: &ListenersArgs) -> Result<(), Failure> {
    let listeners = group.client()?.with_timeout(args.patience.timeout).listeners()?;
    let form = Form::new(args.json);
    if form == Form::Json {
        return array(&listeners);
    }
    let table: Vec<Vec<String>> = listeners.iter().flat_map(lines_of).collect();
    let head =
        ["ADDRESS", "WAITING", "NAME", "POLICY", "WEIGHT", "TURNS", "OPEN", "TAKEN", "STATE"];
    rows(form, &head, &table)
}

fn lines_of(listener: &SharedListener) -> Vec<Vec<String>> {
    let row = |rest: [String; 7]| {
        [listener.address.clone(), listener.waiting.to_string()].into_iter().chain(rest).collect()
    };
    if listener.acceptors.is_empty() {
        return vec![row(std::array::from_fn(|_| "-".to_owned()))];
    }
    let fields = |one: &Acceptor| {
        row([
            one.name.clone(),
            one.policy.to_string(),
            one.weight.to_string(),
            one.turns.to_string(),
            one.open.to_string(),
            one.taken.to_string(),
            if one.draining { "draining" } else { "-" }.to_owned(),
        ])
    };
    listener.acceptors.iter().map(fields).collect()
}

pub(crate) fn drain(group: &Group, args: &DrainArgs) -> Result<(), Failure> {
    let count = group.client()?.with_timeout(args.patience.timeout).drain(&args.name)?;
    line(&count.to_string())
}
