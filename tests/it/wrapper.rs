//! What `pares run` and `pares peer run` have in common: signals, stops and deaths of each of the
//! processes, and odd environments. Each test does the same with a role, a permit and the role of
//! primary.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ground, PATIENCE, Proc, await_true, finish, state, stop};

/// The three ways to run a command.
const WAYS: [&str; 3] = [
    "run --when-supervisor",
    "run --permit slots --limit 1",
    "peer run --interval 400 --when-primary",
];

/// `pares` with a shell's script as the command, in a process group of its own: one that may be
/// stopped.
fn wrapped(ground: &Ground, way: &str, script: &str) -> Command {
    let words = way.split_whitespace().chain(["--", "bash", "-c", script]);
    let mut command = ground.command_of(words);
    command.process_group(0);
    command
}

/// The same, started by a shell that does something first.
fn wrapped_by_shell(ground: &Ground, first: &str, way: &str, last: &str, script: &str) -> Command {
    let mut command = ground.shell(&format!("{first}; exec $PARES {way} -- sh -c \"$0\" {last}"));
    command.arg(script).process_group(0);
    command
}

/// Says its process id, and then a line for each line of its standard input.
const ECHO: &str = "echo $$; while read line; do echo \"$line\"; done";

/// A running command that says its number first, and then as many lines as it is given.
fn started(ground: &Ground, way: &str, script: &str) -> (Proc, Pid) {
    let job = Proc::start(wrapped(ground, way, script));
    let cmd = pid(&job.line());
    (job, cmd)
}

fn pid(line: &str) -> Pid {
    Pid::from_raw(line.trim().parse().expect("a number")).expect("a process id")
}

/// Goes on for ever, waking up often, and ends by what it is told.
const WORK: &str = "echo $$; while :; do sleep 0.05; done";

#[track_caller]
fn is_stopped(process: Pid) {
    await_true("stopped", || state(process) == Some('T'));
}

#[track_caller]
fn runs(process: Pid) {
    await_true("running", || matches!(state(process), Some('R' | 'S' | 'D')));
}

#[track_caller]
fn is_gone(process: Pid) {
    await_true("gone", || matches!(state(process), None | Some('Z')));
}

/// Says the number of each signal that comes, except SIGCONT, which follows some.
const SIGNALS: &str = "\
import signal
caught = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
signal.pthread_sigmask(signal.SIG_BLOCK, caught)
print('ready', flush=True)
while True: print(int(signal.sigwait(caught)), flush=True)
";

#[test]
fn all_signals_that_can_be_caught_reach_the_command() {
    let ground = Ground::new();
    // KILL, CHLD, CONT and STOP are not meant; PIPE is what a process does to itself, and 32 and 33
    // are the C library's.
    let numbers = (1..=64).filter(|number| ![9, 13, 17, 18, 19, 32, 33].contains(number));
    for way in WAYS {
        let words = way.split_whitespace().chain(["--", "python3", "-c", SIGNALS]);
        let job = Proc::start(ground.command_of(words));
        assert_eq!(job.line(), "ready");
        for number in numbers.clone() {
            let kill = Command::new("bash")
                .args(["-c", &format!("kill -{number} {}", job.pid())])
                .status();
            assert!(kill.expect("bash").success());
            assert_eq!(job.line(), number.to_string(), "{way}");
        }
    }
}

#[test]
fn a_stop_by_job_control_stops_the_command_first_and_cont_continues_both() {
    let ground = Ground::new();
    for way in WAYS {
        for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            let (mut job, cmd) = started(&ground, way, WORK);
            let front = Pid::from_raw(job.pid() as i32).unwrap();
            job.signal(signal);
            is_stopped(front);
            is_stopped(cmd);
            // The role or permit is kept, and nobody has to wait for whoever is stopped.
            if !way.starts_with("peer") {
                ground.ask("ls").code(0);
            }
            job.signal(Signal::CONT);
            runs(cmd);
            runs(front);
            job.signal(Signal::TERM);
            assert_eq!(job.end_code(), 143, "{way}");
        }
    }
}

