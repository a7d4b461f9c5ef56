//! What a user may rely on when processes die, stop and leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pares::channel::Select;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::raw::ephemeral_port;
use crate::support::{Ground, PATIENCE, Proc, await_true};

/// The next role in a later term.
#[track_caller]
fn role_after(instance: &Proc, term: u64) -> Value {
    instance.expect(|event| {
        let role = event["event"] == "supervisor" || event["event"] == "subordinate";
        role && event["term"].as_u64() > Some(term)
    })
}

/// Waits until the survivors have elected one of themselves; gives its place among them, and the
/// term.
#[track_caller]
fn one_leads(survivors: &[Proc], term: u64) -> (usize, u64) {
    let roles: Vec<Value> = survivors.iter().map(|survivor| role_after(survivor, term)).collect();
    let leaders: Vec<usize> =
        (0..roles.len()).filter(|at| roles[*at]["event"] == "supervisor").collect();
    assert_eq!(leaders.len(), 1, "{roles:?}");
    let leader = &roles[leaders[0]];
    for role in &roles {
        assert_eq!(role["term"], leader["term"], "{roles:?}");
        assert!(role["event"] == "supervisor" || role["supervisor"] == leader["name"], "{roles:?}");
    }
    (leaders[0], leader["term"].as_u64().expect("a term"))
}

/// Waits until the registry is settled; gives the names in it.
#[track_caller]
fn settled_names(ground: &Ground) -> BTreeSet<String> {
    let admin = ground.admin();
    await_true("settled", || admin.status().is_ok_and(|status| status.settled));
    let listing = admin.list().expect("a registry");
    assert!(listing.settled);
    listing.entries.into_iter().map(|entry| entry.name).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Goal: a supervisor that is killed without warning is replaced by exactly one survivor, and all
/// survivors are in the new registry. Method: five real processes; SIGKILL the first; read roles
/// from their output.
#[test]
fn a_killed_supervisor_is_replaced_by_exactly_one_survivor() {
    let ground = Ground::new();
    let first = ground.join("first");
    let survivors: Vec<Proc> = ["a", "b", "c", "d"].iter().map(|name| ground.join(name)).collect();
    survivors.iter().for_each(|survivor| survivor.sees("first"));
    first.kill();
    let (leader, term) = one_leads(&survivors, 1);
    assert_eq!(term, 2);
    let settled =
        survivors[leader].expect(|event| event["event"] == "settled" && event["term"] == 2);
    assert_eq!(settled["members"], 4);
    assert_eq!(settled_names(&ground), names(&["a", "b", "c", "d"]));
    assert_eq!(ground.ask("status --json").json()["cause"], "died");
    let left = survivors[leader].expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("first"), &json!("died")));
}

/// Goal: the same again and again, with terms that only grow and nobody lost on the way. Method: a
/// group of five; kill the supervisor, check all survivors, fill up. PARES_TEST_FAILOVERS says how
/// often.
#[test]
fn many_supervisors_are_killed_in_a_row() {
    let times =
        std::env::var("PARES_TEST_FAILOVERS").map_or(20, |times| times.parse().expect("a number"));
    let ground = Ground::new();
    let mut leader = ground.join("leader");
    let mut others: Vec<Proc> = (0..4).map(|number| ground.join(&format!("w{number}"))).collect();
    let mut present: BTreeSet<String> = settled_names(&ground);
    let (mut leading, mut term) = ("leader".to_owned(), 1);
    for time in 0..times {
        leader.kill();
        let (at, new_term) = one_leads(&others, term);
        assert_eq!(new_term, term + 1, "kill {time}");
        present.remove(&leading);
        assert_eq!(settled_names(&ground), present, "kill {time}");
        leader = others.remove(at);
        leading =
            ground.ask("status --json").code(0).json()["supervisor"].as_str().unwrap().to_owned();
        term = new_term;
        let name = format!("again{time}");
        others.push(ground.join(&name));
        present.insert(name);
    }
}

/// Goal: terms grow also when nobody survives who knows the last one.
/// Method: kill all at once, and the first who comes after is asked for its term.
#[test]
fn a_group_that_died_as_a_whole_begins_anew_with_a_higher_term() {
    let ground = Ground::new();
    let mut last = 0;
    for _ in 0..3 {
        let first = ground.start("join --json --name first");
        let term = first.role()["term"].as_u64().expect("a term");
        assert!(term > last, "{term} after {last}");
        let others = [ground.join("a"), ground.join("b")];
        // One of the others may have taken over before it is dead, too.
        [&first, &others[0], &others[1]].iter().for_each(|instance| instance.signal(Signal::KILL));
        last = term;
    }
}

#[test]
fn a_group_that_left_in_order_begins_anew_with_a_higher_term() {
    let ground = Ground::new();
    for term in 1..=3 {
        let first = ground.start("join --json");
        assert_eq!(first.role()["term"], term);
        first.leave();
    }
}

