//! The command line of what instances share: permits around commands, usage, limits, settings.

use std::process::Command;

use crate::support::{Ground, Proc, await_true};

mod run;
mod settings;
mod storm;
mod usage;

/// `pares run --permit` with these options, and a shell script as the command.
fn permit(ground: &Ground, options: &str, script: &str) -> Command {
    let options = options.split_whitespace();
    ground.command_of(
        ["run", "--permit"].into_iter().chain(options).chain(["--", "sh", "-c", script]),
    )
}

fn start(ground: &Ground, options: &str, script: &str) -> Proc {
    Proc::start(permit(ground, options, script))
}

/// Waits until nobody has the standard error of a command open: it and all that it started.
#[track_caller]
fn all_gone(process: &Proc) {
    process.stderr();
}

#[track_caller]
fn await_waiting(ground: &Ground, resource: &str, waiting: u32) {
    await_true("waiting", || {
        ground.admin().usage_of(resource).is_ok_and(|usage| usage.waiting == waiting)
    });
}

/// The next line that begins with this word.
#[track_caller]
fn line_of(process: &Proc, word: &str) -> String {
    loop {
        let line = process.line();
        if line.split('\t').next() == Some(word) {
            return line;
        }
    }
}

/// An instance that is there and has declared a resource.
fn declare(ground: &Ground, name: &str, resource: &str) -> Proc {
    let instance = ground.start(&format!("join --json --name {name} --resource {resource}"));
    instance.role();
    instance
}
