//! A process of the demo: an instance that wants a connection, has it for a moment, and wants one
//! again.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use pares::channel::select;
use pares::{Config, Event, Instance};
use rustix::time::{ClockId, clock_gettime};

use crate::events::Line;
use crate::failure::{FAILED, Failure};
use crate::output::{Form, Value, json, object};
use crate::signals;

/// The argument that makes a process an actor. Two more follow: its name, and how many connections
/// there may be.
pub(crate) const COMMAND: &str = "actor";

/// What is shared.
pub(crate) const RESOURCE: &str = "connections";

/// How long one has a connection: in place of work, long enough that others have to wait for it.
const TURN: Duration = Duration::from_millis(15);

/// Plays until the end of standard input. Group, port and directory are in the environment.
pub(crate) fn act() -> Result<(), Failure> {
    let form = Form::new(true);
    let (name, limit) = arguments()
        .ok_or_else(|| Failure::new(FAILED, "only `pares demo` may use this command"))?;
    let ends = signals::ends(true)?;
    let instance = Arc::new(Instance::join(config(limit)?.name(&name))?);
    let events = instance.events();
    let print =
        |event: &Event| Line::of_instance(&name, event).map_or(Ok(()), |line| line.print(form));

    let turn = Arc::new(Mutex::new(()));
    let turns = {
        let (instance, turn) = (instance.clone(), turn.clone());
        move || take_turns(&instance, &turn)
    };
    let turns = thread::Builder::new().name("turns".into()).spawn(turns)?;
    loop {
        select! {
            recv(events.as_ref()) -> event => match event {
                Ok(event) => print(&event)?,
                Err(_) => break,
            },
            recv(ends) -> _ => break,
        }
    }
    // Between two turns: nobody may be given what is still in use.
    let between = turn.lock();
    _ = instance.client().call(&name, "stop", b"", Duration::from_secs(5));
    events.iter().try_for_each(|event| print(&event))?;
    drop(between);
    _ = turns.join();
    Ok(())
}

fn arguments() -> Option<(String, u64)> {
    let mut words = env::args().skip(2);
    Some((words.next()?, words.next()?.parse().ok()?))
}

fn config(limit: u64) -> Result<Config, Failure> {
    let variable =
        |name| env::var(name).map_err(|_| Failure::new(FAILED, format!("{name} is not set")));
    let port = variable("PARES_PORT")?
        .parse()
        .map_err(|_| Failure::new(FAILED, "PARES_PORT is not a port number"))?;
    Ok(Config::new(variable("PARES_GROUP")?)
        .port(port)
        .resource(pares::Resource::new(RESOURCE, limit)))
}

/// Takes turns until the instance has left, and says when each begins and ends: within the time for
/// which it has the permit.
fn take_turns(instance: &Instance, turn: &Mutex<()>) {
    while let Ok(permit) = instance.acquire(RESOURCE, 1) {
        let Ok(_held) = turn.lock() else { return };
        if !permit.is_valid() || say("begins").is_err() {
            continue;
        }
        thread::sleep(TURN);
        _ = say("ends");
    }
}

fn say(what: &str) -> Result<(), Failure> {
    object(&json!({ "event": what, "monotonic_ns": monotonic_ns() }))
}

/// What the clock says by which events are told.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The turns of all actors, by their own words and without regard to what the supervisor counts.
#[derive(Default)]
pub(crate) struct Turns {
    /// Who, from when until when.
    taken: Vec<(String, u64, Option<u64>)>,
    /// Who was killed, and when: its last turn was over then.
    killed: BTreeMap<String, u64>,
}

impl Turns {
    /// Takes note of an event, if it is the begin or the end of a turn.
    pub(crate) fn hear(&mut self, name: &str, event: &Value) {
        let at = event["monotonic_ns"].as_u64().unwrap_or_default();
        if event["event"] == "begins" {
            self.taken.push((name.to_owned(), at, None));
        } else if event["event"] == "ends" {
            let open = self.taken.iter_mut().rev().find(|(who, _, _)| who == name);
            open.into_iter().for_each(|(_, _, end)| *end = Some(at));
        }
    }

    pub(crate) fn killed(&mut self, name: &str, at: u64) {
        self.killed.insert(name.to_owned(), at);
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.len()
    }

    /// True if this one has begun and ended a turn since then.
    pub(crate) fn has_had_one_since(&self, name: &str, since: u64) -> bool {
        let newest = self.taken.iter().rev().take_while(|(_, begin, _)| *begin > since);
        newest.filter(|(_, _, end)| end.is_some()).any(|(who, _, _)| who == name)
    }

    /// How many were in their turn at once, at most.
    pub(crate) fn most_at_once(&self) -> u64 {
        let mut steps = Vec::new();
        for (who, begin, end) in &self.taken {
            let end = end.or_else(|| self.killed.get(who).copied()).unwrap_or(u64::MAX);
            if end > *begin {
                steps.extend([(*begin, 1), (end, -1)]);
            }
        }
        steps.sort_unstable(); // at one moment the ends come first
        let mut now = 0_i64;
        steps
            .iter()
            .map(|(_, step)| {
                now += step;
                now
            })
            .max()
            .unwrap_or_default() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(told: &[(&str, &str, u64)]) -> Turns {
        let mut turns = Turns::default();
        told.iter().for_each(|(who, what, at)| {
            turns.hear(who, &json!({ "event": what, "monotonic_ns": at }))
        });
        turns
    }

    #[test]
    fn turns_that_overlap_are_counted_and_those_that_touch_are_not() {
        assert_eq!(heard(&[]).most_at_once(), 0);
        let one_by_one =
            [("a", "begins", 1), ("a", "ends", 2), ("b", "begins", 2), ("b", "ends", 3)];
        assert_eq!(heard(&one_by_one).most_at_once(), 1);
        // As told: b's words came first.
        let at_once = [("b", "begins", 4), ("b", "ends", 9), ("a", "begins", 1), ("a", "ends", 5)];
        assert_eq!(heard(&at_once).most_at_once(), 2);
    }

    #[test]
    fn the_turn_of_one_that_was_killed_ends_with_it() {
        let told = [("a", "begins", 1), ("b", "begins", 5), ("b", "ends", 9)];
        assert_eq!(heard(&told).most_at_once(), 2, "still in its turn");
        let mut turns = heard(&told);
        turns.killed("a", 4);
        assert_eq!(turns.most_at_once(), 1);
        // After the kill was decided.
        turns.hear("a", &json!({ "event": "begins", "monotonic_ns": 6 }));
        assert_eq!(turns.most_at_once(), 1);
    }

    #[test]
    fn a_turn_since_then_has_begun_and_ended_since_then() {
        let turns = heard(&[
            ("a", "begins", 1),
            ("a", "ends", 3),
            ("b", "begins", 4),
            ("c", "begins", 5),
            ("c", "ends", 6),
        ]);
        assert!(!turns.has_had_one_since("a", 2) && !turns.has_had_one_since("b", 2));
        assert!(turns.has_had_one_since("c", 2) && turns.has_had_one_since("a", 0));
    }
}
