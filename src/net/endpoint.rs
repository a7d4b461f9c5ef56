//! The admin endpoint of an instance: a client with the key may call its functions.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::config::{Function, HandlerError, MAX_CLIENTS, MAX_PAYLOAD, WRITE_TIMEOUT};
use crate::error::in_bytes;
use crate::event::EventKind;
use crate::net::member::hand_over::hand_over;
use crate::net::member::shared::Shared;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::handshake::Pass;
use crate::net::transport::port::{self, Listening};
use crate::net::transport::service::{Service, ServiceKind};
use crate::net::transport::session::{Session, Turn};
use crate::sys::{self, Origin, signals};
use crate::wire::field::Payload;
use crate::wire::{Calling, Message, Outcome, Purpose};

pub(crate) type Functions = BTreeMap<String, Function>;

pub(crate) struct Endpoint {
    service: Arc<Service>,
    stopping: Arc<AtomicBool>,
    thread: Threads,
}

impl Endpoint {
    /// Serves `functions` on `listener`, on a thread of its own; calls `lost` if the program closes
    /// our descriptors: nobody can connect any more.
    pub(crate) fn open(
        listener: Listening,
        pass: Pass,
        functions: Functions,
        lost: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let at = port::here(listener.local_addr()?.port());
        let kind = ServiceKind {
            thread: threads::ADMIN,
            purposes: &[Purpose::Call],
            max_clients: MAX_CLIENTS,
            on_top: false,
        };
        let service = Service::new(kind, at, pass)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = Threads::default();
        let functions = Arc::new(functions);
        thread.spawn(threads::ENDPOINT, {
            let (service, stopping) = (service.clone(), stopping.clone());
            move || {
                let done = || stopping.load(Ordering::Acquire);
                let stopping = stopping.clone();
                let listener = service
                    .run(listener, done, move |session| serve(&functions, &stopping, session));
                if !listener.is_usable() {
                    lost();
                }
            }
        })?;
        Ok(Endpoint { service, stopping, thread })
    }
}

impl Drop for Endpoint {
    /// Ends the port and all connections. Waits for functions that still run, and lets their
    /// callers have the result: one of these functions is `stop`.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.service.wake();
        self.thread.join_all();
        self.service.close_after_answers();
    }
}

/// Returns the functions that every instance has, and the program's own, which win. They find the
/// instance in `late`, once there is one.
pub(crate) fn functions(
    late: &Arc<OnceLock<Weak<Shared>>>,
    about: About,
    own: &[Function],
) -> Functions {
    let shared = || {
        let late = late.clone();
        move || {
            late.get().and_then(Weak::upgrade).ok_or_else(|| "the instance is leaving".to_owned())
        }
    };
    let mut functions = Functions::new();
    let mut add = |function: Function| _ = functions.insert(function.name.clone(), function);
    add(built_in("ping", "returns the payload", |payload| Ok(payload.to_vec())));
    let seen = shared();
    add(built_in("info", "describes the instance, one key=value per line", move |_| {
        let shared = seen()?;
        Ok(info(&shared, &about).into_bytes())
    }));
    add(built_in(
        "log-level",
        "sets the most detailed level that is logged; without a payload, returns it",
        log_level,
    ));
    let seen = shared();
    add(built_in("stop", "makes the instance leave its group", move |_| {
        let shared = seen()?;
        shared.presence.change(|inside| inside.hub.emit(EventKind::StopAsked));
        shared.presence.halt();
        Ok(b"leaving".to_vec())
    }));
    let seen = shared();
    add(built_in("step-down", "makes the supervisor hand over to another instance", move |_| {
        let shared = seen()?;
        hand_over(&shared, Instant::now() + HAND_OVER_TIME).map_err(|error| error.to_string())?;
        let successor = shared.presence.look(|inside| inside.supervisor_name().unwrap_or_default());
        Ok(successor.into_bytes())
    }));
    own.iter().cloned().map(with_the_programs_signals).for_each(&mut add);
    let mut help: Vec<(String, String)> =
        functions.values().map(|function| (function.name.clone(), function.help.clone())).collect();
    let own =
        ("functions".to_owned(), "lists the functions, one name<tab>help per line".to_owned());
    if !functions.contains_key(&own.0) {
        help.push(own.clone());
        help.sort();
        let text: String = help.iter().map(|(name, help)| format!("{name}\t{help}\n")).collect();
        functions.insert(
            own.0.clone(),
            built_in("functions", &own.1, move |_| Ok(text.clone().into_bytes())),
        );
    }
    functions
}

