//! `pares run`: a command that runs only while its instance is supervisor, or has a permit, or that
//! accepts connections together with others.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, after, bounded, never, select};
use pares::{AcquireError, EventKind, Instance, Permit, Role};

use crate::failure::{BUSY, Failure, USAGE};
use crate::group::{Group, Identity, share};
use crate::listening::Listening;
use crate::output::note;
use crate::time::seconds;
use crate::wrap::{Ended, Ending, Guard, Loss, over_after, quoted, supervise};

/// Run a command while this instance is supervisor or holds a permit, or with a shared listener
///
/// With --when-supervisor exactly one instance runs CMD. Start any number: the others wait, and
/// when the first ends or is killed, another runs CMD. With --permit as many instances run their
/// commands as the resource's limit allows, in the order of their requests. The end of `pares run`
/// releases the permit, even if it is killed by SIGKILL. When CMD ends, `pares run` exits with
/// CMD's exit code, or dies from the signal that ended CMD if it received that signal, too.
///
/// With --listen CMD gets a listening socket that all instances share, as a service manager passes
/// one (LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, descriptors from 3 on; NGINX for nginx). CMD
/// accepts connections by itself. Those that nobody has accepted yet survive the death of any CMD
/// and any `pares run`. Alone, --listen starts CMD at once; with --when-supervisor or --permit the
/// sockets are there before the role or the permit is.
///
/// CMD runs in a process group of its own. No process of that group survives `pares run`, even if
/// `pares run` is killed. `pares run` passes all signals that can be caught on to the whole group.
/// Ctrl-Z stops CMD and `pares run`, which keeps the role or the permit, and `fg` continues both.
/// CMD gets the terminal when it reads from it or sets its modes.
///
/// The role or the permit can be lost: by `pares step-down`, `pares revoke` or `pares stop`, or if
/// no supervisor can be reached for 10 s. The group then gets SIGTERM and, if CMD does not end in
/// time, SIGKILL. `pares run` gives up the role, or a permit that was not taken away, only when no
/// process of the group is left. Two kinds of processes escape this: one that leaves the group, as
/// a daemon does, and one that runs as another user, as with sudo, which `pares run` may not
/// signal. It then keeps the role until that process ends, but a permit that was taken away goes to
/// another instance at once.
///
/// A second process, the guard, holds the role or the permit; `pares ls` shows its process id. When
/// CMD begins, `pares run` tells the service manager (NOTIFY_SOCKET) that the service is ready.
///
/// The environment of CMD has PARES_NAME, PARES_ROLE (when CMD began), PARES_TERM (a fencing token:
/// it grows with each supervisor), PARES_PERMIT (RESOURCE=UNITS), PARES_GROUP, and PARES_PORT if a
/// port was set.
#[derive(clap::Args)]
#[group(required = true, multiple = true, args = ["when_supervisor", "permit", "listen"])]
#[command(after_help = "\
Examples:
  pares run --when-supervisor -- ./cron-job          start it on every worker: one runs it
  pares run --when-supervisor -n -- ./once || true   skip it if another instance runs it
  pares run --permit scan --limit 4 -- ./scan FILE   start any number: four run at once
  pares run --permit connections=10 -- ./import      use a limit that other instances declare
  pares run --listen 0.0.0.0:80 -- nginx -c CONF     start any number: all accept connections

Exit codes, besides CMD's own:
  3 asked to leave before CMD ran, or no  124 time limit passed (-w)
    supervisor (--never-supervisor)       125 role or permit lost while CMD ran
  4 no instance has declared the resource 126, 127 CMD not runnable, not found
  75 another instance is supervisor (-n), 128+N CMD died from signal N
     units not free (-n), or over the limit")]
pub(crate) struct Args {
    #[command(flatten)]
    when: When,

