//! The process that is attacked, and what it has open.

use tempfile::TempDir;

use super::*;
use crate::actors::command_in;

/// A directory of its own for each group, gone with it.
pub(super) struct Directory(TempDir);

impl Directory {
    pub(super) fn new() -> Self {
        Directory(tempfile::tempdir().unwrap())
    }

    /// The group whose key is in this directory, made by hand.
    pub(super) fn group(&self) -> Group {
        let key = nonce();
        let path = self.0.path().join(format!("{GROUP}.key"));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .unwrap()
            .write_all(&key)
            .unwrap();
        Group { name: GROUP.into(), key, narrow: false }
    }

    pub(super) fn config(&self, port: u16, name: &str) -> Config {
        Config::new(GROUP)
            .answer_timeout(PATIENCE)
            .state_directory(self.0.path())
            .port(port)
            .name(name)
    }
}

/// Starts one that is attacked, or that joins.
pub(super) fn start(
    part: &str,
    directory: &Directory,
    port: u16,
    more: &[(&str, String)],
) -> Actor {
    Actor::run(command_in(directory.0.path(), port, &[], part, more))
}

/// Held by tests with thousands of connections or that measure processor time: one at a time, so
/// that they measure what is attacked and not each other.
pub(super) static ALONE: Mutex<()> = Mutex::new(());

pub(super) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Thousands of connections need thousands of descriptors at both ends.
pub(crate) fn raise_limits() {
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
    pub(super) other: Actor,
    pub(super) group: Group,
    pub(super) port: u16,
    pub(super) registry: u16,
    pub(super) admin_port: u16,
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
        let other = start("attacked", &directory, port, more);
        let ready = other.expect("ready");
        let ports: Vec<u16> = ready.split(' ').map(|port| port.parse().unwrap()).collect();
        let mut target = Target {
            other,
            group,
            port,
            registry: ports[0],
            admin_port: ports[1],
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
            Door::Admin => self.admin_port,
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

    /// As [`enter`](Target::enter), for one that has next to no room for what it receives.
    pub(super) fn enter_narrow(&self, door: Door, first: Body) -> Peer {
        let group = Group { narrow: true, ..self.group.clone() };
        group.enter(self.port(door), door.purpose(), first)
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
