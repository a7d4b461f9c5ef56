//! The command line of what instances share: permits around commands, usage, limits, settings.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use pares::channel::{Receiver, unbounded};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};

use crate::cli::has_fields;
use crate::support::{Ground, PATIENCE, Proc, await_true, finish, stop};

/// `pares run --permit` with these options, and a shell script as the command.
fn permit(ground: &Ground, options: &str, script: &str) -> Command {
    let options = options.split_whitespace();
    ground.command_of(
        ["run", "--permit"].into_iter().chain(options).chain(["--", "sh", "-c", script]),
    )
}

fn start(ground: &Ground, options: &str, script: &str) -> Proc {
    Proc::start(permit(ground, options, script))
}

/// Waits until nobody has the standard error of a command open: it and all that it started.
#[track_caller]
fn all_gone(process: &Proc) {
    process.stderr();
}

#[track_caller]
fn await_waiting(ground: &Ground, resource: &str, waiting: u32) {
    await_true("waiting", || {
        ground.admin().usage_of(resource, PATIENCE).is_ok_and(|usage| usage.waiting == waiting)
    });
}

/// The next line that begins with this word.
#[track_caller]
fn line_of(process: &Proc, word: &str) -> String {
    loop {
        let line = process.line();
        if line.split('\t').next() == Some(word) {
            return line;
        }
    }
}

/// An instance that is there and has declared a resource.
fn declare(ground: &Ground, name: &str, resource: &str) -> Proc {
    let instance = ground.start(&format!("join --json --name {name} --resource {resource}"));
    instance.role();
    instance
}

const STUBBORN: &str = "trap '' TERM INT HUP; sh -c 'sleep 1000 & wait' & echo started; wait";

// -------------------------------------------------------------------------------------------------
// usage

#[test]
fn usage_shows_limit_use_queue_and_holders() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=5 --resource bays=7");
    assert_eq!(ground.ask("usage").code(0).out, "bays\t7\t0\t0\nslots\t5\t0\t0\n");
    let job = start(&ground, "slots=2 --name job", "echo started; sleep 1000");
    let other = start(&ground, "slots=3 --name other", "echo started; sleep 1000");
    assert_eq!((job.line(), other.line()), ("started".into(), "started".into()));
    let _late = start(&ground, "slots --name late", "echo started");
    await_waiting(&ground, "slots", 1);
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t5\t5\t1\tjob=2\tother=3\n");
    let listed = ground.ask("usage --json").code(0).json();
    let slots = &listed[1];
    has_fields(slots, &["resource", "limit", "in_use", "waiting", "holders"]);
    has_fields(&slots["holders"][0], &["name", "units"]);
    assert_eq!(
        (&slots["limit"], &slots["in_use"], &slots["waiting"], &slots["holders"]),
        (
            &json!(5),
            &json!(5),
            &json!(1),
            &json!([{"name": "job", "units": 2}, {"name": "other", "units": 3}])
        )
    );
    assert_eq!(ground.ask("usage bays --json").code(0).json()[0]["in_use"], 0);
    ground.ask("usage nonsense").code(4).says("no resource `nonsense`");
    // The only one that has declared it is gone: there is no limit any more, but what is held is
    // held.
    one.kill();
    assert_eq!(
        ground.ask("usage slots --json").code(0).json(),
        json!([{"resource": "slots", "limit": null, "in_use": 5, "waiting": 0, "holders":
            [{"name": "job", "units": 2}, {"name": "other", "units": 3}]}])
    );
    assert_eq!(ground.ask("usage").code(0).out, "slots\t-\t5\t0\tjob=2\tother=3\n");
}

