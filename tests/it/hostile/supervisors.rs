//! Hostile supervisors, and hostile members of one.

use super::lies::{Lie, SAYS_WHO, lies};
use super::*;

/// Somebody else on the supervisor port.
struct Impostor {
    over: Arc<AtomicBool>,
    port: u16,
    thread: Option<thread::JoinHandle<()>>,
}

impl Impostor {
    fn start(listener: TcpListener, group: Group, behave: fn(&mut Peer, &Group, u16)) -> Self {
        let (over, port) =
            (Arc::new(AtomicBool::new(false)), listener.local_addr().unwrap().port());
        let flag = over.clone();
        let accepting = thread::spawn(move || {
            thread::scope(|scope| {
                loop {
                    let mut peer = Peer::accept(&listener);
                    if flag.load(Ordering::Relaxed) {
                        break;
                    }
                    let group = group.clone();
                    scope.spawn(move || behave(&mut peer, &group, port));
                }
            });
        });
        Impostor { over, port, thread: Some(accepting) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(Peer::connect(self.port));
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || thread::panicking(), "the impostor failed");
    }
}

fn listener() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())) {
            return listener;
        }
    }
}

/// Keeps the connection until the other end has had enough.
pub(super) fn hold(peer: &mut Peer) {
    let mut bytes = [0; 4096];
    peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while peer.stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

/// Reads the opening and answers with this.
pub(super) fn reply(peer: &mut Peer, body: Body) {
    if peer.frame().is_some() {
        peer.send(&body.frame());
        hold(peer);
    }
}

/// Goal: whoever sits on the supervisor port, an instance that wants to join says what is wrong and
/// who it is, in time, and leaves nothing behind. Method: a process that joins, for each lie; its
/// error's variant, text and time; its threads and descriptors after.
#[test]
fn whoever_sits_on_the_port_is_recognised_and_named() {
    let lies = lies();
    // Some at a time: each is a process, and the times are to mean something.
    for some in lies.chunks(8) {
        thread::scope(|scope| some.iter().for_each(|lie| _ = scope.spawn(|| check_lie(lie))));
    }
}

/// A thread by which this process passes for an instance: what is silent may then be a supervisor
/// that is only stopped.
struct LooksLikeAnInstance {
    over: std::sync::mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LooksLikeAnInstance {
    fn new() -> Self {
        let (over, wait) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("pares-role".into())
            .spawn(move || _ = wait.recv())
            .unwrap();
        LooksLikeAnInstance { over, thread: Some(thread) }
    }
}

impl Drop for LooksLikeAnInstance {
    fn drop(&mut self) {
        _ = self.over.send(());
        _ = self.thread.take().unwrap().join();
    }
}

fn check_lie(lie: &Lie) {
    let _silent = LooksLikeAnInstance::new();
    let directory = Directory::new();
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let _impostor = Impostor::start(listener, directory.group(), lie.behave);
    check_failure(lie, &directory, port);
}

fn check_failure(lie: &Lie, directory: &Directory, port: u16) {
    let Lie { what, timeout_ms, within_ms, variant, message, .. } = lie;
    let timeout = ("TIMEOUT", timeout_ms.to_string());
    let mut comer = start("joiner", directory, port, &[timeout, ("NAME", "comer".into())]);
    comer.expect("here");
    let before = Footprint::of(comer.pid());
    comer.order("join");
    let failed = comer.expect("");
    let words: Vec<&str> = failed.splitn(4, ' ').collect();
    let ["failed", ms, seen, text] = words[..] else { panic!("{what}: {failed}") };
    let who = format!("(pid {}", std::process::id());
    for part in *message {
        let part = if *part == SAYS_WHO { &who } else { *part };
        assert!(text.contains(part), "{what}: `{part}` is not in: {seen} {text}");
    }
    assert_eq!(seen, *variant, "{what}: {text}");
    assert!(within_ms.contains(&ms.parse().unwrap()), "{what}: after {ms} ms: {text}");
    assert!(!text.contains(char::is_control), "{what}: {text:?}");
    before.comes_again(comer.pid(), what);
}

/// A socket that holds a port and does not listen.
fn bound() -> (socket2::Socket, u16) {
    loop {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let port = free_port();
        if socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()).is_ok() {
            return (socket, port);
        }
    }
}

/// Goal: a port that is bound and not listened on keeps an instance waiting only until its
/// deadline.
#[test]
fn a_port_that_is_held_without_listening_is_a_deadline() {
    let directory = Directory::new();
    directory.group();
    let (_socket, port) = bound();
    let lie = Lie {
        what: "bound, not listening",
        behave: |_, _, _| {},
        timeout_ms: 500,
        within_ms: 500..7000,
        variant: "TimedOut",
        message: &["no role after", "the port has no supervisor"],
    };
    check_failure(&lie, &directory, port);
}

/// Goal: a holder that takes nothing off its queue is the same as a silent one, also once the queue
/// is full.
#[test]
fn a_holder_that_never_accepts_is_a_deadline() {
    let directory = Directory::new();
    directory.group();
    let (socket, port) = bound();
    socket.listen(0).unwrap();
    let _fills_the_queue = Peer::connect(port);
    let _silent = LooksLikeAnInstance::new();
    let lie = Lie {
        what: "listening, never accepting",
        behave: |_, _, _| {},
        timeout_ms: 700,
        within_ms: 700..7000,
        variant: "TimedOut",
        message: &["no role after", "no process answers on the port", SAYS_WHO],
    };
    check_failure(&lie, &directory, port);
}

/// Goal: one who relays everything between a joining instance and the real supervisor on another
/// port gets nothing. Method: bytes are passed on in both directions; both ends have the right key;
/// the ports differ.
#[test]
fn a_relay_from_port_to_port_is_refused() {
    let target = Target::start();
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let mut joiner = start(
        "joiner",
        &target.directory,
        port,
        &[("TIMEOUT", "10000".into()), ("NAME", "comer".into())],
    );
    joiner.expect("here");
    joiner.order("join");
    let client = Peer::accept(&listener);
    let server = target.connect(Door::Supervisor);
    thread::scope(|scope| {
        let pass = |mut from: &std::net::TcpStream, mut to: &std::net::TcpStream| {
            _ = std::io::copy(&mut from, &mut to);
            _ = to.shutdown(std::net::Shutdown::Write);
        };
        let (client, server) = (&client.stream, &server.stream);
        scope.spawn(move || pass(client, server));
        scope.spawn(move || pass(server, client));
    });
    let failed = joiner.expect("failed");
    assert!(failed.contains("KeyMismatch"), "{failed}");
    target.is_calm_again("relay");
}

type Turn = (&'static str, fn(&mut Peer));

/// Waits until the other end has had enough, which it must.
fn is_cut_off(peer: &mut Peer) {
    assert_eq!(peer.rest(), Vec::<Vec<u8>>::new());
}

/// What a supervisor may do once it has welcomed a member. Each returns when it has done so, or was
/// cut off.
const TURNS: &[Turn] = &[
    ("closes", |_| {}),
    ("sends what is no message", |peer| {
        peer.send(&[0xff; 64]);
        is_cut_off(peer);
    }),
    ("sends an empty frame", |peer| {
        peer.send(&[0; 4]);
        is_cut_off(peer);
    }),
    ("sends a frame too large", |peer| {
        peer.send(&(LIMIT + 1).to_be_bytes());
        is_cut_off(peer);
    }),
    ("sends a message of the other role", |peer| {
        peer.send(&Body::of(kind::LIST).frame());
        is_cut_off(peer);
    }),
    ("welcomes again", |peer| {
        peer.send(&welcome(2, "liar").frame());
        is_cut_off(peer);
    }),
    ("sends half a frame and closes", |peer| _ = peer.send(&state(1).frame()[..9])),
    ("floods with states", |peer| {
        let flood: Vec<u8> = (1..20_000).flat_map(|term| state(term).frame()).collect();
        peer.send(&flood);
    }),
    ("floods with rosters", |peer| {
        let all: Vec<u8> = (1..=u16::MAX - 1).flat_map(u16::to_be_bytes).collect();
        let count = u16::MAX - 1;
        let roster = Body::of(kind::ROSTER).u8(0).u8(0).u16(count).raw(&all).u16(0).frame();
        (0..20).for_each(|_| _ = peer.send(&roster));
    }),
    ("names the highest term there is", |peer| _ = peer.send(&state(u64::MAX).frame())),
    ("says goodbye a thousand times", |peer| _ = peer.send(&leaving().frame().repeat(1000))),
    ("rejects the member it has welcomed", |peer| {
        peer.send(&rejected(refusal::MALFORMED, (1, 1), "\x1b[2J").frame().repeat(10));
    }),
];

/// Goal: a member whose supervisor turns hostile contends again, does not crash, and can take over.
/// Method: a process joins an impostor with the right key; the port is set free; the impostor
/// turns.
#[test]
fn a_member_whose_supervisor_turns_hostile_contends_again() {
    for some in TURNS.chunks(6) {
        thread::scope(|scope| {
            for (what, turn) in some {
                scope.spawn(move || {
                    let directory = Directory::new();
                    let (group, listener) = (directory.group(), listener());
                    let port = listener.local_addr().unwrap().port();
                    let more = [("TIMEOUT", "10000".into()), ("NAME", "member".into())];
                    let mut member = start("joiner", &directory, port, &more);
                    member.expect("here");
                    member.order("join");
                    let mut peer = Peer::accept(&listener);
                    assert_eq!(group.admit(&mut peer, port)[0], kind::HELLO);
                    peer.send(&welcome(1, "liar").frame());
                    assert_eq!(member.expect("joined"), "subordinate 1", "{what}");
                    member.expect("event Subordinate");
                    drop(listener);
                    turn(&mut peer);
                    drop(peer);
                    member.expect("event Contending");
                    member.expect("event Supervisor");
                    // It serves: the impostor's own group would not.
                    drop(group.join(port, &guest()));
                });
            }
        });
    }
}

/// Goal: a supervisor that welcomes and cuts off, over and over, does not make its member spin.
/// Method: an impostor with the right key that stays on the port; the joins of a second are
/// counted.
#[test]
fn a_member_that_is_welcomed_and_cut_off_again_and_again_does_not_spin() {
    let _alone = alone();
    static JOINS: AtomicU32 = AtomicU32::new(0);
    let directory = Directory::new();
    let (group, listener) = (directory.group(), listener());
    let port = listener.local_addr().unwrap().port();
    let impostor = Impostor::start(listener, group, |peer, group, port| {
        group.admit(peer, port);
        peer.send(&welcome(1, "liar").frame());
        JOINS.fetch_add(1, Ordering::Relaxed);
    });
    let mut member = start(
        "joiner",
        &directory,
        port,
        &[("TIMEOUT", "10000".into()), ("NAME", "member".into())],
    );
    member.expect("here");
    member.order("join");
    // Its role may be gone again by the time it says so.
    member.expect("joined");
    let before = (JOINS.load(Ordering::Relaxed), member.ticks());
    // What is measured is how often something happens in this time.
    thread::sleep(Duration::from_secs(1));
    let joins = JOINS.load(Ordering::Relaxed) - before.0;
    let used = member.ticks() - before.1;
    assert!(joins >= 1, "it tries again");
    assert!(joins < 100 && used < 30, "{joins} joins and {} ms of CPU in a second", used * 10);
    // The impostor first: a member that is killed in the middle of a handshake is not what it
    // expects.
    drop(impostor);
}
