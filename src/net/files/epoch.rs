//! What a group's directory keeps of a masterless group: the largest epoch of each service type.

use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::line::{DIGITS, Doing, Line};
use crate::error::{KeepError, KeyError};

const EPOCH: Doing = Doing {
    open: "open the epoch file",
    make: "make the epoch file",
    read: "read the last epoch from",
    write: "keep the epoch in",
};

/// The file with the largest epoch of one service type of a masterless group that processes of this
/// machine know.
///
/// All of them write it. A kernel lock keeps one process from writing less than another just has.
/// No process waits for the lock, because its holder may be a process that stands still.
pub(crate) struct EpochFile {
    line: Line,
    /// The largest epoch known to be in the file.
    kept: u64,
    /// The largest epoch tried: a full disk then does not fill the log.
    tried: u64,
}

impl EpochFile {
    /// Opens the file, and checks that it can be written: a process that joins must be able to keep
    /// what it learns.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeyError> {
        let line = Line::open(path, epoch_line(0), &EPOCH)?;
        let mut epochs = EpochFile { line, kept: 0, tried: 0 };
        epochs.kept = epochs.read().map_err(KeyError::from)?;
        let again = epochs.alone(|epochs| {
            let epoch = epochs.read()?;
            epochs.line.write(&epoch_line(epoch)).map(|()| epoch)
        });
        epochs.kept = again.map_err(KeyError::from)?.unwrap_or(epochs.kept);
        epochs.tried = epochs.kept;
        Ok(epochs)
    }

    /// Returns the largest epoch known to be in the file.
    pub(crate) fn last(&self) -> u64 {
        self.kept
    }

    fn read(&mut self) -> Result<u64, KeepError> {
        let line = self.line.read()?;
        self.line.number(&line)
    }

    /// Runs this while no other process does the same, if the lock is free.
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

    /// Writes `epoch` if the file holds less. While another process does the same, this one leaves
    /// it for its next time.
    ///
    /// A process that already takes part continues if this fails, because it knows the epoch; it
    /// logs the failure once for each epoch.
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
                log::error!("{error}; this process continues, and remembers epoch {epoch}")
            }
            Err(_) => {}
        }
        self.tried = self.tried.max(epoch);
    }
}

fn epoch_line(epoch: u64) -> String {
    format!("{epoch:0DIGITS$}\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::line::DAMAGED;
    use super::*;

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

    #[test]
    fn an_epoch_file_that_is_damaged_is_an_error_until_one_who_knows_writes_it_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.7.epoch");
        let mut knows = EpochFile::open(path.clone()).unwrap();
        for (epoch, content) in (5..).zip(DAMAGED) {
            fs::write(&path, content).unwrap();
            let error = EpochFile::open(path.clone()).err().unwrap();
            assert!(
                matches!(&error, KeyError::Unkept { source: error } if error.is_damaged()),
                "{content:?}: {error}"
            );
            knows.keep(epoch);
            assert_eq!(EpochFile::open(path.clone()).unwrap().last(), epoch);
        }
    }
}
