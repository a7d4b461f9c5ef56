//! `pares run`: one command at a time, and nothing of it outlives its instance.

use std::process::Command;

use rustix::process::Signal;

use crate::support::{Ground, Proc, exit_code, finish};

/// `pares run --when-supervisor` with these options, and a shell script as the command.
fn run(ground: &Ground, options: &str, script: &str) -> Command {
    let options = options.split_whitespace();
    ground.command_of(
        ["run", "--when-supervisor"].into_iter().chain(options).chain(["--", "sh", "-c", script]),
    )
}

fn start(ground: &Ground, options: &str, script: &str) -> Proc {
    Proc::start(run(ground, options, script))
}

/// Waits until nobody has the standard error of a command open: it and all that it started, except
/// the guard.
#[track_caller]
fn all_gone(process: &Proc) {
    process.stderr();
}

/// A script of which no part ends by a signal that can be caught; it starts a process that starts
/// one.
const STUBBORN: &str = "trap '' TERM INT HUP; sh -c 'sleep 1000 & wait' & echo started; wait";

#[test]
fn the_commands_exit_code_is_the_exit_code() {
    let ground = Ground::new();
    for code in [0, 1, 7, 125, 255] {
        finish(run(&ground, "", &format!("exit {code}"))).code(code).silent();
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        finish(run(&ground, "", &format!("kill -{signal} $$"))).code(code);
    }
    ground.ask("run --when-supervisor -- /nonexistent").code(127).says("cannot run /nonexistent");
    ground.ask("run --when-supervisor -- /etc/passwd").code(126).says("cannot run /etc/passwd");
}

#[test]
fn the_command_finds_its_instance_in_the_environment() {
    let ground = Ground::new();
    let script = "echo $PARES_NAME $PARES_ROLE $PARES_TERM $PARES_GROUP $PARES_PORT";
    let mut command = run(&ground, "--name job", script);
    let port = ground.port.to_string();
    command.env_remove("PARES_GROUP").env_remove("PARES_PORT").args(["ignored"]);
    command.env("PARES_GROUP", "it").env("PARES_PORT", &port);
    assert_eq!(finish(command).code(0).out, format!("job supervisor 1 it {port}\n"));
    // Options instead of the environment reach it too, so that a nested `pares` finds the same
    // group.
    let pares = env!("CARGO_BIN_EXE_pares");
    let mut command = ground.command_of([
        "-g",
        "nested",
        "run",
        "--when-supervisor",
        "--name",
        "job",
        "--",
        pares,
        "ls",
    ]);
    command.env_remove("PARES_GROUP");
    assert!(finish(command).code(0).out.starts_with("job\tsupervisor\t"));
}

#[test]
fn the_command_has_the_standard_streams() {
    let ground = Ground::new();
    let answer = finish(run(&ground, "", "cat; echo data; echo message >&2")).code(0);
    assert_eq!((answer.out.as_str(), answer.err.as_str()), ("data\n", "message\n"));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let ground = Ground::new();
    let traps = "for s in HUP INT QUIT USR1 USR2; do trap \"echo $s\" $s; done; trap 'echo TERM; \
                 exit 9' TERM";
    let mut job = start(
        &ground,
        "",
        &format!("{traps}; echo started; while :; do sleep 1000 & wait $!; done"),
    );
    assert_eq!(job.line(), "started");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::TERM, "TERM"),
    ] {
        job.signal(signal);
        assert_eq!(job.line(), name);
    }
    assert_eq!(job.end_code(), 9);
    all_gone(&job);
}

#[test]
fn a_signal_ends_one_that_still_waits() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let mut job = start(&ground, "--name job", "echo started");
    crate::support::await_true("registered", || ground.names().contains(&"job".to_owned()));
    job.signal(Signal::USR1); // is for the command
    job.signal(Signal::TERM);
    assert_eq!(job.end_code(), 143);
    assert_eq!(job.try_line(), None);
}

#[test]
fn who_does_not_want_to_wait_is_told_75_or_124() {
    let ground = Ground::new();
    let _one = ground.join("one");
    finish(run(&ground, "-n", "echo started")).code(75).says("another instance is supervisor");
    finish(run(&ground, "-w 0.1", "echo started"))
        .code(124)
        .says("did not become supervisor in time");
    let free = Ground::new();
    assert_eq!(finish(run(&free, "-n", "echo started")).code(0).out, "started\n");
    assert_eq!(finish(run(&free, "-w 30", "echo started")).code(0).out, "started\n");
}

#[test]
fn one_that_is_asked_to_leave_before_its_turn_ends_with_3() {
    let ground = Ground::new();
    let _one = ground.join("one");
    let mut job = start(&ground, "--name job", "echo started");
    crate::support::await_true("registered", || ground.names().contains(&"job".to_owned()));
    ground.ask("stop job").code(0);
    assert_eq!(job.end_code(), 3);
    assert_eq!(job.try_line(), None);
}

