//! What a group's directory keeps of its supervisors: the last term.
//!
//! Only an instance that holds the supervisor port reads and writes it: the kernel's election is
//! its lock.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::line::{DIGITS, Doing, Line, open_line};
use crate::error::{KeepError, KeyError};
use crate::net::files;
use crate::net::rt::lock::Mutex;
use crate::state::term::Last;

const TERM: Doing = Doing {
    open: "open the term file",
    make: "make the term file",
    read: "read the last term from",
    write: "keep the term in",
};

/// The file with the last term.
pub(crate) struct TermFile {
    /// The electorate that "vacant" speaks of. Others (other network namespaces, another port or
    /// address) share the term, but not this.
    place: u64,
    // Held while the file is written, by whoever writes it: the role thread, and one that brings a
    // survivor's term.
    tenure: Mutex<Tenure>,
}

struct Tenure {
    line: Line,
    /// The term of this instance's supervisorship, while it has the port.
    term: Option<u64>,
    /// True if the last attempt to write succeeded.
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

    /// Checks that a term can be kept at `path`, by writing as much as that needs. Returns the last
    /// term. Changes nothing.
    pub(crate) fn probe(path: &Path) -> Result<Option<u64>, KeyError> {
        match open_line(path, TERM.open) {
            Ok(file) => {
                let mut line =
                    Line { path: path.into(), file, first: term_line(Last::NONE, 0), doing: &TERM };
                let term =
                    line.read().and_then(|text| line.number(&text)).map_err(KeyError::from)?;
                // In place, so that it needs no room. A process may be writing this moment: it is
                // left alone.
                Ok(Some(term))
            }
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::draft(path, term_line(Last::NONE, 0).as_bytes()).map_err(|source| {
                    KeyError::Unkept { source: KeepError::system(path, TERM.make, &source) }
                })?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the last supervisorship, for an instance that has claimed the port.
    pub(crate) fn read(&self) -> Result<Last, KeepError> {
        self.tenure.lock().read(self.place)
    }

    /// Keeps the term of a supervisorship that is about to start.
    pub(crate) fn begin(&self, term: u64) -> Result<(), KeepError> {
        let mut tenure = self.tenure.lock();
        tenure.term = Some(term);
        tenure.write(Last { term, vacant: false }, self.place)
    }

    /// Keeps a term that was raised. One that comes late, after a higher one or after the end, is
    /// ignored: the file may be another supervisor's by then.
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

    /// Keeps the record of a supervisorship that ends, while it still has the port.
    pub(crate) fn end(&self, last: Last) {
        let mut tenure = self.tenure.lock();
        tenure.term = None;
        self.keep(&mut tenure, last);
    }

    fn keep(&self, tenure: &mut Tenure, last: Last) {
        if let Err(error) = tenure.write(last, self.place) {
            log::error!("{error}; only the present instances know term {}", last.term);
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
    use super::super::line::DAMAGED;
    use super::*;

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
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
