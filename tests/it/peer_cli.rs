//! `pares peer`: what is printed, and with which exit code it ends.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::cli::has_fields;
use crate::peer::process;
use crate::support::{Ground, Proc, await_true, finish, stop};

fn is_primary(event: &Value) -> bool {
    event["event"] == "role" && event["to"] == "primary"
}

fn is_admitted(event: &Value) -> bool {
    event["event"] == "role" && event["to"] == "standby"
}

/// Times that a stall of a second, as there are on a machine busy with other tests, does not upset.
const CALM: &str = "--interval 400 --delay 400";

/// One that is in its group, primary or not.
#[track_caller]
fn admitted(ground: &Ground, options: &str) -> Proc {
    let process = process(ground, &format!("{CALM} {options}"));
    process.expect(is_admitted);
    process
}

#[track_caller]
fn primary(ground: &Ground, options: &str) -> Proc {
    let process = process(ground, &format!("{CALM} {options}"));
    process.expect(is_primary);
    process
}

/// The tail of the process of this service type.
#[track_caller]
fn tail(ground: &Ground, service: u16) -> String {
    let out = ground.ask(&format!("peer ls {CALM} --service {service} --wait 1500")).code(0).out;
    out.split('\t').next().expect("a tail").to_owned()
}

/// Goal: the events of `peer join` have exactly the fields of the contract.
/// Method: the life of one and its successor: alone, joined by another, suspected, dead.
#[test]
fn join_tells_its_own_role_and_what_the_others_do() {
    let ground = Ground::new();
    let one = process(&ground, &format!("{CALM} --service 7"));
    let role = ["event", "monotonic_ns", "from", "to", "cause", "id", "label"];
    let event = one.event();
    has_fields(&event, &role);
    assert_eq!(
        (&event["from"], &event["to"], &event["cause"]),
        (&"joining".into(), &"joining".into(), &"started".into())
    );
    let event = one.expect(is_admitted);
    has_fields(&event, &role);
    assert_eq!((&event["from"], &event["cause"]), (&"joining".into(), &"admitted".into()));
    let event = one.expect(is_primary);
    has_fields(&event, &[&role[..], &["epoch", "fence"]].concat());
    assert_eq!(
        (&event["to"], &event["cause"], &event["epoch"]),
        (&"primary".into(), &"unopposed".into(), &1.into())
    );
    assert_eq!(event["fence"].as_str().map(str::len), Some(48));

    let mut two = admitted(&ground, "--service 7 --rank 200");
    let joined = one.expect_event("joined");
    has_fields(&joined, &["event", "monotonic_ns", "id", "tail", "label", "service"]);
    assert!(joined["id"].as_str().unwrap().starts_with("c8.00000002."), "{joined}");
    assert_eq!(joined["service"], 7);
    two.expect_event("joined");
    one.kill();
    let suspected = two.expect_event("suspected");
    has_fields(&suspected, &["event", "monotonic_ns", "id", "tail", "label", "service", "cause"]);
    let left = two.expect_event("left");
    has_fields(&left, &["event", "monotonic_ns", "id", "tail", "label", "service", "cause"]);
    assert_eq!(left["cause"], "died");
    let event = two.expect(is_primary);
    assert!(event["cause"] == "unopposed" && event["epoch"] == 2, "{event}");
    two.signal(Signal::TERM);
    two.expect(|event| event["event"] == "role" && event["to"] == "leaving");
    has_fields(&two.expect_event("stopped"), &["event", "monotonic_ns"]);
    assert_eq!(two.end_code(), 0);
}

#[test]
fn a_primary_that_is_told_to_end_hands_over_first_and_says_so() {
    let ground = Ground::new();
    let mut one = primary(&ground, "");
    let two = admitted(&ground, "");
    one.expect_event("joined");
    one.signal(Signal::INT);
    has_fields(
        &one.expect_event("prepare-handover"),
        &["event", "monotonic_ns", "to", "label", "within_ms"],
    );
    one.expect(|event| event["cause"] == "handed-over");
    assert_eq!(two.expect(is_primary)["cause"], "named");
    assert_eq!(one.end_code(), 0);
}

