//! What is measured: processes of which one leads.

use std::time::Duration;

use crate::hosts::Network;

/// The interval of all: of pares' heartbeats and of VRRP's advertisements.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// Longer than any step takes; only a defect reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Processes of which one leads, one on each host.
pub(crate) trait Subject {
    /// Waits until one leads and all others follow; gives the host of the one that leads.
    fn settle(&mut self) -> usize;

    /// SIGKILL to all processes of the subject on this host; gives the time before it.
    fn kill(&mut self, host: usize) -> u64;

    /// Starts it again there.
    fn restart(&mut self, network: &Network, host: usize);

    /// Waits until another than this host leads since then; gives the time at which it did.
    fn taken(&mut self, host: usize, since: u64) -> u64;
}
