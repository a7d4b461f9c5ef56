//! Groups without a master: real sockets, real processes, real signals.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, Select};
use pares::{
    Peer, PeerConfig, PeerError, PeerEvent, PeerEventKind, PeerInfo, PeerLeftCause, PeerStatus,
    RoleCause, SuspicionCause, Token,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::fork::now_ns;
use crate::forker::{fork, sockets};
use crate::support::{GROUP, Ground, PATIENCE, Proc, await_true};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// One on this machine, with times that a stall of a second, as there are on a machine busy with
/// other tests, does not upset.
pub(crate) fn config(ground: &Ground) -> PeerConfig {
    PeerConfig::new(GROUP)
        .local(ground.port)
        .directory(&ground.directory)
        .interval(MS(400))
        .delay(MS(400))
}

#[track_caller]
fn join(config: PeerConfig) -> Peer {
    Peer::join(config).expect("joined")
}

/// The first event that is as wanted.
#[track_caller]
fn expect<T>(events: &Receiver<PeerEvent>, wanted: impl Fn(PeerEventKind) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = events.recv_deadline(deadline).expect("the event that is waited for");
        if let Some(found) = wanted(event.kind) {
            return found;
        }
    }
}

fn to(wanted: PeerStatus) -> impl Fn(PeerEventKind) -> Option<(Option<Token>, RoleCause)> {
    move |kind| match kind {
        PeerEventKind::Role { to, token, cause, .. } if to == wanted => Some((token, cause)),
        _ => None,
    }
}

/// One that is primary.
#[track_caller]
fn primary(config: PeerConfig) -> (Peer, Token) {
    let peer = join(config);
    let (token, _) = expect(&peer.events(), to(PeerStatus::Primary));
    (peer, token.expect("a primary has a token"))
}

/// Waits until `one` has heard that `other` is in the group.
#[track_caller]
fn sees(one: &Peer, other: &Peer) {
    let admitted =
        |info: &PeerInfo| info.id.tail() == other.id().tail() && info.status != PeerStatus::Joining;
    await_true("seen", || one.peers().iter().any(admitted));
}

#[test]
fn who_is_alone_becomes_primary_and_its_epochs_grow_from_life_to_life() {
    let ground = Ground::new();
    for epoch in 1..=3 {
        let (peer, token) = primary(config(&ground));
        assert_eq!((token.epoch, token.id, peer.token()), (epoch, peer.id(), Some(token)));
        assert!(peer.lease_ok() && peer.status() == PeerStatus::Primary);
        assert_eq!(peer.id().rank(), 128);
        let events = peer.events();
        peer.leave();
        assert_eq!(events.iter().last().map(|event| event.kind), Some(PeerEventKind::Stopped));
    }
    assert_eq!(
        fs::read_dir(ground.directory.join("it.peers")).unwrap().count(),
        0,
        "a file was left behind"
    );
}

#[test]
fn a_new_receiver_is_told_the_present_status_first_and_one_after_the_end_its_end() {
    let ground = Ground::new();
    let (peer, token) = primary(config(&ground));
    let first = peer.events().recv_timeout(PATIENCE).expect("an event").kind;
    assert!(matches!(first, PeerEventKind::Role { to: PeerStatus::Primary, .. }), "{first:?}");
    assert_eq!(first.token(), Some(token));
    let small = join(config(&ground).events(2));
    let events = small.events();
    assert!(small.wait_admitted(PATIENCE));
    sees(&peer, &small);
    small.leave();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.len(), 2, "more than there is room for: {kinds:?}");
}

#[test]
fn two_see_each_other_and_the_first_one_stays_primary() {
    let ground = Ground::new();
    let (first, token) = primary(config(&ground).workload(7));
    let second = join(config(&ground).workload(3));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let infos = second.peers();
    let [one, two] = infos.as_slice() else { panic!("{infos:?}") };
    assert_eq!(
        (one.id, one.status, one.workload, one.epoch, one.own),
        (first.id(), PeerStatus::Primary, 7, 1, false)
    );
    assert_eq!(
        (two.id, two.status, two.workload, two.own),
        (second.id(), PeerStatus::Standby, 3, true)
    );
    assert!(one.direct && !one.suspected && one.age_ms < PATIENCE.as_millis() as u64);
    assert_eq!(second.least_loaded(0).map(|info| info.id), Some(second.id()));
    assert_eq!(second.least_loaded(1), None);
    assert!(second.token().is_none() && !second.lease_ok());
    assert_eq!(first.token(), Some(token));
    assert!(first.counters().sent > 0 && first.counters().heard > 0);
}

