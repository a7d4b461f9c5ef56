//! Routers and targets on hosts of their own, as the command starts them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::super::hosts::{Network, address, address_v6};
use super::load::{Line, Server};

pub(super) const CLIENT: usize = 0;
pub(super) const ROUTERS: [usize; 2] = [1, 2];
pub(super) const TARGETS: [usize; 3] = [3, 4, 5];

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn services() -> [SocketAddr; 2] {
    ["10.77.0.100:8080", "[fd77::100]:8080"].map(|text| text.parse().unwrap())
}

/// A router or an agent.
pub(super) struct Process {
    child: Child,
    heard: Receiver<Value>,
    errors: PathBuf,
    /// All that it has said.
    pub(super) history: Vec<(Instant, Value)>,
}

impl Process {
    fn take_in(&mut self, event: Value) {
        self.history.push((Instant::now(), event));
    }

    /// Waits until it has said something, from the event number `from` on.
    #[track_caller]
    pub(super) fn until(&mut self, from: usize, event: &str) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_it = |(_, said): &&(Instant, Value)| said["event"] == event;
            if let Some((at, _)) = self.history.iter().skip(from).find(is_it) {
                return *at;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(event) => self.take_in(event),
                Err(_) => {
                    let errors = fs::read_to_string(&self.errors).unwrap_or_default();
                    panic!("no `{event}` but {:?}\n{errors}", self.history);
                }
            }
        }
    }

    /// Returns how much it has said so far.
    pub(super) fn said(&mut self) -> usize {
        while let Ok(event) = self.heard.try_recv() {
            self.take_in(event);
        }
        self.history.len()
    }

    /// Returns true if what it said last of its role is that it has the addresses.
    pub(super) fn is_owner(&mut self) -> bool {
        self.said();
        let mut roles = self.history.iter().rev().filter_map(|(_, said)| {
            ["owner", "former"].into_iter().find(|role| said["event"] == *role)
        });
        roles.next() == Some("owner")
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it end in order, and waits for that.
    #[track_caller]
    pub(super) fn end(mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        let (sender, ended) = channel();
        thread::spawn(move || {
            let status = self.child.wait();
            _ = sender.send((status, self));
        });
        let (status, this) = ended
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .expect("it ends");
        let errors = fs::read_to_string(&this.errors).unwrap_or_default();
        assert!(status.as_ref().is_ok_and(|status| status.success()), "{status:?}\n{errors}");
    }

    pub(super) fn complaints(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A client, two routers and three targets with servers.
pub(super) struct Bed {
    pub(super) network: Network,
    pub(super) routers: Vec<Process>,
    pub(super) agents: Vec<Process>,
    pub(super) servers: Vec<Vec<Server>>,
    directory: TempDir,
    started: usize,
}

impl Bed {
    /// One in which the first router has the addresses, and all targets have said what they have.
    pub(super) fn new() -> Self {
        Self::with("", false)
    }

    /// The same, of routers that were told more. The second one may be a target, too.
    pub(super) fn with(more: &str, backup_serves: bool) -> Self {
        let network = Network::new(6);
        let directory = TempDir::new().unwrap();
        let mut bed = Bed {
            network,
            routers: Vec::new(),
            agents: Vec::new(),
            servers: Vec::new(),
            directory,
            started: 0,
        };
        for (number, host) in ROUTERS.into_iter().enumerate() {
            let here = if backup_serves && number == 1 { "--target-here" } else { "" };
            let router = bed.router(host, &format!("--rank {} {more} {here}", 10 + number));
            bed.routers.push(router);
        }
        for number in 0..TARGETS.len() {
            let agent = bed.agent(number);
            bed.agents.push(agent);
            bed.servers.push(Vec::new());
            bed.start_servers(number);
        }
        if backup_serves {
            let number = TARGETS.len();
            bed.servers.push(servers(&bed.network, ROUTERS[1], number));
        }
        bed.routers[0].until(0, "owner");
        bed.routers[0].until(0, "settled");
        for router in &mut bed.routers {
            await_targets(router, TARGETS.len() + usize::from(backup_serves));
        }
        bed
    }

    pub(super) fn router(&mut self, host: usize, more: &str) -> Process {
        self.start(host, "serve", &format!("--device eth0 {more}"))
    }

    pub(super) fn agent(&mut self, number: usize) -> Process {
        self.start(TARGETS[number], "target", "")
    }

    /// The words that all have in common.
    pub(super) fn arguments(part: &str, more: &str) -> Vec<String> {
        let mut words: Vec<String> = ["-g", "real", "route", part].map(String::from).into();
        words.extend(services().map(|service| service.to_string()));
        let network = "--multicast 239.77.7.7:7700 --interface eth0 --interval 500 --delay 250";
        words.extend(format!("{network} --json {more}").split_whitespace().map(String::from));
        words
    }

    fn start(&mut self, host: usize, part: &str, more: &str) -> Process {
        self.started += 1;
        let home = self.home(host);
        let errors = self.directory.path().join(format!("errors{}", self.started));
        let mut command = self.network.command(host, env!("CARGO_BIN_EXE_pares"));
        command.args(Self::arguments(part, more)).env("PARES_DIR", home);
        command.env_remove("PARES_GROUP").env_remove("PARES_PORT").env("RUST_LOG", "info");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(&errors).unwrap());
        let mut child = command.spawn().expect("started");
        let out = BufReader::new(child.stdout.take().unwrap());
        let (teller, heard) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if teller.send(event).is_err() {
                    return;
                }
            }
        });
        Process { child, heard, errors, history: Vec::new() }
    }

    /// The directory of a host, which has the group's key.
    pub(super) fn home(&self, host: usize) -> PathBuf {
        let home = self.directory.path().join(format!("home{host}"));
        if fs::DirBuilder::new().mode(0o700).create(&home).is_ok() {
            write_key(&home, 0x77);
        }
        home
    }

    /// Connections over which nothing is asked.
    pub(super) fn idle_lines(&self, count: usize) -> Vec<Line> {
        let services = services();
        let open = |(_, at): (usize, &SocketAddr)| Line::open(&self.network, CLIENT, *at);
        (0..count).zip(services.iter().cycle()).map(open).map(|line| line.expect("open")).collect()
    }

    /// Who serves so many clients; `None` if one is refused.
    pub(super) fn visits(&self, count: usize) -> Option<BTreeSet<u8>> {
        let services = services();
        let open = |(_, at): (usize, &SocketAddr)| Line::open(&self.network, CLIENT, *at).ok();
        let lines = (0..count).zip(services.iter().cycle()).map(open);
        lines.map(|line| line.map(|line| line.target)).collect()
    }

    /// Ends the servers of a target, with their connections.
    pub(super) fn stop_servers(&mut self, number: usize) {
        self.servers[number].drain(..).for_each(Server::end);
    }

    pub(super) fn start_servers(&mut self, number: usize) {
        self.servers[number] = servers(&self.network, TARGETS[number], number);
    }

    /// The routers hear each other no more; all others hear both.
    pub(super) fn part_routers(&self) {
        let [one, other] = ROUTERS.map(|host| (host, address(host), address_v6(host)));
        for ((host, ..), (_, v4, v6)) in [(&one, &other), (&other, &one)] {
            self.network.script(
                *host,
                &format!(
                    "nft -f - <<'END'
                     table inet apart {{
                       chain in {{
                         type filter hook input priority 0
                         ip saddr {v4} drop
                         ip6 saddr {v6} drop
                       }}
                       chain out {{
                         type filter hook output priority 0
                         ip daddr {v4} drop
                         ip6 daddr {v6} drop
                       }}
                     }}
END"
                ),
            );
        }
    }

    pub(super) fn join_routers(&self) {
        ROUTERS.iter().for_each(|host| self.network.script(*host, "nft delete table inet apart"));
    }

    /// Has the client send to one router and the other in turn, for so long.
    pub(super) fn alternate_neighbours(&self, time: Duration) {
        let script = format!(
            "end=$(( $(date +%s) + {} ))
             while [ $(date +%s) -lt $end ]
             do
               for mac in {} {}
               do
                 ip neighbour replace 10.77.0.100 lladdr $mac dev eth0 nud reachable
                 ip neighbour replace fd77::100 lladdr $mac dev eth0 nud reachable
                 sleep 0.15
               done
             done",
            time.as_secs(),
            self.mac(ROUTERS[0]),
            self.mac(ROUTERS[1]),
        );
        self.network.script(CLIENT, &script);
    }

    fn mac(&self, host: usize) -> String {
        let mut command = self.network.command(host, "ip");
        let output = command.args(["-o", "link", "show", "dev", "eth0"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).expect("an address").to_owned()
    }

    /// Returns true if a host has an address of the service.
    pub(super) fn has_address(&self, host: usize) -> bool {
        let mut command = self.network.command(host, "ip");
        let output = command.args(["address", "show", "dev", "eth0"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("10.77.0.100/32")
    }
}

/// Servers of both families on a host.
fn servers(network: &Network, host: usize, number: usize) -> Vec<Server> {
    let at = ["0.0.0.0:8080", "[::]:8080"].map(|text| text.parse().unwrap());
    at.into_iter().map(|at| Server::start(network, host, number as u8 + 1, at)).collect()
}

pub(super) fn write_key(home: &Path, byte: u8) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(home.join("real.key")).unwrap();
    std::io::Write::write_all(&mut file, &[byte; 32]).unwrap();
}

/// Waits until so many targets speak to a router.
#[track_caller]
pub(super) fn await_targets(router: &mut Process, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        router.said();
        let up = router.history.iter().filter(|(_, said)| said["event"] == "target-up");
        if up.count() >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}\n{}", router.history, router.complaints());
        thread::sleep(Duration::from_millis(5));
    }
}
