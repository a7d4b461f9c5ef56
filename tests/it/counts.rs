//! What things cost, in counts that are the same on any machine: system calls of a request,
//! messages of a failover, wake-ups of a group that shares and does nothing. Allocations are
//! counted in `src/internal/costs.rs`, times are for the benchmarks.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::actors::subject::{JOIN, ROUNDS};
use crate::actors::{self, Actor};
use crate::failover::is_quiet;
use crate::support::{Ground, await_true, finish};

mod trace;

use trace::Trace;

/// One that does one of the things that a subject knows, started by `before`.
fn subject(ground: &Ground, before: &[&str], what: &str) -> Command {
    let more = [("WHAT", what.to_owned())];
    actors::command_in(&ground.directory, ground.port, before, "subject", &more)
}

/// One that has got so far as to be ready, and goes on when it is told to.
fn ready(ground: &Ground, what: &str) -> Actor {
    let subject = Actor::run(subject(ground, &[], what));
    assert_eq!(subject.word(), "ready");
    subject
}

/// What one request may cost: the asker's end, then the supervisor's.
///
/// `acquire` is with the release. Two ends cannot do it with less than to send and to receive at
/// each; a kept connection is looked at before it is used for what must not be done twice (a
/// `poll`); who reads its answer from the lifeline says so to the role thread's `epoll`, before and
/// after; and a setting is also sent to the members, of whom the asker is one.
///
/// `ask anew` is from outside: four calls see that the group's address is here (where it is not,
/// who connects waits in vain), two that nobody else can exchange the key; the key is read from its
/// file, there is a connection, a handshake and an end of it. To join and to leave is that, an
/// admin endpoint, and two threads. Each end asks which file its socket is: should the program
/// close it, that tells it from the program's.
const COSTS: [(&str, [usize; 2]); 10] = [
    (JOIN, [65, 16]),
    ("ask anew", [29, 15]),
    ("look-up", [2, 2]),
    ("status", [2, 2]),
    ("try-acquire", [5, 3]),
    ("acquire", [5, 3]),
    ("tally", [1, 1]),
    ("total", [4, 2]),
    ("set", [5, 3]),
    ("call", [3, 2]),
];

/// Sleeps and wake-ups between threads of one process, for any request: who asks reads the answer
/// itself, so that there are none but of those who meet at a lock.
const MAX_FUTEX: usize = 2;

/// The same for who asks anew: a thread of the supervisor's begins and ends with the connection,
/// and meets the next one's.
const MAX_FUTEX_ANEW: usize = 5;

/// The same for a join and what follows: threads that begin and are waited for at the end.
const MAX_FUTEX_JOIN: usize = 24;

