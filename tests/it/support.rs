//! Processes that end with their test, and waiting with a deadline.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, RecvTimeoutError, unbounded};
use pares::{Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::raw::free_port;

/// The deadline of every wait for what must come: only a defect reaches it, however busy the
/// machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Asserts that what can be late on a busy machine is in time once. A defect makes it late each
/// time.
#[track_caller]
pub(crate) fn in_time_once(limit: Duration, mut what: impl FnMut() -> Duration) {
    right_once(|| {
        let took = what();
        if took < limit { Ok(()) } else { Err(format!("{took:?} instead of {limit:?}")) }
    });
}

/// Asserts that what a stall of a busy machine can spoil is right once. A defect makes it wrong
/// each time.
#[track_caller]
pub(crate) fn right_once(mut what: impl FnMut() -> Result<(), String>) {
    let wrong: Vec<String> = (0..8).map_while(|_| what().err()).collect();
    assert!(wrong.len() < 8, "wrong each time: {wrong:?}");
}

/// What this process ignores since its start, as after `nohup` or in the background of a script,
/// all that it starts would ignore too, and no test could end them by Ctrl-C. A handler that does
/// nothing is as good here, and not passed on.
fn mind_signals() {
    use signal_hook::consts::{
        SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored =
            status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim();
        let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
        let all = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2];
        for signal in all.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            signal_hook::flag::register(signal, Arc::default()).expect("a handler");
        }
    });
}

/// The group all tests use; their directories and ports keep them apart.
pub(crate) const GROUP: &str = "it";

/// A group of its own for one test: directory, key and port. Gone with the test.
pub(crate) struct Ground {
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    _removed_at_the_end: TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Ground::on_port(free_port())
    }

    pub(crate) fn on_port(port: u16) -> Self {
        mind_signals();
        let mut directory = tempfile::Builder::new();
        // Whatever the mask: one that a group can write is refused, and a database server, another
        // user, has its place inside.
        directory.prefix("pares-it-").permissions(fs::Permissions::from_mode(0o711));
        let directory = directory.tempdir().expect("a directory for the test");
        Ground { port, directory: directory.path().to_owned(), _removed_at_the_end: directory }
    }

    /// A copy of the command here, for a user who may not see where it was built.
    pub(crate) fn copy_of_command(&self) -> PathBuf {
        let path = self.directory.join("pares");
        self.make_program("cp \"$PARES\" \"$1\"", &path);
        path
    }

    /// Has a shell's script write the program `$1`. Not this process: another of its threads may
    /// begin a child meanwhile, which has the file open for writing until it becomes what it is to
    /// be, and so long nobody may execute it.
    pub(crate) fn make_program(&self, script: &str, path: &Path) {
        let mut command = self.shell(&format!("{script} && chmod 755 \"$1\""));
        command.arg("sh").arg(path);
        finish(command).code(0);
    }

    /// A shell's script in this group, in which `$PARES` is the command.
    pub(crate) fn shell(&self, script: &str) -> Command {
        self.with_environment(Command::new("sh"), script)
    }

    /// The same in namespaces of its own, see `unshare`.
    pub(crate) fn shell_in(&self, namespaces: &str, script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(namespaces.split(' ')).arg("sh");
        self.with_environment(command, script)
    }

    fn with_environment(&self, mut command: Command, script: &str) -> Command {
        command.args(["-c", script]).env("PARES", env!("CARGO_BIN_EXE_pares")).stdin(Stdio::null());
        command
            .env("PARES_DIR", &self.directory)
            .env("PARES_GROUP", GROUP)
            .env("PARES_PORT", self.port.to_string());
        command
    }

    /// The command in this group, with these words as arguments.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.command_of(arguments.split_whitespace())
    }

    pub(crate) fn command_of<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pares"));
        command.args(arguments);
        command
            .env("PARES_DIR", &self.directory)
            .env("PARES_GROUP", GROUP)
            .env("PARES_PORT", self.port.to_string());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the command; its output is read line by line.
    pub(crate) fn start(&self, arguments: &str) -> Proc {
        Proc::start(self.command(arguments))
    }

    /// An instance of this name, which has a role.
    pub(crate) fn join(&self, name: &str) -> Proc {
        let instance = self.start(&format!("join --json --name {name}"));
        instance.role();
        instance
    }

    /// Runs the command to its end.
    pub(crate) fn ask(&self, arguments: &str) -> Answer {
        finish(self.command(arguments))
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(GROUP).port(self.port).state_directory(&self.directory).answer_timeout(PATIENCE)
    }

    pub(crate) fn admin(&self) -> Client {
        Client::new(&self.config()).expect("an admin")
    }

    /// The names in the registry.
    pub(crate) fn names(&self) -> Vec<String> {
        let listing = self.admin().list().expect("a registry");
        listing.entries.into_iter().map(|entry| entry.name).collect()
    }
}

/// What a command that has ended has said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code, and gives the rest.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Checks that the error message has this in it.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        self
    }

    /// Checks that neither data nor message came.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert_eq!((self.out.as_str(), self.err.as_str()), ("", ""));
        self
    }
}

/// Runs a command to its end, with all it says.
#[track_caller]
pub(crate) fn finish(command: Command) -> Answer {
    let mut process = Proc::start(command);
    let mut out = String::new();
    while let Some(line) = process.try_line() {
        out.push_str(&line);
        out.push('\n');
    }
    let status = process.end();
    Answer { code: exit_code(status), out, err: process.stderr() }
}

/// The exit code, or what a shell makes of a signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A running command. Dropping it kills and reaps it.
pub(crate) struct Proc {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
    /// Events that were read while another was waited for: events of different sources come in any
    /// order.
    skipped: Mutex<Vec<Value>>,
}

