//! What a death or a long pause does to what is shared.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pares::Instance;
use rustix::process::Signal;

use super::{Ended, Group};
use crate::support::{PATIENCE, await_true, units};

/// Goal: who stands still right across a failover for longer than the settle time loses what others
/// were given, and knows. Method: SIGSTOP the holder, SIGKILL the supervisor, have another take
/// all, SIGCONT; the use is looked at all the while.
#[test]
fn a_holder_that_slept_through_a_failover_loses_what_others_got() {
    let group = Group::of(&[("db", 4)]);
    let start = |name: &str| group.other_with(name, &[("SETTLE", "200".to_owned())]);
    let (over, end) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let boss = start("boss");
        let mut holder = start("holder");
        let taker =
            Instance::join(group.config("taker").settle_time(Duration::from_millis(200))).unwrap();
        scope.spawn(|| {
            let admin = group.admin();
            while !end.load(Ordering::Relaxed) {
                if let Ok(usage) = admin.usage_of("db") {
                    over.fetch_max(usage.in_use, Ordering::Relaxed);
                }
            }
        });
        let _end = Ended(&end);
        assert_eq!(holder.obey("try db 3"), "yes");
        assert_eq!(holder.obey("try db 1"), "yes");
        holder.process.stop();
        let began = Instant::now();
        boss.process.kill();
        let taken = taker.acquire_timeout("db", 2, PATIENCE).unwrap();
        println!(
            "granted {:?} after SIGKILL of the supervisor, with a settle time of 200 ms",
            began.elapsed()
        );
        assert!(began.elapsed() >= Duration::from_millis(200), "before the holder had its time");
        holder.process.signal(Signal::CONT);
        // There is room for one of its two only; which one is kept is not promised.
        let lost = holder.obey("lost");
        assert_eq!(lost, "3", "the other one fits");
        assert_eq!(holder.obey("valid"), "1");
        assert!(taken.is_valid());
        let usage = taker.client().usage_of("db").unwrap();
        assert_eq!(units(&usage.holders), [("holder".to_owned(), 1), ("taker".to_owned(), 2)]);
        // Giving back what was lost changes nothing.
        holder.obey("release");
        await_true("free", || taker.client().usage_of("db").is_ok_and(|usage| usage.in_use == 2));
        drop(taken);
        assert_eq!(holder.obey("try db 4"), "yes");
    });
    assert!(over.into_inner() <= 4);
}

/// Goal: a supervisor that dies with unread bytes resets its connections, and its members still
/// know of one another: its successor, which knew nobody, does not wait until the settle time is
/// over. Method: members that have said something which a stopped supervisor has not read; a
/// newcomer is elected. The settle time is so long that waiting for it fails the test.
#[test]
fn a_death_that_resets_connections_loses_nobody() {
    let group = Group::of(&[]);
    let settle = [("SETTLE", (4 * PATIENCE).as_millis().to_string())];
    let boss = group.other_with("boss", &settle);
    let mut members = ["a", "b", "c"].map(|name| group.other_with(name, &settle));
    boss.process.stop();
    members.iter_mut().for_each(|member| _ = member.obey("count seats 1"));
    members.iter().for_each(|member| member.process.stop());
    boss.process.kill();
    let _newcomer = group.other_with("newcomer", &settle);
    members.iter().for_each(|member| member.process.signal(Signal::CONT));
    await_true("settled", || group.admin().status().is_ok_and(|status| status.settled));
    assert_eq!(group.admin().status().unwrap().members, 4);
}
