//! The `pares` command: arguments → what they mean → deeds. One file for each subcommand or small
//! group of them.
#![deny(unsafe_code)]

mod actor;
mod advice;
mod call;
mod demo;
mod doctor;
mod events;
mod failure;
mod group;
mod join;
mod listeners;
mod listening;
mod monitor;
mod output;
mod packaging;
mod peer;
mod registry;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod route;
mod run;
mod settings;
mod sharing;
mod signals;
mod sys;
mod time;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use group::GroupArgs;

/// First among equals: the instances of one program on one machine elect a supervisor, keep a
/// registry, share limited resources, and learn of every death at once
#[derive(Parser)]
#[command(name = "pares", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    group: GroupArgs,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  pares demo                              watch elections and take-overs
  pares join --name worker-1 &            run an instance that prints one line per event
  pares ls                                list all instances
  pares status --json                     show supervisor, term and cause of the last election
  pares run --permit db --limit 4 -- CMD  run at most 4 of these commands at once
  pares usage                             show the holders of each resource
  pares run --listen 0.0.0.0:80 -- CMD    share one listening socket among these commands
  pares peer join                         join a masterless group, also across machines

Standard output carries only data: a table on a terminal, tab-separated lines without a header in \
a pipe, JSON with --json.

A TIME is a number with a unit, such as 200ms, 1.5s, 2m or 1h; a number alone is in seconds, where \
an option says nothing else.

Exit codes:
  0 yes, or done                   75 busy, or limit reached with -n
  1 failure                        77 not authorised
  2 wrong usage                    124 time limit passed
  3 no supervisor, or not it       125 supervisorship or permit lost while CMD ran
  4 no such instance, function,    126, 127 CMD not runnable, not found
    resource or setting            128+N CMD died from signal N
  69 port held by another program

Environment: PARES_GROUP; PARES_PORT; PARES_DIR, the directory of the group's key and term (default:
in STATE_DIRECTORY, XDG_STATE_HOME or HOME); NO_COLOR.";

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
    Listeners(listeners::ListenersArgs),
    Drain(listeners::DrainArgs),
    Get(settings::GetArgs),
    Set(settings::SetArgs),
    Settings(settings::SettingsArgs),
    Monitor(monitor::Args),
    StepDown(call::StepDownArgs),
    Stop(call::StopArgs),
    Peer(peer::Args),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Route(route::Args),
    Doctor(doctor::Args),
    Completions(packaging::CompletionsArgs),
    Man(packaging::ManArgs),
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Nobody's commands, so that neither help nor completions know them.
    let result = match words.get(1) {
        Some(first) if first == wrap::guard::COMMAND => guarded(&words[2..]),
        Some(first) if first == wrap::anchor::COMMAND => wrap::anchor::stand(),
        Some(first) if first == wrap::begin::COMMAND => wrap::begin::begin(&words[2..]),
        Some(first) if first == actor::COMMAND => actor::act(),
        _ => work(Cli::parse_from(words)),
    };
    conclude(result)
}

fn conclude(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message, .. }) => {
            if !message.is_empty() {
                output::message(&message);
            }
            ExitCode::from(code)
        }
    }
}

/// The same command line as that of the process that has started this one, after two words that are
/// the guard's.
fn guarded(words: &[OsString]) -> Result<(), Failure> {
    let guard = wrap::Guard::new(words)?;
    let own = std::iter::once(OsString::from("pares"));
    let Cli { group, command } = Cli::parse_from(own.chain(words.iter().skip(2).cloned()));
    group.start_log();
    let result = group.resolved().and_then(|group| match command {
        Command::Run(args) => run::guarded(&group, args, &guard),
        Command::Peer(args) => peer::guarded(&group, args, &guard),
        _ => Err(Failure::new(failure::USAGE, "this command has nothing to guard")),
    });
    let result = result.map_err(|failure| {
        _ = conclude(Err(Failure {
            message: failure.message.clone(),
            ..Failure::silent(failure.code)
        }));
        Failure { message: String::new(), ..failure }
    });
    guard.ended(match &result {
        Ok(ended) => *ended,
        Err(failure) => failure.signal.map_or(failure.code.into(), |signal| -signal),
    });
    result.map(drop)
}

fn work(Cli { group, command }: Cli) -> Result<(), Failure> {
    group.start_log();
    // Only where one is needed: what the environment says of it may be wrong, and of no
    // consequence.
    let group = || group.resolved();
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => group().and_then(|_| wrap::run(args.command(), args.or_without())),
        Command::Completions(args) => packaging::completions(&args),
        Command::Man(args) => packaging::man(&args),
        Command::Join(args) => join::run(&group()?, args),
        Command::Ls(args) => registry::ls(&group()?, &args),
        Command::Status(args) => registry::status(&group()?, &args),
        Command::IsSupervisor(args) => registry::is_supervisor(&group()?, &args),
        Command::IsUp(args) => registry::is_up(&group()?, &args),
        Command::Call(args) => call::call(&group()?, args),
        Command::Functions(args) => call::functions(&group()?, &args),
        Command::Usage(args) => sharing::usage(&group()?, &args),
        Command::Limit(args) => sharing::limit(&group()?, &args),
        Command::Revoke(args) => sharing::revoke(&group()?, &args),
        Command::Listeners(args) => listeners::listeners(&group()?, &args),
        Command::Drain(args) => listeners::drain(&group()?, &args),
        Command::Get(args) => settings::get(&group()?, &args),
        Command::Set(args) => settings::set(&group()?, &args),
        Command::Settings(args) => settings::settings(&group()?, &args),
        Command::Monitor(args) => monitor::run(&group()?, &args),
        Command::StepDown(args) => call::step_down(&group()?, &args),
        Command::Stop(args) => call::stop(&group()?, &args),
        Command::Peer(args) => peer::peer(&group()?, args),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Command::Route(args) => route::route(&group()?, args),
        Command::Doctor(args) => doctor::run(&group()?, &args),
    }
}
