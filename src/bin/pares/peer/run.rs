//! `pares peer run`: a command that runs only while its process is primary.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, Sender, bounded, never, select};
use pares::{Peer, PeerEvent, PeerEventKind, PeerStatus, Token};
use signal_hook::consts::{SIGUSR1, SIGUSR2};

use super::look::others;
use super::options::Member;
use crate::failure::{BUSY, DEADLINE, FAILED, Failure, NO_SUPERVISOR, SIGNALLED};
use crate::group::{Group, seconds};
use crate::run::PASSED_ON;
use crate::signals;
use crate::supervise::{Loss, supervise};

/// Run a command while this process is primary of its service type
///
/// Start it on as many machines as you like: one runs CMD, and when that one ends, is killed, or is not heard any more,
/// another runs it. CMD's end ends `pares peer run`, with CMD's exit code.
///
/// CMD runs in a process group of its own, of which nothing survives `pares peer run`, even if that is killed; signals are passed
/// on to the whole group. When this process is no longer primary, or cannot be sure of it, the group gets SIGTERM and, if it
/// has not ended by --kill-after, SIGKILL. If a better process is to be primary, the group gets SIGTERM first, and this
/// one hands over when CMD has ended, two intervals later at the latest. Who cannot send (an interface is down, a filter
/// refuses) is not primary: it waits, and says so on standard error.
///
/// CMD finds PARES_ROLE=primary, PARES_EPOCH, PARES_FENCE (a fencing token: 48 digits that grow), PARES_GROUP and PARES_SERVICE
/// in its environment.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares peer run --when-primary -- ./scheduler
  pares peer run --when-primary -w 5 -- ./once || true

Exit codes, besides CMD's own:
  75 another is primary (-n)      126, 127 CMD not runnable, not found
  124 not in time (-w)            128+N CMD died by signal N
  125 not primary any more while CMD ran")]
pub(crate) struct Args {
    /// Run CMD while this process is primary
    #[arg(long, required = true)]
    when_primary: bool,

    #[command(flatten)]
    member: Member,

    /// Do not wait if another process is primary
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,

    /// Wait at most so many seconds to be primary [default: for ever]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,

    /// How many seconds CMD has to end after SIGTERM [default: the delay, when no other process is primary yet]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    kill_after: Option<Duration>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

pub(crate) fn run(group: &Group, args: Args) -> Result<(), Failure> {
    let signals = signals::receive(&PASSED_ON)?;
    let interval = args.member.network.interval;
    let kill_after = args.kill_after.unwrap_or_else(|| args.member.network.delay());
    let peer = Peer::join(args.member.config(group).prepare_handover(true))?;
    let events = peer.events();
    let token = wait_for_role(&peer, &events, &signals, &args, interval)?;

    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).env("PARES_ROLE", PeerStatus::Primary.to_string());
    command.env("PARES_EPOCH", token.epoch.to_string()).env("PARES_FENCE", token.fence());
    command.env("PARES_GROUP", peer.group()).env("PARES_SERVICE", args.member.service.to_string());
    command.env_remove("PARES_ORIGIN"); // this process's own

    let (lose, lost) = bounded(2);
    let (held, let_go) = bounded::<()>(0);
    let watch = Watch { peer, token, events, lose, let_go, interval, kill_after };
    let watch = thread::Builder::new().name("primary".into()).spawn(move || watch.run())?;
    let code = supervise(command, &signals, lost, held);
    if let Ok(peer) = watch.join() {
        peer.leave();
    }
    match code? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

fn wait_for_role(
    peer: &Peer,
    events: &Receiver<PeerEvent>,
    signals: &Receiver<i32>,
    args: &Args,
    interval: Duration,
) -> Result<Token, Failure> {
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    loop {
        select! {
            recv(events) -> event => match event {
                // Who asks at once gets an answer, and there is none while nobody can be asked.
                Ok(event) if args.no_wait && matches!(event.kind, PeerEventKind::CannotSend { .. }) => {
                    return Err(Failure::new(FAILED, "nothing can be sent, so that nobody here can be primary"));
                }
                Ok(_) => {}
                Err(_) => return Err(Failure::new(NO_SUPERVISOR, "it has left the group before it was primary")),
            },
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1 | SIGUSR2) => {} // for a command that does not run yet
                Ok(signal) => return Err(Failure::silent(SIGNALLED + signal as u8)),
                Err(_) => return Err(Failure::new(FAILED, "signals cannot be received")),
            },
            default(interval / 4) => {}
        }
        if let Some(token) = peer.token() {
            return Ok(token);
        }
        let mine = |one: &pares::PeerInfo| one.service == args.member.service && one.status == PeerStatus::Primary;
        let admitted = peer.status() != PeerStatus::Joining;
        if args.no_wait && admitted && others(peer).any(|one| mine(&one) && !one.suspected) {
            return Err(Failure::new(BUSY, "another process is primary"));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(DEADLINE, "not primary in time"));
        }
    }
}

/// Looks after the role while the command runs.
struct Watch {
    peer: Peer,
    /// Under which the command runs.
    token: Token,
    events: Receiver<PeerEvent>,
    lose: Sender<Loss>,
    let_go: Receiver<()>,
    interval: Duration,
    kill_after: Duration,
}

impl Watch {
    /// Until nothing of the command is left.
    fn run(mut self) -> Peer {
        let mut lost = false;
        loop {
            select! {
                recv(self.let_go) -> _ => {
                    self.peer.handover_ready();
                    return self.peer;
                },
                recv(self.events) -> event => match event.map(|event| event.kind) {
                    // Gone before this process is no longer primary, whatever the command does.
                    Ok(PeerEventKind::PrepareHandover { within_ms, .. }) => {
                        let drained = Duration::from_millis(within_ms).saturating_sub(self.interval / 4);
                        self.say("a better process is to be primary", drained);
                    }
                    Ok(_) => {}
                    Err(_) => self.events = never(),
                },
                // The lease has no event: it ends while the peer's thread is not run.
                default(self.interval / 8) => {}
            }
            let holds = self.peer.lease_ok() && self.peer.token() == Some(self.token);
            if !lost && !holds {
                lost = true;
                self.say("no longer primary", self.kill_after);
            }
        }
    }

    fn say(&self, why: &'static str, kill_after: Duration) {
        _ = self.lose.try_send(Loss { why, kill_after });
    }
}
