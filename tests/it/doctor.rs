//! What `pares doctor` finds, each on a machine or in a group that has it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use serde_json::Value;

use crate::actors::forker;
use crate::crash::{dumps_to_a_file, is_dumping};
use crate::raw::free_port;
use crate::support::{Answer, Ground, Proc, await_true, finish};

/// One finding among all.
#[track_caller]
pub(crate) fn found(answer: &Answer, check: &str) -> Value {
    let findings = answer.json();
    let finding =
        findings.as_array().expect("an array").iter().find(|finding| finding["check"] == check);
    finding.unwrap_or_else(|| panic!("no {check} in {findings}")).clone()
}

/// Checks what the doctor says: the state of a check, and words in finding and cure. The exit code
/// says whether there is something to cure.
#[track_caller]
pub(crate) fn says(answer: &Answer, check: &str, state: &str, words: &[&str]) {
    let finding = found(answer, check);
    assert_eq!(finding["state"], state, "{finding}");
    let text = finding.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in {finding}");
    assert_eq!(finding["cure"] == "", state == "ok", "{finding}");
    let cures = answer
        .json()
        .as_array()
        .expect("an array")
        .iter()
        .any(|finding| finding["state"] == "cure");
    assert_eq!(answer.code, i32::from(cures), "{answer:?}");
}

fn doctor(ground: &Ground) -> Answer {
    ground.ask("doctor --json")
}

/// True if this user may make namespaces with these options.
pub(crate) fn may_unshare(options: &str) -> bool {
    let made = Command::new("unshare").args(options.split(' ')).arg("true").status();
    let may = made.is_ok_and(|status| status.success());
    if !may {
        crate::skipped::skip(format_args!("this user may not `unshare {options}`"));
    }
    may
}

#[test]
fn a_healthy_group_has_nothing_to_cure_but_the_machine() {
    let ground = Ground::new();
    let one = ground.join("one");
    let _two = ground.join("two");
    one.sees("two");
    let answer = doctor(&ground);
    for check in [
        "port",
        "directory",
        "key",
        "supervisor",
        "descriptors",
        "members",
        "clock",
        "open files",
        "threads",
    ] {
        says(&answer, check, "ok", &[]);
    }
}

