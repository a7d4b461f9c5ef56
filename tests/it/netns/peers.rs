//! The processes of a masterless group on the hosts of a network: `pares peer join --json`, and all
//! they say.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::hosts::{Network, PORT, address};

/// Longer than anything takes on a busy machine; only a defect reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Nanoseconds of CLOCK_MONOTONIC, as the command stamps what it says: all hosts are on one
/// machine.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How heartbeats go from host to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    MulticastV4,
    MulticastV6,
    /// To a list of all hosts.
    Unicast,
    /// On one host only.
    Loopback,
}

impl Transport {
    pub(crate) const ALL: [Transport; 3] =
        [Transport::MulticastV4, Transport::MulticastV6, Transport::Unicast];

    fn arguments(self, host: usize, hosts: usize) -> Vec<String> {
        let multicast = |group: &str| {
            let words = ["--multicast", &format!("{group}:{PORT}"), "--interface", "eth0"];
            words.map(str::to_owned).to_vec()
        };
        match self {
            Transport::MulticastV4 => multicast("239.77.0.1"),
            Transport::MulticastV6 => multicast("[ff02::7077]"),
            Transport::Unicast => {
                let at = |host: usize| format!("{}:{PORT}", address(host));
                let mut words = vec!["--bind".to_owned(), at(host)];
                words.extend(
                    (0..hosts)
                        .filter(|other| *other != host)
                        .flat_map(|other| ["--peer".into(), at(other)]),
                );
                words
            }
            Transport::Loopback => Vec::new(),
        }
    }
}

/// Whether the processes can learn of one another's death from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Homes {
    /// A directory for each, as on several machines: heartbeats are all they have.
    Apart,
    /// One directory for all, as on one machine.
    Shared,
}

/// How they are started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) program: PathBuf,
    pub(crate) transport: Transport,
    pub(crate) homes: Homes,
    /// More arguments for `peer join`.
    pub(crate) arguments: String,
}

/// One event of one process.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) who: usize,
    pub(crate) at: u64,
    pub(crate) event: Value,
}

struct Peer {
    child: Child,
    /// As it said last; empty before.
    role: String,
    is_stopped: bool,
    is_dead: bool,
    /// Where its standard error goes.
    errors: PathBuf,
}

/// A masterless group. Dropping it kills and reaps its processes.
pub(crate) struct Peers {
    setup: Setup,
    directory: PathBuf,
    peers: Vec<Peer>,
    heard: Receiver<(usize, Option<String>)>,
    teller: Sender<(usize, Option<String>)>,
    pub(crate) history: Vec<Said>,
    /// Some process stood still although nobody stopped it: the machine was too slow for what the
    /// group assumes.
    pub(crate) is_disturbed: bool,
}

impl Peers {
    /// A group with no process yet, in this empty directory.
    pub(crate) fn new(setup: Setup, directory: PathBuf) -> Self {
        let (teller, heard) = channel();
        Peers {
            setup,
            directory,
            peers: Vec::new(),
            heard,
            teller,
            history: Vec::new(),
            is_disturbed: false,
        }
    }

    /// Starts a process on a host; gives its number.
    pub(crate) fn start(&mut self, network: &Network, host: usize) -> usize {
        let who = self.peers.len();
        let home = self.home(who);
        let errors = self.directory.join(format!("errors{who}"));
        let mut command =
            network.command(host, self.setup.program.to_str().expect("a path in UTF-8"));
        command.args(["-g", "real", "peer", "join", "--json"]);
        command.args(self.setup.transport.arguments(host, network.size()));
        command.args(self.setup.arguments.split_whitespace());
        command.env("PARES_DIR", &home).env_remove("PARES_GROUP").env_remove("PARES_PORT");
        command.stdin(Stdio::null()).stderr(fs::File::create(&errors).expect("a file"));
        let child = self.listen(command, who);
        self.peers.push(Peer {
            child,
            role: String::new(),
            is_stopped: false,
            is_dead: false,
            errors,
        });
        who
    }

    /// The directory of a process, which has the group's key.
    fn home(&self, who: usize) -> PathBuf {
        let home = match self.setup.homes {
            Homes::Apart => self.directory.join(format!("home{who}")),
            Homes::Shared => self.directory.join("home"),
        };
        if fs::DirBuilder::new().mode(0o700).create(&home).is_ok() {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(home.join("real.key"));
            file.and_then(|mut file| file.write_all(&[0x77; 32])).expect("a key");
        }
        home
    }

