//! Hostile peers against every port that listens, and hostile supervisors against those who join.
//!
//! What is attacked is a process of its own: this program again, started with [`target`] as its
//! only test. So its threads and descriptors can be counted exactly, whatever else runs meanwhile.
//! After each attack they must be the very same as before (sockets by inode, so that the lifelines
//! of honest members are the old ones), the registry must be the same to the byte, and an honest
//! client must be served at once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pares::{CallError, Config, Instance, JoinError, Role};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::raw::*;
use crate::support::in_time_once;

mod at_once;
mod calls;
mod in_time;
mod sharing;
mod supervisors;

const GROUP: &str = "hostile";

/// The three ports that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Supervisor,
    Registry,
    Admin,
}

const DOORS: [Door; 3] = [Door::Supervisor, Door::Registry, Door::Admin];

impl Door {
    fn purpose(self) -> u8 {
        match self {
            Door::Supervisor => JOIN,
            Door::Registry => ASK,
            Door::Admin => CALL,
        }
    }

    fn wrong_purpose(self) -> u8 {
        match self {
            Door::Supervisor => CALL,
            Door::Registry => JOIN,
            Door::Admin => ASK,
        }
    }

    /// An honest first request.
    fn first(self) -> Body {
        match self {
            Door::Supervisor => guest().hello(0),
            Door::Registry => Body::of(kind::LIST),
            Door::Admin => call("ping", b"hello"),
        }
    }

    /// Reads the answer to an honest request.
    fn answer(self, peer: &mut Peer) {
        match self {
            Door::Supervisor => assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME),
            Door::Registry => assert!(peer.listing().len() >= 3, "boss and worker"),
            Door::Admin => assert_eq!(peer.frame().expect("an answer"), answer(1, b"hello").0),
        }
    }
}

/// An entry of a name that nobody else has.
fn guest() -> Entry {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Entry::named(format!("guest-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn answer(outcome: u8, payload: &[u8]) -> Body {
    Body::of(kind::ANSWER).u8(outcome).payload(payload)
}

// ------------------------------------------------------------------------------------------------
// the other process

/// A directory of its own for each group, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("pares-hostile-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Directory(path)
    }

    /// The group whose key is in this directory, made by hand.
    fn group(&self) -> Group {
        let key = nonce();
        let path = self.0.join(format!("{GROUP}.key"));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .unwrap()
            .write_all(&key)
            .unwrap();
        Group { name: GROUP.into(), key }
    }

    fn config(&self, port: u16, name: &str) -> Config {
        Config::new(GROUP).directory(&self.0).port(port).name(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// This program again, in the part of [`target`]; it ends when this value or this process does.
struct Other {
    child: Child,
    orders: Option<ChildStdin>,
    words: pares::channel::Receiver<String>,
}

impl Other {
    fn start(part: &str, directory: &Path, port: u16, more: &[(&str, String)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "hostile::target", "--nocapture", "--test-threads=1"])
            .env("PARES_TEST_PART", part)
            .env("PARES_TEST_DIRECTORY", directory)
            .env("PARES_TEST_PORT", port.to_string())
            .envs(more.iter().map(|(name, value)| (format!("PARES_TEST_{name}"), value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, words) = pares::channel::unbounded();
        let output = child.stdout.take().unwrap();
        let sink = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test harness may have begun a line of its own.
                if let Some((_, word)) = line.split_once("@@ ") {
                    _ = sink.send(word.to_owned());
                }
            }
        });
        let errors = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if line.contains("panicked at") {
                    _ = sender.send(line);
                }
            }
        });
        let orders = child.stdin.take();
        Other { child, orders, words }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    fn word(&self) -> String {
        self.words.recv_timeout(PATIENCE).expect("a word from the other process")
    }

    /// The rest of the next word that begins with `start`; others before it are passed over, panics
    /// are not.
    #[track_caller]
    fn expect(&self, start: &str) -> String {
        loop {
            let word = self.word();
            assert!(!word.contains("panicked at"), "{word}");
            if let Some(rest) = word.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// CPU time used so far, in clock ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn say(word: &str) {
    // A line of its own, in one write, whatever else is printed.
    _ = std::io::stdout().write_all(format!("\n@@ {word}\n").as_bytes());
}

/// Goal: to be the process that the tests here attack; by itself it does nothing.
#[test]
fn target() {
    let Ok(part) = env::var("PARES_TEST_PART") else { return };
    let value = |name: &str| env::var(format!("PARES_TEST_{name}")).unwrap_or_default();
    let port: u16 = value("PORT").parse().unwrap();
    let config =
        |name: &str| Config::new(GROUP).directory(value("DIRECTORY")).port(port).name(name);
    raise_limits();
    let mut orders = std::io::stdin().lines().map_while(Result::ok);
    match part.as_str() {
        // A supervisor and a subordinate.
        "serve" => {
            if let Ok(files) = value("FILES").parse() {
                setrlimit(
                    Resource::Nofile,
                    Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) },
                )
                .unwrap();
            }
            let boss = Instance::join(config("boss")).unwrap();
            let worker = Instance::join(config("worker")).unwrap();
            let status = boss.registry().status(PATIENCE).unwrap();
            say(&format!("ready {} {}", status.registry_port, worker.entry().admin));
            let mut watch = None;
            for order in orders {
                if let Some(files) = order.strip_prefix("files ") {
                    let current = Some(files.parse().unwrap());
                    setrlimit(Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) })
                        .unwrap();
                    say("limited");
                    continue;
                }
                assert_eq!(order, "watch");
                let started = boss.registry().watch().unwrap();
                let changes = started.changes().clone();
                thread::spawn(move || {
                    changes.iter().for_each(|change| say(&format!("change {:?}", change.kind)))
                });
                watch = Some(started);
            }
            drop(watch);
        }
        // One that wants to join.
        "join" => {
            say("here");
            orders.next();
            let began = Instant::now();
            let timeout = Duration::from_millis(value("TIMEOUT").parse().unwrap());
            match Instance::join(config(&value("NAME")).join_timeout(timeout)) {
                Ok(instance) => {
                    say(&format!("joined {} {}", instance.role(), instance.term()));
                    let events = instance.events();
                    thread::spawn(move || {
                        events.iter().for_each(|event| say(&format!("event {:?}", event.kind)))
                    });
                    orders.for_each(drop);
                }
                Err(error) => {
                    let debug = format!("{error:?}");
                    let variant = debug.split([' ', '(']).next().unwrap();
                    say(&format!("failed {} {variant} {error}", began.elapsed().as_millis()));
                    orders.for_each(drop);
                }
            }
        }
        part => panic!("no part {part}"),
    }
}

