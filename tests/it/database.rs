//! The limit as it is used: worker processes that share the connections to a real database server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::{Client, Config, Instance};
use postgres::NoTls;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getuid};

use crate::random::Random;
use crate::raw::{free_port, is_free};
use crate::sharing::Ended;
use crate::support::{Ground, PATIENCE, Proc, finish};

/// What the example shares.
const CONNECTIONS: usize = 10;

/// A server of its own for one test: gone with this value, and stopped also when this process is
/// killed.
pub(crate) struct Server {
    process: Proc,
    /// The server's shell waits for its end.
    life: Option<File>,
    directory: PathBuf,
    port: u16,
}

/// The newest server that is installed.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|version| version.path()).max_by_key(|path| number(path))?;
    let programs = newest.join("bin");
    programs.join("initdb").exists().then_some(programs)
}

impl Server {
    pub(crate) fn start(programs: &Path, directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        // The server does not run as root.
        let owner = getuid().is_root().then(|| {
            let id = |what: &str| {
                let output = Command::new("id").args([what, "postgres"]).output().unwrap();
                String::from_utf8_lossy(&output.stdout)
                    .trim()
                    .parse::<u32>()
                    .expect("a user `postgres`")
            };
            (id("-u"), id("-g"))
        });
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.current_dir(&directory);
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        if let Some((user, group)) = owner {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        let data = directory.join("data");
        let mut initdb = command(programs.join("initdb").to_str().unwrap());
        initdb
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "-D"])
            .arg(&data);
        finish(initdb).code(0);

