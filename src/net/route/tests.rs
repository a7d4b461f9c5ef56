//! The program with a fixed table, on real kernels: a client, a router and targets, each in a
//! network namespace of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::program::{
    self, Ends, Plan, Role, Target, add_target, connection_key, write_connections, write_ends,
    write_slots,
};
use crate::error::RouteError;
use crate::net::netlink::address::Devices;
use crate::net::netlink::nftables::expression::{Expression, Register};
use crate::net::netlink::nftables::{Batch, Nftables, Owner, Table};

#[path = "../../../tests/it/netns/hosts.rs"]
#[allow(dead_code, unreachable_pub)]
mod hosts;

use hosts::Network;

const PATIENCE: Duration = Duration::from_secs(300);

const CLIENT: usize = 0;
const ROUTER: usize = 1;
const FIRST_TARGET: usize = 2;
const TARGETS: usize = 3;
/// Behind the gateway, on a network of its own.
const GATEWAY: usize = FIRST_TARGET + TARGETS;
const FAR_CLIENT: usize = GATEWAY + 1;

const TABLE: &str = "pares_1_test";
const PORT: u16 = 8080;

fn services() -> [SocketAddr; 2] {
    ["10.77.0.100:8080", "[fd77::100]:8080"].map(|text| text.parse().unwrap())
}

/// A server on a target: says the target's number, and then everything that it is told.
struct Server(TcpListener);

impl Server {
    fn start(network: &Network, target: usize, service: SocketAddr) -> Self {
        network.on(FIRST_TARGET + target, || {
            let listener = TcpListener::bind(service).expect("the address is on lo");
            let accepting = listener.try_clone().unwrap();
            thread::spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    thread::spawn(move || echo(&stream, target as u8 + 1));
                }
            });
            Server(listener)
        })
    }
}

