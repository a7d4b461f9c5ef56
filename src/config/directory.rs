//! Where the files of a group are: the directory, chosen once for everybody who asks.
//!
//! One user must find one directory, and so one key, however a program is started: from a shell, by
//! cron, by a service manager, under sudo, in a container. The environment differs between these.
//! This is therefore the order, and every value that cannot be meant is passed over:
//!
//! 1. What the program itself sets, then `PARES_DIR`: somebody means this directory. A relative
//!    path is an error, because each working directory would have a key of its own. Passing the
//!    path over would silently use another directory than the one named.
//! 2. `STATE_DIRECTORY`, `XDG_STATE_HOME`, `HOME`: set for many programs at once, so a value that
//!    does not hold for this program is passed over: a relative path, as the XDG specification
//!    says, or the home of another user, as sudo may leave it, where root would make files that the
//!    owner could not use. (Such a home is not passed over where this user has none: containers run
//!    under made-up users that share one.)
//! 3. The home in the user database.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::sys;

/// The directory of the group's files, and what determined it.
///
/// # Examples
///
/// ```
/// let directory = pares::Config::new("web").state_directory("/run/web").locate_state_directory()?;
/// assert_eq!(directory.path, std::path::Path::new("/run/web"));
/// assert_eq!(directory.source, "set by the program");
/// # Ok::<(), pares::ConfigError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDirectory {
    /// The directory, as an absolute path. It may not exist yet.
    pub path: PathBuf,
    /// What determined it: the name of an environment variable, or a description.
    pub source: &'static str,
    /// The environment variables that were set but passed over, and why.
    pub ignored: Vec<String>,
}

impl fmt::Display for StateDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.path.display(), self.source)?;
        self.ignored.iter().try_for_each(|why| write!(f, "; {why}"))?;
        f.write_str(")")
    }
}

/// Chooses the directory of the group's files: as set, or from the environment and the user
/// database.
pub(super) fn state_directory(set: Option<&Path>) -> Result<StateDirectory, ConfigError> {
    choose(set, &System)
}

/// What the choice depends on.
trait Surroundings {
    fn variable(&self, name: &str) -> Option<OsString>;
    /// Returns the home of this user according to the user database.
    fn home(&self) -> Option<PathBuf>;
    /// Returns this user's ID.
    fn user(&self) -> u32;
    /// Returns the ID of the user that owns a directory, if it exists and can be seen.
    fn owner(&self, directory: &Path) -> Option<u32>;
}

struct System;

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn home(&self) -> Option<PathBuf> {
        sys::home()
    }

    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn owner(&self, directory: &Path) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata(directory).ok()?.uid())
    }
}

const DATABASE: &str = "the home directory in the user database";

const RELATIVE: &str = "it must be an absolute path, which is the same from every working \
                        directory (only shells know `~`)";

fn choose(set: Option<&Path>, here: &impl Surroundings) -> Result<StateDirectory, ConfigError> {
    let mut ignored = Vec::new();
    let variable = |name| here.variable(name).filter(|value| !value.is_empty());
    let explicit = set.map(|path| ("state_directory", "set by the program", path.to_owned()));
    let explicit =
        explicit.or_else(|| Some(("PARES_DIR", "PARES_DIR", variable("PARES_DIR")?.into())));
    if let Some((what, source, path)) = explicit {
        if !path.is_absolute() {
            return Err(ConfigError::new(what, path.display(), RELATIVE));
        }
        return Ok(StateDirectory { path, source, ignored });
    }
    let mut absolute = |name: &str, path: PathBuf| {
        let kept = path.is_absolute();
        if !kept {
            ignored.push(format!(
                "{name} is passed over: {:?} is not an absolute path",
                path.display().to_string()
            ));
        }
        kept.then_some(path)
    };
    // A service may have several, each with a colon behind it; the first one is its main one.
    let first = |value: OsString| PathBuf::from(before_colon(value));
    let chosen =
        variable("STATE_DIRECTORY").and_then(|value| absolute("STATE_DIRECTORY", first(value)));
    let chosen = chosen.map(|path| (path.join("pares"), "STATE_DIRECTORY"));
    let chosen = chosen.or_else(|| {
        let path = variable("XDG_STATE_HOME")
            .and_then(|value| absolute("XDG_STATE_HOME", value.into()))?;
        Some((path.join("pares"), "XDG_STATE_HOME"))
    });
    if let Some((path, source)) = chosen {
        return Ok(StateDirectory { path, source, ignored });
    }
    let home = variable("HOME").and_then(|value| absolute("HOME", value.into()));
    let of_database = here.home().filter(|home| home.is_absolute());
    let (home, source) = match (home, of_database) {
        (Some(home), Some(own)) if home != own => match here.owner(&home) {
            Some(owner) if owner != here.user() && here.owner(&own) == Some(here.user()) => {
                ignored.push(format!("HOME is passed over: it belongs to user id {owner}"));
                (own, DATABASE)
            }
            _ => (home, "HOME"),
        },
        (Some(home), _) => (home, "HOME"),
        (None, Some(own)) => (own, DATABASE),
        (None, None) => {
            let rule =
                "this user has no home, neither in HOME nor in the user database: name a directory";
            return Err(ConfigError::new("state_directory", "", rule));
        }
    };
    Ok(StateDirectory { path: home.join(".local/state/pares"), source, ignored })
}

