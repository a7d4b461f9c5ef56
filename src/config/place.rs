//! Where a group of either kind is found: its name, its files and its port.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::directory::state_directory;
use super::{DEFAULT_GROUP, DEFAULT_PORT, MAX_GROUP, StateDirectory};
use crate::error::ConfigError;

/// A group's name, with the directory and the key file that a program has set for it, if it has.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) group: String,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
}

impl Place {
    pub(super) fn new(group: String) -> Self {
        Place { group, directory: None, key_file: None }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_group(&self.group)
    }

    /// Returns the directory of the group's files, and what determined it.
    pub(crate) fn locate(&self) -> Result<StateDirectory, ConfigError> {
        state_directory(self.directory.as_deref())
    }

    /// Returns the path of the file that keeps the group's last term in its `directory`.
    pub(crate) fn term_path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.term", self.group))
    }

    pub(crate) fn key(&self) -> Result<KeyFile, ConfigError> {
        match &self.key_file {
            Some(path) => Ok(KeyFile::Named(path.clone())),
            None => Ok(KeyFile::Own(self.locate()?.path.join(format!("{}.key", self.group)))),
        }
    }
}

/// The file with a group's key.
pub(crate) enum KeyFile {
    /// The one that the program has named, which must be there.
    Named(PathBuf),
    /// The group's own, made at first use.
    Own(PathBuf),
}

impl KeyFile {
    pub(crate) fn into_path(self) -> PathBuf {
        match self {
            KeyFile::Named(path) | KeyFile::Own(path) => path,
        }
    }
}

/// Returns the supervisor port of `group` where no other port is set, and its loopback address:
/// 127.0.0.1:30099 for `default`, otherwise both are derived from the group's name and the user's
/// ID.
///
/// The port is a number from 20000 to 29999, below the ephemeral range of every usual system, where
/// no outgoing connection can take it. The address is one of 127.1.0.1 to 127.254.255.254, all of
/// which belong to the machine itself on Linux. One user may therefore have as many groups as there
/// are jobs: of 1,000 groups, two collide with odds of 1 in 300,000. On other systems the loopback
/// interface has only 127.0.0.1, and of 118 groups two collide with odds of 1 in 2. The second of
/// two groups that collide gets an error that says so, and must set another port.
///
/// # Examples
///
/// ```
/// assert_eq!(pares::default_address("default").to_string(), "127.0.0.1:30099");
/// assert!(pares::default_address("web").ip().is_loopback());
/// ```
#[must_use]
pub fn default_address(group: &str) -> SocketAddrV4 {
    if group == DEFAULT_GROUP {
        return SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEFAULT_PORT);
    }
    let digest = Sha256::new()
        .chain_update(group.as_bytes())
        .chain_update([0])
        .chain_update(rustix::process::getuid().as_raw().to_be_bytes())
        .finalize();
    let port = 20_000 + u16::from_be_bytes([digest[0], digest[1]]) % 10_000;
    let ip = if cfg!(any(target_os = "linux", target_os = "android")) {
        // Neither the network's own address nor its broadcast address, nor 127.0.x.y, where systems
        // have names of theirs.
        Ipv4Addr::new(127, 1 + digest[2] % 254, digest[3], 1 + digest[4] % 254)
    } else {
        Ipv4Addr::LOCALHOST
    };
    SocketAddrV4::new(ip, port)
}

/// Returns the port of [`default_address`].
///
/// # Examples
///
/// ```
/// assert_eq!(pares::default_port("default"), 30099);
/// assert!((20000..30000).contains(&pares::default_port("web")));
/// ```
#[must_use]
pub fn default_port(group: &str) -> u16 {
    default_address(group).port()
}

fn check_group(group: &str) -> Result<(), ConfigError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if group.is_empty()
        || group.len() > MAX_GROUP
        || !group.chars().all(allowed)
        || group.starts_with(['.', '-'])
    {
        let rule = format!(
            "a group's name must have 1 to {MAX_GROUP} characters out of A-Z a-z 0-9 . _ - and \
             must not begin with . or -"
        );
        return Err(ConfigError::new("group", group, rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_address_is_always_the_same_and_its_port_below_the_ephemeral_range() {
        for group in ["web", "db", "a-long-name.with_everything"] {
            assert_eq!(default_address(group), default_address(group));
            assert_eq!(default_port(group), default_address(group).port());
            assert!((20_000..30_000).contains(&default_port(group)));
            assert!(default_address(group).ip().is_loopback());
        }
        assert_ne!(default_address("web"), default_address("db"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_group_for_each_of_many_jobs_has_an_address_of_its_own() {
        let jobs = (0..10_000).map(|job| default_address(&format!("job-{job}")));
        let addresses: std::collections::BTreeSet<_> = jobs.collect();
        assert_eq!(addresses.len(), 10_000);
        for address in addresses {
            let [_, second, _, last] = address.ip().octets();
            assert!((1..=254).contains(&second) && (1..=254).contains(&last), "{address}");
        }
    }
}
