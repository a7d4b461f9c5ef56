//! For packagers: `completions` and `man`.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::Cli;
use crate::failure::{Failure, USAGE};

/// Print the completion script for a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  pares completions bash > /usr/share/bash-completion/completions/pares"
)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

/// Print the manual page of `pares` or of one of its commands
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  pares man | man -l -\n  pares man run > pares-run.1\n  pares man \
                  peer join > pares-peer-join.1"
)]
pub(crate) struct ManArgs {
    /// Name of a command, and of its subcommand
    command: Vec<String>,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pares", &mut text);
    Ok(io::stdout().lock().write_all(&text)?)
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut pares = Cli::command();
    pares.build();
    let mut page = pares;
    for name in &args.command {
        let found = page.find_subcommand(name).filter(|command| !command.is_hide_set());
        page = found
            .cloned()
            .ok_or_else(|| Failure::new(USAGE, format!("`{name}` is not a command")))?;
    }
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    Ok(io::stdout().lock().write_all(&text)?)
}