    fn listen(&self, mut command: Command, who: usize) -> Child {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let teller = self.teller.clone();
        let read = move || {
            out.lines().map_while(Result::ok).for_each(|line| _ = teller.send((who, Some(line))));
            _ = teller.send((who, None));
        };
        thread::Builder::new().name("peer".into()).spawn(read).expect("a thread");
        child
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The running ones that said last that they are primary.
    pub(crate) fn primaries(&self) -> Vec<usize> {
        (0..self.len()).filter(|who| self.is_primary(*who)).collect()
    }

    pub(crate) fn is_primary(&self, who: usize) -> bool {
        self.role(who) == "primary"
    }

    /// Its role as it said last; empty if it has none yet, or is dead.
    pub(crate) fn role(&self, who: usize) -> &str {
        let peer = &self.peers[who];
        if peer.is_dead { "" } else { &peer.role }
    }

    /// One primary, and every other living one is standby.
    pub(crate) fn is_settled(&self) -> bool {
        let mut living = (0..self.len()).filter(|who| !self.peers[*who].is_dead);
        self.primaries().len() == 1
            && living.all(|who| self.is_primary(who) || self.role(who) == "standby")
    }

    /// What was said at this time or later.
    pub(crate) fn since(&self, at: u64) -> impl Iterator<Item = &Said> {
        self.history.iter().filter(move |said| said.at >= at)
    }

    /// When the last of them began to take part. It says so itself: until then its program is being
    /// loaded, which takes a busy machine longer than all that follows.
    pub(crate) fn last_start(&self) -> u64 {
        let starts = self.history.iter().filter(|said| said.event["cause"] == "started");
        starts.map(|said| said.at).max().expect("one has started")
    }

    /// Who became primary at this time or later, and when, once for each time.
    pub(crate) fn taken_since(&self, at: u64) -> Vec<(usize, u64)> {
        let taken = self
            .since(at)
            .filter(|said| said.event["event"] == "role" && said.event["to"] == "primary");
        taken.map(|said| (said.who, said.at)).collect()
    }

    /// The epoch under which a process was primary last; 0 if it never was.
    pub(crate) fn epoch(&self, who: usize) -> u64 {
        let own = self.history.iter().filter(|said| said.who == who);
        own.filter_map(|said| said.event["epoch"].as_u64()).next_back().unwrap_or(0)
    }

    /// SIGKILL, and nothing is heard of it from then on; gives the time before it.
    pub(crate) fn kill(&mut self, who: usize) -> u64 {
        let peer = &mut self.peers[who];
        peer.is_dead = true;
        let at = now();
        peer.child.kill().expect("a child");
        peer.child.wait().expect("a child");
        at
    }

    /// SIGSTOP, to all its threads.
    pub(crate) fn stop(&mut self, who: usize) -> u64 {
        self.peers[who].is_stopped = true;
        self.signal(who, Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, who: usize) -> u64 {
        self.signal(who, Signal::CONT)
    }

    fn signal(&self, who: usize, signal: Signal) -> u64 {
        let at = now();
        kill_process(Pid::from_child(&self.peers[who].child), signal).expect("a child");
        at
    }

    /// Listens until this is true.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_it: impl Fn(&Peers) -> bool) {
        // What was said while nobody listened comes first: what was true before it may not be so
        // now.
        while self.hear(Instant::now()) {}
        let deadline = Instant::now() + PATIENCE;
        while !is_it(self) {
            assert!(self.hear(deadline), "never {what}; said was:\n{}", self.story());
        }
    }

    /// Listens for so long.
    #[track_caller]
    pub(crate) fn listen_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while self.hear(deadline) {}
    }

    /// Listens to one line; false if none came in time.
    #[track_caller]
    fn hear(&mut self, deadline: Instant) -> bool {
        let Ok((who, line)) =
            self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        else {
            return false;
        };
        let peer = &mut self.peers[who];
        let Some(line) = line else {
            let errors = fs::read_to_string(&peer.errors).unwrap_or_default();
            assert!(peer.is_dead, "process {who} ended: {errors}\n{}", self.story());
            return true;
        };
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let at = event["monotonic_ns"].as_u64().unwrap_or_else(|| panic!("no time in {line}"));
        if event["event"] == "role" {
            peer.role = event["to"].as_str().expect("a role").to_owned();
        }
        self.is_disturbed |= event["event"] == "paused" && !peer.is_stopped;
        self.history.push(Said { who, at, event });
        true
    }

    /// All that was said, in the order of its times.
    pub(crate) fn story(&self) -> String {
        let mut history: Vec<&Said> = self.history.iter().collect();
        history.sort_by_key(|said| said.at);
        let from = history.first().map_or(0, |said| said.at);
        let line = |said: &&Said| {
            format!("{:>7} ms  {}: {}\n", (said.at - from) / 1_000_000, said.who, said.event)
        };
        history.iter().map(line).collect()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            _ = peer.child.kill();
            _ = peer.child.wait();
        }
    }
}
