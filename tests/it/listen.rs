//! One listener for all instances: its queue survives every death, and its connections are shared.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use pares::{Acceptor, SharedListener};

use crate::actors::{Actor, command_in};
use crate::raw::free_port;
use crate::support::{Ground, PATIENCE, await_true};

mod errors;
mod face;
mod hostile;
mod shares;
mod storm;

/// A group, and an address at which its instances listen.
struct Site {
    ground: Ground,
    address: SocketAddr,
}

/// How an instance accepts.
#[derive(Clone, Copy)]
struct How {
    threads: usize,
    weight: u16,
    policy: &'static str,
    /// How long it serves each connection, in microseconds.
    work_us: u64,
}

const USUAL: How = How { threads: 1, weight: 1, policy: "even", work_us: 0 };

impl Site {
    fn new() -> Self {
        Site { ground: Ground::new(), address: ([127, 0, 0, 1], free_port()).into() }
    }

    /// Starts an instance that says what becomes of it.
    fn start(&self, name: &str, how: How) -> Actor {
        self.start_with(&[], name, how)
    }

    /// Starts one by a command with these words.
    fn start_with(&self, before: &[&str], name: &str, how: How) -> Actor {
        let more = [
            ("NAME", name.to_owned()),
            ("ADDRESS", self.address.to_string()),
            ("THREADS", how.threads.to_string()),
            ("WEIGHT", how.weight.to_string()),
            ("POLICY", how.policy.into()),
            ("WORK_US", how.work_us.to_string()),
        ];
        let Ground { directory, port, .. } = &self.ground;
        Actor::run(command_in(directory, *port, before, "acceptor", &more))
    }

    /// Starts one that listens.
    #[track_caller]
    fn acceptor(&self, name: &str, how: How) -> Actor {
        let actor = self.start(name, how);
        actor.word(); // its role
        assert_eq!(actor.word(), "listens");
        actor
    }

    /// Connects; the connection waits until an instance accepts it.
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Connects, and returns who has served it.
    #[track_caller]
    fn visit(&self) -> String {
        served_by(self.connect()).expect("it is served")
    }

    /// The listener as the supervisor sees it.
    #[track_caller]
    fn listener(&self) -> SharedListener {
        let all = self.ground.admin().listeners().expect("an answer");
        let ours = all.into_iter().find(|one| one.address == self.address.to_string());
        ours.unwrap_or_else(|| panic!("nobody listens at {}", self.address))
    }

    #[track_caller]
    fn acceptor_of(&self, name: &str) -> Acceptor {
        let mut all = self.listener().acceptors.into_iter();
        all.find(|one| one.name == name).unwrap_or_else(|| panic!("`{name}` does not accept"))
    }

    /// Waits until so many accept.
    #[track_caller]
    fn await_acceptors(&self, count: usize) {
        await_true("so many accept", || {
            self.ground.admin().listeners().is_ok_and(|all| {
                all.iter().any(|one| {
                    one.address == self.address.to_string() && one.acceptors.len() == count
                })
            })
        });
    }
}

/// The name of the instance that has served a connection; `None` if the connection was cut.
fn served_by(mut stream: TcpStream) -> Option<String> {
    let mut name = String::new();
    stream.read_to_string(&mut name).ok().filter(|_| !name.is_empty()).map(|_| name)
}

/// How many each has served.
fn counted(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}
