//! What this group's processes are like.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use pares::{AskError, Entry, JoinError, Listing};

use crate::advice::{Told, with_options};

use super::process::{Process, Sockets, has_listener, instances, queue};
use super::way::{Way, way_to};
use super::{Finding, cure, note, ok};

/// Whether the supervisor answers; if not, who sits on the port.
pub(super) fn supervisor(
    at: SocketAddrV4,
    listing: &Result<Listing, AskError>,
    sockets: &Sockets,
    holders: &[Process],
    has_key: bool,
) -> Finding {
    const CHECK: &str = "supervisor";
    let port = named(at);
    if let (Err(_), Some(holder)) = (listing, holders.first()) {
        if holder.stopped {
            return cure(
                CHECK,
                format!("{holder} holds {port} and is stopped"),
                format!("continue it: kill -CONT {0}; or end it: kill -KILL {0}", holder.pid),
            );
        }
        if holder.dumping {
            return cure(
                CHECK,
                format!("{holder} holds {port} and is writing its core dump"),
                give_up(holder.pid),
            );
        }
    }
    let unanswered = !matches!(listing, Ok(_) | Err(AskError::Refused { .. }));
    if let Some(finding) = unanswered.then(|| obstructed(at)).flatten() {
        return finding;
    }
    match listing {
        Ok(listing) => {
            let state = if listing.settled { "" } else { ", not settled yet" };
            let (name, count) = (&listing.supervisor, listing.entries.len());
            ok(
                CHECK,
                format!(
                    "{name} answers on {port}; term {}, {count} instances{state}",
                    listing.term
                ),
            )
        }
        Err(AskError::NoSupervisor { .. }) => match holders.first() {
            None if queue(at).is_some() => cure(
                CHECK,
                format!("a process that cannot be seen from here holds {port}"),
                "run pares doctor as root",
            ),
            None if sockets.are_hidden() => {
                ok(CHECK, format!("there is none; whether {port} is free cannot be seen"))
            }
            None => ok(CHECK, format!("there is none: {port} is free")),
            Some(holder) if has_key => cure(
                CHECK,
                format!("{holder} holds {port} and refused the question"),
                "try again: an election may have been in progress",
            ),
            Some(holder) if holder.has_role => cure(
                CHECK,
                format!(
                    "{holder} holds {port} and is an instance, but this user has no key of its \
                     group"
                ),
                SAME_KEY,
            ),
            Some(holder) => cure(
                CHECK,
                format!(
                    "{holder} holds {port}, and this group has no key yet: it is another program"
                ),
                "choose another port with --port or PARES_PORT, or end that program",
            ),
        },
        Err(AskError::Refused { source: error }) => {
            let remedy = match **error {
                JoinError::PortHeld { .. }
                    if holders.first().is_some_and(Process::is_left_over) =>
                {
                    let pid = holders[0].pid;
                    let remedy =
                        format!("it is probably a child that a dead supervisor forked: kill {pid}");
                    return cure(CHECK, error.finding(), remedy);
                }
                JoinError::PortHeld { .. } => {
                    "choose another port with --port or PARES_PORT, or end that program"
                }
                JoinError::OtherGroup { .. } => {
                    "give one of the two groups another port with --port or PARES_PORT"
                }
                JoinError::KeyMismatch { .. } => SAME_KEY,
                JoinError::NotHere { .. } => "ip address add 127.0.0.1/8 dev lo; ip link set lo up",
                _ => match with_options(&error.remedy(), error.settings()) {
                    remedy if remedy.is_empty() => "see the message",
                    remedy => return cure(CHECK, error.finding(), remedy),
                },
            };
            cure(CHECK, error.finding(), remedy)
        }
        Err(AskError::TimedOut) => match holders.first() {
            Some(holder) => cure(
                CHECK,
                format!("{holder} holds {port} and does not answer"),
                if holder.has_role {
                    format!("it hangs: kill {}", holder.pid)
                } else {
                    format!(
                        "it is not an instance; if a dead supervisor forked it: kill {}",
                        holder.pid
                    )
                },
            ),
            None => cure(
                CHECK,
                format!("a process that cannot be seen from here holds {port}"),
                "run pares doctor as root",
            ),
        },
        Err(error) => {
            cure(CHECK, error.told(), "try again; if this persists, look at the supervisor's log")
        }
    }
}

