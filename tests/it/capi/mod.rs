//! The C interface, from C: programs that call every function, do everything wrong, and use many
//! threads and forks; with the compilers' strictest rules, under valgrind and the sanitizers, and
//! as an installed library.

mod examples;
mod installed;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use pares::{Config, EventKind, Instance, Role};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::raw::free_port;
use crate::support::{Answer, Ground, PATIENCE, Proc, exit_code, finish};

const PROGRAMS: [&str; 10] = [
    "calls",
    "peer_calls",
    "misuse",
    "peer_misuse",
    "threads",
    "forks",
    "peer",
    "signals",
    "closed",
    "listener",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for what is built here, which another run of the same tests at the same time does not
/// use; the next one does, so that there are never many.
fn scratch() -> PathBuf {
    static SCRATCH: OnceLock<(PathBuf, fs::File)> = OnceLock::new();
    let free = || {
        let folders = (0..)
            .map(|number| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("capi{number}")));
        let lock = |folder: PathBuf| {
            fs::create_dir_all(&folder).unwrap();
            let lock = fs::File::create(folder.join("lock")).unwrap();
            let taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
            taken.is_ok().then_some((folder, lock))
        };
        folders.into_iter().find_map(lock).expect("a folder")
    };
    SCRATCH.get_or_init(free).0.clone()
}

/// True if the tool is there; says so if it is not.
fn has(tool: &str) -> bool {
    let found =
        Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        crate::skipped::skip(format_args!("no {tool} (Debian: see the packages in .ci/run)"));
    }
    found
}

/// The folder with the shared library, under the names that the linker looks for and that programs
/// remember.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Cargo has built it with the library that this test is linked with; `cargo build` would
        // move it up from there.
        let built =
            Path::new(env!("CARGO_BIN_EXE_pares")).with_file_name("deps").join("libpares.so");
        assert!(built.exists(), "no {}", built.display());
        let folder = scratch().join("lib");
        _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for name in ["libpares.so", &soname(&built)] {
            symlink(&built, folder.join(name)).unwrap();
        }
        folder
    })
}

/// The name that a program remembers which was linked with the library.
fn soname(library: &Path) -> String {
    let output = Command::new("readelf")
        .args(["-d", "-W"])
        .arg(library)
        .output()
        .expect("readelf, of binutils");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("(SONAME)")).expect("a soname");
    line.split(['[', ']']).nth(1).unwrap().to_owned()
}

/// Compiles a program and links it with the shared library; strictly, and with `more` options.
#[track_caller]
fn compile(compiler: &str, source: &Path, tag: &str, more: &[&str]) -> PathBuf {
    let name = source.file_stem().unwrap().to_str().unwrap();
    let program = scratch().join(format!("{name}-{tag}"));
    let mut command = Command::new(compiler);
    command
        .args(["-pedantic", "-Wall", "-Wextra", "-Werror", "-g", "-D_POSIX_C_SOURCE=200809L"])
        .args(more);
    command.arg("-I").arg(root().join("include")).arg(source).arg("-o").arg(&program);
    command.arg("-L").arg(library()).args(["-lpares", "-lpthread"]);
    command.arg(format!("-Wl,-rpath,{}", library().display()));
    finish(command).code(0).silent();
    program
}

fn source(name: &str) -> PathBuf {
    root().join(format!("tests/capi/{name}.c"))
}

/// Each test compiles for itself, under its own tag: they run at the same time.
fn c99(name: &str, tag: &str) -> PathBuf {
    compile("gcc", &source(name), tag, &["-std=c99"])
}

