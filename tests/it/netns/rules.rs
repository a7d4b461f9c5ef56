//! The network of the tests itself: what it loses, doubles and keeps apart.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::hosts::{Network, PORT, abilities, address, address_v6};
use super::is_skipped;
use crate::support::PATIENCE;

/// More than this many datagrams at once a socket could lose by itself.
const BURST: usize = 50;

/// A socket on a host.
fn socket(network: &Network, host: usize, address: &str, port: u16) -> UdpSocket {
    let at = SocketAddr::new(address.parse().unwrap(), port);
    network.on(host, || {
        let socket = UdpSocket::bind(at).unwrap();
        // Only as long as nothing more comes: in here nothing is slow.
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket
    })
}

/// How many of a burst arrive.
fn arrive(from: &UdpSocket, to: &UdpSocket) -> usize {
    let at = to.local_addr().unwrap();
    for _ in 0..BURST {
        // Where the route is gone they are lost, too.
        _ = from.send_to(b"datagram", at);
    }
    let mut buffer = [0; 16];
    (0..).take_while(|_| to.recv(&mut buffer).is_ok()).count()
}

#[test]
fn the_hosts_of_a_network_can_lose_double_and_miss_datagrams() {
    if is_skipped(&[&abilities().hosts, &abilities().rules]) {
        return;
    }
    let mut network = Network::new(3);
    let on = |host: usize| {
        [
            socket(&network, host, &address(host), PORT),
            socket(&network, host, &address_v6(host), PORT),
        ]
    };
    let hosts = [on(0), on(1), on(2)];
    let bursts = |from: usize, to: usize| [0, 1].map(|of| arrive(&hosts[from][of], &hosts[to][of]));
    assert_eq!((bursts(0, 1), bursts(0, 2), bursts(2, 1)), ([BURST; 2], [BURST; 2], [BURST; 2]));

    network.count();
    assert_eq!(bursts(0, 1), [BURST; 2]);
    assert_eq!(network.counted(), (2 * BURST as u64, 0));

    network.part(&[&[0], &[1, 2]]);
    assert_eq!((bursts(0, 1), bursts(1, 0), bursts(1, 2)), ([0; 2], [0; 2], [BURST; 2]));
    network.heal();
    assert_eq!(bursts(0, 1), [BURST; 2]);

    network.cut(2);
    assert_eq!((bursts(0, 2), bursts(2, 1), bursts(0, 1)), ([0; 2], [0; 2], [BURST; 2]));
    network.mend(2);
    // Within a second the kernel believes that the cable is in again; and what host 2 could not
    // send for want of its neighbours' addresses it sends then.
    let deadline = Instant::now() + PATIENCE;
    while bursts(2, 1).contains(&0) {
        assert!(Instant::now() < deadline, "the cable is of no use");
    }
    assert_eq!((bursts(0, 2), bursts(2, 1)), ([BURST; 2], [BURST; 2]));

    network.lose(30);
    // Of 500 with a share of 0.7 less than 0.55 or more than 0.85 arrive once in 10^13 times.
    let arrived: usize = (0..5).flat_map(|_| bursts(0, 1)).sum();
    assert!((275..425).contains(&arrived), "{arrived} of 500");
    network.lose(0);

    network.duplicate();
    assert_eq!((bursts(0, 1), bursts(2, 0)), ([2 * BURST; 2], [2 * BURST; 2]));
}
