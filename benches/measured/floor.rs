//! The floors: what the kernel alone costs, in processes that do nothing else.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::FlockOperation;

use crate::drive::{self, Slot, now, obey_with_threads, say, until_the_bench_ends};

/// As long as the shortest question to a supervisor and its answer.
pub(crate) const ECHO: usize = 32;

/// As long as each of the four messages of a handshake, about.
pub(crate) const HANDSHAKE: usize = 64;

/// The stack of the library's threads that serve one connection each.
const SMALL_STACK: usize = 128 * 1024;

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

fn small_thread(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(SMALL_STACK).spawn(body).expect("a thread");
}

/// Listens on a port that the kernel chooses, says which, and gives each connection a thread of its
/// own.
fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> ! {
    let listener = listen();
    say("ready", now(), listener.local_addr().expect("a port").port().into());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = each.clone();
            stream.set_nodelay(true).expect("nodelay");
            small_thread(move || each(stream));
        }
    });
    until_the_bench_ends()
}

/// With room for all who connect at once; std's 128 would have the rest wait for a second.
fn listen() -> TcpListener {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).expect("bind");
    listen(&socket, 4096).expect("listen");
    socket.into()
}

/// Gives back what comes, one thread a connection.
pub(crate) fn echo() -> ! {
    serve(|mut stream| {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..length]).is_err() {
                return;
            }
        }
    })
}

/// Answers what begins with 1, and takes what does not: both are [`ECHO`] bytes.
pub(crate) fn counter() -> ! {
    serve(|mut stream| {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            let answers = bytes[..length].chunks_exact(ECHO).filter(|chunk| chunk[0] == 1).count();
            if answers > 0 && stream.write_all(&[1; ECHO][..].repeat(answers)).is_err() {
                return;
            }
        }
    })
}

/// One end of an echo.
pub(crate) struct Echo<const SIZE: usize>(TcpStream);

impl<const SIZE: usize> Echo<SIZE> {
    pub(crate) fn connect(port: u16) -> Self {
        Echo(connect(port))
    }

    /// There and back.
    pub(crate) fn trip(&mut self) {
        self.carry(0);
    }

    /// The same with a number on board.
    fn carry(&mut self, number: u64) {
        let mut bytes = [1; SIZE];
        bytes[..8].copy_from_slice(&number.to_ne_bytes());
        self.0.write_all(&bytes).expect("the echo");
        self.0.read_exact(&mut bytes).expect("the echo");
    }
}

/// A connect and two round trips: what any handshake in which both sides prove something must cost.
pub(crate) fn bare_join(port: u16) -> Echo<HANDSHAKE> {
    bare_return(port, 0)
}

/// The same of one that says when it lost its line.
fn bare_return(port: u16, at: u64) -> Echo<HANDSHAKE> {
    let mut echo = Echo::connect(port);
    echo.trip();
    echo.carry(at);
    echo
}

/// So many threads with a connection each.
pub(crate) fn echoers(port: u16, threads: u64) -> ! {
    let worker = |_| {
        let mut echo = Echo::<ECHO>::connect(port);
        move || echo.trip()
    };
    obey_with_threads((0..threads).map(worker).collect())
}

/// The same with one more message from each, which is not answered.
pub(crate) fn customers(port: u16, threads: u64) -> ! {
    let worker = |_| {
        let mut stream = connect(port);
        move || {
            let mut bytes = [1; ECHO];
            stream.write_all(&bytes).expect("the counter");
            stream.read_exact(&mut bytes).expect("the counter");
            stream.write_all(&[0; ECHO]).expect("the counter");
        }
    };
    obey_with_threads((0..threads).map(worker).collect())
}

/// Waits for the lock, says when it has it.
pub(crate) fn flock_waiter(lock: &Path) -> ! {
    let file =
        File::options().create(true).truncate(false).write(true).open(lock).expect("open the lock");
    thread::spawn(move || {
        rustix::fs::flock(&file, FlockOperation::LockExclusive).expect("lock");
        say("leader", now(), 0);
        std::mem::forget(file);
    });
    say("present", now(), 0);
    until_the_bench_ends()
}

