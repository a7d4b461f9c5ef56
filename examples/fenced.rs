//! Fences the writes to a real store: two or more of these agree on one primary, and the database
//! refuses every earlier primary.
//!
//!     createdb fenced
//!     cargo run --example fenced -- "host=/run/postgresql dbname=fenced"   # in several terminals
//!
//! Each line of standard input is one step of the job that this process started when it became
//! primary. The job keeps the token that it started with, whatever has happened since. A program
//! does the same that was stopped in the middle of its job, or that a divided network has kept from
//! hearing of its successor. Stop the primary with Ctrl-Z and wait for the next one to take over.
//! Type a line into that one, continue the first with `fg`, and type a line into it.

use std::io::BufRead;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use pares::masterless::{Config, Peer, Token};
use postgres::{Client, Error, NoTls};

enum News {
    Primary(Token),
    Step(String),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: fenced CONNECTION [GROUP]")?;
    let group = arguments.next().unwrap_or_else(|| "fenced".into());
    let mut client = Client::connect(&address, NoTls)?;
    client.batch_execute(
        "CREATE TABLE IF NOT EXISTS fence (service text PRIMARY KEY, token text COLLATE \"C\" NOT \
         NULL);
         CREATE TABLE IF NOT EXISTS work (step text NOT NULL, token text NOT NULL)",
    )?;
    let peer = Peer::join(Config::new(group))?;
    let (tell, news) = channel();
    read_steps(tell.clone());
    // A job that obeys would write here, and call `lease_ok` before each step. This one only keeps
    // the token under which the work started.
    let _job = peer.while_primary(move |guard| {
        _ = tell.send(News::Primary(guard.token()));
        while !guard.wait(Duration::from_secs(60)) {}
    })?;

    let mut began = None;
    for news in news {
        match (news, began) {
            (News::Primary(token), _) => {
                println!("primary {}", token.fence());
                began = Some(token);
            }
            (News::Step(_), None) => println!("not primary"),
            (News::Step(step), Some(token)) => {
                println!(
                    "{}",
                    if write(&mut client, token, &step)? { "written" } else { "refused" }
                );
            }
        }
    }
    Ok(())
}

/// Writes one step, unless a process with a larger token has written before: the store itself
/// decides, in one transaction.
fn write(client: &mut Client, token: Token, step: &str) -> Result<bool, Error> {
    let mut transaction = client.transaction()?;
    let newest = transaction.execute(
        "INSERT INTO fence VALUES ('work', $1)
         ON CONFLICT (service) DO UPDATE SET token = excluded.token WHERE fence.token <= \
         excluded.token",
        &[&token.fence()],
    )?;
    if newest == 0 {
        return Ok(false);
    }
    transaction.execute("INSERT INTO work VALUES ($1, $2)", &[&step, &token.fence()])?;
    transaction.commit()?;
    Ok(true)
}

fn read_steps(tell: Sender<News>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            _ = tell.send(News::Step(line));
        }
        std::process::exit(0);
    });
}
