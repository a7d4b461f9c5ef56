//! The group's key: made once, by the first instance that needs it, and whole from the moment it is
//! visible; or a file that the user has named.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::process::geteuid;

use crate::config::KeyFile;
use crate::error::KeyError;
use crate::net::files;
use crate::wire::proof::Key;

/// Reads the key of a group, and makes it if it is to be in the group's own file.
pub(crate) fn of(file: &KeyFile) -> Result<Key, KeyError> {
    match file {
        KeyFile::Named(path) => named(path),
        KeyFile::Own(path) => made(path),
    }
}

/// Reads the key of a file that the user has named, where only root and this user can have put it.
///
/// An orchestrator mounts a secret as a symbolic link to a file of root that every user may read
/// (mode 0444 or 0644), or one group (0440). Neither is therefore a fault. A file of this user that
/// others may read was made without care, unless even its owner can only read it. A missing file is
/// not made: a mistake in the name, or a mount that comes late, would give this process a key that
/// no other has.
pub(crate) fn named(path: &Path) -> Result<Key, KeyError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32);
    let file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.into() },
        _ => KeyError::Io { path: path.into(), doing: "read the key file", source },
    })?;
    read(file, path, "make 32 bytes with: head -c 32 /dev/urandom", |about| {
        let (mode, owner) = (about.mode(), about.uid());
        let from_root = owner == 0;
        let exposed = mode & 0o022 != 0 || (!from_root && mode & 0o200 != 0 && mode & 0o077 != 0);
        (from_root || owner == geteuid().as_raw(), exposed)
    })
}

/// Reads the group's own key at `path`, and makes it from random bytes if it does not exist.
/// Several processes may do this at once, and all get the same key.
fn made(path: &Path) -> Result<Key, KeyError> {
    if let Some(directory) = path.parent() {
        files::make_directory(directory)?;
    }
    match present(path)? {
        Some(key) => Ok(key),
        None => {
            make(path)?;
            present(path)?.ok_or_else(|| KeyError::Missing { path: path.into() })
        }
    }
}

/// Returns true if the group's own key exists and can be used. Makes nothing.
pub(crate) fn is_there(path: &Path) -> Result<bool, KeyError> {
    match path.parent() {
        Some(directory) if !directory.exists() => return Ok(false),
        Some(directory) => files::check_directory(directory)?,
        None => {}
    }
    Ok(present(path)?.is_some())
}

/// Reads the group's own key, if there is one.
fn present(path: &Path) -> Result<Option<Key>, KeyError> {
    let file = match files::open_as_is(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if files::is_link(&error) => {
            return Err(KeyError::Linked { path: path.into() });
        }
        result => result.map_err(|source| files::refused(path, "read the key file", source))?,
    };
    let remedy = "stop the group's instances and remove it: the next start makes a new one";
    read(file, path, remedy, |about| (about.uid() == geteuid().as_raw(), about.mode() & 0o077 != 0))
        .map(Some)
}

/// Reads the key from an open file, if the file holds one. `judge` decides whether the owner may
/// have one, and whether other users can use it.
fn read(
    file: fs::File,
    path: &Path,
    remedy: &str,
    judge: impl FnOnce(&Metadata) -> (bool, bool),
) -> Result<Key, KeyError> {
    let io = |source| KeyError::Io { path: path.into(), doing: "read the key file", source };
    let malformed = |problem: String| KeyError::Malformed { path: path.into(), problem };
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(malformed(format!("is not a regular file; {remedy}")));
    }
    let (may_own, exposed) = judge(&about);
    if !may_own {
        return Err(KeyError::Foreign { path: path.into(), owner: about.uid() });
    }
    if exposed {
        return Err(KeyError::Exposed { path: path.into(), mode: about.mode() & 0o7777 });
    }
    let mut bytes = Vec::with_capacity(33);
    file.take(33).read_to_end(&mut bytes).map_err(io)?;
    <[u8; 32]>::try_from(bytes)
        .map(Key)
        .map_err(|_| malformed(format!("has {} bytes; {remedy}", about.len())))
}

fn make(path: &Path) -> Result<(), KeyError> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes).map_err(io::Error::other);
    let made = filled.and_then(|()| files::make(path, &bytes));
    made.map_err(|source| files::refused(path, "make the key file", source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;
    use std::thread;
    use tempfile::TempDir;

    /// A file with a key and these permissions.
    fn with(directory: &TempDir, name: &str, mode: u32) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, [7; 32]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn many_who_start_at_once_agree_on_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/down/web.key");
        assert!(!is_there(&path).unwrap());
        let keys: Vec<Key> = thread::scope(|scope| {
            let starters: Vec<_> = (0..16).map(|_| scope.spawn(|| made(&path).unwrap())).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "a draft was left behind"
        );
        assert!(is_there(&path).unwrap());
    }

    #[test]
    fn a_key_of_the_groups_own_that_others_can_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666, 0o444] {
            let error = made(&with(&directory, "web.key", mode)).unwrap_err();
            assert!(
                matches!(error, KeyError::Exposed { mode: seen, .. } if seen == mode),
                "{error}"
            );
        }
    }

    #[test]
    fn a_key_that_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (short, link) = (directory.path().join("short"), directory.path().join("link"));
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&short)
            .unwrap();
        assert!(made(&short).unwrap_err().to_string().contains("has 0 bytes"));
        assert!(named(&short).unwrap_err().to_string().contains("has 0 bytes"));
        symlink(&short, &link).unwrap();
        assert!(made(&link).unwrap_err().to_string().contains("symbolic link"));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        for what in [directory.path(), &pipe, Path::new("/dev/null")] {
            for error in [present(what).unwrap_err(), named(what).unwrap_err()] {
                assert!(error.to_string().contains("not a regular file"), "{error}");
            }
        }
    }

    /// Goal: who names a file gets the key that an orchestrator mounts, and none that others could
    /// have written.
    #[test]
    fn a_key_that_is_named_may_be_a_link_to_a_file_that_only_its_owner_can_change() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("web.key", &link).unwrap();
        let is_root = geteuid().is_root();
        for (mode, is_safe) in [
            (0o600, true),
            (0o400, true),
            (0o440, true),
            (0o444, true),
            (0o640, is_root),
            (0o644, is_root),
            (0o660, false),
            (0o602, false),
            (0o466, false),
        ] {
            with(&directory, "web.key", mode);
            match named(&link) {
                Ok(key) => assert!(is_safe && key == Key([7; 32]), "{mode:04o}"),
                Err(error) => assert!(
                    !is_safe && matches!(error, KeyError::Exposed { .. }),
                    "{mode:04o}: {error}"
                ),
            }
            fs::remove_file(directory.path().join("web.key")).unwrap();
        }
    }

    #[test]
    fn a_key_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = with(&directory, "web.key", 0o400);
        if chown(&path, Some(12_345), None).is_err() {
            return crate::skipped::skip("this user may not give its files away");
        }
        for error in [made(&path).unwrap_err(), named(&path).unwrap_err()] {
            assert!(matches!(error, KeyError::Foreign { owner: 12_345, .. }), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_named_and_missing_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.key");
        let error = named(&path).unwrap_err();
        assert!(
            matches!(error, KeyError::Missing { .. }) && error.to_string().contains("head -c 32"),
            "{error}"
        );
        assert!(!path.exists());
    }
}
