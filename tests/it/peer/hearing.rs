//! What a peer hears and believes: keys, other groups, rubbish, addresses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use pares::masterless::{Config, EventKind, JoinError, Peer, Status};
use socket2::{Domain, Socket, Type};

use super::{MS, config, expect, join, primary, sees, to};
use crate::support::{Ground, PATIENCE, await_true};

/// Goal: a key is changed while the group goes on, and nobody without one of its keys is heard.
#[test]
fn a_key_is_changed_step_by_step() {
    let ground = Ground::new();
    let (old, new) = (ground.directory.join("old"), ground.directory.join("new"));
    let config = || config(&ground);
    let make = |path: &Path, first: u8| {
        fs::write(path, [first; 32]).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    make(&old, 0);
    // Two that do not look alike from outside, as 255 of 256 do not.
    let mut firsts = 1..;
    while {
        make(&new, firsts.next().unwrap());
        matches!(
            Peer::join(config().key_file(&old).also_key_file(&new)),
            Err(JoinError::Config { .. })
        )
    } {}
    let steps = [
        config().key_file(&old),
        config().key_file(&old).also_key_file(&new),
        config().key_file(&new).also_key_file(&old),
        config().key_file(&new),
    ];
    for pair in steps.windows(2) {
        let (one, two) = (join(pair[0].clone()), join(pair[1].clone()));
        sees(&one, &two);
        sees(&two, &one);
    }
    let missing = Peer::join(config().also_key_file(ground.directory.join("missing")));
    assert!(matches!(missing, Err(JoinError::Key { .. })), "{missing:?}");
}

#[test]
fn who_has_another_key_or_another_group_is_not_heard_and_counted() {
    let ground = Ground::new();
    let (one, _) = primary(config(&ground));
    let stranger = Ground::on_port(ground.port);
    let (two, _) = primary(config(&stranger));
    let other = Config::new("other").local(ground.port).state_directory(&ground.directory);
    let (three, _) = primary(other);
    for peer in [&one, &two, &three] {
        assert_eq!(peer.peers().len(), 1);
        await_true("primary", || peer.status() == Status::Primary);
    }
    await_true("counted", || {
        let counters = one.counters();
        counters.unknown_key + counters.not_authentic > 0 && counters.other_group > 0
    });
    assert_eq!(one.counters().conflicts, 0);
}

/// A socket that hears and says what a group's processes do.
fn tap(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind(&all(port).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn all(port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 255, 255, 255), port).into()
}

/// Goal: whoever can hear a group, and has no key, changes nothing. Method: every datagram from the
/// first one on, also of a primary that has left, is played again several times; rubbish besides.
#[test]
fn what_is_played_again_and_rubbish_change_nothing() {
    let ground = Ground::new();
    let tap = tap(ground.port);
    let (gone, _) = primary(config(&ground));
    let second = join(config(&ground));
    assert!(second.wait_admitted(PATIENCE));
    gone.leave();
    let token = expect(&second.events(), to(Status::Primary)).0;
    let third = join(config(&ground));
    assert!(third.wait_admitted(PATIENCE));
    sees(&second, &third);

    let mut heard = Vec::new();
    tap.set_read_timeout(Some(MS(300))).unwrap();
    let mut buffer = [0; 2000];
    while let Ok(length) = tap.recv(&mut buffer) {
        heard.push(buffer[..length].to_vec());
        if heard.len() == 200 {
            break;
        }
    }
    assert!(heard.len() > 20, "only {} heard", heard.len());
    let (before, events) = (second.counters(), second.events());
    for _ in 0..3 {
        for datagram in &heard {
            tap.send_to(datagram, all(ground.port)).unwrap();
            let mut changed = datagram.clone();
            changed[40] ^= 1;
            tap.send_to(&changed, all(ground.port)).unwrap();
            tap.send_to(&datagram[..20], all(ground.port)).unwrap();
        }
        std::thread::sleep(MS(50)); // its receive buffer is finite
    }
    await_true("counted", || {
        let now = second.counters();
        now.replayed > before.replayed
            && now.not_authentic > before.not_authentic
            && now.malformed > before.malformed
    });
    assert_eq!(second.token(), token);
    assert_eq!((second.peers().len(), third.status()), (2, Status::Standby));
    let roles =
        events.try_iter().skip(1).filter(|event| matches!(event.kind, EventKind::Role { .. }));
    assert_eq!(roles.count(), 0);
}

/// Goal: whoever floods the port delays no heartbeat of the group for long. Method: rubbish without
/// a pause, until the primary has sent five more heartbeats; its lease lasts meanwhile.
#[test]
fn a_flood_of_rubbish_does_not_silence_a_primary() {
    let ground = Ground::new();
    let (one, token) = primary(config(&ground).interval(MS(500)).delay(MS(500)));
    let tap = tap(ground.port);
    let sent = one.counters().sent;
    let deadline = Instant::now() + PATIENCE;
    while one.counters().sent < sent + 5 {
        assert!(Instant::now() < deadline, "silenced");
        for _ in 0..100 {
            _ = tap.send_to(&[7; 100], all(ground.port));
        }
    }
    println!("{} datagrams", one.counters().malformed);
    assert!(one.counters().malformed > 1000);
    assert_eq!(one.token(), Some(token));
    assert!(one.lease_ok());
}

#[test]
fn heartbeats_go_by_multicast_and_from_address_to_address() {
    let grounds = [Ground::new(), Ground::new(), Ground::new(), Ground::new()];
    let [v4, v6, list, named] = &grounds;
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let multicast = |ground: &Ground, group: &str, interface: &str| {
        let group = format!("{group}:{}", ground.port).parse().unwrap();
        let config = config(ground).multicast(group, Some(interface));
        [config.clone(), config]
    };
    let (one, two) = (local(list.port), local(named.port));
    let mut pairs = vec![
        ("IPv4 by the interface's name", multicast(v4, "239.77.71.1", "lo")),
        ("IPv4 by an address", multicast(named, "239.77.71.1", "127.0.0.1")),
        (
            "addresses",
            [config(list).unicast(one, [one, two]), config(list).unicast(two, [one, two])],
        ),
    ];
    // Linux has no route for IPv6 multicast through the loopback interface. What is sent to ff01::
    // leaves no machine.
    let (address, interface) = link_local().unzip();
    match (&address, &interface) {
        (Some(address), Some(interface)) => {
            pairs.push(("IPv6 by the interface's name", multicast(v6, "[ff01::4d47]", interface)));
            pairs.push(("IPv6 by an address", multicast(v4, "[ff01::4d47]", &address.to_string())));
        }
        _ => crate::skipped::skip("IPv6, which no interface has here"),
    }
    for (what, [one, two]) in pairs {
        let (one, two) = (join(one), join(two));
        sees(&one, &two);
        sees(&two, &one);
        println!("{what}: works");
    }
}

/// A link-local IPv6 address and the name of its interface.
fn link_local() -> Option<(Ipv6Addr, String)> {
    let table = fs::read_to_string("/proc/net/if_inet6").ok()?;
    let line = table.lines().find(|line| line.starts_with("fe80"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    Some((Ipv6Addr::from(u128::from_str_radix(words[0], 16).ok()?), words.last()?.to_string()))
}

#[test]
fn what_this_machine_does_not_have_is_said() {
    let ground = Ground::new();
    let group = "239.77.71.1:4000".parse().unwrap();
    let error = |config: Config| Peer::join(config).expect_err("joined");
    let refused = error(config(&ground).multicast(group, Some("nonsense0")));
    assert!(matches!(&refused, JoinError::NotHere { what } if what == "nonsense0"), "{refused}");
    let elsewhere = "192.0.2.1:4000".parse().unwrap();
    let refused = error(config(&ground).unicast(elsewhere, [elsewhere]));
    assert!(matches!(refused, JoinError::NotHere { .. }), "{refused}");
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let refused = error(config(&ground).unicast(address, [address]));
    assert!(matches!(refused, JoinError::PortHeld { .. }), "{refused}");
    assert!(matches!(error(config(&ground).delay(MS(1))), JoinError::Config { .. }));
}