    /// Give CMD a listening socket that all instances share, such as 0.0.0.0:80 or [::1]:80;
    /// repeatable
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = shared)]
    listen: Vec<SocketAddr>,

    /// Declare the limit of the permit's resource, in units for all instances together
    #[arg(long, value_name = "N", requires = "permit", conflicts_with = "when_supervisor")]
    limit: Option<u64>,

    /// Declare a limit for each instance as well, in units
    #[arg(long, value_name = "N", requires = "limit")]
    per_holder: Option<u64>,

    /// Run CMD even if it cannot be guarded: no usable directory or key, or another program on the
    /// port
    #[arg(long)]
    or_without: bool,

    /// Fail instead of waiting for the role or the permit
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,

    /// Time limit for waiting for the role or the permit [default: none]
    #[arg(short, long, value_name = "TIME", value_parser = seconds)]
    wait: Option<Duration>,

    /// Time from that signal to SIGKILL
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = seconds)]
    kill_after: Duration,

    /// Signal that ends CMD when the role or the permit is lost, or it is to accept no more: QUIT
    /// for nginx, USR1 for haproxy, which then finish what they have accepted
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = ENDINGS)]
    end_signal: String,

    #[command(flatten)]
    identity: Identity,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct When {
    /// Run CMD while this instance is supervisor
    #[arg(long, conflicts_with = "never_supervisor")]
    when_supervisor: bool,

    /// Run CMD while this instance holds a permit for UNITS of a resource [default: 1 unit]
    #[arg(long, value_name = "RESOURCE[=UNITS]", value_parser = wanted)]
    permit: Option<(String, u64)>,
}

fn shared(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    address.ok_or_else(|| "an address and a port, such as 0.0.0.0:80 or [::1]:80".into())
}

fn wanted(text: &str) -> Result<(String, u64), String> {
    if text.contains('=') { share(text) } else { Ok((text.into(), 1)) }
}

/// So long a command goes on although its instance knows no supervisor. An election takes
/// milliseconds, and until it is over nobody else can be given the permit: this is for an instance
/// that cannot reach the new supervisor. (One that comes back late is told if others have what it
/// held.) On a machine that is starved of CPU the library's settle time would end sound commands.
const OUT_OF_TOUCH: Duration = Duration::from_secs(10);

/// The signals by which programs end, in their own ways.
const ENDINGS: [&str; 7] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"];

const LATE: &str = "did not become supervisor in time";

impl Args {
    pub(crate) fn command(&self) -> &[OsString] {
        &self.command
    }

    pub(crate) fn or_without(&self) -> bool {
        self.or_without
    }

    fn ending(&self) -> Ending {
        let numbers = [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGWINCH,
        ];
        let at = ENDINGS.iter().position(|name| *name == self.end_signal);
        Ending { signal: numbers[at.unwrap_or(0)], kill_after: self.kill_after }
    }
}

/// Runs the command, in the process that guards it.
pub(crate) fn guarded(group: &Group, mut args: Args, guard: &Guard) -> Result<Ended, Failure> {
    match args.when.permit.take() {
        Some(wanted) => with_permit(group, args, wanted, guard),
        None if args.when.when_supervisor => as_supervisor(group, args, guard),
        None => as_acceptor(group, args, guard),
    }
}

/// Runs the command although it could not join, if that is wanted and not the caller's own mistake.
pub(crate) fn or_without(
    failure: Failure,
    wanted: bool,
    command: &[OsString],
    guard: &Guard,
) -> Result<Ended, Failure> {
    if !wanted || failure.code == USAGE {
        return Err(failure);
    }
    note(&format!("{}: running {} without a guard", failure.message, quoted(&command[0])));
    let (_lose, lost) = bounded(1);
    let (held, _let_go) = bounded(0);
    let prepare =
        |command: &mut Command| VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
    supervise(guard, command, prepare, lost, held, || true)
}

/// The variables by which a command finds its instance.
const VARIABLES: [&str; 4] = ["PARES_NAME", "PARES_ROLE", "PARES_TERM", "PARES_PERMIT"];

/// The command as its instance's child: it finds the same group, and nothing of a `pares run`
/// around this one.
pub(crate) fn tell_of_group(command: &mut Command, name: &str, port: Option<u16>) {
    VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
    command.env("PARES_GROUP", name);
    match port {
        Some(port) => command.env("PARES_PORT", port.to_string()),
        None => command.env_remove("PARES_PORT"),
    };
}

fn tell_of_instance(
    command: &mut Command,
    instance: &Instance,
    port: Option<u16>,
    role: Role,
    term: u64,
) {
    tell_of_group(command, instance.group(), port);
    command
        .env("PARES_NAME", instance.name())
        .env("PARES_ROLE", role.as_str())
        .env("PARES_TERM", term.to_string());
}

