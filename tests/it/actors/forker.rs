//! A process that forks, and crashes on order.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use pares::{AskError, Client, Config, Instance, Role};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process};

use super::crash::{crash, crash_like_vfork, handle_faults, raw_clone};
use super::{Actor, given, given_place, orders, say};
use crate::support::{GROUP, Ground, PATIENCE, await_true};

/// Seconds after which a child that hangs is ended; on a busy machine it must not be before its
/// test is.
pub(super) const LIFETIME: u32 = 1800;

/// Forks; `child` runs in the child, which ends when it returns. It lives no longer than
/// [`LIFETIME`] in any case.
pub(crate) fn fork(child: impl FnOnce()) -> u32 {
    // SAFETY: what the children here do is what this is a test of; they end with `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: a timer of this process alone.
        unsafe { libc::alarm(LIFETIME) };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the child at once, without running anything of the parent's.
        unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) };
    }
    u32::try_from(pid).expect("forked")
}

/// Forks a child that lives on; returns when it has begun to.
pub(crate) fn living_child() -> u32 {
    let (here, there) = rustix::pipe::pipe().expect("a pipe");
    let (here, there) = (File::from(here), File::from(there));
    let pid = fork(|| {
        (&there).write_all(b"x").expect("a parent");
        live_on();
    });
    (&here).read_exact(&mut [0]).expect("a living child");
    pid
}

/// Waits for a signal that kills.
pub(crate) fn live_on() {
    loop {
        // SAFETY: waits.
        unsafe { libc::pause() };
    }
}

pub(super) fn play() {
    let limit = given("CORE");
    if !limit.is_empty() {
        let current = if limit == "unlimited" { None } else { limit.parse().ok() };
        rustix::process::setrlimit(Resource::Core, Rlimit { current, maximum: None })
            .expect("a limit for core dumps");
    }
    let how = given("HANDLER");
    if !how.is_empty() {
        handle_faults(&how);
    }
    let config = given_place(GROUP);
    let own = config.clone().name(given("NAME")).resource(pares::Resource::new("seats", 100));
    let own = own.admin_function("fork", "forks a child that lives on", |_| {
        Ok(living_child().to_string().into_bytes())
    });
    let own = own.admin_function("fork-and-return", "the child returns", |_| {
        // SAFETY: as above; the child returns to the library.
        let pid = unsafe { libc::fork() };
        Ok(pid.to_string().into_bytes())
    });
    let own = own.release_on_crash(!given("RELEASE").is_empty());
    let instance = Instance::join(own).expect("joined");
    say(&format!("role {}", instance.role()));
    for line in orders() {
        let mut words = line.split_whitespace();
        match (words.next().unwrap_or_default(), words.next()) {
            ("fork", _) => say(&format!("child {}", living_child())),
            ("clone", _) => say(&format!("child {}", raw_clone())),
            ("storm", Some(count)) => {
                let pids: Vec<String> = (0..count.parse().expect("a number"))
                    .map(|_| fork(live_on).to_string())
                    .collect();
                say(&format!("children {}", pids.join(" ")));
            }
            ("traffic", Some(count)) => say(&traffic(&config, count.parse().expect("a number"))),
            ("job", _) => {
                let job = instance.while_supervisor(|guard| {
                    say(&format!("child {}", living_child()));
                    while !guard.wait(PATIENCE) {}
                });
                std::mem::forget(job.expect("a job"));
            }
            ("use", _) => use_in_child(&config, &instance),
            ("join", _) => {
                let config = config.clone().name("child");
                let child = fork(move || {
                    let instance = Instance::join(config).expect("the child joins");
                    say(&format!("child is {}", instance.role()));
                    let answer = instance.client().call("main", "ping", b"hello", PATIENCE);
                    say(&format!("child hears {:?}", answer.map(|bytes| bytes.len())));
                    live_on();
                });
                say(&format!("child {child}"));
            }
            ("run", _) => run_others(),
            ("touch", Some(mebibytes)) => {
                let bytes = mebibytes.parse::<usize>().expect("a number") << 20;
                std::mem::forget(vec![1_u8; bytes]); // not zero, which would take no memory
                say("touched");
            }
            ("crash", Some(how)) => crash(how),
            ("crash-children", _) => {
                let pid = Pid::from_raw(fork(|| crash("fault")) as i32).expect("a pid");
                _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
                crash_like_vfork();
                say("children crashed");
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// Forks again and again while connections come and go; says how many children had a socket of
/// ours.
fn traffic(config: &Config, count: usize) -> String {
    let done = Arc::new(AtomicBool::new(false));
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (config, done) = (config.clone(), done.clone());
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // A new admin each time: nothing is kept, everything is opened and closed
                    // again.
                    let admin = Client::new(&config).expect("an admin");
                    _ = admin.list();
                    _ = admin.call("main", "ping", b"", PATIENCE);
                }
            })
        })
        .collect();
    let mut leaks = Vec::new();
    for _ in 0..count {
        let child = living_child();
        leaks.extend(sockets(child));
        end(child);
    }
    done.store(true, Ordering::Relaxed);
    calls.into_iter().for_each(|call| call.join().expect("a caller"));
    format!("leaked {leaks:?}")
}

