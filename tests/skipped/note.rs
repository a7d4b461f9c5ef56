//! What was skipped in a run of `cargo test`, and why: the tests note it, `main.rs` beside this
//! says it at the end. The harness shows nothing of what a test that passes prints.
//!
//! A run is known by the process that started the test programs: its number, and when it began, for
//! numbers come again.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

/// Says why the present test is skipped.
#[allow(dead_code)] // not for who reads it
pub(crate) fn skip(why: impl Display) {
    println!("skipped: {why}");
    let (folder, test) = (folder(), std::thread::current().name().unwrap_or("a test").to_owned());
    let note = || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        let mut file =
            File::options().append(true).create(true).open(folder.join(run(parent_id())))?;
        file.write_all(format!("{test}: {why}\n").as_bytes())
    };
    note().unwrap_or_else(|error| panic!("not to be noted in {}: {error}", folder.display()));
}

/// Beside the programs of the profile, for the tests of the library do not know where the others
/// keep their files.
pub(crate) fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("target/PROFILE/deps").with_file_name("skipped-tests")
}

/// The name of the file for what was skipped among the children of this process.
pub(crate) fn run(parent: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    let began =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or("0");
    format!("{parent}-{began}")
}
