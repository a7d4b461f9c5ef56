//! A bridge and hosts on it, each in a network namespace of its own, and what can happen to them.
//!
//! A namespace has no name: it lives as long as a process in it, and that ends with its standard
//! input. So nothing is left behind however a test or bench ends, also by SIGKILL.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The port of the group on every host: each has all ports for itself.
pub(crate) const PORT: u16 = 7400;

/// A network namespace, as long as this value lives.
struct Space {
    keeper: Child,
}

impl Space {
    fn new() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C goes to the test, which ends all else in its order.
        command.process_group(0);
        let keeper = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut space = Space { keeper };
        // What it echoes it has read as `cat`, in its namespace.
        let input = space.keeper.stdin.as_mut().expect("piped");
        let mut echo = String::new();
        let asked = input.write_all(b"\n");
        let mut output = BufReader::new(space.keeper.stdout.take().expect("piped"));
        if asked.is_ok() && output.read_line(&mut echo).is_ok() && echo == "\n" {
            return Ok(space);
        }
        let mut why = String::new();
        _ = space.keeper.stderr.take().expect("piped").read_to_string(&mut why);
        Err(why.trim().to_owned())
    }

    /// A command that runs in here, and is killed when the thread that starts it ends.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id()));
        command.args(["setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// Feeds a script to a program in here.
    fn feed(&self, program: &str, arguments: &[&str], script: &str) -> Result<(), String> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("nsenter: {error}"))?;
        // It may have ended without reading all of it; what it says then tells more.
        _ = child.stdin.take().expect("piped").write_all(script.as_bytes());
        let output = child.wait_with_output().map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    #[track_caller]
    fn script(&self, script: &str) {
        self.feed("sh", &["-e"], script).unwrap_or_else(|why| panic!("{why}\nin\n{script}"));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        _ = self.keeper.kill();
        _ = self.keeper.wait();
    }
}

/// What this kernel and this user can do.
pub(crate) struct Abilities {
    /// Why there can be no hosts at all.
    pub(crate) hosts: Result<(), String>,
    /// Why datagrams cannot be dropped and doubled, nor the hosts be parted.
    pub(crate) rules: Result<(), String>,
    /// Why datagrams cannot be delayed.
    pub(crate) delay: Result<(), String>,
}