#[test]
fn ls_in_a_pipe_is_tabs_and_in_json_has_every_field() {
    let ground = Ground::new();
    ground.ask("peer ls").code(3).says("no process was heard");
    assert_eq!(ground.ask("peer ls --json").code(3).out, "[]\n");
    let _one = primary(&ground, "--service 7 --workload 12");
    let _two = admitted(&ground, "--service 8 --rank 200");
    let out = ground.ask(&format!("peer ls {CALM} --wait 1500")).code(0).out;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2, "{out}");
    assert_eq!((&rows[0][3..5], rows[0][6]), (&["7", "128"][..], "12"));
    assert_eq!(rows[1][3..5], ["8", "200"]);
    assert!(
        rows[0].len() == 12 && rows[0][0].len() == 22 && rows[0][9..11] == ["false", "true"],
        "{out}"
    );
    let listed =
        ground.ask(&format!("peer ls {CALM} --json --service 7 --wait 1500")).code(0).json();
    let [one] = listed.as_array().expect("an array").as_slice() else { panic!("{listed}") };
    let names =
        ["id", "tail", "label", "status", "service", "rank", "sequence", "workload", "epoch"];
    has_fields(one, &[&names[..], &["age_ms", "suspected", "direct", "address"]].concat());
    let address: SocketAddr = one["address"].as_str().expect("it is heard").parse().unwrap();
    assert_eq!((address.ip(), address.port() > 0), (Ipv4Addr::LOCALHOST.into(), true));
    assert_eq!((&one["tail"], &one["service"]), (&rows[0][0].into(), &7.into()));
    // Primary, unless it has stood still for a second.
    assert!(
        ["primary", "standby"].contains(&one["status"].as_str().unwrap()) && rows[0][2].len() == 7,
        "{out}"
    );
    ground.ask("peer ls --service 9").code(3);
}

#[test]
fn watch_tells_who_is_there_and_then_each_change() {
    let ground = Ground::new();
    let one = primary(&ground, "");
    let mut watch = ground.start(&format!("peer watch {CALM} --json"));
    has_fields(&watch.event(), &["event", "monotonic_ns", "id", "tail", "label", "service"]);
    let mut two = admitted(&ground, "--service 5");
    assert_eq!(watch.expect_event("joined")["service"], 5);
    two.signal(Signal::TERM);
    assert_eq!(two.end_code(), 0);
    assert_eq!(watch.expect_event("left")["cause"], "left");
    one.kill();
    watch.expect_event("suspected");
    assert_eq!(watch.expect_event("left")["cause"], "died");
    watch.signal(Signal::INT);
    assert_eq!(watch.end_code(), 0);
}

#[test]
fn direct_gives_another_process_another_rank() {
    let ground = Ground::new();
    let one = primary(&ground, "--service 7");
    let two = admitted(&ground, "--service 7 --rank 200");
    one.expect_event("joined");
    let out = ground.ask(&format!("peer ls {CALM} --wait 1500")).code(0).out;
    let worse = out.lines().last().unwrap().split('\t').next().unwrap().to_owned();
    ground.ask(&format!("peer direct {CALM} {worse} 3")).code(0).silent();
    two.expect(is_primary);
    one.expect(|event| event["cause"] == "handed-over");
    assert!(ground.ask(&format!("peer ls {CALM} --wait 1500")).code(0).out.starts_with(&worse));
    let nobody = "0".repeat(22);
    ground
        .ask(&format!("peer direct {CALM} {nobody} 3"))
        .code(4)
        .says("no process has the tail 000000");
    one.stop();
    let better = ground.ask(&format!("peer ls {CALM} --wait 1500")).code(0).out;
    assert_eq!(better.lines().count(), 1, "{better}");
    two.stop();
    ground.ask(&format!("peer direct {CALM} {worse} 3")).code(4);
}

