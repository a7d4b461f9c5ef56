//! `pares peer run`: a command that runs only while its process is primary.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use pares::masterless::{Event, EventKind, Peer, PeerInfo, PrimaryGuard, Status, Token};

use super::look::others;
use super::options::Member;
use crate::failure::{BUSY, DEADLINE, FAILED, Failure, NO_SUPERVISOR};
use crate::group::Group;
use crate::run::{or_without, tell_of_group};
use crate::time::seconds;
use crate::wrap::guard::ending;
use crate::wrap::{self, Ended, Ending, Guard, Loss, supervise};

/// Run a command while this process is primary of its service type
///
/// Start it on any number of machines: one runs CMD, and when that one ends, is killed, or is no
/// longer heard, another runs CMD. When CMD ends, `pares peer run` exits with CMD's exit code.
///
/// CMD runs in a process group of its own. No process of that group survives `pares peer run`, even
/// if `pares peer run` is killed. It passes all signals that can be caught on to the group; Ctrl-Z,
/// `fg` and the terminal work as with `pares run`. When this process is no longer primary, or
/// cannot be sure of it, the group gets SIGTERM and, if it has not ended after --kill-after,
/// SIGKILL. Before a better process becomes primary, the group gets SIGTERM, and this process hands
/// over when CMD has ended, at the latest after two intervals. A process that cannot send (an
/// interface is down, a filter refuses) is not primary: it waits, and reports that on standard
/// error.
///
/// The default label of this process has the name of CMD instead of `pares`.
///
/// The environment of CMD has PARES_ROLE=primary, PARES_EPOCH, PARES_FENCE (a fencing token: 48
/// digits that grow), PARES_GROUP and PARES_SERVICE.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer run --when-primary -- ./scheduler
  pares peer run --when-primary -w 5 -- ./once || true

Exit codes, besides CMD's own:
  75 another process is primary (-n)   126, 127 CMD not runnable, not found
  124 time limit passed (-w)           128+N CMD died from signal N
  125 role lost while CMD ran")]
pub(crate) struct Args {
    /// Run CMD while this process is primary
    #[arg(long, required = true)]
    when_primary: bool,

    #[command(flatten)]
    member: Member,

    /// Run CMD even if it cannot be guarded: no usable directory or key, or no socket
    #[arg(long)]
    or_without: bool,

    /// Fail instead of waiting if another process is primary
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,

    /// Time limit for becoming primary [default: none]
    #[arg(short, long, value_name = "TIME", value_parser = seconds)]
    wait: Option<Duration>,

    /// Time from SIGTERM to SIGKILL [default: the delay, within which no other process
    /// becomes primary]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    kill_after: Option<Duration>,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    pub(super) fn wrap(&self) -> Result<(), Failure> {
        wrap::run(&self.command, self.or_without)
    }
}

/// Runs the command, in the process that guards it.
pub(super) fn guarded(group: &Group, args: Args, guard: &Guard) -> Result<Ended, Failure> {
    let interval = args.member.network.interval;
    let service = args.member.service()?;
    let program = args.command.first().map(Path::new).and_then(Path::file_name);
    let program = program.map(|name| name.to_string_lossy());
    let config = args.member.config(group, program.as_deref())?;
    let peer = match guard.unless_ended(move || Peer::join(config))? {
        Ok(peer) => Arc::new(peer),
        Err(error) => return or_without(error.into(), args.or_without, &args.command, guard),
    };

    // The job only says when; everything is done on this thread. It holds the role until this
    // thread lets go.
    let (begin, begun) = bounded(0);
    let (lose, lost) = bounded(2);
    let (held, let_go) = bounded::<()>(0);
    let kill_after = args.kill_after.unwrap_or_else(|| peer.delay());
    let watch = Watch { begin, lose, let_go, interval, kill_after };
    let feed = guard.lease();
    let job = peer.while_primary(move |primary| watch.run(primary, &feed))?;
    let token = wait_for_role(&peer, begun, guard, &args, service)?;

    let prepare = |command: &mut Command| {
        tell_of_group(command, peer.group(), group.port);
        command.env("PARES_ROLE", Status::Primary.to_string());
        command.env("PARES_EPOCH", token.epoch.to_string()).env("PARES_FENCE", token.fence());
        command.env("PARES_SERVICE", service.to_string());
        command.env_remove("PARES_ORIGIN"); // this process's own
    };
    let is_held = {
        let (peer, feed) = (peer.clone(), guard.lease());
        move || {
            let same = peer.token().is_some_and(|now| now.epoch == token.epoch);
            let left = peer.lease_left().filter(|_| same);
            left.inspect(|left| feed(*left)).is_some()
        }
    };
    let ended = supervise(guard, &args.command, prepare, lost, held, is_held);
    drop(job);
    leave(&peer);
    ended
}

