//! The addresses go from one router to another, and no connection notices more than a pause.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::hosts::abilities;
use super::super::is_skipped;
use super::bed::{Bed, CLIENT, ROUTERS, services};
use super::load::{Load, Story};
use crate::support::await_true;

/// The kernel takes an address away that was not renewed for so long, and the group takes a process
/// for dead after 2 s.
const LIFE: Duration = Duration::from_secs(2);

pub(super) fn cannot_run() -> bool {
    is_skipped(&[&abilities().hosts, &abilities().rules])
}

fn load(bed: &Bed) -> Load {
    Load::start(&bed.network, CLIENT, &services(), 200, 500)
}

/// Goal: a router's process is killed: its kernel goes on. Nobody loses a connection, and the dead
/// process's host loses the addresses by itself.
#[test]
fn the_death_of_the_routers_process_loses_no_connection() {
    if cannot_run() {
        return;
    }
    for backup_serves in [false, true] {
        let mut bed = Bed::with("", backup_serves);
        let load = load(&bed);
        thread::sleep(Duration::from_secs(1));
        let killed = Instant::now();
        bed.routers[0].kill();
        bed.routers[1].until(0, "owner");
        bed.routers[1].until(0, "settled");
        let is_gone = || !bed.has_address(ROUTERS[0]);
        await_true("the dead one's host has the addresses no more", is_gone);
        println!("addresses gone after {:?}", killed.elapsed());
        thread::sleep(Duration::from_secs(1));
        told(load.end(), 3 + usize::from(backup_serves));
    }
}

/// Checks that nobody has lost anything, and that so many targets have served.
#[track_caller]
fn told(story: Story, targets: usize) {
    story.check(&[]);
    assert_eq!(story.storm.served.len(), targets, "{:?}", story.storm.served);
    println!("longest {:?}, new {:?}", story.longest(), story.storm.longest);
}

/// Goal: a router's host is cut off; then it comes back.
#[test]
fn the_loss_of_the_routers_host_loses_no_connection() {
    if cannot_run() {
        return;
    }
    for backup_serves in [false, true] {
        let mut bed = Bed::with("", backup_serves);
        let load = load(&bed);
        thread::sleep(Duration::from_secs(1));
        bed.network.cut(ROUTERS[0]);
        let cut = Instant::now();
        let owned = bed.routers[1].until(0, "owner");
        println!("owner after {:?}", owned - cut);
        bed.routers[1].until(0, "settled");
        thread::sleep(LIFE);
        bed.network.mend(ROUTERS[0]);
        bed.routers[0].until(0, "former");
        thread::sleep(Duration::from_secs(2));
        assert!(bed.routers[1].is_owner() && !bed.routers[0].is_owner());
        told(load.end(), 3 + usize::from(backup_serves));
    }
}

/// Goal: a router that stands still for ten seconds is replaced, and gives up when it goes on.
#[test]
fn a_router_that_stood_still_gives_up() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let load = load(&bed);
    bed.routers[0].signal(Signal::STOP);
    bed.routers[1].until(0, "owner");
    thread::sleep(Duration::from_secs(10));
    bed.routers[0].signal(Signal::CONT);
    bed.routers[0].until(0, "former");
    thread::sleep(Duration::from_secs(1));
    load.end().check(&[]);
    assert!(bed.routers[1].is_owner() && !bed.has_address(ROUTERS[0]));
}

/// Goal: a router that leaves hands over first, and takes everything away.
#[test]
fn a_router_that_leaves_hands_over_and_leaves_nothing() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let load = load(&bed);
    thread::sleep(Duration::from_secs(1));
    bed.routers.remove(0).end();
    bed.routers[0].until(0, "settled");
    let story = load.end();
    story.check(&[]);
    println!("longest {:?}, new {:?}", story.longest(), story.storm.longest);
    let mut nft = bed.network.command(ROUTERS[0], "nft");
    let tables = nft.args(["list", "tables"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
    assert!(!bed.has_address(ROUTERS[0]));
}

/// Goal: a router that is killed and started again goes on with its table: as the owner, if nobody
/// took over meanwhile.
#[test]
fn a_router_that_is_started_again_goes_on_with_what_its_kernel_has() {
    if cannot_run() {
        return;
    }
    for has_backup in [true, false] {
        let mut bed = Bed::new();
        if !has_backup {
            bed.routers.pop().unwrap().end();
        }
        let load = load(&bed);
        bed.routers[0].kill();
        if has_backup {
            // Or the one that is started again might be there in time to take over itself.
            bed.routers[1].until(0, "owner");
        }
        bed.routers[0] = bed.router(ROUTERS[0], "--rank 10");
        let owner = if has_backup { 1 } else { 0 };
        bed.routers[owner].until(0, "settled");
        thread::sleep(Duration::from_secs(2));
        load.end().check(&[]);
    }
}

/// Goal: with `--give-back now`, the better router gets the addresses back without a pause.
#[test]
fn a_router_that_comes_back_gets_the_addresses_without_a_pause() {
    if cannot_run() {
        return;
    }
    for backup_serves in [false, true] {
        let mut bed = Bed::with("--give-back now", backup_serves);
        bed.routers[0].kill();
        bed.routers[1].until(0, "settled");
        let load = load(&bed);
        bed.routers[0] = bed.router(ROUTERS[0], "--rank 10 --give-back now");
        bed.routers[0].until(0, "owner");
        bed.routers[0].until(0, "settled");
        thread::sleep(Duration::from_secs(2));
        told(load.end(), 3 + usize::from(backup_serves));
        assert!(bed.routers[0].is_owner() && !bed.routers[1].is_owner());
        assert!(!bed.has_address(ROUTERS[1]));
    }
}