/// Goal: who stops `pares run` alone loses nothing, and nobody else begins.
#[test]
fn a_front_that_stands_still_leaves_the_command_as_it_is() {
    let ground = Ground::new();
    for way in WAYS {
        let mut command = wrapped(&ground, way, ECHO);
        command.stdin(std::process::Stdio::piped());
        let (mut job, mut input) = Proc::start_with_input(command);
        let cmd = pid(&job.line());
        job.stop();
        std::io::Write::write_all(&mut input, b"still here\n").unwrap();
        assert_eq!(job.line(), "still here");
        let other = format!("{} -w 3", way.split(" --interval").next().unwrap());
        if way.starts_with("run") {
            finish(wrapped(&ground, &other, "echo overlap")).code(124);
        }
        job.signal(Signal::CONT);
        drop(input);
        assert_eq!(job.end_code(), 0);
        is_gone(cmd);
    }
}

/// Goal: the command does not run while whoever knows whether it may stands still.
#[test]
fn a_guard_that_stands_still_takes_the_command_with_it_until_it_is_sure() {
    let ground = Ground::new();
    for way in WAYS {
        let (mut job, cmd) = started(&ground, way, WORK);
        let guard = job.only_child();
        stop(guard);
        is_stopped(cmd);
        kill_process(guard, Signal::CONT).unwrap();
        if way.starts_with("run") {
            runs(cmd);
            job.signal(Signal::TERM);
            assert_eq!(job.end_code(), 143);
        }
        // (A primary may have been away for longer than its lease.)
    }
}

#[test]
fn a_guard_that_is_killed_takes_the_command_with_it() {
    let ground = Ground::new();
    for way in WAYS {
        let (mut job, cmd) = started(&ground, way, "trap '' TERM; sleep 1000 & echo $$; wait");
        kill_process(job.only_child(), Signal::KILL).unwrap();
        assert_eq!(job.end_code(), 125, "{way}");
        is_gone(cmd);
        assert!(job.stderr().contains("which guarded bash, was killed"));
    }
}

#[test]
fn what_front_and_guard_leave_behind_when_both_are_killed_is_ended() {
    let ground = Ground::new();
    for way in WAYS {
        let (job, cmd) = started(&ground, way, "trap '' TERM; sleep 1000 & echo $$; wait");
        let guard = job.only_child();
        stop(guard); // so that it does not see the front's end
        job.kill();
        kill_process(guard, Signal::KILL).unwrap();
        is_gone(cmd);
    }
}

#[test]
fn a_command_that_stands_still_can_be_ended() {
    let ground = Ground::new();
    for way in WAYS {
        for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
            let (mut job, cmd) = started(&ground, way, "echo $$; exec sleep 1000");
            stop(cmd);
            job.signal(signal);
            assert_eq!(job.end_code(), code, "{way}");
        }
    }
}

#[test]
fn who_ignores_sigchld_hears_of_the_commands_end_all_the_same() {
    let ground = Ground::new();
    for way in WAYS {
        finish(wrapped_by_shell(&ground, "trap '' CHLD", way, "", "exit 7")).code(7);
    }
}

#[test]
fn signals_that_are_ignored_at_the_start_stay_ignored() {
    let ground = Ground::new();
    for way in WAYS {
        for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT), ("TERM", Signal::TERM)] {
            let script = "echo $$; kill -USR1 $$; sleep 1000";
            let first = format!("trap '' {name}");
            let mut job = Proc::start(wrapped_by_shell(&ground, &first, way, "", script));
            let cmd = pid(&job.line());
            job.signal(signal);
            _ = kill_process(cmd, signal); // it may have ended by then, by the other one
            assert_eq!(job.end_code(), 138, "{way}: {name}"); // by the signal that is not ignored
        }
    }
}

