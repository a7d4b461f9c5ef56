//! `pares demo`: the main job on show, with real processes.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pares::channel::{Receiver, Sender, after, select, unbounded};
use pares::{Client, Config};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::actor::{self, Turns, monotonic_ns};
use crate::failure::{DEADLINE, FAILED, Failure, SIGNALLED};
use crate::output::{Form, Value, json, line, object};
use crate::wrap::own_program;
use crate::{registry, signals};

/// Run real processes for a few seconds, kill their supervisors, and show the take-overs
///
/// All processes share a limited resource, `connections`: each process holds a unit for a moment,
/// again and again. The demo records each of these turns and checks that they never exceeded the
/// limit, whichever process was killed.
///
/// The processes form a group of their own, on a free port and in a temporary directory. At the end
/// none of them is left.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  pares demo --instances 8 --kills 5")]
pub(crate) struct Args {
    /// Number of processes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=200))]
    instances: u32,

    /// Number of supervisors to kill
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    kills: u32,

    /// Print each step as a JSON object
    #[arg(long)]
    json: bool,
}

/// How long anything may take: some thousand times what it does.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let say = |text: String, step: &Value| if args.json { object(step) } else { line(&text) };
    let mut stage = Stage::set(u64::from(args.instances) * 2 / 5)?;
    let began = monotonic_ns();
    for _ in 0..args.instances {
        stage.enter()?;
    }
    let (first, term, at) = stage.supervisor(0)?;
    let took = ms(at.saturating_sub(began));
    stage.await_all_roles()?;
    let count = args.instances;
    say(
        format!("{count} processes on port {} elected {first} after {took:.1} ms", stage.port),
        &json!({
            "event": "elected",
            "name": first,
            "term": term,
            "ms": took,
        }),
    )?;
    stage.print_registry(args.json)?;
    stage.await_turns(began)?;
    stage.print_usage(args.json)?;

    let mut old = first;
    let mut term = term;
    for _ in 0..args.kills {
        let (pid, killed) = stage.kill(&old)?;
        let (new, new_term, at) = stage.supervisor(term)?;
        let settled = stage.settled(&new, new_term)?;
        let (take_over, again) =
            (ms(at.saturating_sub(killed)), ms(settled.saturating_sub(killed)));
        say(
            format!(
                "killed {old} (pid {pid}): {new} took over after {take_over:.2} ms, all survivors \
                 were registered again after {again:.2} ms"
            ),
            &json!({
                "event": "take-over",
                "killed": old,
                "supervisor": new,
                "term": new_term,
                "take_over_ms": take_over,
                "settled_ms": again,
            }),
        )?;
        stage.print_usage(args.json)?;
        stage.enter()?;
        stage.await_all_roles()?;
        stage.await_turns(killed)?;
        (old, term) = (new, new_term);
    }
    if args.kills > 0 {
        stage.print_registry(args.json)?;
    }
    stage.clear()?;
    let (turns, most, limit) = (stage.turns.count(), stage.turns.most_at_once(), stage.limit);
    if most > limit {
        return Err(Failure::new(
            FAILED,
            format!("{most} processes held a connection at once; the limit is {limit}"),
        ));
    }
    say(
        format!(
            "all processes have left; in {turns} turns at most {most} of {limit} connections were \
             in use at once"
        ),
        &json!({
            "event": "end",
            "turns": turns,
            "most_at_once": most,
            "limit": limit,
        }),
    )
}

/// The group on show: its processes, and what they tell. Dropping it ends all of them.
struct Stage {
    directory: PathBuf,
    group: String,
    port: u16,
    /// How many of them may have a connection at once.
    limit: u64,
    turns: Turns,
    cast: Vec<Actor>,
    /// How many there have been.
    entered: u32,
    told: (Sender<Told>, Receiver<Told>),
    signals: Receiver<i32>,
    /// What has been told and not been used yet.
    heard: Vec<Told>,
}

