//! Where a group is found, whatever kind it is of: its name and its port.

use sha2::{Digest, Sha256};

use super::{DEFAULT_GROUP, DEFAULT_PORT, MAX_GROUP};
use crate::error::ConfigError;

/// The supervisor port of `group` where nobody sets another: 30099 for `default`, else a number from
/// 20000 to 29999 made from the group's name and the user's id.
///
/// The range lies below the ephemeral range of every usual system, so that no outgoing connection can take
/// the port. Two groups may meet on one number (1 in 10,000): the second one is told so, and sets another port.
///
/// # Examples
///
/// ```
/// assert_eq!(pares::default_port("default"), 30099);
/// assert!((20000..30000).contains(&pares::default_port("web")));
/// ```
#[must_use]
pub fn default_port(group: &str) -> u16 {
    if group == DEFAULT_GROUP {
        return DEFAULT_PORT;
    }
    let digest = Sha256::new()
        .chain_update(group.as_bytes())
        .chain_update([0])
        .chain_update(rustix::process::getuid().as_raw().to_be_bytes())
        .finalize();
    20_000 + u16::from_be_bytes([digest[0], digest[1]]) % 10_000
}

pub(super) fn check_group(group: &str) -> Result<(), ConfigError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if group.is_empty() || group.len() > MAX_GROUP || !group.chars().all(allowed) || group.starts_with(['.', '-']) {
        let rule = "a group's name has 1 to 64 characters out of A-Z a-z 0-9 . _ - and begins with none of . and -";
        return Err(ConfigError::new("group", group, rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_port_is_always_the_same_and_below_the_ephemeral_range() {
        for group in ["web", "db", "a-long-name.with_everything"] {
            assert_eq!(default_port(group), default_port(group));
            assert!((20_000..30_000).contains(&default_port(group)));
        }
        assert_ne!(default_port("web"), default_port("db"));
    }
}
