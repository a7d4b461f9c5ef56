//! Programs that stop making progress.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pares::Instance;

use super::{given_config, orders, say};
use crate::hang::TIMEOUT;

/// An instance whose program stops making progress on order.
pub(super) fn pulse() {
    let instance = Instance::join(given_config()).unwrap();
    // Nobody is expected to pulse that never has, and the thread that does may be run only after
    // the order to hang.
    instance.pulse();
    let stuck = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !stuck.load(Ordering::Relaxed) {
                    instance.pulse();
                }
                thread::sleep(TIMEOUT / 16);
            }
        });
        say("joined");
        for order in orders() {
            stuck.store(order == "hang", Ordering::Relaxed);
            say("done");
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Prints what the library logs, as words for the other process.
struct Told;

impl log::Log for Told {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        say(&format!("log {}", record.args()));
    }

    fn flush(&self) {}
}

/// A supervisor without progress and one that is to end it and cannot, for they are one process.
pub(super) fn be_both() {
    log::set_logger(&Told).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let boss = Instance::join(given_config().name("boss")).unwrap();
    // On a busy machine a thread may not be run at all between two looks of a shorter one, and then
    // the watcher cannot be sure.
    let timeout = Duration::from_secs(1);
    let watcher = given_config().name("watcher").hang_timeout(timeout).end_hung_supervisor(true);
    let _watcher = Instance::join(watcher).unwrap();
    boss.pulse();
    orders().for_each(drop);
}
