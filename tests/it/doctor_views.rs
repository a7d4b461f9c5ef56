//! What `pares doctor` says of what it cannot see, or not under the number it was told: without
//! /proc, across process namespaces, behind a firewall.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::doctor::{found, may_unshare, says};
use crate::support::{Ground, Proc, await_true, finish};

/// The process that this one has started.
fn child_of(pid: u32) -> u32 {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let child =
        || fs::read_to_string(&children).ok()?.split_ascii_whitespace().next()?.parse().ok();
    await_true("a child", || child().is_some());
    child().expect("there")
}

#[test]
fn without_proc_nothing_is_said_of_what_cannot_be_seen() {
    if !may_unshare("--mount") {
        return;
    }
    let ground = Ground::new();
    let without = "mount -t tmpfs none /proc; ulimit -n 333; exec $PARES doctor --json";
    let alone = finish(ground.shell_in("--mount", without));
    says(&alone, "supervisor", "ok", &["cannot be seen"]);
    says(&alone, "open files", "ok", &["333 for this user:"]);
    let _one = ground.join("one");
    let answer = finish(ground.shell_in("--mount", without));
    says(&answer, "/proc", "note", &["mount -t proc"]);
    says(&answer, "supervisor", "ok", &["one answers"]);
    says(&answer, "open files", "ok", &["333 for this user", "the supervisor's cannot be seen"]);
    for check in ["descriptors", "members", "clock", "core dumps", "namespace"] {
        says(&answer, check, "ok", &["cannot be seen"]);
    }
    // Root is held to no limit of its own.
    assert!(!answer.out.contains("no limit"), "{answer:?}");
}

/// Goal: the doctor looks at the process that is an instance, not at the one that has its number
/// here. Method: instances in process namespaces of their own, where each is number 1.
#[test]
fn who_has_the_number_of_an_instance_here_is_not_taken_for_it() {
    let namespaces = "--pid --fork --kill-child --mount-proc";
    if !may_unshare(namespaces) {
        return;
    }
    let ground = Ground::new();
    let join = |limit: u32, name: &str| {
        let script = format!("ulimit -n {limit}; exec $PARES join --json --name {name}");
        let instance = Proc::start(ground.shell_in(namespaces, &script));
        instance.role();
        instance
    };
    let one = join(333, "one");
    says(&ground.ask("doctor --json"), "open files", "ok", &["333 for the supervisor"]);
    let two = join(444, "two");
    one.sees("two");
    says(&ground.ask("doctor --json"), "members", "ok", &["none of 2 is stopped"]);
    let pid = child_of(two.pid());
    kill_process(
        Pid::from_raw(i32::try_from(pid).expect("small")).expect("a number"),
        Signal::STOP,
    )
    .expect("a process");
    let cure = format!("kill -CONT {pid}");
    await_true("named", || {
        found(&ground.ask("doctor --json"), "members").to_string().contains(&cure)
    });
    says(&ground.ask("doctor --json"), "members", "cure", &["two", "is stopped", &cure]);
    // From in there, nobody but oneself can be seen.
    let inside = finish(ground.shell_in(namespaces, "exec $PARES doctor --json"));
    says(&inside, "members", "ok", &["none of 0", "2 cannot be seen"]);
    says(
        &inside,
        "open files",
        "ok",
        &["for this user (the supervisor's cannot be seen from here)"],
    );
}

/// Goal: a firewall that drops or rejects what is sent to the group's port is named, and no living
/// supervisor is to be killed.
#[test]
fn a_firewall_before_the_port_is_named() {
    let made = Command::new("unshare").args(["--net", "nft", "add", "table", "ip", "f"]).status();
    if !made.is_ok_and(|status| status.success()) {
        return crate::skipped::skip("this user may not `unshare --net nft`");
    }
    for (rule, word) in [("drop", "drops"), ("reject with tcp reset", "rejects")] {
        let ground = Ground::new();
        let port = ground.port;
        let script = format!(
            "ip link set lo up; $PARES join --json --name one & read wait
            nft add table ip f; nft 'add chain ip f i {{ type filter hook input priority 0; }}'
            nft add rule ip f i iif lo tcp dport {port} ct state new {rule}
            $PARES doctor --json | tr -d '\\n' | sed 's/^/> /'; echo; $PARES join --until-eof \
            --timeout 2 </dev/null
            echo over; read wait; kill $!; wait"
        );
        let mut command = ground.shell_in("--net", &script);
        command.stdin(std::process::Stdio::piped());
        let (mut process, mut told) = Proc::start_with_input(command);
        process.role();
        std::io::Write::write_all(&mut told, b"\n").expect("read");
        let doctor = loop {
            let line = process.line();
            if let Some(line) = line.strip_prefix("> ") {
                break line.to_owned();
            }
        };
        assert!(doctor.contains(&format!("a firewall {word}")), "{rule}: {doctor}");
        assert!(
            !doctor.contains("another program") && !doctor.contains("it hangs"),
            "{rule}: {doctor}"
        );
        while process.line() != "over" {}
        std::io::Write::write_all(&mut told, b"\n").expect("read");
        process.end();
        let said = process.stderr();
        assert!(said.contains(&format!("a firewall {word}")), "{rule}: {said}");
    }
}

/// Goal: where a group cannot be because of its addresses, everybody says so, and not that the
/// machine has no port left.
#[test]
fn a_loopback_interface_that_is_down_or_lacks_its_address_is_named() {
    if !may_unshare("--net") {
        return;
    }
    for set in ["true", "ip link set lo up; ip address del 127.0.0.1/8 dev lo"] {
        let ground = Ground::new();
        let cure = "ip link set lo up";
        for what in ["join --until-eof", "ls", "run --when-supervisor -- true"] {
            let answer = finish(ground.shell_in("--net", &format!("{set}; exec $PARES {what}")));
            assert!(answer.code == 69 && answer.err.contains(cure), "{set}, {what}: {answer:?}");
            assert!(!answer.err.contains("ip_local_port_range"), "{set}, {what}: {answer:?}");
        }
        let answer = finish(ground.shell_in("--net", &format!("{set}; exec $PARES doctor --json")));
        says(&answer, "supervisor", "cure", &["loopback", cure]);
    }
}
