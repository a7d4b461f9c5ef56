//! `pares peer`: groups without a master, on one machine or on many.

mod direct;
mod join;
mod lines;
mod look;
mod options;
mod run;

use clap::Subcommand;

use crate::failure::{Failure, USAGE};
use crate::group::Group;
use crate::wrap::{Ended, Guard};

/// Take part in a group without a master, on one machine or on many, or look at one
///
/// In such a group every process broadcasts heartbeats and keeps its own record of all others; from
/// the record alone follows who is primary of each service type. Nobody has to be asked, and no
/// port is held: several groups may share one.
///
/// Without more options the group is on this machine, on UDP port -p of the loopback network.
/// Across machines, all processes need the same group, key file, transport (--multicast, or --bind
/// and --peer), --interval and --delay.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer join --service 7 &                        take part, one line per event
  pares peer ls                                        who is there, and who is primary
  pares peer run --when-primary -- ./work              one of them runs it
  pares peer join --multicast 239.1.2.3:4000 --interface eth0 --interval 500

Exit codes: as `pares --help` has them; 3 nobody is there, 4 no such process, 75 another one is \
primary (-n), 125 the
role of primary was lost while CMD ran.

Environment: PARES_GROUP, PARES_PORT, PARES_DIR (the group's key and last epochs); PARES_LABEL; \
PARES_SERVICE and PARES_ORIGIN, which --launch sets for what it starts.")]
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
            Err(Failure::new(USAGE, "there is nothing to guard"))
        }
    }
}
