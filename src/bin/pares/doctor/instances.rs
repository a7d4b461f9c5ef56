//! What this group's processes are like.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use pares::{AskError, JoinError, Listing};

use super::process::{Process, Sockets, has_listener, instances};
use super::{Finding, cure, note, ok};

/// Whether the supervisor answers; if not, who sits on the port.
pub(super) fn supervisor(at: SocketAddrV4, listing: &Result<Listing, AskError>, holders: &[Process]) -> Finding {
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
            return cure(CHECK, format!("{holder} holds {port} and is writing its core dump"), give_up(holder.pid));
        }
    }
    match listing {
        Ok(listing) => {
            let state = if listing.settled { "" } else { ", not settled yet" };
            let (name, count) = (&listing.supervisor, listing.entries.len());
            ok(CHECK, format!("{name} answers on {port}; term {}, {count} instances{state}", listing.term))
        }
        Err(AskError::NoSupervisor { .. }) => match holders.first() {
            None => ok(CHECK, format!("none: {port} is free")),
            Some(holder) => cure(
                CHECK,
                format!("{holder} holds {port}, and this group has no key yet: it is another program"),
                "choose another port with --port or PARES_PORT, or end that program",
            ),
        },
        Err(AskError::Refused(error)) => {
            let remedy = match **error {
                JoinError::PortHeld { .. } if holders.first().is_some_and(Process::is_left_over) => {
                    let pid = holders[0].pid;
                    let remedy = format!("it looks like a child forked from a dead supervisor: kill {pid}");
                    return cure(CHECK, error.to_string(), remedy);
                }
                JoinError::PortHeld { .. } => "choose another port with --port or PARES_PORT, or end that program",
                JoinError::OtherGroup { .. } => "give one of the two groups another port with --port or PARES_PORT",
                JoinError::KeyMismatch { .. } => {
                    "if it is this group, run both as one user, and with one PARES_DIR or --key-file; else choose another port"
                }
                JoinError::NotHere { .. } => "ip address add 127.0.0.1/8 dev lo; ip link set lo up",
                _ => "see the message",
            };
            cure(CHECK, error.to_string(), remedy)
        }
        Err(AskError::Deadline) => match holders.first() {
            Some(holder) => cure(
                CHECK,
                format!("{holder} holds {port} and does not answer"),
                if holder.has_role {
                    format!("it hangs: kill {}", holder.pid)
                } else {
                    format!("it is no instance; if it was forked from a dead supervisor: kill {}", holder.pid)
                },
            ),
            None => cure(CHECK, format!("{port} is held by a process that cannot be seen from here"), "ask as root"),
        },
        Err(error) => cure(CHECK, error.to_string(), "ask again; if it stays, look at the supervisor's log"),
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
    format!("wait until it is written, or give it up: kill -KILL {pid}; Config::release_on_crash avoids this")
}

/// Who besides the instances holds their listening sockets: a child that was made without fork's help and without exec keeps
/// the ports, and the connections, of a dead parent.
pub(super) fn leaks(at: SocketAddrV4, listing: Option<&Listing>, sockets: &Sockets) -> Finding {
    const CHECK: &str = "descriptors";
    let Some(listing) = listing else {
        return match sockets.listening_at(at).get(1) {
            None => ok(CHECK, "no second process holds the supervisor port's socket"),
            Some(other) => leak(other, "the supervisor port", "the supervisor"),
        };
    };
    let main = listing.main().map(|main| (at, "the supervisor port", main));
    let admin = listing.entries.iter().map(|entry| (here(entry.admin), "the admin endpoint", entry));
    for (at, what, entry) in main.into_iter().chain(admin) {
        // In its own process namespace, the holder knows the number under which it has registered.
        let other = sockets.listening_at(at).into_iter().find(|holder| holder.own_pid != entry.pid);
        if let Some(other) = other {
            let state = if Process::of(entry.pid).is_none() { "which is dead" } else { "which lives" };
            return leak(&other, what, &format!("{} (pid {}), {state}", entry.name, entry.pid));
        }
    }
    ok(CHECK, format!("nobody but the {} instances holds their sockets", listing.entries.len()))
}

fn leak(other: &Process, what: &str, whose: &str) -> Finding {
    cure(
        "descriptors",
        format!("{other} holds the socket of {what}, and so maybe every connection, of {whose}"),
        format!("it keeps them after that one's death, end it: kill {}; have the program use fork, or exec", other.pid),
    )
}

/// Instances that are there and do nothing.
pub(super) fn members(listing: Option<&Listing>) -> Finding {
    const CHECK: &str = "members";
    let Some(listing) = listing else { return ok(CHECK, "nobody can be asked who they are") };
    let mut unseen = 0;
    for entry in &listing.entries {
        let Some(process) = Process::of(entry.pid) else {
            unseen += 1;
            continue;
        };
        if process.stopped {
            return cure(
                CHECK,
                format!("{} (pid {}) is stopped, and keeps what it holds", entry.name, entry.pid),
                format!("continue it: kill -CONT {0}; or end it: kill -KILL {0}", entry.pid),
            );
        }
        if process.dumping {
            return cure(
                CHECK,
                format!(
                    "{} (pid {}) has crashed and is writing its core dump; until then it counts as alive",
                    entry.name, entry.pid
                ),
                format!(
                    "wait until it is written, or give it up: kill -KILL {}; Config::release_on_crash avoids this",
                    entry.pid
                ),
            );
        }
    }
    let seen = listing.entries.len() - unseen;
    let rest = if unseen > 0 { format!("; {unseen} cannot be seen from here") } else { String::new() };
    ok(CHECK, format!("none of {seen} is stopped or dumps core{rest}"))
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
        let here = if listing.is_some() { "another supervisor than here" } else { "a supervisor, and here is none" };
        return note(
            CHECK,
            format!(
                "pid {pid} has {} in another network namespace: {here}; the two sides do not see each other",
                named(at)
            ),
            format!("if they are one group, start all in one network namespace (nsenter --net --target {pid})"),
        );
    }
    match (own, of("1")) {
        (Some(own), Some(first)) if own != first => note(
            CHECK,
            "this process is not in the network namespace of process 1: instances outside do not see it",
            "start all instances of a group in one network namespace",
        ),
        (Some(_), Some(_)) => {
            ok(CHECK, "the network namespace of process 1, and no supervisor on this port in another")
        }
        _ => ok(CHECK, "whether this is the machine's network namespace cannot be seen"),
    }
}

/// Requests are served in the order of their times, and these are of a clock that a time namespace shifts.
pub(super) fn clocks(listing: Option<&Listing>) -> Finding {
    const CHECK: &str = "clock";
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    let Some(main) = listing.and_then(Listing::main) else { return ok(CHECK, "nobody can be asked who they are") };
    let clock = of(main.pid);
    let entries = listing.into_iter().flat_map(|listing| &listing.entries);
    let mut others =
        entries.filter(|entry| matches!((of(entry.pid), &clock), (Some(theirs), Some(ours)) if theirs != *ours));
    match others.next() {
        None => ok(CHECK, "all instances that can be seen have the supervisor's"),
        Some(other) => note(
            CHECK,
            format!("{} (pid {}) is in another time namespace than {}", other.name, other.pid, main.name),
            "start all in one: else those who wait for permits across an election may be served in another order",
        ),
    }
}
