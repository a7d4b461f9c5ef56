//! What goes wrong, and what is said about it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pares::{EventKind, Instance, Listen, ListenError};

use super::{How, Site, USUAL, served_by};
use crate::raw::{free_port, is_free};
use crate::support::{PATIENCE, Proc, finish};

#[test]
fn the_program_that_has_the_address_is_named() {
    let site = Site::new();
    let holder = Proc::mute(Ipv4Addr::LOCALHOST, site.address.port());
    let refused = site.start("late", USUAL);
    refused.word();
    let why = refused.word();
    let wanted = format!("refused cannot listen at {}: ", site.address);
    assert!(why.starts_with(&wanted) && why.contains(&holder.pid().to_string()), "{why}");
    assert!(why.ends_with("; stop that program or choose another port"), "{why}");
    drop(refused);
    drop(holder);
    let _now = site.acceptor("later", USUAL);
    assert_eq!(site.visit(), "later");
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let mut site = Site::new();
    site.address = ([192, 0, 2, 1], 8080).into(); // RFC 5737: nobody's
    let refused = site.start("far", USUAL);
    refused.word();
    let why = refused.word();
    assert!(why.starts_with("refused this machine does not have the address 192.0.2.1; "), "{why}");
}

#[test]
fn what_cannot_be_shared_is_refused_before_anything_is_done() {
    let site = Site::new();
    let instance = Instance::join(site.ground.config()).unwrap();
    let refused =
        |address: ([u8; 4], u16), listen| instance.listen(address, listen).unwrap_err().to_string();
    let here = [127, 0, 0, 1];
    assert_eq!(
        refused((here, 0), Listen::new()),
        "address \"127.0.0.1:0\" cannot be used: a port that all instances know: 0 would be \
         another one after each restart"
    );
    let port = site.address.port();
    assert_eq!(
        refused((here, port), Listen::new().weight(0)),
        "weight \"0\" cannot be used: 1 to 65535"
    );
    assert_eq!(
        refused((here, port), Listen::new().capacity(0)),
        "capacity \"0\" cannot be used: 1 or more"
    );
    let listener = instance.listen((here, port), Listen::new()).unwrap();
    assert!(matches!(
        instance.listen((here, port), Listen::new()),
        Err(ListenError::Already { address }) if address == listener.address()
    ));
    drop(listener);
    _ = instance.listen((here, port), Listen::new()).expect("it is free again");
}

/// Does something with this process's shared listener, as another program could that has a copy.
fn meddle(port: u16, what: &str) {
    const PROGRAM: &str = "import ctypes, os, re, socket, sys\n\
        pid, port, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]\n\
        def link(n):\n\
        \x20   try: return os.readlink(f'{fds}/{n}')\n\
        \x20   except OSError: pass # another test's, which is closed by now\n\
        inodes = []\n\
        while not inodes: # a row can be passed over while others come and go\n\
        \x20   rows = [line.split() for line in open(f'/proc/{pid}/net/tcp')]\n\
        \x20   inodes = [r[9] for r in rows if r[1].endswith(':%04X' % port) and r[3] == '0A']\n\
        inode = inodes[0]\n\
        fds = f'/proc/{pid}/fd'\n\
        fd = [n for n in os.listdir(fds) if link(n) == f'socket:[{inode}]'][0]\n\
        own = ctypes.CDLL(None).syscall(438, os.pidfd_open(pid), int(fd), 0)\n\
        s = socket.socket(fileno=own)\n\
        s.shutdown(socket.SHUT_RDWR) if what == 'shut' else os.set_blocking(own, True)";
    let mut python = Command::new("python3");
    python.args(["-c", PROGRAM, &std::process::id().to_string(), &port.to_string(), what]);
    finish(python).code(0).silent();
}

#[test]
fn a_listener_that_somebody_shuts_down_listens_again_and_all_are_told() {
    let site = Site::new();
    let instance = Instance::join(site.ground.config().name("here")).unwrap();
    let events = instance.events();
    let listener = instance.listen(site.address, Listen::new()).unwrap();
    let serve = || listener.accept_timeout(PATIENCE).map(|connection| connection.peer());
    std::thread::scope(|scope| {
        let accepting = scope.spawn(serve);
        meddle(site.address.port(), "shut");
        let revived = EventKind::ListenerRevived { address: site.address.to_string() };
        while events.recv_timeout(PATIENCE).expect("it is told").kind != revived {}
        let client = site.connect();
        let peer = accepting.join().unwrap().expect("it is accepted");
        assert_eq!(peer, client.local_addr().unwrap());
    });
}

#[test]
fn a_listener_that_somebody_makes_blocking_blocks_nobody() {
    let site = Site::new();
    let instance = Instance::join(site.ground.config()).unwrap();
    let listener = instance.listen(site.address, Listen::new()).unwrap();
    meddle(site.address.port(), "block");
    let late = listener.accept_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(late, pares::AcceptError::TimedOut), "{late}");
}

#[test]
fn a_program_that_took_the_port_after_the_last_acceptor_is_told_from_a_survivor() {
    let site = Site::new();
    let first = site.acceptor("first", USUAL);
    first.process.kill();
    // The kernel gives the port to whoever is first: nobody of the group has it any more.
    let _foreign = Proc::mute(Ipv4Addr::LOCALHOST, site.address.port());
    let refused = site.start("second", USUAL);
    refused.word();
    assert!(refused.word().starts_with("refused cannot listen at "));
}

