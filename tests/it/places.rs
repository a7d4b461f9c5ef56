//! Which directory a group's files are in, however the command is started: every way must find the
//! same key, or say why not.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Answer, GROUP, Ground, Proc, await_true, finish};

/// The command with these variables only, and where it works.
fn bare(ground: &Ground, variables: &[(&str, &str)], arguments: &str) -> Command {
    let mut command = ground.command(arguments);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("PARES_PORT", ground.port.to_string());
    command
        .env("PARES_GROUP", GROUP)
        .envs(variables.iter().copied())
        .current_dir(&ground.directory);
    command
}

/// What the doctor says of the directory.
#[track_caller]
fn directory(ground: &Ground, variables: &[(&str, &str)]) -> String {
    finding(&finish(bare(ground, variables, "doctor --json")))
}

#[track_caller]
fn finding(answer: &Answer) -> String {
    let findings = answer.json();
    let of_directory = |one: &&Value| one["check"] == "directory";
    let finding = findings.as_array().expect("an array").iter().find(of_directory);
    finding.expect("one of them")["finding"].to_string()
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in {text}");
}

/// The home that the user database has for the one who runs the tests; nothing without `getent`.
fn home() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let entry = Command::new("getent").args(["passwd", &user]).output().ok()?;
    let entry = String::from_utf8(entry.stdout).ok()?;
    entry.split(':').nth(5).map(PathBuf::from)
}

/// A directory in the ground, for this user only.
fn inside(ground: &Ground, name: &str) -> PathBuf {
    let path = ground.directory.join(name);
    fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

#[test]
fn without_a_home_in_the_environment_it_is_that_of_the_user_database() {
    let Some(home) = home() else { return crate::skipped::skip("there is no getent") };
    let ground = Ground::new();
    let expected = home.join(".local/state/pares");
    for home in [&[][..], &[("HOME", "")], &[("HOME", "home")], &[("HOME", "~")]] {
        has(&directory(&ground, home), &[text(&expected), "user database"]);
    }
    has(&directory(&ground, &[("HOME", "home")]), &["HOME is passed over"]);
}

/// The same by joining: in a mount namespace, so that nothing comes into the home of the one who
/// runs the tests.
#[test]
fn a_service_of_the_system_has_the_key_that_its_user_has() {
    let Some(home) = home() else { return crate::skipped::skip("there is no getent") };
    if !Command::new("unshare")
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return crate::skipped::skip("this user may not `unshare --mount`");
    }
    let ground = Ground::new();
    let home = text(&home);
    // The ground may be in the home that is hidden, and the command too.
    let script = format!(
        "cp $PARES /dev/shm/pares.$$; mount -t tmpfs none {home} || exit 99; p=/dev/shm/pares.$$
        env -i $p -g it -p {0} join --until-eof </dev/null; code=$?
        HOME={home} $p -g it -p {0} join --until-eof </dev/null && ls {home}/.local/state/pares
        rm $p; exit $code",
        ground.port
    );
    let answer = finish(ground.shell_in("--mount", &script)).code(0);
    has(&answer.out, &["it.key", "it.term"]);
}

#[test]
fn a_relative_state_home_is_passed_over_and_the_group_found_from_everywhere() {
    let ground = Ground::new();
    let (home, one, two) =
        (inside(&ground, "home"), inside(&ground, "one"), inside(&ground, "two"));
    let variables = [("HOME", text(&home)), ("XDG_STATE_HOME", "state")];
    let mut join = bare(&ground, &variables, "join --json --name a");
    join.current_dir(&one);
    let instance = Proc::start(join);
    instance.role();
    let mut ask = bare(&ground, &variables, "is-up a");
    ask.current_dir(&two);
    finish(ask).code(0);
    assert!(!one.join("state").exists() && home.join(".local/state/pares/it.key").exists());
    has(&directory(&ground, &variables), &["(HOME; XDG_STATE_HOME is passed over"]);
}

