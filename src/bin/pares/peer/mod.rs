//! `pares peer`: groups without a master, on one machine or on many.

mod direct;
mod join;
mod lines;
mod look;
mod options;
mod run;

pub(crate) use lines::of_token;
pub(crate) use options::Network;

use clap::Subcommand;

use crate::failure::{Failure, USAGE};
use crate::group::Group;
use crate::wrap::{Ended, Guard};

/// Take part in a masterless group, on one machine or several, or observe one
///
/// In a masterless group every process broadcasts heartbeats and keeps its own record of all
/// others. From this record alone it knows the primary of each service type. No process holds the
/// port, and several groups may share one.
///
/// By default the group is on this machine, on UDP port -p of the loopback network. Across
/// machines, all processes need the same group, key file, transport (--multicast, or --bind and
/// --peer), --interval and --delay.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer join --service 7 &                        take part, and print one line per event
  pares peer ls                                        list all processes and their status
  pares peer run --when-primary -- ./work              start it on every machine: one runs it
  pares peer join --multicast 239.1.2.3:4000 --interface eth0 --interval 500

Exit codes: as in `pares --help`, and 3 no process is there, 4 no such process, 75 another process \
is primary
(-n), 125 the role of primary was lost while CMD ran.

Environment: PARES_GROUP; PARES_PORT; PARES_DIR, the directory of the group's key and last epochs; \
PARES_LABEL; PARES_SERVICE and PARES_ORIGIN, which --launch sets for the processes that it \
starts.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Join(join::Args),
    Ls(look::LsArgs),
    Watch(look::WatchArgs),
    Run(run::Args),
    Direct(direct::Args),
}

pub(crate) fn peer(group: &Group, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Join(args) => join::run(group, args),
        Command::Ls(args) => look::ls(group, &args),
        Command::Watch(args) => look::watch(group, &args),
        Command::Run(args) => args.wrap(),
        Command::Direct(args) => direct::run(group, &args),
    }
}

/// Runs the command of `pares peer run`, in the process that guards it.
pub(crate) fn guarded(group: &Group, args: Args, guard: &Guard) -> Result<Ended, Failure> {
    match args.command {
        Command::Run(args) => run::guarded(group, args, guard),
        Command::Join(_) | Command::Ls(_) | Command::Watch(_) | Command::Direct(_) => {
            Err(Failure::new(USAGE, "this command has nothing to guard"))
        }
    }
}
