//! A router's process: the thread that decides, and carries out what it has decided.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::addresses::RoutedAddresses;
use super::announce::Announcer;
use super::dialler::Dialler;
use super::filter::PacketFilter;
use super::inbox::Inbox;
use super::life::{HostCalls, HostLife};
use super::links::{Entrance, LinkNews, OwnSide, Switchboard};
use super::member::{GroupMember, earlier, to_dial, until};
use super::poke::Poker;
use crate::error::RouteError;
use crate::event::masterless::EventKind;
use crate::net::masterless::Wish;
use crate::net::rt::clock::awake_or_asleep_ms;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::state::masterless::Millis;
use crate::state::route::giveback::Returning;
use crate::state::route::{
    Conn, Order, RouteNews, RouteRules, Router, RouterAction, RouterInput, RouterView, Target,
    from_group,
};
use crate::sys::{Origin, tripwire};
use crate::wire::{Host, Message};

/// What the deciding thread hears from others.
pub(crate) enum RouterNews {
    Link(LinkNews),
    Order(Order),
    /// What it knows is wanted.
    Ask(Box<dyn FnOnce(&mut RouterThread) + Send>),
    Leave,
}

impl From<LinkNews> for RouterNews {
    fn from(news: LinkNews) -> Self {
        RouterNews::Link(news)
    }
}

/// Tells the program what happens; never waits.
pub(crate) type Tell = Box<dyn FnMut(RouteNews) + Send>;

/// What is to be seen of a router.
pub(crate) struct RouterStatus {
    pub(crate) view: RouterView,
    pub(crate) connections: Vec<(Conn, Target)>,
    /// Those that its kernel has sent to targets and other routers.
    pub(crate) packets: u64,
}

/// What a router needs of the kernel.
pub(super) struct Ground {
    pub(super) filter: PacketFilter,
    pub(super) addresses: RoutedAddresses,
    pub(super) announcer: Announcer,
    pub(super) poker: Poker,
}

/// The deciding thread's own state.
pub(crate) struct RouterThread {
    pub(super) rules: RouteRules,
    pub(super) router: Router,
    pub(super) member: GroupMember,
    pub(super) own: Arc<OwnSide>,
    pub(super) inbox: Arc<Inbox<RouterNews>>,
    pub(super) links: Switchboard,
    pub(super) dialler: Dialler<RouterNews>,
    pub(super) ground: Ground,
    pub(super) calls: HostCalls,
    /// Told of what happens.
    pub(super) tell: Tell,
    pub(super) returning: Returning,
    /// When the group's record was last read.
    pub(super) read_at: Option<Millis>,
    pub(super) is_over: bool,
    pub(super) _entrance: Entrance,
}

impl RouterThread {
    /// Runs until the router has left.
    pub(crate) fn run(mut self) {
        let mut poke_at = None;
        while !self.is_over {
            self.wait(poke_at);
            tripwire::look();
            self.hear_group();
            for news in self.inbox.take() {
                self.hear(news);
            }
            self.hear_claims();
            for (target, life) in self.ground_answers() {
                self.step(RouterInput::Probed { target, alive: life });
            }
            self.read_record();
            self.step(RouterInput::Tick);
            poke_at = self.ground.poker.poke(Instant::now());
            self.links.flush();
        }
        self.inbox.close();
        self.member.leave(Duration::from_secs(2));
        let Ground { filter, mut addresses, .. } = self.ground;
        // The table last: without it this host would itself answer for the addresses.
        let released = addresses.release();
        if let Err(error) = released.map_err(RouteError::io("give up the addresses")) {
            complain!(Error, "release", "{error}");
        }
        if let Err(error) = filter.remove() {
            complain!(Error, "remove", "{error}");
        }
        (self.tell)(RouteNews::Stopped);
    }

    fn wait(&mut self, poke_at: Option<Instant>) {
        let now = awake_or_asleep_ms();
        let read_at = self.read_at.map_or(now, |at| at + self.rules.interval);
        let left = until(self.router.wake_at().min(read_at), now);
        let due = earlier(poke_at, self.calls.due());
        let due = due.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.min(due.unwrap_or(left));
        let mut fds: Vec<PollFd<'_>> = self.links.stalled().collect();
        fds.extend(self.calls.polled());
        fds.push(PollFd::new(&self.member.events, PollFlags::IN));
        fds.push(PollFd::new(&self.ground.announcer, PollFlags::IN));
        // An error here (a signal) is a wake-up like any other.
        _ = self.inbox.waker.wait(&mut fds, Some(left));
    }

