//! What the group's directory keeps: the last term, and the last epochs of a masterless group.
//!
//! The term is read and written only by an instance that holds the supervisor port, so that the kernel's election
//! is its lock. It is one small write in place: it survives every death of processes. (It is not forced to the disk:
//! after a power cut it may be some elections old.)

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::files;
use crate::error::KeyError;
use crate::sys::Booked;

/// Opens a file of one line of fixed length, so that writing it never needs space on the disk.
fn open_line(path: &Path, doing: &'static str) -> Result<Booked<File>, KeyError> {
    let mut options = OpenOptions::new();
    let file = files::open(path, options.read(true).write(true).create(true).mode(0o600), doing)?;
    Booked::file(file).map_err(|source| KeyError::Io { path: path.into(), doing, source })
}

fn read_line<const LENGTH: usize>(file: &File) -> io::Result<String> {
    let mut line = [0; LENGTH];
    let count = file.read_at(&mut line, 0)?;
    Ok(String::from_utf8_lossy(&line[..count]).into_owned())
}

/// The file with the largest epoch that processes of this machine know of one service type of a masterless group.
///
/// All of them write it. The kernel's lock keeps one from writing less than another just has; nobody waits for
/// it, because its holder may be a process that stands still.
pub(crate) struct EpochFile {
    path: PathBuf,
    file: Booked<File>,
    /// What is known to be written there.
    written: u64,
}

impl EpochFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeyError> {
        let file = open_line(&path, "open the epoch file")?;
        let mut epochs = EpochFile { path, file, written: 0 };
        epochs.written = epochs.read();
        Ok(epochs)
    }

    /// The largest one that is known to be written there.
    pub(crate) fn last(&self) -> u64 {
        self.written
    }

    /// What nobody can read is as good as nothing: the next epoch overwrites it.
    fn read(&self) -> u64 {
        match read_line::<EPOCH>(&self.file).map(|text| text.trim_end().parse()) {
            Ok(Ok(epoch)) => epoch,
            Ok(Err(_)) => 0,
            Err(error) => {
                log::error!("cannot read the last epoch from {}: {error}", self.path.display());
                0
            }
        }
    }

    /// Writes `epoch` if less is written there. While another process does the same, this one leaves it for its next time.
    pub(crate) fn keep(&mut self, epoch: u64) {
        if epoch <= self.written || flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let written =
            if self.read() >= epoch { Ok(()) } else { files::write(&self.file, epoch_line(epoch).as_bytes()) };
        _ = flock(&self.file, FlockOperation::Unlock);
        if let Err(error) = written {
            log::error!("cannot keep epoch {epoch} in {}: {error}", self.path.display());
        }
        // Not tried again for the same epoch, so that a full disk does not fill the log.
        self.written = epoch;
    }
}

fn epoch_line(epoch: u64) -> String {
    format!("{epoch:020}\n")
}

const EPOCH: usize = 20 + 1;

/// What the directory says of the last supervisorship.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) term: u64,
    /// True if the supervisor of that term left as the last instance of the group.
    pub(crate) vacant: bool,
}

/// The file with the last term.
pub(crate) struct TermFile {
    path: PathBuf,
    /// Which electorate "vacant" speaks of. Others (other network namespaces, another port or address) share the term, but not this.
    place: u64,
    file: Booked<File>,
}

impl TermFile {
    pub(crate) fn open(path: PathBuf, at: SocketAddrV4) -> Result<Self, KeyError> {
        // Nothing of an address but 127.0.0.1 is the same as it.
        let ip = u32::from(*at.ip()) ^ u32::from(Ipv4Addr::LOCALHOST);
        let place = (network_namespace() << 16 | u64::from(at.port())) ^ u64::from(ip) << 40;
        let file = open_line(&path, "open the term file")?;
        Ok(TermFile { path, place, file })
    }

