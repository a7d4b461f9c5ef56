//! Says at the end of `cargo test` what was skipped, and why. Cargo runs test programs in the order
//! of their names, and shows what this one prints, for it has no harness. It tests nothing and
//! never fails.

use std::fs;
use std::os::unix::process::parent_id;

#[path = "note.rs"]
mod skipped;

fn main() {
    // cargo-nextest, which asks for the names of tests, hears of none.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let folder = skipped::folder();
    let ours = folder.join(skipped::run(parent_id()));
    let noted = fs::read_to_string(&ours).unwrap_or_default();
    let mut lines: Vec<&str> = noted.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    println!(
        "\nskipped in this run: {}",
        if lines.is_empty() { "nothing".into() } else { lines.len().to_string() }
    );
    lines.iter().for_each(|line| println!("  {line}"));
    println!();
    _ = fs::remove_file(ours);
    // Those of runs that ended before they came to this.
    for left in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = left.file_name();
        let parent = name.to_str().and_then(|name| name.split('-').next()?.parse().ok());
        if parent.is_none_or(|parent| *skipped::run(parent) != *name) {
            _ = fs::remove_file(left.path());
        }
    }
}
