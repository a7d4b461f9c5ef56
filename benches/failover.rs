//! Take-over: from the SIGKILL of the supervisor to the survivor that knows it is supervisor, and to the settled group;
//! in real processes, beside the floor: as many processes, of which one holds a `flock` and the others wait for it.
//!
//! `cargo bench --bench failover [-- SIZE…]`; both are measured in one run, in turns. `PARES_BENCH_ROUNDS` sets how many
//! kills of each (default 40).

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use pares::{Config, EventKind, Instance};
use rustix::fs::FlockOperation;

/// Longer than any step takes on a busy machine; only a defect reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.first().map(String::as_str) {
        Some("member") => member(words[1].parse().expect("port"), Path::new(&words[2])),
        Some("waiter") => waiter(Path::new(&words[1])),
        _ => {
            let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
            measure(if sizes.is_empty() { &[2, 8, 64, 256] } else { &sizes });
        }
    }
}

fn measure(sizes: &[usize]) {
    let rounds: usize = env::var("PARES_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40);
    println!("take-over after SIGKILL, {rounds} kills each, in milliseconds (median, p90)");
    println!("{:>9}  {:>15}  {:>15}  {:>9}  {:>15}", "processes", "flock waiter", "pares", "ratio", "pares settled");
    for &size in sizes {
        let directory = Directory::new();
        let port = free_port();
        let member = |_| {
            let mut command = this();
            command.args(["member", &port.to_string()]).arg(&directory.0);
            command
        };
        let lock = directory.0.join("lock");
        let waiter = |_| {
            let mut command = this();
            command.arg("waiter").arg(&lock);
            command
        };
        let mut group = Crowd::start(size, member);
        group.settle(size);
        let mut crowd = Crowd::start(size, waiter);
        let (mut floor, mut takeover, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (killed, known, all) = group.replace_leader(member, Some(size - 1));
            takeover.push(known - killed);
            settled.push(all - killed);
            group.settle(size);
            let (killed, known, _) = crowd.replace_leader(waiter, None);
            floor.push(known - killed);
        }
        let ratio = quantile(&mut takeover, 0.5) / quantile(&mut floor, 0.5);
        println!(
            "{size:>9}  {:>15}  {:>15}  {ratio:>9.2}  {:>15}",
            both(&mut floor),
            both(&mut takeover),
            both(&mut settled)
        );
    }
}

/// An instance of the group under test; ends when its standard input does.
fn member(port: u16, directory: &Path) {
    let config = Config::new("bench").port(port).directory(directory).join_timeout(DEADLINE);
    let instance = Instance::join(config).expect("join");
    let events = instance.events();
    thread::spawn(move || {
        for event in events {
            match event.kind {
                EventKind::Supervisor { .. } => say("leader", event.monotonic_ns, 0),
                EventKind::Settled { members, .. } if instance.is_supervisor() => {
                    say("settled", event.monotonic_ns, members);
                }
                EventKind::Subordinate { .. } => say("follower", event.monotonic_ns, 0),
                _ => {}
            }
        }
    });
    _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0); // the kernel ends it, as it would any instance
}

/// The floor: waits for the lock, says when it has it.
fn waiter(lock: &Path) {
    let file = File::options().create(true).truncate(false).write(true).open(lock).expect("open the lock");
    thread::spawn(move || {
        rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("lock");
        say("leader", now(), 0);
        std::mem::forget(file);
    });
    say("follower", now(), 0);
    _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

fn say(what: &str, at: u64, members: u32) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{what} {at} {members}");
    _ = out.flush();
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn this() -> Command {
    Command::new(env::current_exe().expect("own path"))
}

/// Processes of one kind, of which one leads; what they say comes in on one channel.
struct Crowd {
    children: BTreeMap<usize, Child>,
    next: usize,
    leader: usize,
    said: Receiver<(usize, String, u64, u32)>,
    sayer: Sender<(usize, String, u64, u32)>,
}

impl Crowd {
    fn start(size: usize, command: impl Fn(usize) -> Command) -> Self {
        let (sayer, said) = channel();
        let mut crowd = Crowd { children: BTreeMap::new(), next: 0, leader: 0, said, sayer };
        for _ in 0..size {
            crowd.add(&command);
        }
        let mut seen = 0;
        while seen < size {
            let (who, what, ..) = crowd.next();
            if what == "leader" {
                crowd.leader = who;
            }
            seen += usize::from(what == "follower" || what == "leader");
        }
        while crowd.leader == usize::MAX {
            crowd.next();
        }
        crowd
    }

    fn add(&mut self, command: &impl Fn(usize) -> Command) {
        let who = self.next;
        self.next += 1;
        let mut child =
            command(who).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a process of the bench");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let sayer = self.sayer.clone();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |at: usize| words[at].parse().expect("a number");
                _ = sayer.send((who, words[0].to_owned(), number(1), number(2) as u32));
            }
        });
        self.children.insert(who, child);
    }

    fn next(&mut self) -> (usize, String, u64, u32) {
        self.said.recv_timeout(DEADLINE).expect("a process of the bench has gone silent")
    }

    /// Waits until the leader says that as many as there are have come; lets all of them go to sleep again.
    fn settle(&mut self, _size: usize) {
        thread::sleep(Duration::from_millis(20)); // a pause between measurements, not a wait for something
        while self.said.try_recv().is_ok() {}
    }

    /// Kills the leader and puts another process in its place; says when it was killed, when its successor
    /// knew, and when that one said that `survivors` were back.
    fn replace_leader(&mut self, command: impl Fn(usize) -> Command, survivors: Option<usize>) -> (u64, u64, u64) {
        let mut victim = self.children.remove(&self.leader).expect("the leader is a child");
        let killed = now();
        victim.kill().expect("kill");
        let (mut known, mut all) = (None, survivors.is_none().then_some(0));
        while known.is_none() || all.is_none() {
            match self.next() {
                (who, what, at, _) if what == "leader" => (self.leader, known) = (who, Some(at)),
                (_, what, at, members) if what == "settled" && Some(members as usize) == survivors => all = Some(at),
                _ => {}
            }
        }
        victim.wait().expect("reap");
        self.add(&command);
        while self.next().1 != "follower" {}
        (killed, known.expect("seen"), all.expect("seen"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("pares-bench-{}-{}", std::process::id(), now()));
        fs::create_dir(&path).expect("make a directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that is free now, below the ephemeral range.
fn free_port() -> u16 {
    (20_000..30_000).rev().find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

fn quantile(values: &mut [u64], at: f64) -> f64 {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * at).round() as usize] as f64 / 1e6
}

fn both(values: &mut [u64]) -> String {
    format!("{:.2}  {:.2}", quantile(values, 0.5), quantile(values, 0.9))
}