#[test]
fn a_relative_directory_that_is_meant_for_us_is_an_error() {
    let ground = Ground::new();
    for path in ["state", "./state", "~/state"] {
        for what in ["join --until-eof", "ls", "doctor", "peer join"] {
            finish(bare(&ground, &[("PARES_DIR", path), ("HOME", "/")], what))
                .code(2)
                .says("PARES_DIR")
                .says("absolute");
        }
    }
    assert_eq!(fs::read_dir(&ground.directory).expect("ours").count(), 0);
    let relative = pares::Config::new(GROUP).port(ground.port).state_directory("state");
    assert!(matches!(pares::Instance::join(relative), Err(pares::JoinError::Config { .. })));
}

#[test]
fn a_service_has_its_files_in_its_first_state_directory() {
    let ground = Ground::new();
    let (first, second) = (inside(&ground, "first"), inside(&ground, "second"));
    // As a service manager makes it.
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).expect("ours");
    let both = format!("{}:{}", text(&first), text(&second));
    let variables =
        [("STATE_DIRECTORY", both.as_str()), ("HOME", "/"), ("XDG_STATE_HOME", text(&second))];
    finish(bare(&ground, &variables, "join --until-eof")).code(0);
    let about = fs::metadata(first.join("pares")).expect("made");
    assert_eq!(about.mode() & 0o777, 0o700);
    assert!(first.join("pares/it.key").exists() && first.join("pares/it.term").exists());
    assert_eq!(fs::read_dir(&second).expect("ours").count(), 0);
    has(&directory(&ground, &variables), &[text(&first), "(STATE_DIRECTORY)"]);
    let nearer = [variables[0], ("PARES_DIR", text(&second))];
    has(&directory(&ground, &nearer), &[text(&second), "(PARES_DIR)"]);
}

/// Goal: what root does with the HOME of another user, as some sudo leaves it, does not shut that
/// user out.
#[test]
fn the_home_of_another_user_is_passed_over() {
    let Some(database) = home() else { return crate::skipped::skip("there is no getent") };
    let ground = Ground::new();
    let home = inside(&ground, "home");
    if chown(&home, Some(12_345), None).is_err() {
        return crate::skipped::skip("this user may not give its files away");
    }
    let said = directory(&ground, &[("HOME", text(&home))]);
    has(&said, &[text(&database.join(".local/state/pares")), "user database", "user id 12345"]);
}

/// Goal: one user whose processes look in two directories is told so by everybody who asks.
#[test]
fn a_key_mismatch_says_which_key_was_tried() {
    let ground = Ground::new();
    let (one, two) = (inside(&ground, "one"), inside(&ground, "two"));
    let instance = Proc::start(bare(&ground, &[("PARES_DIR", text(&one))], "join --json --name a"));
    instance.role();
    let file = two.join("it.key");
    for what in ["ls", "join --until-eof", "run --when-supervisor -- true"] {
        let answer = finish(bare(&ground, &[("PARES_DIR", text(&two))], what)).code(77);
        has(&answer.err, &[text(&file), "PARES_DIR", "pares doctor"]);
    }
    let answer = finish(bare(&ground, &[("PARES_DIR", text(&two))], "doctor --json"));
    has(&answer.out, &[text(&file), "does not have this group's key"]);
}

/// Goal: what a run as root has left behind is named, with the way to give it back.
/// Method: a directory of root's, and the command as another user.
#[test]
fn a_directory_that_root_has_left_behind_is_named() {
    use std::os::unix::process::CommandExt;
    let ground = Ground::new();
    if chown(&ground.directory, Some(12_345), Some(12_345)).is_err() {
        return crate::skipped::skip("this user may not give its files away");
    }
    let program = ground.copy_of_command();
    let state = inside(&ground, "state");
    let mut command = Command::new(&program);
    command
        .args(["-p", &ground.port.to_string(), "ls"])
        .env_clear()
        .env("PARES_DIR", &state)
        .uid(12_345)
        .gid(12_345);
    let answer = finish(command).code(77);
    has(&answer.err, &[text(&state), "belongs to user id 0", "chown -R 12345"]);
    await_true("nothing was made", || fs::read_dir(&state).is_ok_and(|files| files.count() == 0));
}
