//! The packet filter on real kernels: a client, routers and targets, each in a network namespace of
//! its own.

mod adoption;
mod neighbours;
mod routers;
mod steering;
mod table;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::filter::PacketFilter;
use super::program::Plan;
use crate::net::netlink::address::Devices;
use crate::net::netlink::nftables::{Batch, Nftables, Table};
use crate::state::route::slots::SLOTS;
use crate::state::route::{Conn, Ends, EndsRole, Target, TargetReports};
use crate::wire::Host;

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
/// Another router, where there is no gateway.
const SECOND: usize = FIRST_TARGET + TARGETS;

const TABLE: &str = "pares_1_test";

fn services() -> [SocketAddr; 2] {
    ["10.77.0.100:8080", "[fd77::100]:8080"].map(|text| text.parse().unwrap())
}

/// The places of the services.
const BOTH: [u16; 2] = [0, 1];

/// The numbers of the targets are those of their hosts.
fn targets() -> impl Iterator<Item = Target> + Clone {
    (FIRST_TARGET..FIRST_TARGET + TARGETS).map(|host| host as Target)
}

fn host(number: usize) -> Host {
    Host {
        v4: Some(hosts::address(number).parse().unwrap()),
        v6: Some(hosts::address_v6(number).parse().unwrap()),
        mac: [2, 0, 0, 0, 0, number as u8],
    }
}

fn in_turn(targets: &[Target]) -> Vec<Target> {
    targets.iter().copied().cycle().take(SLOTS).collect()
}

fn owner() -> Ends {
    Ends { role: EndsRole::Owner { refuse_new: false }, is_target: false, pass: None }
}

fn other(is_target: bool, pass: Option<usize>) -> Ends {
    Ends { role: EndsRole::Other, is_target, pass: pass.map(host) }
}

fn live(known: &[(Conn, Target)]) -> TargetReports {
    TargetReports { live: known.to_vec(), ..TargetReports::default() }
}

/// Waits until this holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// A server on a target: says the target's number, and then everything that it is told.
struct Server(TcpListener);

