//! An agent's process: the thread that says what this host's kernel has.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::dialler::Dialler;
use super::inbox::Inbox;
use super::links::{LinkNews, Switchboard};
use super::member::{GroupMember, to_dial, until};
use super::prepare::Preparation;
use super::router::Tell;
use crate::event::masterless::EventKind;
use crate::net::netlink::diag::{ClientEnd, SocketEnds, Sockets};
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::state::masterless::Millis;
use crate::state::route::RouteNews;
use crate::state::route::agent::{Agent, AgentAction, AgentInput, report};
use crate::sys::{Origin, tripwire};
use crate::wire::route::{pack, unpack};
use crate::wire::{FromAgent, Message, Tail};

/// What the agent's thread hears from others.
pub(super) enum ToAgentThread {
    Link(LinkNews),
    Fit(bool),
    Leave,
}

impl From<LinkNews> for ToAgentThread {
    fn from(news: LinkNews) -> Self {
        ToAgentThread::Link(news)
    }
}

/// The thread's own state.
pub(super) struct AgentThread {
    pub(super) agent: Agent,
    pub(super) member: GroupMember,
    pub(super) inbox: Arc<Inbox<ToAgentThread>>,
    pub(super) links: Switchboard,
    pub(super) dialler: Dialler<ToAgentThread>,
    pub(super) sockets: Sockets,
    pub(super) ends: SocketEnds,
    /// Those of this target, and of all routers that it has met.
    pub(super) services: BTreeSet<SocketAddr>,
    pub(super) preparation: Preparation,
    pub(super) interval: Millis,
    pub(super) tell: Tell,
    /// When the kernel was last asked who listens, and when for the number of connections.
    pub(super) looked_at: Option<Millis>,
    pub(super) counted: Option<(Millis, u32)>,
    pub(super) is_over: bool,
}

/// Each report of the number of connections takes a look at all of them.
const COUNT_EVERY: Millis = 1000;

impl AgentThread {
    /// Runs until the agent is to leave.
    pub(super) fn run(mut self) {
        while !self.is_over {
            self.wait();
            tripwire::look();
            let joined = self.hear_group();
            for news in self.inbox.take() {
                self.hear(news);
            }
            self.hear_ends();
            self.look(joined);
            self.step(AgentInput::Tick);
            self.links.flush();
        }
        self.inbox.close();
        self.member.leave(Duration::from_secs(2));
        // Without the addresses, this host would answer nothing for connections that still live.
        let left = self.count();
        (self.tell)(RouteNews::Stopped);
        match left {
            Ok(0) => {
                if let Err(error) = self.preparation.restore() {
                    complain!(
                        Warn,
                        "restore",
                        "cannot take back what this host was given: {error}"
                    );
                }
            }
            Ok(left) => {
                log::warn!("{left} connections live: this host keeps the service's addresses");
            }
            Err(error) => {
                complain!(Warn, "count", "cannot count the connections: {error}");
            }
        }
    }

    fn wait(&mut self) {
        let now = awake_or_asleep_ms();
        let look_at = self.looked_at.map_or(now, |at| at + self.interval);
        let wake_at = self.agent.wake_at().unwrap_or(Millis::MAX).min(look_at);
        let mut fds: Vec<PollFd<'_>> = self.links.stalled().collect();
        fds.push(PollFd::new(&self.member.events, PollFlags::IN));
        fds.push(PollFd::new(&self.ends, PollFlags::IN));
        // An error here (a signal) is a wake-up like any other.
        _ = self.inbox.waker.wait(&mut fds, Some(until(wake_at, now)));
    }

    /// Returns true if the group has changed.
    fn hear_group(&mut self) -> bool {
        let mut changed = false;
        while let Ok(event) = self.member.events.try_recv() {
            changed |= matches!(event.kind, EventKind::Joined { .. } | EventKind::Left { .. });
        }
        changed
    }

    fn hear(&mut self, news: ToAgentThread) {
        match news {
            ToAgentThread::Link(LinkNews::Up { link, other, outbox }) => {
                let (tail, services) = (other.tail, other.services);
                if self.links.up(link, tail, outbox) {
                    self.step(AgentInput::Down { tail });
                }
                self.services.extend(&services);
                // What it has now, before it is told of changes.
                self.looked_at = None;
                self.look(false);
                self.step(AgentInput::Up { tail, services });
            }
            ToAgentThread::Link(LinkNews::Down { link, tail }) => {
                if self.links.down(link, tail) {
                    self.step(AgentInput::Down { tail });
                }
            }
            ToAgentThread::Link(LinkNews::Said { link, tail, message }) => {
                if !self.links.is_present(link, tail) {
                    return;
                }
                match message {
                    Message::ToAgent(message) => self.step(AgentInput::Heard { tail, message }),
                    _ => self.links.hang_up(tail),
                }
            }
            ToAgentThread::Fit(fit) => self.step(AgentInput::Fit(fit)),
            ToAgentThread::Leave => self.is_over = true,
        }
    }

