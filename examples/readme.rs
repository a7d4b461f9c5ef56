//! The README's example: run it in several terminals, and kill the first.

use std::time::Duration;

use pares::{Config, Instance, Resource};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new("my-program").resource(Resource::new("connections", 40));
    let instance = Instance::join(config)?;

    // Only the leader, the supervisor, does this; when it dies, the next one does.
    let _job = instance.while_supervisor(|guard| {
        println!("my turn, term {}", guard.term());
        while !guard.wait(Duration::from_secs(60)) { /* once a minute: push the metrics */ }
    })?;

    // At most 40 at once in all processes; a process that dies gives its permits back.
    let permit = instance.acquire("connections", 1)?;
    println!("{} has {} of 40 connections", instance.name(), permit.units());

    instance.events().iter().for_each(|event| println!("{:?}", event.kind));
    Ok(())
}
