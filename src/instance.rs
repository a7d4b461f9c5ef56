//! What a program holds: an instance of its group.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::client::{Client, pass};
use crate::config::{Config, FOR_EVER, Resource};
use crate::error::{JoinError, StartError, StepDownError};
use crate::event::{Event, EventKind, Role};
use crate::job::{Job, SupervisorGuard};
use crate::net::client::ask::Viewpoint;
use crate::net::endpoint::{self, About, Endpoint};
use crate::net::files;
use crate::net::files::term::TermFile;
use crate::net::member::hand_over::hand_over;
use crate::net::member::holding::Holding;
use crate::net::member::presence::Presence;
use crate::net::member::role;
use crate::net::member::shared::Shared;
use crate::net::procs::obstacle;
use crate::net::rt::clock::unix_ms;
use crate::net::rt::clock::{self, deadline};
use crate::net::rt::events::{Events, events};
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::port;
use crate::state::election::Election;
use crate::state::member::Member;
use crate::sys;
use crate::wire::{Declared, Entry};

/// Linux lets a program read what had come before a reset (`tcp_recvmsg` looks at the queue before
/// the error). Of other systems that is not known.
const RESETS_LOSE: bool = cfg!(not(target_os = "linux"));

/// One participant of a group, from [`join`](Instance::join) until it is dropped.
///
/// **Dropping it blocks** until its jobs and the admin functions that run have returned: it leaves
/// the group in order. [`leave_timeout`](Instance::leave_timeout) sets a limit to that.
///
/// All methods take `&self` and may be called from any thread, several at once. Several instances
/// may live in one process.
///
/// # Forks
///
/// An instance belongs to the process that has joined. A child forked from it has none of its
/// connections: they are closed in the child before `fork` returns there, so that others know of
/// the parent's death at once, however long the child lives. In the child the instance is
/// [`Role::Stopped`], whatever was made by it is void (permits, tallies, watches, jobs, and also an
/// [`Client`](crate::Client)), every call gives the error that says so, and dropping any of it does
/// nothing. [`Events`] made before the fork have ended there. The child may join by itself, and is
/// then another instance. (So a daemon joins after it has forked into the background.)
///
/// A program's function or job that forks may do as it likes in the child; when it returns there,
/// its thread ends. This holds for `fork`; a child made by a raw `clone` system call keeps
/// everything open.
///
/// # Closed descriptors
///
/// A program that closes all descriptors, as some do that make themselves daemons, closes the
/// library's: its instances and [peers](crate::masterless::Peer) then have left ([`Role::Stopped`],
/// and every call gives the error that says so), and it may join anew. What it opens afterwards is
/// not touched, except that a call which is under way in that very moment may meet a socket that
/// has got the number of one of the library's: nothing should be asked of an instance meanwhile.
///
/// # Leaving
///
/// Dropping it leaves the group: jobs of [`while_supervisor`](Instance::while_supervisor) are told
/// to end and waited for, then admin functions that still run; no thread and no descriptor is left
/// behind.
#[must_use = "dropping it leaves the group"]
pub struct Instance {
    events: usize,
    pub(crate) answer_timeout: Duration,
    pub(crate) client: Client,
    role: Threads,
    // Taken out to be closed; held for that moment only.
    endpoint: Mutex<Option<Endpoint>>,
    pub(crate) shared: Arc<Shared>,
}

impl Instance {
    /// Joins the group: becomes supervisor if the port is free, else a subordinate.
    ///
    /// Blocks until one of both is known: usually under a millisecond, at most the join timeout of
    /// `config` (default 10 s). It starts two threads, which live as long as the instance; a
    /// supervisor has three more, and one for each subordinate.
    ///
    /// # Errors
    ///
    /// Any [`JoinError`]; nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use pares::{Config, EventKind, Instance, Role};
    ///
    /// let config = Config::new("my-program");
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = Instance::join(config.clone())?;
    /// let second = Instance::join(config)?;
    /// assert_eq!((first.role(), second.role()), (Role::Supervisor, Role::Subordinate));
    ///
    /// drop(first);
    /// let is_promotion = |kind| matches!(kind, EventKind::Supervisor { .. });
    /// assert!(second.events().iter().any(|event| is_promotion(event.kind)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(config: Config) -> Result<Self, JoinError> {
        config.check()?;
        sys::install();
        if config.release_on_crash {
            sys::crash::install();
        }
        let wire = sys::tripwire::Wire::lay();
        let began = Instant::now();
        let pass = pass(&config)?;
        let io = |doing| move |source| JoinError::Io { doing, source };
        let directory = config.locate_state_directory()?.path;
        files::make_directory(&directory)?;
        let at = config.supervisor_address();
        obstacle::check_address(at)?;
        let terms = match config.may_supervise {
            true => Some(TermFile::open(directory.join(format!("{}.term", config.group)), at)?),
            false => None,
        };