const SAME_KEY: &str = "if it belongs to this group, run both as one user, with the same \
                        PARES_DIR or --key-file; else choose another port";

/// What keeps a connection from getting through, whoever would take it: no instance is to be ended
/// for that.
fn obstructed(at: SocketAddrV4) -> Option<Finding> {
    const CHECK: &str = "supervisor";
    let port = named(at);
    let look = "allow it on the loopback interface; see: nft list ruleset, iptables -S";
    match way_to(at) {
        Way::Clear => None,
        Way::Rejected => Some(cure(
            CHECK,
            format!("a firewall rejects connections to {port}, where a process listens"),
            look,
        )),
        Way::Dropped => Some(cure(CHECK, format!("a firewall drops packets to {port}"), look)),
        Way::Down => Some(cure(CHECK, "the loopback interface is down", "ip link set lo up")),
    }
}

/// A port for people, with its address unless that is 127.0.0.1.
fn named(at: SocketAddrV4) -> String {
    let port = format!("port {}", at.port());
    if at == here(at.port()) { port } else { format!("{port} of {}", at.ip()) }
}

fn here(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// What to do about a core dump that is being written.
fn give_up(pid: u32) -> String {
    format!(
        "wait until it is written, or abandon it: kill -KILL {pid}; Config::release_on_crash \
         avoids this"
    )
}

/// Who besides the instances holds their listening sockets: a child that was made without fork's
/// help and without exec keeps the ports, and the connections, of a dead parent.
pub(super) fn leaks(at: SocketAddrV4, listing: Option<&Listing>, sockets: &Sockets) -> Finding {
    const CHECK: &str = "descriptors";
    if sockets.are_hidden() {
        return ok(CHECK, "the holders of the instances' sockets cannot be seen from here");
    }
    let Some(listing) = listing else {
        return match sockets.listening_at(at).get(1) {
            None => ok(CHECK, "no second process holds the supervisor port's socket"),
            Some(other) => leak(other, "the supervisor port", "the supervisor"),
        };
    };
    let main = listing.main().map(|main| (at, "the supervisor port", main));
    let admin =
        listing.entries.iter().map(|entry| (here(entry.admin_port), "the admin endpoint", entry));
    for (at, what, entry) in main.into_iter().chain(admin) {
        // In its own process namespace, the holder knows the number under which it has registered.
        let (own, others): (Vec<_>, Vec<_>) =
            sockets.listening_at(at).into_iter().partition(|holder| holder.own_pid == entry.pid);
        if let Some(other) = others.first() {
            let state = if own.is_empty() { "which is dead" } else { "which lives" };
            return leak(other, what, &format!("{} (pid {}), {state}", entry.name, entry.pid));
        }
    }
    ok(CHECK, format!("only the {} instances hold their sockets", listing.entries.len()))
}

fn leak(other: &Process, what: &str, whose: &str) -> Finding {
    cure(
        "descriptors",
        format!("{other} holds the socket of {what} of {whose}, and perhaps every connection"),
        format!(
            "end it, because it keeps them after that one's death: kill {}; make the program use \
             fork, or exec",
            other.pid
        ),
    )
}

/// The group's instances, each with its process as far as that can be seen from here.
///
/// It is found by its socket: the number that an instance has registered with is that of its own
/// process namespace, and may be another process's here.
pub(super) struct Seen<'a> {
    main: Option<&'a Entry>,
    instances: Vec<(&'a Entry, Option<Process>)>,
}

pub(super) fn seen<'a>(listing: Option<&'a Listing>, sockets: &Sockets) -> Seen<'a> {
    let process = |entry: &Entry| {
        sockets
            .listening_at(here(entry.admin_port))
            .into_iter()
            .find(|process| process.own_pid == entry.pid)
    };
    let entries = listing.into_iter().flat_map(|listing| &listing.entries);
    let instances = entries.map(|entry| (entry, process(entry))).collect();
    Seen { main: listing.and_then(Listing::main), instances }
}

