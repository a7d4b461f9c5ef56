//! `pares doctor`: what on this machine stands, or may one day stand, in the way of a group; and the cure.
//!
//! Each check is a function that looks and gives a finding; nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use pares::{AskError, JoinError, KeyError, Listing};

use crate::failure::{FAILED, Failure};
use crate::group::Group;
use crate::output::{Form, json, line, object, rows};

/// Check this machine for what stands in the way of the group, and say the cure
///
/// In a pipe the fields are: check, `ok`, `note` or `cure`, the finding, the cure. A note is about what may go wrong one day.
#[derive(clap::Args)]
#[command(after_help = "Exit codes:\n  0 nothing to cure, though there may be notes\n  1 something to cure")]
pub(crate) struct Args {
    /// Print an array of {check,state,finding,cure}
    #[arg(long)]
    json: bool,
}

/// What a check found.
struct Finding {
    check: &'static str,
    state: State,
    finding: String,
    /// What to do; empty if nothing.
    cure: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Note,
    Cure,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Cure => "cure",
        }
    }
}

fn ok(check: &'static str, finding: impl Into<String>) -> Finding {
    Finding { check, state: State::Ok, finding: finding.into(), cure: String::new() }
}

fn note(check: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, state: State::Note, finding: finding.into(), cure: cure.into() }
}

fn cure(check: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, state: State::Cure, finding: finding.into(), cure: cure.into() }
}

pub(crate) fn run(group: &Group, args: &Args) -> Result<(), Failure> {
    let findings = examine(group)?;
    print(&findings, Form::new(args.json))?;
    match findings.iter().filter(|finding| finding.state == State::Cure).count() {
        0 => Ok(()),
        _ => Err(Failure::silent(FAILED)),
    }
}

fn examine(group: &Group) -> Result<Vec<Finding>, Failure> {
    let config = group.config();
    let port = config.supervisor_port();
    let key_file = config.key_path()?;
    let mut findings = vec![port_range(port), directory(&key_file), key(&key_file)];
    // Asking needs the key, and must not make one.
    let listing = if key_file.exists() {
        let answer = group.admin().map_err(|error| AskError::Refused(Box::new(error)));
        answer.and_then(|admin| admin.registry().list(Duration::from_secs(3)))
    } else {
        Err(AskError::NoSupervisor { port })
    };
    let holders = holders(port);
    findings.push(supervisor(port, &listing, &holders));
    findings.push(leaks(&listing, &holders));
    let listing = listing.ok();
    findings.extend([descriptors(listing.as_ref()), threads(listing.as_ref()), backlog(), core_dumps(), namespace()]);
    Ok(findings)
}

fn print(findings: &[Finding], form: Form) -> Result<(), Failure> {
    match form {
        Form::Json => {
            let objects: Vec<String> = findings
                .iter()
                .map(|Finding { check, state, finding, cure }| {
                    let (check, state) = (("check", json!(check)), ("state", json!(state.as_str())));
                    object(&vec![check, state, ("finding", json!(finding)), ("cure", json!(cure))])
                })
                .collect();
            line(&format!("[{}]", objects.join(",\n ")))
        }
        Form::Tabs => {
            let row = |finding: &Finding| {
                let Finding { check, state, finding, cure } = finding;
                vec![(*check).to_owned(), state.as_str().to_owned(), finding.clone(), cure.clone()]
            };
            rows(form, &[], &findings.iter().map(row).collect::<Vec<_>>())
        }
        Form::Table => findings.iter().try_for_each(|Finding { check, state, finding, cure }| {
            line(&format!("{:<4}  {check:<11}  {finding}", state.as_str()))?;
            if cure.is_empty() { Ok(()) } else { line(&format!("{:19}-> {cure}", "")) }
        }),
    }
}