/// The sockets that a process has open, except standard streams.
pub(crate) fn sockets(pid: u32) -> Vec<String> {
    let descriptors =
        std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a living process").flatten();
    descriptors
        .filter(|entry| {
            entry.file_name().to_str().is_some_and(|number| number.len() > 1 || number > "2")
        })
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| target.starts_with("socket:") || target.ends_with(".term"))
        .collect()
}

fn end(child: u32) {
    let pid = Pid::from_raw(child as i32).expect("a pid");
    _ = kill_process(pid, Signal::KILL);
    _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
}

/// Uses and drops in a child what the parent has made.
fn use_in_child(config: &Config, instance: &Instance) {
    let permit = instance.acquire("seats", 1).expect("a permit");
    let tally = instance.tally("visits").expect("a tally");
    let visits = tally.add(5);
    let watch = instance.client().watch().expect("a watch");
    watch.changes().recv_timeout(PATIENCE).expect("itself");
    let admin = Client::new(config).expect("an admin");
    admin.list().expect("a registry");
    let job = instance.while_supervisor(|guard| while !guard.wait(PATIENCE) {}).expect("a job");
    let child = {
        let (permit, tally, watch, admin, job) = (&permit, &tally, &watch, &admin, &job);
        fork(move || {
            // Numbers that were the library's are the program's now: dropping must not shut them
            // down.
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
            let copies: Vec<_> = (0..64).map(|_| ours.try_clone().expect("a copy")).collect();
            let timeout = PATIENCE;
            let began = Instant::now();
            assert_eq!(
                (instance.role(), instance.term(), instance.is_supervisor()),
                (Role::Stopped, 0, false)
            );
            let events: Vec<_> = instance.events().iter().map(|event| event.kind).collect();
            assert_eq!(events, [pares::EventKind::Stopped]);
            let stopped =
                |error: AskError| assert!(error.to_string().contains("forked"), "{error}");
            stopped(instance.client().list().unwrap_err());
            stopped(instance.client().status().unwrap_err());
            assert!(matches!(instance.client().watch(), Err(pares::StartError::Stopped)));
            stopped(admin.list().unwrap_err());
            stopped(tally.total().unwrap_err());
            assert!(
                instance
                    .client()
                    .call("main", "ping", b"", timeout)
                    .unwrap_err()
                    .to_string()
                    .contains("forked")
            );
            assert!(instance.client().call_all("ping", b"", timeout).is_err());
            assert!(admin.call("main", "ping", b"", timeout).is_err());
            assert!(instance.acquire("seats", 1).unwrap_err().to_string().contains("forked"));
            assert!(instance.tally("other").is_err() && tally.add(3) == 0 && tally.count() == 0);
            assert!(instance.client().set("k", "v").is_err() && instance.get("k").is_none());
            assert!(instance.settings().is_empty() && instance.client().usage().is_err());
            assert!(instance.broadcast("t", b"").is_err());
            assert!(instance.step_down(timeout).is_err() && !permit.is_valid());
            assert!(instance.while_supervisor(|_| {}).unwrap_err().to_string().contains("forked"));
            assert!(watch.changes().recv().is_err());
            assert!(
                !format!("{instance:?} {permit:?} {tally:?} {watch:?} {admin:?} {job:?}")
                    .is_empty()
            );
            // SAFETY: each is read once and never used again: the parent's own are in the parent.
            unsafe {
                drop(std::ptr::read(permit));
                drop(std::ptr::read(job));
                drop(std::ptr::read(watch));
                drop(std::ptr::read(tally));
                drop(std::ptr::read(admin));
                drop(std::ptr::read(instance));
            }
            (&theirs).write_all(b"x").expect("still connected");
            assert!(copies.iter().all(|copy| copy.as_raw_fd() >= 0 && copy.peer_addr().is_ok()));
            say(&format!("used in {} ms", began.elapsed().as_millis()));
        })
    };
    let ended = rustix::process::waitpid(
        Pid::from_raw(child as i32),
        rustix::process::WaitOptions::empty(),
    );
    assert!(
        permit.is_valid() && tally.count() == visits,
        "the child took something from its parent"
    );
    assert_eq!(tally.total().expect("a sum"), visits);
    say(&format!(
        "ended {}",
        ended.expect("a child").is_some_and(|(_, status)| status.exit_status() == Some(0))
    ));
}