#[test]
fn a_limit_changes_at_once_for_all_and_outlives_the_supervisor() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    let job = start(&ground, "slots --name job", "echo started; sleep 1000");
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    ground.ask("limit slots 2").code(0).silent();
    assert_eq!(late.line(), "started");
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t2\t2\t0\tjob=1\tlate=1\n");
    one.kill();
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t2\t2\t0\tjob=1\tlate=1\n");
    ground.ask("limit slots 1").code(0).silent();
    assert_eq!(
        ground.ask("usage slots").code(0).out,
        "slots\t1\t2\t0\tjob=1\tlate=1\n",
        "nothing is taken away"
    );
    ground.ask("limit nonsense 1").code(4).says("no resource `nonsense`");
    ground.ask("limit slots 274877906945").code(2).says("2^38");
    ground.ask("limit slots 0").code(0);
    finish(permit(&ground, "slots", "echo started")).code(75).says("raise it with `pares limit`");
}

#[test]
fn a_revoked_permits_command_is_ended_and_its_units_are_free() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=1");
    let mut job = start(
        &ground,
        "slots --name job",
        "trap 'echo ending; exit 5' TERM; echo started; sleep 1000 & wait",
    );
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    assert_eq!(ground.ask("revoke slots job").code(0).out, "1\n");
    assert_eq!(late.line(), "started");
    assert_eq!(job.line(), "ending");
    assert_eq!(job.end_code(), 125);
    assert_eq!(job.stderr(), "pares: the permit is lost: ending sh\n");
    assert_eq!(ground.ask("revoke slots one").code(0).out, "0\n");
    ground.ask("revoke slots nobody").code(4).says("no instance `nobody`");
    ground.ask("revoke nonsense one").code(4).says("no resource `nonsense`");
    assert_eq!(ground.ask("revoke slots late").code(0).out, "1\n");
}

// -------------------------------------------------------------------------------------------------
// settings

#[test]
fn a_setting_is_set_read_and_removed() {
    let ground = Ground::new();
    let one = ground.join("one");
    let two = ground.join("two");
    ground.ask("get mode").code(4).says("`mode` is not set");
    ground.ask("get mode --json").code(4);
    ground.ask("set mode fast").code(0).silent();
    assert_eq!(ground.ask("get mode").code(0).out, "fast\n");
    assert_eq!(
        ground.ask("get mode --json").code(0).json(),
        json!({"key": "mode", "value": "fast"})
    );
    for instance in [&one, &two] {
        let event = instance.expect_event("setting");
        has_fields(&event, &["event", "monotonic_ns", "key", "value"]);
        assert_eq!((&event["key"], &event["value"]), (&json!("mode"), &json!("fast")));
    }
    one.kill();
    assert_eq!(ground.ask("get mode").code(0).out, "fast\n", "it survives the supervisor");
    ground.ask("set number -- -5").code(0);
    assert_eq!(ground.ask("settings").code(0).out, "mode\tfast\nnumber\t-5\n");
    ground.ask("set mode --unset").code(0).silent();
    assert_eq!(two.expect_event("setting")["key"], "number");
    let event = two.expect_event("setting");
    assert_eq!((&event["key"], &event["value"]), (&json!("mode"), &Value::Null));
    assert_eq!(
        ground.ask("settings --json").code(0).json(),
        json!([{"key": "number", "value": "-5"}])
    );
    finish(ground.command_of(["set", "a b", "x"])).code(2).says("no white space");
    finish(ground.command_of(["set", "key", &"x".repeat(16 * 1024 + 1)])).code(2);
    finish(ground.command_of(["set", "key", &"x".repeat(16 * 1024)])).code(0);
}

#[test]
fn a_setting_that_has_changed_is_not_overwritten() {
    let ground = Ground::new();
    let _one = ground.join("one");
    ground.ask("set schema 8 --if 7").code(1).says("`schema` is not set");
    ground.ask("set schema 7 --if-unset").code(0).silent();
    ground.ask("set schema 7 --if-unset").code(1).says("to \"7\"");
    ground.ask("set schema 8 --if 7").code(0).silent();
    ground.ask("set schema 9 --if 7").code(1).says("to \"8\"");
    ground.ask("set schema --if 8 -- -9").code(0);
    ground.ask("set schema 10 --if -9").code(0);
    assert_eq!(ground.ask("get schema").code(0).out, "10\n");
}

