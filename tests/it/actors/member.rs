//! An instance that does what it is told with permits, tallies, settings and messages.

use std::time::{Duration, Instant};

use pares::{EventKind, Instance, Permit};

use super::{given, given_config, orders, say};
use crate::support::PATIENCE;

pub(super) fn play() {
    let mut config = given_config();
    for declared in given("RESOURCES").split_whitespace() {
        let (name, limit) = declared.split_once('=').unwrap();
        config = config.resource(pares::Resource::new(name, limit.parse().unwrap()));
    }
    if let Ok(millis) = given("SETTLE").parse() {
        config = config.settle_time(Duration::from_millis(millis));
    }
    let instance = Instance::join(config).unwrap();
    let events = instance.events();
    say("joined");
    let mut permits: Vec<Permit> = Vec::new();
    for order in orders() {
        let words: Vec<&str> = order.split(' ').collect();
        match words[..] {
            ["acquire", resource, units] => {
                permits.push(instance.acquire(resource, units.parse().unwrap()).unwrap());
                say("done");
            }
            ["try", resource, units] => {
                match instance.try_acquire(resource, units.parse().unwrap()) {
                    Ok(permit) => {
                        permits.push(permit);
                        say("done yes");
                    }
                    Err(error) => say(&format!("done {error:?}")),
                }
            }
            ["release"] => {
                permits.clear();
                say("done");
            }
            ["valid"] => {
                say(&format!("done {}", permits.iter().filter(|permit| permit.is_valid()).count()))
            }
            ["count", resource, units] => {
                say(&format!(
                    "done {}",
                    instance.tally(resource).unwrap().add(units.parse().unwrap())
                ));
            }
            ["get", key] => say(&format!("done {}", instance.get(key).unwrap_or_default())),
            ["lost"] => {
                let lost = events.iter().find_map(|event| match event.kind {
                    EventKind::PermitLost { units, .. } => Some(units),
                    _ => None,
                });
                say(&format!("done {}", lost.unwrap()));
            }
            // Messages that came and messages that were missed, until both together are so many.
            ["messages", wanted] => {
                let (wanted, mut came, mut missed) = (wanted.parse::<u64>().unwrap(), 0, 0);
                let deadline = Instant::now() + PATIENCE / 2;
                while came + missed < wanted {
                    match events.recv_deadline(deadline).map(|event| event.kind) {
                        Ok(EventKind::Message { .. }) => came += 1,
                        Ok(EventKind::Missed { events }) => missed += events,
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                // Nothing comes twice.
                while let Ok(event) = events.recv_timeout(Duration::from_millis(50)) {
                    match event.kind {
                        EventKind::Message { .. } => came += 1,
                        EventKind::Missed { events } => missed += events,
                        _ => {}
                    }
                }
                say(&format!("done {came} {missed}"));
            }
            _ => panic!("no order {order}"),
        }
    }
}
