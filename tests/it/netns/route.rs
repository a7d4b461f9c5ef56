//! `pares route` and `pares doctor --route` on a host whose network may be changed.

mod bed;
mod load;
mod takeover;
mod targets;

use std::process::{Command, Output};

use super::hosts::{Network, abilities};
use super::is_skipped;
use crate::support::Ground;

const HOST: usize = 0;

/// The command on the host.
fn pares(network: &Network, arguments: &[&str]) -> Command {
    let mut command = network.command(HOST, env!("CARGO_BIN_EXE_pares"));
    command.args(arguments);
    command
}

#[track_caller]
fn check(output: &Output, code: i32, said: &str, complained: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(ended, (Some(code), said.into(), complained.into()));
}

/// Goal: what a router has left that was killed is removed, and nothing else. Method: `nft` stands
/// in for it; another table and another address are on the host, too.
#[test]
fn route_clean_removes_what_a_dead_router_has_left_and_prints_it() {
    if is_skipped(&[&abilities().hosts, &abilities().rules]) {
        return;
    }
    let network = Network::new(1);
    network.script(
        HOST,
        "nft -f - <<'END'
         table netdev pares_7_web {
           set addresses4 {
             type ipv4_addr
             elements = { 10.77.0.100 }
           }
           set addresses6 {
             type ipv6_addr
             elements = { fd77::100 }
           }
         }
         table netdev pares_8_web {
         }
END
         ip address add 10.77.0.100/32 dev eth0
         ip address add 10.77.0.100/32 dev lo
         ip address add fd77::100/128 dev eth0 nodad
         ip address add 10.77.0.101/32 dev eth0",
    );
    let clean = || pares(&network, &["-g", "web", "route", "clean", "--service", "7"]);
    check(
        &clean().output().unwrap(),
        0,
        "address\t10.77.0.100\teth0\naddress\tfd77::100\teth0\ntable\tpares_7_web\n",
        "",
    );
    check(&clean().output().unwrap(), 0, "", "");
    network.script(
        HOST,
        "nft list table netdev pares_8_web
         ip address show dev lo | grep -F 10.77.0.100
         ip address show dev eth0 | grep -F 10.77.0.101
         ! ip address show dev eth0 | grep -F -e 10.77.0.100 -e fd77::100",
    );
}

#[test]
fn who_may_not_change_the_network_is_told_so() {
    if is_skipped(&[&abilities().hosts]) {
        return;
    }
    let network = Network::new(1);
    let mut command = network.command(HOST, "setpriv");
    command.args(["--bounding-set", "-net_admin", env!("CARGO_BIN_EXE_pares"), "route", "clean"]);
    check(
        &command.output().unwrap(),
        77,
        "",
        "pares: this user may not change the network of this host; give the program \
         CAP_NET_ADMIN and CAP_NET_RAW, or run it as root\n",
    );
}

#[test]
fn the_doctor_says_whether_a_host_can_route() {
    if is_skipped(&[&abilities().hosts, &abilities().rules]) {
        return;
    }
    let (network, ground) = (Network::new(1), Ground::new());
    let finding = |device: &str| {
        let mut command = pares(&network, &["doctor", "--json", "--route", device]);
        let output = command.env("PARES_DIR", &ground.directory).output().unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        all.into_iter().find(|one| one["check"] == "route").expect("a finding")
    };
    let found = finding("eth0");
    assert_eq!(found["state"], "ok", "{found}");
    let found = finding("eth9");
    assert_eq!(found["state"], "cure", "{found}");
    assert_eq!(found["finding"], "the network device `eth9` does not exist here");
}
