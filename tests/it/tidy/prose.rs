//! What strangers read first, the headers and the help, is written as a native technical writer
//! writes it: each sentence has a subject and an active verb.

use std::fs;
use std::process::Command;

use super::{none, root};

/// Beginnings of sentences that have no subject of their own.
const OPENINGS: [&str; 9] =
    ["Who ", "Whoever ", "One that ", "One of ", "What ", "The same", "Nobody ", "Of ", "To be "];

/// Words that a native writer does not put like this.
const PHRASES: [&str; 29] = [
    "so that",
    "whoever",
    "those who",
    "if it is to",
    "what it has",
    "is to be",
    "are to be",
    "to be freed",
    "to be called",
    "to be asked",
    "has to be",
    "() gives",
    " gives the",
    " may give ",
    " shall ",
    "anew",
    "all the same",
    "for ever",
    "can be given several times",
    "by way of",
    "there may be",
    "where nothing",
    "where it is",
    "handed `",
    "how many they",
    "how much it",
    "how many seconds",
    "and their like",
    "under way",
];

/// The complaints about a text, each with its sentence.
fn complaints(place: &str, text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let phrases = PHRASES.iter().filter_map(|phrase| {
        let at = text.to_lowercase().find(phrase)?;
        let near: String = text.chars().skip(at.saturating_sub(40)).take(100).collect();
        Some(format!("{place}: \"{phrase}\" in: …{near}…"))
    });
    let openings = text.split(". ").filter_map(|sentence| {
        let opening = OPENINGS.iter().find(|opening| sentence.starts_with(**opening))?;
        let near: String = sentence.chars().take(80).collect();
        Some(format!("{place}: a sentence begins with \"{opening}\": {near}…"))
    });
    phrases.chain(openings).collect()
}

/// The comments of a C header, one by one.
fn comments(header: &str) -> impl Iterator<Item = String> {
    header.split("/**").skip(1).map(|rest| {
        let comment = rest.split("*/").next().unwrap_or_default();
        let lines = comment.lines().map(|line| line.trim().trim_start_matches("* "));
        lines.collect::<Vec<_>>().join("\n").trim_start_matches('*').trim().to_owned()
    })
}

#[test]
fn the_headers_are_written_in_plain_english() {
    let mut found = Vec::new();
    for (name, least) in [("pares.h", 100), ("pares_peer.h", 100), ("pares_listener.h", 10)] {
        let header = fs::read_to_string(root().join("include").join(name)).unwrap();
        let comments: Vec<String> = comments(&header).collect();
        assert!(comments.len() > least, "only {} comments in {name}", comments.len());
        for comment in &comments {
            for paragraph in comment.split("\n\n") {
                found.extend(complaints(name, paragraph));
            }
        }
        let lines = header.lines().count();
        if lines >= 900 {
            found.push(format!("{name} has {lines} lines"));
        }
    }
    none(&found);
}

/// The help of a command, its longest form.
fn help(words: &[String]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pares"));
    let output = command.args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    });
    names.collect()
}

/// Goal: every help says what a command or an option does, in one style: an imperative or a noun
/// phrase, without a full stop in the first line. Method: the help that the command itself prints,
/// of each command and each of its commands.
#[test]
fn the_help_is_written_in_plain_english() {
    let mut found = Vec::new();
    let (mut left, mut seen) = (vec![Vec::new()], 0);
    while let Some(words) = left.pop() {
        let place = format!("pares {}", words.join(" "));
        let help = help(&words);
        for paragraph in help.split("\n\n") {
            found.extend(complaints(&place, paragraph));
        }
        let first = help.lines().next().unwrap_or_default();
        if first.ends_with('.') || !first.starts_with(|c: char| c.is_ascii_uppercase()) {
            found.push(format!("{place}: its first line is no title: {first}"));
        }
        for name in subcommands(&help) {
            left.push(words.iter().cloned().chain([name]).collect());
        }
        seen += 1;
    }
    assert!(seen > 25, "only {seen} commands seen");
    none(&found);
}

#[test]
fn a_sentence_that_reads_as_translated_is_found() {
    for text in [
        "Frees it. Who waits gets an error.",
        "Gives back what it holds, so that others can have it.",
        "A handle, to be freed with f().",
    ] {
        assert!(!complaints("here", text).is_empty(), "{text}");
    }
    assert_eq!(complaints("here", "Frees the handle. A waiting call returns."), [""; 0]);
}