#[test]
fn direct_ends_with_124_if_it_takes_too_long() {
    let ground = Ground::new();
    let _one = primary(&ground, "");
    let tail = tail(&ground, 0);
    ground
        .ask(&format!("peer direct {CALM} {tail} 7 --timeout 0"))
        .code(124)
        .says("did not report rank 7 in time");
    ground.ask(&format!("peer direct {CALM} {tail} 7")).code(0).silent();
}

/// `pares peer run --when-primary` with these options, and a shell script as the command.
fn run(ground: &Ground, options: &str, script: &str) -> std::process::Command {
    let options = CALM.split_whitespace().chain(options.split_whitespace());
    ground.command_of(
        ["peer", "run", "--when-primary"]
            .into_iter()
            .chain(options)
            .chain(["--", "sh", "-c", script]),
    )
}

#[test]
fn the_command_runs_on_the_primary_and_its_exit_code_is_the_exit_code() {
    let ground = Ground::new();
    for code in [0, 7] {
        finish(run(&ground, "", &format!("exit {code}"))).code(code).silent();
    }
    finish(run(&ground, "", "kill -KILL $$")).code(137);
    ground.ask("peer run --when-primary -- /nonexistent").code(127).says("cannot run /nonexistent");
    ground.ask("peer run --when-primary -- /etc/passwd").code(126).says("cannot run /etc/passwd");
    let script = "echo $PARES_ROLE $PARES_EPOCH $PARES_GROUP $PARES_SERVICE ${#PARES_FENCE} \
                  ${PARES_ORIGIN-none}";
    let mut command = run(&ground, "--service 7", script);
    command.env("PARES_ORIGIN", "12");
    assert_eq!(finish(command).code(0).out, "primary 1 it 7 48 none\n"); // the first of type 7
    // The sixth of type 0, at least: who stood still in between has become primary twice.
    let epoch: u64 =
        finish(run(&ground, "", "echo $PARES_EPOCH")).code(0).out.trim().parse().unwrap();
    assert!(epoch >= 6, "{epoch}");
}

#[test]
fn who_does_not_want_to_wait_is_told_75_or_124() {
    let ground = Ground::new();
    let _one = primary(&ground, "");
    finish(run(&ground, "-n", "echo started")).code(75).says("another process is primary");
    finish(run(&ground, "-w 3", "echo started")).code(124).says("did not become primary in time");
    let free = Ground::new();
    assert_eq!(finish(run(&free, "-n", "echo started")).code(0).out, "started\n");
    let mut waiting = Proc::start(run(&ground, "", "echo started"));
    await_true("two", || ground.ask(&format!("peer ls {CALM}")).out.lines().count() == 2);
    waiting.signal(Signal::USR1); // is for the command
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.end_code(), 143);
    assert_eq!(waiting.try_line(), None);
}

#[test]
fn a_killed_primarys_work_goes_on_elsewhere() {
    let ground = Ground::new();
    let script = "echo $PARES_EPOCH; sleep 1000";
    let one = Proc::start(run(&ground, "", script));
    assert_eq!(one.line(), "1");
    let two = Proc::start(run(&ground, "", script));
    await_true("two", || {
        ground
            .ask(&format!("peer ls {CALM}"))
            .out
            .lines()
            .filter(|line| !line.contains("joining"))
            .count()
            == 2
    });
    one.kill();
    assert_eq!(two.line(), "2");
}

/// Goal: in an orderly handover two commands never run at once. Method: the command holds a lock as
/// long as anything of it lives, and says so if it finds it taken; it takes a while to end.
#[test]
fn a_better_process_takes_the_work_over_without_overlap() {
    let ground = Ground::new();
    let lock = ground.directory.join("lock").display().to_string();
    let work =
        "trap 'echo ending; exit' TERM; echo started; while :; do sleep 1000 & wait $!; done";
    let script = format!("exec 9> {lock}; flock -n 9 || echo overlap; {work}");
    let mut old = Proc::start(run(&ground, "--rank 100", &script));
    assert_eq!(old.line(), "started");
    for rank in [50, 20] {
        let new = Proc::start(run(&ground, &format!("--rank {rank}"), &script));
        assert_eq!(old.line(), "ending");
        assert_eq!(new.line(), "started");
        assert_eq!(old.end_code(), 125);
        assert!(old.stderr().contains("a better process becomes primary"));
        old = new;
    }
}

