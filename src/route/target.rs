//! The agent on a target, as a program has it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::masterless;
use crate::error::RouteError;
use crate::event::route::{Event, EventKind};
use crate::net::route::{AgentPlan, RunningAgent, target};
use crate::net::rt::events::Events;
use crate::net::rt::hub::Hub;
use crate::net::rt::lock::Mutex;

/// So many events may wait for a program that is slow.
const EVENTS: usize = 256;

/// What a target is to be.
#[derive(Clone)]
#[must_use]
pub struct TargetConfig {
    plan: Arc<AgentPlan>,
}

impl TargetConfig {
    /// Returns the configuration of a target of a masterless group on a network: that of the
    /// service's routers. Its rank does not count.
    pub fn new(group: masterless::Config) -> Self {
        TargetConfig {
            plan: Arc::new(AgentPlan {
                group,
                services: Vec::new(),
                device: None,
                weight: 1,
                prepared: false,
                port: None,
            }),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut AgentPlan)) -> Self {
        change(Arc::make_mut(&mut self.plan));
        self
    }

    /// Adds an address and port of the service.
    pub fn service(self, service: SocketAddr) -> Self {
        self.with(|plan| plan.services.push(service))
    }

    /// Sets the network device at which packets come in. Without it, that is the one that leads to
    /// the addresses' networks.
    pub fn device(self, device: impl Into<String>) -> Self {
        self.with(|plan| plan.device = Some(device.into()))
    }

    /// Sets the target's weight, 1 by default; 0 takes no new connections. A router's list goes
    /// before.
    pub fn weight(self, weight: u16) -> Self {
        self.with(|plan| plan.weight = weight)
    }

    /// Says that the host's own configuration does what a target takes. The library then changes
    /// nothing, needs no privilege, and only checks.
    pub fn prepared(self, prepared: bool) -> Self {
        self.with(|plan| plan.prepared = prepared)
    }

    /// Sets the [port of the routers](super::RouteConfig::report_port).
    pub fn report_port(self, port: u16) -> Self {
        self.with(|plan| plan.port = Some(port))
    }
}

/// The agent on a target, from [`join`](RouteTarget::join) until it is dropped: it tells the
/// routers which connections this host's kernel has.
///
/// It gives the service's addresses to `lo`, and has the host not answer for them. An application
/// that listens on them, or on all addresses, then gets its share. If the process of the agent
/// dies, its host's connections go on.
#[must_use = "dropping it leaves"]
pub struct RouteTarget {
    running: RunningAgent,
    hub: Arc<Mutex<Hub<EventKind>>>,
}

impl RouteTarget {
    /// Prepares this host, and starts to report.
    ///
    /// Blocks for a few milliseconds. Takes CAP_NET_ADMIN unless the host is
    /// [prepared](TargetConfig::prepared).
    ///
    /// # Errors
    /// Any [`RouteError`]. Nothing is left behind.
    ///
    /// ```no_run
    /// use pares::masterless::Config;
    /// use pares::route::{RouteTarget, TargetConfig};
    ///
    /// let group = Config::new("web").lan().multicast("239.1.2.3:4000".parse()?, Some("eth0"));
    /// let target = RouteTarget::join(TargetConfig::new(group).service("10.0.0.100:80".parse()?))?;
    /// target.set_fit(false); // no new connections, please
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(config: TargetConfig) -> Result<Self, RouteError> {
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
        Ok(RouteTarget { running: target(&config.plan, tell)?, hub })
    }

    /// Returns the events from now on: which router is served.
    pub fn events(&self) -> Events<Event> {
        self.hub.lock().subscribe(EVENTS, Vec::new())
    }

    /// Says whether this target takes new connections; at first it does. Does not block.
    pub fn set_fit(&self, fit: bool) {
        self.running.set_fit(fit);
    }

    /// Leaves the group, and takes back what this host was given, unless connections live, as
    /// dropping it does. Blocks for up to two seconds.
    pub fn leave(self) {
        drop(self);
    }
}

impl Drop for RouteTarget {
    fn drop(&mut self) {
        self.running.leave();
    }
}

impl std::fmt::Debug for RouteTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteTarget").finish_non_exhaustive()
    }
}
