//! Calls another instance. Run this in several terminals, and kill the first.

use std::time::Duration;

use pares::{Config, EventKind, Instance};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new("my-program")
        .admin_function("hello", "greets", |who| Ok([b"hello ", who].concat()));
    let instance = Instance::join(config)?;
    println!("{} is {}", instance.name(), instance.role());

    // Another instance is called by its name; `main` is the supervisor, whatever its name.
    let greeting = instance.client().call("main", "hello", b"world", Duration::from_secs(2))?;
    println!("{}", String::from_utf8_lossy(&greeting));

    // Only the supervisor does this, once a minute; when it dies, the next one does.
    let _job = instance.while_supervisor(|guard| {
        while !guard.wait(Duration::from_secs(60)) { /* push the metrics */ }
    })?;

    for event in instance.events() {
        match event.kind {
            EventKind::Supervisor { term } => println!("my turn, term {term}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
