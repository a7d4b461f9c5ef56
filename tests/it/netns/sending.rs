//! Processes that can no longer send: their interface is down or gone, a filter of their machine
//! refuses.

use std::process::{Command, Output, Stdio};

use super::hosts::abilities;
use super::peers::{Homes, Transport, now};
use super::{DEAD, INTERVAL, Place, SLACK, Scene, elapsed_since, everywhere, is_skipped, run};

/// When a process last ceased to be primary, and why. What it has said may be read later than what
/// others said after it.
#[track_caller]
fn resigned(scene: &mut Scene, who: usize, since: u64) -> (u64, String) {
    let role = |said: &&super::peers::Said| said.who == who && said.event["from"] == "primary";
    scene.peers.until("it has resigned", |peers| peers.since(since).any(|said| role(&said)));
    let said = scene.peers.since(since).filter(role).last().expect("it was just heard");
    (said.at, said.event["cause"].as_str().unwrap_or_default().to_owned())
}

fn count(scene: &Scene, who: usize, event: &str, since: u64) -> usize {
    scene.peers.since(since).filter(|said| said.who == who && said.event["event"] == event).count()
}

/// Goal: the primary knows that it cannot send, and has resigned before another takes over; it says
/// so once; when it can send again the other stays.
///
/// Its interface may take what it sends up to a second before it brings what others send. So long
/// it cannot know that it is not alone, and may lead beside the other; of these the one stays whom
/// more third processes follow, and where there is no third, either.
#[track_caller]
fn take_and_give_back(scene: &mut Scene, take: fn(&Scene, usize), give_back: fn(&Scene, usize)) {
    let primary = scene.settle();
    let survivors = scene.others(primary);
    let taken = now();
    take(scene, primary);
    let taking = elapsed_since(taken);
    let successor = scene.one_takes_over(&survivors, taken, taking + DEAD + SLACK);
    let takes_over = scene.peers.taken_since(taken)[0].1;
    let (at, cause) = resigned(scene, primary, taken);
    assert_eq!(cause, "cannot-send", "{}", scene.peers.story());
    assert!(
        at <= takes_over,
        "two primaries for {} ms\n{}",
        (at - takes_over) / 1_000_000,
        scene.peers.story()
    );
    scene.peers.listen_for(10 * INTERVAL);
    assert_eq!(scene.peers.primaries(), [successor], "{}", scene.peers.story());
    assert_eq!(count(scene, primary, "cannot-send", taken), 1, "{}", scene.peers.story());

    let given_back = now();
    give_back(scene, primary);
    scene.peers.until("it can send", |peers| {
        peers
            .since(given_back)
            .any(|said| said.who == primary && said.event["event"] == "sends-again")
    });
    let others = survivors.len();
    for (hears, who) in [("it hears all", primary), ("it is heard", successor)] {
        scene.peers.until(hears, |peers| {
            let said = |event: &str| {
                peers
                    .since(0)
                    .filter(|said| said.who == who && said.event["event"] == event)
                    .count()
            };
            said("joined") - said("left") == others
        });
    }
    let leads = scene.settle();
    assert!(leads == successor || survivors.len() == 1, "{}", scene.peers.story());
    scene.stays_primary(leads, 10);
}

#[test]
fn a_primary_whose_interface_is_down_resigns_before_another_takes_over() {
    everywhere(3, "", |scene| {
        take_and_give_back(
            scene,
            |scene, host| scene.network.down(host, "eth0"),
            |scene, host| scene.network.up(host, "eth0"),
        );
    });
}

#[test]
fn a_primary_whose_words_a_filter_refuses_resigns_before_another_takes_over() {
    everywhere(3, "", |scene| {
        take_and_give_back(
            scene,
            |scene, host| scene.network.refuse(host),
            |scene, host| scene.network.allow(host),
        );
    });
}

/// Goal: an interface that was taken away comes back under the same name with another number, and
/// the process finds it.
#[test]
fn a_primary_whose_interface_is_made_anew_is_heard_again() {
    everywhere(2, "", |scene| {
        take_and_give_back(
            scene,
            |scene, host| scene.network.unplug(host),
            |scene, host| scene.network.plug(host),
        );
    });
}

/// On one machine, with both ends of what is refused.
fn on_one_machine(transport: Transport, test: super::Test) {
    if is_skipped(&[&abilities().hosts, &abilities().rules]) {
        return;
    }
    run(Place { transport, hosts: 1, processes: 2, homes: Homes::Apart }, "", test);
}