/// Goal: who is at its limit of descriptors says so and goes on, and others serve.
/// Method: an instance with few descriptors that keeps its connections.
#[test]
fn who_has_no_descriptor_left_is_told_and_others_accept() {
    let site = Site::new();
    let keeps = How { threads: 32, work_us: 1_000_000_000, ..USUAL };
    let poor = site.start_with(&["prlimit", "--nofile=40"], "poor", keeps);
    poor.word();
    assert_eq!(poor.word(), "listens");
    let _rich = site.acceptor("rich", How { threads: 4, ..USUAL });
    // As many as it takes: while it is not run, others get its share.
    let is_told = AtomicBool::new(false);
    let word = std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + PATIENCE;
            while !is_told.load(Ordering::Relaxed) && Instant::now() < deadline {
                drop(site.connect());
            }
        });
        let word = poor.word();
        is_told.store(true, Ordering::Relaxed);
        word
    });
    assert!(word.starts_with("cannot: cannot accept: "), "{word}");
    assert!(word.contains("raise its limit (ulimit -n)"), "{word}");
    for _ in 0..10 {
        assert_eq!(site.visit(), "rich");
    }
}

#[test]
fn ipv6_is_another_listener_than_ipv4() {
    let four = Site::new();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return crate::skipped::skip("this machine has no IPv6");
    }
    let mut six = Site::new();
    six.ground = crate::support::Ground::new();
    six.address = (std::net::Ipv6Addr::LOCALHOST, free_port()).into();
    let _one = four.acceptor("four", USUAL);
    let _other = six.acceptor("six", USUAL);
    assert_eq!((four.visit().as_str(), six.visit().as_str()), ("four", "six"));
    assert!(served_by(six.connect()).is_some());
}

/// Runs its arguments where Unix sockets are refused, as `RestrictAddressFamilies=AF_INET` does it.
const WITHOUT_UNIX_SOCKETS: &str = "import ctypes, os, struct, sys\n\
    AF_UNIX, EAFNOSUPPORT, NO_NEW_PRIVS, SECCOMP = 1, 97, 38, 22\n\
    socket = {'x86_64': 41, 'i686': 359, 'armv7l': 281}.get(os.uname().machine, 198)\n\
    number, argument = 0, 16\n\
    load, equal, end = 0x20, 0x15, 0x06\n\
    rules = [(load, 0, 0, number), (equal, 0, 3, socket), (load, 0, 0, argument),\n\
    \x20        (equal, 0, 1, AF_UNIX), (end, 0, 0, 0x50000 | EAFNOSUPPORT),\n\
    \x20        (end, 0, 0, 0x7fff0000)]\n\
    rules = b''.join(struct.pack('HBBI', *rule) for rule in rules)\n\
    text = ctypes.create_string_buffer(rules)\n\
    filter = struct.pack('HxxxxxxP' if ctypes.sizeof(ctypes.c_void_p) == 8 else 'HxxP',\n\
    \x20                len(rules) // 8, ctypes.addressof(text))\n\
    prctl = ctypes.CDLL(None, use_errno=True).prctl\n\
    assert prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0\n\
    assert prctl(SECCOMP, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())\n\
    os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn who_may_not_use_unix_sockets_is_told_so_as_supervisor_and_as_subordinate() {
    let refused = |site: &Site| {
        let one = site.start_with(&["python3", "-c", WITHOUT_UNIX_SOCKETS], "kept", USUAL);
        one.word();
        one.word()
    };
    let cure = "widen RestrictAddressFamilies in the systemd unit";
    let alone = refused(&Site::new());
    assert!(alone.starts_with("refused the supervisor does not share the listener: "), "{alone}");
    assert!(alone.contains(cure), "{alone}");
    let site = Site::new();
    let _free = site.acceptor("free", USUAL);
    let beside = refused(&site);
    assert!(
        beside.starts_with("refused cannot reach the supervisor by a Unix socket: "),
        "{beside}"
    );
    assert!(beside.contains(cure), "{beside}");
    assert_eq!(site.visit(), "free");
}

/// Goal: a port that needs a right is shared with who does not have it, once somebody has made it.
/// Method: one instance has given up the right, another has not.
#[test]
fn a_privileged_port_is_shared_with_who_may_not_bind_it() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first_free: u16 = first_free.unwrap().trim().parse().unwrap();
    let mut site = Site::new();
    let candidates = first_free.saturating_sub(400).max(1)..first_free;
    let is_free = |port: &u16| is_free((Ipv4Addr::LOCALHOST, *port));
    let Some(port) = candidates.into_iter().find(is_free) else {
        return crate::skipped::skip("this user may bind no privileged port, or there is none");
    };
    site.address.set_port(port);
    let without_right = ["setpriv", "--bounding-set", "-net_bind_service"];
    let refused = site.start_with(&without_right, "refused", USUAL);
    refused.word();
    let why = refused.word();
    let wanted = format!("refused this user may not listen at {}; ", site.address);
    assert!(why.starts_with(&wanted) && why.contains("CAP_NET_BIND_SERVICE"), "{why}");
    drop(refused);
    let maker = site.acceptor("maker", USUAL);
    let shares = site.start_with(&without_right, "shares", USUAL);
    shares.word();
    assert_eq!(shares.word(), "listens");
    maker.process.kill();
    assert_eq!(site.visit(), "shares");
}