/// Held by tests with thousands of connections or that measure processor time: one at a time, so
/// that they measure what is attacked and not each other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Thousands of connections need thousands of descriptors at both ends.
fn raise_limits() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Threads by name and descriptors by what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Footprint {
    threads: Vec<String>,
    descriptors: Vec<String>,
}

impl Footprint {
    /// Waits until the process has this footprint. Also what has ended may be listed for a moment
    /// longer.
    #[track_caller]
    fn comes_again(&self, pid: u32, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Footprint::of(pid);
            if now == *self {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: left behind: {now:#?} instead of {self:#?}"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn of(pid: u32) -> Self {
        let sorted = |directory: &str, read: &dyn Fn(&Path) -> Option<String>| {
            let entries = fs::read_dir(format!("/proc/{pid}/{directory}")).unwrap().flatten();
            let mut all: Vec<String> = entries.filter_map(|entry| read(&entry.path())).collect();
            all.sort();
            all
        };
        Footprint {
            threads: sorted("task", &|path| fs::read_to_string(path.join("comm")).ok()),
            descriptors: sorted("fd", &|path| {
                Some(fs::read_link(path).ok()?.display().to_string())
            }),
        }
    }
}

/// A group under attack: supervisor `boss` and subordinate `worker`, in one other process.
struct Target {
    other: Other,
    group: Group,
    port: u16,
    registry: u16,
    admin: u16,
    calm: Option<Calm>,
    directory: Directory,
}

/// What must be the same after each attack.
struct Calm {
    footprint: Footprint,
    listing: Vec<Vec<u8>>,
}

impl Target {
    fn start() -> Self {
        Target::with(&[])
    }

    fn with(more: &[(&str, String)]) -> Self {
        raise_limits();
        let directory = Directory::new();
        let (group, port) = (directory.group(), free_port());
        let other = Other::start("serve", &directory.0, port, more);
        let ready = other.expect("ready");
        let ports: Vec<u16> = ready.split(' ').map(|port| port.parse().unwrap()).collect();
        let mut target = Target {
            other,
            group,
            port,
            registry: ports[0],
            admin: ports[1],
            calm: None,
            directory,
        };
        let listing = target.listing();
        // The thread and the descriptor of the question just asked go within moments, as do those
        // that make room in the table of descriptors; the latter may also be still to come. At rest
        // is what stays the same for a while.
        let deadline = Instant::now() + PATIENCE;
        let (mut footprint, mut same) = (Footprint::of(target.other.pid()), 0);
        while same < 5 {
            assert!(Instant::now() < deadline, "the target does not come to rest: {footprint:?}");
            thread::sleep(Duration::from_millis(20));
            let before = std::mem::replace(&mut footprint, Footprint::of(target.other.pid()));
            let passes = footprint.threads.iter().any(|name| name.trim_end() == "pares-room");
            same = if before == footprint && !passes { same + 1 } else { 0 };
        }
        target.calm = Some(Calm { footprint, listing });
        target
    }

    fn port(&self, door: Door) -> u16 {
        match door {
            Door::Supervisor => self.port,
            Door::Registry => self.registry,
            Door::Admin => self.admin,
        }
    }

    fn listing(&self) -> Vec<Vec<u8>> {
        self.group.ask(self.registry, Body::of(kind::LIST))
    }

    fn connect(&self, door: Door) -> Peer {
        Peer::connect(self.port(door))
    }

    /// A connection with the opening sent and answered.
    fn open(&self, door: Door) -> (Peer, Meeting) {
        self.group.open(self.port(door), door.purpose())
    }

    /// A connection with the proof given, and `first` sent with it.
    fn enter(&self, door: Door, first: Body) -> Peer {
        self.group.enter(self.port(door), door.purpose(), first)
    }

    /// A connection with a first request made and answered.
    fn inside(&self, door: Door) -> Peer {
        let mut peer = self.enter(door, door.first());
        door.answer(&mut peer);
        peer
    }

    fn meeting(&self, door: Door) -> Meeting {
        Meeting::new(door.purpose(), &self.group, self.port(door))
    }

    /// An honest client comes, is served, and goes.
    #[track_caller]
    fn serves(&self, door: Door) {
        in_time_once(SOON, || {
            let began = Instant::now();
            let mut peer = self.inside(door);
            let took = began.elapsed();
            if door == Door::Supervisor {
                peer.send(&leaving().frame());
            }
            took
        });
    }

    /// Waits until nothing is left of what happened since the beginning.
    #[track_caller]
    fn is_calm_again(&self, what: &str) {
        self.has_its_footprint_again(what);
        assert_eq!(
            self.listing(),
            self.calm.as_ref().unwrap().listing,
            "{what}: the registry is another"
        );
        // The question was a connection, too.
        self.has_its_footprint_again(what);
    }

    #[track_caller]
    fn has_its_footprint_again(&self, what: &str) {
        self.calm.as_ref().unwrap().footprint.comes_again(self.other.pid(), what);
    }
}

// ----------------------------------------------------------------------------------------------
// what attackers say

/// How a server must end a connection: with these words and no others.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Without a word: what came was no message.
    Cut,
    /// With this refusal.
    Refused(u8),
    /// The attacker has ended it itself.
    Mine,
}

/// The words of `peer`'s last moments, without those that a member is told unasked.
fn last_words(peer: &mut Peer) -> Vec<Vec<u8>> {
    let mut words = peer.rest();
    words.retain(|word| ![kind::WELCOME, kind::ROSTER, kind::STATE].contains(&word[0]));
    words
}

#[track_caller]
fn check_end(what: &str, door: Door, peer: &mut Peer, end: End) {
    let words = last_words(peer);
    match end {
        End::Cut => assert_eq!(words, Vec::<Vec<u8>>::new(), "{what} at {door:?}"),
        End::Refused(refusal) => {
            assert_eq!(words.len(), 1, "{what} at {door:?}: {words:?}");
            assert_eq!(words[0][..2], [kind::REJECTED, refusal], "{what} at {door:?}");
            assert_eq!(words[0][2..6], [0, 1, 0, 1], "its versions");
            assert!(words[0].len() > 8, "{what}: no detail");
        }
        End::Mine => assert_eq!(words, Vec::<Vec<u8>>::new()),
    }
}

/// Sends the frame of `body` as first message.
fn first_message(target: &Target, door: Door, body: Body) -> Peer {
    let mut peer = target.connect(door);
    peer.send(&body.frame());
    peer
}

/// Sends these bytes instead of the first message.
fn first_bytes(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let mut peer = target.connect(door);
    peer.send(bytes);
    peer
}

/// Sends the frame of `body` where a proof is due.
fn instead_of_proof(target: &Target, door: Door, body: Body) -> Peer {
    let (mut peer, _) = target.open(door);
    peer.send(&body.frame());
    peer
}

/// Gives the proof of `meeting`, after changes to it.
fn proof_of(target: &Target, door: Door, change: fn(&mut Meeting)) -> Peer {
    let (mut peer, mut meeting) = target.open(door);
    change(&mut meeting);
    peer.send(
        &[proof(meeting.proof(&target.group.key, CLIENT)).frame(), door.first().frame()].concat(),
    );
    peer
}

/// Sends these bytes right behind the proof.
fn behind_proof(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let (mut peer, meeting) = target.open(door);
    peer.send(&[&proof(meeting.proof(&target.group.key, CLIENT)).frame(), bytes].concat());
    peer
}

/// Sends these bytes after an honest request was answered.
fn later(target: &Target, door: Door, bytes: &[u8]) -> Peer {
    let mut peer = target.inside(door);
    peer.send(bytes);
    peer
}

fn opening(target: &Target, door: Door, change: impl FnOnce(&mut Meeting)) -> Body {
    let mut meeting = target.meeting(door);
    change(&mut meeting);
    meeting.opening()
}

/// splitmix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
