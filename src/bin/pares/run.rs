//! `pares run`: a command that runs only while its instance is supervisor, or has a permit.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pares::channel::{Receiver, after, bounded, never, select};
use pares::{AcquireError, Event, EventKind, Instance, Permit, Role};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::failure::{BUSY, DEADLINE, FAILED, Failure, NO_SUPERVISOR, SIGNALLED};
use crate::group::{Group, Identity, seconds, share};
use crate::signals;
use crate::supervise::{Loss, supervise};

/// Run a command while this instance is supervisor, or while it has a permit
///
/// With --when-supervisor one instance runs CMD: start it on as many places as you like, the others wait, and when
/// that one ends or is killed, another runs it. With --permit as many run their commands as the resource's limit
/// lets, in the order of asking; an end gives the permit back, also that by SIGKILL. CMD's end ends `pares run`, with
/// CMD's exit code.
///
/// CMD runs in a process group of its own, of which nothing survives `pares run`, even if that is killed. SIGINT,
/// SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to the whole group. If the role ends or the permit is
/// lost (`pares step-down`, `pares revoke`, `pares stop`; also if no supervisor can be reached for 10 s), the group
/// gets SIGTERM and, if CMD has not ended in time, SIGKILL. The role, or a permit that was not taken away, is given
/// up only when nothing of the group is left. Only a process that leaves the group (as daemons do) escapes this. CMD
/// cannot read from the terminal: its standard input is then empty.
///
/// CMD finds its instance in PARES_NAME, PARES_ROLE (when CMD began), PARES_TERM (which grows with each supervisor: a
/// fencing token), PARES_PERMIT (RESOURCE=UNITS), PARES_GROUP, and PARES_PORT if one was set.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares run --when-supervisor -- ./cron-job          start it on every worker: one runs it
  pares run --when-supervisor -n -- ./once || true   not if another has it already
  pares run --permit scan --limit 4 -- ./scan FILE   start any number: four run at once
  pares run --permit connections=10 -- ./import      of what other instances have declared

Exit codes, besides CMD's own:
  3 asked to leave before CMD ran         124 not in time (-w)
  4 no instance has declared the resource 125 role or permit lost while CMD ran
  75 another is supervisor (-n), units    126, 127 CMD not runnable, not found
     not free (-n), or over the limit     128+N CMD died by signal N")]
pub(crate) struct Args {
    #[command(flatten)]
    when: When,

    /// Declare that all instances together may use so many units of the permit's resource
    #[arg(long, value_name = "N", requires = "permit", conflicts_with = "when_supervisor")]
    limit: Option<u64>,

    /// Do not wait for the role or the permit
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,

    /// Wait at most so many seconds for the role or the permit [default: for ever]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,

    /// How many seconds CMD has to end after SIGTERM when the role or the permit is lost
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    kill_after: Duration,

    #[command(flatten)]
    identity: Identity,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Run CMD while this instance is supervisor
    #[arg(long)]
    when_supervisor: bool,

    /// Run CMD while this instance has a permit for so many units of a resource (1, if no number is given)
    #[arg(long, value_name = "RESOURCE[=UNITS]", value_parser = wanted)]
    permit: Option<(String, u64)>,
}

fn wanted(text: &str) -> Result<(String, u64), String> {
    if text.contains('=') { share(text) } else { Ok((text.into(), 1)) }
}

pub(crate) const PASSED_ON: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// So long a command goes on although its instance knows no supervisor. An election takes milliseconds, and until it
/// is over nobody else can be given the permit: this is for an instance that cannot reach the new supervisor. (One
/// that comes back late is told if others have what it held.) On a machine that is starved of CPU the library's
/// settle time would end sound commands.
const OUT_OF_TOUCH: Duration = Duration::from_secs(10);

pub(crate) fn run(group: &Group, mut args: Args) -> Result<(), Failure> {
    let signals = signals::receive(&PASSED_ON)?;
    let code = match args.when.permit.take() {
        None => as_supervisor(group, args, &signals)?,
        Some(wanted) => with_permit(group, args, wanted, &signals)?,
    };
    if code == 0 { Ok(()) } else { Err(Failure::silent(code)) }
}