/// Goal: whatever the value, one setting is one line of two fields, and nothing is lost.
/// Method: a value of every control character; the shell's `printf %b` undoes the escapes.
#[test]
fn a_value_with_control_characters_is_one_field_of_one_line() {
    let ground = Ground::new();
    let plain = ground.start("join --name one");
    assert_eq!(plain.line(), "supervisor\tone\t1");
    let value: String = (1..=0x9f).filter_map(char::from_u32).chain("\\n ende".chars()).collect();
    finish(ground.command_of(["set", "odd", &value])).code(0);
    let listed = ground.ask("settings").code(0).out;
    let escaped =
        listed.strip_prefix("odd\t").and_then(|rest| rest.strip_suffix('\n')).expect("two fields");
    assert!(!escaped.contains(char::is_control), "{escaped}");
    let undone =
        Command::new("sh").args(["-c", "printf %b \"$1\"", "sh", escaped]).output().unwrap();
    assert_eq!(String::from_utf8(undone.stdout).unwrap(), value);
    assert_eq!(ground.ask("get odd").code(0).out, value.clone() + "\n");
    assert_eq!(ground.ask("settings --json").code(0).json()[0]["value"], value);
    assert_eq!(line_of(&plain, "setting"), format!("setting\todd\t{escaped}"));
    ground.ask("set odd --unset").code(0);
    assert_eq!(line_of(&plain, "setting"), "setting\todd");
}

/// Goal: what is not in the contract with those who read JSON is not told to them; others get a
/// line. Method: a broadcast and a limit that is passed, between settings that are told; from a
/// process that is not `pares`.
#[test]
fn messages_and_limits_passed_are_for_people_only() {
    let ground = Ground::new();
    let told = ground.start("join --json --name told --resource slots=2");
    told.role();
    let plain = ground.start("join --name plain");
    plain.line();
    let me = pares::Instance::join(ground.config().name("me")).unwrap();
    me.set("first", "1", PATIENCE).unwrap();
    let tally = me.tally("slots").unwrap();
    tally.add(3);
    // From here on the supervisor has told the others.
    assert_eq!(tally.total(PATIENCE).unwrap(), 3);
    me.broadcast("cache", b"flush\nall", PATIENCE).unwrap();
    me.set("last", "1", PATIENCE).unwrap();
    assert_eq!(line_of(&plain, "over-limit"), "over-limit\tslots\t3\t2");
    assert_eq!(line_of(&plain, "message"), "message\tme\tcache\tflush\\nall");
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| *kind == "setting").count() < 2 {
        kinds.push(told.event()["event"].as_str().unwrap().to_owned());
    }
    assert!(!kinds.iter().any(|kind| kind == "over-limit" || kind == "message"), "{kinds:?}");
}

#[test]
fn a_supervisor_that_does_not_answer_is_124() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    one.stop();
    for question in
        ["usage", "limit slots 3", "revoke slots one", "get key", "set key value", "settings"]
    {
        ground.ask(&format!("{question} --timeout 0.2")).code(124);
    }
}

// -------------------------------------------------------------------------------------------------
// run --permit

#[test]
fn the_command_of_a_permit_finds_it_in_the_environment() {
    let ground = Ground::new();
    let script = "echo $PARES_NAME $PARES_ROLE $PARES_TERM $PARES_PERMIT $PARES_GROUP $PARES_PORT";
    let port = ground.port;
    let answer = finish(permit(&ground, "slots --limit 4 --name job", script)).code(0);
    assert_eq!(answer.out, format!("job supervisor 1 slots=1 it {port}\n"));
    let _one = declare(&ground, "one", "slots=4");
    let answer = finish(permit(&ground, "slots=3 --name job", script)).code(0);
    assert_eq!(answer.out, format!("job subordinate 2 slots=3 it {port}\n"));
    // A `pares run` in the command of another: the permit is not its own.
    let pares = env!("CARGO_BIN_EXE_pares");
    let inner = format!(
        "PARES_GROUP=inner PARES_PORT= ; unset PARES_PORT; {pares} -g inner run --when-supervisor \
         -- \
                         sh -c 'echo \"<$PARES_PERMIT>\"'"
    );
    assert_eq!(finish(permit(&ground, "slots", &inner)).code(0).out, "<>\n");
}