/// Goal: a name belongs to a living instance, and to nobody the moment after its death. Method:
/// kill the holder and join under its name at once, again and again; without the kill it is
/// refused.
#[test]
fn the_name_of_the_dead_is_free_at_once() {
    let ground = Ground::new();
    let _first = ground.join("first");
    for _ in 0..10 {
        let holder = ground.join("worker");
        ground.ask("join --name worker").code(1).says("the name `worker` belongs to");
        holder.signal(Signal::KILL);
        ground.join("worker").kill(); // `join` panics if it is refused
    }
}

#[test]
fn the_name_of_a_dead_supervisor_is_free_too() {
    let ground = Ground::new();
    let mut others = vec![ground.join("0")];
    for turn in 1..=5 {
        let next = ground.join(&turn.to_string());
        let leader = others.remove(0);
        leader.kill();
        role_after(&next, turn);
        let again = ground.join(&(turn - 1).to_string());
        again.kill();
        others.push(next);
    }
}

/// Goal: who meets a stopped supervisor is told so, with the cure; the cure works.
/// Method: SIGSTOP the supervisor; join with a short deadline; SIGCONT; join again.
#[test]
fn a_stopped_supervisor_is_named_with_the_cure() {
    let ground = Ground::new();
    let first = ground.join("first");
    first.stop();
    let cure = format!("kill -CONT {}", first.pid());
    ground.ask("join --timeout 0.5").code(124).says(&cure);
    first.signal(Signal::CONT);
    let second = ground.join("second");
    second.leave();
    first.leave();
}

/// Goal: an instance that was stopped right across a failover comes back under its name.
/// Method: stop one of three, kill the supervisor, let the third lead, continue the stopped one.
#[test]
fn a_subordinate_that_was_stopped_across_a_failover_comes_back() {
    let ground = Ground::new();
    let first = ground.join("first");
    let sleeper = ground.join("sleeper");
    let second = ground.join("second");
    sleeper.stop();
    first.kill();
    assert_eq!(role_after(&second, 1)["event"], "supervisor");
    sleeper.signal(Signal::CONT);
    assert_eq!(role_after(&sleeper, 1)["supervisor"], "second");
    assert_eq!(settled_names(&ground), names(&["second", "sleeper"]));
}

/// The same when the group has settled without it: it is not forgotten, only late.
#[test]
fn a_subordinate_that_comes_back_late_is_taken_in() {
    let ground = Ground::new();
    let first = ground.join("first");
    let sleeper = ground.join("sleeper");
    let second = ground.join("second");
    sleeper.stop();
    first.kill();
    second.expect(|event| event["event"] == "settled" && event["term"] == 2);
    sleeper.signal(Signal::CONT);
    assert_eq!(role_after(&sleeper, 1)["supervisor"], "second");
    assert_eq!(settled_names(&ground), names(&["second", "sleeper"]));
}

/// Goal: a second death in the middle of the recovery changes nothing. Method: kill each new
/// supervisor as soon as it says that it is one, before it can have settled; one is left.
#[test]
fn supervisors_that_die_while_they_take_over_are_replaced() {
    let ground = Ground::new();
    let mut leader = ground.join("w0");
    let mut others: Vec<Proc> = (1..7).map(|number| ground.join(&format!("w{number}"))).collect();
    while others.len() > 1 {
        leader.signal(Signal::KILL);
        leader = others.remove(first_supervisor(&others));
    }
    leader.kill();
    assert_eq!(others[0].expect_event("supervisor")["term"], 7);
    let last =
        ground.ask("status --json").code(0).json()["supervisor"].as_str().unwrap().to_owned();
    assert_eq!(settled_names(&ground), names(&[&last]));
}

/// Whichever of these says first that it is supervisor.
#[track_caller]
fn first_supervisor(instances: &[Proc]) -> usize {
    let mut select = Select::new();
    instances.iter().for_each(|instance| _ = select.recv(instance.lines()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = select.select_deadline(deadline).expect("a new supervisor");
        let at = ready.index();
        let line = ready.recv(instances[at].lines()).expect("a living process");
        if line.contains("\"event\":\"supervisor\"") {
            return at;
        }
    }
}

#[test]
fn who_leaves_has_left_and_who_is_killed_has_died() {
    let ground = Ground::new();
    let first = ground.join("first");
    let one = ground.join("one");
    first.sees("one");
    one.leave();
    let left = first.expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("one"), &json!("left")));
    let two = ground.join("two");
    first.sees("two");
    two.kill();
    let left = first.expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("two"), &json!("died")));

    // The supervisor's own end, as its successor tells it.
    let next = ground.join("next");
    next.sees("first");
    first.leave();
    assert_eq!(next.expect_event("contending")["cause"], "supervisor-left");
    let left = next.expect_event("left");
    assert_eq!((&left["name"], &left["cause"]), (&json!("first"), &json!("left")));
    assert_eq!(ground.ask("status --json").json()["cause"], "left");
}

