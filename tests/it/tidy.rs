//! The house rules, as a test: what must not be anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
            let simulator = path.starts_with("src/state/masterless/sim")
                || path.ends_with("state/sim/seeds.rs");
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

#[test]
fn rooms_use_only_rooms_on_their_left() {
    let order = [
        "sys", "error", "config", "wire", "event", "state", "net", "registry", "admin", "job",
        "instance", "peer", "permit", "tally", "usage", "setting", "message", "ffi",
    ];
    // `event` names `Watch`, and errors name what they are errors of, in their documentation only.
    let rank = |room: &str| order.iter().position(|one| *one == room);
    let mut complaints = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        let inside: Vec<&str> = path.iter().skip(1).map(|part| part.to_str().unwrap()).collect();
        let Some(own) = rank(inside[0].trim_end_matches(".rs")) else { continue };
        for (at, line) in code(&text) {
            for used in line.split("crate::").skip(1) {
                let room: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // `error` and `config` are one step: each names the other's types.
                let most = if own == 1 { 2 } else { own };
                if rank(&room).is_some_and(|used| used > most) {
                    complaints.push(format!("{}:{at}: {} uses {room}", path.display(), inside[0]));
                }
            }
        }
    }
    none(&complaints);
}

/// The lines of a file without comments and tests, as one text.
fn text_of_code(text: &str) -> String {
    code(text).map(|(_, line)| line.to_owned() + "\n").collect()
}

/// The paths that a `use` with braces stands for.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, inside)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).split_whitespace().collect()];
    };
    let inside = inside.trim_end().strip_suffix('}').unwrap_or(inside);
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for letter in inside.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => branches.push(String::new()),
            letter => branches.last_mut().unwrap().push(letter),
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| expanded(&format!("{}{}", before.trim(), branch.trim()))).collect()
}

/// All paths in a file that may lead to another one.
fn paths(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in text.split_inclusive(';') {
        let begin = statement.rfind("use ").filter(|at| !statement[..*at].ends_with(is_word));
        match begin {
            Some(at) if statement[at..].ends_with(';') => {
                found.extend(expanded(&statement[at + 4..statement.len() - 1]));
                rest.push_str(&statement[..at]);
            }
            Some(_) | None => rest.push_str(statement),
        }
    }
    for (at, _) in rest.match_indices("::") {
        let begin = rest[..at].rfind(|c: char| !is_word(c)).map_or(0, |before| before + 1);
        // Not from the middle of a path.
        if rest[..begin].ends_with(':') || begin == at {
            continue;
        }
        let end =
            rest[at..].find(|c: char| !is_word(c) && c != ':').map_or(rest.len(), |end| at + end);
        found.push(rest[begin..end].to_owned());
    }
    found
}

type Module = Vec<String>;

/// Which file of a crate uses which, by their modules: the crate's own one is the empty name. That
/// a part uses what is in its whole (`super::`) is no arrow back.
fn arrows(crate_root: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let folder = Path::new(crate_root);
    let module_of = |path: &Path| -> Module {
        let inside = path.strip_prefix(folder).unwrap().with_extension("");
        let mut names: Module =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            names.pop();
        }
        names
    };
    let sources = files(crate_root, &["rs"]);
    let sources: BTreeMap<Module, String> = sources
        .into_iter()
        .filter(|(path, _)| crate_root != "src" || !path.starts_with("src/bin"))
        .map(|(path, text)| (module_of(&path), text_of_code(&text)))
        .collect();
    let target = |from: &Module, path: &str| -> Option<Module> {
        let mut names = path.split("::").peekable();
        let mut at = match *names.peek()? {
            "crate" => Module::new(),
            "self" | "super" => from.clone(),
            // Of a part of its own, or of another crate.
            first => {
                let mut part = from.clone();
                part.push(first.to_owned());
                sources.contains_key(&part).then(|| from.clone())?
            }
        };
        for name in names {
            match name {
                "crate" | "self" => {}
                "super" => _ = at.pop(),
                name => {
                    at.push(name.to_owned());
                    if !sources.contains_key(&at) {
                        at.pop();
                        break;
                    }
                }
            }
        }
        Some(at).filter(|at| sources.contains_key(at) && !from.starts_with(at))
    };
    let uses = sources.iter().map(|(from, text)| {
        (from.clone(), paths(text).iter().filter_map(|path| target(from, path)).collect())
    });
    uses.collect()
}

