//! Messages: to all and to one, in one order, and what is missed.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::{AskError, Event, EventKind, Instance, MAX_MESSAGE, MessageError};
use rustix::process::Signal;

use super::{Group, next};

/// The senders, topics and payloads of the next so many messages.
#[track_caller]
fn messages(events: &pares::Events<Event>, count: usize) -> Vec<(String, String, Vec<u8>)> {
    let take = |_| match next(events, |kind| {
        matches!(kind, EventKind::Message { .. } | EventKind::Missed { .. })
    }) {
        EventKind::Message { from, topic, payload } => (from, topic, payload.to_vec()),
        other => panic!("{other:?}"),
    };
    (0..count).map(take).collect()
}

#[test]
fn all_get_all_messages_in_one_order() {
    const EACH: usize = 100;
    let group = Group::of(&[]);
    let instances = ["a", "b", "c", "d"].map(|name| group.join(name));
    let events = instances.each_ref().map(Instance::events);
    thread::scope(|scope| {
        for instance in &instances {
            scope.spawn(move || {
                for number in 0..EACH {
                    let told = instance.broadcast("news", number.to_string().as_bytes()).unwrap();
                    assert_eq!(told, 4);
                }
            });
        }
    });
    let heard = events.each_ref().map(|events| messages(events, 4 * EACH));
    for other in &heard[1..] {
        assert!(heard[0] == *other, "another order");
    }
    for name in ["a", "b", "c", "d"] {
        let of_one: Vec<usize> = heard[0]
            .iter()
            .filter(|(from, ..)| from == name)
            .map(|(.., payload)| String::from_utf8_lossy(payload).parse().unwrap())
            .collect();
        assert_eq!(of_one, (0..EACH).collect::<Vec<_>>());
    }
}

#[test]
fn a_message_to_one_reaches_that_one() {
    let group = Group::of(&[]);
    let instances = ["a", "b", "c"].map(|name| group.join(name));
    let events = instances.each_ref().map(Instance::events);
    for sender in &instances {
        sender.send("c", "to-c", b"1").unwrap();
        sender.send("main", "to-main", b"2").unwrap();
        sender.send(sender.name(), "to-itself", b"3").unwrap();
        let nobody = sender.send("nobody", "t", b"");
        let Err(MessageError::Ask { source: AskError::NoSuchInstance { name } }) = nobody else {
            panic!("{nobody:?}");
        };
        assert_eq!(name, "nobody");
        sender.send("b", "large", &vec![7; MAX_MESSAGE]).unwrap();
        let larger = vec![7; MAX_MESSAGE + 1];
        assert!(matches!(sender.send("b", "t", &larger), Err(MessageError::Invalid { .. })));
        assert!(matches!(sender.broadcast("t", &larger), Err(MessageError::Invalid { .. })));
        for topic in ["", "two words", "-x", &"t".repeat(65)] {
            assert!(matches!(sender.send("b", topic, b""), Err(MessageError::Invalid { .. })));
        }
    }
    instances[0].broadcast("end", b"").unwrap();
    let topics = events.map(|events| {
        let mut topics = Vec::new();
        loop {
            let (from, topic, payload) = messages(&events, 1).remove(0);
            assert!(topic != "large" || payload == [7; MAX_MESSAGE]);
            if topic == "end" {
                topics.sort();
                return topics.join(" ");
            }
            topics.push(format!("{from}:{topic}"));
        }
    });
    assert_eq!(topics[0], "a:to-itself a:to-main b:to-main c:to-main");
    assert_eq!(topics[1], "a:large b:large b:to-itself c:large");
    assert_eq!(topics[2], "a:to-c b:to-c c:to-c c:to-itself");
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Goal: a member that does not read delays nobody, costs the supervisor bounded memory, and gets
/// to know what it missed. Method: supervisor and member are processes; SIGSTOP the member, flood
/// it with messages and settings, SIGCONT.
#[test]
fn a_stopped_member_delays_nobody_and_knows_what_it_missed() {
    const MESSAGES: u64 = 2000;
    let group = Group::of(&[]);
    // Nobody takes the events of this one: what they hold must not be much, either.
    let boss = group.other_with("boss", &[("EVENTS", "2".to_owned())]);
    let mut slow = group.other("slow");
    let (a, b) = (group.join("a"), group.join("b"));
    let events = b.events();
    let payload = vec![1; 16 * 1024];
    let missed_by_reader = AtomicU64::new(0);
    let send = |number: u64| {
        let began = Instant::now();
        a.broadcast("flood", &payload).unwrap();
        let heard =
            |kind: &EventKind| matches!(kind, EventKind::Message { .. } | EventKind::Missed { .. });
        if let EventKind::Missed { events } = next(&events, heard) {
            missed_by_reader.fetch_add(events, Ordering::Relaxed);
        }
        if number % 10 == 0 {
            a.client().set(&format!("k{}", number % 30), &number.to_string().repeat(2000)).unwrap();
        }
        began.elapsed()
    };
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() - 1])
    };
    let (usual, _) = median((0..100).map(send).collect());
    slow.process.stop();
    let before = rss_kib(boss.process.pid());
    let (meanwhile, longest) = median((100..MESSAGES).map(send).collect());
    let after = rss_kib(boss.process.pid());
    println!("a message takes {usual:?}, with one stopped {meanwhile:?}, at most {longest:?}");
    let missed_by_reader = missed_by_reader.into_inner();
    println!(
        "the supervisor has grown by {} KiB; one who reads has missed {missed_by_reader}",
        after.saturating_sub(before)
    );
    // None at all, but for a machine so busy that the supervisor is not told for 63 messages what
    // was read.
    assert!(missed_by_reader < MESSAGES / 20, "one who reads has missed {missed_by_reader}");
    assert!(meanwhile < Duration::from_secs(1), "{meanwhile:?}");
    assert!(after < before + 16 * 1024, "{before} KiB, then {after} KiB");
    slow.process.signal(Signal::CONT);
    let counts = slow.obey(&format!("messages {MESSAGES}"));
    let (came, missed) = counts.split_once(' ').unwrap();
    let (came, missed): (u64, u64) = (came.parse().unwrap(), missed.parse().unwrap());
    assert!(missed > 0, "{counts}");
    assert_eq!(came + missed, MESSAGES, "{counts}");
    for key in ["k0", "k10", "k20"] {
        assert_eq!(slow.obey(&format!("get {key}")), a.get(key).unwrap(), "{key}");
    }
    // It takes part again as all others do.
    a.broadcast("again", b"").unwrap();
    assert_eq!(slow.obey("messages 1"), "1 0");
    drop(boss);
}
