//! A name server of a test's own, and a way to run the command where it is the only one.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{Ground, PATIENCE, Proc};

/// What the server knows of a name. Of one that it has never heard of it says that there is no such
/// name.
pub(super) enum Known {
    At(Vec<Ipv4Addr>),
    /// It says after this time that there is no such name.
    Late(Duration),
    /// It does not answer.
    Silence,
}

#[derive(Default)]
struct Table {
    names: HashMap<String, Known>,
    questions: HashMap<String, usize>,
}

pub(super) struct Server {
    table: Arc<(Mutex<Table>, Condvar)>,
    address: SocketAddr,
    end: UdpSocket,
}

impl Server {
    /// `None`, and said, if this user may not have one.
    pub(super) fn start() -> Option<Self> {
        // Tests that run at once do not meet: each takes the next address that is free.
        let network = std::process::id() as u8;
        let mut addresses = (1..=254).map(|host| Ipv4Addr::new(127, 77, network, host));
        let may_mount = || {
            Command::new("unshare")
                .args(["--mount", "true"])
                .status()
                .is_ok_and(|status| status.success())
        };
        let socket = addresses
            .find_map(|address| UdpSocket::bind((address, 53)).ok())
            .filter(|_| may_mount());
        let Some(socket) = socket else {
            crate::skipped::skip("this user may not have a name server, or not `unshare --mount`");
            return None;
        };
        let table = Arc::<(Mutex<Table>, Condvar)>::default();
        let end = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (known, stop) = (table.clone(), end.local_addr().unwrap());
        let address = socket.local_addr().unwrap();
        thread::Builder::new()
            .name("names".into())
            .spawn(move || serve(&socket, &known, stop))
            .expect("a thread");
        Some(Server { table, address, end })
    }

    pub(super) fn knows(&self, name: &str, known: Known) {
        self.table.0.lock().unwrap().names.insert(name.to_owned(), known);
    }

    pub(super) fn is_at<const N: usize>(&self, name: &str, addresses: [[u8; 4]; N]) {
        self.knows(name, Known::At(addresses.map(Ipv4Addr::from).to_vec()));
    }

    /// How often it was asked for a name.
    pub(super) fn questions(&self, name: &str) -> usize {
        self.table.0.lock().unwrap().questions.get(name).copied().unwrap_or(0)
    }

    /// Waits until it was asked so often for a name.
    #[track_caller]
    pub(super) fn is_asked(&self, name: &str, times: usize) {
        let (table, bell) = &*self.table;
        let too_few =
            |table: &mut Table| table.questions.get(name).is_none_or(|asked| *asked < times);
        let (_table, wait) =
            bell.wait_timeout_while(table.lock().unwrap(), PATIENCE, too_few).unwrap();
        assert!(!wait.timed_out(), "{name} is not looked up again");
    }

    /// A process that takes part, for which this is the only name server, and `hosts` the table of
    /// hosts.
    pub(super) fn member(&self, ground: &Ground, hosts: &str, options: &str) -> Proc {
        let at = |name: &str| ground.directory.join(name).display().to_string();
        fs::write(at("hosts"), hosts).unwrap();
        fs::write(
            at("resolv"),
            format!("nameserver {}\noptions timeout:2 attempts:1\n", self.address.ip()),
        )
        .unwrap();
        fs::write(at("nsswitch"), "hosts: files dns\n").unwrap();
        let mounts: String = [
            ("hosts", "/etc/hosts"),
            ("resolv", "/etc/resolv.conf"),
            ("nsswitch", "/etc/nsswitch.conf"),
        ]
        .map(|(from, to)| format!("mount --bind {} {to} || exit 99\n", at(from)))
        .concat();
        Proc::start(
            ground.shell_in("--mount", &format!("{mounts} exec $PARES peer join --json {options}")),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.end.send_to(&[], self.address);
    }
}

/// Until something comes from `stop`.
fn serve(socket: &UdpSocket, (table, bell): &(Mutex<Table>, Condvar), stop: SocketAddr) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if from == stop {
            return;
        }
        let answer = answer(&buffer[..length], &mut table.lock().unwrap());
        bell.notify_all();
        if let Some((answer, after)) = answer {
            thread::sleep(after);
            _ = socket.send_to(&answer, from);
        }
    }
}

/// A header of twelve bytes, the question, and for each address a record that refers to the
/// question's name.
fn answer(query: &[u8], table: &mut Table) -> Option<(Vec<u8>, Duration)> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(length) = query.get(at).copied().filter(|length| *length > 0) {
        labels.push(
            String::from_utf8_lossy(query.get(at + 1..at + 1 + usize::from(length))?).into_owned(),
        );
        at += 1 + usize::from(length);
    }
    let question = query.get(12..at + 5)?;
    let name = labels.join(".");
    *table.questions.entry(name.clone()).or_default() += 1;
    let (code, addresses) = match table.names.get(&name) {
        Some(Known::At(addresses)) if question.ends_with(&[0, 1, 0, 1]) => {
            (0, addresses.as_slice())
        }
        Some(Known::At(_)) => (0, &[][..]),
        Some(Known::Silence) => return None,
        Some(Known::Late(_)) | None => (3, &[][..]),
    };
    let after =
        if let Some(Known::Late(after)) = table.names.get(&name) { *after } else { Duration::ZERO };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some((answer, after))
}

/// How long a member that is silenced by a look-up would be silent: the resolver's timeout.
pub(super) const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