/// A port that the system gives out for outgoing connections can be taken by any of them at any time.
fn port_range(port: u16) -> Finding {
    const CHECK: &str = "port";
    let Some(range) = read("/proc/sys/net/ipv4/ip_local_port_range") else {
        return ok(CHECK, format!("{port}; the system does not tell its ephemeral range"));
    };
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else { return ok(CHECK, port.to_string()) };
    if !(low..=high).contains(&port) {
        return ok(CHECK, format!("{port} is outside the ephemeral range {low}-{high}"));
    }
    if is_reserved(port, &read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default()) {
        return ok(CHECK, format!("{port} is inside the ephemeral range {low}-{high}, and reserved"));
    }
    cure(
        CHECK,
        format!("{port} is inside the ephemeral range {low}-{high}: any outgoing connection may take it"),
        format!("choose one below {low} with --port, or: sysctl net.ipv4.ip_local_reserved_ports={port}"),
    )
}

/// Whether a list as `8080,9000-9010` has the port.
fn is_reserved(port: u16, list: &str) -> bool {
    list.trim().split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((low.parse(), high.parse()), (Ok(low), Ok(high)) if (low..=high).contains(&port))
    })
}

/// The term is written there at every election.
fn directory(key_file: &Path) -> Finding {
    const CHECK: &str = "directory";
    let Some(path) = key_file.parent() else { return ok(CHECK, "none") };
    match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
        Ok(()) => ok(CHECK, format!("{} can be written", path.display())),
        Err(rustix::io::Errno::NOENT) => ok(CHECK, format!("{} will be made at first use", path.display())),
        Err(error) => cure(
            CHECK,
            format!("{} cannot be written: {error}", path.display()),
            "make it writable for this user, or set PARES_DIR to a directory that is: without it terms can repeat",
        ),
    }
}

fn key(path: &Path) -> Finding {
    const CHECK: &str = "key";
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return ok(CHECK, format!("{} will be made at first use", path.display()));
        }
        Err(source) => {
            let error = KeyError::Io { path: path.into(), doing: "look at the key file", source };
            return cure(CHECK, error.to_string(), "let this user read it");
        }
    };
    let mode = metadata.mode() & 0o7777;
    let (me, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    if !metadata.is_file() || metadata.len() != 32 {
        let finding = format!("{} is no key: not a regular file of 32 bytes", path.display());
        return cure(CHECK, finding, "stop the group's instances and remove it; a new one is made");
    }
    if owner != me {
        let finding = format!("{} belongs to user id {owner}, not to {me}", path.display());
        return cure(CHECK, finding, "run as that user, or set PARES_DIR to a directory of your own");
    }
    if mode & 0o077 != 0 {
        let finding = format!("{} has mode {mode:04o}: others can use it", path.display());
        let remedy = format!("if nobody else has seen it: chmod 600 {}; else remove it", path.display());
        return cure(CHECK, finding, remedy);
    }
    ok(CHECK, format!("{} is readable for this user only", path.display()))
}

/// Whether the supervisor answers; if not, who sits on the port.
fn supervisor(port: u16, listing: &Result<Listing, AskError>, holders: &[Process]) -> Finding {
    const CHECK: &str = "supervisor";
    match listing {
        Ok(listing) => {
            let state = if listing.settled { "" } else { ", not settled yet" };
            let (name, count) = (&listing.supervisor, listing.entries.len());
            ok(CHECK, format!("{name} answers on port {port}; term {}, {count} instances{state}", listing.term))
        }
        Err(AskError::NoSupervisor { .. }) => match holders.first() {
            None => ok(CHECK, format!("none: port {port} is free")),
            Some(holder) => cure(
                CHECK,
                format!("{holder} holds port {port}, and this group has no key yet: it is another program"),
                "choose another port with --port or PARES_PORT, or end that program",
            ),
        },
        Err(AskError::Refused(error)) => {
            let remedy = match **error {
                JoinError::PortHeld { .. } => "choose another port with --port or PARES_PORT, or end that program",
                JoinError::OtherGroup { .. } => "give one of the two groups another port with --port or PARES_PORT",
                JoinError::KeyMismatch { .. } => "run as that user, share the key file, or choose another port",
                _ => "see the message",
            };
            cure(CHECK, error.to_string(), remedy)
        }
        Err(AskError::Deadline) => match holders.first() {
            Some(holder) if holder.stopped => cure(
                CHECK,
                format!("{holder} holds port {port} and is stopped"),
                format!("continue it: kill -CONT {0}; or end it: kill -KILL {0}", holder.pid),
            ),
            Some(holder) if holder.dumping => cure(
                CHECK,
                format!("{holder} holds port {port} and is writing its core dump"),
                "wait; smaller or no dumps (ulimit -c 0) end this sooner",
            ),
            Some(holder) => cure(
                CHECK,
                format!("{holder} holds port {port} and does not answer"),
                format!("it hangs, or was forked from a dead supervisor: kill {}", holder.pid),
            ),
            None => {
                cure(CHECK, format!("port {port} is held by a process that cannot be seen from here"), "ask as root")
            }
        },
        Err(error) => cure(CHECK, error.to_string(), "ask again; if it stays, look at the supervisor's log"),
    }
}

