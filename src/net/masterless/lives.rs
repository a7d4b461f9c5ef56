//! What the kernel reports of the processes of this machine: their end, at once.
//!
//! Each peer has a small file, named by its tail, that says which process it is. A process that
//! hears of a new tail looks for its file and, if there is one, has the kernel report the end of
//! that process. The report is a hint and no more: a process without one, because it is on another
//! machine or there are too many, is missed when its heartbeats are.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::masterless::{MAX_LIVES, MAX_SWEPT};
use crate::error::KeyError;
use crate::net::files;
use crate::net::procs::kernel::started;
use crate::sys::Booked;
use crate::wire::Tail;

/// The domain in which process numbers can be compared: one namespace, between two starts of one
/// kernel.
fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino());
    format!("{namespace}.{}", boot.trim())
}

/// A file of another place belongs to another machine with the same directory, or to nobody any
/// more. After this long it counts as the latter; if that is wrong, the kernel's report of one
/// process is missed.
const FOREIGN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The files of all peers of one group.
pub(super) struct Files {
    directory: PathBuf,
    place: String,
}

impl Files {
    pub(super) fn open(directory: PathBuf) -> Result<Self, KeyError> {
        files::make_directory(&directory)?;
        let files = Files { directory, place: place() };
        files.sweep();
        Ok(files)
    }

    fn path(&self, tail: Tail) -> PathBuf {
        self.directory.join(tail.to_string())
    }

    /// Writes which process has this tail. No other process has heard of the tail yet, and none
    /// reads half of the file.
    fn write(&self, tail: Tail) {
        let pid = std::process::id();
        let Some(began) = started(pid) else { return }; // no /proc here
        let path = self.path(tail);
        let line = format!("{pid} {began} {}\n", self.place);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        if let Err(error) = opened.and_then(|file| files::write(&file, line.as_bytes())) {
            log::warn!(
                "cannot write {}: {error}; other processes will notice the end of this one later",
                path.display()
            );
        }
    }

    fn remove(&self, tail: Tail) {
        _ = fs::remove_file(self.path(tail));
    }

    /// Returns the process with this tail, if its end can be reported here.
    fn find(&self, tail: Tail) -> Option<Life> {
        let text = files::read(&self.path(tail)).ok()?;
        read_life(&text, &self.place)
    }

    /// Removes the files of killed processes: a few at a time.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten().take(MAX_SWEPT) {
            let Ok(text) = files::read(&entry.path()) else { continue };
            let stale = match read_life(&text, &self.place) {
                Some(life) => started(life.pid) != Some(life.began),
                None => is_old(&entry.path()),
            };
            if stale {
                _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn is_old(path: &Path) -> bool {
    let written = fs::metadata(path).and_then(|about| about.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > FOREIGN_FOR))
}

/// A process of this machine, by its number and the time of its start: no other process ever has
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    pid: u32,
    began: u64,
}

fn read_life(text: &str, here: &str) -> Option<Life> {
    let mut words = text.split_ascii_whitespace();
    let life = Life { pid: words.next()?.parse().ok()?, began: words.next()?.parse().ok()? };
    (words.next() == Some(here)).then_some(life)
}

struct Watched {
    pid: u32,
    /// Readable when the process has ended; `None` if there are as many as allowed, or the system
    /// has none left.
    end: Option<Booked<OwnedFd>>,
}

/// The peers of this machine whose end the kernel reports.
pub(super) struct Lives {
    files: Files,
    own: Option<Tail>,
    watched: BTreeMap<Tail, Watched>,
    ends: usize,
}

impl Lives {
    pub(super) fn new(files: Files) -> Self {
        Lives { files, own: None, watched: BTreeMap::new(), ends: 0 }
    }

    /// Gives this process this tail from now on.
    pub(super) fn be(&mut self, tail: Tail) {
        if self.own != Some(tail) {
            self.be_nobody();
            self.files.write(tail);
            self.own = Some(tail);
        }
    }

    fn be_nobody(&mut self) {
        if let Some(old) = self.own.take() {
            self.files.remove(old);
        }
    }

