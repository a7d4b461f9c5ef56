//! What the machine and its limits are like.

use std::path::Path;

use pares::Listing;
use rustix::process::{Resource, getrlimit};

use super::{Finding, cure, note, ok, read};

/// A port that the system gives out for outgoing connections can be taken by any of them at any
/// time.
pub(super) fn port_range(port: u16) -> Finding {
    const CHECK: &str = "port";
    let Some(range) = read("/proc/sys/net/ipv4/ip_local_port_range") else {
        return ok(CHECK, format!("{port}; the ephemeral range cannot be seen"));
    };
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
    let (Some(low), Some(high)) = (ends.next(), ends.next()) else {
        return ok(CHECK, port.to_string());
    };
    if !(low..=high).contains(&port) {
        return ok(CHECK, format!("{port} is outside the ephemeral range {low}-{high}"));
    }
    if is_reserved(port, &read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default()) {
        return ok(
            CHECK,
            format!("{port} is inside the ephemeral range {low}-{high}, but reserved"),
        );
    }
    cure(
        CHECK,
        format!(
            "{port} is inside the ephemeral range {low}-{high}: any outgoing connection may take it"
        ),
        format!(
            "choose one below {low} with --port, or: sysctl net.ipv4.ip_local_reserved_ports={port}"
        ),
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
pub(super) fn directory(path: &Path) -> Finding {
    const CHECK: &str = "directory";
    match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
        Ok(()) => ok(CHECK, format!("{} can be written", path.display())),
        Err(rustix::io::Errno::NOENT) => {
            ok(CHECK, format!("{} will be made at first use", path.display()))
        }
        Err(error) => cure(
            CHECK,
            format!("{} cannot be written: {error}", path.display()),
            "make it writable for this user, or set PARES_DIR to a writable directory: otherwise \
             terms can repeat",
        ),
    }
}

/// The supervisor has one descriptor for each member, and some for those who ask.
pub(super) fn descriptors(listing: Option<&Listing>, limits: &Limits) -> Finding {
    const CHECK: &str = "open files";
    room(
        CHECK,
        limits.who,
        limits.of(Resource::Nofile),
        listing,
        "raise it: ulimit -n, or LimitNOFILE= of the service",
    )
}

/// The supervisor has one thread for each member, and some for those who ask.
pub(super) fn threads(listing: Option<&Listing>, limits: &Limits) -> Finding {
    const CHECK: &str = "threads";
    let of_kernel = |name: &str| {
        read(&format!("/proc/sys/kernel/{name}")).and_then(|text| text.trim().parse().ok())
    };
    // Root is not held to the limit of its processes.
    let of_user =
        if rustix::process::geteuid().is_root() { None } else { limits.of(Resource::Nproc) };
    let Some(least) =
        [of_user, of_kernel("threads-max"), of_kernel("pid_max")].into_iter().flatten().min()
    else {
        return ok(CHECK, "the system's limits cannot be seen"); // it always has some
    };
    room(
        CHECK,
        limits.who,
        Some(least),
        listing,
        "raise the smallest of: ulimit -u, kernel.threads-max, kernel.pid_max",
    )
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
        Some(limit) if limit < needed => cure(
            check,
            format!("{limit} for {who}, but {members} instances need up to {needed}"),
            remedy,
        ),
        Some(limit) => {
            ok(check, format!("{limit} for {who}: enough for {} instances", (limit - 64) / 2))
        }
    }
}

/// Whose limits count, and what they are.
pub(super) struct Limits {
    who: &'static str,
    /// As /proc has them; nothing for those of this process.
    table: Option<String>,
}

impl Limits {
    /// Those of the supervisor, whose number here is `pid`; where it cannot be seen, of a process
    /// that this user starts.
    pub(super) fn look(listing: Option<&Listing>, pid: Option<u32>) -> Self {
        match pid.and_then(|pid| read(&format!("/proc/{pid}/limits"))) {
            Some(table) => Limits { who: "the supervisor", table: Some(table) },
            None if listing.is_some() => {
                Limits { who: "this user (the supervisor's cannot be seen from here)", table: None }
            }
            None => Limits { who: "this user", table: None },
        }
    }