#[test]
fn leaving_hands_over_and_dropping_says_goodbye() {
    let ground = Ground::new();
    let slow = |ground: &Ground| config(ground).interval(MS(1000)).delay(MS(300));
    let (first, _) = primary(slow(&ground));
    let second = join(slow(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let (events, farewells) = (second.events(), second.events());
    let own = first.id();
    first.leave();
    let (token, cause) = expect(&events, to(PeerStatus::Primary));
    assert_eq!((token.map(|token| token.epoch), cause), (Some(2), RoleCause::Named));
    let left = |kind| {
        if let PeerEventKind::Left { id, cause, .. } = kind {
            Some((id.tail(), cause))
        } else {
            None
        }
    };
    assert_eq!(expect(&farewells, left), (own.tail(), PeerLeftCause::Left));

    let third = join(slow(&ground));
    assert!(third.wait_admitted(PATIENCE));
    sees(&second, &third);
    let (events, farewells) = (third.events(), third.events());
    let own = second.id();
    drop(second);
    // It was not its silence that told of it.
    assert_eq!(expect(&farewells, left), (own.tail(), PeerLeftCause::Left));
    assert_eq!(
        expect(&events, to(PeerStatus::Primary)).1,
        RoleCause::Unopposed,
        "named: it handed over"
    );
}

/// Goal: the program has its time to end its work, and ends it sooner if it says so. Method: one
/// that prepares, and a better one; what comes in which order, and that nothing comes before it is
/// said.
#[test]
fn a_primary_that_prepares_hands_over_when_it_says_so() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let events = old.events();
    let new = join(config(&ground).rank(1));
    let prepare = |kind| {
        if let PeerEventKind::PrepareHandover { to, within_ms } = kind {
            Some((to, within_ms))
        } else {
            None
        }
    };
    let (to_whom, within_ms) = expect(&events, prepare);
    assert_eq!((to_whom, within_ms), (new.id(), 800));
    assert_eq!(old.status(), PeerStatus::Primary);
    old.handover_ready();
    assert_eq!(expect(&events, to(PeerStatus::Standby)).1, RoleCause::HandedOver);
    let (_, cause) = expect(&new.events(), to(PeerStatus::Primary));
    assert_eq!(cause, RoleCause::Named);
    assert!(!old.lease_ok() && old.token().is_none());
}

#[test]
fn a_primary_that_prepares_and_never_says_so_hands_over_all_the_same() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let events = old.events();
    let new = join(config(&ground).rank(1));
    assert_eq!(expect(&events, to(PeerStatus::Standby)).1, RoleCause::Overdue);
    assert_eq!(expect(&new.events(), to(PeerStatus::Primary)).1, RoleCause::Named);
}

/// Goal: a program that leaves as primary still says itself when its work is at an end.
/// Method: one thread leaves, another one hears what is to be prepared, and answers.
#[test]
fn who_leaves_says_from_another_thread_that_its_work_has_ended() {
    let ground = Ground::new();
    let (old, _) = primary(config(&ground).prepare_handover(true));
    let new = join(config(&ground));
    assert!(new.wait_admitted(PATIENCE));
    sees(&old, &new);
    let (of_old, of_new) = (old.events(), new.events());
    std::thread::scope(|scope| {
        scope.spawn(|| old.leave());
        let prepare = |kind| {
            if let PeerEventKind::PrepareHandover { to, .. } = kind { Some(to) } else { None }
        };
        assert_eq!(expect(&of_old, prepare), new.id());
        old.handover_ready();
        assert_eq!(expect(&of_old, to(PeerStatus::Standby)).1, RoleCause::HandedOver);
    });
    assert_eq!(old.status(), PeerStatus::Leaving);
    assert_eq!(expect(&of_new, to(PeerStatus::Primary)).1, RoleCause::Named);
}