/// Goal: a group works on a port that the kernel also gives to outgoing connections, where a
/// connection to a free port can meet itself. Method: some failovers on such a port.
#[test]
fn a_port_inside_the_ephemeral_range_works() {
    let port = ephemeral_port();
    let ground = Ground::on_port(port);
    let mut leader = ground.join("w0");
    let mut others: Vec<Proc> = (1..3).map(|number| ground.join(&format!("w{number}"))).collect();
    for term in 1..=5 {
        leader.kill();
        let (at, _) = one_leads(&others, term);
        leader = others.remove(at);
        others.push(ground.join(&format!("again{term}")));
    }
}

/// Goal: while nothing happens, nothing runs. Method: count how often any thread of three instances
/// and a monitor has given up or lost the processor, twice, with two seconds in between. The first
/// such window in which nothing has moved is enough: a timer would be in each of them.
#[test]
fn a_group_in_which_nothing_happens_does_not_wake_up() {
    let ground = Ground::new();
    let instances = [ground.join("a"), ground.join("b"), ground.join("c")];
    let monitor = ground.start("monitor --json");
    let joined: Vec<Value> = (0..3).map(|_| monitor.expect_event("joined")).collect();
    assert_eq!(joined.len(), 3);
    monitor.expect_event("settled");
    let pids: Vec<u32> = instances.iter().chain([&monitor]).map(Proc::pid).collect();
    is_quiet(&pids, &monitor);
}

/// Checks that there comes a time in which none of the processes runs; `silent` says nothing in it.
///
/// Where the whole container is frozen and thawed, that wakes every thread there is, also one that
/// can have nothing to do: as often as that is woken, the others have not woken up by themselves.
#[track_caller]
pub(crate) fn is_quiet(pids: &[u32], silent: &Proc) {
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped());
    let (idle, _its_input) = Proc::start_with_input(cat);
    let count = || -> BTreeMap<String, u64> { pids.iter().copied().flat_map(switches).collect() };
    let of_idle = || switches(idle.pid()).map(|(_, switches)| switches).sum::<u64>();
    let windows: Vec<Vec<String>> = (0..5)
        .map(|_| {
            let (before, idle_before) = (count(), of_idle());
            silent.says_nothing_for(Duration::from_secs(2));
            let (idle_after, after) = (of_idle(), count());
            let woken = idle_after - idle_before;
            let threads: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let ran = threads.into_iter().filter_map(|thread| {
                match (before.get(thread), after.get(thread)) {
                    (Some(before), Some(after)) if *after <= before + woken => None,
                    // One that is new, or has ended, has run in any case.
                    (before, after) => {
                        Some(format!("{thread}: {before:?} to {after:?}; an idle one: {woken}"))
                    }
                }
            });
            ran.collect()
        })
        .take_while(|ran: &Vec<String>| !ran.is_empty())
        .collect();
    assert!(windows.len() < 5, "context switches in each window: {windows:#?}");
}

/// All context switches so far of each thread of a process, by its number and name.
fn switches(pid: u32) -> impl Iterator<Item = (String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process").flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.map(|status| {
        let field = |line: &str| line.split_whitespace().last().unwrap_or_default().to_owned();
        let find = |name: &str| {
            status.lines().find(|line| line.starts_with(name)).map(field).unwrap_or_default()
        };
        let lines = status.lines().filter(|line| line.contains("ctxt_switches:"));
        let switches = lines.filter_map(|line| field(line).parse::<u64>().ok()).sum();
        (format!("{} {}", find("Pid:"), find("Name:")), switches)
    })
}

/// Goal: a dying supervisor frees its port before any survivor learns of the death (the kernel
/// closes the highest descriptor first), in the first supervisor as in one that has taken over.
/// Method: the descriptors that the process has, and which of them is the listening socket of the
/// port.
#[test]
fn the_listener_is_above_all_other_descriptors() {
    let ground = Ground::new();
    let mut instances: Vec<Proc> =
        (0..4).map(|number| ground.join(&format!("w{number}"))).collect();
    for term in 1..=2 {
        let supervisor = ground.admin().look_up("main").unwrap();
        assert_eq!(supervisor.term, term);
        let pid = supervisor.entries[0].pid;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (highest, listener) = (highest_descriptor(pid), listener(ground.port));
            if highest.is_some() && highest == listener {
                break;
            }
            assert!(Instant::now() < deadline, "term {term}: {highest:?} is above {listener:?}");
            std::thread::yield_now();
        }
        let leader = instances.iter().position(|instance| instance.pid() == pid).unwrap();
        instances.remove(leader).kill();
        instances.iter().for_each(|survivor| _ = role_after(survivor, term));
    }
}

/// What the process's highest descriptor is, as the kernel names it.
fn highest_descriptor(pid: u32) -> Option<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let highest = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()?;
    let link = fs::read_link(format!("/proc/{pid}/fd/{highest}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The name of the socket that listens on the port.
fn listener(port: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{port:04X}");
    let line = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let socket = line
        .into_iter()
        .find(|words| words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"0A"))?;
    Some(format!("socket:[{}]", socket[9]))
}