/// In order; another thread may still ask for the lease.
fn leave(peer: &Peer) {
    let events = peer.events();
    peer.begin_to_leave();
    while events.recv().is_ok() {}
}

fn wait_for_role(
    peer: &Peer,
    begun: Receiver<Token>,
    guard: &Guard,
    args: &Args,
    service: u16,
) -> Result<Token, Failure> {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let events = peer.events();
    let is_mute = |event: &Event| matches!(event.kind, EventKind::CannotSend { .. });
    loop {
        select! {
            recv(begun) -> token => if let Ok(token) = token {
                return Ok(token);
            },
            recv(events.as_ref()) -> event => match event {
                // Who asks at once gets an answer, and there is none while nobody can be asked.
                Ok(event) if args.no_wait && is_mute(&event) => {
                    return Err(Failure::new(FAILED, "this process cannot send heartbeats, and so \
                                                     cannot be primary"));
                }
                Ok(_) => {}
                Err(_) => return Err(Failure::new(NO_SUPERVISOR, "this process left the group \
                                                                  before it became primary")),
            },
            recv(guard.heard) -> heard => ending(heard.ok())?,
            default(args.member.network.interval / 4) => {}
        }
        let mine = |one: &PeerInfo| one.service == service && one.status == Status::Primary;
        let admitted = peer.status() != Status::Joining;
        if args.no_wait && admitted && others(peer).any(|one| mine(&one) && !one.suspected) {
            return Err(Failure::new(BUSY, "another process is primary"));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(DEADLINE, "did not become primary in time"));
        }
    }
}

/// Looks after the role while the command runs.
struct Watch {
    begin: Sender<Token>,
    lose: Sender<Loss>,
    let_go: Receiver<()>,
    interval: Duration,
    kill_after: Duration,
}

impl Watch {
    /// Until nothing of the command is left.
    fn run(&self, primary: &PrimaryGuard<'_>, feed: impl Fn(Duration)) {
        if self.begin.send(primary.token()).is_err() {
            return; // nobody waits for it any more
        }
        let (mut told, mut lost) = (false, false);
        loop {
            let over = primary.wait(Duration::ZERO);
            match primary.lease_left() {
                Some(left) if over && !told => {
                    // Gone before this process is no longer primary, whatever the command does.
                    // It has two intervals, of which an eighth may be over.
                    feed(left);
                    let within = 2 * self.interval - self.interval * 3 / 8;
                    self.say("a better process becomes primary", within);
                }
                // The front stops the command when this ends, should nothing be said any more.
                Some(left) => feed(left),
                None if !lost => {
                    lost = true;
                    self.say("no longer primary", self.kill_after);
                }
                None => {}
            }
            told |= over;
            match self.let_go.recv_timeout(self.interval / 8) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn say(&self, why: &'static str, kill_after: Duration) {
        let ending = Ending { signal: libc::SIGTERM, kill_after };
        _ = self.lose.try_send(Loss { why, ending });
    }
}
