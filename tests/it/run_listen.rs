//! `pares run --listen`: programs that accept by themselves share one socket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use pares::SharedListener;
use rustix::process::Signal;
use serde_json::json;

use crate::raw::free_port;
use crate::skipped::skip;
use crate::support::{Ground, PATIENCE, Proc, await_true, finish};

/// A program that answers each connection with the first word of its command line, and says when it
/// begins.
const SERVER: &str = "import os, socket, sys\n\
    assert os.environ['LISTEN_PID'] == str(os.getpid())\n\
    listener = socket.socket(fileno=3)\n\
    listener.setblocking(True)\n\
    print('serves', flush=True)\n\
    while True:\n\
    \x20   connection, _ = listener.accept()\n\
    \x20   connection.sendall(sys.argv[1].encode())\n\
    \x20   connection.close()";

fn server(ground: &Ground, port: u16, options: &str, name: &str) -> Proc {
    let words = format!("run --name {name} --listen 127.0.0.1:{port} {options} -- python3 -c");
    let words = words.split_whitespace().map(str::to_owned);
    let words = words.chain([SERVER.to_owned(), name.to_owned()]);
    Proc::start(ground.command_of(words))
}

/// Waits until so many share a listener.
#[track_caller]
fn await_acceptors(ground: &Ground, count: usize) {
    let is_it = |one: &SharedListener| one.acceptors.len() == count;
    await_true("so many accept", || {
        ground.admin().listeners().is_ok_and(|all| all.iter().any(is_it))
    });
}

#[track_caller]
fn served(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut name = String::new();
    stream.read_to_string(&mut name).expect("an answer");
    name
}

#[test]
fn the_command_gets_the_sockets_as_a_service_manager_gives_them() {
    let ground = Ground::new();
    let (one, other) = (free_port(), free_port());
    let script = "test $LISTEN_PID = $$ && echo $LISTEN_FDS $LISTEN_FDNAMES $NGINX $PARES_NAME; \
                  for fd in 3 4; do readlink /proc/$$/fd/$fd | cut -d: -f1; done; \
                  echo ${PARES_HANDED_DOWN-nothing else}";
    let words = format!("run --name web --listen 127.0.0.1:{one} --listen 127.0.0.1:{other}");
    let words = words.split_whitespace().map(str::to_owned);
    let words = words.chain(["--", "sh", "-c", script].map(str::to_owned));
    let answer = finish(ground.command_of(words)).code(0);
    let wanted = format!("2 port-{one}:port-{other} 3;4; web\nsocket\nsocket\nnothing else\n");
    assert_eq!(answer.out, wanted);
}

#[test]
fn connections_that_wait_survive_the_end_of_any_command() {
    let ground = Ground::new();
    let port = free_port();
    let first = server(&ground, port, "", "first");
    assert_eq!(first.line(), "serves");
    assert_eq!(served(port), "first");
    let second = server(&ground, port, "", "second");
    assert_eq!(second.line(), "serves");
    first.kill();
    // Its guard, which is supervisor, ends the command; until then that may accept, too.
    await_acceptors(&ground, 1);
    for _ in 0..20 {
        assert_eq!(served(port), "second");
    }
}

#[test]
fn a_command_that_is_drained_ends_and_others_accept() {
    let ground = Ground::new();
    let port = free_port();
    let _stays = server(&ground, port, "", "stays");
    let mut leaves = server(&ground, port, "", "leaves");
    assert_eq!(leaves.line(), "serves");
    assert_eq!(ground.ask("drain leaves").code(0).out, "1\n");
    assert_eq!(leaves.end_code(), 125);
    for _ in 0..20 {
        assert_eq!(served(port), "stays");
    }
    ground.ask("drain nobody").code(4).says("no instance `nobody`");
}

#[test]
fn listeners_are_listed_with_those_who_accept() {
    let ground = Ground::new();
    let port = free_port();
    ground.ask("listeners").code(3);
    let only = server(&ground, port, "", "only");
    assert_eq!(only.line(), "serves");
    let line = format!("127.0.0.1:{port}\t0\tonly\tfree\t1\t0\t0\t0\t-\n");
    assert_eq!(ground.ask("listeners").code(0).out, line);
    let wanted = json!([{
        "address": format!("127.0.0.1:{port}"),
        "waiting": 0,
        "acceptors": [{
            "name": "only", "policy": "free", "weight": 1, "capacity": 16, "turns": 0, "open": 0,
            "taken": 0, "draining": false,
        }],
    }]);
    assert_eq!(ground.ask("listeners --json").code(0).json(), wanted);
}

#[test]
fn the_socket_is_there_before_the_role_is() {
    let ground = Ground::new();
    let port = free_port();
    let first = server(&ground, port, "--when-supervisor", "first");
    assert_eq!(first.line(), "serves");
    let second = server(&ground, port, "--when-supervisor", "second");
    await_acceptors(&ground, 2);
    assert_eq!(served(port), "first");
    first.kill();
    // From here on nobody accepts, until the second one is supervisor.
    await_acceptors(&ground, 1);
    assert_eq!(served(port), "second");
    assert_eq!(second.line(), "serves");
}