/// One circle of files, if there is any.
fn circle(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut left: BTreeMap<_, _> = arrows.clone();
    // Whoever uses nobody that is left is in no circle.
    loop {
        let before = left.len();
        let free: BTreeSet<Module> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|one| !left.contains_key(one)))
            .map(|(one, _)| one.clone())
            .collect();
        left.retain(|one, _| !free.contains(one));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?].iter().find(|one| left.contains_key(*one))?.clone();
        if let Some(begin) = way.iter().position(|one| *one == next) {
            return Some(way.split_off(begin));
        }
        way.push(next);
    }
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let mut complaints = Vec::new();
    // `benches/masterless` is being untied.
    for root in ["src", "src/bin/pares", "benches/measured", "benches/peers/src"] {
        let arrows = arrows(root);
        let number: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(number >= arrows.len() / 2, "{root}: only {number} arrows seen");
        let names = |circle: Vec<Module>| circle.iter().map(|one| one.join("::")).collect();
        let circle: Option<Vec<String>> = circle(&arrows).map(names);
        complaints.extend(circle.map(|circle| format!("{root}: {}", circle.join(" -> "))));
    }
    none(&complaints);
}

#[test]
fn the_rooms_in_net_use_only_rooms_on_their_left() {
    let order = [
        "rt",
        "transport",
        "procs",
        "files",
        "masterless",
        "supervising",
        "member",
        "endpoint",
        "client",
    ];
    let room = |module: &Module| match &module[..] {
        [net, room, ..] if net == "net" => {
            let rank = order.iter().position(|one| one == room);
            Some(rank.unwrap_or_else(|| panic!("{room} has no place in the order")))
        }
        _ => None,
    };
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (from, used) in &arrows("src") {
        for to in used {
            let (Some(own), Some(other)) = (room(from), room(to)) else { continue };
            seen.insert(own);
            if other > own {
                complaints.push(format!("{} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    none(&complaints);
    assert!(seen.len() >= order.len() - 1, "only {seen:?} seen");
}

#[test]
fn a_circle_between_files_is_found() {
    let module = |name: &str| -> Module { name.split("::").map(str::to_owned).collect() };
    let arrow = |from: &str, to: &[&str]| {
        (module(from), to.iter().map(|one| module(one)).collect::<BTreeSet<_>>())
    };
    let line = [arrow("a", &["b", "c"]), arrow("b", &["c"]), arrow("c", &[])];
    assert_eq!(circle(&line.clone().into()), None);
    let mut bent: BTreeMap<Module, BTreeSet<Module>> = line.into();
    bent.insert(module("c"), [module("b")].into());
    assert_eq!(circle(&bent), Some(vec![module("b"), module("c")]));
    let text = "use super::{a::{self, B}, c};\nlet x = crate::net::d::E::new(crate::f!());\n";
    let found = ["super::a::self", "super::a::B", "super::c", "crate::net::d::E::new", "crate::f"];
    assert_eq!(paths(text), found);
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
    for (path, text) in
        files("src", &["rs"]).into_iter().filter(|(path, _)| !path.starts_with("src/bin"))
    {
        for (at, line) in
            code(&text).filter(|(_, line)| makers.iter().any(|maker| line.contains(maker)))
        {
            if line.contains("Booked::") {
                booked += 1;
            } else if !path.ends_with("sys/tests.rs") {
                complaints.push(format!("{}:{at}: not made by `Booked`", path.display()));
            }
        }
    }
    assert!(booked >= 5, "only {booked} found");
    none(&complaints);
}

#[test]
fn a_room_that_grows_past_630_lines_is_two_rooms() {
    // These two are being rebuilt.
    let excepted = ["src/net/member/role.rs", "src/state/sim/mod.rs"];
    let mut complaints = Vec::new();
    for (path, text) in files("src", &["rs"]) {
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let lines = text[..end].lines().count();
        if lines > 630 && !excepted.iter().any(|one| path == Path::new(one)) {
            complaints.push(format!("{}: {lines} lines", path.display()));
        }
    }
    none(&complaints);
}

/// The rooms of `src` count without the tests at their ends, and may be somewhat larger.
#[test]
fn a_file_of_tests_that_grows_past_500_lines_is_two_files() {
    let mut complaints = Vec::new();
    for (path, text) in files("tests", &["rs", "c"]) {
        let lines = text.lines().count();
        if lines > 500 {
            complaints.push(format!("{}: {lines} lines", path.display()));
        }
    }
    none(&complaints);
}

/// Rows of tables cannot be broken, nor addresses of pages, and commands are copied whole.
#[test]
fn no_line_is_wider_than_100_columns() {
    // These two are being rebuilt.
    let excepted = ["src/net/member/holding.rs", "src/state/sim/mod.rs"];
    let endings = ["rs", "c", "h", "py", "toml", "md"];
    let folders = ["src", "tests", "examples", "benches", "fuzz", "include", "docs", ".cargo"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| files(folder, &endings)).collect();
    for name in ["build.rs", "Cargo.toml", "rustfmt.toml", "README.md", "CHANGELOG.md"] {
        all.push((name.into(), fs::read_to_string(root().join(name)).unwrap()));
    }
    let mut complaints = Vec::new();
    for (path, text) in &all {
        if excepted.iter().any(|one| path == Path::new(one)) {
            continue;
        }
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
    let library =
        files("src", &["rs"]).into_iter().filter(|(path, _)| !path.starts_with("src/bin"));
    for (path, text) in library {
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
