//! Opens the files of the group's directory, and never what somebody else has put there.
//!
//! Either the directory is this user's own, or root's, and no other user can write in it; or it is
//! like /tmp, where each user may remove only his own files. There a stranger may have been first,
//! with a symbolic or hard link to a file of this user, a pipe, or a file of his own. A file is
//! therefore opened first, without following a link or waiting, and then checked: an open file
//! cannot be exchanged any more.
//!
//! A user who can rename a directory further up can replace this one. The replacement is not this
//! user's and therefore refused, or is another directory of this user; `pares doctor` warns of
//! that.

pub(crate) mod epoch;
pub(crate) mod key;
mod line;
pub(crate) mod term;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};
use tempfile::NamedTempFile;

use crate::error::KeyError;

/// Makes a missing directory, for this user only. An existing one must be safe from others.
pub(crate) fn make_directory(path: &Path) -> Result<(), KeyError> {
    match check_directory(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        checked => return checked,
    }
    let io = |source| KeyError::Io { path: path.into(), doing: "make the directory", source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    check_directory(path)
}

/// Checks that no other user can remove or exchange what this user has in the directory.
///
/// A directory that every user can write is safe with the sticky bit. A group with the user's own
/// number counts as the user: many systems give each user such a group, and let it write what the
/// user makes.
pub(crate) fn check_directory(path: &Path) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.into(), doing: "look at the directory", source };
    let about = fs::metadata(path).map_err(io)?;
    let (mode, owner) = (about.mode(), about.uid());
    let wrong = |problem, remedy| {
        Err(KeyError::Unsafe { path: path.into(), problem, remedy, elsewhere: true })
    };
    if owner != geteuid().as_raw() && owner != 0 {
        return wrong(
            format!("belongs to user id {owner}, who can exchange all that is in it"),
            "run as that user, or choose a directory that belongs to this user".into(),
        );
    }
    let others = if about.gid() == owner { 0o002 } else { 0o022 };
    if mode & others != 0 && mode & 0o1000 == 0 {
        return wrong(
            format!(
                "has mode {:04o}, which lets other users exchange what is in it",
                mode & 0o7777
            ),
            format!(
                "run: chmod go-w {}; or choose a new directory in it, which is then made for this \
                 user only",
                path.display()
            ),
        );
    }
    Ok(())
}

/// Opens a file that only this user writes.
pub(crate) fn open(
    path: &Path,
    options: &mut OpenOptions,
    doing: &'static str,
) -> Result<File, KeyError> {
    let io = |source| refused(path, doing, source);
    let file = open_as_is(path, options).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    let (mode, owner) = (about.mode() & 0o7777, about.uid());
    let wrong = |problem: String, remedy: String| {
        Err(KeyError::Unsafe { path: path.into(), problem, remedy, elsewhere: false })
    };
    if !about.is_file() {
        return wrong("is not a regular file".into(), REMOVE.into());
    }
    if owner != geteuid().as_raw() {
        return wrong(format!("belongs to user id {owner}"), REMOVE.into());
    }
    if mode & 0o022 != 0 {
        return wrong(
            format!("has mode {mode:04o}, which lets other users write it"),
            format!("run: chmod go-w {}", path.display()),
        );
    }
    // By another name, it may be another file of this user's, which is not to be written.
    if about.nlink() > 1 && keeps_second_name(&file).map_err(io)? {
        return wrong("has a second name (a hard link)".into(), REMOVE.into());
    }
    Ok(file)
}

/// Looks once more after a moment: where a system cannot rename a file without replacing another, a
/// new file is linked to its name, and also has the name of its draft until that is removed.
fn keeps_second_name(file: &File) -> io::Result<bool> {
    const MOMENT: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + MOMENT;
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        if file.metadata()?.nlink() <= 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Who sees this has no term of the group's there yet, or one that somebody else may have written.
const REMOVE: &str = "find out who has put it there, and remove it: a new one is made";

/// Checks that each file in `directory` that `group` writes could be opened. Makes and changes
/// nothing.
pub(crate) fn check_files(directory: &Path, group: &str) -> Result<(), KeyError> {
    const DOING: &str = "look into the directory";
    let entries = fs::read_dir(directory).map_err(|source| refused(directory, DOING, source))?;
    for name in entries.flatten().map(|entry| entry.file_name()) {
        let tail = name.to_str().and_then(|name| name.strip_prefix(group)?.strip_prefix('.'));
        // An epoch's name has the service type in it.
        let is_epoch = |tail: &str| {
            tail.strip_suffix(".epoch").is_some_and(|service| service.parse::<u16>().is_ok())
        };
        if tail.is_some_and(|tail| tail == "term" || is_epoch(tail)) {
            open(&directory.join(name), OpenOptions::new().read(true), "open")?;
        }
    }
    Ok(())
}

/// Opens a file without following a link in its last part, and without waiting for the other end of
/// a pipe.
pub(super) fn open_as_is(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits() as i32).open(path)
}

/// Returns true if opening failed because of a symbolic link.
pub(super) fn is_link(error: &io::Error) -> bool {
    // FreeBSD says MLINK.
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::MLINK))
}

/// Reads the text of a small file of ours, wherever it may have come from.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    const MOST: u64 = 4096;
    let file = open_as_is(path, OpenOptions::new().read(true))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes from the beginning of the file on. At the limit of file sizes the kernel would not only
