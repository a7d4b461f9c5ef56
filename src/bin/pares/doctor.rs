//! `pares doctor`: what on this machine stands, or may one day stand, in the way of a group; and
//! the cure.
//!
//! Each check is a function that looks and gives a finding; nothing is changed.

use std::fs;
use std::time::Duration;

use pares::AskError;

use crate::failure::{FAILED, Failure};
use crate::group::Group;
use crate::output::{Form, array, line, rows};

mod files;
mod instances;
mod machine;
mod process;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod route;
mod way;

/// Check this machine for obstacles to the group, and print the cure for each
///
/// The fields in a pipe are check, `ok`, `note` or `cure`, the finding, the cure. A note is about
/// something that may cause trouble later.
#[derive(clap::Args)]
#[command(after_help = "Exit codes:\n  0 nothing to cure, perhaps with notes\n  1 something to \
                  cure")]
pub(crate) struct Args {
    /// Print a JSON array of {check,state,finding,cure}
    #[arg(long)]
    json: bool,

    /// Check as well whether this host's kernel can route a service address that packets reach by
    /// this network device
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[arg(long, value_name = "DEVICE")]
    route: Option<String>,
}

/// What a check found.
#[derive(serde::Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    finding: String,
    /// What to do; empty if nothing.
    cure: String,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Note,
    Cure,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Cure => "cure",
        }
    }
}

fn ok(check: &'static str, finding: impl Into<String>) -> Finding {
    Finding { check, state: State::Ok, finding: finding.into(), cure: String::new() }
}

fn note(check: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, state: State::Note, finding: finding.into(), cure: cure.into() }
}

fn cure(check: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, state: State::Cure, finding: finding.into(), cure: cure.into() }
}

pub(crate) fn run(group: &Group, args: &Args) -> Result<(), Failure> {
    #[cfg_attr(not(any(target_os = "linux", target_os = "android")), expect(unused_mut))]
    let mut findings = examine(group)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    findings.extend(args.route.as_deref().map(route::kernel));
    print(&findings, Form::new(args.json))?;
    match findings.iter().filter(|finding| finding.state == State::Cure).count() {
        0 => Ok(()),
        _ => Err(Failure::silent(FAILED)),
    }
}

fn examine(group: &Group) -> Result<Vec<Finding>, Failure> {
    let config = group.config();
    let at = config.supervisor_address();
    let (directory, key_file) = (config.locate_state_directory()?, config.key_path()?);
    let mut findings = vec![
        machine::port_range(at.port()),
        files::directory(&config, &directory),
        files::key(&config, &key_file),
    ];
    // First, for asking takes its time with one that does not answer, and then it may be gone.
    let sockets = process::Sockets::look();
    let holders = sockets.listening_at(at);
    // Asking needs the key, and must not make one.
    let has_key = key_file.exists();
    let listing = if has_key {
        let answer =
            group.client().map_err(|error| AskError::Refused { source: Box::new(error.into()) });
        answer.and_then(|client| client.with_timeout(Duration::from_secs(3)).list())
    } else {
        Err(AskError::NoSupervisor { address: at })
    };
    findings.push(instances::supervisor(at, &listing, &sockets, &holders, has_key));
    findings.push(instances::leaks(at, listing.as_ref().ok(), &sockets));
    let listing = listing.as_ref().ok();
    let seen = instances::seen(listing, &sockets);
    let limits = machine::Limits::look(listing, seen.supervisor());
    findings.extend([
        instances::members(&seen),
        instances::namespaces(at, listing),
        instances::clocks(&seen),
        machine::descriptors(listing, &limits),
        machine::threads(listing, &limits),
        machine::backlog(),
        machine::core_dumps(&limits),
        machine::proc(),
    ]);
    Ok(findings)
}

fn print(findings: &[Finding], form: Form) -> Result<(), Failure> {
    match form {
        Form::Json => array(findings),
        Form::Tabs => {
            let row = |finding: &Finding| {
                let Finding { check, state, finding, cure } = finding;
                vec![(*check).to_owned(), state.as_str().to_owned(), finding.clone(), cure.clone()]
            };
            rows(form, &[], &findings.iter().map(row).collect::<Vec<_>>())
        }
        Form::Table => findings.iter().try_for_each(|Finding { check, state, finding, cure }| {
            line(&format!("{:<4}  {check:<11}  {finding}", state.as_str()))?;
            if cure.is_empty() { Ok(()) } else { line(&format!("{:19}-> {cure}", "")) }
        }),
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}
