//! Who gets how many connections.

use std::collections::BTreeMap;
use std::thread;

use super::{How, Site, USUAL, counted, served_by};
use crate::support::{await_true, right_once};

/// Has four clients at a time connect so often, one after the other each.
fn visits(site: &Site, each: usize) -> BTreeMap<String, usize> {
    let client = || (0..each).map(|_| site.visit()).collect::<Vec<String>>();
    let names = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    counted(names)
}

/// The share of each, in parts of a thousand.
fn shares(counts: &BTreeMap<String, usize>, names: &[&str]) -> Vec<usize> {
    let all: usize = counts.values().sum();
    names.iter().map(|name| counts.get(*name).unwrap_or(&0) * 1000 / all).collect()
}

fn within(shares: &[usize], wanted: &[usize], most: usize) -> Result<(), String> {
    let near = shares.iter().zip(wanted).all(|(share, wanted)| share.abs_diff(*wanted) <= most);
    if near { Ok(()) } else { Err(format!("{shares:?} instead of {wanted:?}")) }
}

/// Goal: shares follow the weights within two parts of a hundred. Each instance has more threads
/// than clients come at once: where one has no thread free, others take its turn.
#[test]
fn weights_of_1_2_3_get_a_sixth_a_third_and_a_half() {
    let site = Site::new();
    let weighted = |name: &str, weight| site.acceptor(name, How { threads: 4, weight, ..USUAL });
    let _group = [weighted("one", 1), weighted("two", 2), weighted("three", 3)];
    right_once(|| {
        let counts = visits(&site, 300);
        within(&shares(&counts, &["one", "two", "three"]), &[166, 333, 500], 20)
    });
}

#[test]
fn equal_instances_get_equal_shares_one_after_the_other() {
    let site = Site::new();
    let _group = ["a", "b", "c"].map(|name| site.acceptor(name, How { threads: 4, ..USUAL }));
    right_once(|| within(&shares(&visits(&site, 150), &["a", "b", "c"]), &[333; 3], 20));
}

/// Goal: open connections count, not accepted ones.
/// Method: one instance holds its connections; the other one closes them at once.
#[test]
fn who_has_the_fewest_open_connections_gets_the_next() {
    let site = Site::new();
    let how = How { threads: 4, policy: "connections", ..USUAL };
    let _holds = site.acceptor("holds", How { work_us: 1_000_000_000, ..how });
    let _quick = site.acceptor("quick", how);
    // It has one at most for each that the quick one has at that moment, which is none.
    right_once(|| {
        let streams: Vec<_> = (0..20).map(|_| site.connect()).collect();
        drop(streams);
        await_true("all accepted", || site.listener().waiting == 0);
        let (holds, quick) = (site.acceptor_of("holds"), site.acceptor_of("quick"));
        if holds.open <= 4 && quick.taken > holds.taken {
            Ok(())
        } else {
            Err(format!("{holds:?} {quick:?}"))
        }
    });
}

#[test]
fn a_standby_gets_connections_when_the_first_is_gone() {
    let site = Site::new();
    // A thread that has served a client may wait for the processor before it accepts again: with
    // more threads than there are visits, there is room all the time.
    let how = How { threads: 60, policy: "standby", ..USUAL };
    let first = site.acceptor("first", How { weight: 2, ..how });
    let _second = site.acceptor("second", how);
    right_once(|| {
        let counts = counted((0..50).map(|_| site.visit()));
        match counts.get("first") {
            Some(50) => Ok(()),
            _ => Err(format!("{counts:?} {:?}", site.listener())),
        }
    });
    first.process.kill();
    for _ in 0..50 {
        assert_eq!(site.visit(), "second");
    }
}

#[test]
fn whoever_is_quickest_accepts_where_all_are_free() {
    let site = Site::new();
    let free = How { policy: "free", ..USUAL };
    let _group = ["a", "b"].map(|name| site.acceptor(name, free));
    let counts = visits(&site, 50);
    assert_eq!(counts.values().sum::<usize>(), 200, "{counts:?}");
    assert_eq!(site.listener().acceptors.len(), 2);
}

#[test]
fn a_drained_instance_ends_what_it_has_and_gets_nothing_new() {
    let site = Site::new();
    let mut leaves = site.acceptor("leaves", How { threads: 2, ..USUAL });
    let _stays = site.acceptor("stays", How { threads: 2, ..USUAL });
    leaves.order("drain");
    assert_eq!(leaves.word(), "drained");
    for _ in 0..50 {
        assert_eq!(site.visit(), "stays");
    }
    assert_eq!(site.listener().acceptors.len(), 1);
}

#[test]
fn an_operator_drains_an_instance_by_its_name() {
    let site = Site::new();
    let _stays = site.acceptor("stays", How { threads: 2, ..USUAL });
    let mut leaves = site.acceptor("leaves", How { threads: 2, ..USUAL });
    assert_eq!(site.ground.admin().drain("leaves").unwrap(), 1);
    leaves.order("drained");
    assert_eq!(leaves.word(), "drained");
    for _ in 0..50 {
        assert_eq!(site.visit(), "stays");
    }
    let unknown = site.ground.admin().drain("nobody").unwrap_err();
    assert_eq!(unknown.to_string(), "no instance `nobody`");
}

/// Goal: an instance that stands still with a turn delays nobody for longer than a moment.
#[test]
fn connections_of_an_instance_that_stands_still_go_to_others() {
    let site = Site::new();
    let _supervisor = site.acceptor("moves", How { threads: 2, ..USUAL });
    let still = site.acceptor("still", How { threads: 2, ..USUAL });
    still.process.stop();
    let streams: Vec<_> = (0..20).map(|_| site.connect()).collect();
    for stream in streams {
        assert_eq!(served_by(stream).as_deref(), Some("moves"));
    }
}
