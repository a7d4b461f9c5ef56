//! Where a group is: port and loopback address made from its name, or a port that was set.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use pares::{Client, Config, Instance, Role, default_address, default_port};

use crate::raw::is_free;
use crate::support::{Ground, PATIENCE, Proc, finish};

/// A name for a group that nobody else on this machine has.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("address-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Two groups whose names make one port, and addresses that are free.
fn meeting() -> [String; 2] {
    let mut seen = HashMap::new();
    loop {
        let (name, is_free) = (name(), |name: &String| is_free(default_address(name)));
        match seen.insert(default_port(&name), name.clone()) {
            Some(other) if is_free(&other) && is_free(&name) => return [other, name],
            _ => {}
        }
    }
}

/// The command in this group's directory, without a port.
fn command(ground: &Ground, group: &str, words: &str) -> Command {
    let mut command = ground.command(&format!("-g {group} {words}"));
    command.env_remove("PARES_PORT").env_remove("PARES_GROUP");
    command
}

/// Goal: as many groups as there are jobs, with no port to be chosen for any. Method: two names
/// that make one port; both groups are joined, asked, called, handed over, and die, side by side.
#[test]
fn two_groups_whose_names_make_one_port_do_not_meet() {
    let ground = Ground::new();
    let groups = meeting();
    assert_eq!(default_port(&groups[0]), default_port(&groups[1]));
    let start = |group: &str, name: &str| {
        let instance = Proc::start(command(&ground, group, &format!("join --json --name {name}")));
        instance.role();
        instance
    };
    let mut first: Vec<Proc> = groups.iter().map(|group| start(group, "one")).collect();
    let second: Vec<Proc> = groups.iter().map(|group| start(group, "two")).collect();
    for (group, one) in groups.iter().zip(&first) {
        let listing = finish(command(&ground, group, "ls --json")).code(0).json();
        assert_eq!(listing.as_array().expect("a list").len(), 2, "{listing}");
        let main = finish(command(&ground, group, "call main info")).code(0).out;
        assert!(
            main.contains(&format!("group={group}\n"))
                && main.contains(&format!("pid={}\n", one.pid())),
            "{main}"
        );
        let status = finish(command(&ground, group, "status --json")).code(0).json();
        assert_eq!(status["address"], default_address(group).to_string());
        // What runs in the group finds it without being told a port.
        let inner = "run --permit inner=1 --limit 1 -- sh -c";
        let mut run = command(&ground, group, inner);
        run.args(["exec \"$0\" status --json", env!("CARGO_BIN_EXE_pares")]);
        assert_eq!(finish(run).code(0).json()["group"], group.as_str());
        let doctor = finish(command(&ground, group, "doctor")).out;
        assert!(
            doctor.contains(&format!(" of {}; term ", default_address(group).ip())),
            "{doctor}"
        );
    }
    // One of the two dies, the other goes on.
    first.remove(0).kill();
    second[0].expect(|event| event["event"] == "supervisor");
    for (group, main) in groups.iter().zip(["two", "one"]) {
        let admin = Client::new(
            &Config::new(group).state_directory(&ground.directory).answer_timeout(PATIENCE),
        )
        .unwrap();
        assert_eq!(admin.list().unwrap().supervisor, main);
    }
}

#[test]
fn a_port_that_was_set_is_on_127_0_0_1_whatever_the_group() {
    let ground = Ground::new();
    let group = name();
    let config = Config::new(&group).state_directory(&ground.directory).answer_timeout(PATIENCE);
    let set = config.clone().port(ground.port);
    assert_eq!(set.supervisor_address(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, ground.port));
    assert_eq!(config.supervisor_address(), default_address(&group));
    assert_eq!(default_address("default"), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 30099));
    let instance = Instance::join(set).unwrap();
    let error = TcpListener::bind((Ipv4Addr::LOCALHOST, ground.port)).unwrap_err();
    assert_eq!((instance.role(), error.kind()), (Role::Supervisor, std::io::ErrorKind::AddrInUse));
}

/// Goal: what listens at all addresses stands in the way of any group, and is named; what listens
/// at another does not.
#[test]
fn a_program_on_the_port_of_all_addresses_is_named_and_one_elsewhere_is_not_in_the_way() {
    let ground = Ground::new();
    let (group, at) = loop {
        let group = name();
        let at = default_address(&group);
        if is_free((Ipv4Addr::UNSPECIFIED, at.port())) {
            break (group, at);
        }
    };
    let everywhere = Proc::mute(Ipv4Addr::UNSPECIFIED, at.port());
    let who = format!("port {} of {} is held by", at.port(), at.ip());
    let join = finish(command(&ground, &group, "join")).code(69);
    join.says(&who).says(&format!("(pid {}", everywhere.pid()));
    let doctor = finish(command(&ground, &group, "doctor")).code(1).out;
    assert!(doctor.contains(&who), "{doctor}");
    everywhere.kill();
    // Another group: the port of this one may be another test's by now.
    let (group, _elsewhere) = loop {
        let group = name();
        if let Ok(listener) =
            TcpListener::bind((Ipv4Addr::LOCALHOST, default_address(&group).port()))
        {
            break (group, listener);
        }
    };
    finish(command(&ground, &group, "run --when-supervisor -- true")).code(0);
}

/// Goal: where the system has no such address, an error that says what to do: never another place,
/// where others would not look.
#[test]
fn a_loopback_interface_without_the_groups_address_is_an_error_with_its_cure() {
    let ground = Ground::new();
    if !Command::new("unshare")
        .args(["--net", "ip", "link"])
        .output()
        .is_ok_and(|made| made.status.success())
    {
        crate::skipped::skip("this user may not `unshare --net`, or there is no `ip`");
        return;
    }
    let group = name();
    let script = format!(
        "unset PARES_PORT; export PARES_GROUP={group}\n\
         ip link set lo up; ip address flush dev lo; ip address add 127.0.0.1/32 dev lo\n\
         for command in 'join' 'ls' 'run --when-supervisor -- true'; do $PARES $command 2>&1; echo \
         code $?; done\n\
         $PARES -p 20000 run --when-supervisor -- echo with a port\n\
         ip address add 127.0.0.1/8 dev lo; $PARES run --when-supervisor -- echo with all addresses"
    );
    let answer = finish(ground.shell_in("--net", &script)).code(0);
    let refused = format!(
        "does not have {}, or its loopback interface is down",
        default_address(&group).ip()
    );
    assert_eq!(
        (answer.out.matches(&refused).count(), answer.out.matches("code 69\n").count()),
        (3, 3),
        "{answer:?}"
    );
    assert!(answer.out.ends_with("with a port\nwith all addresses\n"), "{answer:?}");
}
