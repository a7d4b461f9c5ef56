//! Does work on one process of many; when that process dies, the next one continues. Start this
//! several times, and kill the process that works.

use std::time::Duration;

use pares::{Config, Instance};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = Instance::join(Config::new("only-one"))?;
    println!("{} waits for its turn", instance.name());
    let name = instance.name().to_owned();
    let _job = instance.while_supervisor(move |guard| {
        println!("{name} works, term {}", guard.term());
        // `wait` ends as soon as the role does; the next one begins only when this function has
        // returned.
        while !guard.wait(Duration::from_secs(1)) {
            println!("{name} has worked for a second");
        }
    })?;
    // Runs until `pares -g only-one stop NAME` stops it, or it is killed.
    instance.events().iter().for_each(drop);
    Ok(())
}