#[test]
fn anyone_can_promote_and_demote_anyone() {
    let ground = Ground::new();
    let (first, _) = primary(config(&ground));
    let second = join(config(&ground));
    assert!(second.wait_admitted(PATIENCE));
    sees(&first, &second);
    let (of_first, of_second) = (first.events(), second.events());
    first.direct(second.id().tail(), 3);
    expect(&of_second, to(PeerStatus::Primary));
    assert_eq!(second.id().rank(), 3);
    expect(&of_first, to(PeerStatus::Standby));
    second.set_rank(255);
    expect(&of_first, to(PeerStatus::Primary));
    await_true("demoted", || second.status() == PeerStatus::Standby);
}

#[test]
fn the_workload_is_asked_for_and_what_panics_is_not_believed() {
    use std::sync::atomic::{AtomicU16, Ordering};
    static LOAD: AtomicU16 = AtomicU16::new(40);
    let ground = Ground::new();
    let load = || match LOAD.load(Ordering::Relaxed) {
        0 => panic!("no number"),
        load => load,
    };
    let one = join(config(&ground).workload_from(load));
    let two = join(config(&ground).workload(50));
    let heard = |workload| {
        two.peers()
            .iter()
            .any(|info| info.id.tail() == one.id().tail() && info.workload == workload)
    };
    await_true("heard", || heard(40));
    assert!(one.wait_admitted(PATIENCE) && two.wait_admitted(PATIENCE));
    await_true("least loaded", || {
        two.least_loaded(0).is_some_and(|info| info.id.tail() == one.id().tail())
    });
    LOAD.store(60, Ordering::Relaxed);
    await_true("heard", || heard(60));
    LOAD.store(0, Ordering::Relaxed);
    let beats = one.counters().sent;
    await_true("alive", || one.counters().sent > beats + 2);
    assert!(heard(60));
    two.set_workload(70);
    await_true("told", || two.peers().iter().any(|info| info.own && info.workload == 70));
}

#[test]
fn an_onlooker_sees_all_and_is_nobody() {
    let ground = Ground::new();
    let (first, _) = primary(config(&ground));
    let onlooker = join(config(&ground).service(9).rank(255).observe(true));
    await_true("heard", || onlooker.peers().iter().any(|info| info.id == first.id()));
    assert!(!onlooker.wait_admitted(MS(500)));
    assert_eq!(onlooker.status(), PeerStatus::Joining);
    assert!(!ground.directory.join("it.9.epoch").exists());
    let joined =
        first.events().try_iter().any(|event| matches!(event.kind, PeerEventKind::Joined { .. }));
    assert!(!joined, "an onlooker is none of the group");
}

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
        matches!(Peer::join(config().key_file(&old).also_key_file(&new)), Err(PeerError::Config(_)))
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
    assert!(matches!(missing, Err(PeerError::Key(_))), "{missing:?}");
}

