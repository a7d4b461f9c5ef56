//! Watches a group from outside, as a dashboard does, and prints which instances come and go. The
//! command line names the group.

use std::time::Duration;

use pares::{ChangeKind, Client, Config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let group = std::env::args().nth(1).unwrap_or_else(|| pares::DEFAULT_GROUP.into());
    let admin = Client::new(&Config::new(group))?;
    let watch = admin.watch()?;
    for change in watch.changes() {
        match change.kind {
            ChangeKind::Joined { entry } => {
                let answer = admin.call(&entry.name, "ping", b"", Duration::from_secs(1));
                println!(
                    "{} is up (pid {}) and {}",
                    entry.name,
                    entry.pid,
                    if answer.is_ok() { "answers" } else { "silent" }
                );
            }
            ChangeKind::Left { name, cause } => println!("{name} is gone: {cause}"),
            ChangeKind::Supervisor { name, term } => println!("{name} is supervisor, term {term}"),
            ChangeKind::Contending => println!("no supervisor"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