fn as_supervisor(group: &Group, args: Args, guard: &Guard) -> Result<Ended, Failure> {
    let ending = args.ending();
    let config = args.identity.config(group);
    let instance = match guard.unless_ended(move || Instance::join(config))? {
        Ok(instance) => instance,
        Err(error) => return or_without(error.into(), args.or_without, &args.command, guard),
    };
    if args.no_wait && instance.role() != Role::Supervisor {
        let cure = "for a separate job, use a group of its own (-g NAME), or --permit instead of \
                    --when-supervisor";
        return Err(Failure::new(BUSY, format!("another instance is supervisor; {cure}")));
    }

    let (instance, listening) = listen(instance, &args.listen, guard)?;

    // The job only says when; everything is done on this thread. It holds the role until this
    // thread lets go.
    let (begin, begun) = bounded(0);
    let (lose, lost) = bounded(1);
    let (held, let_go) = bounded::<()>(0);
    listening.tell_of_drain(&lose, move || Loss { why: DRAINED, ending })?;
    let job = instance.while_supervisor(move |guard| {
        if begin.send(guard.term()).is_err() {
            return; // nobody waits for it any more
        }
        while !guard.wait(Duration::MAX) {}
        _ = lose.try_send(Loss { why: "the role ended", ending });
        _ = let_go.recv();
    })?;
    let term =
        guard.wait_for_turn(begun, &end_of(instance.events())?, &over_after(args.wait), LATE)?;

    let prepare = |command: &mut Command| {
        tell_of_instance(command, &instance, group.port, Role::Supervisor, term);
        listening.hand_down(command);
    };
    // Whoever stood still has held the port all the while: nobody else can have become supervisor.
    let ended = supervise(guard, &args.command, prepare, lost, held, || true);
    drop(job);
    drop((listening, instance));
    ended
}

/// The reason to end a command that shares a listener.
const DRAINED: &str = "it is to accept no more connections";

/// Begins to share listeners, before anything else: they are there while CMD is not.
fn listen(
    instance: Instance,
    addresses: &[SocketAddr],
    guard: &Guard,
) -> Result<(Arc<Instance>, Listening), Failure> {
    let instance = Arc::new(instance);
    let (listens, addresses) = (instance.clone(), addresses.to_vec());
    let listening = guard.unless_ended(move || Listening::begin(&listens, &addresses))??;
    Ok((instance, listening))
}

/// Runs the command with listeners and nothing else that could be lost.
fn as_acceptor(group: &Group, args: Args, guard: &Guard) -> Result<Ended, Failure> {
    let ending = args.ending();
    let (lose, lost) = bounded(1);
    let asked = lose.clone();
    let config = stopping(args.identity.config(group), move || {
        _ = asked.try_send(Loss { why: ASKED, ending });
    });
    let instance = match guard.unless_ended(move || Instance::join(config))? {
        Ok(instance) => instance,
        Err(error) => return or_without(error.into(), args.or_without, &args.command, guard),
    };
    let (instance, listening) = listen(instance, &args.listen, guard)?;
    listening.tell_of_drain(&lose, move || Loss { why: DRAINED, ending })?;
    let prepare = |command: &mut Command| {
        tell_of_instance(command, &instance, group.port, instance.role(), instance.term());
        listening.hand_down(command);
    };
    let (held, _let_go) = bounded(0);
    let ended = supervise(guard, &args.command, prepare, lost, held, || true);
    drop((listening, instance));
    ended
}

/// Has `ask` called when a caller wants the instance to leave, in the place of the function that
/// every instance has: the command must have ended before this one leaves.
fn stopping(config: pares::Config, ask: impl Fn() + Send + Sync + 'static) -> pares::Config {
    let help = "makes the instance end its command and leave its group";
    config.admin_function("stop", help, move |_: &[u8]| {
        ask();
        Ok(b"leaving".to_vec())
    })
}

const ASKED: &str = "asked to leave";

/// Ends when events do, which is when the instance has left.
fn end_of(events: pares::Events) -> Result<Receiver<()>, Failure> {
    let (left, end) = bounded(0);
    let wait = move || {
        while events.recv().is_ok() {}
        drop(left);
    };
    thread::Builder::new().name("events".into()).spawn(wait)?;
    Ok(end)
}