fn before_colon(value: OsString) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = value.into_vec();
    let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    bytes.truncate(end);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Surroundings of a user whose id is 0, in words: variables, the database's home, who owns
    /// which directory.
    struct Given<'a> {
        variables: &'a [(&'a str, &'a str)],
        home: Option<&'a str>,
        owners: &'a [(&'a str, u32)],
    }

    impl Surroundings for Given<'_> {
        fn variable(&self, name: &str) -> Option<OsString> {
            self.variables.iter().find(|(one, _)| *one == name).map(|(_, value)| value.into())
        }

        fn home(&self) -> Option<PathBuf> {
            self.home.map(PathBuf::from)
        }

        fn user(&self) -> u32 {
            0
        }

        fn owner(&self, directory: &Path) -> Option<u32> {
            self.owners.iter().find(|(one, _)| Path::new(one) == directory).map(|(_, owner)| *owner)
        }
    }

    fn with(variables: &[(&str, &str)]) -> Result<StateDirectory, ConfigError> {
        choose(
            None,
            &Given { variables, home: Some("/root"), owners: &[("/home/ann", 1000), ("/root", 0)] },
        )
    }

    #[track_caller]
    fn gives(variables: &[(&str, &str)], path: &str, source: &str, ignored: usize) {
        let chosen = with(variables).unwrap();
        assert_eq!((chosen.path.to_str(), chosen.source), (Some(path), source), "{chosen}");
        assert_eq!(chosen.ignored.len(), ignored, "{chosen}");
    }

    #[test]
    fn the_nearest_word_decides_where_the_files_are() {
        let all = [
            ("PARES_DIR", "/p", "/p"),
            ("STATE_DIRECTORY", "/s", "/s/pares"),
            ("XDG_STATE_HOME", "/x", "/x/pares"),
            ("HOME", "/h", "/h/.local/state/pares"),
        ];
        let variables = all.map(|(name, value, _)| (name, value));
        for (at, (name, _, path)) in all.iter().enumerate() {
            gives(&variables[at..], path, name, 0);
        }
        gives(&[], "/root/.local/state/pares", "the home directory in the user database", 0);
        let set = choose(
            Some(Path::new("/set")),
            &Given { variables: &variables, home: None, owners: &[] },
        )
        .unwrap();
        assert_eq!(set.path, Path::new("/set"));
    }

    #[test]
    fn an_empty_variable_is_as_one_that_is_not_set() {
        let empty =
            ["PARES_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"].map(|name| (name, ""));
        gives(&empty, "/root/.local/state/pares", "the home directory in the user database", 0);
    }

    #[test]
    fn a_relative_path_is_an_error_where_it_is_meant_for_us_and_passed_over_elsewhere() {
        let shared = [("STATE_DIRECTORY", "s"), ("XDG_STATE_HOME", "./x"), ("HOME", "~")];
        gives(&shared, "/root/.local/state/pares", "the home directory in the user database", 3);
        for wrong in ["state", "./state", "~/state", "../x"] {
            let error = with(&[("PARES_DIR", wrong)]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("PARES_DIR {wrong:?}")), "{error}");
            let given = Given { variables: &[], home: None, owners: &[] };
            assert!(choose(Some(Path::new(wrong)), &given).is_err());
        }
    }

    #[test]
    fn of_several_state_directories_of_a_service_the_first_counts() {
        gives(
            &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")],
            "/var/lib/a/pares",
            "STATE_DIRECTORY",
            0,
        );
        gives(&[("STATE_DIRECTORY", ":/b"), ("HOME", "/h")], "/h/.local/state/pares", "HOME", 1);
    }

    #[test]
    fn a_home_of_another_user_is_passed_over_if_this_one_has_its_own() {
        gives(
            &[("HOME", "/home/ann")],
            "/root/.local/state/pares",
            "the home directory in the user database",
            1,
        );
        let given = |home, owners| {
            let chosen =
                choose(None, &Given { variables: &[("HOME", "/srv")], home, owners }).unwrap();
            (chosen.path == Path::new("/srv/.local/state/pares"), chosen.ignored.len())
        };
        assert_eq!(given(Some("/srv"), &[("/srv", 7)]), (true, 0), "it is the same one");
        // As in a container whose user is made up: what the database says of it is of no use.
        assert_eq!(given(Some("/"), &[("/srv", 7), ("/", 7)]), (true, 0));
        assert_eq!(given(Some("/nonexistent"), &[("/srv", 7)]), (true, 0));
        assert_eq!(given(None, &[("/srv", 7)]), (true, 0));
    }

    #[test]
    fn a_user_without_any_home_is_told_to_name_a_directory() {
        let error = choose(None, &Given { variables: &[], home: None, owners: &[] }).unwrap_err();
        assert!(error.to_string().contains("state_directory"), "{error}");
    }
}
