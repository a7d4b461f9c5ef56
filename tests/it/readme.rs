//! What the README and the pages say is so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Ends the process with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn the_readmes_program_is_the_example() {
    let text = text_of("README.md");
    let (_, block) = text.split_once("```rust,no_run\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let example = text_of("examples/hello.rs");
    let (_, example) = example.split_once("\n\n").unwrap();
    assert_eq!(block, example);
}

#[test]
fn the_table_of_commands_has_every_command_and_no_other() {
    let text = text_of("docs/command-line.md");
    let rows = text.lines().filter(|line| line.starts_with("| `pares "));
    let cells = rows.map(|row| row.replace("\\|", "/").split('|').nth(1).unwrap().to_owned());
    let said = cells.flat_map(|cell| {
        let words = cell
            .split("`pares ")
            .skip(1)
            .map(|rest| rest.split(['`', ' ']).next().unwrap().to_owned());
        words.collect::<Vec<_>>()
    });
    let said: BTreeSet<String> = said.collect();
    let help = Command::new(env!("CARGO_BIN_EXE_pares")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names =
        names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    assert_eq!(said, names.map(str::to_owned).collect());
}

/// Goal: the example does what it says, with nothing set up.
/// Method: run it as a new user would, with a home directory of its own.
#[test]
fn the_example_greets_and_takes_its_turn() {
    let home = std::env::temp_dir().join(format!("pares-readme-{}", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    // `cargo test` has built it, `cargo test --test it` has not.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--example", "hello"])
        .status()
        .unwrap();
    assert!(built.success());
    let program = Path::new(env!("CARGO_BIN_EXE_pares")).with_file_name("examples").join("hello");
    let child = Command::new(program)
        .env("HOME", &home)
        .env_remove("PARES_DIR")
        .env_remove("XDG_STATE_HOME")
        .env_remove("STATE_DIRECTORY")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let out = BufReader::new(child.0.stdout.take().unwrap());
    let (said, lines) = pares::channel::unbounded();
    let reader = std::thread::Builder::new().name("test-reader".into());
    let reader = reader
        .spawn(move || out.lines().map_while(Result::ok).for_each(|line| _ = said.send(line)))
        .unwrap();
    let next = || lines.recv_timeout(crate::support::PATIENCE).unwrap();
    assert!(next().ends_with(" is supervisor"));
    assert_eq!(next(), "hello world");
    assert_eq!(next(), "my turn, term 1");
    assert!(home.join(".local/state/pares/my-program.key").exists());
    drop(child);
    reader.join().unwrap();
    fs::remove_dir_all(home).unwrap();
}