impl Server {
    fn start(network: &Network, target: Target, service: SocketAddr) -> Self {
        network.on(target as usize, || {
            let listener = TcpListener::bind(service).expect("the address is on lo");
            let accepting = listener.try_clone().unwrap();
            thread::spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    thread::spawn(move || echo(&stream, target as u8));
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
    filter: PacketFilter,
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
        for target in targets() {
            network.script(
                target as usize,
                "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore
                 echo 2 > /proc/sys/net/ipv4/conf/eth0/arp_announce
                 ip address add 10.77.0.100/32 dev lo
                 ip address add fd77::100/128 dev lo nodad",
            );
        }
        let plan = network.on(ROUTER, || {
            let all = Devices::open().unwrap().all().unwrap();
            let device_number = all.iter().find(|one| one.name == "eth0").unwrap().number;
            Plan {
                device: "eth0".into(),
                device_number,
                services: services().into(),
                by_client: false,
            }
        });
        let mut filter = open(&network, ROUTER, &plan);
        targets().for_each(|target| filter.point(target, host(target as usize)).unwrap());
        let all: Vec<Target> = targets().collect();
        BOTH.iter().for_each(|service| filter.slots(*service, &in_turn(&all)).unwrap());
        filter.ends(owner()).unwrap();
        network.on(ROUTER, || {
            let mut devices = Devices::open().unwrap();
            for service in services() {
                devices.assign(service.ip(), plan.device_number, None).unwrap();
            }
        });
        let servers = services()
            .into_iter()
            .flat_map(|service| targets().map(move |target| (target, service)))
            .map(|(target, service)| Server::start(&network, target, service))
            .collect();
        Some(Bed { network, plan, filter, _servers: servers })
    }

    /// With another router, which has all packets of the client, and passes them on to the owner.
    fn with_second() -> Option<(Self, PacketFilter)> {
        let mut bed = Self::with(SECOND + 1)?;
        let mut second = bed.router_on(SECOND);
        second.ends(other(false, Some(ROUTER))).unwrap();
        bed.filter.routers(&[host(SECOND)]).unwrap();
        for service in services() {
            let (ip, number) = (service.ip(), SECOND);
            let mac = format!("02:00:00:00:00:{number:02x}");
            let script = format!("ip neigh replace {ip} lladdr {mac} nud permanent dev eth0");
            bed.network.script(CLIENT, &script);
        }
        Some((bed, second))
    }

    /// Another router, without a role, that knows of the first one.
    fn router_on(&self, number: usize) -> PacketFilter {
        let mut filter = open(&self.network, number, &self.plan);
        filter.routers(&[host(ROUTER)]).unwrap();
        filter
    }

    /// Has one target get all new connections.
    fn choose(&mut self, target: Target) {
        BOTH.iter().for_each(|service| self.filter.slots(*service, &in_turn(&[target])).unwrap());
    }

    /// Lets the client's packets have so many hops.
    fn hops(&self, hops: u8) {
        let script = format!(
            "echo {hops} > /proc/sys/net/ipv4/ip_default_ttl
             echo {hops} > /proc/sys/net/ipv6/conf/all/hop_limit
             echo {hops} > /proc/sys/net/ipv6/conf/eth0/hop_limit"
        );
        self.network.script(CLIENT, &script);
    }

    fn connect(&self, service: u16) -> Line {
        self.connect_from(CLIENT, service)
    }

    fn connect_from(&self, host: usize, service: u16) -> Line {
        let end = services()[usize::from(service)];
        let stream = self
            .network
            .on(host, || TcpStream::connect_timeout(&end, PATIENCE).expect("a connection"));
        Line::on(stream, service)
    }

    /// What this test does in the router's place, its process dies. Its connection to the kernel
    /// ends with the last copy: a process that another test is about to start may have one.
    fn kill_router(&mut self) {
        self.filter.nftables = self.network.on(ROUTER, || Nftables::open().unwrap());
        let has_owner = |table: Table| table.owner.is_some();
        let mut is_owned = || self.filter.nftables.table(TABLE).unwrap().is_some_and(has_owner);
        until("the table has no owner", || !is_owned());
    }

    /// Changes the table as the router's process could.
    fn commit(&mut self, change: impl FnOnce(&mut Batch<'_>)) {
        let mut batch = Batch::of(TABLE);
        change(&mut batch);
        self.filter.nftables.commit(batch).expect("taken");
    }

    /// Runs a shell script as the administrator of the router's host. Returns its output.
    #[track_caller]
    fn administer(&self, script: &str) -> String {
        let output = self.network.command(ROUTER, "sh").args(["-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The target that the packet filter knows for a connection.
    fn known(&mut self, line: &Line) -> Option<Target> {
        let known = self.filter.connections().unwrap();
        known.iter().find(|(conn, _)| *conn == line.conn()).map(|(_, target)| *target)
    }

    fn is_stranger(&mut self, line: &Line) -> bool {
        self.filter.strangers().unwrap().contains(&line.conn())
    }
}

fn open(network: &Network, number: usize, plan: &Plan) -> PacketFilter {
    network.on(number, || {
        let (filter, adopted) = PacketFilter::open(TABLE.into(), plan.clone()).unwrap();
        assert_eq!(adopted, None);
        assert!(filter.is_lasting());
        filter
    })
}

/// Waits until the router has had a first packet of a client for which it has no target, since its
/// ends were written.
#[track_caller]
fn await_unserved(network: &Network, service: u16) {
    let chain = if service == 0 { "none4" } else { "none6" };
    until("a first packet has come", || {
        let mut list = network.command(ROUTER, "nft");
        let output = list.args(["list", "chain", "netdev", TABLE, chain]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        shown.contains("counter packets") && !shown.contains("counter packets 0 ")
    });
}

/// A client's connection.
struct Line {
    stream: TcpStream,
    service: u16,
    target: Target,
    /// What was said last.
    said: u64,
}

impl Line {
    fn on(mut stream: TcpStream, service: u16) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).expect("the target's number");
        Line { stream, service, target: first[0].into(), said: 0 }
    }

    fn conn(&self) -> Conn {
        Conn { service: self.service, client: self.stream.local_addr().unwrap() }
    }

    #[track_caller]
    fn works(&mut self) {
        self.says();
        self.hears();
    }

    #[track_caller]
    fn says(&mut self) {
        self.said += 1;
        self.stream.write_all(&self.said.to_be_bytes()).expect("a living connection");
    }

    #[track_caller]
    fn hears(&mut self) {
        let mut answer = [0; 8];
        self.stream.read_exact(&mut answer).expect("a living connection");
        assert_eq!(answer, self.said.to_be_bytes());
    }

    #[track_caller]
    fn is_reset(&mut self) {
        self.says();
        let error = self.stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
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
