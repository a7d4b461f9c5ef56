//! The process that is attacked, and what it has open.

use super::*;

/// A directory of its own for each group, gone with it.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("pares-hostile-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Directory(path)
    }

    /// The group whose key is in this directory, made by hand.
    pub(super) fn group(&self) -> Group {
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

    pub(super) fn config(&self, port: u16, name: &str) -> Config {
        Config::new(GROUP).directory(&self.0).port(port).name(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// This program again, in the part of [`target`]; it ends when this value or this process does.
pub(super) struct Other {
    pub(super) child: Child,
    pub(super) orders: Option<ChildStdin>,
    pub(super) words: pares::channel::Receiver<String>,
}

impl Other {
    pub(super) fn start(part: &str, directory: &Path, port: u16, more: &[(&str, String)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "hostile::target::target", "--nocapture", "--test-threads=1"])
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

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(super) fn word(&self) -> String {
        self.words.recv_timeout(PATIENCE).expect("a word from the other process")
    }

    /// The rest of the next word that begins with `start`; others before it are passed over, panics
    /// are not.
    #[track_caller]
    pub(super) fn expect(&self, start: &str) -> String {
        loop {
            let word = self.word();
            assert!(!word.contains("panicked at"), "{word}");
            if let Some(rest) = word.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(super) fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// CPU time used so far, in clock ticks of 10 ms.
    pub(super) fn ticks(&self) -> u64 {
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

pub(super) fn say(word: &str) {
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
pub(super) static ALONE: Mutex<()> = Mutex::new(());

pub(super) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Thousands of connections need thousands of descriptors at both ends.
pub(super) fn raise_limits() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Threads by name and descriptors by what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footprint {
    pub(super) threads: Vec<String>,
    pub(super) descriptors: Vec<String>,
}

impl Footprint {
    /// Waits until the process has this footprint. Also what has ended may be listed for a moment
    /// longer.
    #[track_caller]
    pub(super) fn comes_again(&self, pid: u32, what: &str) {
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

    pub(super) fn of(pid: u32) -> Self {
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
pub(super) struct Target {
    pub(super) other: Other,
    pub(super) group: Group,
    pub(super) port: u16,
    pub(super) registry: u16,
    pub(super) admin: u16,
    pub(super) calm: Option<Calm>,
    pub(super) directory: Directory,
}

/// What must be the same after each attack.
pub(super) struct Calm {
    pub(super) footprint: Footprint,
    pub(super) listing: Vec<Vec<u8>>,
}

impl Target {
    pub(super) fn start() -> Self {
        Target::with(&[])
    }

    pub(super) fn with(more: &[(&str, String)]) -> Self {
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

    pub(super) fn port(&self, door: Door) -> u16 {
        match door {
            Door::Supervisor => self.port,
            Door::Registry => self.registry,
            Door::Admin => self.admin,
        }
    }

    pub(super) fn listing(&self) -> Vec<Vec<u8>> {
        self.group.ask(self.registry, Body::of(kind::LIST))
    }

    pub(super) fn connect(&self, door: Door) -> Peer {
        Peer::connect(self.port(door))
    }

    /// A connection with the opening sent and answered.
    pub(super) fn open(&self, door: Door) -> (Peer, Meeting) {
        self.group.open(self.port(door), door.purpose())
    }

    /// A connection with the proof given, and `first` sent with it.
    pub(super) fn enter(&self, door: Door, first: Body) -> Peer {
        self.group.enter(self.port(door), door.purpose(), first)
    }

    /// A connection with a first request made and answered.
    pub(super) fn inside(&self, door: Door) -> Peer {
        let mut peer = self.enter(door, door.first());
        door.answer(&mut peer);
        peer
    }

    pub(super) fn meeting(&self, door: Door) -> Meeting {
        Meeting::new(door.purpose(), &self.group, self.port(door))
    }

    /// An honest client comes, is served, and goes.
    #[track_caller]
    pub(super) fn serves(&self, door: Door) {
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
    pub(super) fn is_calm_again(&self, what: &str) {
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
    pub(super) fn has_its_footprint_again(&self, what: &str) {
        self.calm.as_ref().unwrap().footprint.comes_again(self.other.pid(), what);
    }
}
