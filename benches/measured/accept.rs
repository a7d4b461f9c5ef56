//! Connections to one address that several processes serve: how long until the first byte, how many
//! a second, how evenly they are shared, and how many are lost when processes die.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::{Instance, Listen};
use socket2::{Domain, Socket, Type};

use crate::drive::{now, say, timed, until_the_bench_ends};
use crate::helper::{DEADLINE, Helper, OneProcessor, free_port, part};
use crate::own::config;
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Subject, Unit, in_turns};

/// How often the same is done before the next subject has its turn.
const TURN: u64 = 100;

/// How long clients connect as fast as they can.
const RUSH: Duration = Duration::from_millis(400);

/// The clients that do, at once.
const CLIENTS: usize = 4;

/// The processes of which the shares are compared.
const SHARERS: u64 = 8;

/// Where processes die: how many serve, how long each connection takes them, and how many are
/// killed one after the other. Together they can serve 800 connections a second.
const SERVERS: u64 = 4;
const WORK: Duration = Duration::from_millis(5);
const KILLS: u64 = 10;

/// How many connections come in a second, one measurement for each number: a quarter, half, and
/// seven eighths of what the processes can serve.
const RATES: [u64; 3] = [200, 400, 700];

/// The clients of which these come: enough that a slow answer keeps no other from coming.
const PEOPLE: u64 = 64;

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

// ------------------------------------------------------------------------------------------
// the processes at the other end

/// What a server does with each connection: after some work, it says which of them it is.
fn answer(mut stream: &TcpStream, number: u64, work_us: u64) {
    if work_us > 0 {
        thread::sleep(Duration::from_micros(work_us));
    }
    _ = stream.write_all(&[number as u8]);
}

fn serve(listener: &TcpListener, number: u64, work_us: u64) -> ! {
    begin();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            answer(&stream, number, work_us);
        }
    }
}

fn begin() {
    say("ready", now(), 0);
    thread::spawn(|| until_the_bench_ends());
}

/// One process with a listener: what the kernel alone costs.
pub(crate) fn bare(port: u16) -> ! {
    serve(&TcpListener::bind(here(port)).expect("listen"), 0, 0)
}

/// One of several with a listener each on the same port.
pub(crate) fn reuse_port(port: u16, number: u64, work_us: u64) -> ! {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("several at one port");
    // Connections of an earlier one may linger there.
    socket.set_reuse_address(true).expect("a port again");
    socket.bind(&here(port).into()).expect("bind");
    socket.listen(4096).expect("listen");
    serve(&socket.into(), number, work_us)
}

/// One of several with the listener of whoever started it, in the place of standard error.
pub(crate) fn inherited(number: u64, work_us: u64) -> ! {
    let listener = rustix::io::dup(std::io::stderr()).expect("a listener");
    serve(&listener.into(), number, work_us)
}

/// The parent of a pre-fork server: its workers end with it.
pub(crate) fn prefork(port: u16, work_us: u64) -> ! {
    let deadline = Instant::now() + DEADLINE;
    let listener = loop {
        match TcpListener::bind(here(port)) {
            Ok(listener) => break listener,
            // The workers of the parent before are about to end.
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("listen: {error}"),
        }
    };
    let _workers: Vec<Helper> =
        (0..SERVERS).map(|number| Helper::start(heir(&listener, number, work_us))).collect();
    say("ready", now(), 0);
    until_the_bench_ends()
}

fn heir(listener: &TcpListener, number: u64, work_us: u64) -> Command {
    let copy = OwnedFd::from(listener.try_clone().expect("a copy"));
    let mut command = part("inherited", &[&number, &work_us]);
    command.stderr(Stdio::from(copy));
    command
}

/// One of several instances that share a listener.
pub(crate) fn acceptor(group: u16, directory: &Path, port: u16, number: u64, work_us: u64) -> ! {
    let instance = Instance::join(config(group, directory)).expect("join");
    let listener = instance.listen(here(port), Listen::new()).expect("listen");
    begin();
    loop {
        if let Ok(connection) = listener.accept() {
            answer(&connection, number, work_us);
        }
    }
}