    /// Notes a new peer. Returns true if it has ended already.
    pub(super) fn begin(&mut self, tail: Tail) -> bool {
        let Some(life) = self.files.find(tail) else { return false };
        let end = if self.ends < MAX_LIVES { end_of(life.pid) } else { Ok(None) };
        // Its number is looked at after it is held: from now on it is no other's.
        if end.is_err() || started(life.pid) != Some(life.began) {
            self.files.remove(tail);
            return true;
        }
        let end = end.ok().flatten();
        self.ends += usize::from(end.is_some());
        self.forget(tail);
        self.watched.insert(tail, Watched { pid: life.pid, end });
        false
    }

    /// Notes that the peer is gone, however that is known.
    pub(super) fn forget(&mut self, tail: Tail) {
        if let Some(Watched { end: Some(_), .. }) = self.watched.remove(&tail) {
            self.ends -= 1;
        }
    }

    /// Notes that a process has ended, as the kernel or the program reports.
    pub(super) fn end(&mut self, tail: Tail) {
        self.forget(tail);
        self.files.remove(tail);
    }

    /// Returns all peers that are this process.
    pub(super) fn of_process(&self, pid: u32) -> Vec<Tail> {
        self.watched
            .iter()
            .filter(|(_, watched)| watched.pid == pid)
            .map(|(tail, _)| *tail)
            .collect()
    }

    /// Returns what to wait on, and whose end it reports.
    pub(super) fn ends(&self) -> impl Iterator<Item = (Tail, &Booked<OwnedFd>)> {
        self.watched.iter().filter_map(|(tail, watched)| Some((*tail, watched.end.as_ref()?)))
    }
}

impl Drop for Lives {
    fn drop(&mut self) {
        self.be_nobody();
    }
}

/// Returns a descriptor that is readable when a process has ended; `None` if the system has none
/// left. An error if there is no such process.
#[cfg(target_os = "linux")]
pub(super) fn end_of(pid: u32) -> io::Result<Option<Booked<OwnedFd>>> {
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use crate::sys::Kind;

    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match Booked::make(Kind::Own, || Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
        Ok(end) => Ok(Some(end)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => Err(error),
        Err(error) => {
            log::debug!("cannot watch for the end of process {pid:?}: {error}");
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn end_of(_: u32) -> io::Result<Option<Booked<OwnedFd>>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;
    use tempfile::TempDir;

    fn files(directory: &TempDir) -> Files {
        Files::open(directory.path().into()).unwrap()
    }

    fn count(directory: &TempDir) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_living_process_is_found_by_its_tail_and_its_file_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Lives::new(files(&directory)), Lives::new(files(&directory)));
        one.be(Tail([1; 11]));
        one.be(Tail([2; 11]));
        assert_eq!(count(&directory), 1, "the file of the tail that it no longer has");
        assert!(!two.begin(Tail([2; 11])));
        assert_eq!(two.ends().count(), 1);
        assert_eq!(two.of_process(std::process::id()), [Tail([2; 11])]);
        assert!(!two.begin(Tail([1; 11])), "nothing is known of it");
        drop(one);
        assert_eq!(count(&directory), 0);
        two.forget(Tail([2; 11]));
        assert_eq!((two.ends().count(), two.ends), (0, 0));
    }

    #[test]
    fn what_a_dead_process_has_left_is_told_from_a_living_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut lives = Lives::new(files(&directory));
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let place = place();
        let file =
            |tail: u8, text: String| fs::write(lives.files.path(Tail([tail; 11])), text).unwrap();
        file(1, format!("{} 1 {place}\n", child.id())); // nobody, or at least not from then
        file(2, format!("{} 1 {place}\n", std::process::id())); // another one that had this number
        file(3, format!("{} 1 elsewhere\n", std::process::id()));
        file(4, "nonsense".into());
        assert!(lives.begin(Tail([1; 11])) && lives.begin(Tail([2; 11])));
        assert!(!lives.begin(Tail([3; 11])) && !lives.begin(Tail([4; 11])));
        assert_eq!((lives.ends().count(), count(&directory)), (0, 2));
    }

    #[test]
    fn who_joins_sweeps_what_the_dead_have_left_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let mut lives = Lives::new(files(&directory));
        lives.be(Tail([9; 11]));
        let dead = format!("{} 1 {}\n", std::process::id(), place());
        for tail in 0..5 {
            fs::write(lives.files.path(Tail([tail; 11])), &dead).unwrap();
        }
        fs::write(lives.files.path(Tail([6; 11])), "1 1 elsewhere\n").unwrap();
        drop(files(&directory));
        assert_eq!(count(&directory), 2);
        assert!(!lives.begin(Tail([9; 11])));
    }
}