/// Executes other programs in all the ways there are, and says their pids.
fn run_others() {
    let words = [c"sleep".as_ptr(), c"50".as_ptr(), std::ptr::null()];
    let by_fork = fork(|| {
        // SAFETY: a list of strings that ends with null; it returns only if it fails.
        unsafe { libc::execvp(words[0], words.as_ptr()) };
    });
    let mut by_spawn = 0;
    // SAFETY: as above; no attributes, no environment.
    let error = unsafe {
        let nothing = std::ptr::null();
        let arguments = words.as_ptr().cast::<*mut libc::c_char>();
        libc::posix_spawnp(
            &raw mut by_spawn,
            words[0],
            nothing,
            nothing.cast(),
            arguments,
            [std::ptr::null_mut()].as_ptr(),
        )
    };
    assert_eq!(error, 0);
    let by_command = Command::new("sleep").arg("50").spawn().expect("started").id();
    // SAFETY: a string.
    unsafe { libc::system(c"sleep 50 & echo; echo \"@@ system $!\"".as_ptr()) };
    say(&format!("run {by_fork} {by_spawn} {by_command}"));
}

/// Starts one.
pub(crate) fn start(ground: &Ground, name: &str) -> Actor {
    start_with(ground, name, &[])
}

/// Starts one with more of its part's variables; in the ground's directory.
pub(crate) fn start_with(ground: &Ground, name: &str, more: &[(&str, &str)]) -> Actor {
    let more: Vec<_> = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let more = [&more[..], &[("NAME", name.to_owned())]].concat();
    let mut command = super::command_in(&ground.directory, ground.port, &[], "forker", &more);
    command.current_dir(&ground.directory);
    let forker = Actor::run(command);
    forker.expect("role");
    forker
}

impl Actor {
    /// Has it fork; gives the child.
    #[track_caller]
    pub(crate) fn fork(&mut self, how: &str) -> Orphan {
        self.order(how);
        Orphan::of(&self.expect("child "))
    }
}

/// A process that outlives its parent, but not its test.
pub(crate) struct Orphan(pub(crate) u32);

impl Orphan {
    pub(crate) fn of(pid: &str) -> Self {
        Orphan(pid.parse().unwrap_or_else(|_| panic!("{pid:?} is no pid")))
    }

    pub(crate) fn lives(&self) -> bool {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    }

    #[track_caller]
    pub(crate) fn ends(&self) {
        await_true("gone", || !self.lives());
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        _ = Pid::from_raw(self.0 as i32).map(|pid| kill_process(pid, Signal::KILL));
    }
}
