//! keepalived, one on each host, with one VRRP instance.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

use crate::hosts::Network;
use crate::peers::now;
use crate::subject::{DEADLINE, INTERVAL, Subject};

/// Why it cannot be measured.
pub(crate) fn lacking() -> Option<String> {
    let found = Command::new("keepalived").arg("--version").output();
    found.err().map(|error| format!("keepalived: {error}"))
}

/// Its version, if it is there.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("keepalived").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(text.lines().next()?.split(" (").next()?.trim().to_owned())
}

pub(crate) struct Keepalived {
    directory: PathBuf,
    children: Vec<Child>,
    /// What each said last: `MASTER`, `BACKUP`, `FAULT`; empty before.
    states: Vec<String>,
    said: Receiver<(usize, String, u64)>,
    history: Vec<(usize, String, u64)>,
}

impl Keepalived {
    pub(crate) fn start(network: &Network, directory: PathBuf) -> Self {
        // A killed keepalived leaves its child to whoever reaps orphans here; as long as that has
        // not been done, a new one holds it for running.
        set_child_subreaper(Pid::from_raw(1)).expect("reap orphans");
        let (sayer, said) = channel();
        let size = network.size();
        let children = (0..size)
            .map(|host| {
                listen(&directory, host, sayer.clone());
                start(network, &directory, host)
            })
            .collect();
        Keepalived {
            directory,
            children,
            states: vec![String::new(); size],
            said,
            history: Vec::new(),
        }
    }

    fn hear(&mut self, wait: Duration) -> bool {
        match self.said.recv_timeout(wait) {
            Ok(said) => {
                self.states[said.0].clone_from(&said.1);
                self.history.push(said);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                unreachable!("its readers live as long as this process")
            }
        }
    }

    /// The process that speaks VRRP: a child of the one that was started.
    fn speaker(&self, host: usize) -> Pid {
        let text =
            fs::read_to_string(self.directory.join(format!("vrrp{host}.pid"))).expect("a pid file");
        text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid")
    }

    /// Both processes at once: the parent would start a new child, and the child says goodbye when
    /// its parent ends.
    fn kill_both(&mut self, host: usize) -> u64 {
        let (parent, speaker) = (Pid::from_child(&self.children[host]), self.speaker(host));
        kill_process(parent, Signal::STOP).expect("a child");
        let at = now();
        kill_process(speaker, Signal::KILL).expect("its child");
        kill_process(parent, Signal::KILL).expect("a child");
        self.children[host].wait().expect("a child");
        waitpid(Some(speaker), WaitOptions::empty()).expect("an orphan");
        at
    }
}

/// What it says of its state comes out of a pipe with a name. It is open for writing here, too, so
/// that it never ends.
fn listen(directory: &std::path::Path, host: usize, sayer: Sender<(usize, String, u64)>) {
    let path = directory.join(format!("said{host}"));
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe");
    let pipe = fs::File::options().read(true).write(true).open(path).expect("the pipe");
    let read = move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let at = now();
            if let [_, _, state, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
                _ = sayer.send((host, state.to_owned(), at));
            }
        }
    };
    thread::Builder::new().name("keepalived".into()).spawn(read).expect("a thread");
}

fn start(network: &Network, directory: &std::path::Path, host: usize) -> Child {
    let path = |name: &str| directory.join(format!("{name}{host}"));
    // Priorities far apart, so that never two back-ups take over at once; the highest there is, so
    // that they wait least. Who comes back does not take the role back, as in pares.
    let text = format!(
        "global_defs {{
           router_id h{host}
           vrrp_version 3
           vrrp_notify_fifo {}
         }}
         vrrp_instance pares {{
           state BACKUP
           nopreempt
           interface eth0
           virtual_router_id 77
           priority {}
           advert_int {}
           virtual_ipaddress {{
             10.77.0.100/24
           }}
         }}\n",
        path("said").display(),
        254 - 50 * host,
        INTERVAL.as_secs_f64()
    );
    fs::write(path("conf"), text).expect("write its configuration");
    let mut command = network.command(host, "keepalived");
    command.args(["--dont-fork", "--log-console", "--vrrp"]);
    command.arg(format!("--use-file={}", path("conf").display()));
    command.arg(format!("--pid={}.pid", path("main").display()));
    command.arg(format!("--vrrp_pid={}.pid", path("vrrp").display()));
    let log = || fs::File::options().create(true).append(true).open(path("log")).expect("a log");
    command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("start keepalived")
}

impl Subject for Keepalived {
    fn settle(&mut self) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while self.hear(Duration::ZERO) {}
            let masters: Vec<usize> =
                (0..self.states.len()).filter(|host| self.states[*host] == "MASTER").collect();
            let followers = self.states.iter().filter(|state| *state == "BACKUP").count();
            if masters.len() == 1 && followers + 1 == self.states.len() {
                return masters[0];
            }
            let log = || fs::read_to_string(self.directory.join("log0")).unwrap_or_default();
            assert!(Instant::now() < deadline, "keepalived: {:?}\n{}", self.states, log());
            self.hear(Duration::from_millis(100));
        }
    }

    fn kill(&mut self, host: usize) -> u64 {
        let at = self.kill_both(host);
        self.states[host].clear();
        at
    }

    fn restart(&mut self, network: &Network, host: usize) {
        self.children[host] = start(network, &self.directory, host);
    }

    fn taken(&mut self, host: usize, since: u64) -> u64 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut taken = self
                .history
                .iter()
                .filter(|(who, state, at)| *who != host && state == "MASTER" && *at > since);
            if let Some((_, _, at)) = taken.next() {
                return *at;
            }
            assert!(Instant::now() < deadline, "keepalived: nobody takes over, {:?}", self.states);
            self.hear(Duration::from_millis(100));
        }
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        for host in 0..self.children.len() {
            if self.children[host].try_wait().is_ok_and(|end| end.is_none()) {
                self.kill_both(host);
            }
        }
    }
}