// ------------------------------------------------------------------------------------------
// the bench

/// Some processes that serve one port.
struct Servers {
    port: u16,
    _processes: Vec<Helper>,
    _proxy: Option<Proxy>,
    _directory: Option<tempfile::TempDir>,
}

impl Servers {
    fn bare() -> Self {
        let port = free_port();
        let processes = vec![Helper::start(part("bare", &[&port]))];
        Servers { port, _processes: processes, _proxy: None, _directory: None }
    }

    fn own(count: u64) -> Self {
        let (directory, group) = (tempfile::tempdir().expect("make a directory"), free_port());
        let site = Site { group, directory: directory.path().into(), port: free_port_but(group) };
        let processes = (0..count).map(|number| Helper::start(site.acceptor(number, 0))).collect();
        let port = site.port;
        Servers { port, _processes: processes, _proxy: None, _directory: Some(directory) }
    }

    fn reuse_port(count: u64) -> Self {
        let port = free_port();
        let start = |number| Helper::start(part("reuse-port", &[&port, &number, &0]));
        let processes = (0..count).map(start).collect();
        Servers { port, _processes: processes, _proxy: None, _directory: None }
    }

    /// As a service manager passes one listener to several processes.
    fn passed(count: u64) -> Self {
        let listener = TcpListener::bind(here(0)).expect("listen");
        let port = listener.local_addr().expect("a port").port();
        let start = |number| Helper::start(heir(&listener, number, 0));
        let processes = (0..count).map(start).collect();
        Servers { port, _processes: processes, _proxy: None, _directory: None }
    }

    /// A proxy before one process.
    fn proxied() -> Result<Self, String> {
        let mut servers = Self::bare();
        let directory = tempfile::tempdir().expect("make a directory");
        let port = free_port_but(servers.port);
        servers._proxy = Some(Proxy::start(directory.path(), port, servers.port)?);
        (servers.port, servers._directory) = (port, Some(directory));
        Ok(servers)
    }

    /// Connects and reads the first byte. Returns who has sent it.
    fn visit(&self) -> Option<u8> {
        visit(self.port)
    }
}

fn visit(port: u16) -> Option<u8> {
    let mut stream = TcpStream::connect(here(port)).ok()?;
    let mut byte = [0];
    stream.read_exact(&mut byte).ok().map(|()| byte[0])
}

fn free_port_but(taken: u16) -> u16 {
    let _taken = TcpListener::bind(here(taken));
    free_port()
}

struct Site {
    group: u16,
    directory: std::path::PathBuf,
    port: u16,
}

impl Site {
    fn acceptor(&self, number: u64, work_us: u64) -> Command {
        let directory = self.directory.display();
        part("acceptor", &[&self.group, &directory, &self.port, &number, &work_us])
    }
}

struct Proxy(Child);

