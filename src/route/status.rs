//! What is to be seen of a router.

use std::net::{IpAddr, SocketAddr};

use crate::event::masterless::Token;
use crate::net::route::RouterStatus;
pub use crate::state::route::TargetCondition;

/// What is to be seen of a router.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteStatus {
    /// The token under which this router has the addresses; `None` if it has not.
    pub owns: Option<Token>,
    /// True if it has the addresses, and every target has said since then what it has.
    pub settled: bool,
    /// The connections that its packet filter knows.
    pub connections: usize,
    /// The packets that its kernel has sent on to targets and to other routers.
    pub packets: u64,
    /// All targets that this router has heard of, or has on its list.
    pub targets: Vec<TargetInfo>,
}

/// What a router knows of a target.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetInfo {
    /// The label of its agent; empty if that has not spoken yet.
    pub name: String,
    /// The address of its host.
    pub address: IpAddr,
    /// Whether it can be reached.
    pub condition: TargetCondition,
    /// The services that have a listener there.
    pub listening: Vec<SocketAddr>,
    /// True if its agent says that it takes new connections.
    pub fit: bool,
    /// True if an operator has it drained.
    pub draining: bool,
    /// Its weight; 0 if it is not on the list.
    pub weight: u16,
    /// The connections that its agent has last told of.
    pub connections: u32,
    /// Those of them that this router's packet filter knows.
    pub routed: usize,
}

impl RouteStatus {
    pub(super) fn new(status: RouterStatus, services: &[SocketAddr]) -> Self {
        let RouterStatus { view, connections, packets } = status;
        let listening = |bits: u64| {
            let has = move |(place, _): &(usize, &SocketAddr)| bits >> place & 1 == 1;
            services.iter().enumerate().filter(has).map(|(_, service)| *service).collect()
        };
        let targets = view.targets.into_iter().map(|one| TargetInfo {
            name: one.name,
            address: one.host.any(),
            condition: one.condition,
            listening: listening(one.listening),
            fit: one.is_fit,
            draining: one.is_draining,
            weight: one.weight,
            connections: one.connections,
            routed: connections.iter().filter(|(_, target)| *target == one.number).count(),
        });
        RouteStatus {
            owns: view.owns,
            settled: view.is_settled,
            connections: connections.len(),
            packets,
            targets: targets.collect(),
        }
    }
}
