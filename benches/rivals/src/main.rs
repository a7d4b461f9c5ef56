//! What pares is measured beside: clients of Redis, D-Bus and etcd, in processes of their own. The
//! bench `measured` of the package above builds this program, starts the servers, and tells each
//! part by lines what to do (`drive`).

use std::path::Path;

mod bus;
mod codec;
#[path = "../../measured/drive.rs"]
mod drive;
mod etcd;
mod store;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let number = |at: usize| word(at).parse().expect("a number");
    match word(0) {
        "redis-lock" => store::lock(word(1)),
        "redis-caller" => store::caller(word(1)),
        "redis-holders" => store::holders(word(1), number(2)),
        "redis-subscriber" => store::subscriber(word(1), Path::new(word(2)), number(3)),
        "dbus-queue" => bus::queue(Path::new(word(1))),
        "dbus-caller" => bus::caller(Path::new(word(1))),
        "dbus-service" => bus::service(Path::new(word(1))),
        "etcd-lock" => etcd::lock(word(1)),
        "codec" => codec::measure(Path::new(word(1))),
        other => panic!(
            "{other:?} is no part of the bench; `cargo bench` in the package above \
                         runs it"
        ),
    }
}