/// Goal: what cannot be sure to be primary is ended, whatever it does about SIGTERM. Method: stop
/// the process that holds the role for longer than its lease; meanwhile its command stands still,
/// too.
#[test]
fn a_command_whose_guard_stood_still_is_killed_when_that_goes_on() {
    let ground = Ground::new();
    let mut one =
        Proc::start(run(&ground, "", "trap '' TERM; echo started; while :; do sleep 1000; done"));
    assert_eq!(one.line(), "started");
    let two = admitted(&ground, "");
    let guard = one.only_child();
    stop(guard);
    two.expect(is_primary);
    kill_process(guard, Signal::CONT).expect("a living guard");
    assert_eq!(one.end_code(), 125);
    assert!(one.stderr().contains(": ending sh"));
}

#[test]
fn another_programs_port_is_69_and_another_key_is_nobody() {
    let ground = Ground::new();
    let holder = UdpSocket::bind(("0.0.0.0", ground.port)).unwrap();
    for command in ["peer join", "peer ls", "peer watch", "peer run --when-primary -- true"] {
        ground.ask(command).code(69).says("use of the UDP port of 127.255.255.255");
    }
    drop(holder);
    let _one = primary(&ground, "");
    let stranger = Ground::on_port(ground.port);
    stranger.ask("peer ls --wait 2500").code(3).says("was made without this group's key");
    ground.ask("-g other peer ls").code(3);
}