impl Proxy {
    fn start(directory: &Path, from: u16, to: u16) -> Result<Self, String> {
        let file = directory.join("haproxy.cfg");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             listen proxy\n bind 127.0.0.1:{from} backlog 4096\n server one 127.0.0.1:{to}\n"
        );
        fs::write(&file, text).expect("write");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = command.spawn().map_err(|error| format!("no haproxy: {error}"))?;
        let (proxy, deadline) = (Proxy(proxy), Instant::now() + DEADLINE);
        while visit(from).is_none() {
            if Instant::now() > deadline {
                return Err("haproxy does not answer".into());
            }
            thread::sleep(Duration::from_millis(10)); // nothing tells that it listens
        }
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// How many acceptors there are, one measurement for each number.
const SIZES: [u64; 3] = [1, 2, 8];

pub(crate) fn latency(plan: &Plan) -> Vec<Row> {
    if !plan.wants("first-byte") {
        return Vec::new();
    }
    let _one = OneProcessor::take();
    plan.sizes(&SIZES).into_iter().map(|size| first_byte(size, plan)).collect()
}

pub(crate) fn throughput(plan: &Plan) -> Vec<Row> {
    if !plan.wants("accepts") {
        return Vec::new();
    }
    plan.sizes(&SIZES).into_iter().map(|size| accepts(size, plan)).collect()
}

pub(crate) fn fairness(plan: &Plan) -> Vec<Row> {
    if plan.wants("share") { vec![share(plan)] } else { Vec::new() }
}

pub(crate) fn losses(plan: &Plan) -> Vec<Row> {
    if !plan.wants("lost") {
        return Vec::new();
    }
    plan.sizes(&RATES).into_iter().map(|rate| lost(rate, plan)).collect()
}

fn first_byte(size: u64, plan: &Plan) -> Row {
    let (bare, own) = (Servers::bare(), Servers::own(size));
    let (passed, reuse) = (Servers::passed(size), Servers::reuse_port(size));
    let proxied = Servers::proxied();
    let visits = |servers: &Servers, times| timed(times, || _ = servers.visit().expect("a byte"));
    let mut subjects = vec![
        Subject::new(Kind::Floor, "one process accepts", |times| visits(&bare, times)),
        Subject::new(Kind::Own, "pares", |times| visits(&own, times)),
        Subject::new(Kind::Rival, PASSED, |times| visits(&passed, times)),
        Subject::new(Kind::Rival, REUSE, |times| visits(&reuse, times)),
    ];
    subjects.push(match &proxied {
        Ok(proxied) => Subject::new(Kind::Rival, PROXY, |times| visits(proxied, times)),
        Err(why) => Subject::skipped(PROXY, why),
    });
    let series = in_turns(subjects, plan.rounds(30), TURN);
    let what = format!("connect to first byte, {}", acceptors(size));
    Row { group: "first-byte", what, size: Some(size), unit: Unit::Time, series }
}

const PASSED: &str = "one listener passed to all, none gives turns";
const REUSE: &str = "SO_REUSEPORT";
const PROXY: &str = "haproxy in front of one process";

fn acceptors(size: u64) -> String {
    if size == 1 { "1 acceptor".into() } else { format!("{size} acceptors") }
}

/// How many connections a second clients make that do nothing else.
fn rush(servers: &Servers) -> f64 {
    let (began, stop) = (Instant::now(), AtomicBool::new(false));
    let client = || {
        let mut served = 0u64;
        while !stop.load(Ordering::Relaxed) {
            served += u64::from(servers.visit().is_some());
        }
        served
    };
    let served: u64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        thread::sleep(RUSH);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    served as f64 / began.elapsed().as_secs_f64()
}

fn accepts(size: u64, plan: &Plan) -> Row {
    let subjects = [
        (Kind::Floor, "one process accepts", Ok(Servers::bare())),
        (Kind::Own, "pares", Ok(Servers::own(size))),
        (Kind::Rival, PASSED, Ok(Servers::passed(size))),
        (Kind::Rival, REUSE, Ok(Servers::reuse_port(size))),
        (Kind::Rival, PROXY, Servers::proxied()),
    ];
    let mut rates: Vec<Vec<f64>> = subjects.iter().map(|_| Vec::new()).collect();
    for turn in 0..=plan.rounds(8) {
        for ((_, _, servers), rates) in subjects.iter().zip(&mut rates) {
            let Ok(servers) = servers else { continue };
            let rate = rush(servers);
            if turn > 0 {
                rates.push(rate);
            }
        }
    }
    let series = subjects.iter().zip(rates).map(|((kind, who, servers), rates)| match servers {
        Ok(_) => Series::new(*kind, who, rates),
        Err(why) => Series::skipped(*kind, who, why),
    });
    let what = format!("connections per second, {}", acceptors(size));
    let series = series.collect();
    Row { group: "accepts", what, size: Some(size), unit: Unit::PerSecond, series }
}

/// The connections of the busiest of several processes, of a thousand.
fn share(plan: &Plan) -> Row {
    let most = |servers: &Servers| {
        let mut counts = [0u64; 256];
        (0..1000).filter_map(|_| servers.visit()).for_each(|who| counts[usize::from(who)] += 1);
        counts.into_iter().max().unwrap_or(0) as f64
    };
    let rounds = plan.rounds(5);
    let of = |kind, who, servers: Servers| {
        Series::new(kind, who, (0..rounds).map(|_| most(&servers)).collect::<Vec<_>>())
    };
    let even = 1000.0 / SHARERS as f64;
    let series = vec![
        Series::new(Kind::Floor, "even", vec![even]),
        of(Kind::Own, "pares", Servers::own(SHARERS)),
        of(Kind::Rival, PASSED, Servers::passed(SHARERS)),
        of(Kind::Rival, REUSE, Servers::reuse_port(SHARERS)),
    ];
    let what = format!("connections of the busiest of {SHARERS}, of 1000");
    Row { group: "share", what, size: None, unit: Unit::Count, series }
}

// ------------------------------------------------------------------------------------------
// what is lost when processes die

/// Has clients connect at a rate while `kill` kills one process after the other. Returns how many
/// connections were refused or cut.
fn lost_while(port: u16, rate: u64, mut kill: impl FnMut()) -> f64 {
    let (stop, lost) = (AtomicBool::new(false), Mutex::new(0u64));
    let interval = Duration::from_secs(PEOPLE) / rate as u32;
    let client = |number: u64| {
        let mut next = Instant::now() + interval * number as u32 / PEOPLE as u32;
        while !stop.load(Ordering::Relaxed) {
            // Who is late makes up for it: that is how a rate is kept.
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += interval;
            *lost.lock().expect("no panic") += u64::from(visit(port).is_none());
        }
    };
    thread::scope(|scope| {
        let client = &client;
        (0..PEOPLE).for_each(|number| _ = scope.spawn(move || client(number)));
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(100));
            kill();
        }
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
    });
    lost.into_inner().expect("no panic") as f64
}

