//! What the public documentation must not read like: openings and phrases of sentences that were
//! thought in another language. Each entry of the lists stands for a kind that was here once.

use std::path::Path;

use super::{files, none};

/// What a user of the library reads as its documentation.
const FACE: [&str; 18] = [
    "client",
    "config",
    "error",
    "event",
    "instance",
    "job",
    "lib.rs",
    "masterless",
    "message",
    "net/masterless/label.rs",
    "net/rt/events.rs",
    "permit",
    "setting",
    "tally",
    "wire/heartbeat.rs",
    "wire/label.rs",
    "wire/peer_id.rs",
    "wire/values.rs",
];

/// How no sentence begins: it names who acts, and then what that one does.
const OPENINGS: [&str; 17] = [
    "Above it",
    "As to",
    "Below it",
    "Else",
    "Gives",
    "How many",
    "How much",
    "Not for",
    "Not to be",
    "Of whom",
    "One that",
    "One who",
    "So long",
    "So much",
    "Who",
    "Whoever",
    "Whom",
];

/// What no sentence has: a second thought hung on by "so that", people where processes are meant,
/// the passive of what somebody says.
const PHRASES: [&str; 16] = [
    " all the same",
    " are told so",
    " found out",
    " in its turn",
    " is told so",
    " not be had",
    " of whom",
    " one who ",
    " so that ",
    " there is nobody",
    " those who ",
    " who is there",
    " whoever ",
    ", else ",
    "; else ",
    "of this user's",
];

/// The paragraphs of a text with the line that each begins at: without code, titles, marks of bold
/// text, and what is in code spans.
fn paragraphs<'a>(lines: impl Iterator<Item = Option<&'a str>>) -> Vec<(usize, String)> {
    let (mut found, mut fenced, mut open) = (Vec::<(usize, String)>::new(), false, false);
    for (line, at) in lines.zip(1..) {
        let Some(line) = line.map(str::trim) else {
            (fenced, open) = (false, false);
            continue;
        };
        if line.starts_with("```") {
            (fenced, open) = (!fenced, false);
            continue;
        }
        let list = ["- ", "* ", "1. ", "2. ", "3. ", "4. ", "5. ", "|"];
        if fenced || line.is_empty() || line.starts_with('#') {
            open = false;
            continue;
        }
        match found.last_mut().filter(|_| open && !list.iter().any(|one| line.starts_with(one))) {
            Some((_, text)) => {
                text.push(' ');
                text.push_str(line);
            }
            None => found.push((at, line.to_owned())),
        }
        open = true;
    }
    let plain = |text: String| {
        let text = text.replace("**", "");
        let spans = text.split('`').enumerate();
        spans.map(|(at, span)| if at % 2 == 0 { span } else { "`" }).collect::<String>()
    };
    found.into_iter().map(|(at, text)| (at, plain(text))).collect()
}

/// The sentences of a paragraph, the cells of a table's row, the head of a list's item.
fn sentences(paragraph: &str) -> impl Iterator<Item = &str> {
    let ends = [". ", "? ", "! ", ": ", " | "];
    let mut rest = Some(paragraph);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = ends.iter().filter_map(|end| text.find(end).map(|at| at + end.len())).min();
        rest = end.map(|end| &text[end..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// The documentation that a line of code carries.
fn documentation(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

fn complaints(path: &Path, text: &[(usize, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, paragraph) in text {
        for phrase in PHRASES.iter().filter(|phrase| paragraph.contains(**phrase)) {
            found.push(format!("{}:{at}: `{}`", path.display(), phrase.trim()));
        }
        for sentence in sentences(paragraph) {
            let words = sentence.trim_start_matches(|c: char| !c.is_alphabetic());
            let opening = OPENINGS.iter().find(|opening| {
                words.strip_prefix(**opening).is_some_and(|rest| rest.starts_with([' ', ',']))
            });
            found.extend(opening.map(|one| format!("{}:{at}: `{one} …`", path.display())));
        }
    }
    found
}

fn face() -> Vec<(std::path::PathBuf, String)> {
    let mut face = files("src", &["rs"]);
    face.retain(|(path, _)| {
        let inside = path.strip_prefix("src").unwrap().to_string_lossy();
        FACE.iter().any(|one| inside.starts_with(one)) && !inside.ends_with("tests.rs")
    });
    face
}

/// Goal: a stranger reads the public documentation without stumbling over its sentences.
#[test]
fn public_sentences_name_who_acts_and_hold_one_thought() {
    let (mut all, mut seen) = (Vec::new(), 0);
    for (path, text) in face() {
        let text = paragraphs(text.lines().map(documentation));
        seen += text.len();
        all.extend(complaints(&path, &text));
    }
    let mut pages = files("docs", &["md"]);
    for name in ["README.md", "CHANGELOG.md"] {
        pages.push((name.into(), std::fs::read_to_string(super::root().join(name)).unwrap()));
    }
    for (path, text) in pages {
        let text = paragraphs(text.lines().map(Some));
        seen += text.len();
        all.extend(complaints(&path, &text));
    }
    assert!(seen > 1000, "only {seen} paragraphs seen");
    none(&all);
}

/// Goal: the list of a type's methods says what each of them does: "Returns …", "Joins …".
#[test]
fn the_summary_of_a_public_function_begins_with_what_it_does() {
    let (mut all, mut seen) = (Vec::new(), 0);
    for (path, text) in face() {
        let mut summary: Option<(usize, &str)> = None;
        for (line, at) in text.lines().zip(1..) {
            let code = line.trim_start();
            if let Some(words) = documentation(line) {
                summary = summary.or(Some((at, words.trim())));
            } else if code.starts_with("pub fn ") || code.starts_with("pub const fn ") {
                let Some((at, words)) = summary.take() else { continue };
                seen += 1;
                let first = words.split(' ').next().unwrap_or_default();
                if !first.ends_with('s') || !first.starts_with(char::is_uppercase) {
                    all.push(format!("{}:{at}: {words}", path.display()));
                }
            } else if !code.starts_with("#[") {
                summary = None;
            }
        }
    }
    assert!(seen > 100, "only {seen} functions seen");
    none(&all);
}

/// Goal: the two tests above can fail. Method: sentences of the kind that they are for.
#[test]
fn a_sentence_of_the_old_kind_is_found_wherever_it_stands() {
    let of = |text: &'static str| complaints(Path::new("it"), &paragraphs(text.lines().map(Some)));
    for old in [
        "Who hears nobody must think itself alone.",
        "It waits. Whoever is\nquickest is next.",
        "- **Case.** Gives the permit back.",
        "| word | How many there are |",
        "It is sent at once, so that\nnobody waits.",
        "Returns the name; else nothing.",
    ] {
        assert_eq!(of(old).len(), 1, "{old}");
    }
    for good in ["Returns `Who`; see `so that `.", "```\nWho is it\n```", "# Who is it"] {
        assert_eq!(of(good), [""; 0], "{good}");
    }
}
