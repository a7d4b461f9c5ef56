//! The `pares` command: arguments → what they mean → deeds. One file for each subcommand or small group of them.
#![deny(unsafe_code)]

mod actor;
mod call;
mod demo;
mod doctor;
mod events;
mod failure;
mod group;
mod guard;
mod join;
mod monitor;
mod output;
mod packaging;
mod peer;
mod registry;
mod run;
mod settings;
mod sharing;
mod signals;
mod supervise;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use group::Group;

/// First among equals: instances of one program on one machine elect a supervisor, keep a registry, share what is
/// limited, and notice every death at once
#[derive(Parser)]
#[command(name = "pares", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    group: Group,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  pares demo                              see what it does
  pares join --name worker-1 &            be an instance, one line per event
  pares ls                                who is there
  pares status --json                     supervisor, term and cause of the last election
  pares run --permit db --limit 4 -- CMD  at most 4 of them at once
  pares usage                             who holds what
  pares peer join                         be in a group without a master, also across machines

Standard output is data: a table on a terminal, without header and separated by tabs in a pipe, or JSON with --json.

Exit codes:
  0 yes, done                      75 busy, or limit reached with -n
  1 failure                        77 not authorised
  2 usage                          124 deadline passed
  3 no supervisor, or not it       125 supervisorship or permit lost while CMD ran
  4 no such instance, function,    126, 127 CMD not runnable, not found
    resource or setting            128+N CMD died by signal N
  69 port held by another program

Environment: PARES_GROUP, PARES_PORT, PARES_DIR (the group's key and term; else STATE_DIRECTORY,
XDG_STATE_HOME or HOME), NO_COLOR.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Join(join::Args),
    Run(run::Args),
    Ls(registry::LsArgs),
    Status(registry::StatusArgs),
    IsSupervisor(registry::IsSupervisorArgs),
    IsUp(registry::IsUpArgs),
    Call(call::CallArgs),
    Functions(call::FunctionsArgs),
    Usage(sharing::UsageArgs),
    Limit(sharing::LimitArgs),
    Revoke(sharing::RevokeArgs),
    Get(settings::GetArgs),
    Set(settings::SetArgs),
    Settings(settings::SettingsArgs),
    Monitor(monitor::Args),
    StepDown(call::StepDownArgs),
    Stop(call::StopArgs),
    Peer(peer::Args),
    Doctor(doctor::Args),
    Completions(packaging::CompletionsArgs),
    Man(packaging::ManArgs),
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                eprintln!("pares: {message}");
            }
            ExitCode::from(code)
        }
    }
}

fn work() -> Result<(), Failure> {
    // Nobody's commands, so that neither help nor completions know them.
    match std::env::args_os().nth(1) {
        Some(first) if first == guard::COMMAND => return guard::stand(),
        Some(first) if first == actor::COMMAND => return actor::act(),
        _ => {}
    }
    let Cli { group, command } = Cli::parse();
    group.start_log();
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Join(args) => join::run(&group, args),
        Command::Run(args) => run::run(&group, args),
        Command::Ls(args) => registry::ls(&group, &args),
        Command::Status(args) => registry::status(&group, &args),
        Command::IsSupervisor(args) => registry::is_supervisor(&group, &args),
        Command::IsUp(args) => registry::is_up(&group, &args),
        Command::Call(args) => call::call(&group, args),
        Command::Functions(args) => call::functions(&group, &args),
        Command::Usage(args) => sharing::usage(&group, &args),
        Command::Limit(args) => sharing::limit(&group, &args),
        Command::Revoke(args) => sharing::revoke(&group, &args),
        Command::Get(args) => settings::get(&group, &args),
        Command::Set(args) => settings::set(&group, &args),
        Command::Settings(args) => settings::settings(&group, &args),
        Command::Monitor(args) => monitor::run(&group, &args),
        Command::StepDown(args) => call::step_down(&group, &args),
        Command::Stop(args) => call::stop(&group, &args),
        Command::Peer(args) => peer::peer(&group, args),
        Command::Doctor(args) => doctor::run(&group, &args),
        Command::Completions(args) => packaging::completions(&args),
        Command::Man(args) => packaging::man(&args),
    }
}