/// refuse that, but send a signal that ends the program.
pub(crate) fn write(file: &File, bytes: &[u8]) -> io::Result<()> {
    if getrlimit(Resource::Fsize).current.is_some_and(|most| most < bytes.len() as u64) {
        return Err(Errno::FBIG.into());
    }
    file.write_all_at(bytes, 0)
}

/// Makes the file whole: no process sees less of it than these bytes, and they are on the disk. A
/// second process leaves the first one's file. Nothing is left behind if this fails.
pub(super) fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match draft(path, bytes)?.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

/// Writes the bytes to a file beside `path`, on the disk; dropping the result removes it.
pub(super) fn draft(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    // `tempfile_in` would hide the number of the system's error.
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let draft = tempfile::Builder::new().prefix(&prefix).rand_bytes(16).make_in(directory, open)?;
    write(draft.as_file(), bytes)?;
    draft.as_file().sync_all()?;
    Ok(draft)
}

/// Explains why a file was not opened.
pub(super) fn refused(path: &Path, doing: &'static str, source: io::Error) -> KeyError {
    let wrong = |path: &Path, problem, remedy, elsewhere| KeyError::Unsafe {
        path: path.into(),
        problem,
        remedy,
        elsewhere,
    };
    if is_link(&source) {
        return wrong(path, "is a symbolic link".into(), REMOVE.into(), false);
    }
    let (me, mut seen) = (
        geteuid().as_raw(),
        path.ancestors().take(2).filter_map(|part| Some((part, fs::metadata(part).ok()?))),
    );
    match seen.next().map(|(part, about)| (part, about.uid())) {
        Some((part, owner)) if source.kind() == io::ErrorKind::PermissionDenied && owner != me => {
            wrong(
                part,
                format!(
                    "belongs to user id {owner}, and this user may not {doing} {}",
                    path.display()
                ),
                format!(
                    "choose a directory that belongs to this user; or, if a run as another user \
                     (sudo) has left it behind, give it back: chown -R {me} {}",
                    part.display()
                ),
                true,
            )
        }
        _ => KeyError::Io { path: path.into(), doing, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use tempfile::TempDir;

    fn set_mode(directory: &TempDir, mode: u32) {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open_in(directory: &TempDir, name: &str) -> Result<File, KeyError> {
        let mut options = OpenOptions::new();
        open(
            &directory.path().join(name),
            options.read(true).write(true).create(true).mode(0o600),
            "open the file",
        )
    }

    #[track_caller]
    fn is_refused<T: std::fmt::Debug>(result: Result<T, KeyError>, words: &str) {
        let error = result.unwrap_err();
        assert!(matches!(error, KeyError::Unsafe { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{words:?} is not in {error}");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, is_safe) in [
            (0o700, true),
            (0o755, true),
            (0o750, true),
            (0o777, false),
            (0o707, false),
            (0o702, false),
            (0o1777, true),
        ] {
            set_mode(&directory, mode);
            match check_directory(directory.path()) {
                Ok(()) => assert!(is_safe, "{mode:04o}"),
                Err(error) => assert!(
                    !is_safe && error.to_string().contains("chmod go-w"),
                    "{mode:04o}: {error}"
                ),
            }
        }
    }

    #[test]
    fn a_directory_that_a_group_can_write_is_refused_unless_it_is_the_users_own_group() {
        let directory = tempfile::tempdir().unwrap();
        let me = geteuid().as_raw();
        for (group, is_safe) in [(me, true), (me + 1, false)] {
            if chown(directory.path(), None, Some(group)).is_err() {
                crate::skipped::skip(format_args!(
                    "this user may not give its files to group {group}"
                ));
                continue;
            }
            set_mode(&directory, 0o770);
            assert_eq!(check_directory(directory.path()).is_ok(), is_safe, "group {group}");
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        if chown(directory.path(), Some(12_345), None).is_err() {
            return crate::skipped::skip("this user may not give its files away");
        }
        is_refused(check_directory(directory.path()), "user id 12345");
        is_refused(make_directory(directory.path()), "Config::state_directory");
    }

    #[test]
    fn a_file_that_somebody_else_may_have_put_there_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("own"), "dear to me").unwrap();
        fs::set_permissions(path("own"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(path("own"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        fs::hard_link(path("own"), path("second")).unwrap();
        fs::create_dir(path("directory")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::write(path("writable"), "").unwrap();
        fs::set_permissions(path("writable"), fs::Permissions::from_mode(0o606)).unwrap();
        for (name, words) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("second", "hard link"),
            ("pipe", "not a regular file"),
            ("writable", "mode 0606"),
        ] {
            is_refused(open_in(&directory, name), words);
        }
        assert!(open_in(&directory, "directory").is_err() && !path("nowhere").exists());
        assert_eq!(fs::read(path("own")).unwrap(), b"dear to me");
        assert!(read(&path("pipe")).is_err() && read(&path("link")).is_err());
        if chown(path("writable"), Some(12_345), None).is_ok() {
            is_refused(open_in(&directory, "writable"), "user id 12345");
        }
        open_in(&directory, "new").unwrap();
        open_in(&directory, "new").unwrap();
        check_files(directory.path(), "web").unwrap();
        for name in ["web.term", "web.7.epoch"] {
            symlink(path("own"), path(name)).unwrap();
            is_refused(check_files(directory.path(), "web"), name);
            check_files(directory.path(), "we").unwrap();
            fs::remove_file(path(name)).unwrap();
        }
    }
}
