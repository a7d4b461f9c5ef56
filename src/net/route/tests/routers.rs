//! Several routers: what one sends to another, and what that makes of it.

use super::*;
use crate::state::route::HERE;

/// The most and the usual hops of a packet: a router marks by them what it passes on.
const HOPS: [u8; 3] = [64, 254, 255];

/// Goal: new and known connections work through a router that knows neither. Method: the client
/// has another router's hardware address for the service's, as after a change of the owner.
#[test]
fn what_a_router_does_not_know_it_passes_on_to_the_owner() {
    let Some((mut bed, mut second)) = Bed::with_second() else { return };
    for hops in HOPS {
        bed.hops(hops);
        for service in BOTH {
            let before = second.passed().unwrap();
            let mut line = bed.connect(service);
            line.works();
            assert_eq!(bed.known(&line), Some(line.target));
            assert!(second.passed().unwrap() >= before + 3);
            assert_eq!(second.connections().unwrap(), []);
            assert!(second.strangers().unwrap().contains(&line.conn()));
        }
    }
    assert!(bed.filter.strangers().unwrap().is_empty());
}

/// Goal: an owner that is a target takes its own part of what it is passed.
#[test]
fn an_owner_that_is_a_target_keeps_what_it_has_chosen_itself_for() {
    let Some((mut bed, _second)) = Bed::with_second() else { return };
    bed.choose(HERE);
    // The client would answer to the other router where it is.
    let mac = "lladdr 02:00:00:00:00:00";
    bed.administer(&format!("ip neigh replace fd77::1 {mac} nud permanent dev eth0"));
    let _servers = services().map(|service| Server::start(&bed.network, HERE, service));
    for service in BOTH {
        let mut line = bed.connect(service);
        assert_eq!(line.target, HERE);
        line.works();
        assert_eq!(bed.known(&line), Some(HERE));
    }
    assert_eq!(bed.filter.passed().unwrap(), 0);
}

/// Goal: what an owner is passed and does not know either, it asks for. Method: the owner forgets
/// it; refused, it must not be: the owner cannot know what the other router has opened.
#[test]
fn what_an_owner_is_passed_and_does_not_know_it_notes() {
    let Some((mut bed, _second)) = Bed::with_second() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        bed.filter.refuse(&[line.conn()]).unwrap();
        bed.filter.forget(&[line.conn()]).unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        line.hears();
    }
}

/// Goal: a packet whose target is held is not passed back to where it came from.
#[test]
fn what_was_passed_on_once_is_not_passed_on_again() {
    let Some((mut bed, mut second)) = Bed::with_second() else { return };
    let passing = Ends { pass: Some(host(SECOND)), ..owner() };
    bed.filter.ends(passing).unwrap();
    second.ends(other(false, Some(ROUTER))).unwrap();
    for service in BOTH {
        let mut line = bed.connect(service);
        line.works();
        bed.filter.hold(line.target).unwrap();
        let before = bed.filter.passed().unwrap();
        line.says();
        until("it is noted", || bed.is_stranger(&line));
        assert_eq!(bed.filter.passed().unwrap(), before);
        bed.filter.point(line.target, host(line.target as usize)).unwrap();
        line.hears();
    }
}

/// Goal: two routers of which each takes the other for the owner pass nothing to and fro. Method:
/// the second one would note what it does not know, if it did more than drop it.
#[test]
fn two_routers_that_pass_on_to_each_other_end_what_neither_knows() {
    let Some((mut bed, mut second)) = Bed::with_second() else { return };
    for service in BOTH {
        let mut line = bed.connect(service);
        bed.filter.ends(other(false, Some(SECOND))).unwrap();
        // A known one works nevertheless.
        line.works();
        bed.filter.forget(&[line.conn()]).unwrap();
        let (before, owners) = (second.passed().unwrap(), bed.filter.passed().unwrap());
        line.says();
        // Its first repetition is passed on after the first one was dropped.
        until("it is repeated", || second.passed().unwrap() >= before + 2);
        assert_eq!(bed.filter.passed().unwrap(), owners);
        assert!(!bed.is_stranger(&line));
        bed.filter.ends(owner()).unwrap();
        bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        line.hears();
    }
}

/// Goal: what another router has chosen a target for stays there. Method: the target's own router
/// knows the connections as another target's, and for a new one has no role to choose.
#[test]
fn a_target_takes_what_another_router_has_chosen_it_for_whatever_its_table_says() {
    let Some(mut bed) = Bed::new() else { return };
    let (chosen, wrong) = (FIRST_TARGET, FIRST_TARGET + 1);
    bed.choose(chosen as Target);
    let mut own = bed.router_on(chosen);
    own.point(wrong as Target, host(wrong)).unwrap();
    for ends in [other(true, Some(ROUTER)), Ends { is_target: true, ..owner() }] {
        own.ends(ends).unwrap();
        for hops in HOPS {
            bed.hops(hops);
            for service in BOTH {
                let mut line = bed.connect(service);
                assert_eq!(line.target as usize, chosen);
                own.replace(vec![(line.conn(), wrong as Target)]).unwrap();
                line.works();
            }
        }
        assert_eq!(own.passed().unwrap(), 0);
        assert_eq!(own.strangers().unwrap(), []);
    }
}

