//! A file of one line of fixed length.
//!
//! The file has its whole length from the moment it is visible, and is on the disk then. Later it
//! is written in place, which needs no space and survives every death of processes. (Later writes
//! are not forced to the disk: after a power cut the file may be some elections old.)
//!
//! A file that cannot be read never counts as an empty one: its numbers would be used again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{KeepError, KeyError};
use crate::net::files;
use crate::sys::Booked;

/// A file of one line, whose length never changes.
pub(super) struct Line {
    pub(super) path: PathBuf,
    pub(super) file: Booked<File>,
    /// What the file is made with.
    pub(super) first: String,
    pub(super) doing: &'static Doing,
}

/// What is done with a line, for a person.
pub(super) struct Doing {
    pub(super) open: &'static str,
    pub(super) make: &'static str,
    pub(super) read: &'static str,
    pub(super) write: &'static str,
}

impl Line {
    /// Opens the file; if there is none, makes it with `first`.
    pub(super) fn open(
        path: PathBuf,
        first: String,
        doing: &'static Doing,
    ) -> Result<Self, KeyError> {
        let file = match open_line(&path, doing.open) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::make(&path, first.as_bytes()).map_err(|source| match source.kind() {
                    io::ErrorKind::PermissionDenied => files::refused(&path, doing.make, source),
                    _ => KeyError::Unkept { source: KeepError::system(&path, doing.make, &source) },
                })?;
                open_line(&path, doing.open)
            }
            opened => opened,
        };
        Ok(Line { file: file?, path, first, doing })
    }

    pub(super) fn read(&mut self) -> Result<String, KeepError> {
        self.find_again()?;
        let mut bytes = vec![0; self.first.len()];
        match self.file.read_at(&mut bytes, 0) {
            Ok(count) => String::from_utf8(bytes[..count].to_vec())
                .map_err(|_| self.damaged(&bytes[..count])),
            Err(error) => Err(KeepError::system(&self.path, self.doing.read, &error)),
        }
    }

    pub(super) fn write(&mut self, line: &str) -> Result<(), KeepError> {
        debug_assert_eq!(line.len(), self.first.len());
        self.find_again()?;
        let written = files::write(&self.file, line.as_bytes());
        written.map_err(|error| KeepError::system(&self.path, self.doing.write, &error))
    }

    /// Programs that remove old files, and users who restore a copy, leave us with a file that has
    /// no name any more. Nothing would find what we wrote there.
    pub(super) fn find_again(&mut self) -> Result<(), KeepError> {
        self.file
            .check()
            .map_err(|error| KeepError::system(&self.path, self.doing.write, &error))?;
        if self.file.metadata().is_ok_and(|about| about.nlink() > 0) {
            return Ok(());
        }
        match Line::open(self.path.clone(), self.first.clone(), self.doing) {
            Ok(line) => *self = line,
            Err(KeyError::Unkept { source: error }) => return Err(error),
            Err(KeyError::Io { path, doing, source }) => {
                return Err(KeepError::system(&path, doing, &source));
            }
            Err(error) => {
                return Err(KeepError::system(
                    &self.path,
                    self.doing.open,
                    &io::Error::other(error),
                ));
            }
        }
        Ok(())
    }

    fn damaged(&self, found: &[u8]) -> KeepError {
        KeepError::damaged(&self.path, found)
    }

    /// Returns the number with which a line begins: whole as this program writes it, or all that
    /// somebody has written.
    pub(super) fn number(&self, line: &str) -> Result<u64, KeepError> {
        let word = line.split_ascii_whitespace().next().unwrap_or_default();
        // The beginning of a number of ours would be read as a smaller one.
        let whole = word.len() == DIGITS
            || (!word.starts_with('0') && word.len() < DIGITS)
            || line.trim_end() == "0";
        let number =
            word.parse().ok().filter(|_| whole && word.bytes().all(|byte| byte.is_ascii_digit()));
        number.ok_or_else(|| self.damaged(line.as_bytes()))
    }
}

/// The number of digits of every number that is kept.
pub(super) const DIGITS: usize = 20;

pub(super) fn open_line(path: &Path, doing: &'static str) -> Result<Booked<File>, KeyError> {
    let file = files::open(path, OpenOptions::new().read(true).write(true), doing)?;
    Booked::file(file).map_err(|source| KeyError::Io { path: path.into(), doing, source })
}

/// What a file may hold instead of what this program wrote: nothing, the remains of a power cut, or
/// the beginning of a line, whose number could be read as a smaller one.
#[cfg(test)]
pub(super) const DAMAGED: [&[u8]; 8] = [
    b"",
    b"\n",
    b"nonsense\n",
    &[0; 45],
    b"0000000000000000001",
    b"00000000000000000012x 0 00000000000000000000\n",
    b"99999999999999999999 0 00000000000000000000\n",
    b"-3\n",
];
