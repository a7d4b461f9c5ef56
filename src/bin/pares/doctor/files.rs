//! What the group's files are like: which directory they are in, and why; the key.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pares::{Config, KeyError, PlaceError, StateDirectory};

use super::machine::directory as writable;
use super::{Finding, State, cure, note, ok};
use crate::advice::with_options;

/// Which directory the group's files are in and what has said so; that others cannot exchange them,
/// and this user can write there.
pub(super) fn directory(config: &Config, directory: &StateDirectory) -> Finding {
    const CHECK: &str = "directory";
    if let Err(PlaceError::Key { source: error }) = config.check_directory() {
        let remedy = match with_options(&error.remedy(), error.settings()) {
            remedy if remedy.is_empty() => {
                "make it a directory that belongs to this user".to_owned()
            }
            remedy => remedy,
        };
        return cure(CHECK, format!("{} ({})", error.finding(), directory.source), remedy);
    }
    let Finding { state, finding, cure, .. } = writable(&directory.path);
    // Permission is not all: there must be room for a term, and one that is there must be whole.
    let (state, finding, cure) = match config.last_term() {
        _ if state != State::Ok || !directory.path.exists() => (state, finding, cure),
        Ok(None) => (state, format!("{finding}, and has no term yet"), cure),
        Ok(Some(term)) => (state, format!("{finding}; the last term is {term}"), cure),
        Err(PlaceError::Key { source: error }) => {
            (State::Cure, error.finding(), with_options(&error.remedy(), error.settings()))
        }
        Err(error) => (State::Cure, error.to_string(), cure),
    };
    let why: Vec<&str> = [directory.source]
        .into_iter()
        .chain(directory.ignored.iter().map(String::as_str))
        .collect();
    let finding = format!("{finding} ({})", why.join("; "));
    match open_parent(&directory.path) {
        Some((parent, mode)) if state == State::Ok => note(
            CHECK,
            format!(
                "{finding}; its parent {} has mode {mode:04o}, and other users can replace it",
                parent.display()
            ),
            format!("chmod go-w {}, or chmod +t", parent.display()),
        ),
        _ => Finding { check: CHECK, state, finding, cure },
    }
}

/// The first directory above this one in which all users may rename what is others'.
fn open_parent(path: &Path) -> Option<(&Path, u32)> {
    let modes = path
        .ancestors()
        .skip(1)
        .filter_map(|part| Some((part, fs::metadata(part).ok()?.mode() & 0o7777)));
    modes.into_iter().find(|(_, mode)| mode & 0o002 != 0 && mode & 0o1000 == 0)
}

pub(super) fn key(config: &Config, path: &Path) -> Finding {
    const CHECK: &str = "key";
    let name = path.display();
    match config.has_key() {
        Ok(false) => ok(CHECK, format!("{name} will be made at first use")),
        Ok(true) => match fs::metadata(path).map(|about| about.mode() & 0o7777) {
            Ok(mode) if mode & 0o004 != 0 => note(
                CHECK,
                format!(
                    "{name} has mode {mode:04o}: every user of this machine or container can read \
                     it and take part"
                ),
                "if others use the machine, mount it with mode 0400, or 0440 and this user's group",
            ),
            _ => ok(CHECK, format!("only this user, or one group, can read {name}")),
        },
        Err(PlaceError::Key { source: KeyError::Unsafe { .. } })
            if config.check_directory().is_err() =>
        {
            ok(CHECK, format!("{name} was not checked: see its directory"))
        }
        Err(PlaceError::Key { source: error }) => {
            match with_options(&error.remedy(), error.settings()) {
                remedy if remedy.is_empty() => {
                    cure(CHECK, error.finding(), "let this user read it")
                }
                remedy => cure(CHECK, error.finding(), remedy),
            }
        }
        Err(error) => cure(CHECK, error.to_string(), "see the message"),
    }
}