#[test]
fn wrong_usage_is_2() {
    let ground = Ground::new();
    for arguments in [
        "peer",
        "peer nonsense",
        "peer join extra",
        "peer join --rank 256",
        "peer join --service 65536",
        "peer join --interval 19",
        "peer join --interval x",
        "peer join --delay 5",
        "peer join --need 7",
        "peer join --need 7=x",
        "peer join --need 7=3:2",
        "peer join --multicast 10.0.0.1:1",
        "peer join --multicast 239.0.0.1",
        "peer join --interface eth0",
        "peer join --bind 127.0.0.1:1",
        "peer join --peer 127.0.0.1:1",
        "peer join --bind 127.0.0.1:1 --peer [::1]:1",
        "peer join --bind 127.0.0.1:1 --peer localhost",
        "peer join --quorum 5000",
        "peer ls --wait x",
        "peer run -- true",
        "peer run --when-primary",
        "peer run --when-primary -n -w 1 -- true",
        "peer direct",
        "peer direct 00 1",
        "peer direct 0000000000000000000000 256",
        "man peer nonsense",
    ] {
        let answer = ground.ask(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{arguments:?}: {answer:?}");
        assert!(!answer.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_command_has_help_a_page_and_an_example() {
    let ground = Ground::new();
    let help = ground.ask("peer --help").code(0).out;
    for command in ["join", "ls", "watch", "run", "direct"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let own = ground.ask(&format!("peer {command} --help")).code(0).out;
        assert!(own.contains("Usage: pares peer") && own.contains("Example"), "{own}");
        assert!(
            ground.ask(&format!("man peer {command}")).code(0).out.contains(".SH SYNOPSIS"),
            "{command}"
        );
    }
    assert!(ground.ask("completions bash").code(0).out.contains("when-primary"));
}

#[test]
fn the_second_key_lets_a_group_change_its_key() {
    let ground = Ground::new();
    let _one = primary(&ground, "");
    let other = Ground::on_port(ground.port);
    other.ask("peer ls --wait 300").code(3);
    let key = ground.directory.join("it.key").display().to_string();
    other.ask(&format!("peer ls --wait 700 --also-key {key}")).code(0);
    assert_eq!(tail(&ground, 0).len(), 22);
}

/// A process that joins with these words more, and with PARES_LABEL in its environment if there is
/// one.
fn labelled(ground: &Ground, variable: &str, words: &[&str]) -> Proc {
    let all = "peer join --json --interval 400 --delay 400".split(' ').chain(words.iter().copied());
    let mut command = ground.command_of(all);
    command.env("PARES_LABEL", variable);
    Proc::start(command)
}

/// Goal: people read names, which no stranger can use to write to their terminal. Method: a label
/// by option, by environment, by default, and none; two that are equal; a hostile one.
#[test]
fn a_process_is_shown_by_its_label() {
    let ground = Ground::new();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = host.split('.').next().expect("a first part");
    let one = labelled(&ground, "", &["--service", "1"]);
    let default = one.expect(is_primary)["label"].as_str().expect("a label").to_owned();
    assert!(default.starts_with(&host[..host.len().min(23)]), "{default} on {host}");
    assert!(default.ends_with("/pares") && default.len() <= 32, "{default}");

    let red = "red \x1b[31m\u{202e}\n";
    let long = "ö".repeat(20);
    let _others = [
        labelled(&ground, "by environment", &["--service", "2"]),
        labelled(&ground, "by environment", &["--service", "3", "--label", "by option"]),
        labelled(&ground, "by environment", &["--service", "4", "--label", ""]),
        labelled(&ground, "", &["--service", "5", "--label", red]),
        labelled(&ground, "", &["--service", "6", "--label", &long]),
        labelled(&ground, "", &["--service", "7", "--label", "by option"]),
    ];
    let labels = ["by environment", "by option", "", "red ?[31m?", &"ö".repeat(16), "by option"];
    let mut seen: Vec<(u64, String)> = labels
        .iter()
        .map(|_| one.expect_event("joined"))
        .map(|event| {
            let label = event["label"].as_str().expect("a label").to_owned();
            (event["service"].as_u64().expect("a service"), label)
        })
        .collect();
    seen.sort();
    let expected: Vec<(u64, String)> = (2..).zip(labels.map(str::to_owned)).collect();
    assert_eq!(seen, expected);

    let out = ground.ask(&format!("peer ls {CALM} --wait 1500")).code(0).out;
    let mut rows: Vec<(&str, &str)> = out
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|row| (row[3], row[1]))
        .collect();
    rows.sort_unstable();
    let services = ["1", "2", "3", "4", "5", "6", "7"];
    let all = [default.as_str()].into_iter().chain(labels);
    assert_eq!(rows, services.into_iter().zip(all).collect::<Vec<_>>());
    assert!(!out.contains(['\x1b', '\u{202e}']), "{out:?}");

    let listed = ground.ask(&format!("peer ls {CALM} --json --service 5 --wait 1500")).code(0);
    assert_eq!(listed.json()[0]["label"], "red ?[31m?");
}

/// Goal: who guards a command is known by that command's name, not as one more `pares`.
#[test]
fn a_process_that_runs_a_command_has_its_name() {
    let ground = Ground::new();
    let watch = ground.start(&format!("peer watch {CALM} --json"));
    let command = format!("peer run --when-primary {CALM} -- /bin/sleep 1000");
    let _run = ground.start(&command);
    let label = watch.expect_event("joined")["label"].as_str().expect("a label").to_owned();
    assert!(label.ends_with("/sleep"), "{label}");
}

#[test]
fn a_process_that_is_started_anew_may_have_another_label() {
    let ground = Ground::new();
    let watch = ground.start(&format!("peer watch {CALM} --json"));
    for label in ["before", "after"] {
        let mut one = labelled(&ground, "", &["--label", label]);
        assert_eq!(watch.expect_event("joined")["label"], label);
        one.signal(Signal::TERM);
        assert_eq!(one.end_code(), 0);
        assert_eq!(watch.expect_event("left")["label"], label);
    }
}
