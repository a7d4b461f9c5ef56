//! Hostile peers against every port that listens, and hostile supervisors against those who join.
//!
//! What is attacked is a process of its own: this program again, started with [`target`] as its only test. So its
//! threads and descriptors can be counted exactly, whatever else runs meanwhile. After each attack they must be the very
//! same as before (sockets by inode, so that the lifelines of honest members are the old ones), the registry must be the
//! same to the byte, and an honest client must be served at once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pares::{CallError, Config, Instance, JoinError, Role};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::raw::*;

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

// ------------------------------------------------------------------------------------------------ the other process

/// A directory of its own for each group, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("pares-hostile-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    /// The group whose key is in this directory, made by hand.
    fn group(&self) -> Group {
        use std::os::unix::fs::OpenOptionsExt;
        let key = nonce();
        let path = self.0.join(format!("{GROUP}.key"));
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(&key).unwrap();
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

    /// The rest of the next word that begins with `start`; others before it are passed over, panics are not.
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
    let config = |name: &str| Config::new(GROUP).directory(value("DIRECTORY")).port(port).name(name);
    raise_limits();
    let mut orders = std::io::stdin().lines().map_while(Result::ok);
    match part.as_str() {
        // A supervisor and a subordinate.
        "serve" => {
            if let Ok(files) = value("FILES").parse() {
                setrlimit(Resource::Nofile, Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) }).unwrap();
            }
            let boss = Instance::join(config("boss")).unwrap();
            let worker = Instance::join(config("worker")).unwrap();
            let status = boss.registry().status(PATIENCE).unwrap();
            say(&format!("ready {} {}", status.registry_port, worker.entry().admin));
            let mut watch = None;
            for order in orders {
                if let Some(files) = order.strip_prefix("files ") {
                    let current = Some(files.parse().unwrap());
                    setrlimit(Resource::Nofile, Rlimit { current, ..getrlimit(Resource::Nofile) }).unwrap();
                    say("limited");
                    continue;
                }
                assert_eq!(order, "watch");
                let started = boss.registry().watch().unwrap();
                let changes = started.changes().clone();
                thread::spawn(move || changes.iter().for_each(|change| say(&format!("change {:?}", change.kind))));
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
                    thread::spawn(move || events.iter().for_each(|event| say(&format!("event {:?}", event.kind))));
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

/// Held by tests with thousands of connections or that measure processor time: one at a time, so that they measure what is
/// attacked and not each other.
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
    fn of(pid: u32) -> Self {
        let sorted = |directory: &str, read: &dyn Fn(&Path) -> Option<String>| {
            let entries = fs::read_dir(format!("/proc/{pid}/{directory}")).unwrap().flatten();
            let mut all: Vec<String> = entries.filter_map(|entry| read(&entry.path())).collect();
            all.sort();
            all
        };
        Footprint {
            threads: sorted("task", &|path| fs::read_to_string(path.join("comm")).ok()),
            descriptors: sorted("fd", &|path| Some(fs::read_link(path).ok()?.display().to_string())),
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
        let mut target = Target { other, group, port, registry: ports[0], admin: ports[1], calm: None, directory };
        let listing = target.listing();
        // The thread and the descriptor of the question just asked go within moments, as do those that make room in the
        // table of descriptors; the latter may also be still to come. At rest is what stays the same for a while.
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
        let began = Instant::now();
        let mut peer = self.inside(door);
        let took = began.elapsed();
        assert!(took < SOON, "an honest client of {door:?} was served after {took:?} only");
        if door == Door::Supervisor {
            peer.send(&leaving().frame());
        }
    }

    /// Waits until nothing is left of what happened since the beginning.
    #[track_caller]
    fn is_calm_again(&self, what: &str) {
        self.has_its_footprint_again(what);
        assert_eq!(self.listing(), self.calm.as_ref().unwrap().listing, "{what}: the registry is another");
        // The question was a connection, too.
        self.has_its_footprint_again(what);
    }

    #[track_caller]
    fn has_its_footprint_again(&self, what: &str) {
        let before = &self.calm.as_ref().unwrap().footprint;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Footprint::of(self.other.pid());
            if now == *before {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: left behind: {now:#?} instead of {before:#?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

// ------------------------------------------------------------------------------------------- attacks that end at once

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
    peer.within = SOON;
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

type Attack = (&'static str, fn(&Target, Door) -> Peer, End);

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
    peer.send(&[proof(meeting.proof(&target.group.key, CLIENT)).frame(), door.first().frame()].concat());
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

const ATTACKS: &[Attack] = &[
    // The first message.
    ("zero length", |t, d| first_bytes(t, d, &[0; 4]), End::Cut),
    ("one byte too large", |t, d| first_bytes(t, d, &(STRANGER_LIMIT + 1).to_be_bytes()), End::Cut),
    ("far too large", |t, d| first_bytes(t, d, &[0xff; 4]), End::Cut),
    ("another protocol", |t, d| first_bytes(t, d, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), End::Cut),
    ("unknown kind", |t, d| first_message(t, d, Body::of(255).raw(&[0; 40])), End::Cut),
    (
        "field too short",
        |t, d| {
            let mut body = opening(t, d, |_| {});
            body.0.pop();
            first_message(t, d, body)
        },
        End::Cut,
    ),
    ("field too long", |t, d| first_message(t, d, opening(t, d, |_| {}).u8(0)), End::Cut),
    (
        "wrong magic",
        |t, d| {
            let mut body = opening(t, d, |_| {});
            body.0[1] ^= 1;
            first_message(t, d, body)
        },
        End::Refused(refusal::MALFORMED),
    ),
    (
        "wrong group",
        |t, d| first_message(t, d, opening(t, d, |m| m.group = b"other".to_vec())),
        End::Refused(refusal::OTHER_GROUP),
    ),
    (
        "group with control characters",
        |t, d| first_message(t, d, opening(t, d, |m| m.group = b"host\0ile\x1b[2J\n".to_vec())),
        End::Refused(refusal::OTHER_GROUP),
    ),
    ("empty group", |t, d| first_message(t, d, opening(t, d, |m| m.group.clear())), End::Refused(refusal::OTHER_GROUP)),
    ("group that is not UTF-8", |t, d| first_message(t, d, opening(t, d, |m| m.group = vec![0xff, 0xfe])), End::Cut),
    (
        "versions of the future",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (2, 9))),
        End::Refused(refusal::VERSION),
    ),
    (
        "versions of the past",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (0, 0))),
        End::Refused(refusal::VERSION),
    ),
    (
        "versions the wrong way round",
        |t, d| first_message(t, d, opening(t, d, |m| m.versions = (9, 0))),
        End::Refused(refusal::VERSION),
    ),
    (
        "purpose of another port",
        |t, d| first_message(t, d, opening(t, d, |m| m.purpose = d.wrong_purpose())),
        End::Refused(refusal::MALFORMED),
    ),
    ("purpose that means nothing", |t, d| first_message(t, d, opening(t, d, |m| m.purpose = 9)), End::Cut),
    ("a flood in place of an opening", |t, d| first_bytes(t, d, &[0x50; 300_000]), End::Cut),
    // The proof.
    ("hello twice", |t, d| instead_of_proof(t, d, opening(t, d, |_| {})), End::Refused(refusal::MALFORMED)),
    ("no key", |t, d| instead_of_proof(t, d, proof([0; 32])), End::Refused(refusal::KEY)),
    ("proof too short", |t, d| instead_of_proof(t, d, Body::of(kind::PROOF).raw(&[0; 31])), End::Cut),
    ("proof too long", |t, d| instead_of_proof(t, d, Body::of(kind::PROOF).raw(&[0; 33])), End::Cut),
    (
        "wrong key",
        |t, d| {
            let (mut peer, meeting) = t.open(d);
            peer.send(&[proof(meeting.proof(&[7; 32], CLIENT)).frame(), d.first().frame()].concat());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a whole honest exchange, replayed",
        |t, d| {
            let meeting = t.meeting(d);
            let (mut honest, meeting) = t.group.open_as(meeting);
            let second = [proof(meeting.proof(&t.group.key, CLIENT)).frame(), d.first().frame()].concat();
            honest.send(&second);
            d.answer(&mut honest);
            let mut peer = first_message(t, d, meeting.opening());
            let mut again = meeting.clone();
            take_challenge(&peer.frame().unwrap(), &mut again);
            assert_ne!(again.server_nonce, meeting.server_nonce, "a nonce was used twice");
            peer.send(&second);
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "the server's own proof, reflected",
        |t, d| {
            let (mut peer, meeting) = t.open(d);
            peer.send(&proof(meeting.proof(&t.group.key, SERVER)).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    (
        "a second connection as an oracle",
        |t, d| {
            // What the server proves on one connection, with the nonce it gave on the other.
            let (mut peer, meeting) = t.open(d);
            let mut asked = Meeting { client_nonce: meeting.server_nonce, ..t.meeting(d) };
            let mut oracle = first_message(t, d, asked.opening());
            let answer = take_challenge(&oracle.frame().unwrap(), &mut asked);
            peer.send(&proof(answer).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    ("a proof for the wrong port", |t, d| proof_of(t, d, |m| m.port ^= 1), End::Refused(refusal::KEY)),
    (
        "a proof relayed from another port of the group",
        |t, d| {
            let (mut peer, mut meeting) = t.open(d);
            meeting.port = if d == Door::Admin { t.registry } else { t.admin };
            peer.send(&proof(meeting.proof(&t.group.key, CLIENT)).frame());
            peer
        },
        End::Refused(refusal::KEY),
    ),
    ("a proof for another purpose", |t, d| proof_of(t, d, |m| m.purpose ^= 3), End::Refused(refusal::KEY)),
    ("versions talked down", |t, d| proof_of(t, d, |m| m.versions = (0, 1)), End::Refused(refusal::KEY)),
    ("a proof for another group", |t, d| proof_of(t, d, |m| m.group.push(b'x')), End::Refused(refusal::KEY)),
    // The first request.
    ("zero length behind the proof", |t, d| behind_proof(t, d, &[0; 4]), End::Cut),
    ("too large behind the proof", |t, d| behind_proof(t, d, &(LIMIT + 1).to_be_bytes()), End::Cut),
    ("unknown kind behind the proof", |t, d| behind_proof(t, d, &Body::of(99).frame()), End::Cut),
    (
        "hello twice behind the proof",
        |t, d| behind_proof(t, d, &opening(t, d, |_| {}).frame()),
        End::Refused(refusal::MALFORMED),
    ),
    // Later requests.
    ("zero length later", |t, d| later(t, d, &[0; 4]), End::Refused(refusal::MALFORMED)),
    ("too large later", |t, d| later(t, d, &(LIMIT + 1).to_be_bytes()), End::Refused(refusal::MALFORMED)),
    ("unknown kind later", |t, d| later(t, d, &Body::of(99).frame()), End::Refused(refusal::MALFORMED)),
    ("not UTF-8 later", |t, d| later(t, d, &look_up([0xff, 0xfe]).frame()), End::Refused(refusal::MALFORMED)),
    ("a second hello later", |t, d| later(t, d, &guest().hello(0).frame()), End::Refused(refusal::MALFORMED)),
    (
        "much more behind a mistake",
        |t, d| {
            let much: Vec<u8> = (0..5000).flat_map(|_| state(1).frame()).collect();
            later(t, d, &much)
        },
        End::Refused(refusal::MALFORMED),
    ),
    // Ends.
    (
        "goes without a word",
        |t, d| {
            let peer = t.connect(d);
            peer.half_close();
            peer
        },
        End::Mine,
    ),
    (
        "resets before the challenge is read",
        |t, d| {
            let mut peer = t.connect(d);
            peer.send(&opening(t, d, |_| {}).frame());
            let end = t.connect(d);
            end.half_close();
            peer.reset();
            end
        },
        End::Mine,
    ),
    (
        "resets before the answer is read",
        |t, d| {
            t.enter(d, d.first()).reset();
            let end = t.connect(d);
            end.half_close();
            end
        },
        End::Mine,
    ),
    (
        "is cut in two within a frame",
        |t, d| {
            let mut peer = t.connect(d);
            peer.send(&opening(t, d, |_| {}).frame()[..20]);
            peer.half_close();
            peer
        },
        End::Mine,
    ),
];

fn attack_at_once(door: Door) {
    let target = Target::start();
    for (what, attack, end) in ATTACKS {
        let mut peer = attack(&target, door);
        // The honest do not wait for the attacker to be dealt with.
        target.serves(door);
        check_end(what, door, &mut peer, *end);
        drop(peer);
        target.is_calm_again(what);
    }
}

/// Goal: whoever breaks the protocol at the supervisor port is answered once at most and leaves nothing behind.
/// Method: each attack of the table; the words until the end; an honest client; threads, sockets and registry as before.
#[test]
fn the_supervisor_port_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Supervisor);
}

/// The same for the registry port.
#[test]
fn the_registry_port_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Registry);
}

/// The same for the admin endpoint of a subordinate.
#[test]
fn the_admin_endpoint_answers_an_attack_once_and_nothing_is_left() {
    attack_at_once(Door::Admin);
}

/// Every message of the protocol as the golden bytes have it, with its name.
fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines = include_str!("../golden/messages.txt").lines().filter(|line| !line.starts_with('#'));
    let bytes = |hex: &str| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect();
    lines.filter_map(|line| line.split_once(' ')).map(|(name, hex)| (name, bytes(hex))).collect()
}

/// Goal: each message is taken only where it belongs.
/// Method: every message, as it stands in the golden bytes, at every stage of a connection to every port. Where it does not
/// belong, the answer is one refusal and the end.
#[test]
fn a_message_out_of_its_place_is_refused() {
    let target = Target::start();
    for door in DOORS {
        for (name, frame) in golden() {
            let what = |stage: &str| format!("{name} {stage}");
            let refused = |refusal| End::Refused(refusal);

            let end = if name == "Opening" { refusal::OTHER_GROUP } else { refusal::MALFORMED };
            check_end(&what("first"), door, &mut first_bytes(&target, door, &frame), refused(end));

            let (mut peer, _) = target.open(door);
            peer.send(&frame);
            let end = if name == "Proof" { refusal::KEY } else { refusal::MALFORMED };
            check_end(&what("as proof"), door, &mut peer, refused(end));

            let at_home = match door {
                Door::Supervisor => name == "Hello",
                Door::Registry => ["List", "LookUp", "StatusQuery", "Watch"].contains(&name),
                Door::Admin => name == "Call",
            };
            if !at_home {
                let mut peer = behind_proof(&target, door, &frame);
                check_end(&what("as request"), door, &mut peer, refused(refusal::MALFORMED));
            }
            // The supervisor's goodbye is not a subordinate's either.
            if !at_home || door == Door::Supervisor {
                let mut peer = later(&target, door, &frame);
                check_end(&what("later"), door, &mut peer, refused(refusal::MALFORMED));
            }
        }
        target.serves(door);
    }
    // At the supervisor port one may also ask, for the status and nothing else.
    for (name, frame) in golden().into_iter().filter(|(name, _)| *name != "StatusQuery") {
        let (mut peer, meeting) = target.group.open(target.port, ASK);
        peer.send(&[proof(meeting.proof(&target.group.key, CLIENT)).frame(), frame].concat());
        check_end(name, Door::Supervisor, &mut peer, End::Refused(refusal::MALFORMED));
    }
    target.is_calm_again("all messages");
}

/// Goal: an entry that would garble a table, a log or a terminal gets into no registry.
/// Method: hellos with such names, keys, values and functions; each is refused, or cut off where it is not even text.
#[test]
fn garbled_names_get_into_no_registry() {
    let target = Target::start();
    let named = |name: &[u8]| Entry::named(name);
    let mut garbled: Vec<Entry> =
        ["", "main", "@all", "-v", "a b", "a\0b", "a\nb", "\x1b[2J", "a\u{85}b", "a\u{2028}b"]
            .iter()
            .map(|name| named(name.as_bytes()))
            .collect();
    garbled.push(named(&[b'x'; 129]));
    for (key, value) in [("", "v"), ("a=b", "v"), ("a\0", "v"), ("k", "a\nb"), ("k", "\x1b]0;x\x07"), ("k", "\0")] {
        garbled.push(guest().with_meta(key, value));
    }
    garbled.push(guest().with_meta("k", [b'v'; 4096]));
    garbled.push((0..33).fold(guest(), |entry, number| entry.with_meta(number.to_string(), "")));
    for function in ["", "a b", "a\0", "-x", "\x1b[2J"] {
        garbled.push(Entry { functions: vec![function.into()], ..guest() });
    }
    garbled.push(Entry { functions: vec![vec![b'f'; 65]], ..guest() });
    garbled.push(Entry { functions: (0..65).map(|number| format!("f{number}").into()).collect(), ..guest() });
    garbled.push(Entry { admin: 0, ..guest() });
    for entry in &garbled {
        let mut peer = target.enter(Door::Supervisor, entry.hello(0));
        check_end(&format!("{entry:?}"), Door::Supervisor, &mut peer, End::Refused(refusal::MALFORMED));
    }

    let no_text = [
        named(&[0xff, 0xfe]),
        guest().with_meta([0xc3], "v"),
        guest().with_meta("k", [0x80]),
        Entry { functions: vec![vec![0xf0, 0x9f]], ..guest() },
    ];
    for entry in &no_text {
        let mut peer = target.enter(Door::Supervisor, entry.hello(0));
        check_end(&format!("{entry:?}"), Door::Supervisor, &mut peer, End::Cut);
    }
    target.serves(Door::Supervisor);
    target.is_calm_again("garbled names");

    // Asking for such names is no crime: they are not there.
    for name in ["a\0b", "\x1b[2J", ""] {
        assert_eq!(target.group.ask(target.registry, look_up(name)).len(), 1, "{name:?} was found");
        let mut peer = target.enter(Door::Admin, call(name, b""));
        assert_eq!(peer.frame(), Some(answer(3, b"").0), "{name:?} is no function");
    }
    target.is_calm_again("questions for garbled names");
}

/// Goal: nobody takes the name of a living instance, neither a subordinate's nor the supervisor's.
#[test]
fn the_name_of_a_living_instance_is_refused_to_another() {
    let target = Target::start();
    for name in ["boss", "worker"] {
        let mut peer = target.enter(Door::Supervisor, Entry::named(name).hello(0));
        let words = last_words(&mut peer);
        assert_eq!(words.len(), 1);
        assert_eq!(words[0][..2], [kind::REJECTED, refusal::NAME_TAKEN]);
        let detail = String::from_utf8_lossy(&words[0][8..]).into_owned();
        assert!(detail.contains(&format!("pid {}", target.other.pid())), "{detail}");
    }
    target.serves(Door::Supervisor);
    target.is_calm_again("taken names");
}

/// Goal: a length inside a message that its sender has forged costs that sender its connection, and nobody else anything.
/// Method: 10,000 messages at every stage and port, each with random numbers over two of its bytes and more cut off or
/// added; from a fixed seed, which with the number of the round is in the message of a failure.
#[test]
fn forged_lengths_cost_only_their_sender() {
    const SEED: u64 = 0x7061_7265_735f_3031;
    let mut target = Target::start();
    let mut random = Random(SEED);
    let (limit, mut peers) = (32, Vec::new());
    for round in 0..10_000 {
        let door = DOORS[random.below(3)];
        // Most of them by strangers, some by those who have the key.
        let stage = [0, 0, 0, 0, 0, 0, 0, 1, 2, 2][random.below(10)];
        let mut body = match stage {
            0 => opening(&target, door, |_| {}),
            1 => proof([3; 32]),
            _ => match door {
                Door::Supervisor => guest().with_meta("key", "value").hello(3),
                Door::Registry => look_up("worker"),
                Door::Admin => call("ping", b"hello"),
            },
        };
        let at = 1 + random.below(body.0.len() - 1);
        // Where the lengths are, more often than elsewhere.
        let at = if stage == 0 && random.below(2) == 0 { 10 } else { at };
        let forged = [random.next() as u16, 0xffff, 0, random.next() as u16 % 64][random.below(4)].to_be_bytes();
        body.0.iter_mut().skip(at).zip(forged).for_each(|(byte, new)| *byte = new);
        match random.below(3) {
            0 => {}
            1 => body.0.truncate(1 + random.below(body.0.len())),
            _ => body.0.extend(std::iter::repeat_n(random.next() as u8, random.below(100))),
        }
        let mut peer = match stage {
            0 => target.connect(door),
            1 => target.open(door).0,
            _ => {
                let (mut peer, meeting) = target.open(door);
                peer.send(&proof(meeting.proof(&target.group.key, CLIENT)).frame());
                peer
            }
        };
        peer.send(&body.frame());
        peer.half_close();
        peers.push((round, door, stage, peer));
        if peers.len() == limit {
            peers.drain(..).for_each(check);
        }
    }
    peers.drain(..).for_each(check);
    DOORS.iter().for_each(|&door| target.serves(door));
    // The last term that a hello names is among the forged numbers, and raises the group's.
    let term = target.listing()[0][1..9].to_owned();
    target.calm.as_mut().unwrap().listing[0][1..9].copy_from_slice(&term);
    target.is_calm_again("forged lengths");

    fn check((round, door, stage, mut peer): (i32, Door, usize, Peer)) {
        let words: Vec<Vec<u8>> = peer.rest();
        let kinds: Vec<u8> = words.iter().map(|word| word[0]).collect();
        let allowed: &[u8] = match (stage, door) {
            (0, _) => &[kind::CHALLENGE, kind::REJECTED],
            (1, _) => &[kind::REJECTED],
            (_, Door::Supervisor) => &[kind::WELCOME, kind::ROSTER, kind::STATE, kind::REJECTED],
            (_, Door::Registry) => &[kind::LISTING, kind::MEMBER, kind::REJECTED],
            (_, Door::Admin) => &[kind::ANSWER, kind::REJECTED],
        };
        assert!(kinds.iter().all(|kind| allowed.contains(kind)), "seed {SEED:#x}, round {round}: {words:?}");
        let refused = kinds.iter().position(|&kind| kind == kind::REJECTED);
        assert!(refused.is_none_or(|at| at + 1 == kinds.len()), "seed {SEED:#x}, round {round}: {words:?}");
    }
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

// ---------------------------------------------------------------------------------------------- attacks that take time

type Wait = (&'static str, fn(&Target, Door) -> Peer);

/// Those who keep a connection and never finish the handshake. Each returns once it has nothing more to say.
const WAITS: &[Wait] = &[
    ("no data", |t, d| t.connect(d)),
    ("one byte", |t, d| first_bytes(t, d, &[0])),
    ("length only", |t, d| first_bytes(t, d, &51u32.to_be_bytes())),
    ("partial frame, then silence", |t, d| {
        let frame = opening(t, d, |_| {}).frame();
        first_bytes(t, d, &frame[..frame.len() - 1])
    }),
    ("byte by byte", |t, d| {
        // A group name as long as it may be, so that there is enough to send.
        let frame = opening(t, d, |m| m.group = vec![b'x'; 400]).frame();
        trickle(t.connect(d), &frame)
    }),
    ("an opening, then silence", |t, d| t.open(d).0),
    ("half a proof, then silence", |t, d| {
        let (mut peer, meeting) = t.open(d);
        peer.send(&proof(meeting.proof(&t.group.key, CLIENT)).frame()[..20]);
        peer
    }),
    ("a proof byte by byte", |t, d| {
        let (mut peer, _) = t.open(d);
        peer.send(&500u32.to_be_bytes());
        trickle(peer, &[3; 500])
    }),
    ("a proof, then silence", |t, d| behind_proof(t, d, &[])),
    ("half a request, then silence", |t, d| behind_proof(t, d, &Body::of(kind::LIST).raw(&[0; 100]).frame()[..50])),
    ("a request byte by byte", |t, d| trickle(behind_proof(t, d, &[]), &call("ping", &[0; 1000]).frame())),
];

/// Sends a byte every 20 ms until the other end has had enough.
fn trickle(mut peer: Peer, bytes: &[u8]) -> Peer {
    for byte in bytes.iter().take(300) {
        if !peer.send(&[*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    peer
}

/// Goal: who does not finish the handshake is cut off after two seconds, however it spends them, and keeps nobody waiting.
/// Method: all of them at once at all three ports; honest clients all the while, each served at once.
#[test]
fn the_silent_and_the_slow_are_cut_off_and_keep_nobody_waiting() {
    let target = Target::start();
    thread::scope(|scope| {
        let mut hostile = Vec::new();
        for &(what, wait) in WAITS {
            for door in DOORS {
                let target = &target;
                hostile.push(scope.spawn(move || {
                    let began = Instant::now();
                    let words = wait(target, door).rest();
                    let took = began.elapsed();
                    assert_eq!(words, Vec::<Vec<u8>>::new(), "{what} at {door:?}");
                    let limits = Duration::from_millis(1900)..Duration::from_millis(4000);
                    assert!(limits.contains(&took), "{what} at {door:?}: cut off after {took:?}");
                }));
            }
        }
        while !hostile.iter().all(|thread| thread.is_finished()) {
            DOORS.iter().for_each(|&door| target.serves(door));
        }
    });
    target.is_calm_again("the silent and the slow");
}

/// Goal: no number of connections without the key keeps an honest client out.
/// Method: more silent connections than a port bears, then twice as many with a valid opening, which is all that a
/// stranger can say; after each an honest client has to be served long before the hostile ones time out.
fn crowd(door: Door) {
    let _alone = alone();
    let target = Target::start();
    let mut crowd: Vec<Peer> = (0..1100).map(|_| target.connect(door)).collect();
    target.serves(door);
    target.serves(door);
    crowd.clear();
    target.is_calm_again("silent crowd");

    let opening = opening(&target, door, |_| {}).frame();
    for _ in 0..2000 {
        let mut peer = target.connect(door);
        peer.send(&opening);
        crowd.push(peer);
    }
    target.serves(door);
    DOORS.iter().for_each(|&door| target.serves(door));
    drop(crowd);
    target.is_calm_again("crowd with openings");
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_supervisor_port_keeps_no_honest_client_out() {
    crowd(Door::Supervisor);
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_registry_port_keeps_no_honest_client_out() {
    crowd(Door::Registry);
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_admin_endpoint_keeps_no_honest_client_out() {
    crowd(Door::Admin);
}

/// Goal: floods of bytes, random ones and valid ones, do not keep honest clients waiting.
/// Method: a second of each from several senders at all ports; honest clients all the while.
#[test]
fn floods_keep_nobody_waiting() {
    let _alone = alone();
    let target = Target::start();
    for what in ["random bytes", "openings", "requests"] {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (number, door) in DOORS.iter().copied().cycle().take(6).enumerate() {
                let (target, over) = (&target, &over);
                scope.spawn(move || {
                    let mut random = Random(number as u64);
                    let noise: Vec<u8> = (0..65_536).map(|_| random.next() as u8).collect();
                    while !over.load(Ordering::Relaxed) {
                        match what {
                            "random bytes" => {
                                let mut peer = target.connect(door);
                                while peer.send(&noise) && !over.load(Ordering::Relaxed) {}
                            }
                            "openings" => {
                                let mut peer = target.connect(door);
                                peer.send(&opening(target, door, |_| {}).frame().repeat(100));
                                peer.rest();
                            }
                            _ => match door {
                                Door::Supervisor => drop(target.enter(door, door.first())),
                                Door::Registry | Door::Admin => {
                                    let mut peer = target.inside(door);
                                    peer.send(&door.first().frame().repeat(100));
                                    (0..100).for_each(|_| door.answer(&mut peer));
                                }
                            },
                        }
                    }
                });
            }
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                DOORS.iter().for_each(|&door| target.serves(door));
            }
            over.store(true, Ordering::Relaxed);
        });
        target.is_calm_again(what);
    }
}

/// Goal: who asks and never reads the answers delays nobody and is cut off.
/// Method: pipelined questions for a large registry, pipelined calls with large results, and a watcher, all with small
/// receive buffers and never a read, while the registry changes. Honest clients meanwhile; the process is as before once
/// the write timeout (5 s) has passed and the watcher is gone.
#[test]
fn who_never_reads_delays_nobody_and_is_cut_off() {
    let _alone = alone();
    let target = Target::start();
    let large = |number: usize| guest().with_meta("number", number.to_string()).with_meta("ballast", [b'x'; 4000]);
    // Together more than the kernel keeps for one who does not read.
    let members: Vec<Peer> = (0..1000).map(|number| target.group.join(target.port, &large(number))).collect();

    // Goes on sending until the server has had enough; true if that comes to pass.
    let deaf = |mut peer: Peer, more: Vec<u8>| {
        socket2::SockRef::from(&peer.stream).set_recv_buffer_size(4096).unwrap();
        thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            while peer.send(&more) {
                if Instant::now() > deadline {
                    return false;
                }
                thread::sleep(Duration::from_millis(20));
            }
            true
        })
    };
    let list = Body::of(kind::LIST);
    let lists = deaf(target.enter(Door::Registry, list.clone()), list.frame().repeat(100));
    let large_call = call("ping", &[b'x'; 200_000]);
    let calls = deaf(target.enter(Door::Admin, large_call.clone()), large_call.frame());
    let watcher = target.enter(Door::Registry, Body::of(kind::WATCH));
    socket2::SockRef::from(&watcher.stream).set_recv_buffer_size(4096).unwrap();
    // A member that never reads either: as a witness it is told of everyone who comes and goes.
    let member = target.group.join(target.port, &guest());

    for number in 0..60 {
        drop(target.group.join(target.port, &large(number)));
        if number % 10 == 0 {
            DOORS.iter().for_each(|&door| target.serves(door));
        }
    }
    DOORS.iter().for_each(|&door| target.serves(door));
    drop((members, watcher, member));
    // It is the server that must have had enough of the other two.
    assert!(lists.join().unwrap(), "an asker that never reads is not cut off");
    assert!(calls.join().unwrap(), "a caller that never reads is not cut off");
    target.is_calm_again("who never reads");
}

/// Goal: as many clients with the key as a port serves do not shut it: the one that was idle longest makes room.
/// Method: 1,024 idle askers and some more; then watchers, which are never idle, so that the next one is told that the port
/// is busy, and told so at once.
#[test]
fn idle_askers_make_room_and_busy_ones_do_not() {
    let _alone = alone();
    let target = Target::start();
    let mut askers: Vec<Peer> = (0..1030).map(|_| target.inside(Door::Registry)).collect();
    assert_eq!(last_words(&mut askers[0]), Vec::<Vec<u8>>::new(), "the one that was idle longest");
    target.serves(Door::Registry);
    drop(askers);
    target.is_calm_again("idle askers");

    let watchers: Vec<Peer> = (0..1024)
        .map(|_| {
            let mut peer = target.enter(Door::Registry, Body::of(kind::WATCH));
            peer.listing();
            peer
        })
        .collect();
    let mut refused = target.enter(Door::Registry, Body::of(kind::LIST));
    check_end("one too many", Door::Registry, &mut refused, End::Refused(refusal::BUSY));
    target.serves(Door::Supervisor);
    drop(watchers);
    target.is_calm_again("watchers");
}

/// Goal: a watch that finds the registry port busy waits for it, neither spinning nor giving up.
/// Method: 1,024 watchers hold the port; the supervisor's own watch is begun; CPU time; then the others go.
#[test]
fn a_watch_that_is_turned_away_comes_back_without_spinning() {
    let _alone = alone();
    let mut target = Target::start();
    let watchers: Vec<Peer> = (0..1024)
        .map(|_| {
            let mut peer = target.enter(Door::Registry, Body::of(kind::WATCH));
            peer.listing();
            peer
        })
        .collect();
    target.other.order("watch");
    let before = target.other.ticks();
    thread::sleep(Duration::from_secs(1)); // there is no event to wait for: nothing must happen
    let used = target.other.ticks() - before;
    assert!(used < 30, "{} ms of CPU in a second", used * 10);
    drop(watchers);
    target.other.expect("change Joined");
}

/// Goal: a supervisor that has no descriptor left turns clients away without spinning, keeps its members, and serves
/// again as soon as there are some.
/// Method: a process with a low limit; idle askers with the key take all of it; then more come; CPU time; then they go.
#[test]
fn a_supervisor_without_descriptors_turns_clients_away_and_recovers() {
    let _alone = alone();
    let target = Target::with(&[("FILES", "64".into())]);
    let mut askers = Vec::new();
    let opening = opening(&target, Door::Registry, |_| {}).frame();
    loop {
        let mut peer = target.connect(Door::Registry);
        peer.within = SOON;
        peer.send(&opening);
        if peer.frame().is_none() {
            break; // turned away
        }
        drop(peer);
        askers.push(target.inside(Door::Registry));
        assert!(askers.len() < 64, "there is no limit");
    }
    let before = target.other.ticks();
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(1) {
        let mut crowd: Vec<Peer> = (0..30).map(|number| target.connect(DOORS[number % 3])).collect();
        for peer in &mut crowd {
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new(), "turned away without a word");
        }
        rounds += 1;
    }
    let (used, waited) = (target.other.ticks() - before, began.elapsed());
    assert!(waited < Duration::from_secs(5), "{rounds} crowds were turned away in {waited:?}");
    assert!(used * 10 < waited.as_millis() as u64 / 3, "{} ms of CPU in {waited:?}", used * 10);
    drop(askers);
    let deadline = Instant::now() + PATIENCE;
    // Whoever comes in the moment before the descriptors are free is still turned away.
    while Footprint::of(target.other.pid()).descriptors.len()
        > target.calm.as_ref().unwrap().footprint.descriptors.len()
    {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_millis(100)); // its longest pause between two looks
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: also without the descriptor kept for turning clients away, a port does not spin.
/// Method: the limit falls below what the process has open, so that nothing can be opened, not even in its place; clients
/// come; CPU time; then the limit is lifted and they are served, without having to come again.
#[test]
fn a_supervisor_that_can_open_nothing_at_all_does_not_spin_and_recovers() {
    let _alone = alone();
    let mut target = Target::start();
    target.other.order("files 3");
    target.other.expect("limited");
    let meetings = DOORS.map(|door| target.meeting(door));
    let mut waiting = meetings.map(|meeting| {
        let mut peer = Peer::connect(meeting.port);
        peer.send(&meeting.opening().frame());
        peer
    });
    let before = target.other.ticks();
    thread::sleep(Duration::from_secs(1)); // there is no event to wait for: nothing must happen
    let used = target.other.ticks() - before;
    assert!(used < 30, "{} ms of CPU in a second", used * 10);
    target.other.order("files 1024");
    target.other.expect("limited");
    for peer in &mut waiting {
        peer.within = SOON;
        assert_eq!(peer.frame().expect("a challenge")[0], kind::CHALLENGE);
    }
    drop(waiting);
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: a member that lies about the terms it has seen brings no supervisor down.
#[test]
fn the_highest_term_there_is_brings_no_supervisor_down() {
    let target = Target::start();
    for last_term in [u64::MAX, u64::MAX - 1, u64::MAX] {
        let hello = guest().hello(last_term).0;
        // With a complete roster, so that all of what a hello can say is looked at.
        let hello = Body([&hello[..hello.len() - 3], &[0, 1, 0x4e, 0x20, 1]].concat());
        let mut peer = target.enter(Door::Supervisor, hello);
        assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME);
    }
    DOORS.iter().for_each(|&door| target.serves(door));
    assert!(target.other.words.try_recv().is_err(), "a thread panicked");
}

// ------------------------------------------------------------------------------------------------ hostile supervisors

/// Somebody else on the supervisor port.
struct Impostor {
    over: Arc<AtomicBool>,
    port: u16,
    thread: Option<thread::JoinHandle<()>>,
}

impl Impostor {
    fn start(listener: TcpListener, group: Group, behave: fn(&mut Peer, &Group, u16)) -> Self {
        let (over, port) = (Arc::new(AtomicBool::new(false)), listener.local_addr().unwrap().port());
        let flag = over.clone();
        let accepting = thread::spawn(move || {
            thread::scope(|scope| {
                loop {
                    let mut peer = Peer::accept(&listener);
                    if flag.load(Ordering::Relaxed) {
                        break;
                    }
                    let group = group.clone();
                    scope.spawn(move || behave(&mut peer, &group, port));
                }
            });
        });
        Impostor { over, port, thread: Some(accepting) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(Peer::connect(self.port));
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || thread::panicking(), "the impostor failed");
    }
}

fn listener() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())) {
            return listener;
        }
    }
}

/// Keeps the connection until the other end has had enough.
fn hold(peer: &mut Peer) {
    let mut bytes = [0; 4096];
    peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while peer.stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

/// Reads the opening and answers with this.
fn reply(peer: &mut Peer, body: Body) {
    if peer.frame().is_some() {
        peer.send(&body.frame());
        hold(peer);
    }
}

struct Lie {
    what: &'static str,
    behave: fn(&mut Peer, &Group, u16),
    /// The join timeout of the one who comes.
    timeout_ms: u64,
    /// Within what time it has to give up.
    within_ms: std::ops::Range<u64>,
    variant: &'static str,
    message: &'static [&'static str],
}

const SAYS_WHO: &str = "(pid ";

fn lies() -> Vec<Lie> {
    let deadline = |what, behave| Lie {
        what,
        behave,
        timeout_ms: 700,
        within_ms: 700..7000,
        variant: "Deadline",
        message: &["no role after", "takes connections and does not answer", SAYS_WHO],
    };
    let stranger = |what, behave| Lie {
        what,
        behave,
        timeout_ms: 10_000,
        within_ms: 0..7000,
        variant: "PortHeld",
        message: &["is held by", "not by a pares instance", SAYS_WHO],
    };
    let keyless = |what, behave| Lie {
        variant: "KeyMismatch",
        message: &["does not have this group's key", SAYS_WHO],
        ..stranger(what, behave)
    };
    vec![
        deadline("silent", |peer, _, _| hold(peer)),
        deadline("length only", |peer, _, _| {
            peer.send(&67u32.to_be_bytes());
            hold(peer);
        }),
        deadline("byte by byte", |peer, group, port| {
            let frame = Meeting::new(JOIN, group, port).challenge(&group.key).frame();
            frame
                .iter()
                .take_while(|&&byte| {
                    thread::sleep(Duration::from_millis(20));
                    peer.send(&[byte])
                })
                .for_each(drop);
            hold(peer);
        }),
        deadline("the right proof, then silence", |peer, group, port| {
            group.admit(peer, port);
            hold(peer);
        }),
        stranger("another protocol that speaks first", |peer, _, _| {
            peer.send(b"SSH-2.0-OpenSSH_9.9\r\n");
            hold(peer);
        }),
        stranger("another protocol that answers", |peer, _, _| {
            peer.frame();
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }),
        stranger("zeros", |peer, _, _| {
            peer.send(&[0; 10_000]);
            hold(peer);
        }),
        stranger("closes at once", |_, _, _| {}),
        stranger("resets at once", |peer, _, _| {
            socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }),
        stranger("closes after the opening", |peer, _, _| drop(peer.frame())),
        stranger("answers with a frame too large", |peer, _, _| {
            peer.send(&(STRANGER_LIMIT + 1).to_be_bytes());
            hold(peer);
        }),
        stranger("answers with the opening", |peer, _, _| {
            if let Some(opening) = peer.frame() {
                peer.send(&Body(opening).frame());
                hold(peer);
            }
        }),
        stranger("answers with a welcome", |peer, _, _| reply(peer, welcome(1, "liar"))),
        // What only a supervisor may say is not believed of one who has proved nothing.
        stranger("says that the name is taken", |peer, _, _| {
            reply(peer, rejected(refusal::NAME_TAKEN, (1, 1), "a living instance (pid 1)"));
        }),
        stranger("says that the group is full", |peer, _, _| {
            reply(peer, rejected(refusal::GROUP_FULL, (1, 1), "full"));
        }),
        stranger("says that it is busy", |peer, _, _| reply(peer, rejected(refusal::BUSY, (1, 1), "busy"))),
        stranger("says that it is stepping down", |peer, _, _| {
            reply(peer, rejected(refusal::STEPPING_DOWN, (1, 1), "soon"));
        }),
        stranger("the right proof, then nonsense", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&Body::of(kind::LIST).frame());
            hold(peer);
        }),
        stranger("the right proof, then no message", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&[0xff; 64]);
            hold(peer);
        }),
        stranger("a welcome by one whose name garbles a terminal", |peer, group, port| {
            group.admit(peer, port);
            peer.send(&welcome(1, "\x1b[2J").frame());
            hold(peer);
        }),
        keyless("no key", |peer, group, port| {
            let meeting = Meeting::new(JOIN, group, port);
            reply(peer, meeting.challenge(&group.key)); // right key, wrong nonce
        }),
        keyless("wrong key", |peer, _, port| {
            let Some(opening) = peer.frame() else { return };
            let meeting = Meeting { port, ..take_opening(&opening) };
            peer.send(&meeting.challenge(&[7; 32]).frame());
            // Nothing of the hello is shown to one who has not proved itself.
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
        }),
        keyless("the client's nonce, reflected", |peer, group, port| {
            let Some(opening) = peer.frame() else { return };
            let mut meeting = Meeting { port, ..take_opening(&opening) };
            meeting.server_nonce = meeting.client_nonce;
            let body = Body::of(kind::CHALLENGE).u16(1).raw(&meeting.server_nonce);
            peer.send(&body.raw(&meeting.proof(&group.key, CLIENT)).frame());
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
        }),
        keyless("says that our key is wrong", |peer, _, _| {
            reply(peer, rejected(refusal::KEY, (1, 1), "wrong proof"));
        }),
        Lie {
            variant: "OtherGroup",
            message: &["serves the group `web`, not `hostile`"],
            ..stranger("another group", |peer, _, _| reply(peer, rejected(refusal::OTHER_GROUP, (1, 1), "web")))
        },
        Lie {
            variant: "OtherGroup",
            message: &["the group `\\u{1b}[2J\\r\\n`"],
            ..stranger("another group, whose name garbles a terminal", |peer, _, _| {
                reply(peer, rejected(refusal::OTHER_GROUP, (1, 1), "\x1b[2J\r\n"));
            })
        },
        Lie {
            variant: "Version",
            message: &["speaks protocol version 2 to 3, this instance 1"],
            ..stranger("other versions", |peer, _, _| reply(peer, rejected(refusal::VERSION, (2, 3), "1 to 1")))
        },
        Lie {
            variant: "Version",
            message: &["speaks protocol version 7, this instance 1"],
            ..stranger("a challenge of another version", |peer, group, port| {
                let meeting = Meeting { version: 7, ..Meeting::new(JOIN, group, port) };
                reply(peer, meeting.challenge(&group.key));
            })
        },
        Lie {
            variant: "NameTaken",
            message: &["the name `comer` belongs to a living instance \\u{7}"],
            ..stranger("the name is taken", |peer, group, port| {
                group.admit(peer, port);
                peer.send(&rejected(refusal::NAME_TAKEN, (1, 1), "a living instance \x07").frame());
                hold(peer);
            })
        },
        Lie {
            variant: "GroupFull",
            message: &["the group is full: two"],
            ..stranger("the group is full", |peer, group, port| {
                group.admit(peer, port);
                peer.send(&rejected(refusal::GROUP_FULL, (1, 1), "two").frame());
                hold(peer);
            })
        },
    ]
}

/// Goal: whoever sits on the supervisor port, an instance that wants to join says what is wrong and who it is, in time, and
/// leaves nothing behind.
/// Method: a process that joins, for each lie; its error's variant, text and time; its threads and descriptors after.
#[test]
fn whoever_sits_on_the_port_is_recognised_and_named() {
    let lies = lies();
    // Some at a time: each is a process, and the times are to mean something.
    for some in lies.chunks(8) {
        thread::scope(|scope| some.iter().for_each(|lie| _ = scope.spawn(|| check_lie(lie))));
    }
}

/// A thread by which this process passes for an instance: what is silent may then be a supervisor that is only stopped.
struct LooksLikeAnInstance {
    over: std::sync::mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LooksLikeAnInstance {
    fn new() -> Self {
        let (over, wait) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("pares-role".into()).spawn(move || _ = wait.recv()).unwrap();
        LooksLikeAnInstance { over, thread: Some(thread) }
    }
}

impl Drop for LooksLikeAnInstance {
    fn drop(&mut self) {
        _ = self.over.send(());
        _ = self.thread.take().unwrap().join();
    }
}

fn check_lie(lie: &Lie) {
    let _silent = LooksLikeAnInstance::new();
    let directory = Directory::new();
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let _impostor = Impostor::start(listener, directory.group(), lie.behave);
    check_failure(lie, &directory, port);
}

fn check_failure(lie: &Lie, directory: &Directory, port: u16) {
    let Lie { what, timeout_ms, within_ms, variant, message, .. } = lie;
    let timeout = ("TIMEOUT", timeout_ms.to_string());
    let mut comer = Other::start("join", &directory.0, port, &[timeout, ("NAME", "comer".into())]);
    comer.expect("here");
    let before = Footprint::of(comer.pid());
    comer.order("join");
    let failed = comer.expect("");
    let words: Vec<&str> = failed.splitn(4, ' ').collect();
    let ["failed", ms, seen, text] = words[..] else { panic!("{what}: {failed}") };
    let who = format!("(pid {}", std::process::id());
    for part in *message {
        let part = if *part == SAYS_WHO { &who } else { *part };
        assert!(text.contains(part), "{what}: `{part}` is not in: {seen} {text}");
    }
    assert_eq!(seen, *variant, "{what}: {text}");
    assert!(within_ms.contains(&ms.parse().unwrap()), "{what}: after {ms} ms: {text}");
    assert!(!text.contains(char::is_control), "{what}: {text:?}");
    assert_eq!(Footprint::of(comer.pid()), before, "{what}: left behind");
}

/// A socket that holds a port and does not listen.
fn bound() -> (socket2::Socket, u16) {
    loop {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let port = free_port();
        if socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()).is_ok() {
            return (socket, port);
        }
    }
}

/// Goal: a port that is bound and not listened on keeps an instance waiting only until its deadline.
#[test]
fn a_port_that_is_held_without_listening_is_a_deadline() {
    let directory = Directory::new();
    directory.group();
    let (_socket, port) = bound();
    let lie = Lie {
        what: "bound, not listening",
        behave: |_, _, _| {},
        timeout_ms: 500,
        within_ms: 500..7000,
        variant: "Deadline",
        message: &["no role after", "nobody on the port"],
    };
    check_failure(&lie, &directory, port);
}

/// Goal: a holder that takes nothing off its queue is the same as a silent one, also once the queue is full.
#[test]
fn a_holder_that_never_accepts_is_a_deadline() {
    let directory = Directory::new();
    directory.group();
    let (socket, port) = bound();
    socket.listen(0).unwrap();
    let _fills_the_queue = Peer::connect(port);
    let _silent = LooksLikeAnInstance::new();
    let lie = Lie {
        what: "listening, never accepting",
        behave: |_, _, _| {},
        timeout_ms: 700,
        within_ms: 700..7000,
        variant: "Deadline",
        message: &["no role after", "takes connections and does not answer", SAYS_WHO],
    };
    check_failure(&lie, &directory, port);
}

/// Goal: one who relays everything between a joining instance and the real supervisor on another port gets nothing.
/// Method: bytes are passed on in both directions; both ends have the right key; the ports differ.
#[test]
fn a_relay_from_port_to_port_is_refused() {
    let target = Target::start();
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let mut joiner =
        Other::start("join", &target.directory.0, port, &[("TIMEOUT", "10000".into()), ("NAME", "comer".into())]);
    joiner.expect("here");
    joiner.order("join");
    let client = Peer::accept(&listener);
    let server = target.connect(Door::Supervisor);
    thread::scope(|scope| {
        let pass = |mut from: &std::net::TcpStream, mut to: &std::net::TcpStream| {
            _ = std::io::copy(&mut from, &mut to);
            _ = to.shutdown(std::net::Shutdown::Write);
        };
        let (client, server) = (&client.stream, &server.stream);
        scope.spawn(move || pass(client, server));
        scope.spawn(move || pass(server, client));
    });
    let failed = joiner.expect("failed");
    assert!(failed.contains("KeyMismatch"), "{failed}");
    target.is_calm_again("relay");
}

type Turn = (&'static str, fn(&mut Peer));

/// Waits until the other end has had enough, which it must.
fn is_cut_off(peer: &mut Peer) {
    assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
}

/// What a supervisor may do once it has welcomed a member. Each returns when it has done so, or was cut off.
const TURNS: &[Turn] = &[
    ("closes", |_| {}),
    ("sends what is no message", |peer| {
        peer.send(&[0xff; 64]);
        is_cut_off(peer);
    }),
    ("sends an empty frame", |peer| {
        peer.send(&[0; 4]);
        is_cut_off(peer);
    }),
    ("sends a frame too large", |peer| {
        peer.send(&(LIMIT + 1).to_be_bytes());
        is_cut_off(peer);
    }),
    ("sends a message of the other role", |peer| {
        peer.send(&Body::of(kind::LIST).frame());
        is_cut_off(peer);
    }),
    ("welcomes again", |peer| {
        peer.send(&welcome(2, "liar").frame());
        is_cut_off(peer);
    }),
    ("sends half a frame and closes", |peer| _ = peer.send(&state(1).frame()[..9])),
    ("floods with states", |peer| {
        let flood: Vec<u8> = (1..20_000).flat_map(|term| state(term).frame()).collect();
        peer.send(&flood);
    }),
    ("floods with rosters", |peer| {
        let all: Vec<u8> = (1..=u16::MAX - 1).flat_map(u16::to_be_bytes).collect();
        let count = u16::MAX - 1;
        let roster = Body::of(kind::ROSTER).u8(0).u8(1).u16(count).raw(&all).u16(0).frame();
        (0..20).for_each(|_| _ = peer.send(&roster));
    }),
    ("names the highest term there is", |peer| _ = peer.send(&state(u64::MAX).frame())),
    ("says goodbye a thousand times", |peer| _ = peer.send(&leaving().frame().repeat(1000))),
    ("rejects the member it has welcomed", |peer| {
        peer.send(&rejected(refusal::MALFORMED, (1, 1), "\x1b[2J").frame().repeat(10));
    }),
];

/// Goal: a member whose supervisor turns hostile contends again, does not crash, and can take over.
/// Method: a process joins an impostor with the right key; the port is set free; the impostor turns.
#[test]
fn a_member_whose_supervisor_turns_hostile_contends_again() {
    for some in TURNS.chunks(6) {
        thread::scope(|scope| {
            for (what, turn) in some {
                scope.spawn(move || {
                    let directory = Directory::new();
                    let (group, listener) = (directory.group(), listener());
                    let port = listener.local_addr().unwrap().port();
                    let more = [("TIMEOUT", "10000".into()), ("NAME", "member".into())];
                    let mut member = Other::start("join", &directory.0, port, &more);
                    member.expect("here");
                    member.order("join");
                    let mut peer = Peer::accept(&listener);
                    assert_eq!(group.admit(&mut peer, port)[0], kind::HELLO);
                    peer.send(&welcome(1, "liar").frame());
                    assert_eq!(member.expect("joined"), "subordinate 1", "{what}");
                    member.expect("event Subordinate");
                    drop(listener);
                    turn(&mut peer);
                    drop(peer);
                    member.expect("event Contending");
                    member.expect("event Supervisor");
                    // It serves: the impostor's own group would not.
                    drop(group.join(port, &guest()));
                });
            }
        });
    }
}

/// Goal: a supervisor that welcomes and cuts off, over and over, does not make its member spin.
/// Method: an impostor with the right key that stays on the port; the joins of a second are counted.
#[test]
fn a_member_that_is_welcomed_and_cut_off_again_and_again_does_not_spin() {
    let _alone = alone();
    static JOINS: AtomicU32 = AtomicU32::new(0);
    let directory = Directory::new();
    let (group, listener) = (directory.group(), listener());
    let port = listener.local_addr().unwrap().port();
    let _impostor = Impostor::start(listener, group, |peer, group, port| {
        group.admit(peer, port);
        peer.send(&welcome(1, "liar").frame());
        JOINS.fetch_add(1, Ordering::Relaxed);
    });
    let mut member =
        Other::start("join", &directory.0, port, &[("TIMEOUT", "10000".into()), ("NAME", "member".into())]);
    member.expect("here");
    member.order("join");
    // Its role may be gone again by the time it says so.
    member.expect("joined");
    let before = (JOINS.load(Ordering::Relaxed), member.ticks());
    thread::sleep(Duration::from_secs(1)); // what is measured is how often something happens in this time
    let joins = JOINS.load(Ordering::Relaxed) - before.0;
    let used = member.ticks() - before.1;
    assert!(joins >= 1, "it tries again");
    assert!(joins < 100 && used < 30, "{joins} joins and {} ms of CPU in a second", used * 10);
}

// ------------------------------------------------------------------------------------------------------ admin calls

/// Goal: a function that fails, panics, returns too much or takes long is its caller's business and nobody else's.
/// Method: two instances in this process; calls from one to the other, alone and several at once.
#[test]
fn a_function_that_misbehaves_harms_only_its_caller() {
    let directory = Directory::new();
    let port = free_port();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let _boss = Instance::join(directory.config(port, "boss")).unwrap();
    let config = directory
        .config(port, "worker")
        .function("panic", "", |_| panic!("on purpose"))
        .function("panic-with-a-number", "", |_| std::panic::panic_any(7))
        .function("fail", "", |_| Err("it cannot be".into()))
        .function("big", "", |size| Ok(vec![b'x'; std::str::from_utf8(size).unwrap().parse().unwrap()]))
        .function("slow", "", move |_| {
            released.lock().unwrap().recv_timeout(PATIENCE).map_err(|error| error.to_string())?;
            Ok(b"at last".to_vec())
        });
    let worker = Instance::join(config).unwrap();
    let caller = Instance::join(directory.config(port, "caller")).unwrap();
    let call = |function: &str, payload: &[u8], within| caller.call("worker", function, payload, within);

    let panicked = call("panic", b"", PATIENCE).unwrap_err();
    assert!(matches!(&panicked, CallError::Panicked(text) if text == "on purpose"), "{panicked}");
    let panicked = call("panic-with-a-number", b"", PATIENCE).unwrap_err();
    assert!(matches!(panicked, CallError::Panicked(_)), "{panicked}");
    let failed = call("fail", b"", PATIENCE).unwrap_err();
    assert!(matches!(&failed, CallError::Failed(text) if text == "it cannot be"), "{failed}");
    let missing = call("nothing\n", b"", PATIENCE).unwrap_err();
    assert!(matches!(missing, CallError::NoSuchFunction { .. }), "{missing}");

    // 1 MiB both ways, and not a byte more.
    let limit = pares::MAX_PAYLOAD;
    assert_eq!(call("ping", &vec![7; limit], PATIENCE).unwrap().len(), limit);
    let refused = call("ping", &vec![7; limit + 1], PATIENCE).unwrap_err();
    assert!(matches!(refused, CallError::PayloadTooLarge { bytes } if bytes == limit + 1), "{refused}");
    assert_eq!(call("big", limit.to_string().as_bytes(), PATIENCE).unwrap().len(), limit);
    let refused = call("big", (limit + 1).to_string().as_bytes(), PATIENCE).unwrap_err();
    assert!(matches!(&refused, CallError::Failed(text) if text.contains("at most 1 MiB")), "{refused}");

    // Many at once, while a slow one runs.
    thread::scope(|scope| {
        let slow = scope.spawn(|| call("slow", b"", PATIENCE));
        let late = call("slow", b"", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(late, CallError::Deadline), "{late}");
        for number in 0..16u8 {
            scope.spawn(move || {
                let began = Instant::now();
                for round in 0..50u8 {
                    assert_eq!(call("ping", &[number, round], SOON).unwrap(), [number, round]);
                }
                assert!(began.elapsed() < PATIENCE);
            });
        }
        assert_eq!(call("ping", b"meanwhile", SOON).unwrap(), b"meanwhile");
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert_eq!(slow.join().unwrap().unwrap(), b"at last");
    });
    assert_eq!((worker.role(), caller.role()), (Role::Subordinate, Role::Subordinate));
    assert_eq!(caller.registry().list(PATIENCE).unwrap().entries.len(), 3);
}

/// Goal: a call to all answers for everyone, also for those who are stopped or have no endpoint any more.
/// Method: one member in a process that is stopped, one that exists by its lifeline only.
#[test]
fn a_call_to_all_is_not_held_up_by_the_stopped_and_the_dead() {
    let directory = Directory::new();
    let (group, port) = (directory.group(), free_port());
    let boss = Instance::join(directory.config(port, "boss")).unwrap();
    let more = [("TIMEOUT", "10000".into()), ("NAME", "stopped".into())];
    let mut stopped = Other::start("join", &directory.0, port, &more);
    stopped.expect("here");
    stopped.order("join");
    stopped.expect("joined subordinate");
    let ghost = group.join(port, &Entry { admin: free_port(), ..Entry::named("ghost") });
    kill_process(Pid::from_raw(stopped.pid() as i32).unwrap(), Signal::STOP).unwrap();

    let began = Instant::now();
    let results = boss.call_all("ping", b"hello", Duration::from_millis(500)).unwrap();
    let took = began.elapsed();
    let results: BTreeMap<String, Result<Vec<u8>, CallError>> = results.into_iter().collect();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["boss", "ghost", "stopped"]);
    assert_eq!(results["boss"].as_ref().unwrap(), b"hello");
    assert!(matches!(results["ghost"], Err(CallError::InstanceLost(_))), "{results:?}");
    assert!(matches!(results["stopped"], Err(CallError::Deadline)), "{results:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(ghost);
}

/// Goal: who does not have the key is told so by the library's own client too, and the other way round.
#[test]
fn an_instance_with_another_key_is_refused_and_told_why() {
    let target = Target::start();
    let other = Directory::new();
    let refused = Instance::join(other.config(target.port, "stranger")).unwrap_err();
    assert!(matches!(refused, JoinError::KeyMismatch { .. }), "{refused}");
    target.serves(Door::Supervisor);
    target.is_calm_again("another key");
}
