//! What a router's and a target's host do beside the packet filter, on real kernels with real
//! neighbours: each host in a network namespace of its own.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::super::addresses::RoutedAddresses;
use super::super::announce::{Announcer, Mac};
use super::super::life::{HostCalls, HostLife};
use super::super::poke::Poker;
use super::super::prepare::Preparation;
use crate::error::RouteError;
use crate::net::netlink::address::{Assigned, Device, Devices};

use super::hosts::{self, Network};

const PATIENCE: Duration = Duration::from_secs(300);
const LIFE: Duration = Duration::from_secs(2);
const PORT: u16 = 8080;

/// `None`, with the reason printed, where namespaces are not permitted.
fn network(hosts: usize) -> Option<Network> {
    match &hosts::abilities().hosts {
        Ok(()) => Some(Network::new(hosts)),
        Err(why) => {
            let lacks = format_args!("this user on this kernel lacks what it takes ({why})");
            crate::skipped::skip(lacks);
            None
        }
    }
}

fn addresses() -> [IpAddr; 2] {
    ["10.77.0.100", "fd77::100"].map(|text| text.parse().unwrap())
}

fn of_host(host: usize, like: IpAddr) -> IpAddr {
    let text = if like.is_ipv4() { hosts::address(host) } else { hosts::address_v6(host) };
    text.parse().unwrap()
}

fn mac(host: usize) -> Mac {
    [2, 0, 0, 0, 0, host as u8]
}

fn device(name: &str) -> Device {
    let all = Devices::open().unwrap().all().unwrap();
    all.into_iter().find(|one| one.name == name).unwrap()
}

/// Has a host take the addresses, for ever.
fn take(network: &Network, host: usize) {
    network.on(host, || routed().take(None).unwrap());
}

fn release(network: &Network, hosts: [usize; 2]) {
    for host in hosts {
        network.on(host, || routed().release().unwrap());
    }
}

fn routed() -> RoutedAddresses {
    RoutedAddresses::open(&device("eth0"), &addresses()).unwrap()
}

fn announcer(network: &Network, host: usize) -> Announcer {
    network.on(host, || {
        let device = device("eth0");
        assert_eq!(device.mac, Some(mac(host)));
        Announcer::open(device.number, mac(host), &addresses()).unwrap()
    })
}

fn assigned() -> Vec<Assigned> {
    let all = Devices::open().unwrap().addresses().unwrap();
    all.into_iter().filter(|one| addresses().contains(&one.address)).collect()
}

/// Looks until it is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