/// Goal: a host that is no target resets nothing that is sent to it by mistake, although it has the
/// address. Method: the owner moves a connection to it, and back.
#[test]
fn a_host_that_is_no_target_drops_what_another_router_has_chosen_it_for() {
    let Some(mut bed) = Bed::new() else { return };
    let (right, wrong) = (FIRST_TARGET as Target, FIRST_TARGET as Target + 1);
    bed.choose(right);
    let mut own = bed.router_on(wrong as usize);
    own.point(right, host(right as usize)).unwrap();
    for ends in [other(false, Some(ROUTER)), owner()] {
        own.ends(ends).unwrap();
        for service in BOTH {
            let mut line = bed.connect(service);
            line.works();
            own.replace(vec![(line.conn(), right)]).unwrap();
            bed.filter.replace(vec![(line.conn(), wrong)]).unwrap();
            let before = bed.filter.passed().unwrap();
            line.says();
            until("it is repeated", || bed.filter.passed().unwrap() >= before + 2);
            bed.filter.replace(vec![(line.conn(), right)]).unwrap();
            line.hears();
        }
        assert_eq!(own.passed().unwrap(), 0);
    }
}

/// Has every target be a router, too, that knows all connections as another target's.
fn confuse(bed: &Bed, lines: &[Line]) -> Vec<PacketFilter> {
    let confused = |target: Target| {
        let mut own = bed.router_on(target as usize);
        let wrong = if target == 2 { 3 } else { 2 };
        own.point(wrong, host(wrong as usize)).unwrap();
        own.ends(other(true, None)).unwrap();
        own.replace(lines.iter().map(|line| (line.conn(), wrong)).collect()).unwrap();
        own
    };
    targets().map(confused).collect()
}

#[test]
fn a_target_that_is_a_router_learns_of_a_smaller_mtu() {
    let Some(bed) = Bed::with_gateway() else { return };
    bed.network.script(
        GATEWAY,
        "ip route add 10.78.0.2/32 dev eth0 mtu lock 1300
         ip -6 route add fd78::2/128 dev eth0 mtu lock 1300",
    );
    let mut lines: Vec<Line> = BOTH
        .iter()
        .flat_map(|service| (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, *service)))
        .collect();
    let mut own = confuse(&bed, &lines);
    lines.iter_mut().for_each(|line| line.carries(300_000));
    for own in &mut own {
        assert_eq!(own.passed().unwrap(), 0, "errors went elsewhere");
    }
}

#[test]
fn a_target_that_is_a_router_takes_packets_in_pieces() {
    let Some(mut bed) = Bed::with_gateway() else { return };
    bed.network.script(FAR_CLIENT, "echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc");
    bed.network.script(GATEWAY, "ip route add 10.77.0.100/32 dev eth0 mtu lock 1300");
    let mut lines: Vec<Line> = (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, 0)).collect();
    let mut own = confuse(&bed, &lines);
    lines.iter_mut().for_each(|line| line.carries(300_000));
    assert!(!bed.filter.nftables.elements(TABLE, "fragments4").unwrap().is_empty());
    for own in &mut own {
        assert_eq!(own.passed().unwrap(), 0, "pieces went elsewhere");
    }
}

/// Goal: of a packet in pieces that a router does not know nothing is passed on, and the connection
/// is asked for. Method: a router that passes on, and a gateway that must cut.
#[test]
fn a_packet_in_pieces_is_not_passed_on() {
    let Some(mut bed) = Bed::with_gateway() else { return };
    bed.network.script(FAR_CLIENT, "echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc");
    bed.network.script(GATEWAY, "ip route add 10.77.0.100/32 dev eth0 mtu lock 1300");
    let mut line = bed.connect_from(FAR_CLIENT, 0);
    bed.filter.forget(&[line.conn()]).unwrap();
    bed.filter.ends(other(false, Some(FIRST_TARGET))).unwrap();
    let before = bed.filter.passed().unwrap();
    line.stream.write_all(&[7; 1400]).unwrap();
    until("it is noted", || bed.is_stranger(&line));
    assert_eq!(bed.filter.passed().unwrap(), before);
    bed.filter.fill(live(&[(line.conn(), line.target)])).unwrap();
    let mut back = [0; 1400];
    line.stream.read_exact(&mut back).expect("a living connection");
    assert_eq!(back, [7; 1400]);
}