/// Runs a program of `tests/capi` in a group of its own, with `before` it on the command line.
#[track_caller]
fn run(before: &[&str], program: &Path) -> Answer {
    // Under valgrind a fork takes seconds, and one thread runs at a time: busy ones starve those
    // who are to answer.
    let (children, busy) = if before.is_empty() { ("20", "2") } else { ("2", "0") };
    let ground = Ground::new();
    let mut words = before.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    words.extend([program.display().to_string(), ground.port.to_string()]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("PARES_DIR", &ground.directory);
    command.env("CAPI_CHILDREN", children).env("CAPI_BUSY", busy);
    let key_file = ground.directory.join("other.key");
    fs::write(&key_file, [7; 32]).expect("ours");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("ours");
    command.env("CAPI_KEY_FILE", key_file);
    command.env("CAPI_OTHER_PORT", free_port().to_string());
    let answer = finish_slowly(command).code(0);
    assert_eq!(answer.out, "done\n", "{answer:?}");
    answer
}

/// Runs a program to its end that is silent for longer than others: under valgrind it is some fifty
/// times slower. It ends itself after half an hour.
#[track_caller]
fn finish_slowly(command: Command) -> Answer {
    let mut process = Proc::start(command);
    let mut out = String::new();
    while let Ok(line) = process.lines().recv_timeout(8 * PATIENCE) {
        out.push_str(&line);
        out.push('\n');
    }
    let status = process.end();
    Answer { code: exit_code(status), out, err: process.stderr() }
}

/// Goal: the library does what the header says, whatever the program does.
/// Method: C99 programs that check it themselves.
#[test]
fn c_programs_get_what_the_header_says() {
    for program in PROGRAMS {
        run(&[], &c99(program, "plain"));
    }
}

/// Goal: the page's program works as it stands there.
/// Method: compile it as the page says, with the static library, and run it.
#[test]
fn the_c_pages_program_works() {
    let text = fs::read_to_string(root().join("docs/c.md")).unwrap();
    let (_, block) = text.split_once("```c\n").unwrap();
    let (block, _) = block.split_once("```\n").unwrap();
    let source = scratch().join("page.c");
    fs::write(&source, block).unwrap();
    let program = source.with_extension("");
    let mut compile = Command::new("cc");
    compile.arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&program);
    compile.arg(Path::new(env!("CARGO_BIN_EXE_pares")).with_file_name("deps").join("libpares.a"));
    compile.args(["-lpthread", "-lm", "-ldl"]);
    finish(compile).code(0).silent();
    let ground = Ground::new();
    let mut command = Command::new(program);
    command.env("PARES_DIR", &ground.directory);
    assert_eq!(finish(command).code(0).out, "supervisor\n");
}

/// Goal: a C++ program uses the same header and library.
/// Method: the program that calls everything, as C++11.
#[test]
fn the_header_serves_cplusplus() {
    if has("g++") {
        for program in ["calls", "peer_calls", "listener"] {
            run(&[], &compile("g++", &source(program), "cxx", &["-std=c++11", "-x", "c++"]));
        }
    }
}

/// Goal: who needs one system includes its header only. Method: each alone, and both in both orders
/// and twice; the header of supervisor groups knows nothing of the other.
#[test]
fn each_header_stands_alone() {
    let (groups, peers) = ("#include <pares.h>\n", "#include <pares_peer.h>\n");
    let listeners = "#include <pares_listener.h>\n";
    let main = "int main(void) { return pares_abi_version() == PARES_ABI_VERSION ? 0 : 1; }\n";
    let source = scratch().join("headers.c");
    let together = [groups, peers, listeners, groups].concat();
    for headers in [groups.to_owned(), peers.repeat(2), listeners.repeat(2), together] {
        fs::write(&source, format!("{headers}{main}")).unwrap();
        finish(Command::new(compile("gcc", &source, "alone", &["-std=c99"]))).code(0).silent();
        if has("g++") {
            compile("g++", &source, "alone-cxx", &["-std=c++11", "-x", "c++"]);
        }
    }
    let groups = fs::read_to_string(root().join("include/pares.h")).unwrap();
    let is_foreign = |name: &String| name.contains("peer") || name.contains("listen");
    let foreign: Vec<_> = functions_in(&groups).into_iter().filter(is_foreign).collect();
    assert!(foreign.is_empty(), "{foreign:?} belong into another header");
}

/// Goal: no invalid access, and nothing that is not given back. Method: valgrind. After a fork the
/// child has the memory of threads that it does not have: there leaks say nothing.
#[test]
fn valgrind_finds_no_fault_and_no_leak() {
    if !has("valgrind") {
        return;
    }
    let known = format!("--suppressions={}", root().join("tests/capi/valgrind.supp").display());
    for program in PROGRAMS {
        let leaks = if program == "forks" { "--leak-check=no" } else { "--leak-check=full" };
        let kinds = "--errors-for-leak-kinds=definite,indirect,possible";
        let shown = "--show-leak-kinds=definite,indirect,possible";
        run(
            &[
                "valgrind",
                "-q",
                "--fair-sched=try",
                "--error-exitcode=99",
                leaks,
                kinds,
                shown,
                &known,
            ],
            &c99(program, "valgrind"),
        );
    }
}