#[test]
fn who_has_another_key_or_another_group_is_not_heard_and_counted() {
    let ground = Ground::new();
    let (one, _) = primary(config(&ground));
    let stranger = Ground::on_port(ground.port);
    let (two, _) = primary(config(&stranger));
    let other = PeerConfig::new("other").local(ground.port).directory(&ground.directory);
    let (three, _) = primary(other);
    for peer in [&one, &two, &three] {
        assert_eq!(peer.peers().len(), 1);
        await_true("primary", || peer.status() == PeerStatus::Primary);
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
    let token = expect(&second.events(), to(PeerStatus::Primary)).0;
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
    assert_eq!((second.peers().len(), third.status()), (2, PeerStatus::Standby));
    let roles =
        events.try_iter().skip(1).filter(|event| matches!(event.kind, PeerEventKind::Role { .. }));
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
    let error = |config: PeerConfig| Peer::join(config).expect_err("joined");
    let refused = error(config(&ground).multicast(group, Some("nonsense0")));
    assert!(matches!(&refused, PeerError::NotHere { what } if what == "nonsense0"), "{refused}");
    let elsewhere = "192.0.2.1:4000".parse().unwrap();
    let refused = error(config(&ground).unicast(elsewhere, [elsewhere]));
    assert!(matches!(refused, PeerError::NotHere { .. }), "{refused}");
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let refused = error(config(&ground).unicast(address, [address]));
    assert!(matches!(refused, PeerError::PortHeld { .. }), "{refused}");
    assert!(matches!(error(config(&ground).delay(MS(1))), PeerError::Config(_)));
}

/// Starts `pares peer join` in a process of its own.
pub(crate) fn process(ground: &Ground, options: &str) -> Proc {
    ground.start(&format!("peer join --json {options}"))
}

fn is_primary(event: &Value) -> bool {
    event["event"] == "role" && event["to"] == "primary"
}

/// The file that says which process has this tail.
fn file_of(ground: &Ground, tail: &str) -> PathBuf {
    ground.directory.join("it.peers").join(tail)
}

/// Goal: the kernel's news of a death spares the time until silence is noticed. Method: what the
/// next one says that it suspects the killed one for. A second time without the file that says
/// which process it is: then silence it is.
#[test]
fn a_killed_primary_is_replaced_at_once_where_the_kernel_tells_of_its_death() {
    let ground = Ground::new();
    let slow = "--interval 2000 --delay 100";
    let first = process(&ground, slow);
    first.expect(is_primary);
    let (second, third) = (process(&ground, slow), process(&ground, slow));
    let tail = |event: &Value| event["id"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let admitted = |event: &Value| event["event"] == "role" && event["to"] == "standby";
    let own = [second.expect(admitted), third.expect(admitted)];
    second.expect_event("joined");
    for _ in 0..2 {
        third.expect_event("joined");
    }
    let suspects = |one: &Proc| one.expect(|event| event["event"] == "suspected")["cause"].clone();
    first.kill();
    let (next, last, gone) = {
        let better = own[0]["id"].as_str() < own[1]["id"].as_str();
        if better { (second, third, tail(&own[0])) } else { (third, second, tail(&own[1])) }
    };
    assert_eq!(suspects(&next), "ended");
    next.expect(is_primary);
    let files = || fs::read_dir(ground.directory.join("it.peers")).unwrap().count();
    await_true("without the dead one's file", || files() == 2);

    // The pidfd is open already; so the last one is a process that has not found the file.
    drop(last);
    fs::remove_file(file_of(&ground, &gone)).unwrap();
    let late = process(&ground, slow);
    late.expect(admitted);
    late.expect_event("joined");
    next.kill();
    assert_eq!(suspects(&late), "silent");
    late.expect(is_primary);
}

/// Goal: a program that knows of a death says so, and it counts.
/// Method: the process stands still, which the kernel does not tell; long intervals.
#[test]
fn a_process_that_the_program_says_has_ended_is_suspected_at_once() {
    let ground = Ground::new();
    let here = join(config(&ground).interval(MS(2000)).delay(MS(100)));
    let events = here.events();
    let there = process(&ground, "--interval 2000 --delay 100");
    let joined = |kind| if let PeerEventKind::Joined { id, .. } = kind { Some(id) } else { None };
    let id = expect(&events, joined);
    there.stop();
    here.process_ended(std::process::id() + 1_000_000); // of nobody
    here.process_ended(there.pid());
    let suspected = |kind| {
        if let PeerEventKind::Suspected { id, cause, .. } = kind {
            Some((id.tail(), cause))
        } else {
            None
        }
    };
    assert_eq!(expect(&events, suspected), (id.tail(), SuspicionCause::Ended));
}

/// Goal: whatever happens to the primary, there is soon one again, and only one; and each has a
/// larger epoch. Method: five processes with the usual times; the primary is killed, or stopped
/// until it is replaced and then continued, in turn. Who is primary is asked from outside; the time
/// is the successor's own.
#[test]
fn five_processes_have_one_primary_again_whatever_happens_to_it() {
    const ROUNDS: u64 = 20;
    let ground = Ground::new();
    let mut group: Vec<Proc> = (0..5).map(|_| process(&ground, "")).collect();
    let mut times = Vec::new();
    let mut last = 0;
    for round in 0..ROUNDS {
        let (at, epoch) = the_primary(&ground, &group, 5);
        assert!(epoch > last, "{epoch} after {last}");
        last = epoch;
        let old = group.remove(at);
        let began = now_ns();
        if round % 2 == 0 {
            old.kill();
            times.push(("killed", took_over(&group, began)));
            group.push(process(&ground, ""));
        } else {
            old.stop();
            times.push(("stopped", took_over(&group, began)));
            let (_, epoch) = the_primary(&ground, &group, 4);
            assert!(epoch > last, "{epoch} after {last}");
            old.signal(Signal::CONT);
            old.expect(|event| event["event"] == "paused" && event["for_ms"].as_u64() > Some(500));
            group.push(old);
        }
    }
    let (_, epoch) = the_primary(&ground, &group, 5);
    assert!(epoch > last, "{epoch} after {last}");
    // Dead after 800 ms of silence. (A machine that is busy with other tests lets it take longer,
    // so this only reports.)
    println!("{times:?}");
}

/// How long it was until one of them became primary.
#[track_caller]
fn took_over(group: &[Proc], began: u64) -> Duration {
    let mut select = Select::new();
    group.iter().for_each(|process| _ = select.recv(process.lines()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = select.select_deadline(deadline).expect("a primary in time");
        let process = &group[ready.index()];
        let line = ready.recv(process.lines()).expect("a living process");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let time = event["monotonic_ns"].as_u64().expect("a time");
        if is_primary(&event) && time > began {
            return Duration::from_nanos(time - began);
        }
    }
}

/// Waits until all of the group are seen from outside, and one of them is primary: says which, and
/// its epoch.
#[track_caller]
fn the_primary(ground: &Ground, group: &[Proc], count: usize) -> (usize, u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ground.ask("peer ls --json --wait 500");
        let peers: Vec<Value> = serde_json::from_str(&answer.out).expect("JSON");
        let primaries: Vec<&Value> =
            peers.iter().filter(|one| one["status"] == "primary").collect();
        let standbys = peers.iter().filter(|one| one["status"] == "standby").count();
        if let ([primary], true) = (primaries.as_slice(), standbys + 1 == count) {
            let file = file_of(ground, primary["tail"].as_str().expect("a tail"));
            let pid = fs::read_to_string(file).map(|text| first(&text) as u32);
            let at = group
                .iter()
                .position(|process| pid.as_ref().is_ok_and(|pid| *pid == process.pid()));
            if let Some(at) = at {
                return (at, primary["epoch"].as_u64().expect("an epoch"));
            }
        }
        assert!(Instant::now() < deadline, "not {count} with one primary: {answer:?}");
    }
}

/// Runs in a process of its own, see below.
#[test]
fn forking_process() {
    let Ok(directory) = std::env::var("PEER_FORKER") else { return };
    let port = std::env::var("PARES_PORT").unwrap().parse().unwrap();
    let config =
        PeerConfig::new(GROUP).local(port).directory(&directory).interval(MS(400)).delay(MS(400));
    let (peer, token) = primary(config.clone());
    let events = peer.events();
    let child = fork(|| {
        assert_eq!(
            (peer.status(), peer.token(), peer.lease_ok()),
            (PeerStatus::Leaving, None, false)
        );
        assert!(
            peer.peers().is_empty()
                && peer.least_loaded(0).is_none()
                && !peer.wait_admitted(PATIENCE)
        );
        assert_eq!(peer.counters(), pares::PeerCounters::default());
        let kinds: Vec<_> = peer.events().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [PeerEventKind::Stopped]);
        peer.set_rank(255);
        peer.set_workload(1);
        peer.direct(token.id.tail(), 255);
        peer.handover_ready();
        peer.process_ended(1);
        assert_eq!(peer.id().tail(), token.id.tail());
        assert!(format!("{peer:?}").contains("Leaving"));
        assert_eq!(sockets(std::process::id()), [""; 0], "the child has a socket of ours");
        // SAFETY: read once and never used again: the parent's own is in the parent.
        #[allow(unsafe_code)]
        unsafe {
            drop(std::ptr::read(&raw const peer));
        }
        let own = join(config.clone());
        assert!(own.wait_admitted(PATIENCE));
        assert_ne!(own.id().tail(), token.id.tail());
        assert!(
            own.peers()
                .iter()
                .any(|info| info.id == token.id && info.status == PeerStatus::Primary)
        );
        own.leave();
    });
    let joined = |kind| if let PeerEventKind::Joined { id, .. } = kind { Some(id) } else { None };
    expect(&events, joined);
    let ended = waitpid(Pid::from_raw(child as i32), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(ended.1.exit_status(), Some(0), "the child failed");
    assert_eq!(peer.token(), Some(token), "the child took something from its parent");
    assert!(peer.lease_ok());
    println!("\n> forked");
}

#[test]
fn in_a_forked_child_a_peer_is_void_and_the_child_may_join_by_itself() {
    let ground = Ground::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "peer::forking_process", "--nocapture", "--test-threads=1"]);
    command.env("PEER_FORKER", &ground.directory).env("PARES_PORT", ground.port.to_string());
    let mut forker = Proc::start(command);
    let mut said = String::new();
    while let Some(line) = forker.try_line() {
        said.push_str(&line);
        said.push('\n');
    }
    assert!(said.contains("> forked"), "{said}\n{}", forker.stderr());
    assert_eq!(forker.end_code(), 0);
}

