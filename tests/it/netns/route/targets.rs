//! What becomes of connections when targets fail, and who may not route.

use std::thread;
use std::time::{Duration, Instant};

use super::bed::{Bed, CLIENT, ROUTERS, TARGETS, await_targets, services, write_key};
use super::load::{Load, Server};
use super::takeover::cannot_run;
use crate::support::await_true;

/// Goal: the clients of a dead host learn it, idle ones too; nobody else notices anything.
#[test]
fn the_clients_of_a_host_that_is_cut_off_are_reset_and_no_others() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let (load, idle) =
        (Load::start(&bed.network, CLIENT, &services(), 100, 200), bed.idle_lines(60));
    thread::sleep(Duration::from_secs(1));
    let cut = Instant::now();
    bed.network.cut(TARGETS[2]);
    let dead = bed.routers[0].until(0, "target-dead");
    println!("dead after {:?}", dead - cut);
    let (its, others): (Vec<_>, Vec<_>) = idle.into_iter().partition(|line| line.target == 3);
    assert!(!its.is_empty() && !others.is_empty());
    for line in its {
        line.await_reset();
    }
    println!("all idle ones were told after {:?}", cut.elapsed());
    for mut line in others {
        line.ask(1).expect("it lives");
    }
    thread::sleep(Duration::from_secs(2));
    let story = load.end();
    story.check(&[3]);
    let its: Vec<_> = story.lines.iter().filter(|line| line.target == 3).collect();
    assert!(!its.is_empty() && its.iter().all(|line| line.lost.is_some()), "{its:?}");
    println!("new: longest {:?}", story.storm.longest);
}

/// Goal: an agent dies, and its host lives: nobody notices, not even its own clients.
#[test]
fn the_death_of_an_agent_loses_no_connection() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let load = Load::start(&bed.network, CLIENT, &services(), 100, 200);
    thread::sleep(Duration::from_millis(500));
    let said = bed.routers[0].said();
    bed.agents[1].kill();
    bed.routers[0].until(said, "target-quiet");
    // Longer than the group takes to notice, and the router to ask the host.
    thread::sleep(Duration::from_secs(4));
    let said = bed.routers[0].said();
    bed.agents[1] = bed.agent(1);
    bed.routers[0].until(said, "target-up");
    thread::sleep(Duration::from_secs(1));
    let story = load.end();
    story.check(&[]);
    assert!(story.storm.served.contains_key(&2), "{:?}", story.storm.served);
}

/// Goal: the servers of a target end and come again: their connections end, and no new one is
/// refused once the routers have heard of it.
#[test]
fn a_server_that_restarts_loses_its_own_connections_and_gets_new_ones() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let load = Load::start(&bed.network, CLIENT, &services(), 60, 0);
    let refused = bed.idle_lines(1);
    assert_eq!(refused.len(), 1);
    bed.stop_servers(1);
    // The end of a listener is known at once; what comes in the moment before is refused by the
    // host itself.
    await_true("no new one goes there", || bed.visits(30).is_some_and(|who| !who.contains(&2)));
    bed.start_servers(1);
    await_true("new ones go there again", || bed.visits(30).is_some_and(|who| who.contains(&2)));
    thread::sleep(Duration::from_secs(1));
    let story = load.end();
    story.check(&[2]);
}

/// Goal: routers that do not hear each other hear of each other from the targets: there is one
/// owner, and no connection breaks, although the clients' tables of neighbours change their minds.
#[test]
fn routers_that_do_not_hear_each_other_have_one_owner() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let load = Load::start(&bed.network, CLIENT, &services(), 100, 200);
    bed.part_routers();
    bed.alternate_neighbours(Duration::from_secs(5));
    bed.join_routers();
    thread::sleep(Duration::from_secs(2));
    assert!(bed.routers[0].is_owner() && !bed.routers[1].is_owner());
    load.end().check(&[]);
}

/// Goal: what cannot work ends in an error that names it, and leaves nothing.
#[test]
fn who_cannot_route_is_told_why_and_leaves_nothing() {
    if cannot_run() {
        return;
    }
    let mut bed = Bed::new();
    let serve = |bed: &Bed, host: usize, more: &str| {
        let mut command = bed.network.command(host, env!("CARGO_BIN_EXE_pares"));
        command.args(Bed::arguments("serve", more)).env("PARES_DIR", bed.home(host));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = serve(&bed, ROUTERS[0], "--device eth0 --rank 10");
    assert!(code == Some(69) && said.contains("another process on this host"), "{code:?} {said}");
    let (code, said) = serve(&bed, CLIENT, "--device eth7");
    assert!(code == Some(1) && said.contains("`eth7` does not exist"), "{code:?} {said}");
    bed.network.script(CLIENT, "ip address add 10.77.0.100/24 dev eth0");
    let (code, said) = serve(&bed, CLIENT, "--device eth0");
    assert!(code == Some(69) && said.contains("10.77.0.100 is configured"), "{code:?} {said}");
    bed.network.script(CLIENT, "ip address del 10.77.0.100/24 dev eth0");
    let (code, said) = serve(&bed, CLIENT, "--device eth0 --report-port 0 --rank 255");
    assert!(code == Some(2) && said.contains("254"), "{code:?} {said}");

    // With another key nobody hears it, and nobody lets it in.
    write_key(&bed.home(CLIENT), 0x55);
    let mut stranger = bed.router(CLIENT, "--rank 5");
    thread::sleep(Duration::from_secs(2));
    assert!(bed.routers[0].is_owner());
    stranger.said();
    let up = stranger.history.iter().filter(|(_, said)| said["event"] == "target-up").count();
    assert_eq!(up, 0, "{:?}", stranger.history);
    stranger.end();
    let tables = bed.network.command(CLIENT, "nft").args(["list", "tables"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
    assert!(!bed.has_address(CLIENT));
    await_targets(&mut bed.routers[0], TARGETS.len());
    drop::<Vec<Vec<Server>>>(std::mem::take(&mut bed.servers));
}