/// Holds the other ends of connections until it is killed; what comes is thrown away.
pub(crate) fn lifelines() -> ! {
    serve(|mut stream| _ = std::io::copy(&mut stream, &mut std::io::sink()))
}

/// Says when so many have connected and made two round trips, and when the first of them had lost
/// its line; then begins to count anew.
pub(crate) fn gathering(number: u64) -> ! {
    let (back, first) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
    serve(move |mut stream| {
        let mut bytes = [0; HANDSHAKE];
        for _ in 0..2 {
            if stream.read_exact(&mut bytes).and_then(|()| stream.write_all(&bytes)).is_err() {
                return;
            }
        }
        first.fetch_min(
            u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes")),
            Ordering::AcqRel,
        );
        if back.fetch_add(1, Ordering::AcqRel) + 1 == number {
            let at = now();
            back.store(0, Ordering::Release);
            say("settled", at, first.swap(u64::MAX, Ordering::AcqRel));
        }
        _ = stream.read(&mut bytes); // until the other end has had enough
    })
}

/// Each line on its standard input names a port of [`lifelines`] and one of a [`gathering`]: it
/// holds a line to the first until that dies, then goes to the second.
pub(crate) fn survivor() -> ! {
    let mut kept = None;
    say("present", now(), 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (first, second) = line.split_once(' ').expect("two ports");
        let mut lifeline = connect(first.parse().expect("a port"));
        drop(kept.take());
        say("ready", now(), 0);
        _ = lifeline.read(&mut [0]); // its end, or a reset
        let at = now();
        kept = Some(bare_return(second.parse().expect("a port"), at));
    }
    std::process::exit(0)
}

/// Notes when it has read what was written to all.
pub(crate) fn reader(port: u16, slots: &Path, number: u64) -> ! {
    let slot = Slot::open(slots, number);
    let mut stream = connect(port);
    thread::spawn(move || {
        let mut bytes = [0; ECHO];
        while stream.read_exact(&mut bytes).is_ok() {
            slot.seen(u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes")));
        }
    });
    say("ready", now(), 0);
    until_the_bench_ends()
}

/// One thread blocked in read for each connection, with a stack like the library's.
pub(crate) fn blocked_readers() -> ! {
    serve(|mut stream| _ = stream.read(&mut [0]))
}

/// Opens so many connections, and leaves it at that.
pub(crate) fn dialler(port: u16, number: u64) -> ! {
    let _lines: Vec<TcpStream> = (0..number).map(|_| connect(port)).collect();
    say("ready", now(), number);
    until_the_bench_ends()
}

/// Starts another program and ends it when the bench ends, however that ends.
pub(crate) fn guard(command: &[String]) -> ! {
    let quiet = std::process::Stdio::null;
    let mut child = std::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .expect("start the program");
    say("ready", now(), child.id().into());
    _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    _ = child.kill();
    _ = child.wait();
    std::process::exit(0)
}

/// Times of so many bare joins; the connections are closed outside of the time.
pub(crate) fn bare_joins(port: u16, times: u64) -> Vec<u64> {
    let mut last = None;
    let mut took = Vec::new();
    for _ in 0..times {
        took.extend(drive::timed(1, || last = Some(bare_join(port))));
        drop(last.take());
    }
    took
}

/// Bare survivors in one process. Told to join, it makes so many bare joins at the gathering, one
/// after the other. Told to hold, it notes the port of [`lifelines`]; told to survive, it has so
/// many threads hold a line there, each of which goes to the gathering when its line ends.
pub(crate) fn crowd(gathering: u16) -> ! {
    let (mut joined, mut lifelines) = (Vec::new(), 0);
    drive::obey(move |word, number| {
        match word {
            "join" => joined.extend((0..number).map(|_| bare_join(gathering))),
            "hold" => lifelines = number as u16,
            _ => (0..number).for_each(|_| {
                let mut lifeline = connect(lifelines);
                small_thread(move || {
                    _ = lifeline.read(&mut [0]); // its end, or a reset
                    drop(lifeline);
                    let mut back = bare_join(gathering);
                    _ = back.0.read(&mut [0]); // until the gathering has had enough
                });
            }),
        }
        vec![number]
    })
}
