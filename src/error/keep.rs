//! Why the last term or epoch of a group cannot be kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::advised;

/// The last term of a group, or the last epoch of a masterless group, cannot be kept in the group's
/// directory.
///
/// If the group started anew later, nothing would know which numbers it has used, and it would use
/// them again. Therefore no process starts the group anew. Processes that already take part
/// continue, because they know the last number themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// What the library tried to do, what the system said, and the system's error number.
    System { doing: &'static str, said: String, errno: Option<i32> },
    /// What the file holds instead of a number.
    Damaged { found: String },
}

impl KeepError {
    pub(crate) fn system(path: &Path, doing: &'static str, error: &io::Error) -> Self {
        let problem =
            Problem::System { doing, said: error.to_string(), errno: error.raw_os_error() };
        KeepError { path: path.into(), problem }
    }

    pub(crate) fn damaged(path: &Path, found: &[u8]) -> Self {
        let found = match found {
            [] => "it is empty".to_owned(),
            found => format!(
                "it begins with {:?}",
                String::from_utf8_lossy(&found[..found.len().min(24)])
            ),
        };
        KeepError { path: path.into(), problem: Problem::Damaged { found } }
    }

    /// Returns the path of the file concerned.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if the file exists and can be read, but does not hold a number.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self.problem, Problem::Damaged { .. })
    }

    /// Returns the kind of the system's error; [`io::ErrorKind::InvalidData`] for a damaged file.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match &self.problem {
            Problem::System { errno: Some(errno), .. } => {
                io::Error::from_raw_os_error(*errno).kind()
            }
            Problem::System { errno: None, .. } => io::ErrorKind::Other,
            Problem::Damaged { .. } => io::ErrorKind::InvalidData,
        }
    }

    /// Returns what happened, without the remedy.
    #[must_use]
    pub fn finding(&self) -> String {
        let path = self.path.display();
        match &self.problem {
            Problem::System { doing, said, .. } => {
                format!(
                    "cannot {doing} {path}: {said}; without it, the group would use the \
                     same numbers again"
                )
            }
            Problem::Damaged { found } => format!("{path} does not hold the last number: {found}"),
        }
    }

    /// Returns what to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        use rustix::io::Errno;
        let path = self.path.display();
        let cure = match &self.problem {
            Problem::Damaged { .. } => {
                return format!(
                    "write the last number that you know into it (echo NUMBER > {path}), or, if \
                     nothing depends on these numbers, remove the file to start at 1"
                );
            }
            Problem::System { errno, .. } => match errno.map(Errno::from_raw_os_error) {
                Some(Errno::NOSPC) => "make room on its file system",
                Some(Errno::DQUOT) => "make room in this user's quota",
                Some(Errno::FBIG) => "raise the limit of file sizes (ulimit -f)",
                Some(Errno::ROFS) => "mount its file system writable",
                Some(Errno::ACCESS | Errno::PERM) => "make it writable for this user",
                Some(Errno::NOENT | Errno::NOTDIR) => "make its directory again",
                _ => "look for faults of its file system in the system's log",
            },
        };
        format!("{cure}, or choose another directory for the whole group")
    }

    /// Returns the methods of [`Config`](crate::Config) that the [remedy](KeepError::remedy) is
    /// about.
    #[must_use]
    pub fn settings(&self) -> &'static [&'static str] {
        if self.is_damaged() { &[] } else { &["state_directory"] }
    }
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.finding(), &self.remedy(), self.settings())
    }
}

impl std::error::Error for KeepError {}