#[test]
fn an_address_that_cannot_be_had_ends_the_wrapper_and_says_why() {
    let ground = Ground::new();
    let port = free_port();
    let _holder = Proc::mute([127, 0, 0, 1].into(), port);
    let taken = format!("run --listen 127.0.0.1:{port} -- true");
    ground.ask(&taken).code(69).says(&format!("cannot listen at 127.0.0.1:{port}: "));
    ground.ask("run --listen 192.0.2.1:80 -- true").code(1).says("192.0.2.1");
    for wrong in ["80", "localhost:80", "127.0.0.1:0", "127.0.0.1"] {
        ground
            .ask(&format!("run --listen {wrong} -- true"))
            .code(2)
            .says("an address and a port, such as 0.0.0.0:80 or [::1]:80");
    }
    ground.ask("run -- true").code(2).says("--listen");
}

#[test]
fn who_asks_the_wrapper_to_leave_ends_the_command() {
    let ground = Ground::new();
    let port = free_port();
    let mut only = server(&ground, port, "", "only");
    assert_eq!(only.line(), "serves");
    ground.ask("stop only").code(0);
    assert_eq!(only.end_code(), 125);
    let mut only = server(&ground, port, "", "only");
    assert_eq!(only.line(), "serves");
    only.signal(Signal::TERM);
    assert_eq!(only.end_code(), 128 + 15);
}

/// Goal: the example restarts servers under load and loses no connection.
#[test]
fn the_rolling_restart_loses_no_connection() {
    let ground = Ground::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rolling_restart.sh");
    let mut command = ground.shell(&format!("exec sh {script} 3 {}", free_port()));
    command.env("PARES", env!("CARGO_BIN_EXE_pares"));
    let answer = finish(command).code(0);
    let last = answer.out.lines().last().unwrap_or_default();
    assert!(last.ends_with(" servers, 0 lost"), "{answer:?}");
}

#[test]
fn a_command_is_ended_by_the_signal_that_its_user_names() {
    let ground = Ground::new();
    let script = "trap 'echo by USR1; exit 0' USR1; echo begun; while :; do sleep 0.05; done";
    let words = format!("run --name one --end-signal USR1 --listen 127.0.0.1:{}", free_port());
    let words = words.split_whitespace().map(str::to_owned);
    let words = words.chain(["--", "sh", "-c", script].map(str::to_owned));
    let one = Proc::start(ground.command_of(words));
    assert_eq!(one.line(), "begun");
    ground.ask("drain one").code(0);
    assert_eq!(one.line(), "by USR1");
}

// ------------------------------------------------------------------------------------------
// real servers

/// The page that a server has at its root.
fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.").then_some(answer)
}

/// Two of a server share a port; one is killed, a third one comes, the second one ends in order:
/// every request is answered.
#[track_caller]
fn serve_throughout(
    program: &str,
    graceful: &str,
    command: impl Fn(&Path, u16, &str) -> Vec<String>,
) {
    if finish(sh(&format!("command -v {program}"))).code != 0 {
        return skip(format!("there is no {program} here"));
    }
    let ground = Ground::new();
    let port = free_port();
    let start = |name: &str| {
        let directory = ground.directory.join(name);
        fs::create_dir(&directory).unwrap();
        let own = words(&format!(
            "run --name {name} --end-signal {graceful} --listen 127.0.0.1:{port} --"
        ));
        Proc::start(ground.command_of(own.into_iter().chain(command(&directory, port, name))))
    };
    let await_page = || await_true("it serves", || page(port).is_some());
    let first = start("first");
    await_page();
    let _second = start("second");
    await_acceptors(&ground, 2);
    let all_answered = || (0..50).all(|_| page(port).is_some());
    assert!(all_answered(), "with two");
    first.kill();
    // Until then it may accept, and take what it has accepted along.
    await_acceptors(&ground, 1);
    assert!(all_answered(), "after the death of one");
    let _third = start("third");
    await_acceptors(&ground, 2);
    ground.ask("drain second").code(0);
    assert!(all_answered(), "during the orderly end of another");
    await_acceptors(&ground, 1);
    assert!(all_answered(), "after the orderly end of another");
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn haproxy_serves_throughout() {
    serve_throughout("haproxy", "USR1", |directory, _, name| {
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend web\n bind fd@3\n http-request return status 200 content-type text/plain \
             string {name}\n"
        );
        let file = directory.join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        words(&format!("haproxy -db -f {}", file.display()))
    });
}

#[test]
fn nginx_serves_throughout() {
    serve_throughout("nginx", "QUIT", |directory, port, name| {
        let at = directory.display();
        let config = format!(
            "daemon off; pid {at}/pid; error_log {at}/error.log; user root;\n\
             events {{ }}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{name}'; }} }} }}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, config).unwrap();
        words(&format!("nginx -e {at}/error.log -c {}", file.display()))
    });
}

#[test]
fn gunicorn_serves_throughout() {
    serve_throughout("gunicorn", "TERM", |directory, _, name| {
        let app =
            format!("def app(environ, start):\n    start('200 OK', [])\n    return [b'{name}']\n");
        fs::write(directory.join("served.py"), app).unwrap();
        words(&format!("gunicorn --chdir {} served:app", directory.display()))
    });
}