#[test]
fn the_exit_code_with_a_permit_is_the_commands() {
    let ground = Ground::new();
    for code in [0, 1, 7, 255] {
        finish(permit(&ground, "slots --limit 1", &format!("exit {code}"))).code(code).silent();
    }
    finish(permit(&ground, "slots --limit 1", "kill -SEGV $$")).code(139);
    ground
        .ask("run --permit slots --limit 1 -- /nonexistent")
        .code(127)
        .says("cannot run /nonexistent");
    ground
        .ask("run --permit slots --limit 1 -- /etc/passwd")
        .code(126)
        .says("cannot run /etc/passwd");
    finish(permit(&ground, "slots", "echo started")).code(4).says("no resource `slots`");
    finish(permit(&ground, "slots=5 --limit 4", "echo started"))
        .code(75)
        .says("more than its limit of 4");
}

#[test]
fn who_does_not_want_to_wait_for_a_permit_is_told_75_or_124() {
    let ground = Ground::new();
    let job = start(&ground, "slots=3 --limit 4 --name job", "echo started; sleep 1000");
    assert_eq!(job.line(), "started");
    finish(permit(&ground, "slots=2 --limit 4 -n", "echo started"))
        .code(75)
        .says("2 of `slots` cannot be had at once");
    finish(permit(&ground, "slots=2 --limit 4 -w 0.1", "echo started"))
        .code(124)
        .says("no permit for `slots` in time");
    assert_eq!(
        finish(permit(&ground, "slots --limit 4 -n", "echo started")).code(0).out,
        "started\n"
    );
    assert_eq!(
        finish(permit(&ground, "slots --limit 4 -w 30", "echo started")).code(0).out,
        "started\n"
    );
    assert_eq!(ground.ask("usage").code(0).out, "slots\t4\t3\t0\tjob=3\n", "nobody waits any more");
}

#[test]
fn permits_are_given_in_the_order_of_asking() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=2");
    let first = start(&ground, "slots --name first", "echo started; sleep 1000");
    assert_eq!(first.line(), "started");
    let wide = start(&ground, "slots=2 --name wide", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    // There is one unit for it, but it was not the first to ask.
    let narrow = start(&ground, "slots --name narrow", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 2);
    first.kill();
    assert_eq!(wide.line(), "started");
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t2\t2\t1\twide=2\n");
    wide.kill();
    assert_eq!(narrow.line(), "started");
}

#[test]
fn signals_reach_the_command_or_end_the_waiting() {
    let ground = Ground::new();
    let script = "trap 'echo HUP' HUP; trap 'echo TERM; exit 9' TERM; echo started; while :; do \
                  sleep 1000 & wait $!; done";
    let mut job = start(&ground, "slots --limit 1 --name job", script);
    assert_eq!(job.line(), "started");
    let mut late = start(&ground, "slots --limit 1 --name late", "echo started");
    await_waiting(&ground, "slots", 1);
    late.signal(Signal::USR1); // is for the command
    late.signal(Signal::TERM);
    assert_eq!(late.end_code(), 143);
    assert_eq!(late.try_line(), None);
    await_waiting(&ground, "slots", 0);
    job.signal(Signal::HUP);
    assert_eq!(job.line(), "HUP");
    job.signal(Signal::TERM);
    assert_eq!(job.line(), "TERM");
    assert_eq!(job.end_code(), 9);
    all_gone(&job);
}

