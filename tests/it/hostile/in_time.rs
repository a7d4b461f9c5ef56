//! Attacks that take time: the silent, the slow, crowds and floods, and those who never read.

use super::*;
use crate::actors::word;

type Wait = (&'static str, fn(&Target, Door) -> Peer);

/// Those who keep a connection and never finish the handshake. Each returns once it has nothing
/// more to say.
const WAITS: &[Wait] = &[
    ("no data", |t, d| t.connect(d)),
    ("one byte", |t, d| first_bytes(t, d, &[0])),
    ("length only", |t, d| first_bytes(t, d, &51u32.to_be_bytes())),
    ("partial frame, then silence", |t, d| {
        let frame = opening(t, d, |_| {}).frame();
        first_bytes(t, d, &frame[..frame.len() - 1])
    }),
    ("byte by byte", |t, d| {
        // A group name as long as it may be, so that there is enough to send.
        let frame = opening(t, d, |m| m.group = vec![b'x'; 400]).frame();
        trickle(t.connect(d), &frame)
    }),
    ("an opening, then silence", |t, d| t.open(d).0),
    ("half a proof, then silence", |t, d| {
        let (mut peer, meeting) = t.open(d);
        peer.send(&proof(meeting.proof(&t.group.key, CLIENT)).frame()[..20]);
        peer
    }),
    ("a proof byte by byte", |t, d| {
        let (mut peer, _) = t.open(d);
        peer.send(&500u32.to_be_bytes());
        trickle(peer, &[3; 500])
    }),
    ("a proof, then silence", |t, d| behind_proof(t, d, &[])),
    ("half a request, then silence", |t, d| {
        behind_proof(t, d, &Body::of(kind::LIST).raw(&[0; 100]).frame()[..50])
    }),
    ("a request byte by byte", |t, d| {
        trickle(behind_proof(t, d, &[]), &call("ping", &[0; 1000]).frame())
    }),
];

/// Sends a byte every 20 ms until the other end has had enough.
fn trickle(mut peer: Peer, bytes: &[u8]) -> Peer {
    for byte in bytes.iter().take(300) {
        if !peer.send(&[*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    peer
}

/// Goal: who does not finish the handshake is cut off after two seconds, however it spends them,
/// and keeps nobody waiting. Method: all of them at once at all three ports; honest clients all the
/// while, each served at once.
#[test]
fn the_silent_and_the_slow_are_cut_off_and_keep_nobody_waiting() {
    let target = Target::start();
    thread::scope(|scope| {
        let mut hostile = Vec::new();
        for &(what, wait) in WAITS {
            for door in DOORS {
                let target = &target;
                hostile.push(scope.spawn(move || {
                    in_time_once(Duration::from_secs(4), || {
                        let began = Instant::now();
                        let words = wait(target, door).rest();
                        let took = began.elapsed();
                        assert_eq!(words, Vec::<Vec<u8>>::new(), "{what} at {door:?}");
                        assert!(
                            took > Duration::from_millis(1900),
                            "{what} at {door:?}: cut off after {took:?}"
                        );
                        took
                    });
                }));
            }
        }
        while !hostile.iter().all(|thread| thread.is_finished()) {
            DOORS.iter().for_each(|&door| target.serves(door));
        }
    });
    target.is_calm_again("the silent and the slow");
}

/// Goal: no number of connections without the key keeps an honest client out. Method: more silent
/// connections than a port bears, then twice as many with a valid opening, which is all that a
/// stranger can say; after each an honest client has to be served long before the hostile ones time
/// out.
fn crowd(door: Door) {
    let _alone = alone();
    let target = Target::start();
    let mut crowd: Vec<Peer> = (0..1100).map(|_| target.connect(door)).collect();
    target.serves(door);
    target.serves(door);
    crowd.clear();
    target.is_calm_again("silent crowd");

    let opening = opening(&target, door, |_| {}).frame();
    for _ in 0..2000 {
        let mut peer = target.connect(door);
        peer.send(&opening);
        crowd.push(peer);
    }
    target.serves(door);
    DOORS.iter().for_each(|&door| target.serves(door));
    drop(crowd);
    target.is_calm_again("crowd with openings");
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_supervisor_port_keeps_no_honest_client_out() {
    crowd(Door::Supervisor);
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_registry_port_keeps_no_honest_client_out() {
    crowd(Door::Registry);
}

/// See [`crowd`].
#[test]
fn a_crowd_at_the_admin_endpoint_keeps_no_honest_client_out() {
    crowd(Door::Admin);
}

/// Goal: floods of bytes, random ones and valid ones, do not keep honest clients waiting.
/// Method: a second of each from several senders at all ports; honest clients all the while.
#[test]
fn floods_keep_nobody_waiting() {
    let _alone = alone();
    let target = Target::start();
    for what in ["random bytes", "openings", "requests"] {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (number, door) in DOORS.iter().copied().cycle().take(6).enumerate() {
                let (target, over) = (&target, &over);
                scope.spawn(move || {
                    let mut random = Random(number as u64);
                    let noise: Vec<u8> = (0..65_536).map(|_| random.next() as u8).collect();
                    while !over.load(Ordering::Relaxed) {
                        match what {
                            "random bytes" => {
                                let mut peer = target.connect(door);
                                while peer.send(&noise) && !over.load(Ordering::Relaxed) {}
                            }
                            "openings" => {
                                let mut peer = target.connect(door);
                                peer.send(&opening(target, door, |_| {}).frame().repeat(100));
                                peer.rest();
                            }
                            _ => match door {
                                Door::Supervisor => drop(target.enter(door, door.first())),
                                Door::Registry | Door::Admin => {
                                    let mut peer = target.inside(door);
                                    peer.send(&door.first().frame().repeat(100));
                                    (0..100).for_each(|_| door.answer(&mut peer));
                                }
                            },
                        }
                    }
                });
            }
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                DOORS.iter().for_each(|&door| target.serves(door));
            }
            over.store(true, Ordering::Relaxed);
        });
        target.is_calm_again(what);
    }
}

/// Goal: who asks and never reads the answers delays nobody and is cut off. Method: pipelined
/// questions for a large registry, pipelined calls with large results, and a watcher, all with
/// small receive buffers and never a read, while the registry changes. Honest clients meanwhile;
/// the process is as before once the write timeout (5 s) has passed and the watcher is gone.
#[test]
fn who_never_reads_delays_nobody_and_is_cut_off() {
    let _alone = alone();
    let target = Target::start();
    let large = |number: usize| {
        guest().with_meta("number", number.to_string()).with_meta("ballast", [b'x'; 4000])
    };
    // Together more than the kernel keeps for one who does not read.
    let members: Vec<Peer> =
        (0..1000).map(|number| target.group.join(target.port, &large(number))).collect();

    // Goes on sending until the server has had enough; true if that comes to pass.
    let deaf = |mut peer: Peer, more: Vec<u8>| {
        thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            while peer.send(&more) {
                if Instant::now() > deadline {
                    return false;
                }
                thread::sleep(Duration::from_millis(20));
            }
            true
        })
    };
    let list = Body::of(kind::LIST);
    let lists = deaf(target.enter_narrow(Door::Registry, list.clone()), list.frame().repeat(100));
    let large_call = call("ping", &[b'x'; 200_000]);
    let calls = deaf(target.enter_narrow(Door::Admin, large_call.clone()), large_call.frame());
    let watcher = target.enter_narrow(Door::Registry, Body::of(kind::WATCH));
    // A member that never reads either: as a witness it is told of everyone who comes and goes.
    let member = target.group.join(target.port, &guest());

    for number in 0..60 {
        drop(target.group.join(target.port, &large(number)));
        if number % 10 == 0 {
            DOORS.iter().for_each(|&door| target.serves(door));
        }
    }
    DOORS.iter().for_each(|&door| target.serves(door));
    drop((members, watcher, member));
    // It is the server that must have had enough of the other two.
    assert!(lists.join().unwrap(), "an asker that never reads is not cut off");
    assert!(calls.join().unwrap(), "a caller that never reads is not cut off");
    target.is_calm_again("who never reads");
}

/// Goal: as many clients with the key as a port serves do not shut it: the one that was idle
/// longest makes room. Method: 1,024 idle askers and some more; then watchers, which are never
/// idle, so that the next one is told that the port is busy, and told so at once.
#[test]
fn idle_askers_make_room_and_busy_ones_do_not() {
    let _alone = alone();
    let target = Target::start();
    let mut askers: Vec<Peer> = (0..1030).map(|_| target.inside(Door::Registry)).collect();
    assert_eq!(last_words(&mut askers[0]), Vec::<Vec<u8>>::new(), "the one that was idle longest");
    target.serves(Door::Registry);
    drop(askers);
    target.is_calm_again("idle askers");

    let watchers: Vec<Peer> = (0..1024)
        .map(|_| {
            let mut peer = target.enter(Door::Registry, Body::of(kind::WATCH));
            peer.listing();
            peer
        })
        .collect();
    let mut refused = target.enter(Door::Registry, Body::of(kind::LIST));
    check_end("one too many", Door::Registry, &mut refused, End::Refused(refusal::BUSY));
    target.serves(Door::Supervisor);
    drop(watchers);
    target.is_calm_again("watchers");
}

/// Goal: a watch that finds the registry port busy waits for it, neither spinning nor giving up.
/// Method: 1,024 watchers hold the port; the supervisor's own watch is begun; CPU time; then the
/// others go.
#[test]
fn a_watch_that_is_turned_away_comes_back_without_spinning() {
    let _alone = alone();
    let mut target = Target::start();
    let watchers: Vec<Peer> = (0..1024)
        .map(|_| {
            let mut peer = target.enter(Door::Registry, Body::of(kind::WATCH));
            peer.listing();
            peer
        })
        .collect();
    target.other.order("watch");
    let before = target.other.ticks();
    thread::sleep(Duration::from_secs(1)); // there is no event to wait for: nothing must happen
    let used = target.other.ticks() - before;
    assert!(used < 30, "{} ms of CPU in a second", used * 10);
    drop(watchers);
    target.other.expect("change Joined");
}

/// Goal: a supervisor that has no descriptor left turns clients away without spinning, keeps its
/// members, and serves again as soon as there are some. Method: a process with a low limit; idle
/// askers with the key take all of it; then more come; CPU time; then they go.
#[test]
fn a_supervisor_without_descriptors_turns_clients_away_and_recovers() {
    let _alone = alone();
    let target = Target::with(&[("FILES", "64".into())]);
    let mut askers = Vec::new();
    // Until one is turned away.
    while let Some((mut peer, meeting)) = target.group.try_open(target.meeting(Door::Registry)) {
        target.group.prove(&mut peer, &meeting, Door::Registry.first());
        Door::Registry.answer(&mut peer);
        askers.push(peer);
        assert!(askers.len() < 64, "there is no limit");
    }
    let before = target.other.ticks();
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(1) {
        let mut crowd: Vec<Peer> =
            (0..30).map(|number| target.connect(DOORS[number % 3])).collect();
        for peer in &mut crowd {
            assert_eq!(peer.rest(), Vec::<Vec<u8>>::new(), "turned away without a word");
        }
        rounds += 1;
    }
    let (used, waited) = (target.other.ticks() - before, began.elapsed());
    println!("{rounds} crowds were turned away in {waited:?}");
    assert!(used * 10 < waited.as_millis() as u64 / 3, "{} ms of CPU in {waited:?}", used * 10);
    drop(askers);
    let deadline = Instant::now() + PATIENCE;
    // Whoever comes in the moment before the descriptors are free is still turned away.
    while Footprint::of(target.other.pid()).descriptors.len()
        > target.calm.as_ref().unwrap().footprint.descriptors.len()
    {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(Duration::from_millis(100)); // its longest pause between two looks
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: also without the descriptor kept for turning clients away, a port does not spin. Method:
/// the limit falls below what the process has open, so that nothing can be opened, not even in its
/// place; clients come; CPU time; then the limit is lifted and they are served, without having to
/// come again.
#[test]
fn a_supervisor_that_can_open_nothing_at_all_does_not_spin_and_recovers() {
    let _alone = alone();
    let mut target = Target::start();
    target.other.order("files 3");
    target.other.expect("limited");
    let meetings = DOORS.map(|door| target.meeting(door));
    let mut waiting = meetings.map(|meeting| {
        let mut peer = Peer::connect(meeting.port);
        peer.send(&meeting.opening().frame());
        peer
    });
    let before = target.other.ticks();
    thread::sleep(Duration::from_secs(1)); // there is no event to wait for: nothing must happen
    let used = target.other.ticks() - before;
    assert!(used < 30, "{} ms of CPU in a second", used * 10);
    target.other.order("files 1024");
    target.other.expect("limited");
    for peer in &mut waiting {
        assert_eq!(peer.frame().expect("a challenge")[0], kind::CHALLENGE);
    }
    drop(waiting);
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: a member that lies about the terms it has seen brings no supervisor down.
#[test]
fn the_highest_term_there_is_brings_no_supervisor_down() {
    let target = Target::start();
    for last_term in [u64::MAX, u64::MAX - 1, u64::MAX] {
        let hello = guest().hello(last_term).0;
        // With a complete roster, so that all of what a hello can say is looked at.
        let hello =
            Body([&hello[..hello.len() - 11], &[1, 0, 1, 0x4e, 0x20, 0], &[0; 10]].concat());
        let mut peer = target.enter(Door::Supervisor, hello);
        assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME);
    }
    DOORS.iter().for_each(|&door| target.serves(door));
    assert!(
        target.other.process.lines().try_iter().all(|line| word(&line).is_none()),
        "a thread panicked"
    );
}