struct Actor {
    name: String,
    child: Child,
    has_role: bool,
}

/// One event of one process; `None` is the end of its output.
struct Told {
    name: String,
    event: Option<Value>,
}

impl Stage {
    fn set(limit: u64) -> Result<Self, Failure> {
        let signals = signals::receive(&[SIGINT, SIGTERM])?;
        let group = format!("demo-{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("pares.{group}"));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let mut stage = Stage {
            directory,
            group,
            port: 0,
            limit: limit.max(1),
            turns: Turns::default(),
            cast: Vec::new(),
            entered: 0,
            told: unbounded(),
            signals,
            heard: Vec::new(),
        };
        stage.port = free_port()?;
        Ok(stage)
    }

    /// Starts one more process. It ends with its standard input, and so never without this process.
    fn enter(&mut self) -> Result<(), Failure> {
        self.entered += 1;
        let name = format!("worker-{}", self.entered);
        let mut child = Command::new(own_program()?)
            .arg0("pares")
            .args([actor::COMMAND, &name, &self.limit.to_string()])
            .env("PARES_GROUP", &self.group)
            .env("PARES_PORT", self.port.to_string())
            .env("PARES_DIR", &self.directory)
            .process_group(0) // Ctrl-C is for us
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().expect("piped");
        self.cast.push(Actor { name: name.clone(), child, has_role: false });
        let tell = self.told.0.clone();
        let listen = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).ok();
                _ = tell.send(Told { name: name.clone(), event });
            }
            _ = tell.send(Told { name, event: None });
        };
        thread::Builder::new().name("listener".into()).spawn(listen)?;
        Ok(())
    }

    /// Kills a process as the kernel does when memory runs out: it cannot say goodbye. Gives its
    /// pid, and the time.
    fn kill(&mut self, name: &str) -> Result<(u32, u64), Failure> {
        let at = self.cast.iter().position(|actor| actor.name == name);
        let mut actor =
            self.cast.remove(at.ok_or_else(|| Failure::new(FAILED, format!("{name} is gone")))?);
        self.heard.retain(|told| told.name != name);
        let now = monotonic_ns();
        actor.child.kill()?;
        actor.child.wait()?;
        self.turns.killed(name, now);
        Ok((actor.child.id(), now))
    }

    /// Waits for the supervisor of a later term; gives its name, the term, and when it knew.
    fn supervisor(&mut self, after: u64) -> Result<(String, u64, u64), Failure> {
        self.expect("a supervisor", |told| {
            let term = field(told, "supervisor", "term").filter(|term| *term > after)?;
            Some((told.name.clone(), term, field(told, "supervisor", "monotonic_ns")?))
        })
    }

    /// Waits until all survivors are registered at `name`; gives the time.
    fn settled(&mut self, name: &str, term: u64) -> Result<u64, Failure> {
        self.expect("the survivors", |told| {
            let here = told.name == name && field(told, "settled", "term") == Some(term);
            if here { field(told, "settled", "monotonic_ns") } else { None }
        })
    }

    fn await_all_roles(&mut self) -> Result<(), Failure> {
        while let Some(name) =
            self.cast.iter().find(|actor| !actor.has_role).map(|actor| actor.name.clone())
        {
            self.hear(&name)?;
        }
        Ok(())
    }

    /// Waits until each process has had a connection since then.
    fn await_turns(&mut self, since: u64) -> Result<(), Failure> {
        let late = |stage: &Stage| {
            let late =
                stage.cast.iter().find(|actor| !stage.turns.has_had_one_since(&actor.name, since));
            late.map(|actor| actor.name.clone())
        };
        while let Some(name) = late(self) {
            self.hear(&format!("the turn of {name}"))?;
        }
        Ok(())
    }

    /// Waits for an event of which `is_it` makes something.
    fn expect<T>(&mut self, what: &str, is_it: impl Fn(&Told) -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some((at, found)) =
                self.heard.iter().enumerate().find_map(|(at, told)| Some((at, is_it(told)?)))
            {
                self.heard.drain(..=at);
                return Ok(found);
            }
            self.hear(what)?;
        }
    }

    /// Waits for the next event, whatever it is.
    fn hear(&mut self, what: &str) -> Result<(), Failure> {
        let told = select! {
            recv(self.told.1) -> told => told.map_err(|_| Failure::new(FAILED, "nobody is left")),
            recv(self.signals) -> signal => {
                Err(Failure::silent(SIGNALLED + signal.unwrap_or(SIGINT) as u8))
            }
            recv(after(PATIENCE)) -> _ => Err(Failure::new(DEADLINE, format!("waited too long for \
                {what}"))),
        }?;
        if let Some(event) = &told.event {
            self.turns.hear(&told.name, event);
        }
        let Some(actor) = self.cast.iter_mut().find(|actor| actor.name == told.name) else {
            return Ok(());
        };
        match &told.event {
            None => return Err(Failure::new(FAILED, format!("{} ended unexpectedly", told.name))),
            Some(event) if event["event"] == "supervisor" || event["event"] == "subordinate" => {
                actor.has_role = true
            }
            Some(event) if event["event"] == "begins" || event["event"] == "ends" => return Ok(()),
            Some(_) => {}
        }
        self.heard.push(told);
        Ok(())
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&Config::new(&self.group).port(self.port).state_directory(&self.directory))?)
    }

    /// Prints who has a connection and who waits for one.
    fn print_usage(&self, json: bool) -> Result<(), Failure> {
        let usage = self.client()?.usage_of(actor::RESOURCE)?;
        if json {
            return object(&json!({ "event": "usage", "usage": usage }));
        }
        let mut names: Vec<&str> =
            usage.holders.iter().take(4).map(|one| one.name.as_str()).collect();
        if usage.holders.len() > names.len() {
            names.push("…");
        }
        let (in_use, waiting, names) = (usage.in_use, usage.waiting, names.join(", "));
        line(&format!(
            "  connections: {in_use} of {} in use ({names}), {waiting} waiting",
            self.limit
        ))
    }

    fn print_registry(&self, json: bool) -> Result<(), Failure> {
        let listing = self.client()?.list()?;
        if json {
            let instances = registry::instances(&listing);
            return object(&json!({ "event": "registry", "instances": instances }));
        }
        registry::print(&listing, Form::new(false))
    }

    /// Ends all processes in order.
    fn clear(&mut self) -> Result<(), Failure> {
        self.cast.iter_mut().for_each(|actor| drop(actor.child.stdin.take()));
        let deadline = Instant::now() + PATIENCE;
        for mut actor in std::mem::take(&mut self.cast) {
            // Its output ends when it does; who does not end in time is killed below.
            while Instant::now() < deadline && actor.child.try_wait()?.is_none() {
                let Ok(told) = self.told.1.recv_deadline(deadline) else { break };
                match &told.event {
                    Some(event) => self.turns.hear(&told.name, event),
                    None if told.name == actor.name => break,
                    None => {}
                }
            }
            if Instant::now() >= deadline {
                actor.child.kill()?;
            }
            actor.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for actor in &mut self.cast {
            _ = actor.child.kill();
            _ = actor.child.wait();
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}

fn field(told: &Told, event: &str, name: &str) -> Option<u64> {
    let value = told.event.as_ref()?;
    if value["event"] == event { value[name].as_u64() } else { None }
}

/// A port that nobody listens on, below the range from which the system gives out ports.
fn free_port() -> io::Result<u16> {
    let start = std::process::id() as u16 % 10_000;
    let mut ports = (0..10_000).map(|offset| 20_000 + (start + offset) % 10_000);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

fn ms(ns: u64) -> f64 {
    (ns as f64 / 1e4).round() / 100.0
}
