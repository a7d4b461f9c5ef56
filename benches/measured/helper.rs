//! Other processes of the bench: they end with the value that holds them, also when the bench
//! panics, and with the bench itself, for each of them ends when its standard input does.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::drive::now;

/// Longer than any step takes on a busy machine; only a defect reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// This program in another part.
pub(crate) fn part(name: &str, arguments: &[&dyn Display]) -> Command {
    let mut command = Command::new(env::current_exe().expect("own path"));
    command.arg(name).args(arguments.iter().map(|one| one.to_string()));
    command
}

/// A process that has said that it is ready.
pub(crate) struct Helper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it has said with that.
    pub(crate) number: u64,
}

impl Helper {
    pub(crate) fn start(command: Command) -> Self {
        let mut helper = Self::begin(command);
        helper.await_ready();
        helper
    }

    /// Several at once: all begin before the first is waited for.
    pub(crate) fn start_all(commands: impl IntoIterator<Item = Command>) -> Vec<Self> {
        let mut helpers: Vec<Self> = commands.into_iter().map(Self::begin).collect();
        helpers.iter_mut().for_each(Self::await_ready);
        helpers
    }

    fn begin(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process of the bench");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Helper { child, orders, answers, number: 0 }
    }

    fn await_ready(&mut self) {
        let line = self.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() == 3 && words[0] == "ready", "{line:?} from a process of the bench");
        self.number = words[2].parse().expect("a number");
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        line
    }

    pub(crate) fn port(&self) -> u16 {
        self.number as u16
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for its numbers.
    pub(crate) fn ask(&mut self, word: &str, number: u64) -> Vec<u64> {
        self.order(word, number);
        self.answer()
    }

    /// The first half of [`ask`](Helper::ask), so that several can have their orders before the
    /// first is waited for.
    pub(crate) fn order(&mut self, word: &str, number: u64) {
        writeln!(self.orders.as_mut().expect("open"), "{word} {number}").expect("give an order");
    }

    /// The second half.
    pub(crate) fn answer(&mut self) -> Vec<u64> {
        let line = self.line();
        assert!(!line.is_empty(), "a process of the bench has died");
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    }

    /// Says when it was killed.
    pub(crate) fn kill(&mut self) -> u64 {
        let killed = now();
        self.child.kill().expect("kill");
        killed
    }

    /// Ends it by closing its standard input: the part `guard` ends its own child first.
    pub(crate) fn end_in_order(&mut self) {
        self.orders = None;
        _ = self.child.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What a process of a crowd says: who, what, when, how many.
pub(crate) type Said = (usize, String, u64, u64);

/// Processes of one kind, of which one may lead; what they say comes in on one channel.
pub(crate) struct Crowd {
    children: BTreeMap<usize, Child>,
    next: usize,
    leader: Option<usize>,
    said: Receiver<Said>,
    sayer: Sender<Said>,
}

impl Crowd {
    /// Starts them, and waits until each has said that it is present, and one that it leads.
    pub(crate) fn start(size: usize, led: bool, command: &dyn Fn() -> Command) -> Self {
        let (sayer, said) = channel();
        let mut crowd = Crowd { children: BTreeMap::new(), next: 0, leader: None, said, sayer };
        for _ in 0..size {
            crowd.add(command());
        }
        let mut present = 0;
        while present < size || (led && crowd.leader.is_none()) {
            let (who, what, ..) = crowd.hear();
            present += usize::from(what == "present");
            if what == "leader" {
                crowd.leader = Some(who);
            }
        }
        crowd
    }

    fn add(&mut self, mut command: Command) {
        let who = self.next;
        self.next += 1;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process of the bench");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let sayer = self.sayer.clone();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |at: usize| words[at].parse().expect("a number");
                _ = sayer.send((who, words[0].to_owned(), number(1), number(2)));
            }
        });
        self.children.insert(who, child);
    }

    pub(crate) fn hear(&mut self) -> Said {
        self.said.recv_timeout(DEADLINE).expect("a process of the bench has gone silent")
    }

    /// Waits until so many have said this.
    pub(crate) fn await_all(&mut self, number: usize, wanted: &str) {
        let mut seen = 0;
        while seen < number {
            seen += usize::from(self.hear().1 == wanted);
        }
    }

    /// Writes a line to each.
    pub(crate) fn order(&mut self, line: &str) {
        for child in self.children.values_mut() {
            writeln!(child.stdin.as_mut().expect("piped"), "{line}").expect("give an order");
        }
    }

    /// Lets all of them go to sleep again, and others as many as they are, too; forgets what they
    /// have said.
    ///
    /// With 20 ms for 256 processes, those of the group that was measured before were not done yet.
    pub(crate) fn calm_down(&mut self) {
        pause();
        thread::sleep(Duration::from_micros(500) * self.children.len() as u32);
        while self.said.try_recv().is_ok() {}
    }

    /// Kills the leader and puts another process in its place. Gives the times from the kill until
    /// its successor knew, and until that one said that so many survivors were back, if that is
    /// asked for.
    pub(crate) fn replace_leader(
        &mut self,
        command: &dyn Fn() -> Command,
        survivors: Option<u64>,
    ) -> (u64, u64) {
        let leader = self.leader.take().expect("a led crowd");
        let mut victim = self.children.remove(&leader).expect("the leader is a child");
        let killed = now();
        victim.kill().expect("kill");
        let (mut known, mut all) = (None, survivors.is_none().then_some(killed));
        while known.is_none() || all.is_none() {
            match self.hear() {
                (who, what, at, _) if what == "leader" => {
                    (self.leader, known) = (Some(who), Some(at))
                }
                (_, what, at, members) if what == "settled" && Some(members) == survivors => {
                    all = Some(at)
                }
                _ => {}
            }
        }
        victim.wait().expect("reap");
        self.add(command());
        self.await_all(1, "present");
        (known.expect("seen") - killed, all.expect("seen") - killed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.children.values_mut().for_each(|child| _ = child.kill());
        self.children.values_mut().for_each(|child| _ = child.wait());
    }
}

/// A port that is free now, below the ephemeral range; where the search begins depends on this
/// process, so that two benches at once hardly meet.
pub(crate) fn free_port() -> u16 {
    let from = 20_000 + (std::process::id() % 9_000) as u16;
    (from..30_000)
        .find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}

/// This thread, and what it starts while this value lives, on one processor.
///
/// Where the scheduler puts the two ends of a connection, on one processor or on two, changes from
/// run to run, and in a virtual machine an echo takes 20 µs on one processor and 70 to 120 µs over
/// two: of subjects in turns one had this and the next that.
pub(crate) struct OneProcessor {
    one: CpuSet,
    before: CpuSet,
}

impl OneProcessor {
    pub(crate) fn take() -> Self {
        let before = sched_getaffinity(None).expect("the processors");
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).rev().find(|&cpu| before.is_set(cpu)).expect("a processor"));
        sched_setaffinity(None, &one).expect("stay on one processor");
        OneProcessor { one, before }
    }

    /// Has all threads of a process come there, too, to stay.
    pub(crate) fn bring(&self, helper: &Helper) {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", helper.pid())).expect("the process lives");
        for task in tasks.flatten() {
            let number = task.file_name().to_str().and_then(|name| name.parse().ok());
            // One that has ended meanwhile needs no processor.
            _ = sched_setaffinity(number.and_then(Pid::from_raw), &self.one);
        }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).expect("leave the one processor");
    }
}

/// A pause between measurements, so that all processes are asleep again; not a wait for something.
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(20));
}
