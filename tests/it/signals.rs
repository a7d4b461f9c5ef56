//! The library's threads take none of the program's signals, and leave no trace of that in what the
//! program starts.

use std::fs;
use std::process::Command;

use pares::Instance;
use pares::masterless::{Config, Peer};

use crate::support::{Ground, PATIENCE, Proc, await_true};

/// The blocked signals that the text of a file like /proc/PID/status says, one bit for each, from
/// signal 1 on.
fn blocked(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
    u64::from_str_radix(line.trim(), 16).expect("a number")
}

/// A program that says which signals it blocks.
fn ask() -> Command {
    let mut command = Command::new("grep");
    command.args(["SigBlk", "/proc/self/status"]);
    command
}

fn mask_of_child() -> u64 {
    blocked(&String::from_utf8(ask().output().expect("run").stdout).expect("text"))
}

/// All but SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGSTOP, SIGSYS, and the two
/// of the C library.
fn all() -> u64 {
    let never = [4, 5, 6, 7, 8, 9, 11, 19, 31, 32, 33];
    never.iter().fold(u64::MAX, |all, number| all & !(1 << (number - 1)))
}

/// The threads of the library in a process, with what they block.
fn threads(pid: u32) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten();
    let about = tasks.filter_map(|task| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
        Some((read("comm")?.trim().to_owned(), blocked(&read("status")?)))
    });
    about.filter(|(name, _)| name.starts_with("pares-")).collect()
}

/// Goal: whatever the program does with a signal, no thread of the library is in its way. Method:
/// processes in all roles, with permits, calls, watches and hang timeouts; the kernel says what
/// each thread blocks.
#[test]
fn every_thread_of_the_library_blocks_what_the_program_may_want() {
    let ground = Ground::new();
    let join = |name: &str| {
        let instance = ground
            .start(&format!("join --json --name {name} --resource seats=1 --hang-timeout 20"));
        instance.role();
        instance
    };
    let instances = [join("one"), join("two"), join("three")];
    let _watch = ground.start("monitor");
    let others = Ground::new();
    let mut held = others.command("run --permit seats=1 --limit 1 -- sh -c");
    held.args(["echo held; exec sleep 1000"]);
    let held = Proc::start(held);
    assert_eq!(held.line(), "held");
    let peer = others.start("peer join --json");
    await_true("all threads are there", || {
        let names: Vec<String> =
            threads(instances[0].pid()).into_iter().map(|(name, _)| name).collect();
        let wanted =
            ["pares-role", "pares-endpoint", "pares-member", "pares-registry", "pares-announce"];
        wanted.iter().all(|name| names.iter().any(|other| other == name))
            && threads(peer.pid()).iter().any(|(name, _)| name == "pares-peer")
    });
    ground.ask("call two info").code(0);
    for process in instances.iter().chain([&held, &peer]) {
        for (name, mask) in threads(process.pid()) {
            assert_eq!(mask, all(), "{name}: {mask:#x}");
        }
    }
}

/// Goal: a child that a function of the program's starts hears signals as any child of the
/// program's does. Method: an admin function, a job, a thread that a job starts, and a launcher
/// each start a process that says what it blocks.
#[test]
fn what_functions_of_the_program_start_hears_its_signals() {
    let ground = Ground::new();
    let report = |_: &[u8]| Ok(mask_of_child().to_ne_bytes().to_vec());
    let one =
        Instance::join(ground.config().name("one").admin_function("mask", "", report)).unwrap();
    let two =
        Instance::join(ground.config().name("two").admin_function("mask", "", report)).unwrap();
    for (asker, name) in [(&one, "one"), (&two, "one"), (&one, "two")] {
        let answer = asker.client().call(name, "mask", &[], PATIENCE).unwrap();
        assert_eq!(u64::from_ne_bytes(answer.try_into().unwrap()), 0, "an admin function's child");
    }
    let (tell, told) = std::sync::mpsc::channel();
    let job = one.while_supervisor(move |guard| {
        let in_thread = std::thread::spawn(mask_of_child).join().unwrap();
        _ = tell.send((mask_of_child(), in_thread));
        guard.wait(PATIENCE);
    });
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        (0, 0),
        "a job's child, and that of a thread it has started"
    );
    drop(job);

    let file = ground.directory.join("mask").display().to_string();
    let script = format!("grep SigBlk /proc/self/status >{file}.new && mv {file}.new {file}");
    let config =
        Config::new("it").local(ground.port).state_directory(&ground.directory).need(7, 1, None);
    let _peer = Peer::join(config.launcher(["sh", "-c", &script])).unwrap();
    await_true("started", || fs::exists(&file).unwrap());
    assert_eq!(
        blocked(&fs::read_to_string(&file).unwrap()),
        0,
        "a process that the library has started"
    );
    drop((one, two));
}
