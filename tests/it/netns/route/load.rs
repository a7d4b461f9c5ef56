//! Servers that say who they are, and clients that count what goes wrong.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::hosts::Network;

/// However slow the machine: beyond it, something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says its number to each client, and then whatever that says.
pub(super) struct Server {
    listener: TcpListener,
    accepted: Arc<Mutex<BTreeMap<u64, TcpStream>>>,
}

impl Server {
    /// On all addresses of a host, or on all of IPv4 where `at` is of IPv4.
    pub(super) fn start(network: &Network, host: usize, number: u8, at: SocketAddr) -> Self {
        network.on(host, || {
            let domain = socket2::Domain::for_address(at);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            if at.is_ipv6() {
                socket.set_only_v6(true).unwrap();
            }
            socket.bind(&at.into()).unwrap();
            socket.listen(1024).unwrap();
            let listener = TcpListener::from(socket);
            let accepting = listener.try_clone().unwrap();
            let accepted: Arc<Mutex<BTreeMap<u64, TcpStream>>> = Arc::default();
            let kept = accepted.clone();
            thread::spawn(move || {
                for one in 0.. {
                    let Ok((stream, _)) = accepting.accept() else { return };
                    let Ok(copy) = stream.try_clone() else { continue };
                    kept.lock().unwrap().insert(one, copy);
                    let kept = kept.clone();
                    thread::spawn(move || {
                        _ = echo(&stream, number);
                        kept.lock().unwrap().remove(&one);
                    });
                }
            });
            Server { listener, accepted }
        })
    }

    /// Ends with all connections.
    pub(super) fn end(self) {
        let accepted = self.accepted.clone();
        drop(self);
        accepted.lock().unwrap().values().for_each(|one| _ = one.shutdown(Shutdown::Both));
    }
}

fn echo(mut stream: &TcpStream, number: u8) -> io::Result<()> {
    stream.write_all(&[number])?;
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            count => stream.write_all(&bytes[..count])?,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// A client with one connection, over which it asks again and again.
pub(super) struct Line {
    stream: TcpStream,
    /// Who has it.
    pub(super) target: u8,
}

/// What a client has to tell.
#[derive(Debug)]
pub(super) struct LineStory {
    pub(super) target: u8,
    pub(super) longest: Duration,
    pub(super) asked: u64,
    /// How it was lost, if it was.
    pub(super) lost: Option<(Instant, String)>,
}

impl Line {
    fn open_here(at: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut target = [0];
        stream.read_exact(&mut target)?;
        Ok(Line { stream, target: target[0] })
    }

    pub(super) fn open(network: &Network, host: usize, at: SocketAddr) -> io::Result<Self> {
        network.on(host, || Line::open_here(at))
    }

    /// Waits until the connection is reset, without asking anything.
    #[track_caller]
    pub(super) fn await_reset(mut self) {
        let end = self.stream.read(&mut [0]);
        let kind = end.as_ref().err().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionReset), "{end:?}");
    }

    /// Asks once, and returns how long the answer took.
    pub(super) fn ask(&mut self, number: u64) -> io::Result<Duration> {
        let began = Instant::now();
        self.stream.write_all(&number.to_be_bytes())?;
        let mut answer = [0; 8];
        self.stream.read_exact(&mut answer)?;
        if u64::from_be_bytes(answer) != number {
            return Err(io::Error::other("another answer"));
        }
        Ok(began.elapsed())
    }

    fn work(mut self, think: Duration, is_over: &AtomicBool) -> LineStory {
        let mut story =
            LineStory { target: self.target, longest: Duration::ZERO, asked: 0, lost: None };
        while !is_over.load(Ordering::Relaxed) {
            match self.ask(story.asked) {
                Ok(took) => story.longest = story.longest.max(took),
                Err(error) => {
                    story.lost = Some((Instant::now(), error.to_string()));
                    return story;
                }
            }
            story.asked += 1;
            thread::sleep(think);
        }
        story
    }
}