/// Goal: no request costs a system call more than it must, at either end: what is one more tomorrow
/// than today is seen here, not in a benchmark that nobody looks at. Method: two instances of one
/// process, whose threads tell which end is which; strace writes down what they do. (Nothing else
/// knows all calls without privileges: what /proc counts as read and written is not what goes over
/// sockets.)
#[test]
fn a_request_costs_no_more_system_calls_than_it_must() {
    let ground = Ground::new();
    let log = ground.directory.join("trace");
    let log = log.to_str().expect("UTF-8");
    let can = Command::new("strace").args(["-f", "-qq", "-o", log, "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        crate::skipped::skip("there is no strace here, or it may not trace");
        return;
    }
    // Who asks reads its answer itself if the role thread is not about to: on a busy machine that
    // one comes late, and both meet at a lock. Then only the sleeps say nothing, and are counted
    // again.
    for attempt in 1.. {
        let command = subject(&ground, &["strace", "-f", "-qq", "-o", log], "requests");
        finish(command).code(0);
        let trace = Trace::read(&fs::read_to_string(log).expect("a trace"));
        match judge(&trace) {
            Ok(()) => return,
            Err(why) => assert!(attempt < ATTEMPTS, "{why}:\n{trace}"),
        }
    }
}

/// So often the calls are counted at most.
const ATTEMPTS: usize = 5;

/// Fails for calls that are too many, and returns which request sleeps too often.
fn judge(trace: &Trace) -> Result<(), String> {
    for (request, costs) in COSTS {
        let ends = trace.ends(request);
        for (end, cost) in ends.iter().zip(costs) {
            // Less than one more for each is the end of what went before, or the question that ends
            // the measurement.
            assert!(
                end.calls / ROUNDS <= cost,
                "{request} costs more than {costs:?} calls:\n{trace}"
            );
            let most = match request {
                JOIN => MAX_FUTEX_JOIN,
                "ask anew" => MAX_FUTEX_ANEW,
                _ => MAX_FUTEX,
            };
            if end.futex / ROUNDS > most {
                return Err(format!("{request} sleeps more often"));
            }
        }
        assert!(ends[0].calls >= ROUNDS, "{request} is not in the trace:\n{trace}");
    }
    Ok(())
}

/// Goal: what a failover takes grows with the group, not with its square. Method: all survivors in
/// one process, which counts by its log the messages that they send; the supervisor in another one,
/// which is killed.
#[test]
fn a_failover_takes_messages_in_proportion_to_the_group() {
    for members in [8, 16, 32, 64, 128] {
        let sent = failover_messages(members);
        let of = |name: &str| sent.get(name).copied().unwrap_or(0);
        let (openings, rosters) = (of("Opening"), of("Roster"));
        let others = sent.values().sum::<usize>() - openings - rosters;
        // Two more for the handshake, the hello, the welcome, the news that the group is settled.
        assert!(others <= 5 * (members - 1), "{members} members: {sent:?}");
        assert!(
            others >= 4 * (members - 1) && openings >= members - 1,
            "{members} members: {sent:?}"
        );
        // Who is early may have met the one that was dying.
        assert!(openings <= 4 * members, "{members} members: {sent:?}");
        // Each witness is told everything once; and of each who comes before the first one who
        // knows all others: as a rule one of as many as there are witnesses and one more, and at
        // worst of all.
        assert!(rosters <= witnesses() * members, "{members} members: {sent:?}");
    }
}

/// How many members are told whom the group has.
fn witnesses() -> usize {
    let config = include_str!("../../src/config/limits.rs");
    let number = |line: &str| {
        line.strip_prefix("pub(crate) const WITNESSES: usize = ")?.strip_suffix(';')?.parse().ok()
    };
    config.lines().find_map(number).expect("the number of witnesses in limits.rs")
}

/// What so many survivors send from the death of their supervisor until they are settled.
fn failover_messages(members: usize) -> BTreeMap<String, usize> {
    let ground = Ground::new();
    let supervisor = ground.join("first");
    let mut survivors = ready(&ground, &format!("members {members}"));
    survivors.order("count");
    assert_eq!(survivors.word(), "counting");
    supervisor.kill();
    let sent = survivors.word();
    println!("{members} members: {sent}");
    let words = sent.split(' ').map(|word| word.split_once('=').expect("a name and a number"));
    words.map(|(name, times)| (name.to_owned(), times.parse().expect("a number"))).collect()
}

/// Goal: what instances share costs nothing while it does not change. Method: three processes with
/// permits, requests for permits, tallies, settings, watches and receivers of events; context
/// switches as in a group that shares nothing.
#[test]
fn a_group_that_shares_and_does_nothing_does_not_wake_up() {
    let ground = Ground::new();
    let mut sharers = [(); 3].map(|()| ready(&ground, "sharer"));
    sharers.iter_mut().for_each(|sharer| sharer.order("wait"));
    let admin = ground.admin();
    let usage = || admin.usage_of("seats").map(|usage| (usage.in_use, usage.waiting));
    await_true("all hold and wait", || usage().is_ok_and(|usage| usage == (3, 3)));
    let pids: Vec<u32> = sharers.iter().map(Actor::pid).collect();
    is_quiet(&pids, &sharers[0].process);
}
