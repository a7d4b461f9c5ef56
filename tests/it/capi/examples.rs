//! The examples for C and Python, each as what it says, in one group with Rust instances.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use pares::channel::RecvTimeoutError;
use pares::masterless::{Peer, Status};
use pares::{Instance, Role};
use rustix::process::{Pid, Signal, kill_process};

use super::{compile, has, library, root};
use crate::raw::free_port;
use crate::support::{Ground, PATIENCE, Proc, await_true};

fn example(name: &str) -> std::path::PathBuf {
    compile("gcc", &root().join(format!("examples/{name}.c")), "example", &["-std=c99"])
}

/// Starts a program, and gives the end of its standard input.
fn start(ground: &Ground, program: &Path, words: &[&str]) -> (Proc, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut command = Command::new(program);
    command.args(words).env("PARES_DIR", &ground.directory).stdin(Stdio::from(reader));
    (Proc::start(command), File::from(writer))
}

/// Reads on until this line.
#[track_caller]
fn expect(process: &Proc, wanted: &str) {
    let mut seen = Vec::new();
    // Of all lines together: some programs say something each second.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match process.lines().recv_deadline(deadline) {
            Ok(line) if line == wanted => return,
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Timeout) => panic!("{wanted:?} is not in {seen:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{wanted:?} is not in {seen:?}: {}", process.stderr())
            }
        }
    }
}

fn join(ground: &Ground, group: &str, name: &str) -> Instance {
    let config = pares::Config::new(group).port(ground.port).state_directory(&ground.directory);
    Instance::join(config.name(name).resource(pares::Resource::new("machine", 2))).unwrap()
}

/// Goal: a C worker does its part beside Rust instances: permits, calls, messages, the supervisor's
/// work, a clean end. Method: two workers and a Rust instance; all permits taken, then given back;
/// the first worker killed.
#[test]
fn the_c_worker_coordinates_with_rust_instances() {
    let ground = Ground::new();
    let port = ground.port.to_string();
    let worker = example("embed");
    let (anna, _anna_in) = start(&ground, &worker, &["anna", &port]);
    expect(&anna, "keeping the books, term 1");
    let (mut berta, mut orders) = start(&ground, &worker, &["berta", &port]);
    expect(&berta, "event: subordinate of anna");
    let rust = join(&ground, "embed", "rust");

    let permit = rust.acquire("machine", 2).unwrap();
    writeln!(orders, "first").unwrap();
    await_true("waiting", || rust.client().usage_of("machine").unwrap().waiting == 1);
    assert_eq!(rust.client().call("berta", "done", b"", PATIENCE).unwrap(), b"0");
    drop(permit);
    expect(&berta, "did first");
    assert_eq!(rust.client().call("berta", "done", b"", PATIENCE).unwrap(), b"1");
    rust.broadcast("news", b"all is well").unwrap();
    expect(&berta, "event: message: rust says all is well");

    drop(rust); // else it could be the next supervisor
    anna.kill();
    expect(&berta, "keeping the books, term 2");
    berta.signal(Signal::TERM);
    expect(&berta, "no longer keeping the books");
    expect(&berta, "left");
    assert_eq!(berta.end_code(), 0);
}