/// Goal: one that is asked to leave ends its command first, and has its permit until then.
/// Method: the command looks at the usage when it is told to end.
#[test]
fn stop_ends_the_command_before_the_permit_is_given_back() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=1");
    let pares = env!("CARGO_BIN_EXE_pares");
    let script = format!("trap '{pares} usage; exit 0' TERM; echo started; sleep 1000 & wait");
    let mut job = start(&ground, "slots --name job", &script);
    assert_eq!(job.line(), "started");
    let mut late = start(&ground, "slots --name late", "echo started");
    await_waiting(&ground, "slots", 1);
    ground.ask("stop late").code(0).silent();
    assert_eq!(late.end_code(), 3);
    assert_eq!(
        (late.try_line(), late.stderr()),
        (None, "pares: asked to leave before it was its turn\n".into())
    );
    await_waiting(&ground, "slots", 0);
    ground.ask("stop job").code(0).silent();
    assert_eq!(job.line(), "slots\t1\t1\t0\tjob=1");
    assert_eq!(job.end_code(), 125);
    assert_eq!(job.stderr(), "pares: asked to leave: ending sh\n");
    assert_eq!(ground.ask("usage").code(0).out, "slots\t1\t0\t0\n");
}

#[test]
fn a_command_with_a_permit_that_does_not_end_is_killed_with_all_its_children() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=1");
    for deed in ["stop job", "revoke slots job"] {
        let mut job = start(&ground, "slots --name job --kill-after 0.2", STUBBORN);
        assert_eq!(job.line(), "started");
        ground.ask(deed).code(0);
        assert_eq!(job.end_code(), 125);
        all_gone(&job);
    }
}

#[test]
fn nothing_outlives_a_killed_holder_and_its_units_are_free() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=1");
    for _ in 0..5 {
        let job = start(&ground, "slots -w 30", STUBBORN);
        assert_eq!(job.line(), "started");
        job.signal(Signal::KILL);
        all_gone(&job);
    }
}

#[test]
fn the_supervisors_death_changes_nothing_for_who_has_a_permit_or_waits() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    let _two = declare(&ground, "two", "slots=1");
    let script = "trap 'exit 6' USR1; echo started; while :; do sleep 1000 & wait $!; done";
    let mut job = start(&ground, "slots --name job", script);
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started");
    await_waiting(&ground, "slots", 1);
    one.kill();
    assert_eq!(ground.ask("usage").code(0).out, "slots\t1\t1\t1\tjob=1\n");
    job.signal(Signal::USR1);
    assert_eq!(job.end_code(), 6);
    assert_eq!(late.line(), "started");
}

/// Goal: one that stood still while others were given what it held ends its command. Method: stop
/// its guard, kill the supervisor, and wait until another has the permit; then let it go on.
#[test]
fn a_holder_that_slept_through_an_election_ends_its_command() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    let _two = declare(&ground, "two", "slots=1");
    let mut job = start(&ground, "slots --name job", "echo started; sleep 1000");
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    let guard = job.only_child();
    stop(guard);
    one.kill();
    assert_eq!(late.line(), "started");
    kill_process(guard, Signal::CONT).expect("a living guard");
    assert_eq!(job.end_code(), 125);
    assert!(job.stderr().contains(": ending sh\n"));
}

/// Goal: no command begins while anything of one before it is left. Method: each leaves a process
/// behind that holds a lock and ignores SIGTERM, and finds the lock free when it begins.
#[test]
fn a_permit_is_held_until_nothing_of_the_command_is_left() {
    let ground = Ground::new();
    let lock = ground.directory.join("lock").display().to_string();
    let script = format!(
        "exec 9> {lock}; flock -n 9 || echo overlap; (trap '' TERM; exec sleep 1000) & exit 0"
    );
    let jobs: Vec<Proc> = (0..20).map(|_| start(&ground, "slots --limit 1", &script)).collect();
    for mut job in jobs {
        assert_eq!((job.end_code(), job.try_line()), (0, None), "{}", job.stderr());
    }
}

// -------------------------------------------------------------------------------------------------
// the storm

/// What a storm of commands came to.
struct Storm {
    /// How many ended with which exit code or signal.
    ends: BTreeMap<(Option<i32>, Option<i32>), usize>,
    /// What they said on standard output.
    said: String,
    /// What went wrong, in their own words.
    errors: String,
    /// How many were killed.
    killed: usize,
}