/// A process that is nobody's child any more, and ends with its test.
struct Launched(i32);

impl Drop for Launched {
    fn drop(&mut self) {
        _ = kill_process(Pid::from_raw(self.0).unwrap(), Signal::KILL);
    }
}

/// Goal: one missing process is started once, by one of those who can; it is known as the one that
/// was waited for, and has nothing of its starter open. Method: the started command is a shell that
/// writes down what it was told and what it has open, and becomes `pares peer join`.
#[test]
fn what_is_missing_is_started_and_joins_with_its_origin() {
    let ground = Ground::new();
    let note = ground.directory.join("launched");
    let launch = format!(
        "echo $$ $PARES_GROUP $PARES_SERVICE $PARES_ORIGIN $(ls -l /proc/$$/fd | grep -c -e socket \
         -e eventfd -e pidfd) >> {}; \
         exec $PARES peer join",
        note.display()
    );
    let pares = env!("CARGO_BIN_EXE_pares");
    let start = || {
        let mut command =
            ground.command_of(["peer", "join", "--json", "--need", "7=1:1", "--launch", &launch]);
        Proc::start({
            command.env("PARES", pares);
            command
        })
    };
    let starters = [start(), start()];
    let joined = |event: &Value| event["event"] == "joined" && event["service"] == 7;
    let one = starters[0].expect(joined);
    let text = fs::read_to_string(&note).unwrap();
    let _launched: Vec<Launched> = text.lines().map(|line| Launched(first(line))).collect();
    let other = starters[1].expect(joined);
    assert_eq!(one["tail"], other["tail"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words.len(), 5, "started more than once: {text}");
    assert_eq!(words[1..3], ["it", "7"]);
    assert!(words[3].parse::<u32>().is_ok_and(|origin| origin > 0), "{text}");
    assert_eq!(words[4], "0", "it has something of its starter's open");
    let pid: u32 = words[0].parse().unwrap();
    let file = fs::read_to_string(file_of(&ground, one["tail"].as_str().unwrap())).unwrap();
    assert_eq!(first(&file) as u32, pid);
}

fn first(line: &str) -> i32 {
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a pid")
}

/// To be a process whose group has the program at a given path started, and to say each time that
/// it is its turn.
#[test]
fn starter() {
    let Some(program) = std::env::var_os("STARTER").map(PathBuf::from) else { return };
    let port = std::env::var("STARTER_PORT").unwrap().parse().unwrap();
    let config = PeerConfig::new(GROUP)
        .local(port)
        .directory(program.parent().unwrap())
        .interval(MS(100))
        .delay(MS(100));
    let peer = join(config.need(7, 1, None).launcher([&program]));
    for event in peer.events() {
        if let PeerEventKind::Spawn { service, nonce } = event.kind {
            println!("\n> {service} {}", nonce > 0);
        }
    }
}

/// Goal: a start that fails harms nobody, and the next one is tried; also in a program that ignores
/// SIGCHLD, so that nobody can wait for its children. Method: two starts of a program that is not
/// there, then it is.
#[test]
fn a_start_that_fails_is_logged_and_the_starter_goes_on() {
    let starters = ["USR1", "CHLD"].map(|ignored| {
        let ground = Ground::new();
        let program = ground.directory.join("program");
        let mut command = Command::new("env");
        command.arg(format!("--ignore-signal={ignored}")).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "peer::starter", "--nocapture"]).env("STARTER", &program);
        command.env("STARTER_PORT", ground.port.to_string());
        (Proc::start(command), program, ground)
    });
    for (starter, program, ground) in starters {
        let tried = || while starter.line() != "> 7 true" {};
        tried();
        tried();
        let ran = ground.directory.join("ran");
        ground.make_program(
            &format!("printf '#!/bin/sh\\necho > {}' > \"$1\"", ran.display()),
            &program,
        );
        await_true("started", || ran.exists());
    }
}