/// Goal: a full disk behind standard error, or a reader that has gone, changes neither code nor
/// course.
#[test]
fn standard_error_that_cannot_be_written_changes_nothing() {
    let ground = Ground::new();
    let cases = [
        ("run --when-supervisor -- /nonexistent", 127),
        ("run --permit other -- true", 4),
        ("get nosuchkey", 3),
        ("is-up nobody", 3),
    ];
    for (words, code) in cases {
        for stderr in ["2>/dev/full", "2>&-", "2> >(exec <&-; sleep 0.1)"] {
            let mut command = Command::new("bash");
            let of_ground = ground.command("");
            command.envs(of_ground.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.args(["-c", &format!("{} {words} {stderr}", env!("CARGO_BIN_EXE_pares"))]);
            assert_eq!(finish(command).code, code, "{words} {stderr}");
        }
    }
    // A permit that is taken away: the command gets SIGTERM, and its time.
    let script = "trap 'echo tidy; exit' TERM; echo ready; while :; do sleep 0.05; done";
    let way = format!("{} --name job", WAYS[1]);
    let mut job = Proc::start(wrapped_by_shell(&ground, "exec 2>/dev/full", &way, "", script));
    assert_eq!(job.line(), "ready");
    ground.ask("revoke slots job").code(0);
    assert_eq!(job.line(), "tidy");
    assert_eq!(job.end_code(), 125);
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell() {
    let ground = Ground::new();
    let script = ground.directory.join("script");
    ground.make_program("echo 'echo ran $1' > \"$1\"", &script);
    for way in WAYS {
        let words = way.split_whitespace().chain(["--", script.to_str().unwrap(), "a b"]);
        assert_eq!(finish(ground.command_of(words)).code(0).out, "ran a b\n");
    }
}

#[test]
fn a_service_manager_is_told_when_the_command_begins_and_what_is_meant_for_it_is_for_the_command() {
    let ground = Ground::new();
    for way in WAYS {
        let path = ground.directory.join("notify");
        _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let script = "export LISTEN_PID=$$ WATCHDOG_PID=$$; exec $PARES \"$@\"";
        let mut command = ground.shell(script);
        command.arg("sh").args(way.split_whitespace());
        command
            .args(["--", "sh", "-c", "echo $$ $LISTEN_PID $WATCHDOG_PID"])
            .env("NOTIFY_SOCKET", &path);
        let out = finish(command).code(0).out;
        let numbers: Vec<&str> = out.split_whitespace().collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|number| *number == numbers[0]), "{out}");
        let mut said = Vec::new();
        while !said.iter().any(|text: &String| text.contains("READY=1")) {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).expect("a message");
            said.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        assert!(said[0].starts_with("STATUS=waiting"), "{said:?}");
    }
}

#[test]
fn a_command_that_nothing_can_guard_runs_only_if_that_is_wanted() {
    let ground = Ground::new();
    let file = ground.directory.join("file");
    fs::write(&file, "no directory").unwrap();
    for way in WAYS {
        let unusable = |way: &str| {
            let mut command = wrapped(&ground, way, "echo ran as ${PARES_NAME-nobody}; exit 5");
            command.env("PARES_DIR", &file).env("PARES_NAME", "another");
            finish(command)
        };
        assert_eq!(unusable(way).out, "", "{way}");
        let without = unusable(&format!("{way} --or-without")).code(5).says("without a guard");
        assert_eq!(without.out, "ran as nobody\n");
    }
    // That somebody else has it is no reason to run.
    let _one = ground.join("one");
    finish(wrapped(&ground, "run --when-supervisor -n --or-without", "echo ran")).code(75);
}

#[test]
fn the_limit_of_each_holder_can_be_given() {
    let ground = Ground::new();
    let run = |units: &str| format!("run --permit slots={units} --limit 4 --per-holder 2 -n");
    finish(wrapped(&ground, &run("2"), "exit 0")).code(0);
    finish(wrapped(&ground, &run("3"), "exit 0")).code(75);
}