    fn hear_ends(&mut self) {
        loop {
            match self.ends.next() {
                Ok(Some(ended)) => {
                    // The other end of a listener is nobody's.
                    let (listeners, ours): (Vec<_>, Vec<_>) = ended
                        .into_iter()
                        .filter(|(own, _)| self.services.iter().any(|one| one.port() == own.port()))
                        .partition(|(_, other)| other.port() == 0);
                    if !listeners.is_empty() {
                        self.looked_at = None;
                    }
                    let ours: Vec<_> =
                        ours.into_iter().filter(|(own, _)| self.services.contains(own)).collect();
                    if !ours.is_empty() {
                        self.step(AgentInput::Ended(ours));
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    log::debug!("missed the ends of connections: {error}");
                    return self.step(AgentInput::Missed);
                }
            }
        }
    }

    /// Looks who is in the group, who listens, and how many connections there are, if it is time.
    fn look(&mut self, joined: bool) {
        let now = awake_or_asleep_ms();
        let is_due = self.looked_at.is_none_or(|at| now >= at + self.interval);
        if joined || is_due {
            self.dialler.dial(&to_dial(&self.member.others(), None));
        }
        if !is_due {
            return;
        }
        self.looked_at = Some(now);
        match self.look_at_kernel(now) {
            Ok((listening, connections)) => {
                self.step(AgentInput::Looked { listening, connections });
            }
            Err(error) => {
                complain!(Warn, "sockets", "cannot look at the kernel's sockets: {error}");
            }
        }
    }

    fn look_at_kernel(&mut self, now: Millis) -> io::Result<(Vec<SocketAddr>, u32)> {
        let mut listening = Vec::new();
        for service in &self.services {
            if self.sockets.is_served(*service)? {
                listening.push(*service);
            }
        }
        let connections = match self.counted {
            Some((at, count)) if now < at + COUNT_EVERY => count,
            _ => {
                let count = self.count()?;
                self.counted = Some((now, count));
                count
            }
        };
        Ok((listening, connections))
    }

    fn count(&mut self) -> io::Result<u32> {
        let mut count = 0;
        for service in &self.services {
            count += self.sockets.connections(*service)?.len() as u32;
        }
        Ok(count)
    }

    fn step(&mut self, input: AgentInput) {
        let mut out = Vec::new();
        self.agent.step(awake_or_asleep_ms(), input, &mut out);
        for action in out {
            if let Err(error) = self.carry_out(action) {
                complain!(Warn, "report", "cannot report the connections: {error}");
            }
        }
    }

    fn carry_out(&mut self, action: AgentAction) -> io::Result<()> {
        match action {
            AgentAction::Send(tail, message) => self.links.send(tail, message),
            AgentAction::Report { to, number, services, state } => {
                let all = services
                    .iter()
                    .map(|service| self.sockets.connections(*service))
                    .collect::<io::Result<Vec<_>>>()?;
                report(number, state, &all).into_iter().for_each(|part| self.links.send(to, part));
            }
            AgentAction::Find { to, number, place, service, keys } => {
                let Ok(wanted) = unpack(&keys, service) else {
                    self.hang_up(to);
                    return Ok(());
                };
                let wanted: HashSet<SocketAddr> =
                    wanted.into_iter().map(|(client, _)| client).collect();
                let mut found: Vec<ClientEnd> = self.sockets.connections(service)?;
                found.retain(|(client, _)| wanted.contains(client));
                let keys = pack(&found);
                self.links.send(to, FromAgent::Found { number, service: place, keys });
            }
            AgentAction::Serves(token) => (self.tell)(RouteNews::Serves { token }),
        }
        Ok(())
    }

    fn hang_up(&mut self, tail: Tail) {
        complain!(Warn, "keys", "ended the connection to {tail}: its question has no keys");
        self.links.hang_up(tail);
    }
}

/// The agent's thread, and what reaches it.
pub(crate) struct RunningAgent {
    inbox: Arc<Inbox<ToAgentThread>>,
    thread: Threads,
    origin: Origin,
}

impl RunningAgent {
    pub(super) fn start(agent: AgentThread) -> io::Result<Self> {
        let (inbox, thread) = (agent.inbox.clone(), Threads::default());
        thread.spawn(threads::AGENT, move || agent.run())?;
        Ok(RunningAgent { inbox, thread, origin: Origin::here() })
    }

    pub(crate) fn set_fit(&self, fit: bool) {
        self.put(ToAgentThread::Fit(fit));
    }

    /// In a forked child the thread is not.
    fn put(&self, news: ToAgentThread) {
        if !self.origin.is_elsewhere() {
            self.inbox.put(news);
        }
    }

    /// Leaves; takes back what was prepared, unless connections live.
    pub(crate) fn leave(&self) {
        self.put(ToAgentThread::Leave);
        self.thread.join_all();
    }
}
