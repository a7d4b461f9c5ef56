//! Looks at a group's directory, as joining does.

use crate::config::{Config, KeyFile};
use crate::error::PlaceError;
use crate::net::files::term::TermFile;
use crate::net::files::{self, key};
use crate::net::transport::handshake::Pass;

impl Config {
    /// Returns true if the group has a key, checked as joining does. Makes no key.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory; [`PlaceError::Key`] if the directory
    /// or the key cannot be used. A [`key_file`](Config::key_file) that is missing cannot be used.
    pub fn has_key(&self) -> Result<bool, PlaceError> {
        let has = match self.place.key()? {
            KeyFile::Named(path) => key::named(&path).map(|_| true),
            KeyFile::Own(path) => key::is_there(&path),
        };
        Ok(has?)
    }

    /// Checks the group's directory, and what it holds beside the key, as joining does. Makes and
    /// changes nothing. A missing directory is no error, because joining makes it.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory; [`PlaceError::Key`] if other users can
    /// exchange what it holds, or have put something there.
    pub fn check_directory(&self) -> Result<(), PlaceError> {
        let directory = self.locate_state_directory()?.path;
        if directory.exists() {
            files::check_directory(&directory)?;
            files::check_files(&directory, &self.place.group)?;
        }
        Ok(())
    }

    /// Returns the group's last term as its directory keeps it, or `None` before the first. Checks
    /// that the directory can keep the next term: if there is no term file yet, this writes as much
    /// as one needs beside it, and removes that again.
    ///
    /// Blocks for the file system. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory; [`PlaceError::Key`] if terms cannot be
    /// kept there. The first instance to join would get the same error.
    pub fn last_term(&self) -> Result<Option<u64>, PlaceError> {
        let directory = self.locate_state_directory()?.path;
        Ok(if directory.exists() {
            TermFile::probe(&self.place.term_path(&directory))?
        } else {
            None
        })
    }
}

/// Reads the group's name and key.
pub(crate) fn pass(config: &Config) -> Result<Pass, PlaceError> {
    let file = config.place.key()?;
    let key = key::of(&file)?;
    Ok(Pass { group: config.place.group.clone(), key, key_file: file.into_path() })
}
