//! What the README and the pages say is so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use tempfile::TempDir;

use crate::raw::free_port;
use crate::support::{Ground, PATIENCE, finish};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The README and every page, by their names.
fn pages() -> Vec<String> {
    let pages = fs::read_dir(root().join("docs")).unwrap().flatten();
    let pages = pages.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    let mut pages: Vec<String> = pages.filter(|name| name.ends_with(".md")).collect();
    pages.sort();
    pages.insert(0, "README.md".into());
    assert!(pages.len() > 8, "{pages:?}");
    pages
}

/// The blocks of code in one language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("\n```{language}\n");
    let ends = text.split(begin.as_str()).skip(1);
    ends.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect()
}

/// What is between this heading and the next one of its rank or above.
fn chapter<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| {
        panic!("no {heading}");
    });
    let rank = heading.chars().take_while(|mark| *mark == '#').count();
    let next = (1..=rank).filter_map(|rank| rest.find(&format!("\n{} ", "#".repeat(rank)))).min();
    &rest[..next.unwrap_or(rest.len())]
}

/// What is between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Where the links of a page lead to, other than into the web.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let ends = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned());
    ends.filter(|link| !link.contains("://")).collect()
}

/// As the usual sites make it of a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().replace(' ', "-")
}

/// Without its description.
fn example(name: &str) -> String {
    text_of(&format!("examples/{name}.rs")).split_once("\n\n").unwrap().1.to_owned()
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
fn the_pages_programs_are_the_examples() {
    for (page, name) in [("README.md", "readme"), ("docs/rust.md", "hello")] {
        assert_eq!(blocks(&text_of(page), "rust,no_run")[0], example(name), "{page}");
    }
}

#[test]
fn the_readme_is_read_in_two_minutes() {
    let text = text_of("README.md");
    assert!(text.lines().count() <= 120, "{} lines", text.lines().count());
    let wide = |line: &&str| !line.starts_with('|') && line.chars().count() > 100;
    assert_eq!(text.lines().find(wide), None);
}

#[test]
fn every_page_is_linked_and_every_link_leads_somewhere() {
    let mut linked = BTreeSet::from([root().join("README.md")]);
    for page in pages() {
        let text = text_of(&page);
        let found = links(&text);
        assert!(!text.contains("]["), "{page}: a link by reference is not looked at here");
        for link in found {
            let (file, part) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let from = root().join(&page);
            let path = if file.is_empty() { from.clone() } else { from.with_file_name(file) };
            let path =
                path.canonicalize().unwrap_or_else(|_| panic!("{page}: {link} is not there"));
            if !part.is_empty() {
                let target = fs::read_to_string(&path).unwrap();
                let headings = target.lines().filter(|line| line.starts_with('#'));
                assert!(headings.map(anchor).any(|one| one == part), "{page}: no {link}");
            }
            if path != from.canonicalize().unwrap() {
                linked.insert(path);
            }
        }
    }
    let lost: Vec<String> = pages()
        .into_iter()
        .filter(|page| !linked.contains(&root().join(page).canonicalize().unwrap()))
        .filter(|page| page != "README.md")
        .collect();
    assert!(lost.is_empty(), "no page leads to {lost:?}");
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let rooms = ["src/", "tests/", "examples/", "docs/", "include/", "benches/"];
    let mut named = 0;
    for page in pages() {
        let text = prose(&text_of(&page));
        let files = quoted(&text).filter(|word| rooms.iter().any(|room| word.starts_with(room)));
        for file in files.filter(|file| !file.contains('*')) {
            assert!(root().join(file).exists(), "{page}: {file} is not there");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} found");
}

#[test]
fn the_code_of_every_page_is_tried() {
    let library = text_of("src/lib.rs");
    for page in pages() {
        let tried = library.contains(&format!("#[doc = include_str!(\"../{page}\")]"));
        assert!(tried, "{page} is not among the documents of src/lib.rs");
    }
}

#[test]
fn a_newcomer_reads_four_files_of_at_most_a_thousand_lines() {
    let text = text_of("docs/architecture.md");
    let list = chapter(&text, "## Read these four files");
    let items = list.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let files: Vec<&str> = items.filter_map(|item| quoted(item).next()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    let lines: usize = files.iter().map(|file| text_of(file).lines().count()).sum();
    assert!(lines <= 1000, "{lines} lines in {files:?}");
}

#[test]
fn the_glossary_has_at_most_thirty_words() {
    let text = text_of("docs/architecture.md");
    let rows = chapter(&text, "## Glossary").lines().filter(|line| line.starts_with("| "));
    let words: Vec<&str> = rows.skip(1).map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert!((20..=30).contains(&words.len()), "{}", words.len());
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "a word twice");
}

/// The names of all tests of the package.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["src", "tests"].map(|name| root().join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let bodies =
                    text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
                found.extend(bodies.map(|(_, rest)| rest.split('(').next().unwrap().to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_promise_names_the_tests_that_show_it() {
    let text = text_of("docs/guarantees.md");
    let tests = tests();
    let promises = chapter(&text, "## What you can rely on").split("\n- **").skip(1);
    let promises: Vec<&str> = promises.map(|rest| rest.split(".**").next().unwrap()).collect();
    let rows = chapter(&text, "### The tests that show it").lines();
    let rows: Vec<&str> = rows.filter(|line| line.starts_with("| ")).skip(1).collect();
    let shown: Vec<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert_eq!(promises, shown);
    let (_, hangs) = chapter(&text, "## Hangs").split_once("\nTests: ").unwrap();
    for row in rows.into_iter().chain([hangs]) {
        let named: Vec<&str> = quoted(row).collect();
        assert!(!named.is_empty(), "{row}");
        let lost: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(lost.is_empty(), "no such test: {lost:?}");
    }
}

/// The bench writes both; the README has the rows that a stranger asks for first.
#[test]
fn the_readmes_figures_are_those_of_the_page() {
    let (readme, page) = (text_of("README.md"), text_of("docs/measured.md"));
    let rows = chapter(&readme, "## How fast").lines().filter(|line| line.starts_with("| "));
    let rows: Vec<Vec<&str>> =
        rows.skip(1).map(|row| row.split('|').map(str::trim).collect()).collect();
    assert_eq!(rows.len(), 5, "{rows:?}");
    for row in rows {
        let [what, floor, own, ratio, rival] = row[1..6] else { panic!("{row:?}") };
        let begin = format!("| {what} | ");
        let at = page.lines().position(|line| line.starts_with(&begin));
        let at = at.unwrap_or_else(|| panic!("no {what} in the page"));
        let follow = |line: &&str| line.starts_with("|  |");
        let lines =
            page.lines().skip(at).take(1).chain(page.lines().skip(at + 1).take_while(follow));
        let lines: Vec<Vec<&str>> =
            lines.map(|line| line.split('|').map(str::trim).collect()).collect();
        let is_there = |who: &dyn Fn(&str) -> bool, median: &str, ratio: Option<&str>| {
            let fits = |line: &&Vec<&str>| {
                who(line[2]) && line[3] == median && ratio.is_none_or(|ratio| line[5] == ratio)
            };
            assert!(lines.iter().any(|line| fits(&line)), "{what}: {median} is not in {lines:?}");
        };
        is_there(&|who| who.starts_with('*') && !who.starts_with("**"), floor, None);
        is_there(&|who| who.starts_with("**"), own, Some(ratio));
        if let Some((who, median)) = rival.rsplit_once(": ") {
            is_there(&|one| one == who, median, None);
        }
    }
}

/// Goal: what a page shows for a shell does what the page says.
/// Method: run it as it stands there, with `pares` from this build and programs of its own.
#[test]
fn the_readmes_lines_for_a_shell_run_what_they_say() {
    let ground = Ground::new();
    // Supervises until all has been listed: between two supervisors there is nobody to ask.
    let mut first = ground.join("worker-0");
    let lines = &blocks(&text_of("README.md"), "sh")[0];
    let said = shell(&ground, &format!("{lines}pares stop worker-0"));
    assert!(said.lines().any(|line| line == "report"), "{said}");
    assert!(said.lines().any(|line| line == "scan FILE"), "{said}");
    assert!(said.lines().any(|line| line == "server"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("worker-0\tsupervisor\t")), "{said}");
    assert_eq!(first.end_code(), 0);
}

#[test]
fn the_recipes_do_what_they_say() {
    let page = text_of("docs/command-line.md");
    let recipes = blocks(chapter(&page, "## Five recipes"), "sh");
    let [once, at_most, serve, is_up, setting] = &recipes[..] else { panic!("{recipes:?}") };
    let ground = Ground::new();
    let worker = ground.join("worker-1");
    assert_eq!(shell(&Ground::new(), once), "report\n");
    let scans = shell(&ground, at_most);
    let files: BTreeSet<&str> = scans.lines().collect();
    let all = ["one", "two", "three", "four", "five", "six"].map(|file| format!("scan {file}"));
    assert_eq!(files, all.iter().map(String::as_str).collect());
    assert_eq!(shell(&ground, serve), "server\n");
    let up = shell(&ground, is_up);
    assert_eq!(up.lines().next(), Some("worker-1 is up"));
    assert!(up.lines().nth(1).unwrap().starts_with("worker-1\tsupervisor\t"), "{up}");
    assert_eq!(shell(&ground, setting), "slow\n");
    worker.leave();
}

/// What a block prints, run to its end in a directory where `./report` and `./scan` are.
fn shell(ground: &Ground, block: &str) -> String {
    ground.make_program(
        "printf '#!/bin/sh\\necho report\\n' >\"$1\"",
        &ground.directory.join("report"),
    );
    ground.make_program(
        "printf '#!/bin/sh\\necho scan \"$1\"\\n' >\"$1\"",
        &ground.directory.join("scan"),
    );
    ground.make_program(
        "printf '#!/bin/sh\\ntest $LISTEN_FDS = 1 && echo server\\n' >\"$1\"",
        &ground.directory.join("server"),
    );
    // Somebody may have the port that the pages name.
    let block = block.replace("0.0.0.0:8080", &format!("127.0.0.1:{}", free_port()));
    let mut script =
        ground.shell(&format!("pares() {{ \"$PARES\" \"$@\"; }}\nset -e\n{block}\nwait"));
    script.current_dir(&ground.directory);
    finish(script).code(0).out
}

#[test]
fn the_table_of_exit_codes_has_those_of_the_help_and_no_others() {
    let page = text_of("docs/command-line.md");
    let rows = chapter(&page, "## Output and exit codes");
    let rows = rows.lines().filter(|line| line.starts_with("| ")).skip(1);
    let said = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", "));
    let said: BTreeSet<String> = said.map(|code| code.trim().to_owned()).collect();
    let help = Command::new(env!("CARGO_BIN_EXE_pares")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, list) = help.split_once("\nExit codes:\n").unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let is_code = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    let words = list.split_whitespace().map(|word| word.trim_end_matches(','));
    assert_eq!(said, words.filter(is_code).map(str::to_owned).collect());
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

/// The turn of one suite among all of this machine: the examples have one group's name, and so one
/// port, as programs have.
fn await_turn(name: &str) -> UnixListener {
    let deadline = Instant::now() + 4 * PATIENCE;
    let place = SocketAddr::from_abstract_name(name).unwrap();
    loop {
        match UnixListener::bind_addr(&place) {
            Ok(turn) => return turn,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
        }
        assert!(Instant::now() < deadline, "another suite does not come to its end");
        // Nobody accepts: the connection ends with its listener, which ends with its process.
        if let Ok(mut other) = UnixStream::connect_addr(&place) {
            other.set_read_timeout(Some(PATIENCE)).unwrap();
            _ = other.read(&mut [0]);
        }
    }
}

/// An example, run as a new user would, with a home directory of its own.
struct Shown {
    child: Killed,
    lines: pares::channel::Receiver<String>,
    reader: std::thread::JoinHandle<()>,
    home: TempDir,
}

impl Shown {
    fn start(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        // `cargo test` has built it, `cargo test --test it` has not.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--offline", "--example", name])
            .status()
            .unwrap();
        assert!(built.success());
        let program = Path::new(env!("CARGO_BIN_EXE_pares")).with_file_name("examples").join(name);
        let child = Command::new(program)
            .env("HOME", home.path())
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
        Shown { child, lines, reader, home }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn end(self) {
        assert!(self.home.path().join(".local/state/pares/my-program.key").exists());
        drop(self.child);
        self.reader.join().unwrap();
    }
}

#[test]
fn the_examples_of_the_pages_do_what_they_say_with_nothing_set_up() {
    let _turn = await_turn("pares-tests-my-program");
    let hello = Shown::start("hello");
    assert!(hello.next().ends_with(" is supervisor"));
    assert_eq!(hello.next(), "hello world");
    assert_eq!(hello.next(), "my turn, term 1");
    hello.end();

    let readme = Shown::start("readme");
    // The job has a thread of its own, and so have the events: the order is not known.
    let (mut turn, mut permit) = (false, false);
    while !(turn && permit) {
        let line = readme.next();
        turn |= line == "my turn, term 1";
        permit |= line.ends_with(" has 1 of 40 connections");
    }
    readme.end();
}

/// Goal: two suites on one machine do not meet, and who has to wait goes on as soon as it can.
/// Method: three turns at once, of which no two may overlap.
#[test]
fn who_needs_the_same_port_as_another_suite_waits_for_its_turn() {
    let name = format!("pares-tests-turn-{}", std::process::id());
    let (busy, taken) = (AtomicBool::new(false), AtomicU32::new(0));
    let first = await_turn(&name);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let turn = await_turn(&name);
                assert!(!busy.swap(true, Ordering::Relaxed), "two have their turn at once");
                taken.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
                busy.store(false, Ordering::Relaxed);
                drop(turn);
            });
        }
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        drop(first);
    });
    assert_eq!(taken.load(Ordering::Relaxed), 3);
}
