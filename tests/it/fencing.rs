//! Fencing as it is used: a real database refuses whoever was primary before.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use postgres::{Client, NoTls};
use rustix::process::Signal;

use crate::database::{Server, example, programs};
use crate::support::{Ground, Proc, await_true, finish};

fn primary(process: &Proc) -> String {
    let line = process.line();
    line.strip_prefix("primary ")
        .unwrap_or_else(|| panic!("{line:?} is not the news that it is primary"))
        .to_owned()
}

fn step(process: &Proc, input: &mut ChildStdin, step: &str) -> String {
    writeln!(input, "{step}").unwrap();
    process.line()
}

/// Goal: what one does that was primary, and goes on without looking, changes nothing in the store.
/// Method: the example with a server of its own. The primary is stopped in the middle of its job,
/// the other one takes over and writes; then the first goes on with the token that it began with.
#[test]
fn a_write_with_an_older_token_is_refused() {
    let Some(programs) = programs() else {
        crate::skipped::skip(
            "no PostgreSQL server in /usr/lib/postgresql (Debian: apt-get install postgresql)",
        );
        return;
    };
    let ground = Ground::new();
    let server = Server::start(&programs, ground.directory.join("server"));
    let program = example("fenced");
    let group = format!("fenced-{}", std::process::id());
    let port = pares::default_port(&group).to_string();
    let start = || {
        let mut command = Command::new(&program);
        command
            .arg(server.address())
            .arg(&group)
            .env("PARES_DIR", &ground.directory)
            .stdin(Stdio::piped());
        Proc::start_with_input(command)
    };
    let (first, mut first_input) = start();
    let first_token = primary(&first);
    let (second, mut second_input) = start();
    assert_eq!(step(&first, &mut first_input, "one"), "written");
    // Only who is in the group can take over.
    await_true("two are in the group", || {
        let record = ground.command_of(["-g", &group, "-p", &port, "peer", "ls", "--json"]);
        let record = finish(record).json();
        record.as_array().expect("a list").iter().filter(|one| one["status"] != "joining").count()
            == 2
    });
    assert_eq!(step(&second, &mut second_input, "nothing"), "not primary");

    first.signal(Signal::STOP);
    let second_token = primary(&second);
    assert!(second_token > first_token, "{second_token} after {first_token}");
    assert_eq!(step(&second, &mut second_input, "two"), "written");
    first.signal(Signal::CONT);
    assert_eq!(step(&first, &mut first_input, "late"), "refused");
    assert_eq!(step(&second, &mut second_input, "three"), "written");

    let mut client = Client::connect(&server.address(), NoTls).unwrap();
    let rows = client.query("SELECT step FROM work ORDER BY token, ctid", &[]).unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(steps, ["one", "two", "three"]);
}