fn lost(rate: u64, plan: &Plan) -> Row {
    let work = WORK.as_micros() as u64;
    let (mut own, mut reuse, mut prefork) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds(5) {
        let (directory, group) = (tempfile::tempdir().expect("make a directory"), free_port());
        let site = Site { group, directory: directory.path().into(), port: free_port_but(group) };
        let start = |number| Helper::start(site.acceptor(number, work));
        let mut servers: Vec<Helper> = (0..SERVERS).map(start).collect();
        // The oldest first: the first is supervisor, and so are most of the later ones.
        own.push(lost_while(site.port, rate, || {
            servers.remove(0).kill();
            servers.push(start(0));
        }));
        drop(servers);

        let port = free_port();
        let start = |number| Helper::start(part("reuse-port", &[&port, &number, &work]));
        let mut servers: Vec<Helper> = (0..SERVERS).map(start).collect();
        reuse.push(lost_while(port, rate, || {
            servers.remove(0).kill();
            servers.push(start(0));
        }));
        drop(servers);

        let port = free_port();
        let start = || Helper::start(part("prefork", &[&port, &work]));
        let mut parent = Some(start());
        prefork.push(lost_while(port, rate, || {
            parent.take().iter_mut().for_each(|parent| _ = parent.kill());
            parent = Some(start());
        }));
    }
    let in_work = (KILLS * rate) as f64 * WORK.as_secs_f64() / SERVERS as f64;
    let series = vec![
        Series::new(Kind::Floor, "in work at the killed processes, on average", vec![in_work]),
        Series::new(Kind::Own, "pares", own),
        Series::new(Kind::Rival, REUSE, reuse),
        Series::new(Kind::Rival, "pre-fork server, the parent is killed", prefork),
    ];
    let what = format!("connections lost in {KILLS} kills, {rate} a second");
    Row { group: "lost", what, size: Some(rate), unit: Unit::Count, series }
}