/// Runs `count` commands, 48 at a time; after each tenth end kills one that lives, if asked to.
fn storm(count: usize, kill: bool, command: impl Fn() -> Command + Sync) -> Storm {
    // One storm after the other: two would starve each other, and a survivor that is late by the
    // settle time loses its permit.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let living = Mutex::new(Vec::new());
    let (turns, turn) = unbounded();
    (0..count).for_each(|number| turns.send(number).unwrap());
    drop(turns);
    let (report, reports) = unbounded();
    let one_by_one = |turn: Receiver<usize>, report: pares::channel::Sender<_>| {
        for _ in turn {
            let mut command = command();
            let mut alive = living.lock().unwrap();
            let child =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
            let pid = Pid::from_child(&child);
            alive.push(pid);
            drop(alive);
            // Not reaped before it is off the list: its number stays its own.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                .expect("a child");
            living.lock().unwrap().retain(|one| *one != pid);
            report.send(child.wait_with_output().expect("its output")).unwrap();
        }
    };
    let mut storm =
        Storm { ends: BTreeMap::new(), said: String::new(), errors: String::new(), killed: 0 };
    thread::scope(|scope| {
        for _ in 0..48 {
            let (turn, report) = (turn.clone(), report.clone());
            thread::Builder::new()
                .name("runner".into())
                .spawn_scoped(scope, || one_by_one(turn, report))
                .unwrap();
        }
        for number in 1..=count {
            let output = reports.recv_timeout(PATIENCE).expect("one more ends");
            *storm.ends.entry((output.status.code(), output.status.signal())).or_default() += 1;
            storm.said += &String::from_utf8_lossy(&output.stdout);
            storm.errors += &String::from_utf8_lossy(&output.stderr);
            let living = living.lock().unwrap();
            if kill && number % 10 == 0 && !living.is_empty() {
                // Any: a holder, one that waits, the supervisor, one that has only begun.
                kill_process(living[number * 7919 % living.len()], Signal::KILL).unwrap();
                storm.killed += 1;
            }
        }
    });
    storm
}

/// A script that takes one of four locks, and ends; it goes on if none is free.
fn take_slot(ground: &Ground) -> String {
    let slot = ground.directory.join("slot").display().to_string();
    format!(
        "for s in 1 2 3 4; do exec 9> {slot}$s; if flock -n 9; then sleep 0.01; exit 0; fi; done"
    )
}

const NO_SLOT: &str = "echo 'no slot is free' >&2; exit 99";

/// Goal: hundreds of short commands, each of them supervisor for a moment, and never more than four
/// at once. Method: each takes one of four locks without waiting; not one finds them all taken.
#[test]
fn hundreds_of_short_commands_keep_to_the_limit() {
    let ground = Ground::new();
    let script = format!("{}; {NO_SLOT}", take_slot(&ground));
    let storm = storm(240, false, || permit(&ground, "slots --limit 4", &script));
    assert_eq!(storm.ends, BTreeMap::from([((Some(0), None), 240)]), "{}", storm.errors);
    assert_eq!((storm.said.as_str(), storm.errors.as_str()), ("", ""));
}

/// Goal: the same while some of them are killed. Method: after every tenth end SIGKILL another. Its
/// unit is free when its connection ends, its lock when its command has been killed, a moment
/// later: who finds no lock free in this moment says so and looks again. So there can be as many of
/// these as there were kills, and not more.
#[test]
fn hundreds_of_short_commands_keep_to_the_limit_while_some_are_killed() {
    let ground = Ground::new();
    let take = take_slot(&ground);
    let script =
        format!("{take}; echo again; for t in $(seq 200); do sleep 0.01; {take}; done; {NO_SLOT}");
    let storm = storm(240, true, || permit(&ground, "slots --limit 4", &script));
    let (killed, ended) = (storm.ends.get(&(None, Some(9))), storm.ends.get(&(Some(0), None)));
    assert_eq!(
        killed.copied().unwrap_or(0) + ended.copied().unwrap_or(0),
        240,
        "{:?} {}",
        storm.ends,
        storm.errors
    );
    assert_eq!(storm.errors, "");
    let again = storm.said.lines().count();
    assert!(again <= storm.killed, "{again} found no slot free, after {} kills", storm.killed);
}
