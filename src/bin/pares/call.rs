//! Admin calls: `call`, `functions`, `stop`, `step-down`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use pares::{AskError, CallError, Client, Reply};

use crate::advice::Told;
use crate::failure::{FAILED, Failure};
use crate::group::{Group, Patience};
use crate::output::{Form, array, escaped, line, object, rows};
use crate::time::seconds;

/// Call an admin function of one instance, of the supervisor (main), or of all instances (@all)
///
/// The bytes of the result go to standard output unchanged. With @all the output is one line per
/// instance: name, `ok` or `error`, result. The exit code is then 0 only if all calls succeeded.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares call worker-1 info
  pares call main reload - < new.conf
  pares call @all log-level debug --timeout 2")]
pub(crate) struct CallArgs {
    /// Name of an instance, `main` for the supervisor, or `@all`
    name: String,

    /// Name of the function; `pares functions NAME` lists them
    function: String,

    /// Payload for the function; `-` reads it from standard input
    payload: Option<OsString>,

    #[command(flatten)]
    patience: Patience,

    /// Print the JSON object {name,ok,result}; with @all an array of them
    #[arg(long)]
    json: bool,
}

/// List the admin functions of an instance
#[derive(clap::Args)]
pub(crate) struct FunctionsArgs {
    /// Name of an instance, or `main` for the supervisor
    name: String,

    #[command(flatten)]
    patience: Patience,

    /// Print a JSON array of {name,help}
    #[arg(long)]
    json: bool,
}

/// Ask an instance to leave its group
///
/// Returns as soon as the instance agrees. `pares join` then ends; `pares run` ends its command
/// first.
#[derive(clap::Args)]
pub(crate) struct StopArgs {
    /// Name of an instance, or `main` for the supervisor
    name: String,

    #[command(flatten)]
    patience: Patience,
}

/// Make the supervisor hand over to another instance, and print the successor's name
///
/// Jobs that run only on the supervisor end first. The old supervisor stays in the group.
#[derive(clap::Args)]
pub(crate) struct StepDownArgs {
    /// Time limit
    #[arg(long, value_name = "TIME", default_value = "12s", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) fn call(group: &Group, args: CallArgs) -> Result<(), Failure> {
    let CallArgs { name, function, payload, patience: Patience { timeout }, json } = args;
    let payload = payload.map_or_else(|| Ok(Vec::new()), read_payload)?;
    let client = group.client()?;
    if name == "@all" {
        let results = client.call_all(&function, &payload, timeout)?;
        let results = results.into_iter().map(|Reply { name, result, .. }| match result {
            Ok(bytes) => Answer { name, ok: true, result: text(&bytes) },
            Err(error) => Answer { name, ok: false, result: error.told() },
        });
        return print_all(&results.collect::<Vec<_>>(), Form::new(json));
    }
    let result = client.call(&name, &function, &payload, timeout)?;
    if json {
        return object(&Answer { name, ok: true, result: text(&result) });
    }
    let mut out = io::stdout().lock();
    out.write_all(&result)?;
    if out.is_terminal() && !result.is_empty() && !result.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// What one instance answered.
#[derive(serde::Serialize)]
struct Answer {
    name: String,
    ok: bool,
    result: String,
}

fn print_all(answers: &[Answer], form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        array(answers)?;
    } else {
        let row = |answer: &Answer| {
            let outcome = if answer.ok { "ok" } else { "error" };
            // One line each, whatever the function says.
            vec![answer.name.clone(), outcome.to_owned(), escaped(answer.result.trim_end())]
        };
        rows(form, &["NAME", "OUTCOME", "RESULT"], &answers.iter().map(row).collect::<Vec<_>>())?;
    }
    match answers.iter().filter(|answer| !answer.ok).count() {
        0 => Ok(()),
        failed => Err(Failure::new(
            FAILED,
            format!("{failed} of {} instances returned no result", answers.len()),
        )),
    }
}

/// An admin function as JSON.
#[derive(serde::Serialize)]
struct Function<'a> {
    name: &'a str,
    help: &'a str,
}

pub(crate) fn functions(group: &Group, args: &FunctionsArgs) -> Result<(), Failure> {
    let lines = text(&group.client()?.call(&args.name, "functions", b"", args.patience.timeout)?);
    let functions = lines.lines().filter_map(|line| line.split_once('\t'));
    let form = Form::new(args.json);
    if form == Form::Json {
        let functions: Vec<Function<'_>> =
            functions.map(|(name, help)| Function { name, help }).collect();
        return array(&functions);
    }
    let functions: Vec<Vec<String>> =
        functions.map(|(name, help)| vec![name.into(), help.into()]).collect();
    rows(form, &["FUNCTION", "DESCRIPTION"], &functions)
}

pub(crate) fn stop(group: &Group, args: &StopArgs) -> Result<(), Failure> {
    let client = group.client()?;
    match client.call(&args.name, "stop", b"", args.patience.timeout) {
        // It may be quicker to end than to answer: that is what was asked for.
        Err(CallError::InstanceLost { name }) if is_gone(&client, &name, args.patience.timeout) => {
            Ok(())
        }
        result => Ok(result.map(drop)?),
    }
}

/// Waits until an instance is no longer in the registry.
fn is_gone(client: &Client, name: &str, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let Ok(watch) = client.watch() else { return false };
    let client = client.with_timeout(patience);
    loop {
        match client.look_up(name) {
            Err(AskError::NoSuchInstance { .. } | AskError::NoSupervisor { .. }) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
        if watch.changes().recv_deadline(deadline).is_err() {
            return false;
        }
    }
}

pub(crate) fn step_down(group: &Group, args: &StepDownArgs) -> Result<(), Failure> {
    let client = group.client()?;
    let successor = text(&client.call("main", "step-down", b"", args.timeout)?);
    if !successor.is_empty() {
        return line(&successor);
    }
    // One that was supervisor only for a command's sake has left, and does not know who came after
    // it.
    line(&client.with_timeout(args.timeout).status()?.supervisor)
}

fn read_payload(argument: OsString) -> io::Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.into_vec());
    }
    let mut bytes = Vec::new();
    // One byte more than fits is enough to be told so.
    io::stdin().lock().take(pares::MAX_PAYLOAD as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