fn with_permit(
    group: &Group,
    args: Args,
    (resource, units): (String, u64),
    guard: &Guard,
) -> Result<Ended, Failure> {
    let ending = args.ending();
    let (ask, asked) = bounded(1);
    let drained = ask.clone();
    let config = args.identity.config(group);
    let mut config = stopping(config, move || _ = ask.try_send(ASKED)); // once is enough
    config = match (args.limit, args.per_holder) {
        (None, _) => config,
        (Some(limit), None) => config.resource(pares::Resource::new(&resource, limit)),
        (Some(limit), Some(per_holder)) => {
            config.resource(pares::Resource::new(&resource, limit).per_holder(per_holder))
        }
    };
    let instance = match guard.unless_ended(move || Instance::join(config))? {
        Ok(instance) => instance,
        Err(error) => return or_without(error.into(), args.or_without, &args.command, guard),
    };
    let (instance, listening) = listen(instance, &args.listen, guard)?;
    listening.tell_of_drain(&drained, || DRAINED)?;
    drop(drained);
    let events = instance.events();

    let name = format!("{resource}={units}");
    let (grant, granted) = bounded(1);
    let acquire = {
        let (instance, resource) = (instance.clone(), resource.clone());
        move || _ = grant.send(acquire(&instance, &resource, units, args.no_wait, args.wait))
    };
    let acquiring = thread::Builder::new().name("acquire".into()).spawn(acquire)?;
    // After an error that thread waits on. It ends with this process, which the others see as a
    // death: nothing is left.
    let permit = guard.wait_for_turn(granted, &asked, &never(), LATE)?;
    _ = acquiring.join();
    let permit = Arc::new(permit?);

    let prepare = |command: &mut Command| {
        tell_of_instance(command, &instance, group.port, instance.role(), instance.term());
        command.env("PARES_PERMIT", &name);
        listening.hand_down(command);
    };
    let is_held = {
        let (instance, permit) = (instance.clone(), permit.clone());
        move || is_held(&instance, &permit)
    };
    let (lose, lost) = bounded(1);
    let (held, let_go) = bounded::<()>(0);
    let watch = thread::Builder::new().name("permit".into());
    let lose = move |why| _ = lose.try_send(Loss { why, ending });
    let watch = watch.spawn(move || hold(&permit, &events, &asked, lose, &let_go))?;
    let ended = supervise(guard, &args.command, prepare, lost, held, is_held);
    _ = watch.join();
    drop((listening, instance));
    ended
}

/// Whether the permit is held for certain, although this process may have stood still: the
/// supervisor answers on the same connection on which it would take the permit away, so that
/// nothing older is under way after that.
fn is_held(instance: &Instance, permit: &Permit) -> bool {
    let until = Instant::now() + OUT_OF_TOUCH;
    let Ok(tally) = instance.tally(permit.resource()) else { return false };
    while Instant::now() < until {
        if tally.with_timeout(until.saturating_duration_since(Instant::now())).total().is_ok() {
            return permit.is_valid();
        }
    }
    false
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

/// Holds the permit until `let_go` ends, and says through `lose` if the command has to end before,
/// and why.
fn hold(
    permit: &Permit,
    events: &pares::Events,
    asked: &Receiver<&'static str>,
    lose: impl FnOnce(&'static str),
    let_go: &Receiver<()>,
) {
    const LOST: &str = "the permit was lost";
    let mut alone = never();
    let mut has_role = true;
    // It may have gone as it came; that event was passed over while nothing was held.
    let mut why = (!permit.is_valid()).then_some(LOST);
    while why.is_none() {
        select! {
            recv(let_go) -> _ => return,
            recv(asked) -> asked => why = Some(asked.unwrap_or(ASKED)),
            recv(alone) -> _ => why = Some("no supervisor for too long, others may hold the \
                                            permit"),
            recv(events.as_ref()) -> event => match event.map(|event| event.kind) {
                Ok(EventKind::PermitLost { permit: lost, .. }) if lost == permit.id() => {
                    why = Some(LOST);
                }
                Ok(EventKind::Missed { .. }) if has_role && !permit.is_valid() => why = Some(LOST),
                Ok(EventKind::Contending { .. }) if has_role => {
                    (has_role, alone) = (false, after(OUT_OF_TOUCH));
                }
                Ok(EventKind::Supervisor { .. } | EventKind::Subordinate { .. }) => {
                    (has_role, alone) = (true, never());
                }
                Ok(_) => {}
                Err(_) => why = Some("the instance has left its group"),
            },
        }
    }
    lose(why.unwrap_or(LOST));
    _ = let_go.recv();
}
