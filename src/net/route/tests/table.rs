//! What a router writes into the table, and what becomes of packets then.

use std::net::SocketAddr;

use super::*;
use crate::config::route::{KNOWN, SILENCE};
use crate::net::netlink::nftables::set::Value;
use crate::net::route::program::connection_key;
use crate::state::route::slots::SLOTS_BY_CLIENT;

/// Goal: what a report says replaces what was known, in one change. Method: a connection is made
/// known as another target's, to which its packets then go: that resets what it does not have.
#[test]
fn what_is_written_of_a_connection_replaces_what_was_known_of_it() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        bed.filter.replace(vec![(line.conn(), 77), (line.conn(), line.target)]).unwrap();
        assert_eq!(bed.filter.connections().unwrap(), [(line.conn(), line.target)]);
        line.works();
        let wrong = targets().find(|target| *target != line.target).unwrap();
        bed.filter.replace(vec![(line.conn(), wrong)]).unwrap();
        line.is_reset();
    }
}

/// Goal: many connections are written in one change and read whole. Method: more than one message
/// and one default send buffer hold; and more than the kernel's hash table had room for, so that it
/// grows while it is read.
#[test]
fn a_hundred_thousand_connections_are_written_and_read_whole() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let client = |number: u32| match services()[usize::from(service)] {
            SocketAddr::V4(_) => SocketAddr::from(((0x0a4d_0000 + number).to_be_bytes(), 1)),
            SocketAddr::V6(_) => SocketAddr::from((u128::from(number).to_be_bytes(), 1)),
        };
        let conn = |number| Conn { service, client: client(number) };
        let all: Vec<_> = (0..100_000).map(|at| (conn(at), at % 3 + 1)).collect();
        bed.filter.replace(all.clone()).unwrap();
        let mut known = bed.filter.connections().unwrap();
        known.sort();
        assert!(known == all);
        bed.filter.fill(TargetReports { other: all.clone(), live: all, of: vec![1, 2] }).unwrap();
        assert_eq!(bed.filter.connections().unwrap().len(), 100_000);
    }
}

/// Goal: reports are added to what is known. Method: a connection for each thing that can be
/// reported of one.
#[test]
fn what_targets_report_is_added_and_contradictions_are_forgotten() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let conn = |port: u16| {
            let ip = services()[usize::from(service)].ip();
            Conn { service, client: SocketAddr::new(ip, port) }
        };
        let before: Vec<_> = (1..=6).map(|port| (conn(port), 2)).collect();
        bed.filter.replace(before).unwrap();
        let [quiet, late, elsewhere, fresh] = [11, 12, 13, 14].map(conn);
        let second = Duration::from_secs(1);
        let long = KNOWN - SILENCE - second;
        let lasting =
            [(quiet, long), (late, KNOWN - second), (elsewhere, long), (fresh, second * 14)];
        let services = services();
        bed.commit(|batch| {
            let map = if service == 0 { "conns4" } else { "conns6" };
            for (conn, lives) in lasting {
                let key = connection_key(services[usize::from(service)], conn.client);
                let number: Target = if conn == elsewhere { 3 } else { 2 };
                batch.insert(map, [(key, Value::Bytes(&number.to_ne_bytes()))], Some(lives));
            }
        });
        let unknown = Conn { service: 9, client: conn(1).client };
        let reports = TargetReports {
            live: vec![
                (conn(1), 2),
                (conn(2), 3), // the table has another
                (conn(7), 3),
                (conn(8), 3), // two have it
                (conn(8), 4),
                (unknown, 2),
            ],
            other: vec![
                (conn(3), 3), // the table knows better
                (conn(9), 4),
                (conn(2), 4), // both that said it was alive were wrong
            ],
            of: vec![2],
        };
        bed.filter.fill(reports).unwrap();
        let mut known = bed.filter.connections().unwrap();
        known.sort();
        let expected = [
            (1, 2),
            (2, 4),
            (3, 2),
            (4, 2),
            (5, 2),
            (6, 2),
            (7, 3),
            (9, 4),
            (12, 2),
            (13, 3),
            (14, 2),
        ];
        assert_eq!(known, expected.map(|(port, target)| (conn(port), target)));
        bed.filter.forget(&[conn(1), conn(99), unknown]).unwrap();
        assert!(!bed.filter.connections().unwrap().contains(&(conn(1), 2)));
        bed.filter.replace(vec![]).unwrap();
    }
}

/// Goal: a packet of an unknown connection is answered when its target is found. Method: the table
/// forgets it.
#[test]
fn an_unknown_connection_is_noted_until_a_report_has_it() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        line.works();
        bed.filter.forget(&[line.conn()]).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        line.hears();
        bed.filter.forget(&[line.conn()]).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        let closing =
            TargetReports { other: vec![(line.conn(), line.target)], ..TargetReports::default() };
        bed.filter.fill(closing).unwrap();
        assert!(!bed.is_stranger(&line));
        line.hears();
    }
}