/// Who besides the supervisor holds the listening socket: a child that was forked without exec keeps the port, and the
/// connections, of a dead parent.
fn leaks(listing: &Result<Listing, AskError>, holders: &[Process]) -> Finding {
    const CHECK: &str = "descriptors";
    let main = listing.as_ref().ok().and_then(Listing::main).map(|entry| entry.pid);
    let others: Vec<&Process> = match main {
        Some(main) => holders.iter().filter(|holder| holder.pid != main).collect(),
        None => holders.iter().skip(1).collect(),
    };
    match others.as_slice() {
        [] => ok(CHECK, "no second process holds the supervisor port's socket"),
        [other, ..] => cure(
            CHECK,
            format!(
                "{other} holds the supervisor port's socket too: it would keep the port after the supervisor's death"
            ),
            format!("end it: kill {}; have the program exec, or close its descriptors, after fork", other.pid),
        ),
    }
}

/// The supervisor has one descriptor for each member, and some for those who ask.
fn descriptors(listing: Option<&Listing>) -> Finding {
    const CHECK: &str = "open files";
    let (who, limits) = limits(listing);
    room(CHECK, who, limit(&limits, "Max open files"), listing, "raise it: ulimit -n, or LimitNOFILE= of the service")
}

/// The supervisor has one thread for each member, and some for those who ask.
fn threads(listing: Option<&Listing>) -> Finding {
    const CHECK: &str = "threads";
    let (who, limits) = limits(listing);
    let of_kernel = |name: &str| read(&format!("/proc/sys/kernel/{name}")).and_then(|text| text.trim().parse().ok());
    // Root is not held to the limit of its processes.
    let of_user = if rustix::process::geteuid().is_root() { None } else { limit(&limits, "Max processes") };
    let least = [of_user, of_kernel("threads-max"), of_kernel("pid_max")].into_iter().flatten().min();
    room(CHECK, who, least, listing, "raise the least of: ulimit -u, kernel.threads-max, kernel.pid_max")
}

/// Whether a limit leaves room for the group: for each member one, and one for its watch.
fn room(
    check: &'static str,
    who: &str,
    limit: Option<u64>,
    listing: Option<&Listing>,
    remedy: &'static str,
) -> Finding {
    let members = listing.map_or(1, |listing| listing.entries.len() as u64);
    let needed = members * 2 + 64;
    match limit {
        None => ok(check, format!("no limit for {who}")),
        Some(limit) if limit < needed => {
            cure(check, format!("{limit} for {who}; {members} instances need up to {needed}"), remedy)
        }
        Some(limit) => ok(check, format!("{limit} for {who}: enough for {} instances", (limit - 64) / 2)),
    }
}

/// Whose limits count, and what the system says of them.
fn limits(listing: Option<&Listing>) -> (&'static str, String) {
    let of = |pid: &str| read(&format!("/proc/{pid}/limits"));
    match listing.and_then(Listing::main).and_then(|main| of(&main.pid.to_string())) {
        Some(limits) => ("the supervisor", limits),
        None => ("this user", of("self").unwrap_or_default()),
    }
}

