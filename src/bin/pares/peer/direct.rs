//! `pares peer direct`: give a process of a masterless group another rank.

use std::time::{Duration, Instant};

use pares::channel::RecvTimeoutError;
use pares::masterless::{Peer, PeerInfo, Tail};

use super::look::others;
use super::options::Network;
use crate::failure::{DEADLINE, Failure, NO_SUCH, SIGNALLED};
use crate::group::Group;
use crate::signals;
use crate::time::seconds;

/// Change the rank of a process: promote it (smaller), demote it (larger), or bar it from being
/// primary (255)
///
/// Returns when the process reports that rank. The effect takes some intervals more: a better
/// process relieves the primary in an orderly hand-over.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares peer direct \"$(pares peer ls | tail -1 | cut -f1)\" 0")]
pub(crate) struct Args {
    /// Tail of the process's identifier, as `pares peer ls` shows it
    tail: Tail,

    /// New rank, 0 to 255
    rank: u8,

    #[command(flatten)]
    network: Network,

    /// Time limit until the process reports this rank
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) fn run(group: &Group, args: &Args) -> Result<(), Failure> {
    let signals = signals::receive(&[signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    let peer = Peer::join(args.network.observer(group))?;
    let interval = args.network.interval;
    let began = Instant::now();
    let called = |found: Option<PeerInfo>| match found {
        Some(one) if !one.label.as_str().is_empty() => format!("{} ({})", one.label, args.tail),
        Some(_) | None => args.tail.to_string(),
    };
    let find = || others(&peer).find(|one| one.id.tail() == args.tail);
    // Each has been asked six times by then, and would be taken for dead by the others.
    let (appeared, deadline) = (began + interval * 3 + peer.delay() * 2, began + args.timeout);
    let mut said: Option<Instant> = None;
    loop {
        match find() {
            Some(found) if found.id.rank() == args.rank => return Ok(()),
            // Each heartbeat may be lost.
            Some(_) if said.is_none_or(|said| said.elapsed() >= interval) => {
                peer.direct(args.tail, args.rank);
                said = Some(Instant::now());
            }
            None if said.is_none() && Instant::now() >= appeared => {
                return Err(Failure::new(
                    NO_SUCH,
                    format!(
                        "no process has the tail {}; `pares peer ls` lists all processes",
                        args.tail
                    ),
                ));
            }
            Some(_) | None => {}
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                DEADLINE,
                format!("{} did not report rank {} in time", called(find()), args.rank),
            ));
        }
        // A new rank is no event of the group's: it is looked for.
        match signals.recv_timeout(interval / 8) {
            Ok(signal) => return Err(Failure::silent(SIGNALLED + signal as u8)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}
