//! Take-over in masterless groups on real networks, beside keepalived (VRRP) on the same hosts with
//! the same interval; all in one run, in turns. The hosts are network namespaces, see
//! `tests/it/netns/hosts.rs`.
//!
//! `cargo bench --bench masterless [-- SIZE…]`: only so many hosts. `PARES_BENCH_ROUNDS` lessens
//! the rounds. `-- render FILE` makes the document of `FILE`'s folder anew from that JSON, and from
//! `measured-masterless-sim.json` beside it if that is there: the simulator's figures, an object
//! whose fields are named as the figure (`takeover_H`, …) and have an array of numbers for each
//! number of processes, `{"takeover_H": {"2": [4.1, …], "10": […]}, …}`.
//!
//! A whole run writes into `docs/`, any other one into `target/masterless/`. It needs root, `ip`,
//! `nft`, and for the comparison `keepalived`.
#![cfg(target_os = "linux")]

use std::env;
use std::path::Path;

#[path = "../measured/chart.rs"]
#[expect(dead_code, reason = "the other bench has logarithmic axes")]
mod chart;
mod figures;
#[path = "../../tests/it/netns/hosts.rs"]
#[expect(dead_code, reason = "the tests have more faults")]
mod hosts;
mod keepalived;
#[path = "../measured/machine.rs"]
#[expect(dead_code, reason = "the other bench writes more units")]
mod machine;
mod pares;
#[path = "../../tests/it/netns/peers.rs"]
#[expect(dead_code, reason = "the tests look at more")]
mod peers;
mod plot;
mod report;
mod rounds;
mod subject;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == "render") {
        let file = words.get(1).expect("the file with the figures");
        println!("{}", report::render(Path::new(file)).display());
    } else if !env::args().any(|word| word == "--bench") {
        println!("`cargo bench` measures");
    } else {
        measure(&words);
    }
}

fn measure(words: &[String]) {
    let abilities = hosts::abilities();
    if abilities.hosts.is_err() || abilities.rules.is_err() {
        return; // What is missing has been said.
    }
    let wanted: Vec<usize> =
        words.iter().map(|word| word.parse().expect("a number of hosts")).collect();
    let fewer = env::var("PARES_BENCH_ROUNDS")
        .ok()
        .map(|rounds| rounds.parse().expect("PARES_BENCH_ROUNDS is a number"));
    let sizes = if wanted.is_empty() { vec![2, 3] } else { wanted.clone() };
    let machine = machine::machine();
    let rows: Vec<_> = sizes
        .into_iter()
        .flat_map(|size| rounds::rows(size, fewer.unwrap_or(rounds::ROUNDS)))
        .collect();
    let path = report::write(machine, rows, wanted.is_empty() && fewer.is_none());
    println!("\n{}", path.display());
}
