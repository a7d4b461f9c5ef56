//! What the library costs, beside what the kernel alone costs and what users could take instead;
//! all in one run, in turns.
//!
//! `cargo bench --bench measured [-- WORD… SIZE…]`: only rows whose group has one of the words in
//! its name (`takeover`, `recovery`, `join`, `look-up`, `acquire`, `release`, `tally`, `call`,
//! `set`, `throughput`, `setting`, `first-byte`, `accepts`, `share`, `lost`, `growth`, `idle`,
//! `memory`, `codec`), and only these sizes.
//! `PARES_BENCH_ROUNDS` lessens the rounds, `PARES_BENCH_RIVALS=0` leaves out the rivals.
//! `-- render FILE` makes the documents of `FILE`'s folder anew from that JSON.
//!
//! A whole run writes into `docs/`, any other one into `target/measured/`.

use std::env;
use std::path::Path;

mod accept;
mod calls;
mod chart;
mod codec;
mod drive;
mod failover;
mod floor;
mod helper;
mod large;
mod limits;
mod machine;
mod many;
mod own;
mod plan;
mod plot;
mod quiet;
mod report;
mod result;
mod rivals;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let path = |at: usize| Path::new(word(at));
    let number = |at: usize| word(at).parse::<u64>().expect("a number");
    let port = |at: usize| word(at).parse::<u16>().expect("a port");
    match word(0) {
        "blocked-readers" => floor::blocked_readers(),
        "acceptor" => accept::acceptor(port(1), path(2), port(3), number(4), number(5)),
        "bare" => accept::bare(port(1)),
        "bare-crowd" => floor::crowd(port(1)),
        "crowd" => own::crowd(port(1), path(2)),
        "counter" => floor::counter(),
        "customers" => floor::customers(port(1), number(2)),
        "dialler" => floor::dialler(port(1), number(2)),
        "echo" => floor::echo(),
        "echoers" => floor::echoers(port(1), number(2)),
        "first" => own::first(port(1), path(2)),
        "flock-waiter" => floor::flock_waiter(path(1)),
        "gathering" => floor::gathering(number(1)),
        "guard" => floor::guard(&words_after("guard")),
        "holders" => own::holders(port(1), path(2), number(3)),
        "inherited" => accept::inherited(number(1), number(2)),
        "lifelines" => floor::lifelines(),
        "member" => own::member(port(1), path(2)),
        "prefork" => accept::prefork(port(1), number(2)),
        "quiet" => quiet::scene(word(1) == "alone", number(2)),
        "reader" => floor::reader(port(1), path(2), number(3)),
        "reuse-port" => accept::reuse_port(port(1), number(2), number(3)),
        "render" => println!("{}", report::render(path(1)).display()),
        "seer" => own::seer(port(1), path(2), path(3), number(4)),
        "subordinates" => own::subordinates(port(1), path(2), number(3)),
        "survivor" => floor::survivor(),
        _ if !env::args().any(|word| word == "--bench") => println!("`cargo bench` measures"),
        _ => measure(&plan::Plan::new(&words)),
    }
}

/// All words after this one, those that begin with dashes too.
fn words_after(word: &str) -> Vec<String> {
    env::args().skip_while(|one| one != word).skip(1).collect()
}

fn measure(plan: &plan::Plan) {
    limits::raise();
    let machine = machine::machine();
    let rivals = rivals::Rivals::build();
    let mut rows = Vec::new();
    let mut take = |more: Vec<result::Row>| {
        if more.is_empty() {
            return;
        }
        let more: Vec<_> = more.iter().map(result::Row::to_json).collect();
        report::print(&more);
        rows.extend(more);
        // Should a later row fail, what was measured is not lost.
        report::write(&report::report(machine.clone(), rows.clone()), false);
    };
    take(failover::rows(plan, &rivals));
    take(calls::rows(plan, &rivals));
    take(many::throughput(plan, &rivals));
    take(many::setting(plan, &rivals));
    take(accept::latency(plan));
    take(accept::throughput(plan));
    take(accept::fairness(plan));
    take(accept::losses(plan));
    take(large::rows(plan));
    take(quiet::rows(plan));
    take(codec::rows(plan, &rivals));
    if rows.is_empty() {
        panic!("nothing is measured under such a name; the groups are named in docs/measured.json");
    }
    println!("\n{}", report::write(&report::report(machine, rows), plan.is_whole()).display());
}