    fn hear_group(&mut self) {
        while let Ok(event) = self.member.events.try_recv() {
            if matches!(event.kind, EventKind::Paused { .. }) {
                self.returning.paused();
            }
            if let Some(input) = from_group(&event.kind) {
                self.step(input);
            }
        }
    }

    /// Reads who is in the group, with their workloads, once an interval.
    fn read_record(&mut self) {
        let now = awake_or_asleep_ms();
        if self.read_at.is_some_and(|at| now < at + self.rules.interval) {
            return;
        }
        self.read_at = Some(now);
        if let Some(rank) = self.returning.step(now, &self.router) {
            self.member.wish(Wish::Rank(rank));
        }
        let others = self.member.others();
        self.dialler.dial(&to_dial(&others, Some(self.own.tail)));
        self.step(RouterInput::Record(others.into_iter().map(|one| one.member).collect()));
    }

    fn hear_claims(&mut self) {
        loop {
            match self.ground.announcer.next_claim() {
                // The owner's, as it should be.
                Ok(Some(_)) if !self.router.is_owner() => {}
                Ok(Some((address, mac))) => {
                    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                    complain!(Warn, &address.to_string(), "{mac} says that it has {address}, too");
                    self.step(RouterInput::Claimed);
                }
                Ok(None) => return,
                Err(error) => {
                    complain!(Warn, "claims", "cannot hear who claims an address: {error}");
                    return;
                }
            }
        }
    }

    fn ground_answers(&mut self) -> Vec<(Target, bool)> {
        let answers = self.calls.answers(Instant::now());
        let known = answers.into_iter().filter_map(|(target, life)| match life {
            HostLife::Lives => Some((target, true)),
            HostLife::Silent => Some((target, false)),
            HostLife::Uncalled(error) => {
                complain!(
                    Warn,
                    &target.to_string(),
                    "cannot find out whether a target's host lives: {error}"
                );
                None
            }
        });
        known.collect()
    }

    fn hear(&mut self, news: RouterNews) {
        match news {
            RouterNews::Link(LinkNews::Up { link, other, outbox }) => {
                let tail = other.tail;
                if tail == self.own.tail {
                    return;
                }
                if self.links.up(link, tail, outbox) {
                    self.step(RouterInput::Down { tail });
                }
                let (host, name, weight) = (other.host, other.name, other.weight);
                self.step(match other.router {
                    Some(now) => RouterInput::RouterUp { tail, host, owns: now.owns },
                    None => RouterInput::AgentUp { tail, name, host, weight },
                });
            }
            RouterNews::Link(LinkNews::Down { link, tail }) => {
                if self.links.down(link, tail) {
                    self.step(RouterInput::Down { tail });
                }
            }
            RouterNews::Link(LinkNews::Said { link, tail, message }) => {
                if !self.links.is_present(link, tail) {
                    return;
                }
                match message {
                    Message::FromAgent(message) => {
                        self.step(RouterInput::FromAgent { tail, message });
                    }
                    Message::BetweenRouters(message) => {
                        self.step(RouterInput::FromRouter { tail, message });
                    }
                    // An agent's link has ended before it said this.
                    _ => self.links.hang_up(tail),
                }
            }
            RouterNews::Order(order) => self.step(RouterInput::Order(order)),
            RouterNews::Ask(ask) => ask(self),
            RouterNews::Leave => {
                self.member.wish(Wish::Leave);
                self.step(RouterInput::Leave);
            }
        }
    }

    pub(super) fn step(&mut self, input: RouterInput) {
        let mut out = Vec::new();
        let lease = self.member.lease_ok();
        self.router.step(awake_or_asleep_ms(), lease, input, &mut out);
        for action in out {
            if let Err(error) = self.carry_out(action) {
                complain!(Error, &error.to_string(), "{error}");
            }
        }
        if let Some(owns) = &self.own.owns {
            *owns.lock() = self.router.owns();
        }
    }