/// Goal: the C side of the interface has no undefined behaviour either: what it is given it can
/// read, and no more. Method: the compiler's sanitizers.
#[test]
fn the_sanitizers_find_nothing() {
    let flags =
        |checks| ["-std=c99", checks, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let (everything, undefined) =
        (flags("-fsanitize=address,undefined"), flags("-fsanitize=undefined"));
    let probe = scratch().join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new("gcc")
        .args(everything)
        .arg(&probe)
        .arg("-o")
        .arg(probe.with_extension(""))
        .output();
    if !built.is_ok_and(|output| output.status.success()) {
        crate::skipped::skip("no gcc with sanitizers (Debian: libasan and libubsan come with gcc)");
        return;
    }
    for program in PROGRAMS {
        // The address sanitizer's allocator has locks of its own that no fork takes care of (gcc
        // 12, seen with gdb): one that any thread, also of the library, holds at that moment stays
        // locked in the child for ever. A forking program's accesses are valgrind's to check.
        let checks = if program == "forks" { undefined } else { everything };
        run(&[], &compile("gcc", &source(program), "san", &checks));
    }
}

/// Goal: a killed C program's end is noticed at once, although a child that it has forked lives on.
/// Method: it supervises; SIGKILL; an instance here takes over while the child still waits for its
/// input to end.
#[test]
fn a_killed_parent_is_noticed_although_its_forked_child_lives() {
    let ground = Ground::new();
    let mut command = Command::new(c99("orphan", "plain"));
    command.arg(ground.port.to_string()).env("PARES_DIR", &ground.directory).stdin(Stdio::piped());
    let (mut parent, _input) = Proc::start_with_input(command);
    let line = parent.line();
    let child = PathBuf::from("/proc").join(line.strip_prefix("forked ").expect("its pid"));
    let config =
        Config::new("capi").port(ground.port).state_directory(&ground.directory).name("survivor");
    let survivor = Instance::join(config).unwrap();
    assert_eq!(survivor.role(), Role::Subordinate);
    let events = survivor.events();
    let killed = Instant::now();
    parent.signal(Signal::KILL);
    let deadline = killed + PATIENCE;
    let promoted = std::iter::from_fn(|| events.recv_deadline(deadline).ok())
        .any(|event| matches!(event.kind, EventKind::Supervisor { .. }));
    println!("took over {:?} after the SIGKILL", killed.elapsed());
    assert!(promoted);
    let state = fs::read_to_string(child.join("stat")).unwrap();
    assert!(!state.contains(") Z "), "its child lives: {state}");
    assert_eq!(parent.end_code(), 128 + 9);
}

/// Goal: nothing is exported that the header does not have, nothing is declared that is not there,
/// and nothing is untested. Method: the symbols of the library, the header's text, the text of the
/// test programs.
#[test]
fn the_header_the_library_and_the_tests_have_the_same_functions() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library().join("libpares.so"))
        .output();
    let symbols = String::from_utf8(output.expect("nm, of binutils").stdout).unwrap();
    let exported: BTreeSet<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let header = ["pares.h", "pares_peer.h", "pares_listener.h"]
        .map(|name| fs::read_to_string(root().join("include").join(name)).unwrap())
        .concat();
    let declared = functions_in(&header);
    assert_eq!(exported, declared.iter().map(String::as_str).collect());
    let text = |names: &[&str]| {
        let read = |name| fs::read_to_string(root().join("tests/capi").join(name)).unwrap();
        names.iter().map(read).collect::<String>()
    };
    let calls = text(&["calls.c", "peer_calls.c", "listener.c", "check.h"]);
    let uncalled: Vec<_> =
        declared.iter().filter(|name| !calls.contains(&format!("{name}("))).collect();
    assert!(uncalled.is_empty(), "no program calls {uncalled:?}");
    let misuse = text(&["misuse.c", "peer_misuse.c", "listener.c", "bad.h"]);
    let with_arguments = declared.iter().filter(|name| {
        let declaration = header.split(&format!("{name}(")).nth(1).unwrap();
        !declaration.starts_with("void)") && !declaration.starts_with("int ")
    });
    let untried: Vec<_> =
        with_arguments.filter(|name| !misuse.contains(&format!("{name}("))).collect();
    assert!(untried.is_empty(), "no program misuses {untried:?}");
}

/// The functions that a header declares: lines that begin with a type, and comments left out.
fn functions_in(header: &str) -> BTreeSet<String> {
    let lines = header.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let heads = lines.filter_map(|line| line.split_once('(')).map(|(head, _)| head);
    let names = heads
        .filter_map(|head| head.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("pares_"));
    names.map(str::to_owned).collect()
}
