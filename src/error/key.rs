//! Why a group's key, or the directory with its files, cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{KeepError, advised};

/// The group's key, or the directory with the group's files, cannot be used. Nothing was done.
#[non_exhaustive]
#[derive(Debug)]
pub enum KeyError {
    /// Another user can write the key file, or read it where only the owner should. Such a key
    /// proves nothing.
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file belongs to another user, who could join the group with it.
    Foreign {
        /// The key file.
        path: PathBuf,
        /// Its owner's user ID.
        owner: u32,
    },
    /// The key file is not a regular file of exactly 32 bytes.
    Malformed {
        /// The key file.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: String,
    },
    /// The group's own key file is a symbolic link. The library follows no link here, because the
    /// user who makes the link chooses the key.
    Linked {
        /// The key file.
        path: PathBuf,
    },
    /// The key file that was set does not exist. The library does not make it, because a program
    /// that names a file has a key in mind.
    Missing {
        /// The key file.
        path: PathBuf,
    },
    /// Other users can change the group's directory or a file in it, or it is not the kind of file
    /// that it must be.
    Unsafe {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: String,
        /// True if the group could use another directory.
        elsewhere: bool,
    },
    /// The group's last term, or its last epoch, cannot be kept in the directory.
    Unkept {
        /// Why not.
        source: KeepError,
    },
    /// The system refused to make, read or write the key file, the directory, or another file in
    /// it.
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the library tried to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl KeyError {
    /// Returns what happened, without the remedy.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            KeyError::Exposed { path, mode } => {
                format!(
                    "key file {} has mode {mode:04o}, which lets other users use it",
                    path.display()
                )
            }
            KeyError::Foreign { path, owner } => {
                format!("key file {} belongs to user id {owner}, not to this user", path.display())
            }
            KeyError::Malformed { path, .. } => {
                format!(
                    "{} is not a key: a key is a regular file of 32 random bytes",
                    path.display()
                )
            }
            KeyError::Linked { path } => {
                format!("{} is a symbolic link, not the group's own key", path.display())
            }
            KeyError::Missing { path } => format!("there is no key file {}", path.display()),
            KeyError::Unsafe { path, problem, .. } => format!("{} {problem}", path.display()),
            KeyError::Unkept { source } => source.finding(),
            KeyError::Io { path, doing, source } => {
                format!("cannot {doing} {}: {source}", path.display())
            }
        }
    }

    /// Returns what to do; empty if the system's own message says it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            KeyError::Exposed { path, .. } => {
                format!("if nobody else has seen it, run: chmod 600 {}", path.display())
            }
            KeyError::Foreign { .. } => {
                "run as that user, or choose another key file or directory".into()
            }
            KeyError::Malformed { problem, .. } => format!("it {problem}"),
            KeyError::Linked { .. } => {
                "if it leads to a mounted key, set that file as the key file".into()
            }
            KeyError::Missing { path } => format!(
                "make one, the same for the whole group: (umask 077; head -c 32 /dev/urandom > \
                 {})",
                path.display()
            ),
            KeyError::Unsafe { remedy, .. } => remedy.clone(),
            KeyError::Unkept { source } => source.remedy(),
            KeyError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a directory that belongs to this user".into()
                }
                _ => super::cure(source).into(),
            },
        }
    }

    /// Returns the methods of [`Config`](crate::Config) that the [remedy](KeyError::remedy) is
    /// about.
    #[must_use]
    pub fn settings(&self) -> &'static [&'static str] {
        match self {
            KeyError::Foreign { .. } => &["key_file", "state_directory"],
            KeyError::Linked { .. } => &["key_file"],
            KeyError::Unsafe { elsewhere: true, .. } => &["state_directory"],
            KeyError::Unkept { source } => source.settings(),
            KeyError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    &["state_directory"]
                }
                _ => &[],
            },
            KeyError::Exposed { .. }
            | KeyError::Malformed { .. }
            | KeyError::Missing { .. }
            | KeyError::Unsafe { .. } => &[],
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advised(f, &self.finding(), &self.remedy(), self.settings())
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are in this one's.
            KeyError::Io { source, .. } => source.source(),
            KeyError::Unkept { source } => source.source(),
            KeyError::Exposed { .. }
            | KeyError::Foreign { .. }
            | KeyError::Malformed { .. }
            | KeyError::Linked { .. }
            | KeyError::Missing { .. }
            | KeyError::Unsafe { .. } => None,
        }
    }
}

impl From<KeepError> for KeyError {
    fn from(source: KeepError) -> Self {
        KeyError::Unkept { source }
    }
}
