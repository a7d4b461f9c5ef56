//! What happens to the packets of clients.

use super::*;

#[test]
fn the_packet_filter_sends_each_connection_to_one_target_and_new_ones_to_each_in_turn() {
    let Some(mut bed) = Bed::new() else { return };
    for service in BOTH {
        let mut lines: Vec<Line> = (0..30).map(|_| bed.connect(service)).collect();
        for target in targets() {
            let share = lines.iter().filter(|line| line.target == target).count();
            assert_eq!(share, 10, "{target}, {service}");
        }
        lines.iter_mut().for_each(Line::works);
        for line in &lines {
            assert_eq!(bed.known(line), Some(line.target));
        }
    }
}

#[test]
fn strict_firewalls_of_router_and_targets_do_not_stop_connections() {
    let Some(bed) = Bed::new() else { return };
    let strict = |chain: &str, rules: &str| {
        format!(
            "chain {chain} {{\ntype filter hook {chain} priority 0; policy drop;\n{rules}\n}}\n"
        )
    };
    let accepted = "iif lo accept\nct state invalid counter drop\nct state established accept\n\
                    tcp dport 8080 accept\nmeta l4proto { icmp, icmpv6 } accept";
    let of_router = strict("input", "meta l4proto icmpv6 accept") + &strict("forward", "");
    for host in ROUTER..FIRST_TARGET + TARGETS {
        let rules = if host == ROUTER { of_router.clone() } else { strict("input", accepted) };
        bed.network.script(
            host,
            &format!(
                "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter
                 echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter
                 nft -f - <<'END'\ntable inet strict {{\n{rules}}}\nEND"
            ),
        );
    }
    for service in BOTH {
        let mut lines: Vec<Line> = (0..9).map(|_| bed.connect(service)).collect();
        lines.iter_mut().for_each(|line| line.carries(100_000));
    }
}

#[test]
fn a_smaller_mtu_on_the_way_to_a_client_is_told_to_its_target() {
    let Some(bed) = Bed::with_gateway() else { return };
    bed.network.script(
        GATEWAY,
        "ip route add 10.78.0.2/32 dev eth0 mtu lock 1300
         ip -6 route add fd78::2/128 dev eth0 mtu lock 1300",
    );
    for service in BOTH {
        // One for each target, each of which must learn it.
        let mut lines: Vec<Line> =
            (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, service)).collect();
        lines.iter_mut().for_each(|line| line.carries(1_000_000));
    }
}

#[test]
fn a_packet_in_pieces_goes_whole_to_its_target() {
    let Some(mut bed) = Bed::with_gateway() else { return };
    bed.network.script(FAR_CLIENT, "echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc");
    bed.network.script(GATEWAY, "ip route add 10.77.0.100/32 dev eth0 mtu lock 1300");
    let mut lines: Vec<Line> = (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, 0)).collect();
    lines.iter_mut().for_each(|line| line.carries(1_000_000));
    let pieces = bed.filter.nftables.elements(TABLE, "fragments4").unwrap();
    assert!(!pieces.is_empty(), "no packet was cut");
}
