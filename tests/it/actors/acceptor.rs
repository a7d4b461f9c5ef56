//! An instance that accepts at a shared listener, and tells each client who has served it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pares::{Instance, Listen, Policy};

use super::{given, given_config, orders, say};
use crate::support::PATIENCE;

pub(super) fn play() {
    let name = given("NAME");
    let instance = Instance::join(given_config().name(&name)).expect("a role");
    say(&instance.role().to_string());
    let address: SocketAddr = given("ADDRESS").parse().unwrap();
    let policy = match given("POLICY").as_str() {
        "connections" => Policy::Connections,
        "standby" => Policy::Standby,
        "free" => Policy::Free,
        _ => Policy::Even,
    };
    let listen = Listen::new().weight(given("WEIGHT").parse().unwrap()).policy(policy);
    let listener = match instance.listen(address, listen) {
        Ok(listener) => Arc::new(listener),
        Err(error) => return say(&format!("refused {error}")),
    };
    say("listens");
    let work = Duration::from_micros(given("WORK_US").parse().unwrap());
    let serve = || {
        let (listener, name) = (listener.clone(), name.clone());
        thread::spawn(move || {
            for connection in &*listener {
                let mut connection = match connection {
                    Ok(connection) => connection,
                    Err(error) => {
                        say(&format!("cannot: {error}"));
                        thread::sleep(Duration::from_millis(5)); // as a program does that waits
                        continue;
                    }
                };
                // A client may be gone.
                _ = connection.write_all(name.as_bytes());
                if !work.is_zero() {
                    thread::sleep(work);
                }
            }
        })
    };
    let mut threads: Vec<_> = (0..given("THREADS").parse().unwrap()).map(|_| serve()).collect();
    for order in orders() {
        match order.as_str() {
            "serve" => threads.push(serve()),
            "drain" => {
                listener.drain();
                threads.drain(..).for_each(|thread| thread.join().unwrap());
                assert!(listener.wait_closed(PATIENCE));
                say("drained");
            }
            "drained" => {
                threads.drain(..).for_each(|thread| thread.join().unwrap());
                say("drained");
            }
            "step down" => say(&format!("{:?}", instance.step_down(PATIENCE))),
            other => panic!("no order `{other}`"),
        }
    }
}