/// Goal: two processes of one machine are never both primary because neither can be heard; nobody
/// is let in meanwhile.
#[track_caller]
fn nobody_leads(scene: &mut Scene, take: fn(&Scene), give_back: fn(&Scene)) {
    let primary = scene.settle();
    let taken = now();
    take(scene);
    scene.peers.until("nobody leads", |peers| peers.primaries().is_empty());
    let (_, cause) = resigned(scene, primary, taken);
    assert_eq!(cause, "cannot-send", "{}", scene.peers.story());
    let third = scene.peers.start(&scene.network, 0);
    scene.peers.until("it says so", |peers| {
        peers.since(taken).any(|said| said.who == third && said.event["event"] == "cannot-send")
    });
    scene.peers.listen_for(10 * INTERVAL);
    assert_eq!(scene.peers.taken_since(taken), [], "{}", scene.peers.story());
    assert_eq!(scene.peers.role(third), "joining", "{}", scene.peers.story());
    give_back(scene);
    // Who has resigned is the youngest now. On a busy machine it may be heard first, and lead until
    // the other one does.
    let better = 1 - primary;
    scene.peers.until("the better one leads", |peers| peers.primaries() == [better]);
    scene.stays_primary(better, 5);
    for who in 0..3 {
        assert_eq!(count(scene, who, "cannot-send", taken), 1, "{}", scene.peers.story());
        assert_eq!(count(scene, who, "sends-again", taken), 1, "{}", scene.peers.story());
    }
}

#[test]
fn while_the_loopback_interface_is_down_nobody_of_the_machine_leads() {
    on_one_machine(Transport::Loopback, |scene| {
        nobody_leads(scene, |scene| scene.network.down(0, "lo"), |scene| scene.network.up(0, "lo"));
    });
}

#[test]
fn while_a_filter_refuses_what_all_say_nobody_of_the_machine_leads() {
    for transport in [Transport::Loopback, Transport::MulticastV4, Transport::MulticastV6] {
        on_one_machine(transport, |scene| {
            nobody_leads(scene, |scene| scene.network.refuse(0), |scene| scene.network.allow(0));
        });
    }
}

/// Runs a command of `pares` in a network namespace of its own in which no interface is up, after
/// `script`.
fn without_network(script: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "sh",
        "-c",
        &format!("{script}\nexec setpriv --pdeathsig KILL \"$0\" \"$@\""),
    ]);
    command.arg(env!("CARGO_BIN_EXE_pares")).args(["-g", "real"]).args(arguments);
    command
        .env("PARES_DIR", directory.path())
        .env_remove("PARES_GROUP")
        .env_remove("PARES_PORT")
        .stdin(Stdio::null());
    command.output().expect("unshare")
}

/// Goal: who asks whether it can be primary now is told why it cannot, and what to do; CMD does not
/// run.
#[test]
fn a_command_that_shall_not_wait_is_told_that_nothing_can_be_sent() {
    if is_skipped(&[&abilities().hosts]) {
        return;
    }
    let output =
        without_network(":", &["peer", "run", "--when-primary", "-n", "--", "echo", "at-work"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    assert!(
        said.contains("cannot send heartbeats") && said.contains("ip link set lo up"),
        "{said}"
    );
    assert_eq!(said.matches("is not admitted").count(), 1, "{said}");
}

/// Goal: no route for multicast is said as that, with what to do, and not in the words of the
/// program's own types.
#[test]
fn who_has_no_route_for_multicast_is_told_to_name_an_interface() {
    if is_skipped(&[&abilities().hosts]) {
        return;
    }
    let cases: [(&[&str], &str); 3] = [
        (&["239.1.2.3:4000"], "multicast to 239.1.2.3:4000: name one, or add a route"),
        (&["[ff02::4d47]:4000"], "multicast to [ff02::4d47]:4000: name one, or add a route"),
        (&["239.1.2.3:4000", "--interface", "10.0.0.1"], "10.0.0.1 that is up"),
    ];
    for (words, expected) in cases {
        let arguments = [&["peer", "join", "--multicast"], words].concat();
        let output = without_network("ip link set lo up", &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{words:?}: {said}");
        assert!(!said.contains("Address(") && !said.contains("Index("), "{said}");
    }
}
