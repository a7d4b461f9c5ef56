//! `pares run` on a terminal: what a user of a shell with job control sees. A real shell, on a real
//! terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use pares::channel::{Receiver, unbounded};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Ground, PATIENCE};

/// An interactive shell that leads a session on a terminal of its own; gone with the test.
struct Shell {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Shell {
    fn new(ground: &Ground, arguments: &[&str]) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let terminal =
            File::from(open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "bash", "--norc", "--noprofile"]).args(arguments);
        let of_ground = ground.command("");
        command.envs(of_ground.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PARES", env!("CARGO_BIN_EXE_pares")).env("PS1", "> ").env("TERM", "dumb");
        let stdio = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let keyboard = File::from(keyboard);
        let mut reader = keyboard.try_clone().unwrap();
        let (tell, screen) = unbounded();
        let read = move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                _ = tell.send(bytes[..length].to_vec());
            }
        };
        thread::Builder::new().name("screen".into()).spawn(read).unwrap();
        Shell { keyboard, screen, seen: String::new(), child }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is on the screen, behind all that was waited for before.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.screen.recv_deadline(deadline) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is not on the screen: {:?}", self.seen),
            }
        }
    }

    /// All that comes on the screen until the shell has ended.
    #[track_caller]
    fn rest(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(bytes) = self.screen.recv_deadline(deadline) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(Instant::now() < deadline, "the shell does not end: {:?}", self.seen);
        self.seen.clone()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

const WAYS: [&str; 3] = [
    "run --when-supervisor",
    "run --permit slots --limit 1",
    "peer run --interval 400 --when-primary",
];

/// Goal: Ctrl-Z stops the job whole, nobody else of the group has to wait for it, and `fg`
/// continues it.
#[test]
fn ctrl_z_stops_the_whole_job_and_fg_continues_it() {
    for way in WAYS {
        let ground = Ground::new();
        let mut shell = Shell::new(&ground, &["-i"]);
        shell.types(&format!("$PARES {way} -- sh -c 'while :; do echo ti''ck; sleep 0.1; done'\n"));
        shell.shows("tick");
        shell.types("\x1a");
        shell.shows("Stopped");
        if way.starts_with("run") {
            assert!(ground.ask("ls").code(0).out.contains("supervisor"));
        }
        shell.types("echo qui''et\n");
        shell.shows("quiet");
        shell.types("fg\n");
        shell.shows("tick");
        shell.shows("tick");
        shell.types("\x03");
        shell.shows("> ");
        shell.types("echo co''de $?\n");
        shell.shows("code 130");
    }
}

/// Goal: a command that asks on the terminal gets its answer, and may be stopped and continued
/// while it does.
#[test]
fn a_command_that_reads_from_the_terminal_gets_it() {
    for way in WAYS {
        let ground = Ground::new();
        let mut shell = Shell::new(&ground, &["-i"]);
        let script = "stty -echo </dev/tty; echo as''king; read a </dev/tty; stty echo </dev/tty; \
                      echo \"got $a\"";
        shell.types(&format!("$PARES {way} -- sh -c '{}'\n", script.replace("''", "\"\"")));
        shell.shows("asking\r\n");
        shell.types("\x1a");
        shell.shows("Stopped");
        shell.types("fg\n");
        shell.types("answer\n");
        shell.shows("got answer");
        shell.shows("> ");
        shell.types("echo co''de $?\n");
        shell.shows("code 0");
    }
}

/// Goal: in the background it waits for the terminal as any job does.
#[test]
fn a_job_in_the_background_that_wants_the_terminal_stops_until_it_has_it() {
    let ground = Ground::new();
    let mut shell = Shell::new(&ground, &["-i"]);
    shell.types("set -b\n");
    shell.types("$PARES run --when-supervisor -- sh -c 'read a; echo \"got $a\"' &\n");
    // The shell tells of it by itself with `set -b`.
    shell.shows("Stopped");
    shell.types("fg\n");
    shell.types("answer\n");
    shell.shows("got answer");
}

/// Goal: Ctrl-C ends a loop of a script, whoever has the terminal at that moment.
#[test]
fn ctrl_c_ends_the_loop_around_it() {
    // Of a shell that is about to start a process, Ctrl-C ends neither: dash waits for that first.
    for script in
        ["echo item; exec sleep 1000", "stty -echo </dev/tty; echo item; read a </dev/tty"]
    {
        let ground = Ground::new();
        let run = format!(
            "for i in 1 2 3; do $PARES run --permit x --limit 1 -- sh -c '{script}'; done; echo all"
        );
        let mut shell = Shell::new(&ground, &["-c", &run]);
        shell.shows("item");
        shell.types("\x03");
        let rest = shell.rest();
        assert!(!rest.contains("item") && !rest.contains("all"), "{rest:?}");
    }
}

/// Goal: the other end of a pipe keeps the terminal, and the keys reach all of the pipe.
#[test]
fn a_pipe_is_one_job() {
    let ground = Ground::new();
    let mut shell = Shell::new(&ground, &["-i"]);
    shell.types(
        "$PARES run --when-supervisor -- sh -c 'while :; do echo ti\"\"ck; sleep 0.1; \
                 done' | cat\n",
    );
    shell.shows("tick\r\n");
    shell.types("\x1a");
    shell.shows("Stopped");
    shell.types("fg\n");
    shell.shows("tick\r\n");
    shell.shows("tick\r\n");
    shell.types("\x03");
    shell.shows("> ");
    shell.types("echo en''ded\n");
    shell.shows("ended\r\n");
}