/// Goal: the command runs on one instance; when that is killed, on one other. Method: three of
/// them; whose command has begun says so; the registry says who else is supervisor.
#[test]
fn a_killed_instances_work_goes_on_elsewhere() {
    let ground = Ground::new();
    let script = "echo $PARES_NAME $PARES_TERM; sleep 1000";
    let one = start(&ground, "--name one", script);
    assert_eq!(one.line(), "one 1");
    let others = [start(&ground, "--name two", script), start(&ground, "--name three", script)];
    crate::support::await_true("registered", || ground.names().len() == 3);
    one.kill();
    crate::support::await_true("elected", || {
        let status = ground.admin().status();
        status.is_ok_and(|status| status.term == 2)
    });
    let main = ground.ask("status main").code(0).out;
    let next = if main.contains("name\ttwo\n") { 0 } else { 1 };
    assert_eq!(others[next].line(), ["two 2", "three 2"][next]);
    let [two, three] = others;
    let (new, last) = if next == 0 { (two, three) } else { (three, two) };
    new.kill();
    // Had it begun before, this would not be the first it says.
    assert_eq!(last.line(), ["three 3", "two 3"][next]);
}

/// Goal: in an orderly hand-over two commands never run at once. Method: the command holds a lock
/// as long as anything of it lives, and says so if it finds it taken; it ends slowly.
#[test]
fn stepping_down_moves_the_work_without_overlap() {
    let ground = Ground::new();
    let lock = ground.directory.join("lock").display().to_string();
    let work =
        "trap 'echo ending; exit' TERM; echo started; while :; do sleep 1000 & wait $!; done";
    let script = format!("exec 9> {lock}; flock -n 9 || echo overlap; {work}");
    let mut old = start(&ground, "--name job-0", &script);
    assert_eq!(old.line(), "started");
    for turn in 1..=5 {
        let new = start(&ground, &format!("--name job-{turn}"), &script);
        crate::support::await_true("registered", || ground.names().len() == 2);
        assert_eq!(ground.ask("step-down").code(0).out, format!("job-{turn}\n"));
        assert_eq!(new.line(), "started");
        assert_eq!(old.line(), "ending");
        assert_eq!(old.end_code(), 125);
        all_gone(&old);
        old = new;
    }
}

/// Goal: when the role ends, the whole group gets its time to end and is then killed.
/// Method: a command that ignores SIGTERM, as do its children; all of them hold standard error.
#[test]
fn a_command_that_does_not_end_is_killed_with_all_its_children() {
    let ground = Ground::new();
    let mut job = start(&ground, "--name job --kill-after 0.2", STUBBORN);
    assert_eq!(job.line(), "started");
    ground.ask("stop job").code(0);
    assert_eq!(job.end_code(), 125);
    all_gone(&job);
}

#[test]
fn a_command_that_has_left_the_process_group_is_ended_too() {
    let ground = Ground::new();
    let words = [
        "run",
        "--when-supervisor",
        "--name",
        "job",
        "--",
        "setsid",
        "sh",
        "-c",
        "echo started; exec sleep 1000",
    ];
    let mut job = Proc::start(ground.command_of(words));
    assert_eq!(job.line(), "started");
    ground.ask("stop job").code(0);
    assert_eq!(job.end_code(), 125);
    all_gone(&job);
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let ground = Ground::new();
    let mut job = start(
        &ground,
        "",
        "trap '' TERM; sleep 1000 & sh -c 'sleep 1000 & exit' & echo started; exit 5",
    );
    assert_eq!(job.line(), "started");
    assert_eq!(job.end_code(), 5);
    all_gone(&job);
}

/// Goal: no command without its instance, however that dies. Method: SIGKILL `pares run`; its
/// command and the command's children ignore what they can, and hold standard error.
#[test]
fn nothing_outlives_an_instance_that_is_killed() {
    let ground = Ground::new();
    for _ in 0..5 {
        let job = start(&ground, "", STUBBORN);
        assert_eq!(job.line(), "started");
        job.signal(Signal::KILL);
        all_gone(&job);
    }
}

/// Goal: there is no moment at which the command runs and the guard does not watch. Method: SIGKILL
/// `pares run` after ever longer spins, from before it has started anything to after.
#[test]
fn nothing_outlives_an_instance_that_is_killed_while_it_starts() {
    let ground = Ground::new();
    for step in 0..60 {
        let job = start(&ground, "", STUBBORN);
        let moment = std::time::Instant::now() + std::time::Duration::from_micros(step * 300);
        while std::time::Instant::now() < moment {
            std::hint::spin_loop();
        }
        job.signal(Signal::KILL);
        all_gone(&job);
    }
}

/// Goal: on a terminal a command that reads is not stopped for ever.
/// Method: `script` gives it a terminal.
#[test]
fn a_command_on_a_terminal_finds_its_input_empty() {
    let ground = Ground::new();
    let mut command = Command::new("script");
    command.args([
        "-qec",
        &format!("{} run --when-supervisor -- cat", env!("CARGO_BIN_EXE_pares")),
        "/dev/null",
    ]);
    let of_ground = ground.command("");
    command.envs(of_ground.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut job = Proc::start(command);
    assert_eq!(exit_code(job.end()), 0);
}