/// Goal: a pre-fork server's children elect one among them and Rust instances, also when they are
/// killed one by one. Method: kill the supervisor among three children: another does its work, and
/// a new child takes its place.
#[test]
fn the_prefork_server_keeps_one_house_and_replaces_the_dead() {
    let ground = Ground::new();
    let port = free_port();
    let (mut server, _input) =
        start(&ground, &example("prefork"), &["3", &ground.port.to_string(), &port.to_string()]);
    let mut keeping = Vec::new();
    let next_keeper = |keeping: &mut Vec<String>| {
        while let Some(line) = server.try_line() {
            if let Some(keeper) = line.strip_prefix("keeping house: ") {
                keeping.push(keeper.to_owned());
                return keeper.to_owned();
            }
        }
        panic!("nobody keeps house: {}", server.stderr());
    };
    let first = next_keeper(&mut keeping);
    assert!(first.ends_with(", term 1"), "{first}");
    let rust = join(&ground, "prefork", "rust");
    let count = || rust.client().list().unwrap().entries.len();
    await_true("four", || count() == 4);
    await_true("three accept", || {
        rust.client().listeners().unwrap().iter().any(|one| one.acceptors.len() == 3)
    });

    let mut hello = String::new();
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut hello).unwrap();
    assert!(hello.starts_with("hello from server-"), "{hello}");

    let main = rust.client().look_up("main").unwrap().entries.remove(0);
    kill_process(Pid::from_raw(main.pid as i32).unwrap(), Signal::KILL).unwrap();
    // The Rust instance may be quicker; it hands over to one of the children.
    await_true("elected", || {
        rust.term() == 2 && matches!(rust.role(), Role::Supervisor | Role::Subordinate)
    });
    await_true("replaced", || count() == 4);
    if rust.is_supervisor() {
        rust.step_down(PATIENCE).unwrap();
    }
    let second = next_keeper(&mut keeping);
    assert!(!second.ends_with(", term 1"), "{second}");
    // It may be on its way from the supervisor before to this one.
    await_true("back", || count() == 4);
    let replaced = rust.client().look_up(&main.name).unwrap().entries.remove(0);
    assert_ne!(replaced.pid, main.pid);

    server.signal(Signal::TERM);
    expect(&server, "all have left");
    assert_eq!(server.end_code(), 0);
    await_true("alone", || count() == 1);
}

/// Goal: peers in C and in Rust form one masterless group: who is killed is replaced, who leaves
/// hands over. Method: a C process is primary, and killed; a second one is; a Rust peer follows
/// both, and takes over in the end.
#[test]
fn the_c_peer_shares_a_masterless_group_with_rust_peers() {
    let ground = Ground::new();
    let port = ground.port.to_string();
    let program = example("peer");
    let (first, _first_in) = start(&ground, &program, &[&port, "10"]);
    expect(&first, "primary (unopposed)");
    let (mut second, _second_in) = start(&ground, &program, &[&port, "20"]);
    expect(&second, "standby (admitted)");
    let config = pares::masterless::Config::new("peer")
        .local(ground.port)
        .state_directory(&ground.directory)
        .rank(30);
    let rust = Peer::join(config).unwrap();
    assert!(rust.wait_admitted(PATIENCE));
    await_true("both heard", || rust.peers().len() == 3);

    first.kill();
    expect(&second, "primary (unopposed)");
    let of_rank = |rank| rust.peers().into_iter().find(|peer| peer.id.rank() == rank);
    await_true("followed", || of_rank(20).is_some_and(|peer| peer.status == Status::Primary));
    await_true("forgotten", || of_rank(10).is_none());
    second.signal(Signal::TERM);
    expect(&second, "left");
    assert_eq!(second.end_code(), 0);
    await_true("taken over", || rust.lease_ok());
    assert!(rust.token().is_some_and(|token| token.epoch >= 3));
}

/// Goal: whatever can call C can take part.
/// Method: a Python program by ctypes, called, told and read from Rust.
#[test]
fn the_python_example_takes_part() {
    if !has("python3") {
        return;
    }
    let ground = Ground::new();
    let rust = join(&ground, "embed", "rust");
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut command = Command::new("python3");
    command
        .arg(root().join("examples/embed.py"))
        .args(["clara", &ground.port.to_string()])
        .stdin(Stdio::from(reader));
    command.env("PARES_DIR", &ground.directory).env("PARES_LIBRARY", library().join("libpares.so"));
    let mut clara = Proc::start(command);
    expect(&clara, "event: setting greeting hello from Python");
    assert_eq!(rust.get("greeting").as_deref(), Some("hello from Python"));
    assert_eq!(rust.client().call("clara", "shout", b"louder", PATIENCE).unwrap(), b"LOUDER");
    rust.send("clara", "news", b"all is well").unwrap();
    expect(&clara, "event: message rust news all is well");
    drop(writer);
    expect(&clara, "left");
    assert_eq!(clara.end_code(), 0);
}
