//! The house rules, as a test: what must not be anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod arrows;
mod english;
mod prose;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the package with one of these endings, with their text.
fn files(folder: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|ending| endings.iter().any(|one| ending == *one))
            {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

/// The code of a file: without comments, and without its tests, which may know more.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The files of the library, without those that hold only tests.
fn library() -> impl Iterator<Item = (PathBuf, String)> {
    let is_test = |path: &Path| path.ends_with("tests.rs") || path.iter().any(|one| one == "tests");
    let all = files("src", &["rs"]).into_iter();
    all.filter(move |(path, _)| !path.starts_with("src/bin") && !is_test(path))
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_pure_rooms_know_no_socket_thread_clock_lock_or_log() {
    let forbidden = [
        "std::net",
        "std::thread",
        "std::fs",
        "std::io",
        "Instant",
        "SystemTime",
        "Mutex",
        "Atomic",
        "log::",
        "rustix",
        "socket2",
        "crate::sys",
    ];
    let mut complaints = Vec::new();
    for folder in ["src/wire", "src/state"] {
        for (path, text) in files(folder, &["rs"]) {
            // The simulators run what is pure, on all processors.
            let simulator = path.iter().any(|one| one == "sim");
            if path.ends_with("tests.rs") || simulator {
                continue;
            }
            for (at, line) in code(&text) {
                let found = forbidden.iter().find(|word| line.contains(*word));
                complaints.extend(found.map(|word| format!("{}:{at}: {word}", path.display())));
            }
        }
    }
    none(&complaints);
}

/// Goal: one word, one meaning. (Two kinds of one type for two systems stand in one file.)
#[test]
fn no_two_types_in_net_and_state_have_one_name() {
    let mut places: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for (path, text) in files("src/net", &["rs"]).into_iter().chain(files("src/state", &["rs"])) {
        // The simulators play other parts with the same names; where the system tells nothing of
        // processes, its reader is replaced by one with the same face.
        if path.ends_with("tests.rs")
            || path.ends_with("procs/nothing.rs")
            || path.iter().any(|part| part == "sim")
        {
            continue;
        }
        for (_, line) in code(&text) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let kinds = ["struct", "enum", "trait"];
            let Some(at) = words.iter().position(|word| kinds.contains(word)) else { continue };
            let is_item =
                words[..at].iter().all(|word| ["", "pub", "crate", "super", "in"].contains(word));
            if let (true, Some(name)) = (is_item, words.get(at + 1).filter(|name| !name.is_empty()))
            {
                places.entry((*name).to_owned()).or_default().insert(path.clone());
            }
        }
    }
    assert!(places.len() > 100, "only {} types seen", places.len());
    let twice = places.iter().filter(|(_, places)| places.len() > 1);
    none(&twice.map(|(name, places)| format!("{name}: {places:?}")).collect::<Vec<_>>());
}

/// A program that embeds the library has neither the command's options nor its other commands. The
/// command says them itself (`bin/pares/advice.rs`).
#[test]
fn no_text_of_the_library_names_an_option_or_a_command() {
    let mut complaints = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        let inside = path.strip_prefix("src").unwrap();
        let simulator = path.iter().any(|part| part == "sim");
        if inside.starts_with("bin") || path.ends_with("tests.rs") || simulator {
            continue;
        }
        for (at, line) in code(&text) {
            let option = line.match_indices("--").any(|(at, _)| {
                let before = line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
                before && line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
            });
            if option || line.contains("`pares ") {
                complaints.push(format!("{}:{at}: {}", path.display(), line.trim()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn a_text_takes_its_limits_from_the_constants() {
    let numeral = |line: &str| {
        let after = ["at most ", "up to ", "at least ", "0 to ", "1 to "].into_iter();
        after
            .flat_map(|words| line.split(words).skip(1))
            .any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut complaints = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        let of_a_test = path.components().any(|part| part.as_os_str() == "sim");
        if of_a_test || path.starts_with("src/bin") || path.ends_with("tests.rs") {
            continue;
        }
        for (at, line) in code(&text).filter(|(_, line)| numeral(line)) {
            complaints.push(format!("{}:{at}: {}", path.display(), line.trim()));
        }
    }
    none(&complaints);
}

#[test]
fn a_match_over_states_and_events_has_no_catch_all() {
    let mut complaints = Vec::new();
    for name in [
        "election",
        "supervisor",
        "supervisor/sharing",
        "subordinate",
        "holdings",
        "permits",
        "health",
        "view",
        "masterless/mod",
        "masterless/record",
        "masterless/claim",
        "masterless/sending",
        "masterless/need",
        "masterless/outage",
    ] {
        let path = format!("src/state/{name}.rs");
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (at, line) in code(&text) {
            if line.trim_start().starts_with("_ =>") {
                complaints.push(format!("{path}:{at}: `_` in a match"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn there_is_unsafe_code_in_three_rooms_only_and_nothing_left_to_do() {
    // In two pieces, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
    ];
    let mut complaints = Vec::new();
    for folder in ["src", "tests", "examples", "benches", "fuzz/fuzz_targets"] {
        for (path, text) in files(folder, &["rs"]) {
            for (at, line) in text.lines().enumerate() {
                let found = marks.iter().find(|mark| line.contains(**mark));
                complaints
                    .extend(found.map(|mark| format!("{}:{}: {mark}", path.display(), at + 1)));
            }
            for (at, line) in code(&text) {
                if folder == "src"
                    && !may_be_unsafe(&path)
                    && (line.contains("unsafe {")
                        || line.contains("unsafe fn")
                        || line.contains("allow(unsafe"))
                {
                    complaints.push(format!("{}:{at}: unsafe", path.display()));
                }
            }
        }
    }
    none(&complaints);
}

/// The rooms for what only the C library can do, the library's and the command's, and for what C
/// asks of us.
fn may_be_unsafe(path: &Path) -> bool {
    ["src/sys.rs", "src/sys", "src/ffi", "src/bin/pares/sys.rs"]
        .iter()
        .any(|room| path.starts_with(room))
}

#[test]
fn each_unsafe_block_says_why_it_is_sound() {
    let (mut complaints, mut blocks) = (Vec::new(), 0);
    for (path, text) in files("src", &["rs"]).into_iter().filter(|(path, _)| may_be_unsafe(path)) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if line.trim_start().starts_with("//")
                || !(line.contains("unsafe {") || line.contains("unsafe impl"))
            {
                continue;
            }
            blocks += 1;
            // The comment is right above the statement that the block is in, whose beginning may be
            // two lines before the block.
            let above = lines[..at].iter().rev().enumerate();
            let comment =
                above.take_while(|(back, line)| *back < 3 || line.trim_start().starts_with("//"));
            if !comment.into_iter().any(|(_, line)| line.contains("// SAFETY: ")) {
                complaints.push(format!("{}:{}: no reason", path.display(), at + 1));
            }
        }
    }
    none(&complaints);
    assert!(blocks > 10, "only {blocks} found");
}

/// `println!` and `eprintln!` panic where nothing can be written: on a full disk, or into a pipe
/// that nobody reads.
#[test]
fn the_command_writes_nothing_that_panics_when_it_cannot_be_written() {
    let mut complaints = Vec::new();
    for (path, text) in files("src/bin", &["rs"]) {
        for (at, line) in code(&text) {
            let found = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!("];
            let found = found.iter().find(|mark| line.contains(**mark));
            complaints.extend(found.map(|mark| format!("{}:{at}: {mark}", path.display())));
        }
    }
    none(&complaints);
}

/// A socket that is not in the book of our descriptors is kept open by every forked child.
#[test]
fn every_socket_is_entered_in_the_book_as_it_is_made() {
    let makers = [
        "Socket::new(",
        "socket_with(",
        "::pair",
        ".accept()",
        "accept_with(",
        "dupfd",
        "TcpListener::bind",
        "TcpStream::connect",
        "try_clone",
        "pipe(",
    ];
    let mut complaints = Vec::new();
    let mut booked = 0;
    for (path, text) in library() {
        for (at, line) in
            code(&text).filter(|(_, line)| makers.iter().any(|maker| line.contains(maker)))
        {
            if line.contains("Booked::") {
                booked += 1;
            } else if !path.ends_with("accepting/theirs.rs") {
                complaints.push(format!("{}:{at}: not made by `Booked`", path.display()));
            }
        }
    }
    assert!(booked >= 5, "only {booked} found");
    none(&complaints);
}

/// Counted with its tests, whichever room it is in.
#[test]
fn a_file_that_grows_past_500_lines_is_two_files() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        for (path, text) in files(folder, &["rs", "c", "h", "py"]) {
            let lines = text.lines().count();
            if lines > 500 {
                complaints.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    none(&complaints);
}

/// Rows of tables cannot be broken, nor addresses of pages, and commands are copied whole.
#[test]
fn no_line_is_wider_than_100_columns() {
    let endings = ["rs", "c", "h", "py", "toml", "md"];
    let folders = ["src", "tests", "examples", "benches", "fuzz", "include", "docs", ".cargo"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| files(folder, &endings)).collect();
    for name in ["build.rs", "Cargo.toml", "rustfmt.toml", "README.md", "CHANGELOG.md"] {
        all.push((name.into(), fs::read_to_string(root().join(name)).unwrap()));
    }
    let mut complaints = Vec::new();
    for (path, text) in &all {
        let mut copied = false;
        for (line, at) in text.lines().zip(1..) {
            let is_prose = path.extension().is_some_and(|ending| ending == "md");
            copied ^= is_prose && line.trim_start().starts_with("```");
            let words = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            let width = line.chars().count();
            if width > 100 && !copied && !words.starts_with('|') && !line.contains("://") {
                complaints.push(format!("{}:{at}: {width} columns", path.display()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_thread_has_a_name_that_is_in_the_table() {
    let table = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut names = 0;
    for (path, text) in library() {
        for (at, line) in code(&text) {
            assert!(
                !line.contains("thread::spawn("),
                "{}:{at}: a thread without a name",
                path.display()
            );
            let blocks = path.ends_with("rt/threads.rs") || path.ends_with("client/ask.rs");
            let makes = line.contains("thread::Builder::new()");
            assert!(
                !makes || blocks,
                "{}:{at}: a thread that takes the program's signals",
                path.display()
            );
            for name in line.split('"').filter(|word| word.starts_with("pares-") && word.len() < 16)
            {
                assert!(
                    path.ends_with("rt/threads.rs"),
                    "{}:{at}: {name} is named outside of the table in code",
                    path.display()
                );
                assert!(
                    table.contains(&format!("`{name}`")),
                    "{}:{at}: {name} is not in the table",
                    path.display()
                );
                names += 1;
            }
        }
    }
    assert!(names >= 9, "only {names} names found");
}

/// Goal: who embeds the library builds nothing that only the command needs, and never an async
/// runtime. Method: the tree that cargo itself resolves.
#[test]
fn the_librarys_tree_has_no_clap_serde_env_logger_or_async_runtime() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--no-default-features",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"crossbeam-channel"), "{tree}");
    for unwanted in [
        "clap",
        "serde",
        "serde_json",
        "env_logger",
        "signal-hook",
        "tokio",
        "mio",
        "async-std",
        "smol",
        "futures",
    ] {
        assert!(!names.contains(&unwanted), "{unwanted} in\n{tree}");
    }
}

/// A directory that is made by hand stays behind when its test fails, and a test that is another
/// process passes where it is none.
#[test]
fn what_tests_need_they_get_in_one_way() {
    let ways = [
        (concat!("temp_dir", "()"), "tempfile"),
        (concat!("current", "_exe("), "tests/it/actors/mod.rs"),
        (concat!("9e37_79b9", "_7f4a_7c15"), "tests/it/random.rs"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in files("tests", &["rs"]) {
        for (mark, way) in ways {
            // What was skipped is noted by whoever runs, see there.
            let is_way = path == Path::new(way) || path == Path::new("tests/skipped/note.rs");
            if text.contains(mark) && !is_way {
                complaints.push(format!("{}: {mark}: there is {way}", path.display()));
            }
        }
    }
    none(&complaints);
}

/// What a test prints that passes, nobody sees.
#[test]
fn what_is_skipped_is_noted_for_the_end_of_the_run() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests/it"] {
        for (path, text) in files(folder, &["rs"]) {
            let printed = text
                .lines()
                .zip(1..)
                .filter(|(line, _)| line.contains(concat!("println!(\"", "skipped")));
            complaints.extend(
                printed.map(|(_, at)| format!("{}:{at}: skipped::skip notes it", path.display())),
            );
        }
    }
    none(&complaints);
}

/// The pages say what shows a claim.
#[test]
fn the_tests_that_the_page_of_routed_addresses_names_exist() {
    let page = fs::read_to_string(root().join("docs/service-address.md")).unwrap();
    let table = page.split("| claims |").nth(1).expect("there is a table of claims");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let last = |row: &str| row.trim_end_matches('|').rsplit('|').next().unwrap_or("").to_owned();
    let cells: Vec<String> = rows.map(last).collect();
    let names: Vec<&str> =
        cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() >= 10, "{names:?}");
    let tests: String = ["src/state/route", "src/wire", "tests/it/netns/route"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .map(|(_, text)| text)
        .collect();
    for name in names {
        assert!(tests.contains(&format!("fn {name}()")), "there is no test {name}");
    }
}