/// Goal: a refusal ends with the next connection of the same client and port. Method: that
/// connection is forgotten; it must be asked for and not refused.
#[test]
fn a_refused_client_may_come_again_by_the_same_port() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        let client = line.stream.local_addr().unwrap();
        bed.filter.forget(&[line.conn()]).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        bed.filter.refuse(&[line.conn()]).unwrap();
        assert!(!bed.is_stranger(&line));
        let error = line.stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let end = services()[usize::from(service)];
        let stream = bed.network.on(CLIENT, || {
            let kind = socket2::Type::STREAM;
            let socket = socket2::Socket::new(socket2::Domain::for_address(end), kind, None);
            let socket = socket.unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&client.into()).unwrap();
            socket.connect_timeout(&end.into(), PATIENCE).expect("a connection");
            TcpStream::from(socket)
        });
        let mut line = Line::on(stream, service);
        line.works();
        bed.filter.forget(&[line.conn()]).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        line.hears();
    }
}

#[test]
fn who_no_longer_has_the_addresses_refuses_nothing() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        bed.filter.forget(&[line.conn()]).unwrap();
        bed.filter.refuse(&[line.conn()]).unwrap();
        bed.filter.ends(other(false, None)).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        line.hears();
        bed.filter.ends(owner()).unwrap();
    }
}

/// Goal: an owner without targets makes clients wait, and refuses them when told to; who is no
/// owner makes them wait.
#[test]
fn a_client_without_a_target_to_go_to_waits_or_is_refused_as_the_router_says() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        bed.filter.slots(service, &[]).unwrap();
        let end = services()[usize::from(service)];
        let refusing = Ends { role: EndsRole::Owner { refuse_new: true }, ..owner() };
        bed.filter.ends(refusing).unwrap();
        let refused = bed.network.on(CLIENT, || TcpStream::connect_timeout(&end, PATIENCE));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        for ends in [owner(), other(false, None)] {
            bed.filter.ends(ends).unwrap();
            let (network, filter) = (&bed.network, &mut bed.filter);
            thread::scope(|scope| {
                let connect = move || TcpStream::connect_timeout(&end, PATIENCE);
                let late = scope.spawn(move || network.on(CLIENT, connect));
                await_unserved(network, service);
                filter.slots(service, &in_turn(&[3])).unwrap();
                Line::on(late.join().unwrap().expect("a connection"), service).works();
            });
            assert_eq!(filter.connections().unwrap().iter().filter(|one| one.1 == 0).count(), 0);
            filter.slots(service, &[]).unwrap();
        }
    }
}

#[test]
fn a_target_that_is_held_keeps_its_connections() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut lines: Vec<Line> = (0..TARGETS).map(|_| bed.connect(service)).collect();
        lines.iter_mut().for_each(Line::works);
        let target = lines[0].target;
        bed.filter.hold(target).unwrap();
        lines.iter_mut().for_each(Line::says);
        lines[1..].iter_mut().for_each(Line::hears);
        until("it is noted", || bed.is_stranger(&lines[0]));
        assert_eq!(bed.known(&lines[0]), Some(target));
        bed.filter.point(target, host(target as usize)).unwrap();
        lines[0].hears();
    }
}

#[test]
fn the_clients_of_a_target_that_is_cut_are_refused_if_the_router_says_so() {
    let Some(mut bed) = Bed::new() else { return };
    for refuse in [false, true] {
        let mut lines: Vec<Line> =
            BOTH.iter().flat_map(|one| (0..6).map(|_| bed.connect(*one))).collect();
        let target = FIRST_TARGET as Target;
        let mut its: Vec<Conn> =
            lines.iter().filter(|line| line.target == target).map(Line::conn).collect();
        let mut cut = bed.filter.cut(target, refuse).unwrap();
        its.sort();
        cut.sort();
        assert_eq!(cut, its);
        assert_eq!(its.len(), 4);
        assert!(bed.filter.connections().unwrap().iter().all(|one| one.1 != target));
        for map in ["targets4", "targets6"] {
            let pointed = bed.filter.nftables.elements(TABLE, map).unwrap();
            assert!(pointed.iter().all(|one| one.key != target.to_ne_bytes()), "{map}");
        }
        for line in &mut lines {
            match line.target == target {
                true if refuse => line.is_reset(),
                true => {
                    line.says();
                    until("it is noted", || bed.is_stranger(line));
                }
                false => line.works(),
            }
        }
        bed.filter.point(target, host(FIRST_TARGET)).unwrap();
    }
}

/// Goal: a client's address selects one slot of 4,096, always the same. Method: twelve times, half
/// of the slots are one target's, by one bit of their number: that tells the slot.
#[test]
fn the_address_of_a_client_selects_its_target() {
    let Some(mut bed) = Bed::new() else { return };
    bed.kill_router();
    bed.plan.by_client = true;
    let opened = bed.network.on(ROUTER, || PacketFilter::open(TABLE.into(), bed.plan.clone()));
    bed.filter = opened.unwrap().0;
    targets().for_each(|target| bed.filter.point(target, host(target as usize)).unwrap());
    bed.filter.ends(owner()).unwrap();
    for service in BOTH {
        let half = |bit: usize| {
            let number = |slot: usize| if slot >> bit & 1 == 0 { 2 } else { 3 };
            (0..SLOTS_BY_CLIENT).map(number).collect::<Vec<Target>>()
        };
        let mut slot = 0;
        for bit in 0..12 {
            bed.filter.slots(service, &half(bit)).unwrap();
            let seen: Vec<Target> = (0..4).map(|_| bed.connect(service).target).collect();
            assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
            slot |= usize::from(seen[0] == 3) << bit;
        }
        let mut slots = vec![4; SLOTS_BY_CLIENT];
        slots[slot] = 2;
        bed.filter.slots(service, &slots).unwrap();
        assert_eq!(bed.connect(service).target, 2);
    }
}