    /// What is written there; nothing readable is "no supervisor yet", which is what an empty, new file says.
    pub(crate) fn read(&self) -> io::Result<Last> {
        let text = read_line::<LINE>(&self.file)?;
        if text.is_empty() {
            return Ok(Last { term: 0, vacant: true });
        }
        let mut words = text.split_ascii_whitespace();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match (number(), number(), number()) {
            (Some(term), Some(vacant), Some(place)) => Ok(Last { term, vacant: vacant == 1 && place == self.place }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a term")),
        }
    }

    pub(crate) fn write(&self, last: Last) -> io::Result<()> {
        let line = format!("{:020} {} {:020}\n", last.term, u8::from(last.vacant), self.place);
        debug_assert_eq!(line.len(), LINE);
        files::write(&self.file, line.as_bytes())
    }

    /// Takes the next term for a new supervisor that has seen `last_term`: higher than everything known.
    /// Also says what the term before it was like.
    ///
    /// A file that cannot be read or written (a full disk, a read-only one) must not leave the group without a
    /// supervisor: then the term is the next one after `last_term`, and grows as long as one instance survives.
    pub(crate) fn next(&self, last_term: u64) -> (u64, Last) {
        let last = self.read().unwrap_or_else(|error| {
            log::error!("cannot read the last term from {}: {error}", self.path.display());
            Last { term: last_term, vacant: false }
        });
        // A peer may have named the highest term there is: better no growth than an end.
        let term = last.term.max(last_term).saturating_add(1);
        self.keep(Last { term, vacant: false });
        (term, last)
    }

    pub(crate) fn keep(&self, last: Last) {
        if let Err(error) = self.write(last) {
            log::error!("cannot keep term {} in {}: {error}", last.term, self.path.display());
        }
    }
}

const LINE: usize = 20 + 1 + 1 + 1 + 20 + 1;

/// The number of this process's network namespace; 0 where there is no such thing.
fn network_namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |about| about.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn at(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    /// A directory of its own for each test, gone with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("pares-store-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_epoch_that_is_kept_never_shrinks_whoever_writes() {
        let directory = Directory::new();
        let path = directory.0.join("web.7.epoch");
        let open = || EpochFile::open(path.clone()).unwrap();
        let (mut one, mut two) = (open(), open());
        assert_eq!(one.last(), 0);
        one.keep(9);
        two.keep(8);
        assert_eq!(open().last(), 9);
        two.keep(10);
        one.keep(9);
        assert_eq!((open().last(), fs::read_to_string(&path).unwrap().len()), (10, EPOCH));
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(open().last(), 0);
    }

    /// Goal: one that stands still in the middle of writing holds up nobody, and what was left out is written later.
    #[test]
    fn nobody_waits_for_who_writes_the_epoch() {
        let directory = Directory::new();
        let path = directory.0.join("web.7.epoch");
        let (one, mut two) = (EpochFile::open(path.clone()).unwrap(), EpochFile::open(path.clone()).unwrap());
        flock(&one.file, FlockOperation::LockExclusive).unwrap();
        two.keep(5);
        assert_eq!((two.last(), EpochFile::open(path.clone()).unwrap().last()), (0, 0));
        flock(&one.file, FlockOperation::Unlock).unwrap();
        two.keep(5);
        assert_eq!(EpochFile::open(path).unwrap().last(), 5);
    }

    #[test]
    fn terms_grow_whatever_the_new_supervisor_has_seen() {
        let directory = Directory::new();
        let path = directory.0.join("web.term");
        let file = TermFile::open(path.clone(), at(1)).unwrap();
        assert_eq!(file.next(0), (1, Last { term: 0, vacant: true }));
        assert_eq!(file.next(9), (10, Last { term: 1, vacant: false }));
        assert_eq!(TermFile::open(path, at(1)).unwrap().next(3), (11, Last { term: 10, vacant: false }));
    }

    #[test]
    fn after_the_highest_term_comes_the_same_again() {
        let directory = Directory::new();
        let file = TermFile::open(directory.0.join("web.term"), at(1)).unwrap();
        assert_eq!(file.next(u64::MAX).0, u64::MAX);
        assert_eq!(file.next(0).0, u64::MAX);
    }

    #[test]
    fn a_group_left_in_order_is_vacant_on_its_own_port_only() {
        let directory = Directory::new();
        let path = directory.0.join("web.term");
        let file = TermFile::open(path.clone(), at(1)).unwrap();
        file.write(Last { term: 4, vacant: true }).unwrap();
        assert_eq!(TermFile::open(path.clone(), at(1)).unwrap().read().unwrap(), Last { term: 4, vacant: true });
        let derived = SocketAddrV4::new(Ipv4Addr::new(127, 1, 2, 3), 1);
        for other in [at(2), derived] {
            assert_eq!(TermFile::open(path.clone(), other).unwrap().read().unwrap(), Last { term: 4, vacant: false });
        }
    }

    #[test]
    fn a_damaged_term_file_does_not_stop_the_group() {
        let directory = Directory::new();
        let path = directory.0.join("web.term");
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(TermFile::open(path, at(1)).unwrap().next(6).0, 7);
    }
}