#[test]
fn another_group_inside_is_found_by_its_name_and_a_port_of_elsewhere_is_none() {
    let ground = Ground::new();
    let inner =
        format!("$PARES -g inner-{} run --permit x --limit 1 -- echo ran", std::process::id());
    for way in WAYS {
        let mut command = wrapped(&ground, way, &inner);
        command.env("PARES", env!("CARGO_BIN_EXE_pares"));
        assert_eq!(finish(command).code(0).out, "ran\n", "{way}");
    }
    for (port, words, code) in [
        ("", "-g nobody-here ls", 3),
        ("tcp://192.0.2.7:80", "completions bash", 0),
        ("tcp://192.0.2.7:80", "-g nobody-here ls", 3),
        ("tcp://192.0.2.7:80", "ls", 2),
    ] {
        let mut command = ground.command(words);
        command.env("PARES_PORT", port);
        let answer = finish(command).code(code);
        assert!(code != 2 || answer.err.contains("PARES_PORT"), "{answer:?}");
    }
    let mut command = ground.command("peer ls --wait 100");
    command.env("PARES_SERVICE", "").env("PARES_GROUP", "");
    finish(command).code(3);
}

/// Goal: before its turn a command begins by no signal; those that end, end `pares run`; a stop is
/// only a stop.
#[test]
fn one_that_waits_stops_and_ends_by_signals_and_nothing_begins_meanwhile() {
    let ground = Ground::new();
    let one = ground.join("one");
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)]
    {
        let mut job =
            Proc::start(wrapped(&ground, "run --when-supervisor --name job", "echo begun"));
        await_true("registered", || ground.names().contains(&"job".to_owned()));
        job.signal(Signal::USR1); // for a command that does not run yet
        job.signal(signal);
        assert_eq!((job.end_code(), job.try_line()), (code, None));
        await_true("gone", || !ground.names().contains(&"job".to_owned()));
    }
    let mut job = Proc::start(wrapped(&ground, "run --when-supervisor --name job", "echo begun"));
    await_true("registered", || ground.names().contains(&"job".to_owned()));
    job.signal(Signal::TSTP);
    is_stopped(Pid::from_raw(job.pid() as i32).unwrap());
    one.kill();
    await_true("supervisor", || ground.ask("is-supervisor job").code == 0);
    job.says_nothing_for(std::time::Duration::from_millis(300));
    job.signal(Signal::CONT);
    assert_eq!(job.line(), "begun");
    assert_eq!(job.end_code(), 0);
}

/// Goal: a command that is stopped by somebody else stays stopped, and what it needs stays held.
#[test]
fn a_command_that_somebody_has_stopped_keeps_what_it_holds() {
    let ground = Ground::new();
    for way in WAYS {
        let (mut job, cmd) = started(&ground, way, WORK);
        stop(cmd);
        if way.starts_with("run") {
            finish(wrapped(&ground, &format!("{way} -w 0.3"), "echo overlap")).code(124);
        }
        job.signal(Signal::USR1); // pending
        assert_eq!(state(cmd), Some('T'));
        job.signal(Signal::CONT);
        assert_eq!(job.end_code(), 138, "{way}"); // by that signal
    }
}

#[test]
fn a_killed_front_ends_the_command_before_anybody_else_begins() {
    let ground = Ground::new();
    let lock = ground.directory.join("lock").display().to_string();
    let script =
        format!("exec 9>{lock}; flock -n 9 || echo overlap; trap '' TERM; echo begun; sleep 1000");
    for way in WAYS {
        let one = Proc::start(wrapped(&ground, way, &script));
        assert_eq!(one.line(), "begun");
        let two = Proc::start(wrapped(&ground, way, &script));
        one.kill();
        assert_eq!(two.line(), "begun", "{way}");
        two.kill();
    }
}
