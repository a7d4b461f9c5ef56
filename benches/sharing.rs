//! What sharing costs one instance: permits, tallies, settings and questions to a supervisor in another process, beside the
//! floor: 32 bytes to an echo in that process and back.
//!
//! `cargo bench --bench sharing`; everything is measured in turns, in one run. `PARES_BENCH_ROUNDS` sets how many of each
//! (default 20,000).

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pares::{Config, Instance};

/// Longer than any step takes on a busy machine; only a defect reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many of one kind are measured before the next kind has its turn.
const TURN: usize = 100;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.first().map(String::as_str) {
        Some("supervisor") => supervisor(words[1].parse().expect("port"), Path::new(&words[2])),
        _ => measure(),
    }
}

fn config(port: u16, directory: &Path) -> Config {
    Config::new("bench").port(port).directory(directory).join_timeout(DEADLINE).resource("connections", 1000)
}

/// The other process: the group's supervisor, and an echo. Ends when its standard input does.
fn supervisor(port: u16, directory: &Path) {
    let instance = Instance::join(config(port, directory)).expect("join");
    assert!(instance.is_supervisor());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("a port").port());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the other end");
        stream.set_nodelay(true).expect("nodelay");
        let mut bytes = [0; 32];
        while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
    });
    _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The other process, and what it needs; gone with this value.
struct Other {
    child: Child,
    directory: PathBuf,
}

impl Drop for Other {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.directory);
    }
}

fn measure() {
    let rounds: usize = env::var("PARES_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000);
    let directory = env::temp_dir().join(format!("pares-bench-sharing-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["supervisor", &port.to_string()])
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the supervisor's process");
    let mut other = Other { child, directory };
    let mut line = String::new();
    let out = other.child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("the echo's port");
    let mut echo = TcpStream::connect(("127.0.0.1", line.trim().parse().expect("a port"))).expect("the echo");
    echo.set_nodelay(true).expect("nodelay");
    let instance = Instance::join(config(port, &other.directory)).expect("join");
    let tally = instance.tally("requests").expect("a tally");
    let registry = instance.registry();
    let mut number = 0u64;

    let mut bytes = [0; 32];
    let mut subjects: Vec<Subject<'_>> = vec![
        Subject::new("echo, 32 bytes", || {
            echo.write_all(&bytes).expect("the echo");
            echo.read_exact(&mut bytes).expect("the echo");
        }),
        Subject::new("try_acquire, release", || drop(instance.try_acquire("connections", 1).expect("a permit"))),
        Subject::new("tally: add", || _ = tally.add(1)),
        Subject::new("tally: total", || _ = tally.total(DEADLINE).expect("a total")),
        Subject::new("set", || {
            number += 1;
            instance.set("number", &number.to_string(), DEADLINE).expect("set");
        }),
        Subject::new("look up", || _ = registry.look_up("main", DEADLINE).expect("the supervisor")),
    ];
    for _ in 0..rounds.div_ceil(TURN) {
        subjects.iter_mut().for_each(|subject| subject.run(TURN));
    }
    println!("{rounds} of each, in microseconds; ratio of the medians to that of the echo");
    println!("{:<22}{:>9}{:>9}{:>9}", "", "median", "p90", "ratio");
    let floor = subjects[0].quantile(0.5);
    for subject in &mut subjects {
        let (median, p90) = (subject.quantile(0.5), subject.quantile(0.9));
        println!("{:<22}{median:>9.1}{p90:>9.1}{:>9.2}", subject.name, median / floor);
    }
}

/// One thing that is measured.
struct Subject<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
    took: Vec<Duration>,
}

impl<'a> Subject<'a> {
    fn new(name: &'static str, run: impl FnMut() + 'a) -> Self {
        Subject { name, run: Box::new(run), took: Vec::new() }
    }

    fn run(&mut self, times: usize) {
        for _ in 0..times {
            let began = Instant::now();
            (self.run)();
            self.took.push(began.elapsed());
        }
    }

    fn quantile(&mut self, quantile: f64) -> f64 {
        self.took.sort_unstable();
        self.took[((self.took.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e6
    }
}
