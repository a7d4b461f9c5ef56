//! Peers by name: looked up when a process joins and ever after, by threads for which no heartbeat
//! waits.

mod server;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{GROUP, Ground, Proc, await_true, right_once};
use pares::masterless::{Config, Peer, Status};
use server::{Known, RESOLVER_TIMEOUT, Server};

/// Times that a stall on a busy machine does not upset, and shorter than the resolver's timeout:
/// two intervals and a half.
const CALM: &str = "--interval 500 --delay 500";

/// A UDP port that nobody has on any loopback address.
fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.local_addr())
        .unwrap()
        .port()
}

fn sees(one: &Peer, other: &Peer) {
    let admitted = |info: &pares::masterless::PeerInfo| {
        info.id.tail() == other.id().tail() && info.status != Status::Joining
    };
    await_true("seen", || one.peers().iter().any(admitted));
}

fn to(status: &str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "role" && event["to"] == status
}

/// Ends it, and gives what it has logged.
#[track_caller]
fn log_of(mut process: Proc) -> String {
    process.signal(Signal::TERM);
    assert_eq!(process.end_code(), 0);
    process.stderr()
}

/// All events that nobody has read yet when it has ended.
#[track_caller]
fn events_of(process: &mut Proc) -> Vec<Value> {
    process.signal(Signal::TERM);
    let lines = std::iter::from_fn(|| process.try_line());
    lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// The options of one at this address of the loopback network.
fn at(address: &str, port: u16, peers: &[&str]) -> String {
    let peers: String = peers.iter().map(|peer| format!(" --peer {peer}:{port}")).collect();
    format!("{CALM} --bind {address}:{port}{peers}")
}

#[test]
fn peers_find_one_another_by_name_and_by_address_in_one_list() {
    let ground = Ground::new();
    let (one, two) = (free_port(), free_port());
    let list = [format!("localhost:{one}"), format!("127.0.0.1:{two}")];
    let join = |port: u16| {
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Peer::join(
            Config::new(GROUP).state_directory(&ground.directory).unicast_names(bind, list.clone()),
        )
        .unwrap()
    };
    let (one, two) = (join(one), join(two));
    sees(&one, &two);
    sees(&two, &one);
}

#[test]
fn a_name_that_none_can_be_is_refused_by_every_command() {
    let ground = Ground::new();
    let names = [
        "localhost",
        "localhost:0",
        "localhost:65536",
        ":4000",
        "http://localhost:1",
        "10.0.0.256:1",
        "010.0.0.1:1",
    ];
    for command in ["join", "ls", "run --when-primary", "watch"] {
        let tail = if command.starts_with("run") { " -- true" } else { "" };
        for name in names {
            let answer = ground
                .ask(&format!("peer {command} --bind 127.0.0.1:4000 --peer {name}{tail}"))
                .code(2);
            answer.says(name).says("with a port");
        }
    }
    ground
        .ask("peer join --bind 127.0.0.1:4000 --peer k\u{f6}ln.example:4000")
        .code(2)
        .says("xn--");
    ground
        .ask("peer join --bind 127.0.0.1:4000 --peer [::1]:4000")
        .code(2)
        .says("[::1]:4000")
        .says("IPv4");
}

/// Goal: a machine that is not started, and has no name yet, keeps nobody from being primary; it is
/// said, once, and found later.
#[test]
fn a_name_that_does_not_exist_yet_is_said_and_found_when_it_does() {
    let Some(server) = Server::start() else { return };
    let (ground, port) = (Ground::new(), free_port());
    server.is_at("one.test", [[127, 0, 0, 2]]);
    let one = server.member(&ground, "", &at("127.0.0.2", port, &["one.test", "two.test"]));
    one.expect(to("primary"));
    server.is_asked("two.test", 3);

    // The second lists itself only: nobody but the first can find the other.
    server.is_at("two.test", [[127, 0, 0, 3]]);
    let two = server.member(&ground, "", &at("127.0.0.3", port, &["two.test"]));
    two.expect(|event| event["event"] == "joined");
    one.expect(|event| event["event"] == "joined");
    let said = log_of(one);
    assert_eq!(said.matches("two.test").count(), 1, "{said}");
    assert!(said.contains(&format!("cannot find the peer two.test:{port}")), "{said}");
}

/// Goal: who cannot know whether it is alone is not let in; it says why, and is as soon as it
/// knows.
#[test]
fn while_no_name_server_answers_nobody_is_primary() {
    let Some(server) = Server::start() else { return };
    let (ground, port) = (Ground::new(), free_port());
    server.knows("two.test", Known::Silence);
    // Its own name is in the table of hosts, as it often is, for an address of the loopback
    // network.
    let one = server.member(
        &ground,
        "127.0.1.1 one.test\n",
        &at("0.0.0.0", port, &["one.test", "two.test"]),
    );
    let event = one.expect_event("cannot-send");
    assert!(event["reason"].as_str().unwrap().contains("address"), "{event}");
    server.is_asked("two.test", 2);
    server.is_at("two.test", [[127, 0, 0, 3]]);
    one.expect_event("sends-again");
    let admitted = one.expect(to("standby"));
    assert_eq!(admitted["cause"], "admitted");
    one.expect(to("primary"));
    let said = log_of(one);
    assert!(said.contains("the names of the other peers cannot be looked up"), "{said}");
    assert_eq!(said.matches(&format!("cannot find the peer two.test:{port}")).count(), 1, "{said}");
}

/// Goal: the time that name servers usually take is no fault, however short the interval is.
#[test]
fn a_name_server_that_answers_late_is_waited_for() {
    let Some(server) = Server::start() else { return };
    let (ground, port) = (Ground::new(), free_port());
    server.knows("two.test", Known::Late(Duration::from_millis(400)));
    let options = at("127.0.0.2", port, &["127.0.0.2", "two.test"]).replace(CALM, "--interval 100");
    let one = server.member(&ground, "", &options);
    let first = one.expect(|event| event["event"] == "cannot-send" || to("standby")(event));
    assert_eq!(
        (first["cause"].as_str(), server.questions("two.test")),
        (Some("admitted"), 1),
        "{first}"
    );
}

/// Goal: no heartbeat is late because a look-up takes long, by as much as others suspect a process
/// for.
#[test]
fn a_name_server_that_does_not_answer_delays_no_heartbeat() {
    assert!(RESOLVER_TIMEOUT > Duration::from_millis(3 * 500), "else nobody would be suspected");
    let Some(server) = Server::start() else { return };
    server.knows("gone.test", Known::Silence);
    let addresses = ["127.0.0.2", "127.0.0.3"];
    right_once(|| {
        let (ground, port) = (Ground::new(), free_port());
        let two = server.member(&ground, "", &at(addresses[1], port, &addresses));
        two.expect(to("primary"));
        let one = server.member(
            &ground,
            "",
            &at(addresses[0], port, &[addresses[0], addresses[1], "gone.test"]),
        );
        one.expect(to("standby"));
        let before = server.questions("gone.test");
        server.is_asked("gone.test", before + 2);
        let events: Vec<Value> = [one, two].iter_mut().flat_map(events_of).collect();
        let is_late = |event: &Value| event["event"] == "suspected" || event["event"] == "paused";
        if events.iter().any(is_late) { Err(format!("{events:?}")) } else { Ok(()) }
    });
}

/// Goal: a process that comes back with another address finds the primary, which does not know of
/// it, before it thinks itself alone: also while its name still has the old one.
#[test]
fn who_comes_back_with_another_address_is_no_second_primary() {
    let Some(server) = Server::start() else { return };
    let names = ["one.test", "two.test"];
    server.is_at("one.test", [[127, 0, 0, 2]]);
    right_once(|| {
        let (ground, port) = (Ground::new(), free_port());
        server.is_at("two.test", [[127, 0, 0, 3]]);
        let one = server.member(&ground, "", &at("127.0.0.2", port, &names));
        one.expect(to("primary"));
        for number in 3..6 {
            let mut two =
                server.member(&ground, "", &at(&format!("127.0.0.{number}"), port, &names));
            let first = two.expect(|event| event["event"] == "joined" || to("standby")(event));
            if first["event"] != "joined" {
                return Err(format!("127.0.0.{number} thinks itself alone"));
            }
            one.expect(|event| event["event"] == "joined");
            if number == 4 {
                server.is_at("two.test", [[127, 0, 0, 5]]);
            }
            let events = events_of(&mut two);
            if events.iter().any(to("primary")) {
                return Err(format!("{events:?}"));
            }
            one.expect(|event| event["event"] == "left");
        }
        Ok(())
    });
}

/// Goal: a name is looked up again when its address falls silent, by one that is itself not known
/// to the other.
#[test]
fn a_name_that_has_moved_is_followed() {
    let Some(server) = Server::start() else { return };
    let (ground, port) = (Ground::new(), free_port());
    server.is_at("two.test", [[127, 0, 0, 3]]);
    let one = server.member(&ground, "", &at("127.0.0.2", port, &["127.0.0.2", "two.test"]));
    let start = |address: &str| server.member(&ground, "", &at(address, port, &["two.test"]));
    let two = start("127.0.0.3");
    one.expect(|event| event["event"] == "joined");
    two.kill();
    one.expect(|event| event["event"] == "left");
    server.is_at("two.test", [[127, 0, 0, 4]]);
    let moved = start("127.0.0.4");
    one.expect(|event| event["event"] == "joined");
    moved.expect(|event| event["event"] == "joined");
}

/// Goal: one name for all of a group is enough, also if it has more addresses than anybody needs.
#[test]
fn one_name_can_have_all_of_a_group_and_hundreds_of_addresses() {
    let Some(server) = Server::start() else { return };
    let (ground, port) = (Ground::new(), free_port());
    let all = [2, 3, 4].map(|host| [127, 0, 0, host]);
    server.is_at("all.test", all);
    let many: String =
        (0..300).map(|n| format!("127.1.{}.{} many.test\n", n / 200, n % 200 + 1)).collect();
    let start = |address: &str| {
        server.member(&ground, &many, &at(address, port, &["many.test", "all.test"]))
    };
    let three = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(start);
    for one in &three {
        (0..2).for_each(|_| _ = one.expect(|event| event["event"] == "joined"));
    }
    for one in three {
        let said = log_of(one);
        assert_eq!(said.matches("only 256 of them").count(), 1, "{said}");
    }
}

/// Goal: nobody gets heartbeats sent to where it likes without the group's key, neither by rubbish
/// nor by passing on a copy of what a member has said.
#[test]
fn who_does_not_have_the_key_is_not_sent_to() {
    let ground = Ground::new();
    let [one, two, spy, stranger] =
        [0; 4].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = |socket: &UdpSocket| socket.local_addr().unwrap();
    let (one_at, two_at) = (address(&one), address(&two));
    drop((one, two));
    let list = [one_at, two_at, address(&spy)];
    let join = |bind| {
        Peer::join(Config::new(GROUP).state_directory(&ground.directory).unicast(bind, list))
            .unwrap()
    };
    let (one, two) = (join(one_at), join(two_at));
    sees(&one, &two);
    let mut copies = 0;
    let mut buffer = [0; 1024];
    while copies < 20 {
        let (length, from) = spy.recv_from(&mut buffer).unwrap();
        if from == two_at {
            let before = one.counters();
            stranger.send_to(&buffer[..length], one_at).unwrap();
            stranger.send_to(b"rubbish", one_at).unwrap();
            await_true("a copy is dropped", || one.counters().replayed > before.replayed);
            await_true("rubbish is dropped", || one.counters().malformed > before.malformed);
            copies += 1;
        }
    }
    stranger.set_nonblocking(true).unwrap();
    let got = stranger.recv_from(&mut buffer);
    assert!(got.is_err(), "{got:?}");
}
