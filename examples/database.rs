//! Shares ten connections to a PostgreSQL server among many workers, whichever of them die. Start
//! this several times, with the server's address (`host=localhost user=me`) as argument, and kill
//! some.

use std::time::Duration;

use pares::{Config, Instance, Resource};
use postgres::NoTls;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or("host=localhost user=postgres".into());
    let group = arguments.next().unwrap_or("database".into());
    let mut server: postgres::Config = server.parse()?;
    server.application_name(&format!("worker-{}", std::process::id()));

    let instance = Instance::join(Config::new(group).resource(Resource::new("connections", 10)))?;
    loop {
        // The worker that has waited longest is next.
        let permit = instance.acquire("connections", 1)?;
        let mut client = server.connect(NoTls)?;
        client.execute("select pg_sleep(0.05)", &[])?; // the work
        client.close()?;
        drop(permit); // after the connection, not before
        std::thread::sleep(Duration::from_millis(1));
    }
}