    fn carry_out(&mut self, action: RouterAction) -> Result<(), RouteError> {
        let Ground { filter, addresses, announcer, poker } = &mut self.ground;
        match action {
            RouterAction::ToAgent(tail, message) => self.links.send(tail, message),
            RouterAction::ToRouter(tail, message) => self.links.send(tail, message),
            RouterAction::HangUp(tail, why) => {
                log::info!("end the connection to {tail}: {why}");
                self.links.hang_up(tail);
            }
            RouterAction::Replace(known) => filter.replace(known)?,
            RouterAction::Fill(reports) => filter.fill(reports)?,
            RouterAction::Forget(conns) => filter.forget(&conns)?,
            RouterAction::Refuse(conns) => filter.refuse(&conns)?,
            RouterAction::Point(target, host) => filter.point(target, host)?,
            RouterAction::Hold(target) => filter.hold(target)?,
            RouterAction::Cut { target, refuse } => {
                let had = filter.cut(target, refuse)?;
                if refuse {
                    poke(poker, &self.rules.services, &had);
                }
            }
            RouterAction::Slots { service, slots } => filter.slots(service, &slots)?,
            RouterAction::Ends(ends) => filter.ends(ends)?,
            RouterAction::Routers(hosts) => filter.routers(&hosts)?,
            RouterAction::Take { life } => {
                let life = life.map(Duration::from_millis);
                addresses.take(life).map_err(RouteError::io("take the addresses"))?;
            }
            RouterAction::Release => {
                poker.forget();
                addresses.release().map_err(RouteError::io("give up the addresses"))?;
            }
            RouterAction::Announce => {
                announcer.announce().map_err(RouteError::io("announce the addresses"))?;
            }
            RouterAction::Probe { target, host } => self.call(target, host),
            RouterAction::Look => {
                let found = filter.strangers()?;
                if !found.is_empty() {
                    self.step(RouterInput::Strangers(found));
                }
            }
            RouterAction::HandoverReady => self.member.wish(Wish::HandoverReady),
            RouterAction::Tell(news) => (self.tell)(news),
            RouterAction::Exit => self.is_over = true,
        }
        Ok(())
    }

    /// Finds out whether a target's host lives, by its own address: the service's is everywhere.
    fn call(&mut self, target: Target, host: Host) {
        let to = host.v4.or(host.v6);
        let from = to.and_then(|to| self.rules.host.like(to));
        let port = self.rules.services.first().map(SocketAddr::port);
        let (Some(to), Some(from), Some(port)) = (to, from, port) else { return };
        // Twice the delay that the group assumes.
        let within = Duration::from_millis(self.rules.dead - 3 * self.rules.interval);
        self.calls.call(target, from, SocketAddr::new(to, port), within, Instant::now());
    }

    /// Returns what is to be seen of the router.
    pub(crate) fn status(&mut self) -> Result<RouterStatus, RouteError> {
        let filter = &mut self.ground.filter;
        Ok(RouterStatus {
            view: self.router.view(),
            connections: filter.connections()?,
            packets: filter.passed()?,
        })
    }
}

/// Has clients send something, to be answered with a reset.
fn poke(poker: &mut Poker, services: &[SocketAddr], had: &[Conn]) {
    for (place, service) in services.iter().enumerate() {
        let its = had.iter().filter(|conn| usize::from(conn.service) == place);
        poker.add(*service, its.map(|conn| conn.client));
    }
}

/// The thread that decides, and what reaches it.
pub(crate) struct RunningRouter {
    pub(super) inbox: Arc<Inbox<RouterNews>>,
    thread: Threads,
    origin: Origin,
}

impl RunningRouter {
    pub(super) fn start(router: RouterThread) -> io::Result<Self> {
        let (inbox, thread) = (router.inbox.clone(), Threads::default());
        thread.spawn(threads::ROUTE, move || router.run())?;
        Ok(RunningRouter { inbox, thread, origin: Origin::here() })
    }

    pub(crate) fn order(&self, order: Order) {
        self.put(RouterNews::Order(order));
    }

    /// In a forked child the thread is not.
    fn put(&self, news: RouterNews) {
        if !self.origin.is_elsewhere() {
            self.inbox.put(news);
        }
    }

    /// Has `look` run on the deciding thread; does not wait.
    pub(crate) fn ask(&self, look: impl FnOnce(&mut RouterThread) + Send + 'static) {
        self.put(RouterNews::Ask(Box::new(look)));
    }

    /// Hands over, goes on forwarding for a few seconds, and takes everything away.
    pub(crate) fn leave(&self) {
        self.put(RouterNews::Leave);
        self.thread.join_all();
    }
}