/// The soft limit of this name; `None` if there is none.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// After a supervisor's death all survivors connect at once.
fn backlog() -> Finding {
    const CHECK: &str = "backlog";
    match read("/proc/sys/net/core/somaxconn").and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(most) if most < 4096 => note(
            CHECK,
            format!(
                "net.core.somaxconn is {most}: in a group larger than that, some survivors wait 1 s after an election"
            ),
            "sysctl net.core.somaxconn=4096",
        ),
        Some(most) => ok(CHECK, format!("net.core.somaxconn is {most}")),
        None => ok(CHECK, "the system does not tell its limit"),
    }
}

/// A process that writes a core dump keeps its sockets, and so the supervisorship, until it has written it.
fn core_dumps() -> Finding {
    const CHECK: &str = "core dumps";
    let pattern = read("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let most = rustix::process::getrlimit(rustix::process::Resource::Core).current;
    // The limit does not hold for dumps into a program, except that 1 means none.
    let (off, to) = match pattern.trim().strip_prefix('|') {
        Some(program) => (most == Some(1), program.split_whitespace().next().unwrap_or_default()),
        None => (most == Some(0), "a file"),
    };
    if off {
        return ok(CHECK, "switched off for this user");
    }
    note(
        CHECK,
        format!("go to {to}: a crashed supervisor is replaced only when its dump is written, about 1.3 s for each GiB"),
        if to == "a file" {
            "ulimit -c 0 for programs with much memory"
        } else {
            "ulimit -c 1 for programs with much memory"
        },
    )
}

/// Each network namespace has its own ports, and so its own supervisor.
fn namespace() -> Finding {
    const CHECK: &str = "namespace";
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    match (of("self"), of("1")) {
        (Some(own), Some(first)) if own != first => note(
            CHECK,
            "this process is not in the network namespace of process 1: instances outside do not see it",
            "start all instances of a group in one network namespace",
        ),
        (Some(_), Some(_)) => ok(CHECK, "the network namespace of process 1"),
        _ => ok(CHECK, "whether this is the machine's network namespace cannot be seen"),
    }
}

/// A process that holds the socket.
struct Process {
    pid: u32,
    program: String,
    stopped: bool,
    dumping: bool,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// All processes that hold the socket which listens on `port`, as far as they can be seen; the oldest first.
fn holders(port: u16) -> Vec<Process> {
    let Some(inode) = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(&read(table)?, port))
    else {
        return Vec::new();
    };
    let link = format!("socket:[{inode}]");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.retain(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|target| target.as_os_str() == link.as_str())
    });
    pids.into_iter().map(process).collect()
}

/// The inode of the socket that listens on `port`, in a table as /proc/net/tcp has it.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = words.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16) == Ok(port) && words.get(3) == Some(&LISTEN);
        if here { words.get(9)?.parse().ok() } else { None }
    })
}

fn process(pid: u32) -> Process {
    let status = read(&format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    Process {
        pid,
        program: value("Name:").to_owned(),
        stopped: value("State:").starts_with(['T', 't']),
        dumping: value("CoreDumping:") == "1",
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_numbers_and_ranges() {
        assert!(is_reserved(8080, "8080,9000-9010\n"));
        assert!(is_reserved(9005, "8080,9000-9010\n"));
        assert!(!is_reserved(9011, "8080,9000-9010\n"));
        assert!(!is_reserved(1, "\n"));
    }

    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax processes  unlimited  unlimited  processes\n\
            Max open files            1024                 4096                 files\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024));
        assert_eq!(limit(limits, "Max processes"), None);
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:7593 0100007F:1234 01 00000000:00000000 00:00000000 00000000  1000        0 111 1 0\n\
            1: 0100007F:7593 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 222 1 0\n";
        assert_eq!(listening_inode(table, 30099), Some(222));
        assert_eq!(listening_inode(table, 30098), None);
    }
}