/// Waits until one of them is ready. Returns false if none is after this time.
fn ready(fds: &mut [PollFd<'_>], within: Duration) -> bool {
    let timeout = Timespec::try_from(within).unwrap();
    poll(fds, Some(&timeout)).unwrap() > 0
}

#[track_caller]
fn output(network: &Network, host: usize, script: &str) -> String {
    let output = network.command(host, "sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a host knows of the hardware address of another one.
fn known(network: &Network, host: usize, address: IpAddr) -> String {
    output(network, host, &format!("ip neighbour show {address} dev eth0"))
}

fn listen(network: &Network, host: usize, address: SocketAddr) -> TcpListener {
    network.on(host, || TcpListener::bind(address).unwrap())
}

fn connect(network: &Network, host: usize, to: SocketAddr) -> TcpStream {
    network.on(host, || TcpStream::connect_timeout(&to, PATIENCE).unwrap())
}

/// Locktime keeps Linux for a second from believing anybody but the first, unless it is an
/// announcement.
#[test]
fn an_announcement_moves_what_a_neighbour_has_just_confirmed() {
    let Some(network) = network(3) else { return };
    for address in addresses() {
        take(&network, 1);
        let service = SocketAddr::new(address, PORT);
        let listener = listen(&network, 1, service);
        let _client = connect(&network, 0, service);
        drop(listener);
        let before = known(&network, 0, address);
        assert!(before.contains("02:00:00:00:00:01 "), "{before}");
        assert!(before.contains("REACHABLE"), "{before}");
        take(&network, 2);
        let announcer = announcer(&network, 2);
        announcer.announce().unwrap();
        until("it moves", || known(&network, 0, address).contains("02:00:00:00:00:02 "));
        release(&network, [1, 2]);
    }
}

#[test]
fn either_form_of_arp_moves_a_confirmed_entry_by_itself() {
    let Some(network) = network(4) else { return };
    let address = addresses()[0];
    take(&network, 1);
    let service = SocketAddr::new(address, PORT);
    let listener = listen(&network, 1, service);
    let _client = connect(&network, 0, service);
    drop(listener);
    assert!(known(&network, 0, address).contains("REACHABLE"));
    for (host, form) in [(2, 0), (3, 1)] {
        announcer(&network, host).announce_form(form);
        let expected = format!("02:00:00:00:00:{host:02x} ");
        until("it moves", || known(&network, 0, address).contains(&expected));
    }
}

/// Waits for a claim, while `meanwhile` makes it.
#[track_caller]
fn next_claim(announcer: &mut Announcer, meanwhile: impl Fn()) -> (IpAddr, Mac) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        meanwhile();
        if ready(&mut [PollFd::new(&*announcer, PollFlags::IN)], Duration::from_millis(100)) {
            if let Some(claim) = announcer.next_claim().unwrap() {
                return claim;
            }
        }
        assert!(Instant::now() < deadline, "no claim is seen");
    }
}

#[test]
fn foreign_claims_are_seen_and_nothing_else_wakes_the_process() {
    let Some(network) = network(3) else { return };
    take(&network, 1);
    let (mut one, other) = (announcer(&network, 1), announcer(&network, 2));
    one.announce().unwrap();
    // Neighbours look for one another, and for the addresses, and speak.
    for address in addresses() {
        for (from, to) in [(0, of_host(1, address)), (2, of_host(1, address)), (0, address)] {
            let to = SocketAddr::new(to, PORT);
            let listener = listen(&network, 1, to);
            let _client = connect(&network, from, to);
            drop(listener.accept().unwrap());
        }
    }
    assert!(!ready(&mut [PollFd::new(&one, PollFlags::IN)], Duration::ZERO));
    assert_eq!(one.next_claim().unwrap(), None);

    other.announce().unwrap();
    let mut seen = [next_claim(&mut one, || ()), next_claim(&mut one, || ())];
    while seen[0].0 == seen[1].0 {
        seen[1] = next_claim(&mut one, || ()); // ARP has two forms
    }
    seen.sort();
    assert_eq!(seen, addresses().map(|address| (address, mac(2))));
}

#[test]
fn claims_are_seen_again_after_the_device_was_down() {
    let Some(network) = network(3) else { return };
    let (mut one, other) = (announcer(&network, 1), announcer(&network, 2));
    network.down(1, "eth0");
    assert!(one.announce().is_err());
    assert_eq!(one.next_claim().unwrap(), None);
    network.up(1, "eth0");
    let seen = next_claim(&mut one, || other.announce().unwrap());
    assert_eq!(seen.1, mac(2));
    one.announce().unwrap();
}

#[test]
fn a_poked_client_that_is_idle_answers_and_learns_that_its_connection_is_gone() {
    let Some(network) = network(3) else { return };
    for address in addresses() {
        network.mend(2);
        take(&network, 2);
        let service = SocketAddr::new(address, PORT);
        announcer(&network, 2).announce().unwrap();
        let listener = listen(&network, 2, service);
        let mut client = connect(&network, 0, service);
        let _server = listener.accept().unwrap();
        network.cut(2);
        take(&network, 1);
        announcer(&network, 1).announce().unwrap();
        until("it moves", || known(&network, 0, address).contains("02:00:00:00:00:01 "));

        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut poker = network.on(1, || Poker::open(&[address]).unwrap());
        poker.add(service, [client.local_addr().unwrap()]);
        assert_eq!(poker.poke(Instant::now()), None);
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        release(&network, [1, 2]);
    }
}

#[test]
fn a_host_lives_that_accepts_or_resets_and_not_one_without_a_cable() {
    let Some(network) = network(4) else { return };
    take(&network, 0); // from these nobody is called
    let unlike = |host, address| SocketAddr::new(of_host(host, address), PORT);
    network.cut(3);
    for address in addresses() {
        let from = of_host(0, address);
        let listener = listen(&network, 1, unlike(1, address));
        let answers = network.on(0, || {
            let mut calls = HostCalls::default();
            let now = Instant::now();
            calls.call(1, from, unlike(1, address), PATIENCE, now);
            calls.call(2, from, unlike(2, address), PATIENCE, now);
            calls.call(3, from, unlike(3, address), Duration::from_secs(1), now);
            calls.call(4, of_host(9, address), unlike(1, address), Duration::ZERO, now);
            let mut answers = Vec::new();
            while let Some(due) = calls.due() {
                let now = Instant::now();
                for (target, life) in calls.answers(now) {
                    answers.push((target, life, now));
                }
                let wait = due.saturating_duration_since(now).max(Duration::from_millis(1));
                ready(&mut calls.polled().collect::<Vec<_>>(), wait);
                assert!(now.elapsed() < PATIENCE);
            }
            answers.sort_by_key(|one| one.0);
            assert!(answers[2].2.duration_since(now) >= Duration::from_millis(999));
            answers
        });
        let lives: Vec<(u32, &HostLife)> = answers.iter().map(|one| (one.0, &one.1)).collect();
        assert!(
            matches!(
                lives[..],
                [
                    (1, HostLife::Lives),
                    (2, HostLife::Lives),
                    (3, HostLife::Silent),
                    (4, HostLife::Uncalled(_)),
                ]
            ),
            "{lives:?}"
        );
        let (_, caller) = listener.accept().unwrap();
        assert_eq!(caller.ip(), from);
    }
}

#[test]
fn an_address_with_a_life_stays_while_it_is_renewed_and_ends_by_itself() {
    let Some(network) = network(1) else { return };
    network.on(0, || {
        let mut routed = routed();
        let begin = Instant::now();
        let mut renewed = begin;
        while begin.elapsed() < 2 * LIFE {
            routed.take(Some(LIFE)).unwrap();
            let late = renewed.elapsed();
            renewed = Instant::now();
            thread::sleep(LIFE / 4); // the time itself is what is tried
            let there = assigned();
            if late < LIFE / 2 && renewed.elapsed() < LIFE / 2 {
                assert_eq!(there.len(), 2, "after {:?}", begin.elapsed());
                assert!(there.iter().all(|one| one.expires.is_some() && one.is_single()));
            }
        }
        routed.take(Some(LIFE)).unwrap();
        let last = Instant::now();
        until("they are gone", || assigned().is_empty());
        let lasted = last.elapsed();
        assert!(lasted > LIFE / 2, "{lasted:?}");

        routed.take(None).unwrap();
        assert!(assigned().iter().all(|one| one.expires.is_none()));
        assert_eq!(assigned().len(), 2);
        routed.take(Some(LIFE)).unwrap();
        assert!(assigned().iter().all(|one| one.expires.is_some()), "for ever has an end");
        routed.release().unwrap();
        assert_eq!(assigned(), []);
        routed.release().unwrap();
    });
}

#[test]
fn a_routers_own_connections_do_not_come_from_the_addresses() {
    let Some(network) = network(2) else { return };
    take(&network, 0);
    for address in addresses() {
        let to = SocketAddr::new(of_host(1, address), PORT);
        let _listener = listen(&network, 1, to);
        let client = connect(&network, 0, to);
        assert_eq!(client.local_addr().unwrap().ip(), of_host(0, address));
    }
}

#[test]
fn an_address_that_is_configured_by_somebody_else_is_not_routed() {
    let Some(network) = network(1) else { return };
    network.script(0, "ip link add name other type bridge; ip link set other up");
    let open =
        |name: &str| network.on(0, || RoutedAddresses::open(&device(name), &addresses()).map(drop));
    for address in addresses() {
        for (device, life) in [("eth0", ""), ("other", ""), ("eth0", "valid_lft 3000")] {
            let life = life.replace("3000", "3000 preferred_lft 3000");
            network.script(0, &format!("ip address add {address} dev {device} {life}"));
            let error = open("eth0").unwrap_err();
            let expected = format!("{address} is configured on {device}; remove it there");
            assert_eq!(error.to_string(), expected);
            network.script(0, &format!("ip address del {address} dev {device}"));
        }
        network.script(0, &format!("ip address add {address} dev lo"));
    }
    open("eth0").unwrap();
    // A router that was killed has left it.
    take(&network, 0);
    open("eth0").unwrap();
    assert!(matches!(open("other").unwrap_err(), RouteError::Configured { .. }));
}

/// All of a host that its preparation touches.
fn state(network: &Network, host: usize) -> String {
    let show = "ip -o address show | sed 's/ valid_lft .*//'; ip -4 route; ip -6 route
                grep . /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv4/conf/*/arp_announce";
    output(network, host, show)
}

const RULES: &str = "cd /proc/sys/net/ipv4/conf; cat eth0/arp_ignore eth0/arp_announce";

#[test]
fn a_target_is_prepared_and_its_host_is_left_as_it_was_found() {
    let Some(network) = network(2) else { return };
    let make = |prepared| Preparation::make(&addresses(), None, prepared);
    let found = state(&network, 0);
    let error = network.on(0, || make(true).map(drop).unwrap_err());
    assert_eq!(
        error.finding(),
        "this host is not prepared as a target; it lacks arp_ignore=1 on eth0, arp_announce=2 on \
         eth0, 10.77.0.100 on lo, fd77::100 on lo"
    );
    assert_eq!(state(&network, 0), found);

    let made = network.on(0, || make(false).unwrap());
    assert_eq!(output(&network, 0, RULES), "1\n2\n");
    // The other host finds nobody who has them: it has to ask all the same.
    for address in addresses() {
        let to = SocketAddr::new(address, PORT);
        let _listener = listen(&network, 0, to);
        let refused = network.on(1, || TcpStream::connect_timeout(&to, PATIENCE).unwrap_err());
        assert_eq!(refused.kind(), ErrorKind::HostUnreachable, "{address}");
    }
    // A second one finds all there, and takes nothing back.
    let again = network.on(0, || make(true).unwrap());
    network.on(0, || again.restore().unwrap());
    let again = network.on(0, || make(false).unwrap());
    network.on(0, || again.restore().unwrap());
    assert_eq!(network.on(0, assigned).len(), 2);
    network.on(0, || made.restore().unwrap());
    assert_eq!(state(&network, 0), found);
}

#[test]
fn what_was_there_before_and_what_others_have_changed_since_stays() {
    let Some(network) = network(1) else { return };
    network.script(
        0,
        "cd /proc/sys/net/ipv4/conf; echo 2 > eth0/arp_ignore; echo 1 > eth0/arp_announce
         ip address add fd77::100/128 dev lo nodad",
    );
    let found = state(&network, 0);
    let restored = |meanwhile: &str| -> io::Result<()> {
        let make = || Preparation::make(&addresses(), Some("eth0"), false).unwrap();
        let made = network.on(0, make);
        assert_eq!(output(&network, 0, RULES), "2\n2\n");
        network.script(0, meanwhile);
        network.on(0, || made.restore())
    };
    restored("").unwrap();
    assert_eq!(state(&network, 0), found);
    let meanwhile = "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_announce
                     ip address del 10.77.0.100/32 dev lo";
    restored(meanwhile).unwrap();
    assert_eq!(output(&network, 0, RULES), "2\n0\n");
    let meanwhile = "ip link set eth0 down; ip link del eth0";
    restored(meanwhile).unwrap();
}

#[test]
fn where_a_target_cannot_be_prepared_nothing_is_changed() {
    let Some(network) = network(1) else { return };
    let make = |device| Preparation::make(&addresses(), device, false).map(drop);
    let mut found = state(&network, 0);
    // Its user may write the rules, but not the addresses.
    let error = network.on(0, || {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).unwrap();
        make(None).unwrap_err()
    });
    assert!(matches!(error, RouteError::NotAllowed), "{error}");
    assert_eq!(state(&network, 0), found);

    let error = network.on(0, || make(Some("eth7")).unwrap_err());
    assert!(error.to_string().starts_with("the network device `eth7` does not exist"), "{error}");
    let far = ["192.0.2.1".parse().unwrap()];
    let error = network.on(0, || Preparation::make(&far, None, true).map(drop).unwrap_err());
    let expected = "no network device of this host leads to 192.0.2.1; name the device";
    assert_eq!(error.to_string(), expected);

    network.script(0, "echo 3 > /proc/sys/net/ipv4/conf/all/arp_ignore");
    found = found.replace("/all/arp_ignore:0", "/all/arp_ignore:3");
    let error = network.on(0, || make(None).unwrap_err());
    assert!(error.finding().ends_with("it lacks arp_ignore=1 on all"), "{error}");
    assert_eq!(state(&network, 0), found);
}