/// The command as its instance's child.
fn command_for(instance: &Instance, port: Option<u16>, role: Role, term: u64, words: &[std::ffi::OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.env("PARES_NAME", instance.name()).env("PARES_ROLE", role.as_str()).env("PARES_TERM", term.to_string());
    command.env("PARES_GROUP", instance.group());
    // Not the one that is made from the group: who is told a port is on 127.0.0.1.
    command.envs(port.map(|port| ("PARES_PORT", port.to_string())));
    command.env_remove("PARES_PERMIT"); // that of a `pares run` around this one is not ours
    command
}

fn as_supervisor(group: &Group, args: Args, signals: &Receiver<i32>) -> Result<u8, Failure> {
    let config = args.identity.config(group);
    let port = group.port;
    let instance = Instance::join(config)?;
    if args.no_wait && instance.role() != Role::Supervisor {
        return Err(Failure::new(BUSY, "another instance is supervisor"));
    }

    // The job only says when; everything is done on this thread. It holds the role until this thread lets go.
    let (begin, begun) = bounded(0);
    let (lose, lost) = bounded(1);
    let (held, let_go) = bounded::<()>(0);
    let kill_after = args.kill_after;
    let job = instance.while_supervisor(move |guard| {
        if begin.send(guard.term()).is_err() {
            return; // nobody waits for it any more
        }
        while !guard.wait(Duration::MAX) {}
        _ = lose.send(Loss { why: "the role ends", kill_after });
        _ = let_go.recv();
    })?;
    let over = args.wait.map_or_else(never, after);
    let term = wait_for_turn(begun, signals, &instance.events(), &never(), &over)?;

    let command = command_for(&instance, port, Role::Supervisor, term, &args.command);
    let code = supervise(command, signals, lost, held);
    drop(job);
    instance.leave();
    code
}

fn with_permit(
    group: &Group,
    args: Args,
    (resource, units): (String, u64),
    signals: &Receiver<i32>,
) -> Result<u8, Failure> {
    // In the place of the function that every instance has: the command must have ended before this one leaves.
    let (ask, asked) = bounded(1);
    let stop = move |_: &[u8]| {
        _ = ask.try_send(()); // once is enough
        Ok(b"leaving".to_vec())
    };
    let config = args.identity.config(group);
    let mut config = config.function("stop", "has the instance end its command and leave its group", stop);
    if let Some(limit) = args.limit {
        config = config.resource(&resource, limit);
    }
    let port = group.port;
    let instance = Arc::new(Instance::join(config)?);
    let events = instance.events();

    let name = format!("{resource}={units}");
    let (grant, granted) = bounded(1);
    let acquire = {
        let instance = instance.clone();
        move || _ = grant.send(acquire(&instance, &resource, units, args.no_wait, args.wait))
    };
    let acquiring = thread::Builder::new().name("acquire".into()).spawn(acquire)?;
    // After an error that thread waits on. It ends with this process, which the others see as a death: nothing is left.
    let permit = wait_for_turn(granted, signals, &events, &asked, &never())?;
    _ = acquiring.join(); // from here on the instance is ours alone, so that it leaves when we do
    let permit = permit?;

    let mut command = command_for(&instance, port, instance.role(), instance.term(), &args.command);
    command.env("PARES_PERMIT", name);
    let (lose, lost) = bounded(1);
    let (held, let_go) = bounded::<()>(0);
    let watch = thread::Builder::new().name("permit".into());
    let lose = move |why| _ = lose.send(Loss { why, kill_after: args.kill_after });
    let watch = watch.spawn(move || hold(&permit, &events, &asked, lose, &let_go))?;
    let code = supervise(command, signals, lost, held);
    _ = watch.join();
    drop(instance);
    code
}

fn acquire(
    instance: &Instance,
    resource: &str,
    units: u64,
    no_wait: bool,
    wait: Option<Duration>,
) -> Result<Permit, AcquireError> {
    match wait {
        _ if no_wait => instance.try_acquire(resource, units),
        None => instance.acquire(resource, units),
        Some(time) => instance.acquire_timeout(resource, units, time),
    }
}

/// Waits for what `turn` brings. Takes it, so that after an error whoever brings it finds nobody waiting.
fn wait_for_turn<T>(
    turn: Receiver<T>,
    signals: &Receiver<i32>,
    events: &Receiver<Event>,
    asked: &Receiver<()>,
    over: &Receiver<std::time::Instant>,
) -> Result<T, Failure> {
    let leaving = || Failure::new(NO_SUPERVISOR, "asked to leave before it was its turn");
    loop {
        select! {
            recv(turn) -> turn => return turn.map_err(|_| leaving()),
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1 | SIGUSR2) => {} // for a command that does not run yet
                Ok(signal) => return Err(Failure::silent(SIGNALLED + signal as u8)),
                Err(_) => return Err(Failure::new(FAILED, "signals cannot be received")),
            },
            recv(events) -> event => if event.is_err() {
                return Err(leaving());
            },
            recv(asked) -> _ => return Err(leaving()),
            recv(over) -> _ => return Err(Failure::new(DEADLINE, "not supervisor in time")),
        }
    }
}

/// Holds the permit until `let_go` ends, and says through `lose` if the command has to end before, and why.
fn hold(
    permit: &Permit,
    events: &Receiver<Event>,
    asked: &Receiver<()>,
    lose: impl FnOnce(&'static str),
    let_go: &Receiver<()>,
) {
    const LOST: &str = "the permit is lost";
    let mut alone = never();
    let mut has_role = true;
    // It may have gone as it came; that event was passed over while nothing was held.
    let mut why = (!permit.is_valid()).then_some(LOST);
    while why.is_none() {
        select! {
            recv(let_go) -> _ => return,
            recv(asked) -> _ => why = Some("asked to leave"),
            recv(alone) -> _ => why = Some("no supervisor for too long, so that others may have the permit"),
            recv(events) -> event => match event.map(|event| event.kind) {
                Ok(EventKind::PermitLost { permit: lost, .. }) if lost == permit.id() => why = Some(LOST),
                Ok(EventKind::Missed { .. }) if has_role && !permit.is_valid() => why = Some(LOST),
                Ok(EventKind::Contending { .. }) if has_role => (has_role, alone) = (false, after(OUT_OF_TOUCH)),
                Ok(EventKind::Supervisor { .. } | EventKind::Subordinate { .. }) => (has_role, alone) = (true, never()),
                Ok(_) => {}
                Err(_) => why = Some("the instance has left its group"),
            },
        }
    }
    lose(why.unwrap_or(LOST));
    _ = let_go.recv();
}
