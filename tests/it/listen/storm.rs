//! Deaths while clients connect: nothing is lost but what the dead had accepted.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{How, Site, USUAL, served_by};
use crate::support::PATIENCE;

/// Clients that connect at a rate until they are told to stop.
struct Storm {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    outcomes: Arc<Mutex<Outcomes>>,
}

#[derive(Debug, Default)]
struct Outcomes {
    served: usize,
    /// Accepted, and cut before it was served.
    cut: usize,
    refused: usize,
}

impl Storm {
    fn begin(address: SocketAddr, threads: u32, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let outcomes = Arc::new(Mutex::new(Outcomes::default()));
        let interval = Duration::from_secs(1) * threads / per_second;
        let client = || {
            let (stop, outcomes) = (stop.clone(), outcomes.clone());
            thread::spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    // Who is late makes up for it: that is how a rate is kept.
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += interval;
                    let outcome = TcpStream::connect(address).map(|stream| {
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        served_by(stream)
                    });
                    let mut outcomes = outcomes.lock().unwrap();
                    match outcome {
                        Ok(Some(_)) => outcomes.served += 1,
                        Ok(None) => outcomes.cut += 1,
                        Err(_) => outcomes.refused += 1,
                    }
                }
            })
        };
        let threads = (0..threads).map(|_| client()).collect();
        Storm { stop, threads, outcomes }
    }

    fn served(&self) -> usize {
        self.outcomes.lock().unwrap().served
    }

    /// Waits until so many more have been served.
    #[track_caller]
    fn await_more(&self, count: usize) {
        let (wanted, deadline) = (self.served() + count, Instant::now() + PATIENCE);
        while self.served() < wanted {
            assert!(Instant::now() < deadline, "no more are served: {:?}", self.outcomes);
            thread::sleep(Duration::from_millis(1)); // a look takes the lock that the clients need
        }
    }

    fn end(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        Arc::into_inner(self.outcomes).unwrap().into_inner().unwrap()
    }
}

/// Kills the supervisor twelve times, always the oldest, while clients connect.
fn kill_twelve_supervisors(threads: u32, per_second: u32) {
    let site = Site::new();
    let mut group: Vec<_> = (0..3).map(|at| site.acceptor(&format!("w{at}"), USUAL)).collect();
    let storm = Storm::begin(site.address, threads, per_second);
    for round in 0..12 {
        storm.await_more(per_second as usize / 20);
        // Whoever supervises: it may be any of the survivors.
        let supervisor = site.ground.admin().status().expect("a supervisor").supervisor;
        let at = group.iter().position(|one| one.process.pid() == site.pid_of(&supervisor));
        group.remove(at.expect("one of them")).process.kill();
        group.push(site.acceptor(&format!("w{}", round + 3), USUAL));
    }
    storm.await_more(20);
    let outcomes = storm.end();
    // A client of the one that was killed, in the moment between its accepting and its answer.
    assert!(outcomes.refused == 0 && outcomes.cut <= 12, "{outcomes:?}");
}

impl Site {
    fn pid_of(&self, name: &str) -> u32 {
        self.ground.admin().look_up(name).expect("an entry").entries[0].pid
    }
}

#[test]
fn twelve_supervisors_die_and_no_waiting_connection_is_lost_at_1000_a_second() {
    kill_twelve_supervisors(4, 1_000);
}

#[test]
fn twelve_supervisors_die_and_no_waiting_connection_is_lost_at_20000_a_second() {
    kill_twelve_supervisors(8, 20_000);
}

/// Goal: who dies takes nothing along but what it has accepted.
/// Method: the only acceptor serves one connection while fifty wait; it is killed, and another
/// comes.
#[test]
fn an_acceptor_dies_while_fifty_wait_and_only_what_it_had_accepted_is_lost() {
    let site = Site::new();
    let supervisor = site.acceptor("idle", How { threads: 0, ..USUAL });
    let slow = site.acceptor("slow", How { work_us: 1_000_000_000, ..USUAL });
    let mut served = site.connect();
    // It has been accepted once its server has written.
    let mut first = [0; 4];
    std::io::Read::read_exact(&mut served, &mut first).expect("it is accepted");
    let waiting: Vec<TcpStream> = (0..50).map(|_| site.connect()).collect();
    slow.process.kill();
    assert_eq!(site.listener().waiting, 50);
    let _heir = site.acceptor("heir", USUAL);
    let by: Vec<Option<String>> = waiting.into_iter().map(served_by).collect();
    assert!(by.iter().all(|name| name.as_deref() == Some("heir")), "{by:?}");
    drop(supervisor);
}

#[test]
fn connections_wait_while_nobody_accepts_and_are_served_by_who_comes() {
    let site = Site::new();
    let only = site.acceptor("only", How { threads: 0, ..USUAL });
    let waiting: Vec<TcpStream> = (0..10).map(|_| site.connect()).collect();
    let _next = site.acceptor("next", How { threads: 0, ..USUAL });
    only.process.kill();
    site.await_acceptors(1);
    let _third = site.acceptor("third", USUAL);
    for stream in waiting {
        assert_eq!(served_by(stream).as_deref(), Some("third"));
    }
}
