//! The group's files: a key that was mounted, and what somebody else may have put into the
//! directory.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Answer, GROUP, Ground, Proc, finish};

/// A user who is nobody's here.
const STRANGER: u32 = 12_345;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// A secret as an orchestrator mounts it: a link to a file in a directory that is a link itself, in
/// a directory that cannot be written.
fn secret(ground: &Ground, bits: u32) -> PathBuf {
    let mount = ground.directory.join("mount");
    let data = mount.join("..2026_11_28");
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&data).expect("a directory");
    fs::write(data.join("key"), [7; 32]).expect("written");
    mode(&data.join("key"), bits);
    symlink("..2026_11_28", mount.join("..data")).expect("a link");
    symlink("..data/key", mount.join("key")).expect("a link");
    mode(&mount, 0o555);
    mount.join("key")
}

fn say(answer: &Answer, words: &[&str]) {
    let text = format!("{}{}", answer.out, answer.err);
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in {answer:?}");
}

#[test]
fn a_mounted_secret_is_the_key_of_every_command() {
    let ground = Ground::new();
    let key = secret(&ground, 0o444);
    let key = key.to_str().expect("plain");
    let one = ground.start(&format!("--key-file {key} join --json --name one"));
    one.role();
    // Before the subcommand and behind it, as -g and -p.
    ground.ask(&format!("is-up one --key-file {key}")).code(0);
    ground.ask(&format!("--key-file {key} run --permit x --limit 1 -- true")).code(0);
    say(&ground.ask(&format!("--key-file {key} doctor")), &["key\tnote", "0444", "supervisor\tok"]);
    // Without it there is another key, made new.
    ground.ask("is-up one").code(77);
    let peer = ground.start(&format!("peer join --json --key-file {key}"));
    peer.expect(|event| event["event"] == "role" && event["to"] == "primary");
    say(&ground.ask(&format!("peer ls --key-file {key} --wait 1500")).code(0), &["primary"]);
    assert!(!ground.directory.join("it.key.").exists());
}

/// Goal: a container that does not run as root uses a secret of root's.
#[test]
fn a_secret_of_roots_is_a_key_for_another_user_too() {
    let ground = Ground::new();
    let key = secret(&ground, 0o440);
    let data = fs::canonicalize(&key).expect("there");
    if chown(&data, Some(0), Some(STRANGER)).is_err() {
        return crate::skipped::skip("this user may not give its files away");
    }
    mode(&ground.directory, 0o755);
    let program = ground.copy_of_command();
    let state = ground.directory.join("state");
    fs::DirBuilder::new().mode(0o700).create(&state).expect("a directory");
    chown(&state, Some(STRANGER), Some(STRANGER)).expect("root");
    let join = || {
        let mut command = Command::new(&program);
        command
            .args([
                "-g",
                GROUP,
                "-p",
                &ground.port.to_string(),
                "join",
                "--until-eof",
                "--key-file",
            ])
            .arg(&key);
        command
            .env("PARES_DIR", &state)
            .stdin(std::process::Stdio::null())
            .uid(STRANGER)
            .gid(STRANGER);
        finish(command)
    };
    for bits in [0o440, 0o444, 0o644] {
        mode(&data, bits);
        join().code(0);
    }
    mode(&data, 0o660);
    say(&join().code(77), &["0660", key.to_str().expect("plain")]);
    // One's own that others can read was made without care, unless it cannot be changed either.
    chown(&data, Some(STRANGER), Some(STRANGER)).expect("root");
    mode(&data, 0o644);
    say(&join().code(77), &["0644", "chmod 600"]);
    mode(&data, 0o444);
    join().code(0);
    chown(&data, Some(STRANGER + 1), None).expect("root");
    say(&join().code(77), &["user id 12346"]);
    assert!(!state.join("it.key").exists());
}

#[test]
fn a_key_file_that_is_named_and_missing_is_an_error_that_says_how_to_make_one() {
    let ground = Ground::new();
    for what in ["join --until-eof", "ls", "doctor", "peer join", "run --when-supervisor -- true"] {
        let code = if what == "doctor" { 1 } else { 77 };
        let answer = ground
            .ask(&format!("--key-file {}/none {what}", ground.directory.display()))
            .code(code);
        say(&answer, &["there is no key file", "/none", "umask 077; head -c 32 /dev/urandom"]);
    }
    assert!(!ground.directory.join("none").exists() && !ground.directory.join("it.key").exists());
}

