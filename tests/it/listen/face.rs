//! What a program holds: waiting, polling, draining, leaving.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use pares::{AcceptError, Instance, Listen, Listener, Policy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Site, USUAL};
use crate::support::{PATIENCE, await_true, right_once};

fn listen(site: &Site, name: &str, listen: Listen) -> (Instance, Listener) {
    let instance = Instance::join(site.ground.config().name(name)).expect("a role");
    let listener = instance.listen(site.address, listen).expect("a listener");
    (instance, listener)
}

#[test]
fn a_wait_for_a_connection_has_an_end() {
    let site = Site::new();
    let (_instance, listener) = listen(&site, "one", Listen::new());
    let began = Instant::now();
    let late = listener.accept_timeout(Duration::from_millis(30)).unwrap_err();
    assert!(matches!(late, AcceptError::TimedOut) && began.elapsed() >= Duration::from_millis(30));
    let _client = site.connect();
    listener.accept_timeout(PATIENCE).expect("a connection");
}

#[test]
fn a_program_that_only_looks_gets_its_turn_too() {
    let site = Site::new();
    let (_instance, listener) = listen(&site, "one", Listen::new());
    let _client = site.connect();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = listener.accept_timeout(Duration::ZERO) {
        assert!(matches!(error, AcceptError::TimedOut) && Instant::now() < deadline, "{error}");
    }
}

/// Waits until the descriptor is readable.
fn is_readable(listener: &Listener, time: Duration) -> bool {
    let time = Timespec::try_from(time).unwrap();
    let descriptor = listener.descriptor().expect("a descriptor");
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time)).unwrap() > 0
}

#[test]
fn a_program_that_polls_is_woken_for_its_connections_and_for_the_end() {
    let site = Site::new();
    let (_instance, listener) = listen(&site, "polls", Listen::new());
    for _ in 0..20 {
        let mut client = site.connect();
        let mut connection = loop {
            assert!(is_readable(&listener, PATIENCE), "never readable");
            match listener.accept_timeout(Duration::ZERO) {
                Ok(connection) => break connection,
                Err(AcceptError::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        };
        connection.write_all(b"x").unwrap();
        drop(connection);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"x");
    }
    // What the desk has said meanwhile is read; then there is nothing.
    await_true("quiet", || {
        _ = listener.accept_timeout(Duration::ZERO);
        !is_readable(&listener, Duration::from_millis(20))
    });
    listener.drain();
    assert!(is_readable(&listener, PATIENCE));
    assert!(matches!(listener.accept_timeout(Duration::ZERO), Err(AcceptError::Drained)));
}

#[test]
fn who_waits_returns_when_the_listener_is_drained() {
    let site = Site::new();
    let (_instance, listener) = listen(&site, "one", Listen::new());
    thread::scope(|scope| {
        let waits: Vec<_> = (0..4).map(|_| scope.spawn(|| listener.accept())).collect();
        await_true("they wait", || site.acceptor_of("one").turns == 1);
        listener.drain();
        for wait in waits {
            assert!(matches!(wait.join().unwrap(), Err(AcceptError::Drained)));
        }
    });
    assert!(listener.is_drained());
}

/// Goal: an operator's word ends what no thread accepts at, at all of the instance's listeners.
#[test]
fn who_waits_for_the_end_learns_that_an_operator_has_drained_the_instance() {
    let site = Site::new();
    let (instance, first) = listen(&site, "one", Listen::new());
    let elsewhere = ([127, 0, 0, 1], crate::raw::free_port());
    let second = instance.listen(elsewhere, Listen::new()).expect("a listener");
    assert_eq!(site.ground.admin().drain("one").unwrap(), 2);
    assert!(first.wait_drained(PATIENCE) && second.wait_drained(PATIENCE));
}

#[test]
fn who_waits_returns_when_the_instance_leaves() {
    let site = Site::new();
    let (instance, listener) = listen(&site, "one", Listen::new());
    thread::scope(|scope| {
        let wait = scope.spawn(|| listener.accept());
        await_true("it waits", || site.acceptor_of("one").turns == 1);
        drop(instance);
        assert!(matches!(wait.join().unwrap(), Err(AcceptError::Stopped)));
    });
}

#[test]
fn open_connections_are_counted_and_their_end_can_be_awaited() {
    let site = Site::new();
    let (_instance, listener) = listen(&site, "one", Listen::new().policy(Policy::Connections));
    let _clients = [site.connect(), site.connect()];
    let (one, other) = (listener.accept().unwrap(), listener.accept().unwrap());
    assert_eq!(listener.open(), 2);
    assert!(!listener.wait_closed(Duration::from_millis(1)));
    drop(one);
    _ = other.into_stream();
    assert!(listener.wait_closed(Duration::ZERO));
    await_true("the supervisor knows", || site.acceptor_of("one").open == 0);
}

/// Goal: while nothing happens, nobody wakes for a shared listener.
/// Method: the kernel's count of how often the threads of two processes have gone to sleep.
#[test]
fn nobody_wakes_while_no_connection_comes() {
    let site = Site::new();
    let both = ["one", "two"].map(|name| site.acceptor(name, USUAL));
    assert!(!site.visit().is_empty());
    let sleeps = || {
        let threads = both.iter().flat_map(|one| {
            let tasks = format!("/proc/{}/task", one.process.pid());
            std::fs::read_dir(tasks).unwrap().flatten()
        });
        let of_one = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
        };
        threads.map(of_one).sum::<u64>()
    };
    // What was under way comes to its end first.
    right_once(|| {
        let before = sleeps();
        thread::sleep(Duration::from_millis(500));
        let more = sleeps() - before;
        if more == 0 { Ok(()) } else { Err(format!("{more} times in half a second")) }
    });
}

#[test]
fn two_instances_of_one_process_share_as_those_of_two_do() {
    let site = Site::new();
    let (_one, first) = listen(&site, "one", Listen::new());
    let (_two, second) = listen(&site, "two", Listen::new());
    let serve = |listener: &Listener, name: &'static str| {
        for connection in listener {
            _ = connection.unwrap().write_all(name.as_bytes());
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| serve(&first, "one"));
        scope.spawn(|| serve(&second, "two"));
        let mut names = BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        while names.len() < 2 && Instant::now() < deadline {
            names.insert(site.visit());
        }
        first.drain();
        second.drain();
        assert_eq!(names.len(), 2, "only {names:?}");
    });
}