fn with_the_programs_signals(own: Function) -> Function {
    let handler = own.handler;
    Function { handler: Arc::new(move |payload| signals::as_program(|| handler(payload))), ..own }
}

/// How long the function `step-down` waits for the jobs on the supervisor to end, and for a
/// successor.
const HAND_OVER_TIME: Duration = Duration::from_secs(10);

/// The facts of `info` besides the presence.
pub(crate) struct About {
    pub(crate) program: String,
}

fn built_in<F>(name: &str, help: &str, handler: F) -> Function
where
    F: Fn(&[u8]) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
{
    Function { name: name.into(), help: help.into(), handler: Arc::new(handler) }
}

fn info(shared: &Shared, about: &About) -> String {
    let me = &shared.me;
    let (role, term) = shared.presence.look(|inside| (inside.role(), inside.term));
    let mut lines = format!(
        "name={}\nprogram={}\npid={}\nuid={}\ngroup={}\nport={}\nadmin={}\n\
         role={role}\nterm={term}\njoined_ms={}\npares={}\n",
        me.name,
        about.program,
        me.pid,
        me.uid,
        shared.pass.group,
        shared.at.port(),
        me.admin_port,
        me.joined_ms,
        env!("CARGO_PKG_VERSION"),
    );
    me.meta.iter().for_each(|(key, value)| lines.push_str(&format!("meta.{key}={value}\n")));
    lines
}

fn log_level(payload: &[u8]) -> Result<Vec<u8>, HandlerError> {
    let text = std::str::from_utf8(payload).map_err(|_| "not UTF-8")?.trim();
    if !text.is_empty() {
        let level: log::LevelFilter = text
            .parse()
            .map_err(|_| format!("no level `{text}`: off, error, warn, info, debug or trace"))?;
        log::set_max_level(level);
    }
    Ok(log::max_level().as_str().to_ascii_lowercase().into_bytes())
}

/// Serves one caller's connection, one call after the other, until the caller or the instance ends
/// it.
fn serve(functions: &Functions, stopping: &AtomicBool, session: Session) {
    session.serve(|session, request| {
        let Message::Calling(Calling::Call { function, payload }) = request else {
            return Turn::Broke("not a call");
        };
        log::debug!("call of {function:?} with {} bytes", payload.0.len());
        let (outcome, payload) = call(functions, &function, &payload.0);
        let answer = Calling::Answer { outcome, payload: Payload(payload) }.into();
        let written = session.link.write(&[answer], Instant::now() + WRITE_TIMEOUT);
        if written.is_err() || stopping.load(Ordering::Acquire) {
            return Turn::Over;
        }
        Turn::Next
    });
}

fn call(functions: &Functions, name: &str, payload: &[u8]) -> (Outcome, Vec<u8>) {
    let Some(function) = functions.get(name) else { return (Outcome::NoSuchFunction, Vec::new()) };
    // What a panicking function leaves half done is the program's own; this library's state is not
    // in reach of it.
    let origin = Origin::here();
    let result = catch_unwind(AssertUnwindSafe(|| (function.handler)(payload)));
    if origin.is_elsewhere() {
        // The function has forked, and this is the child: its caller is the parent's.
        sys::end_stray_thread(if result.is_ok() { 0 } else { 101 });
    }
    match result {
        Ok(Ok(result)) if result.len() > MAX_PAYLOAD => (
            Outcome::Failed,
            format!(
                "a result of {} bytes; at most {} can be sent",
                result.len(),
                in_bytes(MAX_PAYLOAD)
            )
            .into_bytes(),
        ),
        Ok(Ok(result)) => (Outcome::Done, result),
        Ok(Err(error)) => {
            let mut text = error.to_string().into_bytes();
            text.truncate(MAX_PAYLOAD); // the caller reads it leniently
            (Outcome::Failed, text)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            complain!(Error, name, "the admin function {name:?} panicked: {text}");
            let mut text = text.into_bytes();
            text.truncate(MAX_PAYLOAD);
            (Outcome::Panicked, text)
        }
    }
}
