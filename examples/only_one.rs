//! One of many does the work; when it dies, the next one goes on. Start this several times, and
//! kill the one that works.

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
    // Until somebody says `pares -g only-one stop NAME`, or kills it.
    instance.events().iter().for_each(drop);
    Ok(())
}
