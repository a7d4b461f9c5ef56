//! What the group's directory keeps: the last term, and the last epochs of a masterless group.
//!
//! Each is a file of one line of fixed length. It has its whole length from the moment it can be
//! seen, and is forced to the disk then; from then on it is written in place, which needs no space
//! and survives every death of processes. (What is written later is not forced to the disk: after a
//! power cut it may be some elections old.)
//!
//! The term is read and written only by an instance that holds the supervisor port, so that the
//! kernel's election is its lock. What cannot be read is never taken for "nothing was there": terms
//! that have been given would be given again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::{KeepError, KeyError};
use crate::net::files;
use crate::net::rt::lock::Mutex;
use crate::state::term::Last;
use crate::sys::Booked;

/// A file of one line, whose length never changes.
struct Line {
    path: PathBuf,
    file: Booked<File>,
    /// What the file is made with.
    first: String,
    doing: &'static Doing,
}

/// What is being done with a line, for a person.
struct Doing {
    open: &'static str,
    make: &'static str,
    read: &'static str,
    write: &'static str,
}

const TERM: Doing = Doing {
    open: "open the term file",
    make: "make the term file",
    read: "read the last term from",
    write: "keep the term in",
};

const EPOCH: Doing = Doing {
    open: "open the epoch file",
    make: "make the epoch file",
    read: "read the last epoch from",
    write: "keep the epoch in",
};

