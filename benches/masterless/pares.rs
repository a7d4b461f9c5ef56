//! `pares peer join`, one process on each host, or all on one.

use std::path::PathBuf;
use std::time::Duration;

use crate::hosts::Network;
use crate::peers::{Homes, Peers, Setup, Transport};
use crate::subject::Subject;

pub(crate) struct Pares {
    peers: Peers,
    /// The process of each host; where all are on one, of each place.
    of_host: Vec<usize>,
}

impl Pares {
    /// Starts so many, one on each host as far as there are hosts.
    pub(crate) fn start(
        network: &Network,
        size: usize,
        (interval, delay): (Duration, Duration),
        homes: Homes,
        directory: PathBuf,
    ) -> Self {
        let setup = Setup {
            program: PathBuf::from(env!("CARGO_BIN_EXE_pares")),
            transport: Transport::MulticastV4,
            homes,
            arguments: format!("--interval {} --delay {}", interval.as_millis(), delay.as_millis()),
        };
        let mut peers = Peers::new(setup, directory);
        let of_host = (0..size).map(|host| peers.start(network, host % network.size())).collect();
        Pares { peers, of_host }
    }
}

impl Subject for Pares {
    fn settle(&mut self) -> usize {
        self.peers.until("settled", Peers::is_settled);
        let primary = self.peers.primaries()[0];
        self.of_host.iter().position(|who| *who == primary).expect("one of them")
    }

    fn kill(&mut self, host: usize) -> u64 {
        self.peers.kill(self.of_host[host])
    }

    fn restart(&mut self, network: &Network, host: usize) {
        self.of_host[host] = self.peers.start(network, host % network.size());
    }

    fn taken(&mut self, host: usize, since: u64) -> u64 {
        let other = |peers: &Peers, old: usize| {
            peers.taken_since(since).into_iter().find(|(who, _)| *who != old)
        };
        let old = self.of_host[host];
        self.peers.until("taken over", |peers| other(peers, old).is_some());
        other(&self.peers, old).expect("heard").1
    }
}