/// What the user has written, which is longer than a line of ours.
const DEAR: &str = "what the user has written, longer than the line of a term file by far\n";

/// Goal: nothing that somebody has put where a file of the group's belongs is written, or waited
/// for; what it is, is said.
#[test]
fn what_somebody_has_put_in_the_place_of_a_file_is_not_touched() {
    let files =
        [("it.term", "join --until-eof"), ("it.0.epoch", "peer run --when-primary -- true")];
    for (name, command) in files {
        for (kind, words) in
            [("link", "symbolic link"), ("hard", "hard link"), ("pipe", "not a regular file")]
        {
            let ground = Ground::new();
            let (path, dear) = (ground.directory.join(name), ground.directory.join("dear"));
            fs::write(&dear, DEAR).expect("written");
            mode(&dear, 0o600);
            match kind {
                "link" => symlink("dear", &path).expect("a link"),
                "hard" => fs::hard_link(&dear, &path).expect("a link"),
                _ => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    0o600.into(),
                    0,
                )
                .expect("a pipe"),
            }
            say(&ground.ask(command).code(77), &[words, path.to_str().expect("plain")]);
            assert_eq!(fs::read_to_string(&dear).expect("there"), DEAR, "{name} as a {kind}");
            say(
                &ground.ask("doctor").code(1),
                &["directory\tcure", words, path.to_str().expect("plain")],
            );
        }
    }
}

#[test]
fn a_file_that_others_can_write_or_own_is_refused() {
    let ground = Ground::new();
    ground.join("one").leave();
    let path = ground.directory.join("it.term");
    mode(&path, 0o666);
    say(&ground.ask("join --until-eof").code(77), &["it.term", "0666", "chmod go-w"]);
    mode(&path, 0o644);
    ground.ask("join --until-eof").code(0);
    if chown(&path, Some(STRANGER), None).is_ok() {
        say(&ground.ask("join --until-eof").code(77), &["it.term", "user id 12345"]);
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused_by_name() {
    let ground = Ground::new();
    let name = ground.directory.to_str().expect("plain").to_owned();
    mode(&ground.directory, 0o777);
    for what in ["join --until-eof", "ls", "peer join", "run --when-supervisor -- true"] {
        say(&ground.ask(what).code(77), &[&name, "0777", "chmod go-w"]);
    }
    say(&ground.ask("doctor").code(1), &["directory\tcure", &name, "0777", "chmod go-w"]);
    assert_eq!(fs::read_dir(&ground.directory).expect("ours").count(), 0);
    // As /tmp is, where nobody can remove what is another's; and the way out that is named.
    mode(&ground.directory, 0o1777);
    ground.ask("join --until-eof").code(0);
    mode(&ground.directory, 0o777);
    let mut below = ground.command("join --until-eof");
    below.env("PARES_DIR", ground.directory.join("below"));
    finish(below).code(0);
    let mut doctor = ground.command("doctor");
    doctor.env("PARES_DIR", ground.directory.join("below"));
    say(&finish(doctor), &["directory\tnote", &name, "0777"]);
}

/// Goal: in a process that may write no file, joining is an error or goes on, and never the end of
/// the host program.
#[test]
fn a_limit_of_file_sizes_kills_nobody() {
    let ground = Ground::new();
    let script = "ulimit -f 0; exec $PARES";
    // Nothing is there yet: the key cannot be made.
    let answer = finish(ground.shell(&format!("{script} join --until-eof"))).code(77);
    say(&answer, &["it.key", "File too large", "ulimit -f"]);
    ground.join("one").leave();
    for what in ["join --until-eof", "peer run --when-primary -- true", "ls"] {
        let answer = finish(ground.shell(&format!("{script} {what}")));
        assert!(answer.code < 128, "{answer:?}");
        assert!(what == "ls" || answer.err.contains("File too large"), "{answer:?}");
    }
    let instance = Proc::start(ground.shell("exec $PARES join --json --name two"));
    instance.role();
    instance.leave();
}
