//! What a user could take instead: their servers, each started for one row on ports and sockets of
//! its own, and the program of `benches/rivals` that speaks with them. What is not there is said to
//! be skipped.

use std::env;
use std::fmt::Display;
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::helper::{DEADLINE, Helper, free_port, part};

/// The program that speaks with the rivals, or why there is none.
pub(crate) struct Rivals(Result<PathBuf, String>);

impl Rivals {
    /// Builds it, with its own dependencies in a folder of its own; nothing else does.
    pub(crate) fn build() -> Self {
        if env::var("PARES_BENCH_RIVALS").is_ok_and(|value| value == "0") {
            return Rivals(Err("left out by PARES_BENCH_RIVALS=0".into()));
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/rivals");
        println!("building benches/rivals …");
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
            .arg(root.join("benches/rivals/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        if built.is_ok_and(|status| status.success()) {
            Rivals(Ok(target.join("release/pares-rivals")))
        } else {
            Rivals(Err("benches/rivals could not be built".into()))
        }
    }

    /// The rivals' program without a server.
    pub(crate) fn part(&self, name: &str, arguments: &[&dyn Display]) -> Result<Command, String> {
        let mut command = Command::new(self.0.as_ref().map_err(Clone::clone)?);
        command.arg(name).args(arguments.iter().map(|one| one.to_string()));
        Ok(command)
    }

    /// Redis without persistence, on a port and a Unix socket.
    pub(crate) fn redis(&self) -> Result<Server, String> {
        let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
        let socket = directory.path().join("redis");
        let mut command = words(
            "redis-server --bind 127.0.0.1 --appendonly no --daemonize no --maxclients 4000 --port",
        );
        command.extend([port.to_string(), "--save".into(), String::new(), "--unixsocket".into()]);
        command.extend([text(&socket), "--dir".into(), text(directory.path())]);
        let addresses =
            vec![format!("redis+unix://{}", text(&socket)), format!("redis://127.0.0.1:{port}")];
        self.start(command, directory, addresses, || UnixStream::connect(&socket).is_ok())
    }

    /// A bus of its own, with room for all.
    pub(crate) fn dbus(&self) -> Result<Server, String> {
        let directory = tempfile::tempdir().expect("make a directory");
        let (socket, config) = (directory.path().join("bus"), directory.path().join("config"));
        let limit = |name: &str| format!("<limit name=\"{name}\">100000</limit>");
        let limits =
            ["max_incoming_bytes", "max_completed_connections", "max_connections_per_user"]
                .map(limit)
                .concat();
        let text_of_config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth>{limits}\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow \
             eavesdrop=\"true\"/><allow own=\"*\"/></policy>\
             </busconfig>\n",
            text(&socket)
        );
        fs::write(&config, text_of_config).expect("write the bus's configuration");
        let mut command = words("dbus-daemon --nofork --nopidfile --nosyslog");
        command.push(format!("--config-file={}", text(&config)));
        let addresses = vec![text(&socket)];
        self.start(command, directory, addresses, || UnixStream::connect(&socket).is_ok())
    }

    /// One node with the shortest times between its own members that allow a lease of a second.
    pub(crate) fn etcd(&self) -> Result<Server, String> {
        let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
        let peer_port = (port + 1..30_000)
            .find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
        let own = format!("http://127.0.0.1:{}", peer_port.expect("a free port"));
        let client = format!("http://127.0.0.1:{port}");
        let mut command = words("etcd --name bench --heartbeat-interval 50 --election-timeout 500");
        let data = directory.path().join("data");
        for (name, value) in [
            ("--data-dir", text(&data)),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", own.clone()),
            ("--initial-advertise-peer-urls", own.clone()),
            ("--initial-cluster", format!("bench={own}")),
        ] {
            command.extend([name.into(), value]);
        }
        let address = format!("127.0.0.1:{port}");
        self.start(command, directory, vec![address.clone()], move || {
            TcpStream::connect(&address).is_ok()
        })
    }

    fn start(
        &self,
        command: Vec<String>,
        directory: tempfile::TempDir,
        addresses: Vec<String>,
        is_up: impl Fn() -> bool,
    ) -> Result<Server, String> {
        let program = self.0.clone()?;
        let paths = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&paths).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
        let Some(path) =
            folders.map(|folder: PathBuf| folder.join(&command[0])).find(|path| path.is_file())
        else {
            return Err(format!("{} is not installed", command[0]));
        };
        let mut arguments: Vec<&dyn Display> = Vec::new();
        let path = text(&path);
        arguments.push(&path);
        arguments.extend(command[1..].iter().map(|word| word as &dyn Display));
        let guard = Helper::start(part("guard", &arguments));
        let began = Instant::now();
        while !is_up() {
            if began.elapsed() > DEADLINE / 4 {
                return Err(format!("{} does not start", command[0]));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Server { guard, program, addresses, _directory: directory })
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("a temporary directory whose name is UTF-8").to_owned()
}

/// A running server; ended with this value.
pub(crate) struct Server {
    guard: Helper,
    program: PathBuf,
    /// Where it is to be found: the fastest way first.
    addresses: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// A part of the rivals' program that speaks with this server.
    pub(crate) fn part(&self, name: &str, arguments: &[&dyn Display]) -> Command {
        self.part_at(0, name, arguments)
    }

    /// The same by another of its addresses.
    pub(crate) fn part_at(
        &self,
        address: usize,
        name: &str,
        arguments: &[&dyn Display],
    ) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(name)
            .arg(&self.addresses[address])
            .args(arguments.iter().map(|one| one.to_string()));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.guard.end_in_order();
    }
}