/// Looks once.
pub(crate) fn abilities() -> &'static Abilities {
    static ABILITIES: OnceLock<Abilities> = OnceLock::new();
    ABILITIES.get_or_init(|| {
        let space = Space::new();
        let feed = |program: &str, arguments: &[&str], script: &str| match &space {
            Ok(space) => space.feed(program, arguments, script),
            Err(why) => Err(why.clone()),
        };
        let hosts = feed(
            "sh",
            &["-e"],
            "ip link add name bridge type bridge; ip link add name \
                                         port type veth peer name end; ip link set port master \
                                         bridge",
        );
        let text = "table bridge t { chain c { type filter hook forward priority 0; numgen random \
                    mod 100 < 1 drop; } }\n\
                    table netdev t { chain c { type filter hook ingress device \"port\" priority \
                    0; dup to \"end\"; } }";
        let rules = feed(
            "nft",
            &["-f", "-"],
            &text.replace(';', "\n").replace('{', "{\n").replace('}', "\n}\n"),
        );
        let delay = feed("tc", &["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], "");
        let text = |ability: &Result<(), String>, how: &str| match ability {
            Ok(()) => how.to_owned(),
            Err(why) => format!("not to be had ({})", why.replace('\n', " ")),
        };
        println!(
            "namespaces: {}; loss, duplicates and partitions: {}; delay: {}",
            text(&hosts, "yes"),
            text(&rules, "nftables"),
            text(&delay, "netem")
        );
        Abilities { hosts, rules, delay }
    })
}

/// What is done to the datagrams of the group on their way from one host to another.
#[derive(Default)]
struct Faults {
    /// The hosts of each side.
    sides: Vec<Vec<usize>>,
    /// So many of a hundred are lost, for each receiver by itself.
    loss: u32,
    /// Each comes twice.
    twice: bool,
}

/// Hosts that are connected by a bridge. Gone with this value.
pub(crate) struct Network {
    switch: Space,
    hosts: Vec<Space>,
    faults: Faults,
}

impl Network {
    /// Makes so many hosts; the first is host 0.
    ///
    /// # Panics
    ///
    /// If [`abilities`] says that there can be none.
    pub(crate) fn new(hosts: usize) -> Self {
        let space = || Space::new().expect("a network namespace");
        let switch = space();
        // Duplicate address detection would keep an IPv6 address from being used for a second. Of
        // ports that speak for themselves nobody has use; and a bridge that snoops waits for a
        // querier, which there is none of.
        switch.script(
            "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
             ip link add name bridge type bridge mcast_snooping 0
             ip link set bridge up",
        );
        let hosts: Vec<Space> = (0..hosts).map(|_| space()).collect();
        for (number, host) in hosts.iter().enumerate() {
            host.script("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up");
            wire(&switch, host, number);
        }
        let network = Network { switch, hosts, faults: Faults::default() };
        // The kernel looks at what has become of cables once a second, if there is much to look at.
        for (number, host) in network.hosts.iter().enumerate() {
            network
                .switch
                .script(&until(&format!("ip -d link show p{number} | grep -q 'state forwarding'")));
            host.script(&until("ip link show eth0 | grep -q 'state UP'"));
            // The kernel makes an IPv6 address usable after that, when it comes to it.
            let (ip, unusable) = (address_v6(number), "tentative");
            host.script(&until(&format!(
                "ip -6 address show dev eth0 | grep '{ip}/' | grep -qv {unusable}"
            )));
        }
        network
    }

    pub(crate) fn size(&self) -> usize {
        self.hosts.len()
    }

    /// A command that runs on a host, and is killed when the thread that starts it ends.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        self.hosts[host].command(program)
    }

    /// Runs a shell script on a host.
    #[track_caller]
    pub(crate) fn script(&self, host: usize, script: &str) {
        self.hosts[host].script(script);
    }

    /// Does something on a host. Sockets that it makes stay there.
    pub(crate) fn on<T: Send>(&self, host: usize, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.hosts[host].keeper.id());
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let namespace = fs::File::open(path).expect("a namespace");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("into the namespace");
                act()
            });
            there.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Takes a host's cable out: it sees that, the others do not.
    pub(crate) fn cut(&self, host: usize) {
        self.switch.script(&format!("ip link set p{host} down"));
    }

    /// Puts the cable in again. It takes up to a second until the host's kernel has noticed.
    pub(crate) fn mend(&self, host: usize) {
        self.switch.script(&format!("ip link set p{host} up"));
    }

    /// Takes an interface of a host down, as its administrator does.
    pub(crate) fn down(&self, host: usize, interface: &str) {
        self.hosts[host].script(&format!("ip link set {interface} down"));
    }

    /// Ends what [`down`](Network::down) has begun.
    pub(crate) fn up(&self, host: usize, interface: &str) {
        self.hosts[host].script(&format!("ip link set {interface} up"));
    }

    /// Takes a host's interface away.
    pub(crate) fn unplug(&self, host: usize) {
        self.hosts[host].script("ip link del eth0");
    }

    /// Gives it another one, with the same name and addresses.
    pub(crate) fn plug(&self, host: usize) {
        wire(&self.switch, &self.hosts[host], host);
    }

    /// Has a host's own filter refuse all datagrams that it sends.
    pub(crate) fn refuse(&self, host: usize) {
        let rules = "table inet refuse {\nchain sent {\ntype filter hook output priority 0\nmeta \
                     l4proto udp drop\n}\n}\n";
        self.hosts[host].feed("nft", &["-f", "-"], rules).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Ends what [`refuse`](Network::refuse) has begun.
    pub(crate) fn allow(&self, host: usize) {
        self.hosts[host]
            .feed("nft", &["-f", "-"], "flush ruleset")
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// Lets nothing through between these sides. The hosts do not see that their cables are of no
    /// use.
    pub(crate) fn part(&mut self, sides: &[&[usize]]) {
        self.faults.sides = sides.iter().map(|side| side.to_vec()).collect();
        self.renew();
    }

    /// Ends what [`part`](Network::part) has begun.
    pub(crate) fn heal(&mut self) {
        self.part(&[]);
    }

    /// Loses so many of a hundred datagrams.
    pub(crate) fn lose(&mut self, percent: u32) {
        self.faults.loss = percent;
        self.renew();
    }

    /// Brings each datagram twice.
    pub(crate) fn duplicate(&mut self) {
        self.faults.twice = true;
        self.renew();
    }

    /// Brings each datagram so much later, more or less by the other.
    pub(crate) fn delay(&self, ms: u32, jitter_ms: u32) {
        for host in 0..self.size() {
            self.switch.script(&format!(
                "tc qdisc replace dev p{host} root netem delay {ms}ms {jitter_ms}ms"
            ));
        }
    }

    /// Counts, from now on, what the hosts send.
    pub(crate) fn count(&mut self) {
        self.renew();
    }

    /// What the hosts have sent since [`count`](Network::count), of the group's datagrams and of
    /// VRRP's.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let mut command = self.switch.command("nft");
        let output = command.args(["list", "counters"]).output().expect("nft");
        let text = String::from_utf8_lossy(&output.stdout);
        let of = |name: &str| {
            let (_, after) = text.split_once(&format!("counter {name} {{")).expect("a counter");
            after
                .split_whitespace()
                .nth(1)
                .and_then(|number| number.parse().ok())
                .expect("a number of packets")
        };
        (of("peer"), of("vrrp"))
    }

    /// Makes the rules anew, all at once.
    fn renew(&mut self) {
        let mut rules = format!(
            "flush ruleset
             table bridge hosts {{
               counter peer {{
               }}
               counter vrrp {{
               }}
               chain sent {{
                 type filter hook prerouting priority 0
                 udp dport {PORT} counter name peer
                 meta protocol ip ip protocol 112 counter name vrrp
               }}
               chain between {{
                 type filter hook forward priority 0\n"
        );
        let ports = |side: &[usize]| {
            side.iter().map(|host| format!("\"p{host}\"")).collect::<Vec<_>>().join(", ")
        };
        for (at, from) in self.faults.sides.iter().enumerate() {
            for (_, to) in self.faults.sides.iter().enumerate().filter(|(other, _)| *other != at) {
                rules +=
                    &format!("iifname {{ {} }} oifname {{ {} }} drop\n", ports(from), ports(to));
            }
        }
        if self.faults.loss > 0 {
            rules +=
                &format!("udp dport {PORT} numgen random mod 100 < {} drop\n", self.faults.loss);
        }
        rules += "}\n}\n";
        if self.faults.twice {
            rules += "table netdev twice {\n";
            for host in 0..self.size() {
                rules += &format!(
                    "chain from{host} {{\ntype filter hook ingress device \"p{host}\" priority 0\n"
                );
                for other in (0..self.size()).filter(|other| *other != host) {
                    rules += &format!("udp dport {PORT} dup to \"p{other}\"\n");
                }
                rules += "}\n";
            }
            rules += "}\n";
        }
        self.switch
            .feed("nft", &["-f", "-"], &rules)
            .unwrap_or_else(|why| panic!("{why}\nin\n{rules}"));
    }
}

/// Gives a host an interface, with a cable to the bridge. Each time with the same hardware address:
/// for another one the others' kernels would go on for a second with what they know (`locktime`).
fn wire(switch: &Space, host: &Space, number: usize) {
    switch.script(&format!(
        "ip link add name p{number} type veth \
             peer name eth0 address 02:00:00:00:00:{number:02x} netns {}
         ip link set p{number} master bridge up",
        host.keeper.id()
    ));
    host.script(&format!(
        "ip address add {}/24 dev eth0
         ip address add {}/64 dev eth0
         ip link set eth0 up",
        address(number),
        address_v6(number)
    ));
}

/// A script that looks until this is true, for half a minute at most.
fn until(condition: &str) -> String {
    format!(
        "left=600; until {condition}; do left=$((left - 1)); test $left -gt 0; sleep 0.05; done"
    )
}

/// The IPv4 address of a host.
pub(crate) fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// Its IPv6 address.
pub(crate) fn address_v6(host: usize) -> String {
    format!("fd77::{}", host + 1)
}