/// Clients at work: some that stay, and some that come and go.
pub(super) struct Load {
    is_over: Arc<AtomicBool>,
    lines: Vec<JoinHandle<LineStory>>,
    storm: Vec<JoinHandle<Storm>>,
}

/// What those have to tell who come and go.
#[derive(Debug, Default)]
pub(super) struct Storm {
    /// Who has had how many.
    pub(super) served: BTreeMap<u8, usize>,
    pub(super) failed: Vec<String>,
    pub(super) longest: Duration,
}

/// What all clients have to tell.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) lines: Vec<LineStory>,
    pub(super) storm: Storm,
}

/// So many come and go at a time.
const COMERS: u32 = 8;

impl Load {
    /// Connections that stay, half of them to each service, and new ones, so many a second.
    pub(super) fn start(
        network: &Network,
        host: usize,
        services: &[SocketAddr],
        stay: usize,
        per_second: u32,
    ) -> Self {
        network.on(host, || {
            let is_over = Arc::new(AtomicBool::new(false));
            let mut opened = Vec::new();
            for (number, service) in (0..stay).zip(services.iter().cycle()) {
                let line = Line::open_here(*service);
                opened.push(line.unwrap_or_else(|error| panic!("client {number}: {error}")));
            }
            let small = || thread::Builder::new().stack_size(128 << 10);
            let lines = opened.into_iter().enumerate().map(|(number, line)| {
                let (is_over, think) = (is_over.clone(), 50 + number as u64 % 50);
                small().spawn(move || line.work(Duration::from_millis(think), &is_over)).unwrap()
            });
            let lines = lines.collect();
            let pause = Duration::from_secs(1) * COMERS / per_second.max(1);
            let comers = if per_second == 0 { 0 } else { COMERS };
            let storm = (0..comers).map(|number| {
                let (is_over, at) = (is_over.clone(), services[number as usize % services.len()]);
                small().spawn(move || come_and_go(at, pause, &is_over)).unwrap()
            });
            Load { storm: storm.collect(), lines, is_over }
        })
    }

    pub(super) fn end(self) -> Story {
        self.is_over.store(true, Ordering::Relaxed);
        let lines = self.lines.into_iter().map(|line| line.join().unwrap()).collect();
        let mut storm = Storm::default();
        for one in self.storm {
            let Storm { served, failed, longest } = one.join().unwrap();
            for (target, count) in served {
                *storm.served.entry(target).or_default() += count;
            }
            storm.failed.extend(failed);
            storm.longest = storm.longest.max(longest);
        }
        Story { lines, storm }
    }
}

fn come_and_go(at: SocketAddr, pause: Duration, is_over: &AtomicBool) -> Storm {
    let mut storm = Storm::default();
    let mut next = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match Line::open_here(at).and_then(|mut line| line.ask(7).map(|_| line.target)) {
            Ok(target) => *storm.served.entry(target).or_default() += 1,
            Err(error) => storm.failed.push(error.to_string()),
        }
        storm.longest = storm.longest.max(began.elapsed());
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    storm
}

impl Story {
    /// Nobody has lost anything, but for what the `dead` targets had.
    #[track_caller]
    pub(super) fn check(&self, dead: &[u8]) {
        let lost: Vec<_> = self
            .lines
            .iter()
            .filter(|line| line.lost.is_some() && !dead.contains(&line.target))
            .collect();
        assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), self.lines.len(), &lost[..1]);
        let failed = &self.storm.failed;
        let all: usize = self.storm.served.values().sum();
        // Of those who come and go, each may have been with a target when that died.
        let most = COMERS as usize * dead.len();
        assert!(failed.len() <= most, "{} of {all} failed: {:?}", failed.len(), &failed[0]);
    }

    pub(super) fn longest(&self) -> Duration {
        self.lines.iter().map(|line| line.longest).max().unwrap_or_default()
    }
}