impl Seen<'_> {
    /// The supervisor's number here, if it can be seen.
    pub(super) fn supervisor(&self) -> Option<u32> {
        let main = self.main?;
        self.instances
            .iter()
            .find(|(entry, _)| entry.id == main.id)
            .and_then(|(_, process)| Some(process.as_ref()?.pid))
    }
}

/// Instances that are there and do nothing.
pub(super) fn members(seen: &Seen) -> Finding {
    const CHECK: &str = "members";
    if seen.instances.is_empty() {
        return ok(CHECK, "there is no supervisor to ask");
    }
    let mut unseen = 0;
    for (entry, process) in &seen.instances {
        let Some(process) = process else {
            unseen += 1;
            continue;
        };
        if process.stopped {
            return cure(
                CHECK,
                format!("{} (pid {}) is stopped and keeps what it holds", entry.name, process.pid),
                format!("continue it: kill -CONT {0}; or end it: kill -KILL {0}", process.pid),
            );
        }
        if process.dumping {
            let name = &entry.name;
            return cure(
                CHECK,
                format!(
                    "{name} (pid {}) has crashed and is writing its core dump; meanwhile it \
                     counts as alive",
                    process.pid
                ),
                give_up(process.pid),
            );
        }
    }
    let seen = seen.instances.len() - unseen;
    let rest =
        if unseen > 0 { format!("; {unseen} cannot be seen from here") } else { String::new() };
    ok(CHECK, format!("none of {seen} is stopped or writing a core dump{rest}"))
}

/// Each network namespace has its own ports, and so its own supervisor.
pub(super) fn namespaces(at: SocketAddrV4, listing: Option<&Listing>) -> Finding {
    const CHECK: &str = "namespace";
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = of("self");
    let elsewhere = instances().into_iter().find(|pid| {
        let theirs = of(&pid.to_string());
        theirs.is_some() && theirs != own && has_listener(*pid, at)
    });
    if let Some(pid) = elsewhere {
        let here = if listing.is_some() {
            "the supervisor there is another one than here"
        } else {
            "a supervisor is there, and none is here"
        };
        return note(
            CHECK,
            format!(
                "pid {pid} holds {} in another network namespace: {here}; the two sides cannot see \
                 each other",
                named(at)
            ),
            format!(
                "if they are one group, start all instances in one network namespace (nsenter \
                 --net --target {pid})"
            ),
        );
    }
    match (own, of("1")) {
        (Some(own), Some(first)) if own != first => note(
            CHECK,
            "this process is not in the network namespace of process 1: instances outside cannot \
             see it",
            "start all instances of a group in one network namespace",
        ),
        (Some(_), Some(_)) => ok(
            CHECK,
            "this is the network namespace of process 1, and no other one has a supervisor on this \
             port",
        ),
        _ => ok(CHECK, "whether this is the machine's network namespace cannot be seen"),
    }
}

/// Requests are served in the order of their times, and these are of a clock that a time namespace
/// shifts.
pub(super) fn clocks(seen: &Seen) -> Finding {
    const CHECK: &str = "clock";
    let Some(main) = seen.main else { return ok(CHECK, "there is no supervisor to ask") };
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    let Some(clock) = seen.supervisor().and_then(of) else {
        return ok(CHECK, "the supervisor's clock cannot be seen from here");
    };
    let other = seen.instances.iter().find_map(|(entry, process)| {
        let pid = process.as_ref()?.pid;
        of(pid).is_some_and(|theirs| theirs != clock).then_some((entry, pid))
    });
    match other {
        None => ok(CHECK, "all visible instances have the supervisor's clock"),
        Some((entry, pid)) => note(
            CHECK,
            format!("{} (pid {pid}) is in another time namespace than {}", entry.name, main.name),
            "start all instances in one: otherwise requests for permits that wait across an \
             election may be served in another order",
        ),
    }
}
