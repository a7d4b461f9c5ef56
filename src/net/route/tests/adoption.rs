//! Whose the table is, and what becomes of it when its router ends.

use std::net::TcpListener;

use super::*;
use crate::error::RouteError;
use crate::net::netlink::nftables::Owner;
use crate::net::netlink::nftables::expression::{Expression, Register};
use crate::net::route::program;

#[test]
fn reloading_the_firewall_neither_ends_connections_nor_changes_the_table() {
    let Some(mut bed) = Bed::new() else { return };
    let mut lines: Vec<Line> =
        BOTH.iter().flat_map(|one| (0..6).map(|_| bed.connect(*one))).collect();
    bed.administer("nft flush ruleset");
    let shown = bed.administer("nft list ruleset");
    for word in ["table netdev pares_1_test", "conns4", "conns6", "fwd"] {
        assert!(shown.contains(word), "{word} is not in\n{shown}");
    }
    // By another process.
    for command in ["delete table netdev pares_1_test", "flush chain netdev pares_1_test send4"] {
        bed.administer(&format!("! nft {command} 2> /dev/null"));
    }
    lines.iter_mut().for_each(Line::works);
    for service in BOTH {
        bed.connect(service).works();
    }
    let table = bed.filter.nftables.table(TABLE).unwrap().unwrap();
    assert_eq!(table.note, bed.plan.note());
    assert!(shown.contains("comment \"pares 1 "), "{shown}");
}

#[test]
fn what_a_dead_router_has_left_is_removed_and_what_a_living_one_has_is_not() {
    let Some(mut bed) = Bed::new() else { return };
    let clean = |bed: &Bed| bed.network.on(ROUTER, || crate::route::clean("test", 1));
    let error = clean(&bed).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, RouteError::Held { pid: Some(pid) } if pid == own), "{error:?}");
    bed.connect(0).works();

    bed.kill_router();
    bed.connect(0).works();
    let cleaned = clean(&bed).unwrap();
    assert_eq!(cleaned.table.as_deref(), Some(TABLE));
    let mut addresses = cleaned.addresses;
    addresses.sort();
    let all = services().map(|service| (service.ip(), "eth0".to_owned()));
    assert_eq!(addresses, all);
    let again = clean(&bed).unwrap();
    assert_eq!((again.table, again.addresses), (None, vec![]));
    assert_eq!(bed.administer("nft list ruleset"), "");
    assert!(!bed.administer("ip address").contains("10.77.0.100"));
    // On the targets the addresses stay.
    bed.network.on(FIRST_TARGET, || TcpListener::bind("10.77.0.100:9").map(drop)).unwrap();
}

#[test]
fn the_kernel_says_whether_it_can_route_and_nothing_of_the_question_stays() {
    let Some(bed) = Bed::new() else { return };
    let found = bed.network.on(CLIENT, || {
        let found = crate::route::probe("eth0").map(|abilities| abilities.lasting);
        let nothing = Nftables::open().unwrap().table("pares_probe").unwrap();
        assert_eq!(nothing, None);
        let unknown = crate::route::probe("eth9").unwrap_err();
        assert_eq!(unknown.finding(), "the network device `eth9` does not exist here");
        let own = crate::route::probe("lo").unwrap_err();
        assert_eq!(
            own.finding(),
            "the network device `lo` has no neighbours with Ethernet addresses"
        );
        found
    });
    // This bed's table is a lasting one.
    assert!(found.expect("the program was taken"));
    bed.network.down(CLIENT, "eth0");
    let down = bed.network.on(CLIENT, || crate::route::probe("eth0").unwrap_err());
    assert_eq!(down.finding(), "the network device `eth0` is down");
}

#[test]
fn a_change_that_the_kernel_refuses_is_named_and_nothing_of_it_stays() {
    let Some(mut bed) = Bed::new() else { return };
    let mut batch = Batch::of(TABLE);
    let chain = batch.chain("another");
    let wrong = batch.rule("another", &[Expression::Member { set: "nothing", key: Register(0) }]);
    assert!(chain < wrong);
    let refused = bed.filter.nftables.commit(batch).unwrap_err();
    assert_eq!(refused.number, wrong, "{refused:?}");
    assert!(!bed.administer("nft list ruleset").contains("another"));
    bed.connect(0).works();
}

fn claim(bed: &Bed, plan: &Plan) -> Result<super::super::filter::Opened, RouteError> {
    bed.network.on(ROUTER, || PacketFilter::open(TABLE.into(), plan.clone()))
}

