//! A router, as a program has it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::status::RouteStatus;
use crate::config::masterless;
use crate::error::RouteError;
use crate::event::route::{Event, EventKind};
use crate::net::route::{RouterPlan, RunningRouter, serve};
use crate::net::rt::events::Events;
use crate::net::rt::hub::Hub;
use crate::net::rt::lock::Mutex;
use crate::state::masterless::NEVER;
use crate::state::route::Order;
pub use crate::state::route::RoutePolicy;
pub use crate::state::route::giveback::GiveBack;

/// So many events may wait for a program that is slow.
const EVENTS: usize = 1024;

/// What a router is to be.
///
/// ```
/// use pares::masterless::Config;
/// use pares::route::RouteConfig;
///
/// let group = Config::new("web").lan().multicast("239.1.2.3:4000".parse()?, Some("eth0"));
/// let config = RouteConfig::new(group, "eth0")
///     .service("10.0.0.100:80".parse()?)
///     .target("10.0.0.11".parse()?, 1)
///     .target("10.0.0.12".parse()?, 3);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RouteConfig {
    plan: Arc<RouterPlan>,
}

impl RouteConfig {
    /// Returns the configuration of a router of a masterless group, for packets that come in at a
    /// network device. The group must be on a network ([`multicast`](masterless::Config::multicast)
    /// or [`unicast`](masterless::Config::unicast)). The router of the smallest
    /// [rank](masterless::Config::rank) has the addresses; 255 is for targets.
    ///
    /// The configuration's [`preempt`](masterless::Config::preempt) does not count: see
    /// [`give_back`](RouteConfig::give_back).
    pub fn new(group: masterless::Config, device: impl Into<String>) -> Self {
        RouteConfig {
            plan: Arc::new(RouterPlan {
                group,
                services: Vec::new(),
                device: device.into(),
                candidates: None,
                policy: RoutePolicy::Even,
                give_back: GiveBack::Never,
                port: None,
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut RouterPlan)) -> Self {
        change(Arc::make_mut(&mut self.plan));
        self
    }

    /// Adds an address and port to route. All addresses of a router move together.
    pub fn service(self, service: SocketAddr) -> Self {
        self.with(|plan| plan.services.push(service))
    }

    /// Lists a target, by an address of its host, with its weight. Without a list, each target that
    /// comes is used, with the weight that it says.
    pub fn target(self, host: IpAddr, weight: u16) -> Self {
        self.with(|plan| plan.candidates.get_or_insert_default().push((host, weight)))
    }

    /// Sets who gets a new connection.
    pub fn policy(self, policy: RoutePolicy) -> Self {
        self.with(|plan| plan.policy = policy)
    }

    /// Sets when this router takes the addresses back from one of larger rank: by default
    /// [never](GiveBack::Never), until that one leaves or fails.
    pub fn give_back(self, when: GiveBack) -> Self {
        self.with(|plan| plan.give_back = when)
    }

    /// Sets the TCP port at which routers let targets and other routers in: the same for all.
    /// Without it, that is the number of the group's UDP port.
    pub fn report_port(self, port: u16) -> Self {
        self.with(|plan| plan.port = Some(port))
    }
}

/// A router of a service, from [`serve`](Route::serve) until it is dropped.
///
/// The kernel of this host carries all packets; this value decides where they go. While it lives,
/// it takes the addresses when it is the first router of its group, and prepares to take them when
/// it is not. If this process is killed, the kernel goes on: connections do not notice.
#[must_use = "dropping it leaves"]
pub struct Route {
    running: RunningRouter,
    hub: Arc<Mutex<Hub<EventKind>>>,
    services: Vec<SocketAddr>,
}

impl Route {
    /// Starts to route.
    ///
    /// Blocks for a few milliseconds. Takes CAP_NET_ADMIN and CAP_NET_RAW.
    ///
    /// # Errors
    /// Any [`RouteError`]. Nothing is left behind. The table of an earlier router of this host that
    /// was killed is taken over, not replaced.
    ///
    /// ```no_run
    /// use pares::masterless::Config;
    /// use pares::route::{Route, RouteConfig};
    ///
    /// let group = Config::new("web").lan().multicast("239.1.2.3:4000".parse()?, Some("eth0"));
    /// let config = RouteConfig::new(group, "eth0").service("10.0.0.100:80".parse()?);
    /// let route = Route::serve(config)?;
    /// for event in &route.events() {
    ///     println!("{:?}", event.kind);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve(config: RouteConfig) -> Result<Self, RouteError> {
        if config.plan.group.rank == NEVER {
            let what = "rank 255 is that of targets: a router needs a smaller one".into();
            return Err(RouteError::Invalid { what });
        }
        let hub = Arc::new(Mutex::new(Hub::default()));
        let tell = {
            let hub = hub.clone();
            Box::new(move |kind: EventKind| {
                let is_last = kind == EventKind::Stopped;
                let mut hub = hub.lock();
                hub.emit(kind);
                if is_last {
                    hub.close();
                }
            })
        };
        let services = config.plan.services.clone();
        Ok(Route { running: serve(&config.plan, tell)?, hub, services })
    }

    /// Returns the events from now on; each receiver gets all of them. A receiver that is 1,024
    /// events behind loses some, and is told how many.
    pub fn events(&self) -> Events<Event> {
        self.hub.lock().subscribe(EVENTS, Vec::new())
    }

    /// Returns what is to be seen of the router and its targets. Blocks for some milliseconds; with
    /// a hundred thousand connections, for a tenth of a second.
    ///
    /// # Errors
    /// - [`Ended`](RouteError::Ended): the router has ended.
    /// - [`Io`](RouteError::Io): the kernel did not answer.
    pub fn status(&self) -> Result<RouteStatus, RouteError> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        self.running.ask(move |router| _ = sender.send(router.status()));
        let status = answer.recv().map_err(|_| RouteError::Ended)??;
        Ok(RouteStatus::new(status, &self.services))
    }

    /// Gives a target no new connections, or gives it some again. `host` is one of its addresses.
    /// Its connections go on. Holds until this router ends. Does not block.
    pub fn drain(&self, host: IpAddr, on: bool) {
        self.running.order(Order::Drain { target: host, on });
    }

    /// Sets a target's weight, whatever the list or the target says; 0 drains it. Does not block.
    pub fn set_weight(&self, host: IpAddr, weight: u16) {
        self.running.order(Order::Weight { target: host, weight });
    }

    /// Replaces the list of targets, with their weights; `None` uses each that comes. A target that
    /// is not on the list keeps its connections. Does not block.
    pub fn set_targets(&self, targets: Option<Vec<(IpAddr, u16)>>) {
        self.running.order(Order::Candidates(targets));
    }

    /// Hands over to another router, goes on forwarding for five seconds, and takes everything
    /// away, as dropping it does. Blocks for that time, and for the hand-over: some intervals at
    /// most.
    pub fn leave(self) {
        drop(self);
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.running.leave();
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}
