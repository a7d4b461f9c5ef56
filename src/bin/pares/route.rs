//! `pares route`: the routed service address.

use clap::Subcommand;

use crate::failure::Failure;
use crate::group::Group;
use crate::output::line;

/// Look after the addresses that a router of the group routes on this host
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Clean(CleanArgs),
}

/// Remove what a router has left that was killed, and print what that was
///
/// A router that is killed leaves its table in the kernel's packet filter. Its connections go on,
/// and it finds the table when it is started again. To take this host out of service instead,
/// remove the table and the addresses with this command. It prints one line for each: `table` and
/// its name, or `address`, the address and its device. It prints nothing if there is nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  pares -g web route clean

Exit codes: as in `pares --help`, and 69 the router lives, 77 CAP_NET_ADMIN is missing.")]
struct CleanArgs {
    /// Service type of the router
    #[arg(long, value_name = "N", default_value = "0")]
    service: u16,
}

pub(crate) fn route(group: &Group, args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Clean(args) => clean(group, args),
    }
}

fn clean(group: &Group, args: &CleanArgs) -> Result<(), Failure> {
    let cleaned = pares::route::clean(&group.name, args.service)?;
    for (address, device) in &cleaned.addresses {
        line(&format!("address\t{address}\t{device}"))?;
    }
    cleaned.table.iter().try_for_each(|table| line(&format!("table\t{table}")))
}
