//! What a group's directory has, looked at as joining does.

use crate::config::Config;
use crate::error::PlaceError;
use crate::net::files::term::TermFile;
use crate::net::files::{self, key};
use crate::net::transport::handshake::Pass;

impl Config {
    /// Whether the group has a key yet, checked as joining does. Makes none.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if the directory
    /// or the key cannot be used. A [`key_file`](Config::key_file) that is missing is such a key.
    pub fn has_key(&self) -> Result<bool, PlaceError> {
        let path = self.key_path()?;
        Ok(if self.key_file.is_some() {
            key::named(&path).map(|_| true)?
        } else {
            key::is_there(&path)?
        })
    }

    /// Checks the group's directory, and what is in it beside the key, as joining does. Makes and
    /// changes nothing; a directory that is missing is made by joining.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if others can
    /// exchange what is in it, or have put something there.
    pub fn check_directory(&self) -> Result<(), PlaceError> {
        let directory = self.locate_state_directory()?.path;
        if directory.exists() {
            files::check_directory(&directory)?;
            files::check_files(&directory, &self.group)?;
        }
        Ok(())
    }

    /// The group's last term, as its directory keeps it; `None` before the first. Sees that the
    /// next one can be kept: where there is no file for it yet, by writing as much as that needs
    /// beside it, and removing it.
    ///
    /// Blocks for the file system. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Config`] if there is no such directory, [`PlaceError::Key`] if terms cannot be
    /// kept there: whoever joins first would get the same error.
    pub fn last_term(&self) -> Result<Option<u64>, PlaceError> {
        let directory = self.locate_state_directory()?.path;
        Ok(if directory.exists() {
            TermFile::probe(&directory.join(format!("{}.term", self.group)))?
        } else {
            None
        })
    }
}

/// The group's name and key.
pub(crate) fn pass(config: &Config) -> Result<Pass, PlaceError> {
    let key_file = config.key_path()?;
    let key =
        if config.key_file.is_some() { key::named(&key_file)? } else { key::made(&key_file)? };
    Ok(Pass { group: config.group.clone(), key, key_file })
}
