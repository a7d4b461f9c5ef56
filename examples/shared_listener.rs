//! Several processes serve one port, each its share. Kill any of them, the supervisor too: no
//! connection that waits is lost.
//!
//! ```text
//! cargo run --example shared_listener -- 127.0.0.1:8080      start it two or three times
//! for i in 1 2 3 4; do nc 127.0.0.1 8080 </dev/null; done    see who answers
//! pares -g shared-listener listeners                         see who accepts
//! pares -g shared-listener drain NAME                        end one, without losing a connection
//! ```

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use pares::{Config, Instance, Listen};

fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr =
        std::env::args().nth(1).ok_or("usage: shared_listener ADDRESS:PORT")?.parse()?;
    let instance = Instance::join(Config::new("shared-listener"))?;
    let listener = instance.listen(address, Listen::new())?;
    println!("{} accepts at {}", instance.name(), listener.address());

    for connection in &listener {
        let mut connection = connection?;
        let answer = format!("{} answers {}\n", instance.name(), connection.peer());
        thread::spawn(move || connection.write_all(answer.as_bytes()));
    }
    println!("drained; waiting for what is open");
    if !listener.wait_closed(Duration::from_secs(30)) {
        println!("{} connections are cut off", listener.open());
    }
    Ok(())
}