#[test]
fn a_key_that_others_can_use_is_found() {
    let ground = Ground::new();
    ground.join("one").leave();
    let key = ground.directory.join("it.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    says(&doctor(&ground), "key", "cure", &["0644", "chmod 600", "it.key"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("ours");
    says(&doctor(&ground), "key", "ok", &[]);
    fs::write(&key, "short").expect("ours");
    says(&doctor(&ground), "key", "cure", &["is not a key", "remove it"]);
    fs::write(&key, [7; 32]).expect("ours");
    if chown(&key, Some(12_345), None).is_ok() {
        says(&doctor(&ground), "key", "cure", &["user id 12345", "PARES_DIR"]);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_found() {
    let ground = Ground::new();
    let file = ground.directory.join("file");
    fs::write(&file, "").expect("ours");
    let mut command = ground.command("doctor --json");
    command.env("PARES_DIR", file.join("below"));
    says(&finish(command), "directory", "cure", &["cannot be written", "PARES_DIR"]);
}

/// Goal: a port inside the ephemeral range is one to cure, unless it is reserved; and a short queue
/// is noted. Method: a network namespace of its own, whose settings are changed.
#[test]
fn what_the_network_is_set_to_is_found() {
    if !may_unshare("--net") {
        return;
    }
    let ground = Ground::new();
    let inside = |set: &str| {
        let script = format!("ip link set lo up; {set}; exec $PARES -p 40000 doctor --json");
        finish(ground.shell_in("--net", &script))
    };
    let answer = inside("echo 128 > /proc/sys/net/core/somaxconn");
    says(
        &answer,
        "port",
        "cure",
        &["40000 is inside the ephemeral range", "ip_local_reserved_ports=40000"],
    );
    says(&answer, "backlog", "note", &["128", "sysctl net.core.somaxconn=4096"]);
    if fs::read_link("/proc/1/ns/net").is_ok() {
        says(&answer, "namespace", "note", &["not in the network namespace of process 1"]);
    }
    let answer = inside("echo 40000 > /proc/sys/net/ipv4/ip_local_reserved_ports");
    says(&answer, "port", "ok", &["reserved"]);
}

#[test]
fn another_program_on_the_port_is_named() {
    let ground = Ground::new();
    let holder = Proc::mute(Ipv4Addr::LOCALHOST, ground.port);
    let who = format!("pid {}", holder.pid());
    says(&doctor(&ground), "supervisor", "cure", &[&who, "another program", "--port"]);
    // With a key it can be asked, and does not answer.
    let other = Ground::new();
    other.join("one").leave();
    fs::copy(other.directory.join("it.key"), ground.directory.join("it.key")).expect("a key");
    says(&doctor(&ground), "supervisor", "cure", &[&who, "not by a pares instance", "--port"]);
}

#[test]
fn a_stopped_supervisor_and_a_stopped_member_are_named_with_the_cure() {
    let ground = Ground::new();
    let one = ground.join("one");
    let two = ground.join("two");
    one.sees("two");
    two.stop();
    let cure = format!("kill -CONT {}", two.pid());
    says(&doctor(&ground), "members", "cure", &["two", "is stopped", &cure]);
    one.stop();
    let cure = format!("kill -CONT {}", one.pid());
    says(&doctor(&ground), "supervisor", "cure", &["is stopped", &cure]);
}

#[test]
fn who_dumps_core_is_named() {
    if !dumps_to_a_file() {
        return;
    }
    for (check, others) in [("supervisor", 0), ("members", 1)] {
        let ground = Ground::new();
        let _others: Vec<Proc> = (0..others).map(|_| ground.join("first")).collect();
        let mut second = forker::start_with(&ground, "second", &[("CORE", "unlimited")]);
        await_true("seen", || ground.names().len() == others + 1);
        second.order("touch 900");
        second.expect("touched");
        let pid = second.pid();
        second.order("crash fault");
        await_true("dumping", || is_dumping(pid));
        let cure = format!("kill -KILL {pid}");
        says(
            &doctor(&ground),
            check,
            "cure",
            &["writing its core dump", &cure, "release_on_crash"],
        );
        // So it is: the signal ends the dump as well.
        second.process.kill();
    }
}

/// Goal: a child that keeps an instance's sockets is named, while its parent lives and after its
/// death. Method: a child made by the system call itself, of which the library is not told.
#[test]
fn a_child_that_keeps_sockets_is_named() {
    let ground = Ground::new();
    let first = ground.join("first");
    let mut second = forker::start(&ground, "second");
    first.sees("second");
    let child = second.fork("clone");
    let cure = format!("kill {}", child.0);
    says(
        &doctor(&ground),
        "descriptors",
        "cure",
        &["admin endpoint", "of second", "which lives", &cure],
    );
    second.process.kill();
    says(
        &doctor(&ground),
        "descriptors",
        "cure",
        &["admin endpoint", "of second", "which is dead", &cure],
    );
    assert_eq!(ground.names(), ["first", "second"], "the child keeps its lifeline, too");
    drop(child);
    await_true("gone", || ground.names() == ["first"]);
    says(&doctor(&ground), "descriptors", "ok", &[]);
}

/// The same for a supervisor: the child keeps the port, and answers nobody.
#[test]
fn a_child_that_keeps_a_dead_supervisors_port_is_named() {
    let ground = Ground::new();
    let mut first = forker::start(&ground, "first");
    let child = first.fork("clone");
    let cure = format!("kill {}", child.0);
    says(&doctor(&ground), "descriptors", "cure", &["the supervisor port", &cure]);
    first.process.kill();
    says(&doctor(&ground), "supervisor", "cure", &["a dead supervisor forked", &cure]);
    drop(child);
    await_true("free", || found(&doctor(&ground), "supervisor")["state"] == "ok");
}

#[test]
fn a_supervisor_without_room_for_its_group_is_found() {
    let ground = Ground::new();
    let one = Proc::start(ground.shell("ulimit -n 66; exec $PARES join --json --name one"));
    one.role();
    says(&doctor(&ground), "open files", "ok", &["66 for the supervisor"]);
    let _two = ground.join("two");
    one.sees("two");
    says(&doctor(&ground), "open files", "cure", &["66 for the supervisor", "ulimit -n"]);
}

#[test]
fn core_dumps_of_the_supervisor_are_noted() {
    if !dumps_to_a_file() {
        return;
    }
    for (limit, state, words) in [
        ("unlimited", "note", ["release_on_crash", "ulimit -c 0"]),
        ("0", "ok", ["the supervisor"; 2]),
    ] {
        let ground = Ground::new();
        let one = Proc::start(
            ground.shell(&format!("ulimit -c {limit}; exec $PARES join --json --name one")),
        );
        one.role();
        says(&doctor(&ground), "core dumps", state, &words);
    }
}

#[test]
fn a_supervisor_in_another_network_namespace_is_named() {
    if !may_unshare("--net") {
        return;
    }
    let ground = Ground::on_port(free_port());
    says(&doctor(&ground), "namespace", "ok", &[]);
    let inside = Proc::start(
        ground.shell_in("--net", "ip link set lo up; exec $PARES join --json --name inside"),
    );
    inside.role();
    let pid = format!("pid {}", inside.pid());
    says(&doctor(&ground), "namespace", "note", &[&pid, "none is here", "nsenter"]);
    let _outside = ground.join("outside");
    says(
        &doctor(&ground),
        "namespace",
        "note",
        &[&pid, "the supervisor there is another one", "nsenter"],
    );
}

#[test]
fn instances_with_different_clocks_are_noted() {
    if !may_unshare("--time --fork") {
        return;
    }
    let ground = Ground::new();
    let one = ground.join("one");
    let inside = ground.shell_in(
        "--time --fork --kill-child --monotonic 1000",
        "exec $PARES join --json --name two",
    );
    let _two = Proc::start(inside);
    one.sees("two");
    says(&doctor(&ground), "clock", "note", &["two", "another time namespace"]);
}