impl Line {
    /// Opens the file; makes it, with `first`, where there is none.
    fn open(path: PathBuf, first: String, doing: &'static Doing) -> Result<Self, KeyError> {
        let file = match open_line(&path, doing.open) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::make(&path, first.as_bytes()).map_err(|source| match source.kind() {
                    io::ErrorKind::PermissionDenied => files::refused(&path, doing.make, source),
                    _ => KeyError::Unkept(KeepError::system(&path, doing.make, &source)),
                })?;
                open_line(&path, doing.open)
            }
            opened => opened,
        };
        Ok(Line { file: file?, path, first, doing })
    }

    fn read(&mut self) -> Result<String, KeepError> {
        self.find_again()?;
        let mut bytes = vec![0; self.first.len()];
        match self.file.read_at(&mut bytes, 0) {
            Ok(count) => String::from_utf8(bytes[..count].to_vec())
                .map_err(|_| self.damaged(&bytes[..count])),
            Err(error) => Err(KeepError::system(&self.path, self.doing.read, &error)),
        }
    }

    fn write(&mut self, line: &str) -> Result<(), KeepError> {
        debug_assert_eq!(line.len(), self.first.len());
        self.find_again()?;
        let written = files::write(&self.file, line.as_bytes());
        written.map_err(|error| KeepError::system(&self.path, self.doing.write, &error))
    }

    /// Cleaners of old files, and whoever puts a copy back, leave us with a file that has no name
    /// any more: what we wrote there nobody would find.
    fn find_again(&mut self) -> Result<(), KeepError> {
        self.file
            .check()
            .map_err(|error| KeepError::system(&self.path, self.doing.write, &error))?;
        if self.file.metadata().is_ok_and(|about| about.nlink() > 0) {
            return Ok(());
        }
        match Line::open(self.path.clone(), self.first.clone(), self.doing) {
            Ok(line) => *self = line,
            Err(KeyError::Unkept(error)) => return Err(error),
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

    /// The number with which a line begins: whole as this program writes it, or all that somebody
    /// has written.
    fn number(&self, line: &str) -> Result<u64, KeepError> {
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

/// The digits of every number that is kept.
const DIGITS: usize = 20;

fn open_line(path: &Path, doing: &'static str) -> Result<Booked<File>, KeyError> {
    let file = files::open(path, OpenOptions::new().read(true).write(true), doing)?;
    Booked::file(file).map_err(|source| KeyError::Io { path: path.into(), doing, source })
}

/// The file with the largest epoch that processes of this machine know of one service type of a
/// masterless group.
///
/// All of them write it. The kernel's lock keeps one from writing less than another just has;
/// nobody waits for it, because its holder may be a process that stands still.
pub(crate) struct EpochFile {
    line: Line,
    /// The largest one that is known to be written there.
    kept: u64,
    /// The largest one that was tried, so that a disk that takes no more does not fill the log.
    tried: u64,
}

impl EpochFile {
    /// Opens it, and sees that it can be written: who begins must be able to keep what it may
    /// learn.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeyError> {
        let line = Line::open(path, epoch_line(0), &EPOCH)?;
        let mut epochs = EpochFile { line, kept: 0, tried: 0 };
        epochs.kept = epochs.read().map_err(KeyError::Unkept)?;
        let again = epochs.alone(|epochs| {
            let epoch = epochs.read()?;
            epochs.line.write(&epoch_line(epoch)).map(|()| epoch)
        });
        epochs.kept = again.map_err(KeyError::Unkept)?.unwrap_or(epochs.kept);
        epochs.tried = epochs.kept;
        Ok(epochs)
    }

    /// The largest one that is known to be written there.
    pub(crate) fn last(&self) -> u64 {
        self.kept
    }

    fn read(&mut self) -> Result<u64, KeepError> {
        let line = self.line.read()?;
        self.line.number(&line)
    }

    /// Does it while no other process does the same, if that can be had at once.
    fn alone<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, KeepError>,
    ) -> Result<Option<T>, KeepError> {
        self.line.find_again()?;
        if flock(&self.line.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let done = work(self);
        _ = flock(&self.line.file, FlockOperation::Unlock);
        done.map(Some)
    }

    /// Writes `epoch` if less is written there. While another process does the same, this one
    /// leaves it for its next time.
    ///
    /// Who takes part already goes on if that fails, for it knows the epoch; it says so once for
    /// each epoch.
    pub(crate) fn keep(&mut self, epoch: u64) {
        if epoch <= self.kept {
            return;
        }
        let kept = self.alone(|epochs| {
            // What is damaged is written anew: this process knows better.
            if epochs.read().is_ok_and(|written| written >= epoch) {
                return Ok(());
            }
            epochs.line.write(&epoch_line(epoch))
        });
        match kept {
            Ok(None) => {}
            Ok(Some(())) => self.kept = epoch,
            Err(error) if epoch > self.tried => {
                log::error!("{error}; this process goes on, and knows epoch {epoch}")
            }
            Err(_) => {}
        }
        self.tried = self.tried.max(epoch);
    }
}

fn epoch_line(epoch: u64) -> String {
    format!("{epoch:0DIGITS$}\n")
}

/// The file with the last term.
pub(crate) struct TermFile {
    /// Which electorate "vacant" speaks of. Others (other network namespaces, another port or
    /// address) share the term, but not this.
    place: u64,
    // Held while the file is written, by whoever writes it: the role thread, and one that brings a
    // survivor's term.
    tenure: Mutex<Tenure>,
}

struct Tenure {
    line: Line,
    /// The term of this instance's supervisorship, as long as it has the port.
    term: Option<u64>,
    /// Whether the last attempt to write did.
    written: bool,
}

impl TermFile {
    pub(crate) fn open(path: PathBuf, at: SocketAddrV4) -> Result<Self, KeyError> {
        // Nothing of an address but 127.0.0.1 is the same as it.
        let ip = u32::from(*at.ip()) ^ u32::from(Ipv4Addr::LOCALHOST);
        let place = (network_namespace() << 16 | u64::from(at.port())) ^ u64::from(ip) << 40;
        let line = Line::open(path, term_line(Last::NONE, place), &TERM)?;
        Ok(TermFile { place, tenure: Mutex::new(Tenure { line, term: None, written: false }) })
    }

    /// Sees whether a term can be kept at `path`, by writing as much as that needs; gives the last
    /// one. Changes nothing.
    pub(crate) fn probe(path: &Path) -> Result<Option<u64>, KeyError> {
        match open_line(path, TERM.open) {
            Ok(file) => {
                let mut line =
                    Line { path: path.into(), file, first: term_line(Last::NONE, 0), doing: &TERM };
                let term =
                    line.read().and_then(|text| line.number(&text)).map_err(KeyError::Unkept)?;
                // In place, so that it needs no room. A process may be writing this moment: it is
                // left alone.
                Ok(Some(term))
            }
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::draft(path, term_line(Last::NONE, 0).as_bytes()).map_err(|source| {
                    KeyError::Unkept(KeepError::system(path, TERM.make, &source))
                })?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The last supervisorship, for one that has claimed the port.
    pub(crate) fn read(&self) -> Result<Last, KeepError> {
        self.tenure.lock().read(self.place)
    }

    /// Keeps the term of a supervisorship that is about to begin.
    pub(crate) fn begin(&self, term: u64) -> Result<(), KeepError> {
        let mut tenure = self.tenure.lock();
        tenure.term = Some(term);
        tenure.write(Last { term, vacant: false }, self.place)
    }

    /// Keeps a term that was raised. One that comes late, after a higher one or after the end, is
    /// left: the file may be another supervisor's by then.
    pub(crate) fn raise(&self, term: u64) {
        let mut tenure = self.tenure.lock();
        if tenure.term.is_some_and(|present| present < term) {
            tenure.term = Some(term);
            self.keep(&mut tenure, Last { term, vacant: false });
        }
    }

    /// Tries again to keep the present term, if that has failed.
    pub(crate) fn retry(&self) {
        let mut tenure = self.tenure.lock();
        if let Some(term) = tenure.term.filter(|_| !tenure.written) {
            self.keep(&mut tenure, Last { term, vacant: false });
        }
    }

    /// Keeps what is to be known of a supervisorship that ends, while the port is still its.
    pub(crate) fn end(&self, last: Last) {
        let mut tenure = self.tenure.lock();
        tenure.term = None;
        self.keep(&mut tenure, last);
    }

    fn keep(&self, tenure: &mut Tenure, last: Last) {
        if let Err(error) = tenure.write(last, self.place) {
            log::error!("{error}; only those who take part now know term {}", last.term);
        }
    }
}

impl Tenure {
    fn read(&mut self, place: u64) -> Result<Last, KeepError> {
        let text = self.line.read()?;
        let term = self.line.number(&text)?;
        let mut words = text.split_ascii_whitespace().skip(1).map(|word| word.parse::<u64>());
        let vacant = words.next() == Some(Ok(1)) && words.next() == Some(Ok(place));
        Ok(Last { term, vacant })
    }

    fn write(&mut self, last: Last, place: u64) -> Result<(), KeepError> {
        self.written = false;
        let last = last.over(self.read(place).ok());
        self.line.write(&term_line(last, place))?;
        self.written = true;
        Ok(())
    }
}

fn term_line(last: Last, place: u64) -> String {
    format!("{:0DIGITS$} {} {place:0DIGITS$}\n", last.term, u8::from(last.vacant))
}

/// The number of this process's network namespace; 0 where there is no such thing.
fn network_namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |about| about.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn an_epoch_that_is_kept_never_shrinks_whoever_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.7.epoch");
        let open = || EpochFile::open(path.clone()).unwrap();
        let (mut one, mut two) = (open(), open());
        assert_eq!(one.last(), 0);
        one.keep(9);
        two.keep(8);
        assert_eq!(open().last(), 9);
        two.keep(10);
        one.keep(9);
        assert_eq!((open().last(), fs::read_to_string(&path).unwrap().len()), (10, DIGITS + 1));
    }

    /// Goal: one that stands still in the middle of writing holds up nobody, and what was left out
    /// is written later.
    #[test]
    fn nobody_waits_for_who_writes_the_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.7.epoch");
        let (one, mut two) =
            (EpochFile::open(path.clone()).unwrap(), EpochFile::open(path.clone()).unwrap());
        flock(&one.line.file, FlockOperation::LockExclusive).unwrap();
        two.keep(5);
        assert_eq!((two.last(), EpochFile::open(path.clone()).unwrap().last()), (0, 0));
        flock(&one.line.file, FlockOperation::Unlock).unwrap();
        two.keep(5);
        assert_eq!(EpochFile::open(path).unwrap().last(), 5);
    }

    /// What may be in a file instead of what this program has written: nothing, what is left after
    /// a power cut, or the beginning of a line, of which the number could be read as a smaller one.
    const DAMAGED: [&[u8]; 8] = [
        b"",
        b"\n",
        b"nonsense\n",
        &[0; 45],
        b"0000000000000000001",
        b"00000000000000000012x 0 00000000000000000000\n",
        b"99999999999999999999 0 00000000000000000000\n",
        b"-3\n",
    ];

    #[test]
    fn an_epoch_file_that_is_damaged_is_an_error_until_one_who_knows_writes_it_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.7.epoch");
        let mut knows = EpochFile::open(path.clone()).unwrap();
        for (epoch, content) in (5..).zip(DAMAGED) {
            fs::write(&path, content).unwrap();
            let error = EpochFile::open(path.clone()).err().unwrap();
            assert!(
                matches!(&error, KeyError::Unkept(error) if error.is_damaged()),
                "{content:?}: {error}"
            );
            knows.keep(epoch);
            assert_eq!(EpochFile::open(path.clone()).unwrap().last(), epoch);
        }
    }

    fn end(file: &TermFile, term: u64, vacant: bool) {
        file.end(Last { term, vacant });
    }

    #[test]
    fn a_file_is_whole_from_the_moment_it_can_be_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        let look = || {
            while fs::read(&path).map_or(true, |line| line.is_empty()) {}
            assert_eq!(fs::read(&path).unwrap().len(), term_line(Last::NONE, 0).len());
        };
        std::thread::scope(|scope| {
            scope.spawn(look);
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(
                        TermFile::open(path.clone(), at(1)).unwrap().read().unwrap(),
                        Last::NONE
                    )
                });
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a draft was left behind");
    }

    #[test]
    fn a_term_is_there_for_whoever_comes_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        let file = TermFile::open(path.clone(), at(1)).unwrap();
        file.begin(7).unwrap();
        assert_eq!(
            TermFile::open(path.clone(), at(1)).unwrap().read().unwrap(),
            Last { term: 7, vacant: false }
        );
        file.raise(11);
        file.raise(9);
        assert_eq!(file.read().unwrap(), Last { term: 11, vacant: false });
        end(&file, 11, true);
        assert_eq!(
            TermFile::open(path, at(1)).unwrap().read().unwrap(),
            Last { term: 11, vacant: true }
        );
    }

    #[test]
    fn a_raised_term_that_comes_after_the_end_does_not_overwrite_the_successors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        let (old, new) =
            (TermFile::open(path.clone(), at(1)).unwrap(), TermFile::open(path, at(1)).unwrap());
        old.begin(1).unwrap();
        end(&old, 11, false);
        new.begin(12).unwrap();
        old.raise(11);
        old.retry();
        assert_eq!(new.read().unwrap().term, 12);
    }

    #[test]
    fn a_group_left_in_order_is_vacant_on_its_own_port_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        end(&TermFile::open(path.clone(), at(1)).unwrap(), 4, true);
        assert_eq!(
            TermFile::open(path.clone(), at(1)).unwrap().read().unwrap(),
            Last { term: 4, vacant: true }
        );
        let derived = SocketAddrV4::new(Ipv4Addr::new(127, 1, 2, 3), 1);
        for other in [at(2), derived] {
            assert_eq!(
                TermFile::open(path.clone(), other).unwrap().read().unwrap(),
                Last { term: 4, vacant: false }
            );
        }
    }

    #[test]
    fn a_damaged_term_file_is_an_error_with_a_cure_until_it_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        let file = TermFile::open(path.clone(), at(1)).unwrap();
        for (term, content) in (5..).zip(DAMAGED) {
            fs::write(&path, content).unwrap();
            let error = TermFile::open(path.clone(), at(1)).unwrap().read().unwrap_err();
            assert!(
                error.is_damaged() && error.to_string().contains("echo NUMBER >"),
                "{content:?}: {error}"
            );
            assert!(TermFile::probe(&path).is_err());
            file.begin(term).unwrap();
            assert_eq!(file.read().unwrap(), Last { term, vacant: false });
        }
    }

    #[test]
    fn a_number_that_a_person_writes_is_a_term() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        for (written, term) in [("57\n", 57), ("57", 57), ("0\n", 0)] {
            fs::write(&path, written).unwrap();
            assert_eq!(
                TermFile::open(path.clone(), at(1)).unwrap().read().unwrap(),
                Last { term, vacant: false }
            );
        }
    }

    /// Cleaners of old files know nothing of ours, and whoever puts a copy back exchanges the file.
    #[test]
    fn a_file_that_was_removed_or_exchanged_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.term");
        let file = TermFile::open(path.clone(), at(1)).unwrap();
        file.begin(7).unwrap();
        fs::remove_file(&path).unwrap();
        file.raise(8);
        assert_eq!(TermFile::open(path.clone(), at(1)).unwrap().read().unwrap().term, 8);
        fs::write(directory.path().join("copy"), "3\n").unwrap();
        fs::rename(directory.path().join("copy"), &path).unwrap();
        assert_eq!(file.read().unwrap().term, 3);
        end(&file, 2, true);
        assert_eq!(
            file.read().unwrap(),
            Last { term: 3, vacant: false },
            "somebody has put it right"
        );
        file.begin(9).unwrap();
        assert_eq!(TermFile::probe(&path).unwrap(), Some(9));
        fs::remove_dir_all(directory.path()).unwrap();
        assert!(file.begin(10).unwrap_err().to_string().contains("make its directory again"));
        fs::create_dir(directory.path()).unwrap();
        file.retry();
        assert_eq!(TermFile::probe(&path).unwrap(), Some(10));
    }

    #[test]
    fn a_probe_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(TermFile::probe(&directory.path().join("web.term")).unwrap(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