/// Goal: whoever comes after a dead router goes on with its connections, and gives nobody new ones
/// until it knows to whom. Method: between two routers, one more target is known for a connection
/// than the table says where it is.
#[test]
fn the_table_outlives_its_owner_and_then_belongs_to_the_first_who_claims_it() {
    let Some(mut bed) = Bed::new() else { return };
    let mut lines = BOTH.map(|service| bed.connect(service));
    let error = claim(&bed, &bed.plan).err().expect("while its owner lives");
    let own = std::process::id();
    assert!(matches!(error, RouteError::Held { pid: Some(pid) } if pid == own), "{error:?}");
    let unknown = Conn { service: 0, client: "10.77.0.1:1".parse().unwrap() };
    let here = Conn { service: 1, client: "[fd77::1]:1".parse().unwrap() };
    bed.filter.fill(live(&[(unknown, 77), (here, 1)])).unwrap();
    bed.filter.refuse(&[unknown]).unwrap();

    bed.kill_router();
    lines.iter_mut().for_each(Line::works);
    let mut new = BOTH.map(|service| bed.connect(service));
    new.iter_mut().for_each(Line::works);
    let (filter, adopted) = claim(&bed, &bed.plan).unwrap();
    bed.filter = filter;
    assert!(bed.filter.is_lasting());
    let without_mac = |number: Target| Host { mac: [0; 6], ..host(number as usize) };
    let all: Vec<_> = targets().map(|number| (number, without_mac(number))).collect();
    assert_eq!(adopted, Some(all));
    assert!(
        matches!(claim(&bed, &bed.plan), Err(RouteError::Held { .. })),
        "it has an owner again"
    );

    let known: Vec<Conn> = bed.filter.connections().unwrap().iter().map(|one| one.0).collect();
    assert!(known.contains(&here) && !known.contains(&unknown), "{known:?}");
    for line in lines.iter_mut().chain(&mut new) {
        line.works();
        assert_eq!(bed.known(line), Some(line.target));
    }
    let slots = bed.filter.nftables.elements(TABLE, "slots").unwrap();
    assert_eq!(slots, [], "no new connections");
    let refused = bed.filter.nftables.elements(TABLE, "refused4").unwrap();
    assert_eq!(refused, [], "it is no owner");
    let end = services()[0];
    let (asking, rules) = (&bed.network, &mut bed.filter);
    thread::scope(|scope| {
        let late = scope.spawn(|| asking.on(CLIENT, || TcpStream::connect_timeout(&end, PATIENCE)));
        await_unserved(asking, 0);
        rules.slots(0, &in_turn(&[4])).unwrap();
        rules.ends(owner()).unwrap();
        Line::on(late.join().unwrap().expect("a connection"), 0).works();
    });
}

/// Goal: a router that is restarted takes what other routers have chosen its host for, before it
/// knows more. Method: a target's own router dies.
#[test]
fn a_target_takes_what_others_have_chosen_it_for_when_its_own_router_is_replaced() {
    let Some(mut bed) = Bed::new() else { return };
    let number = FIRST_TARGET;
    bed.choose(number as Target);
    let mut own = bed.router_on(number);
    own.ends(other(true, None)).unwrap();
    let mut lines = BOTH.map(|service| bed.connect(service));
    drop(own);
    let plan = &bed.plan;
    let mut again = None;
    until("the table is nobody's", || {
        let claimed = bed.network.on(number, || PacketFilter::open(TABLE.into(), plan.clone()));
        again = claimed.ok();
        again.is_some()
    });
    assert_eq!(again.unwrap().1, Some(vec![]));
    lines.iter_mut().for_each(Line::works);
}

#[test]
fn the_table_of_other_services_is_replaced() {
    let Some(mut bed) = Bed::new() else { return };
    let mut line = bed.connect(0);
    bed.kill_router();
    let by_client = Plan { by_client: true, ..bed.plan.clone() };
    let other_port = "10.77.0.100:9".parse().unwrap();
    let more = Plan { services: vec![services()[0], other_port], ..bed.plan.clone() };
    for plan in [by_client, more, bed.plan.clone()] {
        let (mut filter, adopted) = claim(&bed, &plan).unwrap();
        assert_eq!(adopted, None, "{plan:?}");
        assert_eq!(filter.connections().unwrap(), []);
        bed.plan = plan;
        filter.fill(live(&[(line.conn(), line.target)])).unwrap();
        filter.point(line.target, host(line.target as usize)).unwrap();
        line.works();
        bed.filter = filter;
        bed.kill_router();
    }
    let (filter, adopted) = claim(&bed, &bed.plan).unwrap();
    assert_eq!(adopted.map(|targets| targets.len()), Some(1));
    filter.remove().unwrap();
    assert_eq!(bed.administer("nft list ruleset"), "");
}

/// Goal: where the kernel knows no tables with an owner, the next router goes on all the same.
/// Method: a table that was made as there; a reload of the firewall shows that it was.
#[test]
fn a_table_that_belongs_to_nobody_is_taken_over() {
    let Some(mut bed) = Bed::new() else { return };
    bed.commit(|batch| _ = batch.destroy_table());
    let mut batch = Batch::of(TABLE);
    program::load(&mut batch, Owner::Nobody, &bed.plan);
    bed.filter.nftables.commit(batch).unwrap();
    for has_router in [false, true] {
        let (mut filter, adopted) = claim(&bed, &bed.plan).unwrap();
        assert_eq!(adopted.map(|targets| targets.len()), Some(usize::from(has_router)));
        assert!(!filter.is_lasting());
        filter.point(3, host(3)).unwrap();
        filter.slots(0, &in_turn(&[3])).unwrap();
        filter.ends(owner()).unwrap();
        bed.connect(0).works();
    }
    bed.administer("nft flush ruleset");
    assert_eq!(bed.filter.nftables.table(TABLE).unwrap(), None);
}
