//! Looks up names, each on a thread of its own: the system's resolver takes as long as it likes,
//! and cannot be cut short. One name then delays neither another name nor a heartbeat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::destinations::{Destinations, Question};
use crate::config::masterless::{Destination, FIRST_LOOK_UP, MAX_DESTINATIONS};
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::threads::{NAME, Threads};
use crate::net::rt::waker::Waker;
use crate::sys::{self, Unresolved};

type Resolution = (usize, Result<Vec<SocketAddr>, Unresolved>);

pub(super) struct Resolver {
    bind: SocketAddr,
    waker: Arc<Waker>,
    tell: Sender<Resolution>,
    answers: Receiver<Resolution>,
    /// Never joined: a process that leaves does not wait for a name server.
    threads: Threads,
}

/// Looks all names up for the first time. Waits for that, but not long: a name server's usual time
/// must not count as a fault, because a process that has not looked all names up may not speak yet.
pub(super) fn begin(
    bind: SocketAddr,
    peers: &[Destination],
    interval: Duration,
    waker: &Arc<Waker>,
) -> (Destinations, Resolver) {
    let now = awake_or_asleep_ms();
    let mut them = Destinations::new(peers, interval.as_millis() as u64, now);
    let resolver = Resolver::new(bind, waker.clone());
    them.questions(now).into_iter().for_each(|question| resolver.ask(question));
    let deadline = Instant::now() + FIRST_LOOK_UP;
    while !them.are_known(true) {
        let Ok((name, answer)) = resolver.answers.recv_deadline(deadline) else { break };
        them.answer(name, answer, awake_or_asleep_ms());
    }
    (them, resolver)
}

impl Resolver {
    fn new(bind: SocketAddr, waker: Arc<Waker>) -> Self {
        let (tell, answers) = unbounded();
        Resolver { bind, waker, tell, answers, threads: Threads::default() }
    }

    /// Looks a name up, and wakes the peer's thread when there is an answer.
    pub(super) fn ask(&self, question: Question) {
        let Question { name, host, port } = question;
        let (bind, waker, tell) = (self.bind, self.waker.clone(), self.tell.clone());
        let look_up = move || {
            _ = tell.send((name, sys::resolve(&host, port, bind, MAX_DESTINATIONS)));
            waker.wake();
        };
        // The usual stack: what looks names up are modules of the system's, which need what they
        // need.
        if let Err(error) = self.threads.spawn(NAME, look_up) {
            let why = format!("there is no thread for it: {error}");
            _ = self.tell.send((name, Err(Unresolved { is_absent: false, why })));
        }
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = Resolution> + '_ {
        self.answers.try_iter()
    }
}