    /// The soft limit; `None` if there is none.
    fn of(&self, resource: Resource) -> Option<u64> {
        let name = match resource {
            Resource::Nofile => "Max open files",
            Resource::Nproc => "Max processes",
            Resource::Core => "Max core file size",
            _ => return None,
        };
        match &self.table {
            Some(table) => limit(table, name),
            None => getrlimit(resource).current,
        }
    }
}

/// The soft limit of this name in a table as /proc has it; `None` if there is none.
fn limit(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Much of what is said here is read from /proc; `pares run` and hang watches need it too.
pub(super) fn proc() -> Finding {
    const CHECK: &str = "/proc";
    if Path::new("/proc/self/status").exists() {
        return ok(CHECK, "can be read");
    }
    note(
        CHECK,
        "cannot be read: the holder of a port, the state of other processes and the system's \
         limits cannot be seen",
        "in a chroot or a sandbox: mount -t proc proc /proc",
    )
}

/// After a supervisor's death all survivors connect at once.
pub(super) fn backlog() -> Finding {
    const CHECK: &str = "backlog";
    match read("/proc/sys/net/core/somaxconn").and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(most) if most < 4096 => note(
            CHECK,
            format!(
                "net.core.somaxconn is {most}: in a larger group some survivors wait 1 s after an \
                 election"
            ),
            "sysctl net.core.somaxconn=4096",
        ),
        Some(most) => ok(CHECK, format!("net.core.somaxconn is {most}")),
        None => ok(CHECK, "the limit cannot be seen"),
    }
}

/// A process that writes a core dump keeps its sockets, and so the supervisorship, until it has
/// written it.
pub(super) fn core_dumps(limits: &Limits) -> Finding {
    const CHECK: &str = "core dumps";
    let who = limits.who;
    let Some(pattern) = read("/proc/sys/kernel/core_pattern") else {
        return ok(CHECK, "their destination cannot be seen");
    };
    match dumps_to(pattern.trim(), limits.of(Resource::Core)) {
        None => ok(CHECK, format!("they are switched off for {who}")),
        Some((to, off)) => note(
            CHECK,
            format!(
                "they go to {to}: when {who} crashes, another instance takes over only after the \
                 dump is written, about 1.3 s per GiB"
            ),
            format!("use Config::release_on_crash in the program, or {off} where it starts"),
        ),
    }
}

/// Where a process with this limit dumps its core, and how that is switched off; `None` if it is.
fn dumps_to(pattern: &str, limit: Option<u64>) -> Option<(String, &'static str)> {
    // The limit does not hold for dumps into a program, except that 1 means none.
    match pattern.strip_prefix('|') {
        Some(program) if limit != Some(1) => {
            Some((program.split_whitespace().next().unwrap_or_default().to_owned(), "ulimit -c 1"))
        }
        None if limit != Some(0) && !pattern.is_empty() => {
            Some(("a file".to_owned(), "ulimit -c 0"))
        }
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn reserved_ports_are_numbers_and_ranges() {
        assert!(is_reserved(8080, "8080,9000-9010\n"));
        assert!(is_reserved(9005, "8080,9000-9010\n"));
        assert!(!is_reserved(9011, "8080,9000-9010\n"));
        assert!(!is_reserved(1, "\n"));
    }

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax processes  unlimited  unlimited  \
                      processes\n\
            Max open files            1024                 4096                 files\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024));
        assert_eq!(limit(limits, "Max processes"), None);
    }

    #[test]
    fn a_limit_without_room_for_the_group_is_to_be_cured() {
        for (limit, state) in [(None, State::Ok), (Some(65), State::Cure), (Some(66), State::Ok)] {
            let finding = room("threads", "the supervisor", limit, None, "raise it");
            assert!(finding.state == state, "{limit:?}: {}", finding.finding);
        }
    }

    #[test]
    fn where_a_core_dump_goes_depends_on_pattern_and_limit() {
        let to = |pattern, limit| dumps_to(pattern, limit).map(|(to, _)| to);
        assert_eq!(to("core", None).as_deref(), Some("a file"));
        assert_eq!(to("core.%p", Some(4096)).as_deref(), Some("a file"));
        assert_eq!(to("core", Some(0)), None);
        assert_eq!(to("", None), None);
        assert_eq!(to("|/usr/lib/apport %p", Some(0)).as_deref(), Some("/usr/lib/apport"));
        assert_eq!(to("|/usr/lib/apport %p", Some(1)), None);
    }
}
