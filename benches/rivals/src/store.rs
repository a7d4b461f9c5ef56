//! Redis, by the `redis` crate: blocking, commands packed once where they are always the same.

use std::path::Path;
use std::thread;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, Connection, ConnectionLike, IntoConnectionInfo, Value, cmd};

use crate::drive::{Slot, now, obey, obey_with_threads, say, timed, until_the_bench_ends};

/// How long a lock outlives its holder. Renewed three times in that time, as is usual.
const TTL: Duration = Duration::from_secs(1);

/// How often a waiter looks whether the lock is free: Redis has no queue of waiters.
const LOOK: Duration = Duration::from_millis(50);

fn client(address: &str) -> Client {
    let info = address.into_connection_info().expect("an address");
    // Nothing is sent at the beginning that was not asked for.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info
        .set_redis_settings(settings)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    Client::open(info).expect("a client")
}

fn connect(address: &str) -> Connection {
    client(address).get_connection().expect("connect to Redis")
}

/// One command, packed once.
struct Packed(Vec<u8>);

impl Packed {
    fn new(words: &[&str]) -> Self {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        Packed(command.get_packed_command())
    }

    fn run(&self, connection: &mut Connection) -> Value {
        connection.req_packed_command(&self.0).expect("Redis")
    }
}

/// Waits for the lock, takes it, keeps it.
pub(crate) fn lock(address: &str) -> ! {
    let mut connection = connect(address);
    let (own, ttl) = (std::process::id().to_string(), TTL.as_millis().to_string());
    let take = Packed::new(&["SET", "lock", &own, "NX", "PX", &ttl]);
    // Renewed only while it is ours.
    let script = "if redis.call('GET', KEYS[1]) == ARGV[1] \
                  then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
    let renew = Packed::new(&["EVAL", script, "1", "lock", &own, &ttl]);
    let renewed = move |connection: &mut Connection| {
        thread::sleep(TTL / 3);
        matches!(renew.run(connection), Value::Int(1))
    };
    thread::spawn(move || {
        let mut tried = false;
        // Not all at the same moment, which nobody has to arrange where processes are started one
        // by one.
        let look = LOOK * (90 + std::process::id() % 20) / 100;
        loop {
            let has = matches!(take.run(&mut connection), Value::Okay);
            if has {
                say("leader", now(), 0);
            }
            if !tried {
                tried = true;
                say("present", now(), 0);
            }
            if has {
                while renewed(&mut connection) {}
                say("lost", now(), 0);
            }
            thread::sleep(look);
        }
    });
    until_the_bench_ends()
}

/// One caller that does what the bench says.
pub(crate) fn caller(address: &str) -> ! {
    let client = client(address);
    let mut connection = client.get_connection().expect("connect to Redis");
    let packed = |words: &[&str]| Packed::new(words);
    let value = "a value of thirty-two bytes here";
    packed(&["SET", "entry", value]).run(&mut connection);
    let (get, set) = (packed(&["GET", "entry"]), packed(&["SET", "member", value]));
    let (incr, decr) = (packed(&["INCRBY", "units", "1"]), packed(&["INCRBY", "units", "-1"]));
    obey(|word, number| match word {
        "get" => timed(number, || _ = get.run(&mut connection)),
        "incr" => timed(number, || _ = incr.run(&mut connection)),
        "decr" => timed(number, || _ = decr.run(&mut connection)),
        "pair" => timed(number, || _ = (incr.run(&mut connection), decr.run(&mut connection))),
        "join" => {
            let one = |_| {
                let mut joined = None;
                let took = timed(1, || {
                    let mut connection = client.get_connection().expect("connect to Redis");
                    set.run(&mut connection);
                    joined = Some(connection);
                });
                drop(joined); // closing is not part of it
                took[0]
            };
            (0..number).map(one).collect()
        }
        "publish" => {
            let began = now();
            let publish = packed(&["PUBLISH", "settings", &number.to_string()]);
            publish.run(&mut connection);
            vec![began]
        }
        other => panic!("{other:?} is no order"),
    })
}

/// So many threads with a connection each, that take a permit within a limit and give it back.
pub(crate) fn holders(address: &str, number: u64) -> ! {
    let limit = 1000.to_string();
    let script = "local used = redis.call('INCR', KEYS[1]) \
                  if used > tonumber(ARGV[1]) then redis.call('DECR', KEYS[1]) return 0 end return \
                  1";
    let mut connection = connect(address);
    let sha: String =
        cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).expect("load the script");
    let worker = |_| {
        let mut connection = connect(address);
        let take = Packed::new(&["EVALSHA", &sha, "1", "permits", &limit]);
        let give = Packed::new(&["DECR", "permits"]);
        move || {
            assert!(matches!(take.run(&mut connection), Value::Int(1)), "below the limit");
            give.run(&mut connection);
        }
    };
    obey_with_threads((0..number).map(worker).collect())
}

/// Notes when a message has come.
pub(crate) fn subscriber(address: &str, slots: &Path, number: u64) -> ! {
    let slot = Slot::open(slots, number);
    let mut connection = connect(address);
    thread::spawn(move || {
        let mut subscription = connection.as_pubsub();
        subscription.subscribe("settings").expect("subscribe");
        say("ready", now(), 0);
        while let Ok(message) = subscription.get_message() {
            let text = std::str::from_utf8(message.get_payload_bytes()).expect("text");
            slot.seen(text.parse().expect("a round"));
        }
    });
    until_the_bench_ends()
}