        let listener =
            port::listen(port::here(0), sys::Kind::Peer).map_err(io("open the admin endpoint"))?;
        let admin = listener.local_addr().map_err(io("open the admin endpoint"))?.port();
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(std::io::Error::other)
            .map_err(io("read random bytes"))?;
        let (id, seed) = random.split_at(8);
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("half of 16 bytes"));
        let program = program();
        let mut me = Entry {
            // The kernel gives the port to nobody else as long as this instance lives.
            name: config.name.clone().unwrap_or_else(|| format!("{program}-{admin}")),
            id: number(id),
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            admin,
            joined_ms: unix_ms(SystemTime::now()),
            meta: config.meta.clone(),
            functions: Vec::new(),
        };
        // The functions know the instance, and the instance says which functions it has.
        let late = Arc::new(OnceLock::new());
        let functions = endpoint::functions(&late, About { program }, &config.functions);
        me.functions = functions.keys().cloned().collect();
        let declare = |one: &Resource| Declared {
            resource: one.name.clone(),
            limit: one.limit,
            per_holder: one.per_holder,
        };
        let declared = config.resources.iter().map(declare).collect();
        let election = Election::new(
            number(seed),
            clock::now().saturating_add(config.join_timeout),
            config.may_supervise,
        );
        let member = Member::new(me.clone(), election, declared, config.settle_time, RESETS_LOSE);
        let presence = Arc::new(Presence::new(wire));
        let shared = Arc::new(Shared {
            pass: pass.clone(),
            at,
            me,
            terms,
            max_members: config.max_members,
            hang_timeout: config.hang_timeout,
            end_hung_supervisor: config.end_hung_supervisor,
            pulse: Arc::default(),
            holding: Arc::new(Holding::new(member, presence.clone())),
            presence,
        });
        _ = late.set(Arc::downgrade(&shared));
        let losing = Arc::downgrade(&shared);
        let lost = move || losing.upgrade().iter().for_each(|shared| role::lose(shared));
        let endpoint = Endpoint::open(listener, pass.clone(), functions, lost)
            .map_err(io("open the admin endpoint"))?;
        let viewpoint = Viewpoint::Member(shared.clone());
        let instance = Instance {
            events: config.events,
            answer_timeout: config.answer_timeout,
            client: Client::of(pass, viewpoint, config.answer_timeout),
            role: Threads::default(),
            endpoint: Mutex::new(Some(endpoint)),
            shared: shared.clone(),
        };
        let started = instance.role.spawn(threads::ROLE, move || role::run(&shared));
        started.map_err(io("start the role thread"))?;

        let settled = instance.shared.presence.wait(None, |inside| match inside.role() {
            Role::Supervisor | Role::Subordinate => Some(None),
            Role::Stopped => Some(inside.failed.take()),
            Role::Contending => None,
        });
        match settled.flatten() {
            None => Ok(instance),
            Some(obstacle) => Err({
                let Shared { pass, at, me, .. } = &*instance.shared;
                obstacle::join_error(obstacle, pass, *at, Some(&me.name), began.elapsed())
            }),
        }
    }

    /// The instance's unique name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.me.name
    }

    /// The instance's entry in the registry, as it registers itself.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.shared.me
    }

    /// The name of its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.pass.group
    }

    /// What the instance is at the moment; in a forked child [`Role::Stopped`]. Does not block.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.shared.presence.is_over() {
            return Role::Stopped;
        }
        self.shared.presence.look(|inside| inside.role())
    }

    /// True if the instance is supervisor at the moment. Does not block.
    ///
    /// For work that only one may do, [`while_supervisor`](Instance::while_supervisor) is told when
    /// the role ends; fence what such work writes elsewhere by the [`term`](Instance::term).
    #[must_use]
    pub fn is_supervisor(&self) -> bool {
        self.role() == Role::Supervisor
    }

    /// The unique name of the supervisor, as this instance knows it; perhaps its own. `None` while
    /// there is none, and once this instance has left. Does not block.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone().name("first"))?;
    /// let second = pares::Instance::join(config.name("second"))?;
    /// assert_eq!(second.supervisor().as_deref(), Some("first"));
    /// assert!(second.wait_settled(std::time::Duration::from_secs(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn supervisor(&self) -> Option<String> {
        if self.shared.presence.is_over() {
            return None;
        }
        self.shared.presence.look(|inside| match inside.role() {
            Role::Supervisor => Some(self.shared.me.name.clone()),
            Role::Subordinate => inside.supervisor_name(),
            Role::Contending | Role::Stopped => None,
        })
    }

    /// True if this instance has a role, and all known survivors of the last election are in the
    /// registry again. Does not block.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.shared.presence.is_over() && self.shared.presence.look(|inside| inside.is_settled())
    }

    /// Waits until the group [is settled](Instance::is_settled), at most for `timeout`; true if it
    /// is. False at once if this instance has left.
    #[must_use = "false says that the group is not settled"]
    pub fn wait_settled(&self, timeout: Duration) -> bool {
        if self.shared.presence.is_over() {
            return false;
        }
        let settled = self.shared.presence.wait(Some(deadline(timeout)), |inside| {
            (inside.is_settled() || inside.role() == Role::Stopped).then(|| inside.is_settled())
        });
        settled == Some(true)
    }

    /// The number of the present supervisorship, or of the last one this instance has seen. Does
    /// not block.
    ///
    /// In a forked child 0. It grows with each supervisorship of the group, also when all instances
    /// die and the group starts anew: the last one is kept in the group's directory, and every
    /// survivor knows it too.
    #[must_use]
    pub fn term(&self) -> u64 {
        if self.is_void() { 0 } else { self.shared.presence.look(|inside| inside.term) }
    }

    /// A new receiver of the instance's events. The first ones tell the present role, and whether
    /// the group is settled.
    ///
    /// Each receiver gets every event. A receiver that holds as many as [`Config::event_capacity`]
    /// says misses the next ones, and is told how many; the library never waits for a receiver. It
    /// ends when the instance has left. Messages are among the events, with up to 64 KiB each: drop
    /// a receiver that is not read.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// for event in instance.events() {
    ///     match event.kind {
    ///         pares::EventKind::Supervisor { term } => println!("supervisor of term {term}"),
    ///         pares::EventKind::Missed { events } => println!("{events} events were missed"),
    ///         other => println!("{other:?}"),
    ///     }
    /// #   break;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        if self.is_void() {
            let (tell, events) = events(1);
            _ = tell
                .try_tell(Event { monotonic_ns: clock::monotonic_ns(), kind: EventKind::Stopped });
            return events;
        }
        self.shared.presence.subscribe(self.events)
    }

    /// What asks the group and calls its instances, from inside: it knows the supervisor without
    /// looking for it, also across an election.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config.name("first"))?;
    /// for entry in instance.client().list()?.entries {
    ///     println!("{} (pid {})", entry.name, entry.pid);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs `job` on a thread of its own whenever this instance is supervisor: once for each
    /// supervisorship.
    ///
    /// The guard says when the role is given up ([`SupervisorGuard::should_stop`],
    /// [`SupervisorGuard::wait`]); the job must then return. Until it has, the supervisor port is
    /// kept, so that jobs of one group never overlap, as long as their processes live. (When a
    /// process is killed, its job ends with it, a moment before the next one begins.) A job that
    /// returns before it is told to has done its work for this supervisorship. If it panics, that
    /// is logged, and it runs again at the next supervisorship. It has the signal mask of the
    /// thread that calls this, and so have threads and processes that it starts.
    ///
    /// Does not block. The job runs until the returned [`Job`] is dropped or the instance leaves.
    ///
    /// # Errors
    ///
    /// Any [`StartError`]; the job was never run.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let instance = pares::Instance::join(config)?;
    /// let (ran, runs) = std::sync::mpsc::channel();
    /// let job = instance.while_supervisor(move |guard| {
    ///     while !guard.wait(Duration::from_millis(1)) {
    ///         _ = ran.send(guard.term());
    ///     }
    /// })?;
    /// assert_eq!(runs.recv()?, instance.term());
    /// drop(job);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn while_supervisor<F>(&self, job: F) -> Result<Job, StartError>
    where
        F: FnMut(&SupervisorGuard<'_>) + Send + 'static,
    {
        Job::start(self.shared.clone(), job)
    }

    /// Shows that the program makes progress, for those who watch for hangs
    /// ([`Config::hang_timeout`]).
    ///
    /// A dead-locked program may still have a library thread that answers; so a program that wants
    /// more than that calls this from the place that must not stand still, its main loop for
    /// example, more often than the shortest hang timeout in the group. From the first call on the
    /// next ones are expected: without one for a watcher's whole timeout, this instance is reported
    /// as stalled by it ([`StallCause::NoProgress`](crate::StallCause::NoProgress)) within another
    /// timeout and a quarter.
    ///
    /// Does not block, and costs a look at the clock.
    pub fn pulse(&self) {
        self.shared.pulse.beat();
    }

    /// Gives the supervisorship to another instance and stays as a subordinate.
    ///
    /// First the jobs of [`while_supervisor`](Instance::while_supervisor) are told to end and
    /// waited for, with the role still held; then the port is given up, and this instance leaves it
    /// to the others for half a second. No instance leaves the registry by this.
    ///
    /// Blocks until another instance is supervisor, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// Any [`StepDownError`]; each says whether the role was given up.
    ///
    /// # Examples
    ///
    /// ```
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// let first = pares::Instance::join(config.clone())?;
    /// let second = pares::Instance::join(config)?;
    /// first.step_down(std::time::Duration::from_secs(5))?;
    /// assert!(second.is_supervisor() && !first.is_supervisor());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step_down(&self, timeout: Duration) -> Result<(), StepDownError> {
        if self.is_void() {
            return Err(StepDownError::NotSupervisor);
        }
        hand_over(&self.shared, deadline(timeout))
    }

    /// Leaves the group, as dropping does. A supervisor hands over to whoever is quickest.
    ///
    /// Blocks until jobs and admin functions that still run have returned.
    pub fn leave(self) {}

    /// Leaves as [`leave`](Instance::leave), but blocks for `timeout` at most; true if it has left
    /// by then. Else it goes on leaving on a thread of its own, which ends when the last job and
    /// function have returned.
    #[must_use = "false says that a job or a function still runs"]
    pub fn leave_timeout(self, timeout: Duration) -> bool {
        let (done, left) = std::sync::mpsc::channel();
        self.shared.presence.halt();
        let started = threads::detach(threads::LEAVE, move || {
            drop(self);
            _ = done.send(());
        });
        // Without a thread it has been dropped here, and has left.
        started.is_err() || left.recv_timeout(timeout.min(FOR_EVER)).is_ok()
    }

    /// Leaves the group, whoever else still holds this instance: what others wait for in its
    /// methods ends with their `Stopped`. Not to be called by its own job, which is waited for.
    pub(crate) fn end(&self) {
        self.shared.presence.halt();
        self.client.asker.stop();
        self.role.join_all();
        let endpoint = self.endpoint.lock().take();
        drop(endpoint);
    }

    /// True in a forked child, and in a process that is crashing.
    fn is_void(&self) -> bool {
        self.shared.presence.is_void()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.is_void() {
            // Threads, locks and connections are the parent's: nothing is waited for, and nothing
            // torn down.
            let (role, endpoint) =
                (std::mem::take(&mut self.role), std::mem::take(&mut self.endpoint));
            std::mem::forget((role, endpoint, self.client.clone(), self.shared.clone()));
            return;
        }
        self.end();
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("name", &self.shared.me.name)
            .field("group", &self.shared.pass.group)
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}

/// The program's name, made fit to be part of an instance's name.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
    let fit =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = name.chars().map(fit).take(64).collect();
    match name.trim_start_matches('-') {
        "" => "instance".into(),
        name => name.into(),
    }
}
