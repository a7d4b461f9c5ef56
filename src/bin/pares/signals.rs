//! What a command that runs until it is told to end waits for besides its work. Threads that block,
//! so that nothing polls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use pares::channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::sys::is_ignored;

/// Each of `signals` that arrives from now on, save those that whoever started this process has
/// ignored.
pub(crate) fn receive(signals: &[i32]) -> io::Result<Receiver<i32>> {
    let (sender, receiver) = unbounded();
    forward(signals, sender)?;
    Ok(receiver)
}

fn forward(signals: &[i32], sender: Sender<i32>) -> io::Result<()> {
    let mut signals = Signals::new(signals.iter().filter(|signal| !is_ignored(**signal)))?;
    spawn("signals", move || _ = signals.forever().try_for_each(|signal| sender.send(signal)))
}

/// Something arrives when the command is to end: SIGINT, SIGTERM, nobody reads standard output any
/// more, or, if asked for, the end of standard input. A second signal of the two kills.
pub(crate) fn ends(until_eof: bool) -> io::Result<Receiver<i32>> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM].into_iter().filter(|signal| !is_ignored(*signal)) {
        flag::register_conditional_default(signal, told.clone())?;
        flag::register(signal, told.clone())?;
    }
    let (sender, receiver) = unbounded();
    forward(&[SIGINT, SIGTERM], sender.clone())?;
    if until_eof {
        let on_eof = sender.clone();
        spawn("stdin", move || {
            _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            _ = on_eof.send(0);
        })?;
    }
    spawn("stdout", move || unread(&sender))?;
    Ok(receiver)
}

/// Waits until the other end of standard output is closed. Without it `pares monitor | head -1`
/// would go on until the next event.
fn unread(sender: &Sender<i32>) {
    let stdout = io::stdout();
    let closed = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    loop {
        let mut descriptor = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut descriptor, None) {
            Ok(_) if descriptor[0].revents().intersects(closed) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
    _ = sender.send(0);
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}