impl Proc {
    #[track_caller]
    pub(crate) fn start(command: Command) -> Self {
        Proc::launch(command).0
    }

    /// A program that is no instance, listens there, and takes and says nothing. This process is
    /// none such: other tests have instances in it.
    #[track_caller]
    pub(crate) fn mute(ip: Ipv4Addr, port: u16) -> Self {
        const PROGRAM: &str = "import signal, socket, sys\n\
            s = socket.socket()\n\
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
            s.bind((sys.argv[1], int(sys.argv[2])))\n\
            s.listen()\n\
            print('listening', flush=True)\n\
            signal.pause()";
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM, &ip.to_string(), &port.to_string()]);
        let holder = Proc::start(command);
        assert_eq!(holder.line(), "listening");
        holder
    }

    /// One that reads what it is told; the command's standard input is piped.
    #[track_caller]
    pub(crate) fn start_with_input(command: Command) -> (Self, ChildStdin) {
        let (process, stdin) = Proc::launch(command);
        (process, stdin.expect("piped"))
    }

    #[track_caller]
    fn launch(mut command: Command) -> (Self, Option<ChildStdin>) {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let (tell, lines) = unbounded();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        read_on("lines", move || {
            _ = out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let (tell, errors) = unbounded();
        let mut err = child.stderr.take().expect("piped");
        read_on("errors", move || {
            let mut bytes = Vec::new();
            _ = err.read_to_end(&mut bytes);
            _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        let stdin = child.stdin.take();
        (Proc { child, lines, errors, skipped: Mutex::default() }, stdin)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its output, for waiting on several at once.
    pub(crate) fn lines(&self) -> &Receiver<String> {
        &self.lines
    }

    /// Lets time pass in which it prints nothing.
    #[track_caller]
    pub(crate) fn says_nothing_for(&self, time: Duration) {
        assert_eq!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout));
    }

    /// The next line of output; `None` if there will be none.
    #[track_caller]
    pub(crate) fn try_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("process {} says nothing", self.pid()),
        }
    }

    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.try_line().unwrap_or_else(|| panic!("process {} ended: {}", self.pid(), self.stderr()))
    }

    /// The next event of `--json`.
    #[track_caller]
    pub(crate) fn event(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The first event of this kind that was not waited for yet.
    #[track_caller]
    pub(crate) fn expect_event(&self, kind: &str) -> Value {
        self.expect(|event| event["event"] == kind)
    }

    /// The first event that is as wanted and was not waited for yet.
    #[track_caller]
    pub(crate) fn expect(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut skipped = self.skipped.lock().expect("no panic meanwhile");
        if let Some(at) = skipped.iter().position(&wanted) {
            return skipped.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_deadline(deadline);
            let line = line.unwrap_or_else(|end| {
                panic!("process {} has only said {skipped:?}: {end}", self.pid())
            });
            let event =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if wanted(&event) {
                return event;
            }
            skipped.push(event);
        }
    }

    /// Waits until it has been told of another instance: it cannot tell the end of what it has not
    /// seen.
    #[track_caller]
    pub(crate) fn sees(&self, other: &str) {
        self.expect(|event| event["event"] == "joined" && event["name"] == other);
    }

    /// The next `supervisor` or `subordinate` event.
    #[track_caller]
    pub(crate) fn role(&self) -> Value {
        self.expect(|event| event["event"] == "supervisor" || event["event"] == "subordinate")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a living process");
    }

    /// SIGKILL: it gets no chance to say goodbye. Reaped when this returns.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.end();
    }

    /// Stops it as nothing can prevent; returns when it stands still.
    pub(crate) fn stop(&self) {
        stop(Pid::from_child(&self.child));
    }

    /// Its child, of which it has one: the guard of a `pares run`.
    #[track_caller]
    pub(crate) fn only_child(&self) -> Pid {
        let [child] = children(self.pid())[..] else {
            panic!("process {} has not one child", self.pid())
        };
        child
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} does not end", self.pid());
            thread::yield_now();
        }
    }

    /// Waits for its end, and gives the exit code.
    #[track_caller]
    pub(crate) fn end_code(&mut self) -> i32 {
        exit_code(self.end())
    }

    /// Asks it to end, and waits until it has; checks that this is no failure.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.end_code(), 0, "{}", self.stderr());
    }

    /// All it has said on standard error, once that is closed.
    #[track_caller]
    pub(crate) fn stderr(&self) -> String {
        self.errors.recv_timeout(PATIENCE).expect("the end of standard error")
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Stops a process as nothing can prevent; returns when it stands still.
pub(crate) fn stop(process: Pid) {
    kill_process(process, Signal::STOP).expect("a living process");
    await_true("stopped", || state(process) == Some('T'));
}

/// What a process does at the moment, as `ps` has it: R, S, T, Z …; `None` if there is no such
/// process.
pub(crate) fn state(process: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The children of a process, of all its threads.
pub(crate) fn children(process: u32) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let numbers: Vec<i32> = lists
        .flat_map(|list| list.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect();
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

/// Looks until something is true that nobody tells.
#[track_caller]
pub(crate) fn await_true(what: &str, is_it: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_it() {
        assert!(Instant::now() < deadline, "never {what}");
        thread::yield_now();
    }
}

fn read_on(name: &str, read: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.into()).spawn(read).expect("a thread");
}

/// Who uses how much, for a comparison.
pub(crate) fn units(holders: &[pares::Holder]) -> Vec<(String, u64)> {
    holders.iter().map(|one| (one.name.clone(), one.units)).collect()
}