        let port = free_port();
        let (life_out, life) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut shell = command("/bin/sh");
        shell
            .args(["-c", r#""$@" & read -r _; kill -QUIT $!; wait"#, "sh"])
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&directory)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "fsync=off", "-c", "max_connections=100"])
            .stdin::<OwnedFd>(life_out);
        let process = Proc::start(shell);
        let server = Server { process, life: Some(File::from(life)), directory, port };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = postgres::Client::connect(&server.address(), NoTls) {
            assert!(Instant::now() < deadline, "the server does not start: {error}");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub(crate) fn address(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.life = None;
        if !thread::panicking() {
            self.process.end();
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}

/// An example as a program.
pub(crate) fn example(name: &str) -> PathBuf {
    // `cargo test` has built it, `cargo test --test it` has not.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--example", name])
        .status()
        .unwrap();
    assert!(built.success());
    Path::new(env!("CARGO_BIN_EXE_pares")).with_file_name("examples").join(name)
}

/// What was seen of the workers' connections. "At once" is a moment before the server looked
/// through its connections: only those count that had begun before, and had not ended when they
/// were looked at.
#[derive(Debug, Default)]
struct Seen {
    samples: u64,
    /// Most at once that were working, of workers that have not been killed.
    working: usize,
    /// Most at once of such workers, also those that the server has yet to strike off after an
    /// orderly end.
    living: usize,
    /// Most at once of all, also those whose end the server has yet to notice.
    all: usize,
    /// Who was working when last looked at.
    last: Vec<u32>,
}

fn look(client: &mut postgres::Client, killed: &Mutex<BTreeSet<u32>>, seen: &Mutex<Seen>) {
    let rows = client
        .query(
            "select application_name, state = 'active' and query_start <= statement_timestamp() \
             from pg_stat_activity \
             where application_name like 'worker-%' and backend_start <= statement_timestamp()",
            &[],
        )
        .unwrap();
    let rows: Vec<(u32, bool)> = rows
        .iter()
        .map(|row| {
            let (name, working): (String, Option<bool>) = (row.get(0), row.get(1));
            (name["worker-".len()..].parse().unwrap(), working == Some(true))
        })
        .collect();
    let killed = killed.lock().unwrap();
    let living: Vec<(u32, bool)> =
        rows.iter().copied().filter(|(pid, _)| !killed.contains(pid)).collect();
    drop(killed);
    let working: Vec<u32> =
        living.iter().filter(|(_, working)| *working).map(|(pid, _)| *pid).collect();
    assert!(working.len() <= CONNECTIONS, "{working:?} at once, of {rows:?}");
    let mut seen = seen.lock().unwrap();
    seen.samples += 1;
    seen.working = seen.working.max(working.len());
    seen.living = seen.living.max(living.len());
    seen.all = seen.all.max(rows.len());
    seen.last = working;
}

/// Goal: 40 workers never use more than ten connections at once, as the server sees it, and in the
/// end all ten can be had, whoever was killed in the middle of what. Method: the example, again and
/// again SIGKILLed (the supervisor, one that is connected, any) and replaced, while the server's
/// list of connections is read all the time. The server notices the death of a client only some
/// time after the kernel has ended it and its permit; so connections of killed workers are counted
/// apart.
#[test]
fn workers_share_the_connections_to_a_database() {
    const WORKERS: usize = 40;
    const KILLS: usize = 100;
    let Some(programs) = programs() else {
        crate::skipped::skip(
            "no PostgreSQL server in /usr/lib/postgresql (Debian: apt-get install postgresql)",
        );
        return;
    };
    let ground = Ground::new();
    let server = Server::start(&programs, ground.directory.join("server"));
    let program = example("database");
    let mut random = Random(Random::seed());
    // The example's address is that of its group's name, and its group one of this run only.
    random.0 ^= u64::from(std::process::id()) << 32;
    let group = loop {
        let group = format!("database-{:x}", random.next());
        if is_free(pares::default_address(&group)) {
            break group;
        }
    };
    let start = || {
        let mut command = Command::new(&program);
        command.arg(server.address()).arg(&group).env("PARES_DIR", &ground.directory);
        Proc::start(command)
    };
    let config = Config::new(&group)
        .state_directory(&ground.directory)
        .resource(pares::Resource::new("connections", CONNECTIONS as u64));
    let mut workers: BTreeMap<u32, Proc> =
        (0..WORKERS).map(|_| start()).map(|worker| (worker.pid(), worker)).collect();

    let (killed, seen) = (Mutex::new(BTreeSet::new()), Mutex::new(Seen::default()));
    let end = AtomicBool::new(false);
    let mut supervisors = 0;
    let (killed, seen, end) = (&killed, &seen, &end);
    thread::scope(|scope| {
        let mut client = postgres::Client::connect(&server.address(), NoTls).unwrap();
        let watching = scope.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                look(&mut client, killed, seen);
            }
        });
        let ended = Ended(end);
        let admin = Client::new(&config).unwrap();
        for kill in 0..KILLS {
            thread::sleep(random.millis(0, 50));
            let mut any =
                |pids: &[u32]| pids.get(random.below(pids.len().max(1) as u64) as usize).copied();
            assert!(!watching.is_finished(), "too many connections");
            let main = || admin.look_up("main").ok()?.main().map(|entry| entry.pid);
            let mut working =
                || any(&seen.lock().unwrap().last).filter(|pid| workers.contains_key(pid));
            let chosen = match kill % 3 {
                0 => main().inspect(|_| supervisors += 1),
                1 => working(),
                _ => None,
            };
            let pids: Vec<u32> = workers.keys().copied().collect();
            let pid = chosen.or_else(|| any(&pids)).unwrap();
            let mut worker = workers.remove(&pid).expect("one of them");
            killed.lock().unwrap().insert(pid);
            worker.signal(Signal::KILL);
            assert_eq!(worker.end_code(), 128 + 9, "it had ended by itself: {}", worker.stderr());
            let new = start();
            // The system gives a number anew only after very many others.
            assert!(!killed.lock().unwrap().contains(&new.pid()));
            workers.insert(new.pid(), new);
        }
        // It gets all only if none is lost; and all others wait meanwhile.
        let newcomer = Instance::join(config.clone()).unwrap();
        let all = newcomer
            .acquire_timeout("connections", CONNECTIONS as u64, PATIENCE)
            .expect("all permits");
        drop((all, ended));
        watching.join().unwrap();
    });
    let Seen { samples, working, living, all, .. } = *seen.lock().unwrap();
    println!(
        "{KILLS} killed, {supervisors} supervisors among them; looked {samples} times at the \
         connections"
    );
    println!(
        "at once: {working} at work; {living} with those that were just closed; {all} with those \
         of the dead"
    );
    assert!(working > CONNECTIONS / 2, "they hardly worked");
}