fn echo(mut stream: &TcpStream, first: u8) {
    let mut bytes = vec![0; 65536];
    let mut said = stream.write_all(&[first]);
    while said.is_ok() {
        let Ok(count @ 1..) = stream.read(&mut bytes) else { break };
        said = stream.write_all(&bytes[..count]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = socket2::SockRef::from(&self.0).shutdown(Shutdown::Both);
    }
}

/// A client, a router that has the addresses, and targets that serve.
struct Bed {
    network: Network,
    plan: Plan,
    nftables: Nftables,
    _servers: Vec<Server>,
}

impl Bed {
    /// `None`, with the reason printed, where namespaces are not permitted.
    fn new() -> Option<Self> {
        Self::with(FIRST_TARGET + TARGETS)
    }

    /// With a gateway and a client behind it.
    fn with_gateway() -> Option<Self> {
        let bed = Self::with(FAR_CLIENT + 1)?;
        let (v4, v6) = (hosts::address(GATEWAY), hosts::address_v6(GATEWAY));
        bed.network.script(
            GATEWAY,
            "echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
             echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             ip address add 10.78.0.1/24 dev eth0
             ip address add fd78::1/64 dev eth0 nodad",
        );
        bed.network.script(
            FAR_CLIENT,
            "ip address flush dev eth0 scope global
             ip address add 10.78.0.2/24 dev eth0
             ip address add fd78::2/64 dev eth0 nodad
             ip route add default via 10.78.0.1
             ip -6 route add default via fd78::1",
        );
        for host in (0..TARGETS).map(|target| FIRST_TARGET + target) {
            let script = format!(
                "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_redirects
                 ip route add 10.78.0.0/24 via {v4}
                 ip -6 route add fd78::/64 via {v6}"
            );
            bed.network.script(host, &script);
        }
        Some(bed)
    }

    fn with(hosts: usize) -> Option<Self> {
        let abilities = hosts::abilities();
        if let Err(why) = abilities.hosts.as_ref().and(abilities.rules.as_ref()) {
            crate::skipped::skip(format_args!(
                "this user on this kernel lacks what it takes ({why})"
            ));
            return None;
        }
        let network = Network::new(hosts);
        for target in 0..TARGETS {
            network.script(
                FIRST_TARGET + target,
                "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore
                 echo 2 > /proc/sys/net/ipv4/conf/eth0/arp_announce
                 ip address add 10.77.0.100/32 dev lo
                 ip address add fd77::100/128 dev lo nodad",
            );
        }
        let (plan, mut nftables) = network.on(ROUTER, || {
            let all = Devices::open().unwrap().all().unwrap();
            let device_number = all.iter().find(|one| one.name == "eth0").unwrap().number;
            let plan = Plan {
                device: "eth0".into(),
                device_number,
                me: 255,
                services: services().into(),
                by_client: false,
            };
            (plan, Nftables::open().unwrap())
        });
        let mut batch = Batch::of(TABLE);
        program::load(&mut batch, Owner::Me, b"a note", &plan);
        for target in 0..TARGETS {
            let (number, host) = (target as Target + 1, FIRST_TARGET + target);
            add_target(&mut batch, number, hosts::address(host).parse().unwrap());
            add_target(&mut batch, number, hosts::address_v6(host).parse().unwrap());
        }
        (0..2).for_each(|service| write_slots(&mut batch, service, &[1, 2, 3]));
        let owner = Role::Owner { refuse_new: false };
        write_ends(&mut batch, &plan, Ends { role: owner, pass_v4: None, pass_v6: None });
        nftables.commit(batch).expect("the program is taken");
        network.on(ROUTER, || {
            let mut devices = Devices::open().unwrap();
            for service in services() {
                devices.assign(service.ip(), plan.device_number, None).unwrap();
            }
        });
        let servers = services()
            .into_iter()
            .flat_map(|service| (0..TARGETS).map(move |target| (target, service)))
            .map(|(target, service)| Server::start(&network, target, service))
            .collect();
        Some(Bed { network, plan, nftables, _servers: servers })
    }

    fn connect(&self, service: SocketAddr) -> Line {
        self.connect_from(CLIENT, service)
    }

    fn connect_from(&self, host: usize, service: SocketAddr) -> Line {
        let stream = self
            .network
            .on(host, || TcpStream::connect_timeout(&service, PATIENCE).expect("a connection"));
        Line::on(stream)
    }

    /// What this test does in the router's place, its process dies. Its connection to the kernel
    /// ends with the last copy: a process that another test is about to start may have one.
    fn kill_router(&mut self) {
        self.nftables = self.network.on(ROUTER, || Nftables::open().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let has_owner = |table: Table| table.owner.is_some();
        while self.nftables.table(TABLE).unwrap().is_some_and(has_owner) {
            assert!(Instant::now() < deadline, "the table keeps its owner");
            thread::yield_now();
        }
    }

    fn commit(&mut self, change: impl FnOnce(&mut Batch<'_>, &Plan)) {
        let mut batch = Batch::of(TABLE);
        change(&mut batch, &self.plan);
        self.nftables.commit(batch).expect("taken");
    }

    /// Runs a shell script as the administrator of the router's host. Returns its output.
    #[track_caller]
    fn administer(&self, script: &str) -> String {
        let output = self.network.command(ROUTER, "sh").args(["-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The connections that the kernel knows, by key.
    fn known(&mut self, service: SocketAddr) -> BTreeMap<Vec<u8>, Target> {
        let map = if service.is_ipv4() { "conns4" } else { "conns6" };
        let elements = self.nftables.elements(TABLE, map).unwrap();
        let target = |value: &[u8]| Target::from_ne_bytes(value.try_into().unwrap());
        elements.into_iter().map(|one| (one.key, target(&one.value))).collect()
    }
}

/// A client's connection.
struct Line {
    stream: TcpStream,
    target: Target,
    /// What was said last.
    said: u64,
}

impl Line {
    fn on(mut stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).expect("the target's number");
        Line { stream, target: first[0].into(), said: 0 }
    }

    #[track_caller]
    fn works(&mut self) {
        self.said += 1;
        let (word, mut answer) = (self.said.to_be_bytes(), [0; 8]);
        self.stream.write_all(&word).expect("a living connection");
        self.stream.read_exact(&mut answer).expect("a living connection");
        assert_eq!(answer, word);
    }

    /// Sends much, and has it back.
    #[track_caller]
    fn carries(&mut self, bytes: usize) {
        let all: Vec<u8> = (0..bytes).map(|at| (at * 7 / 5) as u8).collect();
        let mut back = vec![0; bytes];
        let mut sending = &self.stream;
        thread::scope(|scope| {
            scope.spawn(|| sending.write_all(&all).expect("a living connection"));
            (&self.stream).read_exact(&mut back).expect("a living connection");
        });
        assert!(back == all, "what came back is not what was sent");
    }
}

#[test]
fn the_packet_filter_sends_each_connection_to_one_target_and_new_ones_to_each_in_turn() {
    let Some(mut bed) = Bed::new() else { return };
    for service in services() {
        let mut lines: Vec<Line> = (0..30).map(|_| bed.connect(service)).collect();
        for target in 1..=TARGETS as Target {
            let share = lines.iter().filter(|line| line.target == target).count();
            assert_eq!(share, 10, "{target}, {service}");
        }
        lines.iter_mut().for_each(Line::works);
        let known = bed.known(service);
        for line in &lines {
            let key = connection_key(service, line.stream.local_addr().unwrap());
            assert_eq!(known.get(&key), Some(&line.target));
        }
    }
}

#[test]
fn reloading_the_firewall_neither_ends_connections_nor_changes_the_table() {
    let Some(mut bed) = Bed::new() else { return };
    let mut lines: Vec<Line> =
        services().iter().flat_map(|one| (0..6).map(|_| bed.connect(*one))).collect();
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
    for service in services() {
        bed.connect(service).works();
    }
    assert_eq!(bed.nftables.table(TABLE).unwrap().unwrap().note, b"a note");
}

#[test]
fn the_table_outlives_its_owner_and_then_belongs_to_the_first_who_claims_it() {
    let Some(mut bed) = Bed::new() else { return };
    let mut line = bed.connect(services()[0]);
    let claim = |nftables: &mut Nftables| {
        let mut batch = Batch::of(TABLE);
        batch.table(Owner::Me, b"");
        nftables.commit(batch)
    };
    let mut second = bed.network.on(ROUTER, || Nftables::open().unwrap());
    let refused = claim(&mut second).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(libc::EPERM), "while its owner lives");

    bed.kill_router();
    line.works();
    let mut new = bed.connect(services()[0]);
    new.works();
    claim(&mut second).expect("it is nobody's");
    let refused = claim(&mut bed.nftables).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(libc::EPERM), "it has an owner again");
    bed.nftables = second;
    let known = bed.known(services()[0]);
    for line in [&line, &new] {
        let key = connection_key(services()[0], line.stream.local_addr().unwrap());
        assert_eq!(known.get(&key), Some(&line.target));
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
    for service in services() {
        let mut lines: Vec<Line> = (0..9).map(|_| bed.connect(service)).collect();
        lines.iter_mut().for_each(|line| line.carries(100_000));
    }
}

/// Goal: a target learns how small the packets to a client must be, although the router that says
/// so answers to the service's address. Method: a gateway whose way to the client takes 1,300
/// bytes.
#[test]
fn a_smaller_mtu_on_the_way_to_a_client_is_told_to_its_target() {
    let Some(bed) = Bed::with_gateway() else { return };
    bed.network.script(
        GATEWAY,
        "ip route add 10.78.0.2/32 dev eth0 mtu lock 1300
         ip -6 route add fd78::2/128 dev eth0 mtu lock 1300",
    );
    for service in services() {
        // One for each target, each of which must learn it.
        let mut lines: Vec<Line> =
            (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, service)).collect();
        lines.iter_mut().for_each(|line| line.carries(1_000_000));
    }
}

/// Goal: of a packet in pieces all pieces go to the target of the first. Method: a client that lets
/// its packets be cut, and a gateway that must.
#[test]
fn a_packet_in_pieces_goes_whole_to_its_target() {
    let Some(mut bed) = Bed::with_gateway() else { return };
    bed.network.script(FAR_CLIENT, "echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc");
    bed.network.script(GATEWAY, "ip route add 10.77.0.100/32 dev eth0 mtu lock 1300");
    let service = services()[0];
    let mut lines: Vec<Line> =
        (0..TARGETS).map(|_| bed.connect_from(FAR_CLIENT, service)).collect();
    lines.iter_mut().for_each(|line| line.carries(1_000_000));
    let pieces = bed.nftables.elements(TABLE, "fragments4").unwrap();
    assert!(!pieces.is_empty(), "no packet was cut");
}

/// Goal: what a report says replaces what was known, in one change. Method: a connection is made
/// known as another target's, to which its packets then go: that resets what it does not have.
#[test]
fn what_is_written_of_a_connection_replaces_what_was_known_of_it() {
    let Some(mut bed) = Bed::new() else { return };
    for service in services() {
        let mut line = bed.connect(service);
        let client = line.stream.local_addr().unwrap();
        let key = connection_key(service, client);
        let wrong = line.target % TARGETS as Target + 1;
        for target in [line.target, wrong] {
            bed.commit(|batch, _| write_connections(batch, &[(service, client, target)]));
            assert_eq!(bed.known(service).get(&key), Some(&target));
            if target == line.target {
                line.works();
            }
        }
        line.stream.write_all(b"to the wrong one").unwrap();
        let error = line.stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// Goal: many connections are written in one change and read whole. Method: more than one message
/// and one default send buffer hold; and more than the kernel's hash table had room for, so that it
/// grows while it is read.
#[test]
fn a_hundred_thousand_connections_are_written_and_read_whole() {
    let Some(mut bed) = Bed::new() else { return };
    for service in services() {
        let client = |number: u32| match service {
            SocketAddr::V4(_) => SocketAddr::from(((0x0a4d_0000 + number).to_be_bytes(), 1)),
            SocketAddr::V6(_) => SocketAddr::from((u128::from(number).to_be_bytes(), 1)),
        };
        let all: Vec<_> = (0..100_000).map(|at| (service, client(at), at % 3 + 1)).collect();
        bed.commit(|batch, _| write_connections(batch, &all));
        let known = bed.known(service);
        assert_eq!(known.len(), all.len());
        for (_, client, target) in all {
            assert_eq!(known.get(&connection_key(service, client)), Some(&target));
        }
    }
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
    let refused = bed.nftables.commit(batch).unwrap_err();
    assert_eq!(refused.number, wrong, "{refused:?}");
    assert!(!bed.administer("nft list ruleset").contains("another"));
    bed.connect(services()[0]).works();
}

#[test]
fn what_a_dead_router_has_left_is_removed_and_what_a_living_one_has_is_not() {
    let Some(mut bed) = Bed::new() else { return };
    let clean = |bed: &Bed| bed.network.on(ROUTER, || crate::route::clean("test", 1));
    let error = clean(&bed).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, RouteError::Held { pid: Some(pid) } if pid == own), "{error:?}");
    bed.connect(services()[0]).works();

    bed.kill_router();
    bed.connect(services()[0]).works();
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
