//! `run --permit`: a command that runs with a permit.

use rustix::process::{Signal, kill_process};

use super::{all_gone, await_waiting, declare, permit, start};
use crate::support::{Ground, Proc, finish, stop};

const STUBBORN: &str = "trap '' TERM INT HUP; sh -c 'sleep 1000 & wait' & echo started; wait";

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
        .says("exceed its limit of 4");
}

#[test]
fn who_does_not_want_to_wait_for_a_permit_is_told_75_or_124() {
    let ground = Ground::new();
    let job = start(&ground, "slots=3 --limit 4 --name job", "echo started; sleep 1000");
    assert_eq!(job.line(), "started");
    finish(permit(&ground, "slots=2 --limit 4 -n", "echo started"))
        .code(75)
        .says("2 of `slots` are not available now");
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
        (None, "pares: asked to leave before CMD ran\n".into())
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
